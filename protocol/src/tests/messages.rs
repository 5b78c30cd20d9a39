use std::vec;

use crate::WIRE_VERSION;
use crate::ack::{ACK_LEN_MAX, Ack};
use crate::codec::{Coding, SamplesContext};
use crate::downlink::{DOWNLINK_LEN_MAX, Downlink, Envelope, Welcome};
use crate::frame::{
    self, Binding, FRAME_LEN_MAX, FrameError, HEADER_LEN_MAX, Header, Kind, Origin, TAG_LEN,
    compact,
};
use crate::hello::{Challenge, HELLO_LEN_MAX, Hello, Rings};
use crate::identity::{DeviceId, FrameTag, Generation, JournalInstance, Lane, RingId, Seq};
use crate::keys::{self, Secret};
use crate::record::Record;
use crate::signal::{Catalogue, CatalogueId};
use crate::time::{Clock, DeviceTime};

const RING: RingId = RingId([3; 16]);

fn secret() -> Secret {
    Secret::new([9; 32])
}

fn device() -> DeviceId {
    "van-7".parse().unwrap()
}

fn generations() -> impl Iterator<Item = Generation> {
    (0..4).filter_map(Generation::new)
}

#[test]
fn the_longest_acknowledgement_takes_all_the_room_there_is() {
    let ack = Ack {
        generation: Generation::FIRST,
        lane: Lane::Critical,
        durable: Seq(u64::MAX),
        tag: FrameTag([1; 8]),
        instance: JournalInstance([2; 8]),
        repeat: false,
    };
    let key = keys::ack_key(&secret(), &device(), &RING, ack.generation);
    let mut bytes = [0; ACK_LEN_MAX];
    assert_eq!(ack.seal(&key, &device(), &RING, &mut bytes), ACK_LEN_MAX);
    assert_eq!(Ack::open(&key, &device(), &RING, &bytes), Ok(ack));
}

#[test]
fn an_acknowledgement_says_its_generation_and_whether_to_repeat() {
    for generation in generations() {
        for repeat in [false, true] {
            let ack = Ack {
                generation,
                lane: Lane::Latest,
                durable: Seq(1),
                tag: FrameTag::default(),
                instance: JournalInstance::default(),
                repeat,
            };
            let key = keys::ack_key(&secret(), &device(), &RING, generation);
            let mut bytes = [0; ACK_LEN_MAX];
            let len = ack.seal(&key, &device(), &RING, &mut bytes);
            assert_eq!(Ack::open(&key, &device(), &RING, &bytes[..len]), Ok(ack));
        }
    }
}

/// What samples are of.
const CONTEXT: SamplesContext = SamplesContext {
    catalogue: CatalogueId(7),
    clock: Clock::Agent,
    coding: Coding::Still,
    boot: 3,
};

fn sealed(header: &Header, body_len: usize) -> (vec::Vec<u8>, FrameTag) {
    let binding = Binding { device: device(), ring: RING, lane: Lane::Bulk };
    let key = keys::frame_key(&secret(), &device(), &RING, header.generation);
    let mut buffer = vec![0; HEADER_LEN_MAX + body_len + TAG_LEN];
    let body = HEADER_LEN_MAX..HEADER_LEN_MAX + body_len;
    let (place, tag) = frame::seal(&key, &binding, header, &mut buffer, body).unwrap();
    let frame = buffer[place].to_vec();
    let mut opened = frame.clone();
    assert_eq!(frame::open(&key, &binding, &mut opened).unwrap().0, *header);
    (frame, tag)
}

#[test]
fn a_frame_says_its_generation_kind_and_number() {
    for generation in generations() {
        for kind in [Kind::Samples, Kind::Records, Kind::Loss, Kind::Resealed] {
            for seq in [Seq(1), Seq(u64::MAX)] {
                let (frame, tag) = sealed(&Header::new(generation, kind, seq), 4);
                assert_eq!(frame::tag_of(&frame), tag);
                assert_eq!(tag.0, frame[frame.len() - TAG_LEN..][..8]);
            }
        }
    }
}

#[test]
fn the_longest_header_takes_all_the_room_there_is() {
    let context = SamplesContext { boot: u32::MAX, ..CONTEXT };
    let header = Header::of_samples(Generation::FIRST, Seq(u64::MAX), context);
    let (frame, _) = sealed(&header, 5);
    assert_eq!(frame.len(), HEADER_LEN_MAX + 5 + TAG_LEN);
}

