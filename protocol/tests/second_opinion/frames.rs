//! Whole frames of every kind, sealed; and the golden files.

use milepost_protocol::codec::{
    Coding, Encoder, Hints, SAMPLE_BYTES_MAX, SamplesContext, SamplesHeader, StillEncoder,
};
use milepost_protocol::event::{Attributes, Event, Level, Log, Value as Attribute};
use milepost_protocol::frame::{
    Binding, HEADER_LEN_MAX, Header, Kind, Origin, TAG_LEN, compact, seal,
};
use milepost_protocol::health::{Boot, Crash, Fork, ForkReason, Heartbeat, ResetReason};
use milepost_protocol::loss::{Loss, LossReason};
use milepost_protocol::record::Record;
use milepost_protocol::sample::CONTENT_LEN_MAX;
use milepost_protocol::{
    CatalogueId, Clock, Counts, DeviceId, DeviceTime, FrameTag, Generation, Lane, RingId, Secret,
    Seq, keys,
};
use serde_json::{Value, json};

use super::chance::{Chance, said as said_of, samples};
use super::{hex, opinion};

const FRAMES: u32 = 1000;
const WORDS: [&str; 6] = ["", "driver", "door.rear", "Türe offen", "a\"b\\c", "\u{1f69a}\n"];

fn pick<T: Copy>(chance: &mut Chance, from: &[T]) -> T {
    from[usize::from(chance.byte()) % from.len()]
}

fn bytes<const N: usize>(chance: &mut Chance) -> [u8; N] {
    core::array::from_fn(|_| chance.byte())
}

fn unsigned(chance: &mut Chance) -> u64 {
    let bits = chance.below(64);
    chance.draw() >> bits
}

fn narrow(chance: &mut Chance) -> u32 {
    chance.narrow().cast_unsigned()
}

fn seq(chance: &mut Chance) -> Seq {
    Seq((unsigned(chance) >> 1).max(1))
}

fn time(chance: &mut Chance) -> DeviceTime {
    DeviceTime {
        boot: narrow(chance),
        uptime_ms: unsigned(chance),
        unix_ms: chance.number(),
        clock: pick(chance, &[Clock::Uptime, Clock::Rtc, Clock::Agent, Clock::Reference]),
    }
}

fn event(chance: &mut Chance) -> Event<'static> {
    let mut attributes = Attributes::new();
    for _ in 0..chance.below(4) {
        let value = match chance.below(4) {
            0 => Attribute::Text(pick(chance, &WORDS)),
            1 => Attribute::Int(chance.number()),
            2 => Attribute::Bool(chance.below(2) == 1),
            _ => Attribute::Decimal { number: chance.number(), places: chance.byte() },
        };
        attributes.push((pick(chance, &WORDS), value)).unwrap();
    }
    let [actor, action, object, context, resource] = core::array::from_fn(|_| pick(chance, &WORDS));
    Event { time: time(chance), actor, action, object, context, resource, attributes }
}

