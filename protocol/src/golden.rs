//! Golden bytes, both ways: what a message's bytes are, and that they read back as the message.
//!
//! Wire version 1 is final, and its files are never edited. `MILEPOST_GOLDEN=write cargo test -p milepost-protocol`
//! writes one that is not there yet.

mod batches;
mod samples;

use core::fmt::Write as _;
use std::path::PathBuf;
use std::string::String;
use std::vec::Vec;

use crate::ack::{ACK_LEN_MAX, Ack};
use crate::codec::{
    CodecError, Coding, Decoder, Encoder, Guess, Hints, SamplesContext, SamplesHeader, SignalHint,
    Timing, table_len,
};
use crate::downlink::{DOWNLINK_LEN_MAX, Downlink, Envelope, Welcome};
use crate::event::{Attributes, Event, Level, Log, Value};
use crate::frame::{self, Binding, Body, HEADER_LEN_MAX, Header, Kind, Origin, TAG_LEN, compact};
use crate::health::{Boot, Fork, ForkReason, Heartbeat, ResetReason};
use crate::hello::{Challenge, HELLO_LEN_MAX, Hello, RingState};
use crate::identity::{Counts, DeviceId, FrameTag, Generation, JournalInstance, Lane, RingId, Seq};
use crate::keys::{self, Secret};
use crate::loss::{Loss, LossReason};
use crate::record::{Record, Records};
use crate::sample::Sample;
use crate::signal::{Catalogue, CatalogueError, CatalogueId, Signal, SignalIndex, Step};
use crate::thinning::{Skip, Take, Thin, Thinning, Window};
use crate::time::{Clock, DeviceTime};

fn golden(name: &str, bytes: &[u8]) {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    if text.is_empty() {
        text.push('\n');
    }
    final_text(&std::format!("v1/{name}"), &text);
}

/// Checks that a file still says this.
fn final_text(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    let writes = std::env::var_os("MILEPOST_GOLDEN").is_some_and(|value| value == "write");
    if writes && !path.exists() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let changed = text.lines().zip(expected.lines()).find(|(now, then)| now != then);
    assert!(text == expected, "{name}: the bytes on the wire changed: {changed:?}");
}

