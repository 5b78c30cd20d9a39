//! Bits that flip by themselves.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use protocol::{Counts, Lane, Seq};

use super::store::{Oracle, Store, meta};
use crate::ring::flash_model::FlashModel;
use crate::ring::layout::Commit;
use crate::ring::{Gone, Opened, Region, Ring, RingError};

type Frames = BTreeMap<Seq, Vec<u8>>;

fn filled() -> Store<4, 512> {
    let mut store = Store::new(4, 5);
    for round in 0..22 {
        let adds = Counts { samples: 10 + round, events: round % 2 };
        store.push(usize::try_from(40 + (round * 37) % 90).unwrap(), adds, round).unwrap();
    }
    store
}

/// Opens what is left and reads it all: the frames, and what is said to be gone.
fn read_all(
    flash: &mut FlashModel<4, 4, 512>,
    region: Region,
) -> Option<(Ring, Frames, Vec<Gone>)> {
    let Opened::Existing(mut ring, _) = Ring::open(flash, region, Lane::Bulk).unwrap() else {
        return None;
    };
    let (mut frames, mut gone) = (BTreeMap::new(), Vec::new());
    let mut bytes = vec![0; 512];
    let mut seq = ring.first_retained();
    while seq < ring.next() {
        match ring.read(flash, seq, &mut bytes) {
            Ok(read) => {
                frames.insert(seq, bytes[..read.len].to_vec());
                seq = seq.next();
            }
            Err(RingError::Damaged(range)) => {
                assert!(range.first == seq && range.last >= seq && range.last < ring.next());
                gone.push(range);
                seq = range.last.next();
            }
            Err(error) => panic!("{seq}: {error}"),
        }
    }
    Some((ring, frames, gone))
}

#[test]
fn a_flipped_bit_costs_one_frame_at_most_and_only_in_its_body() {
    let whole = filled();
    let next = whole.ring.next();
    for bit in 512 * 8..5 * 512 * 8 {
        let mut flash = whole.flash.clone();
        flash.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
        let (ring, frames, mut gone) = read_all(&mut flash, whole.region).expect("a ring");
        for (seq, bytes) in &frames {
            assert_eq!(*bytes, whole.oracle.assigned[seq].bytes, "bit {bit}: frame {seq}");
        }
        // A bit of a place not written yet may cost numbers, and no frame.
        gone.retain(|range| range.first < next);
        let lost: Vec<_> = gone.iter().map(|range| range.first).collect();
        let hit: Vec<_> = lost.iter().map(|seq| &whole.oracle.assigned[seq].bytes).collect();
        assert!(gone.iter().all(|range| range.first == range.last), "bit {bit}: {gone:?}");
        // What a body holds is found as it was, but for this bit; nothing else is lost to one.
        let near = (bit / 8).saturating_sub(512)..(bit / 8 + 512).min(5 * 512);
        let near = &whole.flash.bytes()[near];
        let is_in_one =
            hit.iter().all(|bytes| near.windows(bytes.len()).any(|place| place == *bytes));
        assert!(gone.len() <= 1 && is_in_one, "bit {bit}: {gone:?}");
        for range in &gone {
            assert_eq!(range.through, whole.oracle.through[&range.last], "bit {bit}");
        }
        assert!(ring.next() >= next, "bit {bit}: numbers are not given out again");
        if ring.next() == next {
            assert_eq!(ring.before_next(), whole.ring.before_next(), "bit {bit}");
        }
        assert_eq!(ring.before_first(), whole.oracle.through[&ring.first_retained().prev()]);
        assert_eq!(ring.first_retained(), whole.ring.first_retained(), "bit {bit}");
    }
}

#[test]
fn a_flipped_bit_in_the_only_header_costs_nothing() {
    let mut whole = Store::<4, 512>::new(4, 5);
    whole.push(60, Counts { samples: 7, events: 1 }, 1).unwrap();
    let body = 512 + 88 + 40;
    for bit in 512 * 8..body * 8 {
        let mut flash = whole.flash.clone();
        flash.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
        let (ring, frames, gone) = read_all(&mut flash, whole.region).expect("a ring");
        assert_eq!((frames.len(), gone), (1, Vec::new()), "bit {bit}");
        assert_eq!((ring.id(), ring.next()), (whole.ring.id(), whole.ring.next()), "bit {bit}");
        assert_eq!(ring.before_next(), whole.ring.before_next(), "bit {bit}");
    }
}

#[test]
fn a_flipped_bit_in_the_header_of_a_fork_costs_nothing() {
    let mut store = Store::<8, 1024>::new(3, 9);
    // Some of it is gone and not acknowledged: the fork begins before what is retained.
    for round in 0..5 {
        store.push(600, Counts { samples: 7, events: 1 }, round).unwrap();
    }
    let lost = store.ring.lost().expect("the circle went round");
    store.ring.begin_fork(&mut store.flash, meta(2)).unwrap();
    store.oracle = Oracle::new();
    assert_eq!(store.ring.fork().map(|fork| fork.next), Some(lost.first));
    store.copy_next().unwrap();
    let start = 1024 * (1 + usize::try_from(store.ring.head.number % 3).unwrap());
    for bit in start * 8..(start + 152) * 8 {
        let mut flash = store.flash.clone();
        flash.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
        let opened = Ring::open(&mut flash, store.region, Lane::Bulk).unwrap();
        let Opened::Existing(ring, _) = opened else { panic!("a ring") };
        assert_eq!((ring.meta(), ring.next()), (meta(2), store.ring.next()), "bit {bit}");
        assert_eq!(ring.fork(), store.ring.fork(), "bit {bit}");
    }
}

