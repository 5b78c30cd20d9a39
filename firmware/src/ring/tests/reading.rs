//! Finding frames: what is not there, and what it costs to go on.

use protocol::Seq;

use super::store::Store;
use crate::ring::{Gone, RingError};

const LEN: usize = 24;

/// Many frames to a sector, and no sector given up.
fn filled(frames: u32) -> Store<4, 4096> {
    let mut store = Store::new(16, 1);
    for _ in 0..frames {
        store.put(LEN);
    }
    store
}

/// How many bytes of flash it takes to read a frame.
fn cost<const S: usize>(store: &mut Store<4, S>, seq: u64) -> usize {
    let before = store.flash.bytes_read;
    store.ring.read(&mut store.flash, Seq(seq), &mut [0; S]).unwrap();
    store.flash.bytes_read - before
}

/// Destroys eight bytes of a frame's record, in the first sector.
fn wound(store: &mut Store<4, 4096>, seq: u32, at: usize) {
    let record = 88 + (40 + LEN) * (seq as usize - 1) + at;
    store.sector(0)[record..record + 8].fill(0x55);
}

#[test]
fn what_is_not_retained_has_no_frame_no_tag_and_no_counts() {
    let mut store = Store::<4, 512>::new(3, 1);
    for _ in 0..8 {
        store.put(96);
    }
    let (flash, ring) = (&mut store.flash, &mut store.ring);
    let (first, next) = (ring.first_retained(), ring.next());
    assert!(first > Seq(1));
    for seq in [first.prev(), next] {
        assert_eq!(ring.read(flash, seq, &mut [0; 96]), Err(RingError::NotRetained), "{seq}");
        assert_eq!(ring.tag(flash, seq), Err(RingError::NotRetained), "{seq}");
        assert_eq!(ring.before(flash, seq), Err(RingError::NotRetained), "{seq}");
    }
    assert_eq!(ring.before(flash, first), Ok(ring.before_first()));
}

#[test]
fn a_destroyed_sector_costs_no_other() {
    let mut store = Store::<4, 512>::new(6, 1);
    for _ in 0..9 {
        store.put(96);
    }
    store.sector(0)[..88].fill(0);
    let through = store.ring.before(&mut store.flash, Seq(4)).unwrap();
    let gone = Gone { first: Seq(1), last: Seq(3), through };
    let read = store.ring.read(&mut store.flash, Seq(1), &mut [0; 96]);
    assert_eq!(read, Err(RingError::Damaged(gone)));
}

#[test]
fn a_frame_far_ahead_is_found_by_the_headers_of_sectors() {
    let mut store = filled(800);
    assert!(store.ring.head.number > 10);
    cost(&mut store, 1);
    // A header of each sector, and the records of one.
    let most = 16 * 152 + 4096;
    let far = cost(&mut store, 790);
    assert!(far < most, "{far} bytes");
}

#[test]
fn the_first_frame_of_a_sector_is_found_without_the_sector_before() {
    let mut store = filled(800);
    // 62 to a sector: the first of the sixth, once the headers up to the next one are read.
    assert!(cost(&mut store, 5 * 62 + 1) <= 7 * 152 + 48 + LEN);
}

#[test]
fn to_go_on_behind_what_is_gone_costs_no_more_than_to_go_on() {
    // In a header, in a body.
    for at in [8, 40] {
        let mut store = filled(200);
        wound(&mut store, 5, at);
        cost(&mut store, 4);
        let read = store.ring.read(&mut store.flash, Seq(5), &mut [0; LEN]);
        assert!(matches!(read, Err(RingError::Damaged(_))), "at {at}");
        assert_eq!(cost(&mut store, 6), cost(&mut store, 7), "at {at}");
    }
}

#[test]
fn where_a_reader_stood_in_a_sector_that_is_gone_is_not_looked_at() {
    let mut store = Store::<4, 4096>::new(3, 1);
    store.put(100);
    store.put(3900);
    cost(&mut store, 1);
    store.put(3900);
    assert_eq!(store.ring.first_retained(), Seq(2));
    let on = cost(&mut store, 2);
    assert!(on < 3900 + 3 * 152 + 48, "{on} bytes");
}

#[test]
fn a_sector_is_filled_to_its_last_byte() {
    let mut store = Store::<4, 512>::new(3, 1);
    // Two headers of records, and the sector's.
    store.put(168);
    store.put(512 - 88 - 2 * 40 - 168);
    assert_eq!((store.ring.head.number, store.ring.chain.end), (0, 512));
    store.put(1);
    assert_eq!(store.ring.head.number, 1);
}
