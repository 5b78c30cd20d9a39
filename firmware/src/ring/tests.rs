//! The ring against a naive model, power cuts and damage.

mod cuts;
mod damage;
mod failing;
mod fork;
mod lost;
mod model;
mod opening;
mod reading;
mod store;

use protocol::frame::TAG_LEN;
use protocol::{Counts, Lane, RingId, Seq};
use std::vec;

use super::flash_model::FlashModel;
use super::{Gone, Opened, Region, Ring, RingError, RingMeta};

const META: RingMeta = RingMeta { ring: RingId([7; 16]), lane: Lane::Bulk, format: 3 };

fn counts(samples: u64, events: u64) -> Counts {
    Counts { samples, events }
}

fn region(sectors: u32, sector_len: u32) -> Region {
    Region { start: 0, len: sectors * sector_len }
}

#[test]
fn a_ring_is_small() {
    assert!(size_of::<Ring>() <= 600, "{} bytes", size_of::<Ring>());
}

#[test]
fn a_blank_or_foreign_region_holds_no_ring() {
    let mut flash = FlashModel::<4, 4, 512>::new(4, 1);
    let all = region(4, 512);
    assert!(matches!(Ring::open(&mut flash, all, Lane::Bulk), Ok(Opened::Blank)));
    Ring::format(&mut flash, all, META).unwrap();
    assert!(matches!(Ring::open(&mut flash, all, Lane::Critical), Ok(Opened::Blank)));
    // Another division of the same flash.
    let part = region(3, 512);
    assert!(matches!(Ring::open(&mut flash, part, Lane::Bulk), Ok(Opened::Blank)));
    let Ok(Opened::Existing(ring, recovery)) = Ring::open(&mut flash, all, Lane::Bulk) else {
        panic!("the ring was formatted")
    };
    assert_eq!(ring.meta(), META);
    assert_eq!(recovery, super::Recovery::default());
}

#[test]
fn regions_that_cannot_be_used_are_refused() {
    let mut flash = FlashModel::<4, 4, 512>::new(8, 1);
    for (start, len) in [(0, 1024), (100, 2048), (0, 2000), (u32::MAX - 511, 2048)] {
        let refused = Ring::format(&mut flash, Region { start, len }, META);
        assert!(matches!(refused, Err(RingError::Region)), "{start} {len}");
    }
    let mut flash = FlashModel::<4, 4, 256>::new(8, 1);
    let refused = Ring::format(&mut flash, Region { start: 0, len: 2048 }, META);
    assert!(matches!(refused, Err(RingError::Region)), "sectors too small for a frame");
}

#[test]
fn formatting_leaves_the_old_ring_behind_and_goes_on_in_the_circle() {
    let mut flash = FlashModel::<1, 1, 512>::new(4, 1);
    let all = region(4, 512);
    for round in 0..10_u8 {
        let meta = RingMeta { ring: RingId([round; 16]), format: u32::from(round), ..META };
        let mut ring = Ring::format(&mut flash, all, meta).unwrap();
        let reserved = ring.reserve(&mut flash, 3, counts(1, 0)).unwrap();
        ring.write(&mut flash, reserved, &[round; 3]).unwrap();
        let Ok(Opened::Existing(mut ring, _)) = Ring::open(&mut flash, all, Lane::Bulk) else {
            panic!("the ring was formatted")
        };
        assert_eq!((ring.meta(), ring.first_retained(), ring.next()), (meta, Seq(1), Seq(2)));
        let mut frame = [0; 3];
        ring.read(&mut flash, Seq(1), &mut frame).unwrap();
        assert_eq!(frame, [round; 3]);
    }
    assert_eq!(flash.erases, [3, 3, 2, 2]);
}

#[test]
fn a_reservation_is_used_once_and_only_the_latest() {
    let mut flash = FlashModel::<8, 8, 512>::new(3, 1);
    let mut ring = Ring::format(&mut flash, region(3, 512), META).unwrap();
    let first = ring.reserve(&mut flash, 10, counts(2, 0)).unwrap();
    let second = ring.reserve(&mut flash, 10, counts(3, 0)).unwrap();
    assert_eq!(ring.write(&mut flash, first, b"first"), Err(RingError::Order));
    assert_eq!(ring.write(&mut flash, second, b"eleven byte"), Err(RingError::TooLarge));
    let burnt = ring.burnt().unwrap();
    assert_eq!((burnt.first, burnt.last, burnt.through), (Seq(1), Seq(2), counts(5, 0)));
    let third = ring.reserve(&mut flash, 10, Counts::ZERO).unwrap();
    assert_eq!(ring.write(&mut flash, third, b"third"), Ok(Seq(3)));
    assert_eq!(ring.burnt(), None);
    let mut buffer = [0; 16];
    let Err(RingError::Damaged(gone)) = ring.read(&mut flash, Seq(1), &mut buffer) else {
        panic!("a burnt number has no frame")
    };
    assert_eq!((gone.last, gone.through), (Seq(1), counts(2, 0)));
    assert_eq!(ring.read(&mut flash, Seq(3), &mut buffer).unwrap().len, 5);
    assert_eq!(ring.read(&mut flash, Seq(3), &mut [0; 4]), Err(RingError::Room(5)));
    assert_eq!(ring.read(&mut flash, Seq(4), &mut buffer), Err(RingError::NotRetained));
    let longest = ring.frame_len_max();
    let too_long = ring.reserve(&mut flash, longest + 1, Counts::ZERO);
    assert_eq!(too_long, Err(RingError::TooLarge));
    let too_many = ring.reserve(&mut flash, 1, counts(1 << 32, 0));
    assert_eq!(too_many, Err(RingError::TooLarge));
    let fits = ring.reserve(&mut flash, longest, counts((1 << 32) - 1, 0)).unwrap();
    ring.write(&mut flash, fits, &vec![9; longest]).unwrap();
    let further = ring.reserve(&mut flash, 1, counts((1 << 32) - 1, 0)).unwrap();
    assert_eq!(ring.write(&mut flash, further, b"x"), Ok(Seq(5)));
    assert_eq!(ring.before_next(), counts(5 + (1 << 33) - 2, 0));
}

