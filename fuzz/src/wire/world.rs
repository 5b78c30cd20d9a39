//! One device, its keys, and messages of it to begin with.

use std::sync::LazyLock;

use protocol::codec::{Encoder, Hints, SAMPLE_BYTES_MAX, SamplesContext, SamplesHeader};
use protocol::event::{Attributes, Event, Level, Log, Value};
use protocol::frame::{self, Binding, FRAME_LEN_MAX, HEADER_LEN_MAX, Header, Origin, TAG_LEN};
use protocol::health::{Boot, Fork, ForkReason, Heartbeat, ResetReason};
use protocol::hello::{Challenge, Hello, RingState};
use protocol::keys::{self, AckKey, FrameKey, HelloKey};
use protocol::loss::{Loss, LossReason};
use protocol::record::Record;
use protocol::{
    CatalogueId, Clock, Counts, DeviceId, DeviceTime, FrameTag, Generation, JournalInstance, Lane,
    RingId, Sample, Secret, Seq, SignalIndex,
};

/// A device and everything that is derived from its secret.
pub struct World {
    pub secret: Secret,
    pub device: DeviceId,
    pub ring: RingId,
    pub frame_key: FrameKey,
    pub hello_key: HelloKey,
    pub ack_key: AckKey,
}

pub static WORLD: LazyLock<World> = LazyLock::new(|| {
    let secret = Secret::new(std::array::from_fn(|at| u8::try_from(at).unwrap()));
    let device = "van-7".parse().unwrap();
    let ring = keys::ring_id(&secret, &device, Lane::Bulk, 7, &[9; 16]);
    World {
        device,
        ring,
        frame_key: keys::frame_key(&secret, &device, &ring, Generation::FIRST),
        hello_key: keys::hello_key(&secret, &device, Generation::FIRST),
        ack_key: keys::ack_key(&secret, &device, &ring, Generation::FIRST),
        secret,
    }
});

pub const CHALLENGE: Challenge = Challenge([6; 16]);

/// What a frame of the device's is bound to.
pub fn binding() -> Binding {
    Binding { device: WORLD.device, ring: WORLD.ring, lane: Lane::Bulk }
}

/// A frame on its way: no heap, as on a device.
pub struct Sealed {
    buffer: [u8; FRAME_LEN_MAX],
    range: std::ops::Range<usize>,
}

impl Sealed {
    /// Seals a body; none if it is too long.
    pub fn new(header: &Header, body: &[u8]) -> Option<Self> {
        let mut buffer = [0; FRAME_LEN_MAX];
        let at = HEADER_LEN_MAX..HEADER_LEN_MAX + body.len();
        buffer.get_mut(at.start..at.end + TAG_LEN)?;
        buffer[at.clone()].copy_from_slice(body);
        let (range, tag) =
            frame::seal(&WORLD.frame_key, &binding(), header, &mut buffer, at).unwrap();
        assert_eq!(frame::tag_of(&buffer[range.clone()]), tag);
        Some(Self { buffer, range })
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.buffer[self.range.clone()]
    }
}

pub fn time() -> DeviceTime {
    DeviceTime { boot: 3, uptime_ms: 61_000, unix_ms: 1_211_094_008_000, clock: Clock::Reference }
}

/// Samples as a poller takes them.
pub fn samples() -> Vec<Sample> {
    let sample = |at: i64| Sample {
        tick: 1_211_094_008_000 + (at / 3) * 60_000 + i64::from(at == 20),
        signal: SignalIndex(u8::try_from(at % 3).unwrap()),
        value: protocol::Value::Steps(
            [3_777_833 + at * 11, -12_241_820 - at * 7, at % 2][usize::try_from(at % 3).unwrap()],
        ),
    };
    (0..40).map(sample).collect()
}

/// Samples, coded.
pub fn columns(samples: &[Sample]) -> Vec<u8> {
    let mut into = vec![0; (samples.len() + 1) * SAMPLE_BYTES_MAX];
    let mut encoder = Encoder::<64>::new(Hints::NONE, 64);
    for sample in samples {
        encoder.push(&mut into, *sample).unwrap();
    }
    let len = encoder.finish(&mut into).unwrap();
    into.truncate(len);
    into
}