#[test]
fn a_header_of_samples_says_what_they_are_of_or_is_malformed() {
    let header = Header::of_samples(Generation::FIRST, Seq(300), CONTEXT);
    let (frame, _) = sealed(&header, 0);
    for (at, wrong) in [(7, 4), (7, 0xc0)] {
        let mut frame = frame.clone();
        frame[at] = wrong;
        assert_eq!(Header::read(&frame), Err(FrameError::Malformed), "clock, coding");
    }
    assert_eq!(Header::read(&frame[..7]), Err(FrameError::Malformed));
    assert_eq!(Header::read(&frame[..frame.len() - 1]), Err(FrameError::Truncated));
}

/// What a hello says of the device's samples.
const SAID: compact::Context =
    compact::Context { catalogue: CONTEXT.catalogue, boot: CONTEXT.boot };

#[test]
fn a_compact_frame_is_put_together_again_while_both_sides_know_about_where_they_are() {
    for (seq, acknowledged, expected) in [
        (1, 0, 1),
        (300, 299, 300),
        (5_000, 3_976, 3_977),
        (5_000, 4_990, 5_800),
        (1 << 40, (1 << 40) - 7, 1 << 40),
    ] {
        let header = Header::of_samples(Generation::new(3).unwrap(), Seq(seq), CONTEXT);
        let (frame, _) = sealed(&header, 9);
        let mut sent = frame.clone();
        let message = compact::shorten(&mut sent, SAID, Seq(acknowledged));
        assert_eq!(message.len(), compact::LEN + 9 + TAG_LEN);
        assert!(compact::is_compact(message) && !compact::is_compact(&frame));
        assert_eq!(Header::read(message), Err(FrameError::Version), "never taken for what is kept");
        let (restored, rest) = compact::restore(message, SAID, Seq(expected)).unwrap();
        assert_eq!((restored, [&restored.bytes()[..], rest].concat()), (header, frame));
    }
}

#[test]
fn a_frame_that_the_agent_could_not_put_together_is_sent_as_it_is() {
    let header = Header::of_samples(Generation::FIRST, Seq(5_000), CONTEXT);
    let other_boot = compact::Context { boot: 4, ..SAID };
    let other_catalogue = compact::Context { catalogue: CatalogueId(8), ..SAID };
    let old = Header::new(Generation::FIRST, Kind::Samples, Seq(5_000));
    let records = Header::new(Generation::FIRST, Kind::Records, Seq(5_000));
    for (header, context, acknowledged) in [
        (header, SAID, 3_975),
        (header, SAID, 5_000),
        (header, SAID, 5_001),
        (header, other_boot, 4_999),
        (header, other_catalogue, 4_999),
        (old, SAID, 4_999),
        (records, SAID, 4_999),
    ] {
        let (frame, _) = sealed(&header, 9);
        let mut sent = frame.clone();
        assert_eq!(compact::shorten(&mut sent, context, Seq(acknowledged)), frame);
    }
}

#[test]
fn a_compact_frame_behind_the_wrong_hello_does_not_open() {
    let header = Header::of_samples(Generation::FIRST, Seq(300), CONTEXT);
    let (mut frame, _) = sealed(&header, 9);
    let message = compact::shorten(&mut frame, SAID, Seq(299)).to_vec();
    let binding = Binding { device: device(), ring: RING, lane: Lane::Bulk };
    let key = keys::frame_key(&secret(), &device(), &RING, Generation::FIRST);
    let other_boot = compact::Context { boot: 4, ..SAID };
    for (context, expected, opens) in
        [(SAID, 300, true), (other_boot, 300, false), (SAID, 300 + 4_096, false)]
    {
        let (header, rest) = compact::restore(&message, context, Seq(expected)).unwrap();
        let mut frame = [&header.bytes()[..], rest].concat();
        assert_eq!(frame::open(&key, &binding, &mut frame).is_ok(), opens, "{context:?}");
    }
}

#[test]
fn no_compact_header_is_taken_that_says_what_it_cannot() {
    let header = Header::of_samples(Generation::FIRST, Seq(300), CONTEXT);
    let (mut frame, _) = sealed(&header, 0);
    let message = compact::shorten(&mut frame, SAID, Seq(299)).to_vec();
    let with = |at: usize, byte: u8| {
        let mut message = message.clone();
        message[at] = byte;
        compact::restore(&message, SAID, Seq(300)).unwrap_err()
    };
    assert_eq!(with(0, message[0] & 0x7f), FrameError::Version);
    assert_eq!(with(0, message[0] ^ 0x20), FrameError::Version);
    assert_eq!(with(0, message[0] | 1), FrameError::Malformed, "records");
    assert_eq!(with(1, message[1] | 0x30), FrameError::Malformed, "a fourth coding");
    for len in 0..message.len() {
        let cut = compact::restore(&message[..len], SAID, Seq(300));
        assert_eq!(cut.unwrap_err(), FrameError::Truncated);
    }
    let zero = [&[message[0], message[1] & 0xf0, 0][..], &message[3..]].concat();
    assert_eq!(compact::restore(&zero, SAID, Seq(1)).unwrap_err(), FrameError::Malformed);
}

