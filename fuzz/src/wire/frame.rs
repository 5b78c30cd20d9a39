//! Frames as they come from a stranger, and the device's own, changed on the way.
//!
//! Whatever opens is what the key sealed: sealed again it is the same bytes. A frame that was changed
//! in any bit does not open, nor one that was cut or lengthened.

use protocol::frame::{self, HEADER_LEN_MAX, Header, Kind, compact};
use protocol::varint;
use protocol::{Generation, Seq};

use super::world::{CONTEXT, Sealed, WORLD, binding, samples_body};
use crate::bound::bounded;
use crate::input::Input;

/// What the hello of the connection said.
const COMMON: compact::Context =
    compact::Context { catalogue: CONTEXT.catalogue, boot: CONTEXT.boot };

pub fn run(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0x80.., rest)) => changed(rest),
        Some((0x40.., rest)) => stranger_on_its_way(rest),
        Some((_, rest)) => stranger(rest),
        None => {}
    }
}

/// Any bytes at all.
fn stranger(bytes: &[u8]) {
    let mut copy = [0; 512];
    let Some(copy) = copy.get_mut(..bytes.len()) else { return };
    copy.copy_from_slice(bytes);
    let number = bounded(0, || varint::read(bytes));
    if let Some((value, rest)) = number {
        let mut again = [0; varint::LEN_MAX];
        let len = varint::write(value, &mut again).unwrap();
        assert_eq!(again[..len], bytes[..bytes.len() - rest.len()], "two forms of one number");
        assert_eq!(varint::unzigzag(varint::zigzag(value.cast_signed())), value.cast_signed());
    }
    let peeked = bounded(0, || Header::read(bytes)).map(|(header, rest)| (header, rest.len()));
    let opened = bounded(0, || frame::open(&WORLD.frame_key, &binding(), copy));
    match (peeked, opened) {
        (Ok((header, _)), Ok((opened, body))) => {
            assert_eq!(header, opened);
            let mut sealed = Sealed::new(&header, body).unwrap();
            assert_eq!(sealed.bytes(), bytes, "opened, and not what the key seals");
        }
        (Ok((header, rest)), Err(error)) => {
            assert_eq!(error, frame::FrameError::Unauthentic);
            assert!(header.seq.0 > 0 && bytes.len() - rest <= HEADER_LEN_MAX);
        }
        (Err(peeked), Err(opened)) => assert_eq!(peeked, opened),
        (Err(peeked), Ok(_)) => panic!("opened, although {peeked}"),
    }
}

/// A frame of the device's own, changed as the input says, or not at all.
fn changed(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let shape = input.byte();
    let kind = [Kind::Samples, Kind::Records, Kind::Loss, Kind::Resealed][usize::from(shape & 3)];
    let seq = Seq(input.number().unsigned_abs().max(1));
    let header = match kind {
        Kind::Samples if shape & 4 == 0 => Header::of_samples(Generation::FIRST, seq, CONTEXT),
        kind => Header::new(Generation::FIRST, kind, seq),
    };
    if header.samples.is_some() && shape & 8 != 0 {
        return shortened(&header, &mut input);
    }
    let (how, at, mask) = (input.byte(), usize::from(input.short()), input.byte());
    let body = input.rest();
    let Some(mut sealed) = Sealed::new(&header, body) else { return };
    let len = sealed.bytes().len();
    let frame = sealed.bytes();
    let (frame, is_same) = match how % 3 {
        0 => (frame, true),
        1 => {
            frame[at % len] ^= mask;
            (frame, mask == 0)
        }
        _ => (&mut frame[..at % len], false),
    };
    match bounded(0, || frame::open(&WORLD.frame_key, &binding(), frame)) {
        Ok((opened, text)) => {
            assert!(is_same, "a changed frame opened");
            assert_eq!((opened, &*text), (header, body));
        }
        Err(error) => assert!(!is_same, "the device's own frame does not open: {error}"),
    }
}

/// A frame on its way with a compact header, from what a device takes for acknowledged to what an
/// agent waits for.
fn shortened(header: &Header, input: &mut Input<'_>) {
    let acknowledged = Seq(header.seq.0.saturating_sub(u64::from(input.short())));
    let behind = header.seq.0 - acknowledged.0;
    let expected = Seq(acknowledged.0.saturating_add(u64::from(input.short()) % 1_024));
    let Some(mut sealed) = Sealed::new(header, input.piece()) else { return };
    let kept = sealed.bytes().to_vec();
    let message = bounded(0, || compact::shorten(sealed.bytes(), COMMON, acknowledged));
    if !compact::is_compact(message) {
        assert_eq!(message, kept, "sent as it is, and is not");
        assert!(!(1..=1_024).contains(&behind), "behind a hello that says all of it");
        return;
    }
    assert!((1..=1_024).contains(&behind));
    let (restored, rest) = bounded(0, || compact::restore(message, COMMON, expected)).unwrap();
    assert_eq!((restored, [&restored.bytes()[..], rest].concat()), (*header, kept));
}

/// Any bytes as a message with a compact header: at most one of its numbers fits.
fn stranger_on_its_way(bytes: &[u8]) {
    let sum = |sum: u64, byte: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
    let expected = Seq(bytes.iter().fold(1, sum) & 0xffff);
    let Ok((header, rest)) = bounded(0, || compact::restore(bytes, COMMON, expected)) else {
        return;
    };
    assert!(compact::is_compact(bytes) && header.seq.0 > 0);
    let mut kept = [&header.bytes()[..], rest].concat();
    let again = compact::shorten(&mut kept, COMMON, header.seq.prev());
    assert_eq!(again, bytes, "two forms of one message");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let body = samples_body();
    let header = Header::of_samples(Generation::FIRST, Seq(300), CONTEXT);
    let sealed = Sealed::new(&header, &body).unwrap().bytes().to_vec();
    let mut compact = sealed.clone();
    let compact = compact::shorten(&mut compact, COMMON, Seq(299));
    let own = |how: &[u8]| [&[0x80][..], how, &body[..40]].concat();
    vec![
        [&[0][..], &sealed].concat(),
        [&[0][..], &sealed[..20]].concat(),
        [&[0x40][..], compact].concat(),
        own(&[8, 1, 44, 1, 1, 0, 2, 0, 9]),
        own(&[0, 0, 44, 0, 0, 0, 0]),
        own(&[1, 1, 44, 1, 1, 9, 0, 4]),
        own(&[2, 7, 1, 2, 3, 4, 5, 6, 7, 8, 2, 30, 0, 0]),
    ]
}