#[test]
fn tags_come_from_the_frame_whatever_its_length() {
    let mut flash = FlashModel::<4, 4, 1024>::new(4, 1);
    let mut ring = Ring::format(&mut flash, region(4, 1024), META).unwrap();
    let bytes: std::vec::Vec<u8> = (0..=255).collect();
    for len in (1..=200).step_by(7).chain([TAG_LEN]) {
        let reserved = ring.reserve(&mut flash, len, Counts::ZERO).unwrap();
        let seq = ring.write(&mut flash, reserved, &bytes[..len]).unwrap();
        let tag = ring.tag(&mut flash, seq).unwrap();
        assert_eq!(tag, protocol::frame::tag_of(&bytes[..len]), "{len} bytes");
        let read = ring.read(&mut flash, seq, &mut [0; 256]).unwrap();
        assert_eq!(read.tag, tag);
    }
}

#[test]
fn reading_on_costs_little_more_than_the_frames() {
    let mut flash = FlashModel::<4, 4, 4096>::new(16, 1);
    let mut ring = Ring::format(&mut flash, region(16, 4096), META).unwrap();
    let mut written = 0;
    while ring.first_retained() == Seq(1) {
        let reserved = ring.reserve(&mut flash, 400, counts(9, 0)).unwrap();
        ring.write(&mut flash, reserved, &[5; 400]).unwrap();
        written += 1;
    }
    assert!(written > 130);
    let before = flash.bytes_read;
    let mut read = 0;
    for seq in ring.first_retained().0..ring.next().0 {
        read += ring.read(&mut flash, Seq(seq), &mut [0; 400]).unwrap().len;
    }
    // Record header, once per sector its own and a look over its unused end.
    assert!(flash.bytes_read - before < read * 5 / 4, "{}", flash.bytes_read - before);
}

#[test]
fn i3_what_was_acknowledged_is_not_told_as_dropped() {
    let mut flash = FlashModel::<4, 4, 512>::new(3, 1);
    let mut ring = Ring::format(&mut flash, region(3, 512), META).unwrap();
    let push = |ring: &mut Ring, flash: &mut _| {
        let reserved = ring.reserve(flash, 96, counts(10, 1)).unwrap();
        ring.write(flash, reserved, &[1; 96]).unwrap()
    };
    // Three of these to a sector, and two sectors retained.
    for _ in 0..6 {
        push(&mut ring, &mut flash);
    }
    ring.release(Seq(2));
    assert_eq!((push(&mut ring, &mut flash), ring.first_retained()), (Seq(7), Seq(4)));
    let gone = Gone { first: Seq(3), last: Seq(3), through: counts(30, 3) };
    assert_eq!(ring.take_dropped(), Some(gone));
    assert_eq!(ring.take_dropped(), None);
    ring.release(Seq(6));
    for _ in 0..3 {
        push(&mut ring, &mut flash);
    }
    assert_eq!((ring.first_retained(), ring.take_dropped()), (Seq(7), None));
    // Not asked for in between: told as one.
    for _ in 0..6 {
        push(&mut ring, &mut flash);
    }
    let gone = Gone { first: Seq(7), last: Seq(12), through: counts(120, 12) };
    assert_eq!((ring.first_retained(), ring.take_dropped()), (Seq(13), Some(gone)));
    // A boot does not know whether it was told.
    let Ok(Opened::Existing(mut ring, _)) = Ring::open(&mut flash, region(3, 512), Lane::Bulk)
    else {
        panic!("the ring is gone")
    };
    assert_eq!(ring.take_dropped(), Some(gone));
}

#[test]
fn how_much_is_used_follows_what_is_not_acknowledged() {
    let mut flash = FlashModel::<4, 4, 512>::new(8, 1);
    let mut ring = Ring::format(&mut flash, region(8, 512), META).unwrap();
    assert_eq!(ring.used(), 0);
    for _ in 0..100 {
        let reserved = ring.reserve(&mut flash, 100, counts(1, 0)).unwrap();
        ring.write(&mut flash, reserved, &[1; 100]).unwrap();
    }
    assert_eq!(ring.used(), 100);
    ring.release(Seq(u64::midpoint(ring.first_retained().0, ring.next().0)));
    assert!((40..60).contains(&ring.used()), "{}", ring.used());
    ring.release(Seq(u64::MAX));
    assert_eq!((ring.released(), ring.used()), (Seq(100), 0));
}

#[test]
fn numbers_without_any_frame_left_are_burnt_from_the_first_retained_on() {
    let mut flash = FlashModel::<4, 4, 512>::new(3, 1);
    let mut ring = Ring::format(&mut flash, region(3, 512), META).unwrap();
    for _ in 0..20 {
        let unused = ring.reserve(&mut flash, 100, counts(1, 0)).unwrap();
        drop(unused);
    }
    let Ok(Opened::Existing(ring, recovery)) = Ring::open(&mut flash, region(3, 512), Lane::Bulk)
    else {
        panic!("the ring is gone")
    };
    assert!(ring.first_retained() > Seq(1));
    let torn = Gone { first: ring.first_retained(), last: Seq(20), through: counts(20, 0) };
    assert_eq!(recovery.torn, Some(torn));
}
