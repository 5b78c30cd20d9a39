//! Faults planted on purpose, none of them in the product: a fuzzer that finds nothing shows nothing
//! unless it can find something. Each is a target whose parser is wrong in one way that another oracle
//! has to notice, and it begins with no corpus at all.

use protocol::ack::Ack;
use protocol::codec::{Decoder, Hints, SamplesHeader};
use protocol::frame::{Header, TAG_LEN};
use protocol::{Sample, varint};

use crate::Target;
use crate::bound::{NETWORK_MAX, bounded};

/// All of them; libFuzzer finds them in the program of the wire's targets.
pub const FAULTS: &[Target] = &[
    fault("planted-off-by-one", off_by_one),
    fault("planted-count-believed", count_believed),
    fault("planted-two-forms", two_forms),
    fault("planted-tag-cut", tag_cut),
    fault("planted-signal-unknown", signal_unknown),
];

const fn fault(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, len_max: 256, alloc_max: NETWORK_MAX, run, seeds: Vec::new, words: &[] }
}

/// A packet of 64 bytes at most, where 65 are let through.
fn off_by_one(bytes: &[u8]) {
    let mut room = [0; 64];
    let Some((b"MP", rest)) = bytes.split_first_chunk::<2>() else { return };
    let Some((len, rest)) = rest.split_first() else { return };
    let len = usize::from(*len);
    if len <= room.len() + 1 && rest.len() >= len {
        room[..len].copy_from_slice(&rest[..len]);
    }
}

/// Room for as many samples as a header says there are, before one of them was read.
fn count_believed(bytes: &[u8]) {
    let Ok((header, columns)) = SamplesHeader::read(bytes) else { return };
    bounded(NETWORK_MAX, || {
        let mut samples: Vec<Sample> = Vec::with_capacity(usize::from(header.count));
        let mut decoder = Decoder::<64>::default();
        let all = decoder.behind(&header, Hints::NONE, columns, 64);
        samples.extend(all.map_while(Result::ok));
        samples
    });
}

/// Numbers longer than they need be.
fn two_forms(bytes: &[u8]) {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(varint::LEN_MAX - 1) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let mut again = [0; varint::LEN_MAX];
            let len = varint::write(value, &mut again).unwrap();
            assert_eq!(again[..len], bytes[..=at], "two forms of one number");
            return;
        }
    }
}

/// A tag of which one byte is compared.
fn tag_cut(bytes: &[u8]) {
    let Ok((header, text)) = Header::read(bytes) else { return };
    let tag = text.len() - TAG_LEN;
    let right: [u8; TAG_LEN] = std::array::from_fn(|at| header.seq.0.to_le_bytes()[at % 8] ^ 0x5a);
    if text[tag] == right[0] {
        assert_eq!(text[tag..], right, "opened, and not what the key seals");
    }
    std::hint::black_box(Ack::peek(bytes).is_ok());
}

/// A catalogue believed to have one signal more than it has.
fn signal_unknown(bytes: &[u8]) {
    let Some((signals, columns)) = bytes.split_first() else { return };
    let signals = signals & 15;
    let mut decoder = Decoder::<64>::default();
    let samples = decoder.batch(Hints::NONE, columns, 20, signals + 1);
    for sample in samples.map_while(Result::ok) {
        assert!(sample.signal.0 < signals, "a signal that the catalogue does not have");
    }
}
