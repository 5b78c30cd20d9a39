use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::journal::{Epoch, Position};
use crate::storage::{Disk, SharedStorage};

const CACHE_MAX: usize = 8;

fn rings(dir: &Path) -> Rings {
    let storage: SharedStorage = Arc::new(Disk);
    let database = state::open(&storage, &dir.join("state.redb")).unwrap();
    Rings::open(database, CACHE_MAX).unwrap()
}

fn id(number: u8) -> RingId {
    RingId([number; 16])
}

fn samples(samples: u64) -> Counts {
    Counts { samples, events: 0 }
}

fn ring() -> Ring {
    of("van-1", 0, 0)
}

/// A device's ring: what it said it had taken, and what of that is held.
fn of(device: &str, declared: u64, through: u64) -> Ring {
    let tag = FrameTag([3; 8]);
    Ring {
        device: device.parse().unwrap(),
        lane: Lane::Bulk,
        watermark: Watermark { durable: Seq(9), tag, through: samples(through) },
        declared: samples(declared),
    }
}

fn cursor(at: u64) -> JournalCursor {
    JournalCursor {
        journal: [1; 16],
        epoch: Epoch { number: 1, nonce: 1 },
        positions: Positions([Position(at); 3]),
        totals: [samples(at); 3],
    }
}

fn save(rings: &mut Rings) {
    rings.save(&cursor(0)).unwrap();
}

#[test]
fn a_herd_of_moved_rings_is_not_looked_through_for_each_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut rings = rings(dir.path());
    let mut sweeps = 0;
    for number in 0..200_u8 {
        let before = rings.room_at;
        rings.put(id(number), ring());
        sweeps += u32::from(rings.room_at != before);
    }
    assert_eq!(rings.cache.len(), 200, "what has moved is kept");
    assert!(sweeps <= 5, "{sweeps} times for 200 rings");
    // What is in the table goes again, down to the bound.
    save(&mut rings);
    assert_eq!(rings.get(&id(250)).unwrap(), None);
    rings.put(id(250), ring());
    assert_eq!(rings.cache.len(), 1);
    assert_eq!(rings.get(&id(7)).unwrap(), Some(ring()));
}

#[test]
fn the_cache_is_filled_to_its_bound_and_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let mut rings = rings(dir.path());
    for number in 0..20 {
        rings.put(id(number), ring());
        save(&mut rings);
        let expected = usize::from(number) % CACHE_MAX + 1;
        assert_eq!(rings.cache.len(), expected, "after {number}");
    }
}

#[test]
fn what_was_read_is_cached_until_room_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let mut rings = rings(dir.path());
    for number in 0..20 {
        rings.put(id(number), ring());
    }
    save(&mut rings);
    rings.cache.clear();
    for number in 0..20 {
        assert_eq!(rings.get(&id(number)).unwrap(), Some(ring()));
        assert!(rings.cache.contains_key(&id(number)));
        assert!(rings.cache.len() <= CACHE_MAX);
    }
}

#[test]
fn what_was_saved_is_known_in_the_next_life_and_what_was_not_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = rings(dir.path());
    assert_eq!(first.checkpoint().unwrap(), None);
    first.put(id(1), of("van-1", 20, 10));
    first.save(&cursor(77)).unwrap();
    first.put(id(1), of("van-1", 30, 30));
    first.put(id(2), ring());
    drop(first);
    let mut next = rings(dir.path());
    assert_eq!(next.checkpoint().unwrap(), Some(cursor(77)));
    assert_eq!(next.get(&id(1)).unwrap(), Some(of("van-1", 20, 10)));
    assert_eq!(next.get(&id(2)).unwrap(), None);
}

#[test]
fn nothing_is_known_after_a_clearing() {
    let dir = tempfile::tempdir().unwrap();
    let mut rings = rings(dir.path());
    rings.put(id(1), ring());
    save(&mut rings);
    rings.put(id(2), ring());
    rings.clear().unwrap();
    assert_eq!((rings.get(&id(1)).unwrap(), rings.get(&id(2)).unwrap()), (None, None));
    assert_eq!(rings.checkpoint().unwrap(), None);
}