fn read_golden(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/v1").join(name);
    let text: String = std::fs::read_to_string(path).unwrap().split_whitespace().collect();
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn secret() -> Secret {
    Secret::new(core::array::from_fn(|at| u8::try_from(at).unwrap()))
}

fn device() -> DeviceId {
    "taxi-abboip".parse().unwrap()
}

fn ring() -> RingId {
    keys::ring_id(&secret(), &device(), Lane::Bulk, 7, &[9; 16])
}

fn binding() -> Binding {
    Binding { device: device(), ring: ring(), lane: Lane::Bulk }
}

fn time() -> DeviceTime {
    DeviceTime { boot: 3, uptime_ms: 61_000, unix_ms: 1_211_094_008_000, clock: Clock::Reference }
}

fn counts(samples: u64, events: u64) -> Counts {
    Counts { samples, events }
}

/// Seals a body, checks the golden bytes and that it opens to the same; the frame.
fn frame_golden(name: &str, header: Header, body: &[u8]) -> Vec<u8> {
    let key = keys::frame_key(&secret(), &device(), &ring(), header.generation);
    let mut buffer = std::vec![0; HEADER_LEN_MAX + body.len() + TAG_LEN];
    let at = HEADER_LEN_MAX..HEADER_LEN_MAX + body.len();
    buffer[at.clone()].copy_from_slice(body);
    let (range, tag) = frame::seal(&key, &binding(), &header, &mut buffer, at).unwrap();
    let sealed = buffer[range].to_vec();
    golden(name, &sealed);
    assert_eq!(frame::tag_of(&sealed), tag);
    let mut opened = sealed.clone();
    let (read, text) = frame::open(&key, &binding(), &mut opened).unwrap();
    assert_eq!((read, &*text), (header, body));
    sealed
}

#[test]
fn keys_and_names() {
    let generation = Generation::new(2).unwrap();
    golden("ring-id", &ring().0);
    golden("frame-key", &keys::frame_key(&secret(), &device(), &ring(), generation).0);
    golden("ack-key", &keys::ack_key(&secret(), &device(), &ring(), generation).0);
    golden("hello-key", &keys::hello_key(&secret(), &device(), generation).0);
    golden("downlink-key", &keys::downlink_key(&secret(), &device(), generation, &[5; 16]).0);
    golden("mqtt-password", &keys::mqtt_password(&secret(), &device()));
}

#[test]
fn samples_frame() {
    let samples: Vec<Sample> = (0..40_i64)
        .map(|at| {
            let steps = [3_777_833 + at * 11, -12_241_820 - at * 7, at % 2];
            let signal = usize::try_from(at % 3).unwrap();
            let tick = 1_211_094_008 + (at / 3) * 60 + i64::from(at == 20);
            Sample::new(tick, SignalIndex(u8::try_from(signal).unwrap()), steps[signal])
        })
        .collect();
    let mut columns = [0; 1024];
    let mut encoder = Encoder::<3>::new(Hints::NONE, 3);
    for sample in &samples {
        encoder.push(&mut columns, *sample).unwrap();
    }
    let count = encoder.count();
    let len = encoder.finish(&mut columns).unwrap();
    let samples_header = SamplesHeader {
        context: SamplesContext {
            catalogue: CatalogueId(0x1234_5678),
            clock: Clock::Reference,
            coding: Coding::Learning,
            boot: 3,
        },
        count,
    };
    let body = [&samples_header.count_bytes()[..], &columns[..len]].concat();
    let header = Header::of_samples(Generation::FIRST, Seq(300), samples_header.context);
    let mut sealed = frame_golden("samples-frame", header, &body);
    let context = compact::Context { catalogue: CatalogueId(0x1234_5678), boot: 3 };
    let message = compact::shorten(&mut sealed, context, Seq(290)).to_vec();
    golden("samples-frame-compact", &message);
    let restored = compact::restore(&message, context, Seq(300)).unwrap();
    assert_eq!(restored.0, header);
    let (Body::Samples(read, columns), None) = Body::read(&header, &body).unwrap() else {
        panic!("not samples");
    };
    assert_eq!(read, samples_header);
    let mut decoder = Decoder::<64>::default();
    let back: Result<Vec<_>, _> = decoder.behind(&read, Hints::NONE, columns, 3).collect();
    assert_eq!(back.unwrap(), samples);
    // What release 0.1.0 made of the same, for good.
    let mut old = read_golden("samples-frame-0.1.0");
    let key = keys::frame_key(&secret(), &device(), &ring(), header.generation);
    let (read, body) = frame::open(&key, &binding(), &mut old).unwrap();
    assert_eq!(read, Header::new(Generation::FIRST, Kind::Samples, Seq(300)));
    let (Body::Samples(read, columns), None) = Body::read(&read, body).unwrap() else {
        panic!("not samples");
    };
    let context = SamplesContext { coding: Coding::Rice, ..samples_header.context };
    assert_eq!(read, SamplesHeader { context, ..samples_header });
    let back = decoder.behind(&read, Hints::NONE, columns, 3);
    assert_eq!(back.size_hint(), (0, Some(samples.len())));
    assert_eq!(back.collect::<Result<Vec<_>, _>>().unwrap(), samples);
    let cut = &columns[..columns.len() - 1];
    let cut: Result<Vec<_>, _> = decoder.behind(&read, Hints::NONE, cut, 3).collect();
    assert_eq!(cut, Err(CodecError::Truncated));
    let alien: Result<Vec<_>, _> = decoder.behind(&read, Hints::NONE, columns, 2).collect();
    assert_eq!(alien, Err(CodecError::UnknownSignal));
}

#[test]
fn records_frame() {
    let mut attributes = Attributes::new();
    attributes.push(("speed", Value::Decimal { number: 413, places: 1 })).unwrap();
    attributes.push(("by", Value::Text("driver"))).unwrap();
    attributes.push(("open", Value::Bool(true))).unwrap();
    attributes.push(("count", Value::Int(-3))).unwrap();
    let next = [Seq(1), Seq(2), Seq(3)];
    let fork = Fork {
        time: time(),
        lane: Lane::Bulk,
        from: ring(),
        to: RingId([1; 16]),
        acknowledged: Seq(500),
        next: Seq(301),
        reason: ForkReason::Ahead,
    };
    let records = [
        Record::Boot(Boot {
            time: time(),
            reset: ResetReason::Watchdog,
            unsealed_samples_max: [0, 512, 1],
            unsealed_events_max: [4, 0, 0],
            next,
        }),
        Record::Event(Event {
            time: time(),
            actor: "driver",
            action: "open",
            object: "door.rear",
            context: "trip-12",
            resource: "Vehicle.Cabin",
            attributes,
        }),
        Record::Log(Log { time: time(), level: Level::Warning, target: "ring", message: "worn" }),
        Record::Heartbeat(Heartbeat { time: time(), ring_used: [1, 200, 3], ..Default::default() }),
        Record::Fork(fork),
        Record::Catalogue(&[1, 2, 3]),
    ];
    let mut body = [0; 512];
    let end = records.iter().fold(0, |at, record| record.append(&mut body, at).unwrap());
    let body = &body[..end];
    let header = Header::new(Generation::FIRST, Kind::Records, Seq(1));
    frame_golden("records-frame", header, body);
    let back: Result<Vec<_>, _> = Records::new(body).collect();
    assert_eq!(back.unwrap(), records);
    assert_eq!(Records::new(body).counts(), counts(0, 5), "a catalogue counts as nothing");
    // An unknown record is stepped over.
    let mut longer = [0, 2, 99, 0].to_vec();
    longer.extend_from_slice(body);
    assert_eq!(Records::new(&longer).flatten().count(), records.len());
}

#[test]
fn loss_frame_and_resealed_frame() {
    let loss = Loss {
        first: Seq(12),
        last: Seq(40),
        through: counts(20_000, 3),
        reason: LossReason::Full,
        time: time(),
    };
    let mut bytes = [0; 64];
    let loss_body = postcard::to_slice(&loss, &mut bytes).unwrap().to_vec();
    let header = Header::new(Generation::FIRST, Kind::Loss, Seq(41));
    frame_golden("loss-frame", header, &loss_body);
    assert!(
        matches!(Body::read(&header, &loss_body), Ok((Body::Loss(read), None)) if read == loss)
    );

    let origin =
        Origin { ring: RingId([3; 16]), tag: FrameTag([4; 8]), seq: Seq(77), kind: Kind::Records };
    let mut head = [0; Origin::LEN_MAX];
    let len = origin.write(&mut head);
    let mut body = head[..len].to_vec();
    let mut record = [0; 64];
    let end = Record::Log(Log { time: time(), level: Level::Info, target: "x", message: "y" })
        .append(&mut record, 0)
        .unwrap();
    body.extend_from_slice(&record[..end]);
    let header = Header::new(Generation::FIRST, Kind::Resealed, Seq(2));
    frame_golden("resealed-frame", header, &body);
    let (read, from) = Body::read(&header, &body).unwrap();
    assert_eq!(from, Some(origin));
    assert_eq!(read.counts(), counts(0, 1));
}

#[test]
fn hello_message() {
    let mut rings = heapless::Vec::new();
    for lane in Lane::ALL {
        rings
            .push(RingState {
                lane,
                ring: ring(),
                first_retained: Seq(10),
                next: Seq(20),
                before_first: counts(1000, 10),
                before_next: counts(2000, 20),
                acknowledged: Seq(9),
                acknowledged_by: JournalInstance([8; 8]),
            })
            .unwrap();
    }
    let hello = Hello {
        time: time(),
        challenge: Challenge([6; 16]),
        catalogue: CatalogueId(0x1234_5678),
        campaign: 2,
        image: 0xcafe_f00d,
        rings,
    };
    let key = keys::hello_key(&secret(), &device(), Generation::FIRST);
    let mut bytes = [0; HELLO_LEN_MAX];
    let len = hello.seal(&key, &device(), Generation::FIRST, [2; 12], &mut bytes).unwrap();
    golden("hello", &bytes[..len]);
    let mut opened = bytes[..len].to_vec();
    assert_eq!(Hello::open(&key, &device(), &mut opened).unwrap(), hello);
    for at in 0..len {
        let mut bent = bytes[..len].to_vec();
        bent[at] ^= 1;
        assert!(Hello::open(&key, &device(), &mut bent).is_err(), "bit {at} flipped");
    }
    let mut cut = bytes[..len - 1].to_vec();
    assert!(Hello::open(&key, &device(), &mut cut).is_err());
}

#[test]
fn ack_message() {
    let ack = Ack {
        generation: Generation::new(1).unwrap(),
        lane: Lane::Bulk,
        durable: Seq(300),
        tag: FrameTag([7; 8]),
        instance: JournalInstance([8; 8]),
        repeat: true,
    };
    let key = keys::ack_key(&secret(), &device(), &ring(), ack.generation);
    let mut bytes = [0; ACK_LEN_MAX];
    let len = ack.seal(&key, &device(), &ring(), &mut bytes);
    let bytes = &bytes[..len];
    golden("ack", bytes);
    assert_eq!(Ack::open(&key, &device(), &ring(), bytes), Ok(ack));
    assert_eq!(Ack::peek(bytes), Ok(ack));
    assert!(Ack::open(&key, &device(), &RingId([0; 16]), bytes).is_err(), "another ring's");
    for at in 0..len {
        let mut bent = bytes.to_vec();
        bent[at] ^= 1;
        assert!(Ack::open(&key, &device(), &ring(), &bent).is_err(), "bit {at} flipped");
        assert!(Ack::open(&key, &device(), &ring(), &bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn downlink_message() {
    let welcome = Downlink::Welcome(Welcome {
        unix_ms: 1_211_094_008_123,
        hello_uptime_ms: 61_000,
        wants_catalogue: true,
    });
    let envelope = Envelope { generation: Generation::FIRST, salt: [5; 16], number: 77 };
    let challenge = Challenge([6; 16]);
    let mut bytes = [0; DOWNLINK_LEN_MAX];
    let len = envelope.seal(&secret(), &device(), &challenge, &welcome, &mut bytes).unwrap();
    golden("welcome", &bytes[..len]);
    let mut opened = bytes[..len].to_vec();
    let read = Envelope::open(&secret(), &device(), &challenge, &mut opened).unwrap();
    assert_eq!(read, (envelope, welcome));
    let mut replayed = bytes[..len].to_vec();
    let other = Challenge([7; 16]);
    assert!(Envelope::open(&secret(), &device(), &other, &mut replayed).is_err(), "replayed");
}

#[test]
fn catalogue_record() {
    let signals = [
        Signal {
            path: "Vehicle.CurrentLocation.Latitude",
            unit: "degrees",
            step: Step::new(1, 100_000),
            raw_min: -9_000_000,
            raw_max: 9_000_000,
        },
        Signal {
            path: "Vehicle.Cabin.IsOccupied",
            unit: "",
            step: Step::ONE,
            raw_min: 0,
            raw_max: 1,
        },
    ];
    let catalogue = Catalogue::new(1000, &signals);
    let mut bytes = [0; Catalogue::ENCODED_MAX];
    let len = catalogue.encode(&mut bytes).unwrap();
    let bytes = &bytes[..len];
    golden("catalogue", bytes);
    golden("usual", crate::codec::usual());
    golden("catalogue-id", &Catalogue::id_of(bytes).0.to_be_bytes());
    assert_eq!(Catalogue::decode::<64>(bytes).unwrap().catalogue(), catalogue);
    // With what was learnt of them.
    let hint = |guess, related| SignalHint {
        guess,
        related,
        follower: 1,
        expected: -3,
        spread: 9,
        interval: 30,
        period: 4808,
    };
    let hinted = [hint(Guess::Linear, 1), hint(Guess::Related, 0)];
    let levels: Vec<u8> = (0..table_len(2)).map(|at| u8::try_from(at * 7 % 256).unwrap()).collect();
    let timing = Timing::Beats([480, 440]);
    let hints = Hints { timing, signals: &hinted, levels: &levels };
    let mut learnt = [0; Catalogue::ENCODED_MAX];
    let len = Catalogue { hints, ..catalogue }.encode(&mut learnt).unwrap();
    golden("catalogue-with-hints", &learnt[..len]);
    let decoded = Catalogue::decode::<64>(&learnt[..len]).unwrap();
    assert_eq!(decoded.catalogue(), Catalogue { hints, ..catalogue });
    for wrong in [Hints { signals: &hinted[..1], ..hints }, Hints { levels: &levels[1..], ..hints }]
    {
        let wrong = Catalogue { hints: wrong, ..catalogue };
        assert_eq!(wrong.encode(&mut [0; 4096]), Err(CatalogueError::Range));
    }
    // And thinned, with and without that.
    let skip = Skip { dead_band: Some(3), interval_ms: 1000, silence_ms: 60_000 };
    let window = Window { of: SignalIndex(0), take: Take::Mean, length_ms: 10_000 };
    let thinning = [
        Thinning { signal: SignalIndex(0), how: Thin::Skip(skip) },
        Thinning { signal: SignalIndex(1), how: Thin::Window(window) },
    ];
    let thinned = [signals[0], Signal { path: "Vehicle.CurrentLocation.Mean", ..signals[0] }];
    for (name, hints) in
        [("catalogue-thinned", Hints::NONE), ("catalogue-thinned-with-hints", hints)]
    {
        let catalogue = Catalogue { tick_ms: 1000, signals: &thinned, hints, thinning: &thinning };
        let mut bytes = [0; Catalogue::ENCODED_MAX];
        let len = catalogue.encode(&mut bytes).unwrap();
        golden(name, &bytes[..len]);
        let decoded = Catalogue::decode::<64>(&bytes[..len]).unwrap();
        assert_eq!(decoded.catalogue(), catalogue);
    }
    // Nothing has one form: none at all.
    for nothing in [&[0, 0, 0][..], &[0, 0, 0, 0], &[0, 0, 0, 1, 0, 0, 1, 5, 0, 0, 7]] {
        let said = [bytes, nothing].concat();
        assert_eq!(Catalogue::decode::<64>(&said), Err(CatalogueError::Malformed));
    }
    let zero_step = [Signal { step: Step::new(0, 1), ..signals[1] }];
    let wrong = Catalogue::new(1, &zero_step);
    assert!(wrong.encode(&mut [0; 256]).is_err());
}

#[test]
fn a_frame_opens_nowhere_else() {
    let header = Header::new(Generation::FIRST, Kind::Records, Seq(5));
    let sealed = frame_golden("empty-frame", header, &[]);
    let key = keys::frame_key(&secret(), &device(), &ring(), Generation::FIRST);
    let others = [
        Binding { device: "taxi-other".parse().unwrap(), ..binding() },
        Binding { ring: RingId([0; 16]), ..binding() },
        Binding { lane: Lane::Critical, ..binding() },
    ];
    for other in others {
        assert!(frame::open(&key, &other, &mut sealed.clone()).is_err());
    }
    for at in 0..sealed.len() * 8 {
        let mut bent = sealed.clone();
        bent[at / 8] ^= 1 << (at % 8);
        assert!(frame::open(&key, &binding(), &mut bent).is_err(), "bit {at} flipped");
    }
    for len in 0..sealed.len() {
        assert!(
            frame::open(&key, &binding(), &mut sealed[..len].to_vec()).is_err(),
            "cut at {len}"
        );
    }
    let oversized = std::vec![0; frame::FRAME_LEN_MAX + 1];
    assert_eq!(Header::read(&oversized), Err(frame::FrameError::Oversized));
}