/// Of any kind; a crash's stack and a catalogue's encoding are of this.
fn record<'a>(chance: &mut Chance, blob: &'a [u8]) -> Record<'a> {
    let time = time(chance);
    let resets = [
        ResetReason::Unknown,
        ResetReason::Power,
        ResetReason::Software,
        ResetReason::Watchdog,
        ResetReason::Crash,
        ResetReason::Pin,
    ];
    let levels = [Level::Error, Level::Warning, Level::Info, Level::Debug];
    match chance.below(7) {
        0 => Record::Boot(Boot {
            time,
            reset: pick(chance, &resets),
            unsealed_samples_max: core::array::from_fn(|_| narrow(chance)),
            unsealed_events_max: core::array::from_fn(|_| narrow(chance)),
            next: core::array::from_fn(|_| seq(chance)),
        }),
        1 => Record::Event(event(chance)),
        2 => Record::Log(Log {
            time,
            level: pick(chance, &levels),
            target: pick(chance, &WORDS),
            message: pick(chance, &WORDS),
        }),
        3 => Record::Heartbeat(Heartbeat {
            time,
            ring_used: bytes(chance),
            link_up: narrow(chance),
            rejected: narrow(chance),
            refused: narrow(chance),
            stack_free: narrow(chance),
            supply_mv: narrow(chance),
        }),
        4 => Record::Fork(Fork {
            time,
            lane: pick(chance, &Lane::ALL),
            from: RingId(bytes(chance)),
            to: RingId(bytes(chance)),
            acknowledged: seq(chance),
            next: seq(chance),
            reason: pick(chance, &[ForkReason::Ahead, ForkReason::Mismatch]),
        }),
        5 => Record::Crash(Crash {
            time,
            boot: narrow(chance),
            image: narrow(chance),
            registers: core::array::from_fn(|_| narrow(chance)),
            reason: pick(chance, &WORDS),
            stack: blob,
        }),
        _ => Record::Catalogue(blob),
    }
}

/// A body of records, and what is in it; one of a kind that nobody knows yet, now and then.
fn records(chance: &mut Chance) -> (Vec<u8>, Value) {
    let (mut body, mut said) = (Vec::new(), Vec::new());
    for _ in 0..=chance.below(4) {
        if chance.below(8) == 0 {
            body.extend([0, 3, 99, chance.byte(), chance.byte()]);
            said.push(Value::Null);
            continue;
        }
        let blob: Vec<u8> = (0..chance.below(40)).map(|_| chance.byte()).collect();
        let record = record(chance, &blob);
        let mut room = [0; 1024];
        let end = record.append(&mut room, 0).unwrap();
        body.extend_from_slice(&room[..end]);
        said.push(serde_json::to_value(&record).unwrap());
    }
    (body, json!({ "records": said }))
}

fn loss(chance: &mut Chance) -> (Vec<u8>, Value) {
    let reasons = [
        LossReason::Full,
        LossReason::Torn,
        LossReason::Damaged,
        LossReason::Expired,
        LossReason::Superseded,
        LossReason::Unexplained,
        LossReason::AcknowledgedElsewhere,
        LossReason::Journal,
        LossReason::Overrun,
        LossReason::Forked,
    ];
    let loss = Loss {
        first: seq(chance),
        last: seq(chance),
        through: Counts { samples: unsigned(chance), events: unsigned(chance) },
        reason: pick(chance, &reasons),
        time: time(chance),
    };
    let mut room = [0; 128];
    let body = postcard::to_slice(&loss, &mut room).unwrap().to_vec();
    (body, json!({ "loss": loss }))
}

fn batch(chance: &mut Chance, signals: u8) -> (Vec<u8>, Value) {
    let samples = samples(chance, signals);
    let mut columns = vec![0; (samples.len() + 1) * (SAMPLE_BYTES_MAX + CONTENT_LEN_MAX)];
    let coding = pick(chance, &[Coding::Learning, Coding::Still]);
    let mut learning = Encoder::<64>::new(Hints::NONE, signals);
    let mut still = StillEncoder::<64>::new(Hints::NONE, signals);
    for (sample, content) in &samples {
        match coding {
            Coding::Still => still.push_with(&mut columns, *sample, content).unwrap(),
            _ => learning.push_with(&mut columns, *sample, content).unwrap(),
        }
    }
    let len = match coding {
        Coding::Still => still.finish(&mut columns),
        _ => learning.finish(&mut columns),
    };
    let clock = time(chance).clock;
    let header = SamplesHeader {
        context: SamplesContext {
            catalogue: CatalogueId(narrow(chance)),
            clock,
            coding,
            boot: narrow(chance),
        },
        count: u16::try_from(samples.len()).unwrap(),
    };
    let head = header.bytes();
    let samples: Vec<_> = samples.iter().map(said_of).collect();
    let said = json!({
        "catalogue": header.context.catalogue.0,
        "clock": clock,
        "boot": header.context.boot,
        "samples": samples,
    });
    ([&head[..], &columns[..len.unwrap()]].concat(), json!({ "samples": said }))
}

