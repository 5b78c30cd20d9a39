//! What a boot makes of headers that are destroyed, cut short or not its own.

use protocol::{Lane, Seq};

use super::store::{ADDS, Store, meta};
use crate::checksum::CRC;
use crate::ring::layout::RECORD_OVERHEAD;
use crate::ring::{Gone, Opened, Ring};

/// Three of [`LEN`] to a sector.
type Small = Store<4, 512>;

const LEN: usize = 96;
/// Where records stand in a sector that no fork has marked.
const PLAIN: usize = 88;

fn filled(frames: u32) -> Small {
    let mut store = Small::new(8, 1);
    for _ in 0..frames {
        store.put(LEN);
    }
    store
}

/// Reserves a number whose frame is never written.
fn burn(store: &mut Small) -> Gone {
    let seq = store.ring.reserve(&mut store.flash, LEN, ADDS).unwrap().seq();
    Gone { first: seq, last: seq, through: store.ring.before_next() }
}

/// Boots after the newest sector's header was destroyed. Nothing of what the ring had given out is
/// given out again.
fn boot_without_head(store: &mut Small) {
    let before = store.ring.clone();
    store.sector(before.head.number)[..PLAIN].fill(0);
    store.boot();
    assert_eq!(store.ring.next(), before.next());
    assert_eq!(store.ring.before_next(), before.before_next());
    assert_eq!(store.ring.burnt(), before.burnt());
    assert_eq!(store.ring.fork(), before.fork());
}

#[test]
fn numbers_of_a_sector_whose_header_is_destroyed_are_taken() {
    boot_without_head(&mut filled(5));
}

#[test]
fn numbers_burnt_in_a_sector_whose_header_is_destroyed_are_burnt_alone() {
    let mut store = filled(3);
    burn(&mut store);
    assert_eq!(store.ring.head.number, 1);
    boot_without_head(&mut store);
}

#[test]
fn a_sector_whose_header_is_destroyed_is_not_written_on_in() {
    let mut store = filled(4);
    boot_without_head(&mut store);
    let seq = store.put(LEN);
    assert_eq!(store.ring.head.number, 2);
    store.boot();
    assert_eq!(store.ring.read(&mut store.flash, seq, &mut [0; LEN]).unwrap().adds, ADDS);
}

#[test]
fn the_first_record_behind_a_destroyed_header_counts_whatever_the_sector_before_began_with() {
    let mut store = filled(1);
    store.ring.begin_fork(&mut store.flash, meta(2)).unwrap();
    let old = store.ring.read_old(&mut store.flash, &mut [0; LEN]).unwrap().unwrap();
    let copy = store.ring.reserve_copy(&mut store.flash, &old, LEN).unwrap();
    store.ring.write(&mut store.flash, copy, &[7; LEN]).unwrap();
    assert_eq!(store.ring.fork(), None);
    let fork = store.ring.head.number;
    // One frame fills what is left of the fork's first sector, the next one begins a plain one.
    store.put(180);
    assert_eq!(store.ring.chain.end, 512);
    store.put(1);
    assert_eq!(store.ring.head.number, fork + 1);
    boot_without_head(&mut store);
}

#[test]
fn a_fork_goes_on_although_the_header_of_its_newest_sector_is_destroyed() {
    let mut store = filled(9);
    store.ring.begin_fork(&mut store.flash, meta(2)).unwrap();
    let fork = store.ring.head.number;
    let old_through = store.ring.fork.unwrap().chain.before_next;
    let copy = |store: &mut Small| {
        let old = store.ring.read_old(&mut store.flash, &mut [0; LEN]).unwrap().unwrap();
        let copy = store.ring.reserve_copy(&mut store.flash, &old, LEN).unwrap();
        store.ring.write(&mut store.flash, copy, &[7; LEN]).unwrap();
    };
    copy(&mut store);
    copy(&mut store);
    // An own frame only, and then a copy.
    for copies in 0..2 {
        if copies == 0 {
            store.put(LEN);
        } else {
            copy(&mut store);
        }
        assert_eq!(store.ring.head.number, fork + 1);
        let mut again = Small { flash: store.flash.clone(), ring: store.ring.clone(), ..filled(0) };
        boot_without_head(&mut again);
        // The rest is lost: with what was copied it adds up to what the old ring had taken.
        let left = again.ring.fork().unwrap();
        let gone = Gone { first: left.next, last: left.last, through: old_through };
        again.ring.lose_old(&mut again.flash, &gone).unwrap();
        assert_eq!(again.ring.before_next(), old_through + ADDS);
    }
}

#[test]
fn numbers_are_burnt_behind_the_last_frame_of_the_sectors_before() {
    for frames in [3, 6] {
        let mut store = filled(frames);
        let burnt = burn(&mut store);
        store.boot();
        assert_eq!(store.ring.burnt(), Some(burnt));
    }
}

#[test]
fn as_many_numbers_are_burnt_as_may_have_stood_where_headers_are_destroyed() {
    let mut store = filled(1);
    for _ in 0..3 {
        store.put(1);
    }
    let end = store.ring.chain.end as usize;
    store.sector(0)[end - 3 * (RECORD_OVERHEAD + 8)..end].fill(0x55);
    store.boot();
    assert_eq!(store.ring.next(), Seq(5));
}

#[test]
fn a_header_that_was_cut_short_by_a_bit_begins_no_ring() {
    let mut store = filled(4);
    store.ring.begin_fork(&mut store.flash, meta(2)).unwrap();
    let number = store.ring.head.number;
    store.sector(number)[30] ^= 1;
    store.boot();
    assert_eq!(store.ring.meta(), meta(1));
}

#[test]
fn a_header_of_another_layout_is_none() {
    let mut store = filled(0);
    let header = &mut store.sector(0)[..PLAIN];
    header[3] ^= 2;
    let mut digest = CRC.digest();
    digest.update(&header[..4]);
    digest.update(&header[8..]);
    let checksum = digest.finalize();
    header[4..8].copy_from_slice(&checksum.to_le_bytes());
    let opened = Ring::open(&mut store.flash, store.region, Lane::Bulk);
    assert!(matches!(opened, Ok(Opened::Blank)));
}