#[test]
fn a_ring_goes_on_over_damage() {
    let whole = filled();
    for byte in (512..5 * 512).step_by(3) {
        let mut flash = whole.flash.clone();
        flash.bytes_mut()[byte] ^= 0x10;
        let (mut ring, frames, _) = read_all(&mut flash, whole.region).expect("a ring");
        let mut written = BTreeMap::new();
        for round in 0..30_u8 {
            let reserved = ring.reserve(&mut flash, 60, Counts::ZERO).unwrap();
            assert!(!frames.contains_key(&reserved.seq()));
            let bytes = vec![round & 0x7F; 60];
            written.insert(ring.write(&mut flash, reserved, &bytes).unwrap(), bytes);
        }
        let (_, frames, gone) = read_all(&mut flash, whole.region).expect("a ring");
        for (seq, bytes) in written.range(frames.first_key_value().unwrap().0..) {
            assert_eq!(frames.get(seq), Some(bytes), "byte {byte}: {gone:?}");
        }
    }
}

#[test]
fn damage_given_up_lets_the_agent_pass() {
    let mut store = filled();
    let first = store.ring.first_retained();
    let (at, _) = store
        .flash
        .bytes_mut()
        .windows(9)
        .enumerate()
        .find(|(_, bytes)| {
            // The number in a frame of data.
            bytes[0] == 0 && bytes[1..] == (first.0 + 2).to_le_bytes()
        })
        .expect("the frame is there");
    store.flash.bytes_mut()[at + 20] ^= 1;
    let Err(RingError::Damaged(gone)) =
        store.ring.read(&mut store.flash, Seq(first.0 + 2), &mut [0; 512])
    else {
        panic!("the frame is damaged")
    };
    assert_eq!((gone.first, gone.last), (Seq(first.0 + 2), Seq(first.0 + 2)));
    store.ring.release(Seq(first.0 + 1));
    store.ring.give_up(&mut store.flash, &gone).unwrap();
    assert_eq!(store.ring.first_retained(), Seq(first.0 + 3));
    assert_eq!(store.ring.before_first(), store.oracle.through[&gone.last]);
}

#[test]
fn damage_given_up_is_told_after_a_boot_although_its_sector_is_gone() {
    let mut store = Store::<4, 512>::new(3, 5);
    for round in 0..3 {
        store.push(90, Counts { samples: 10, events: 1 }, round).unwrap();
    }
    let body = &store.oracle.assigned[&Seq(3)].bytes;
    let at = store.flash.bytes_mut().windows(90).position(|bytes| bytes == body).unwrap();
    store.flash.bytes_mut()[at + 20] ^= 1;
    store.ring.release(Seq(2));
    let read = store.ring.read(&mut store.flash, Seq(3), &mut [0; 512]);
    let Err(RingError::Damaged(gone)) = read else { panic!("the frame is damaged") };
    store.ring.give_up(&mut store.flash, &gone).unwrap();
    // Nobody says so; the circle takes the sector back.
    while store.ring.next() < Seq(8) {
        let reserved = store.ring.reserve(&mut store.flash, 90, Counts::ZERO).unwrap();
        store.ring.write(&mut store.flash, reserved, &[7; 90]).unwrap();
    }
    let opened = Ring::open(&mut store.flash, store.region, Lane::Bulk).unwrap();
    let Opened::Existing(mut ring, _) = opened else { panic!("a ring") };
    assert_eq!(ring.first_retained(), Seq(4));
    assert_eq!(ring.take_dropped(), Some(gone));
}

#[test]
fn a_commit_that_only_looks_whole_burns_its_number() {
    let mut store = Store::<4, 512>::new(4, 5);
    store.push(60, Counts { samples: 7, events: 1 }, 1).unwrap();
    let reserved = store.ring.reserve(&mut store.flash, 60, Counts::ZERO).unwrap();
    assert_eq!(reserved.seq(), Seq(2));
    // Of another body, under the right number: one torn commit in 65,536 is as good.
    let at = 512 + 88 + 40 + 64 + 32;
    let commit = Commit { len: 60, checksum: 0x1234_5678 }.encode(Seq(2));
    store.flash.bytes_mut()[at..at + 8].copy_from_slice(&commit);
    let (ring, frames, gone) = read_all(&mut store.flash, store.region).expect("a ring");
    assert_eq!((frames.len(), gone.len()), (1, 1));
    assert_eq!(ring.burnt(), Some(gone[0]));
}

#[test]
fn garbage_never_panics_and_is_never_a_frame() {
    let whole = filled();
    let mut random = 1_u64;
    let mut draw = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(random >> 33).unwrap()
    };
    for _ in 0..3000 {
        let mut flash = whole.flash.clone();
        for _ in 0..=draw() % 4 {
            let (from, len) = (512 + draw() % 2048, draw() % 700);
            for byte in flash.bytes_mut().iter_mut().skip(from).take(len) {
                *byte = u8::try_from(draw() % 256).unwrap();
            }
        }
        let Some((_, frames, _)) = read_all(&mut flash, whole.region) else { continue };
        for (seq, bytes) in frames {
            assert_eq!(bytes, whole.oracle.assigned[&seq].bytes);
        }
    }
}