/// A line of what the Python reads.
fn line(chance: &mut Chance) -> String {
    let signals = 1 + chance.byte() % 64;
    let kinds = [Kind::Samples, Kind::Records, Kind::Loss];
    let inner = pick(chance, &kinds);
    let (mut body, mut said) = match inner {
        Kind::Records => records(chance),
        Kind::Loss => loss(chance),
        _ => batch(chance, signals),
    };
    let mut kind = inner;
    if chance.below(4) == 0 {
        kind = Kind::Resealed;
        let (ring, tag) = (RingId(bytes(chance)), FrameTag(bytes(chance)));
        let origin = Origin { ring, tag, seq: seq(chance), kind: inner };
        let mut head = [0; Origin::LEN_MAX];
        let len = origin.write(&mut head);
        body = [&head[..len], &body].concat();
        said["origin"] =
            json!({ "ring": ring, "tag": tag, "seq": origin.seq, "kind": inner as u8 });
    }
    let secret: [u8; 32] = bytes(chance);
    let name = pick(chance, &["a", "taxi-abboip", "vehicle_0123456789-0123456789abc"]);
    let device: DeviceId = name.parse().unwrap();
    let (lane, ring) = (pick(chance, &Lane::ALL), RingId(bytes(chance)));
    let generation = Generation::new(chance.byte() & 3).unwrap();
    let mut header = Header::new(generation, kind, seq(chance));
    // Release 0.1.0 had it all in the body.
    if kind == Kind::Samples && chance.below(4) > 0 {
        let (context, rest) = SamplesContext::read(&body).unwrap();
        header.samples = Some(context);
        body.drain(..body.len() - rest.len());
    }
    let mut buffer = vec![0; HEADER_LEN_MAX + body.len() + TAG_LEN];
    let at = HEADER_LEN_MAX..HEADER_LEN_MAX + body.len();
    buffer[at.clone()].copy_from_slice(&body);
    let key = keys::frame_key(&Secret::new(secret), &device, &ring, generation);
    let (frame, _) = seal(&key, &Binding { device, ring, lane }, &header, &mut buffer, at).unwrap();
    said["generation"] = generation.number().into();
    said["seq"] = header.seq.0.into();
    let frame = &mut buffer[frame];
    let (sealed, frame_len) = (hex(frame), frame.len());
    let mut line = json!({
        "secret": hex(&secret), "device": name, "ring": hex(&ring.0), "lane": lane as u8,
        "signals": signals, "frame": sealed, "said": said,
    });
    if let Some(SamplesContext { catalogue, boot, .. }) = header.samples {
        let acknowledged = Seq(header.seq.0.saturating_sub(1 + chance.below(1_000)));
        let context = compact::Context { catalogue, boot };
        let message = compact::shorten(frame, context, acknowledged);
        let expected = acknowledged.0.saturating_add(1 + chance.below(1_000));
        assert_eq!(message.len() + header.bytes().len(), frame_len + compact::LEN);
        line["compact"] = json!({
            "message": hex(message), "catalogue": catalogue.0, "boot": boot, "expected": expected,
        });
    }
    format!("{line}\n")
}

#[test]
fn a_decoder_from_the_page_alone_opens_a_thousand_frames() {
    let mut chance = Chance(20_261_130);
    let text: String = (0..FRAMES).map(|_| line(&mut chance)).collect();
    let said = opinion("frames.py", &text);
    assert!(said.contains("\"frames\": 1000") && !said.contains("\"compact\": 0"), "{said}");
}

#[test]
fn a_decoder_from_the_page_alone_opens_every_golden_file() {
    let said = opinion("goldens.py", "");
    assert!(said.contains("\"goldens\": 24"), "{said}");
}