/// What its samples are of.
pub const CONTEXT: SamplesContext = SamplesContext {
    catalogue: CatalogueId(0x1234_5678),
    clock: Clock::Reference,
    coding: protocol::codec::Coding::Learning,
    boot: 3,
};

/// A body of samples, behind a header that says what they are of.
pub fn samples_body() -> Vec<u8> {
    let samples = samples();
    let header = SamplesHeader { context: CONTEXT, count: u16::try_from(samples.len()).unwrap() };
    [&header.count_bytes()[..], &columns(&samples)].concat()
}

/// One that says all of itself.
pub fn whole_samples_body() -> Vec<u8> {
    [&CONTEXT.bytes()[..], &samples_body()].concat()
}

/// A record of each kind.
pub fn records() -> Vec<Record<'static>> {
    let mut attributes = Attributes::new();
    attributes.push(("speed", Value::Decimal { number: 413, places: 1 })).unwrap();
    attributes.push(("by", Value::Text("driver"))).unwrap();
    attributes.push(("open", Value::Bool(true))).unwrap();
    attributes.push(("count", Value::Int(-3))).unwrap();
    let (time, ring) = (time(), WORLD.ring);
    vec![
        Record::Boot(Boot {
            time,
            reset: ResetReason::Power,
            unsealed_samples_max: [0, 500, 1],
            unsealed_events_max: [1, 0, 0],
            next: [Seq(4), Seq(300), Seq(2)],
        }),
        Record::Event(Event {
            time,
            actor: "driver",
            action: "exceed",
            object: "speed-limit",
            context: "trip-9",
            resource: "",
            attributes,
        }),
        Record::Log(Log { time, level: Level::Warning, target: "link", message: "no route" }),
        Record::Heartbeat(Heartbeat { time, ring_used: [1, 128, 255], ..Heartbeat::default() }),
        Record::Fork(Fork {
            time,
            lane: Lane::Bulk,
            from: ring,
            to: RingId([8; 16]),
            reason: ForkReason::Ahead,
            acknowledged: Seq(12),
            next: Seq(9),
        }),
        Record::Catalogue(&[1, 0]),
    ]
}

/// A body of records.
pub fn records_body() -> Vec<u8> {
    let mut body = vec![0; 1024];
    let end = records().iter().fold(0, |at, record| record.append(&mut body, at).unwrap());
    body.truncate(end);
    body
}

/// A loss.
pub fn loss() -> Loss {
    Loss {
        first: Seq(12),
        last: Seq(97),
        through: Counts { samples: 40_000, events: 12 },
        reason: LossReason::Full,
        time: time(),
    }
}

/// Where a resealed frame came from.
pub fn origin(kind: frame::Kind) -> Vec<u8> {
    let origin = Origin { ring: RingId([8; 16]), tag: FrameTag([4; 8]), seq: Seq(300), kind };
    let mut bytes = [0; Origin::LEN_MAX];
    let len = origin.write(&mut bytes);
    bytes[..len].to_vec()
}

/// What the device says of itself.
pub fn hello() -> Hello {
    let state = |lane, ring: u8| RingState {
        lane,
        ring: RingId([ring; 16]),
        first_retained: Seq(200),
        next: Seq(301),
        before_first: Counts { samples: 9_000, events: 1 },
        before_next: Counts { samples: 12_000, events: 2 },
        acknowledged: Seq(199),
        acknowledged_by: JournalInstance([3; 8]),
    };
    let rings = [state(Lane::Critical, 1), state(Lane::Bulk, 2), state(Lane::Latest, 3)];
    Hello {
        time: time(),
        challenge: CHALLENGE,
        catalogue: CatalogueId(0x1234_5678),
        campaign: 4,
        image: 0,
        rings: rings.into_iter().collect(),
    }
}