/// Two devices' rings: one in the table alone, one in both and moved since, one not yet in it.
fn three_rings(dir: &Path) -> Rings {
    let mut rings = rings(dir);
    rings.put(id(1), of("van-1", 20, 10));
    rings.put(id(2), of("van-2", 200, 100));
    save(&mut rings);
    rings.cache.clear();
    rings.put(id(2), of("van-2", 300, 200));
    rings.put(id(3), of("van-1", 4000, 3000));
    rings
}

#[test]
fn sums_count_each_ring_once_as_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let rings = three_rings(dir.path());
    assert_eq!(rings.sums().unwrap(), (samples(4320), samples(3210)));
}

#[test]
fn sums_of_a_device_are_of_its_rings_alone() {
    let dir = tempfile::tempdir().unwrap();
    let rings = three_rings(dir.path());
    let sums = |device: &str| rings.sums_of(device.parse().unwrap()).unwrap();
    assert_eq!(sums("van-1"), Some((samples(4020), samples(3010))));
    assert_eq!(sums("van-2"), Some((samples(300), samples(200))));
    assert_eq!(sums("van-3"), None);
}

#[test]
fn a_device_is_taken_off_its_rings_and_what_they_hold_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut rings = three_rings(dir.path());
    let (gone, other) = ("van-1".parse().unwrap(), "van-2".parse().unwrap());
    assert_eq!(rings.disown(gone).unwrap(), 2);
    assert_eq!(rings.disown(gone).unwrap(), 0);
    assert_eq!(rings.sums_of(gone).unwrap(), None);
    assert_eq!(rings.sums().unwrap(), (samples(4320), samples(3210)));
    assert_eq!(rings.get(&id(2)).unwrap().map(|ring| ring.device), Some(other));
}

#[test]
fn a_ring_may_be_said_by_its_device_and_by_anyone_once_it_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let mut rings = three_rings(dir.path());
    let (owner, other) = ("van-1".parse().unwrap(), "van-2".parse().unwrap());
    let ring = rings.get(&id(1)).unwrap().unwrap();
    assert!(ring.may_be_of(owner) && !ring.may_be_of(other));
    rings.disown(owner).unwrap();
    let ring = rings.get(&id(1)).unwrap().unwrap();
    assert!(ring.may_be_of(owner) && ring.may_be_of(other));
}

#[test]
fn a_row_of_another_format_is_refused_and_a_newer_one_is_named() {
    let row = |version| {
        let row = Row { version, ..Row::from(&ring()) };
        decode(&postcard::to_extend(&row, Vec::new()).unwrap())
    };
    assert_eq!(row(ROW_VERSION).unwrap(), ring());
    assert!(matches!(row(ROW_VERSION + 1), Err(RingsError::Newer(2))));
    assert!(matches!(row(ROW_VERSION - 1), Err(RingsError::Row)));
    assert!(matches!(decode(&[]), Err(RingsError::Row)));
}

#[test]
fn the_table_tells_of_every_ring_as_it_was_saved_and_of_nobodys_without_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut rings = three_rings(dir.path());
    rings.disown("van-1".parse().unwrap()).unwrap();
    save(&mut rings);
    let table = rings.table();
    let mut told = Vec::new();
    table.each(&mut |held| told.push(held)).unwrap();
    assert_eq!(told.len(), 3);
    for held in told {
        let ring = rings.get(&held.ring).unwrap().unwrap();
        let is_nobodys = table.owner(&held.ring).unwrap() == Some(Owner::Nobody);
        assert_eq!(held.device, (!is_nobodys).then_some(ring.device));
        assert_eq!((held.lane, held.last), (ring.lane, ring.watermark.durable));
        assert_eq!(held.through, ring.watermark.through);
    }
    let of_van_2 = Owner::Device("van-2".parse().unwrap());
    assert_eq!(table.owner(&id(2)).unwrap(), Some(of_van_2));
    assert_eq!(table.owner(&id(9)).unwrap(), None);
}

#[test]
fn the_table_says_up_to_where_it_knows_all_rings() {
    let dir = tempfile::tempdir().unwrap();
    let mut rings = rings(dir.path());
    let table = rings.table();
    assert_eq!(table.known_to().unwrap(), Positions::ZERO, "there was no checkpoint yet");
    rings.put(id(1), ring());
    assert_eq!(table.known_to().unwrap(), Positions::ZERO);
    for at in [77, 99] {
        rings.save(&cursor(at)).unwrap();
        assert_eq!(table.known_to().unwrap(), cursor(at).positions);
    }
}