#[test]
fn a_frame_is_as_long_as_it_may_be_and_no_longer() {
    let header = Header::new(Generation::FIRST, Kind::Samples, Seq(1));
    let (frame, _) = sealed(&header, FRAME_LEN_MAX - TAG_LEN - 2);
    assert_eq!(frame.len(), FRAME_LEN_MAX);
    let longer = [&frame[..], &[0]].concat();
    assert_eq!(Header::read(&longer), Err(FrameError::Oversized));
}

#[test]
fn where_a_resealed_frame_comes_from_takes_the_room_that_is_kept_for_it() {
    let origin = |kind| Origin { ring: RING, tag: FrameTag([4; 8]), seq: Seq(u64::MAX), kind };
    let mut bytes = [0; Origin::LEN_MAX];
    for kind in [Kind::Samples, Kind::Records, Kind::Loss] {
        assert_eq!(origin(kind).write(&mut bytes), Origin::LEN_MAX);
        assert_eq!(Origin::read(&bytes), Some((origin(kind), &[][..])));
    }
    origin(Kind::Resealed).write(&mut bytes);
    assert_eq!(Origin::read(&bytes), None, "resealed twice");
}

fn hello() -> Hello {
    Hello {
        time: DeviceTime::default(),
        challenge: Challenge([5; 16]),
        catalogue: CatalogueId(1),
        campaign: 2,
        image: 3,
        rings: Rings::new(),
    }
}

#[test]
fn a_hello_says_its_generation_before_it_is_opened() {
    for generation in generations() {
        let key = keys::hello_key(&secret(), &device(), generation);
        let mut bytes = [0; HELLO_LEN_MAX];
        let len = hello().seal(&key, &device(), generation, [8; 12], &mut bytes).unwrap();
        assert_eq!(Hello::generation(&bytes), Ok(generation));
        assert_eq!(Hello::open(&key, &device(), &mut bytes[..len]), Ok(hello()));
    }
}

#[test]
fn a_hello_is_as_long_as_it_may_be_and_no_longer() {
    let key = keys::hello_key(&secret(), &device(), Generation::FIRST);
    let open = |len| Hello::open(&key, &device(), &mut vec![0; len]);
    assert_eq!(open(HELLO_LEN_MAX), Err(FrameError::Unauthentic));
    assert_eq!(open(HELLO_LEN_MAX + 1), Err(FrameError::Oversized));
    assert_eq!(open(HELLO_LEN_MAX + 2), Err(FrameError::Oversized));
}

#[test]
fn a_downlink_message_says_its_generation_and_its_number() {
    let welcome =
        Downlink::Welcome(Welcome { unix_ms: 1, hello_uptime_ms: 2, wants_catalogue: false });
    let challenge = Challenge([5; 16]);
    for generation in generations() {
        let envelope = Envelope { generation, salt: [6; 16], number: u64::MAX - 5 };
        let mut bytes = [0; DOWNLINK_LEN_MAX];
        let len = envelope.seal(&secret(), &device(), &challenge, &welcome, &mut bytes).unwrap();
        let opened = Envelope::open(&secret(), &device(), &challenge, &mut bytes[..len]);
        assert_eq!(opened, Ok((envelope, welcome)));
    }
}

#[test]
fn a_downlink_message_is_as_long_as_it_may_be_and_no_longer() {
    let open = |len| {
        Envelope::open(&secret(), &device(), &Challenge::default(), &mut vec![0; len]).unwrap_err()
    };
    assert_eq!(open(DOWNLINK_LEN_MAX), FrameError::Unauthentic);
    assert_eq!(open(DOWNLINK_LEN_MAX + 1), FrameError::Oversized);
    assert_eq!(open(DOWNLINK_LEN_MAX + 2), FrameError::Oversized);
}

#[test]
fn another_version_is_refused_by_every_message() {
    let first = (WIRE_VERSION + 1) << 4;
    let bytes = [first; 64];
    assert_eq!(Header::read(&bytes), Err(FrameError::Version));
    assert_eq!(Hello::generation(&bytes), Err(FrameError::Version));
    assert_eq!(Ack::peek(&bytes), Err(crate::ack::AckError::Version));
    let opened = Envelope::open(&secret(), &device(), &Challenge::default(), &mut bytes.clone());
    assert_eq!(opened, Err(FrameError::Version));
}

#[test]
fn the_longest_record_is_a_catalogue_and_little_more() {
    let encoding = [0; Catalogue::ENCODED_MAX];
    let mut body = [0; 2 * Catalogue::ENCODED_MAX];
    let end = Record::Catalogue(&encoding).append(&mut body, 0).unwrap();
    assert!((end..end + 16).contains(&Record::LEN_MAX));
}
