//! When the table of rings is asked, and for what.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use protocol::Lane;

use super::super::{HeldRing, RingSource, Step};
use super::losses::segments;
use super::world::{Ring, RingRows, World, samples};
use crate::journal::Positions;

/// A table that counts how often it is read.
#[derive(Clone, Debug)]
struct Counted {
    rows: RingRows,
    reads: Arc<AtomicU32>,
}

impl Counted {
    fn of(world: &World) -> Self {
        Self { rows: world.rings.clone(), reads: Arc::default() }
    }

    fn reads(&self) -> u32 {
        self.reads.load(Ordering::Relaxed)
    }
}

impl RingSource for Counted {
    fn each(&self, take: &mut dyn FnMut(HeldRing)) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.rows.each(take)
    }

    fn known_to(&self) -> io::Result<Positions> {
        self.rows.known_to()
    }
}

fn damage_the_last(world: &World) {
    let newest = segments(world).pop().unwrap();
    world.journal_disk.edit(&newest, |content| {
        let at = content.len() - 60;
        content[at] ^= 1;
    });
}

#[test]
fn the_table_of_rings_is_read_once_where_something_is_missing_and_never_else() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    world.commit();
    let table = Counted::of(&world);
    let mut forwarder = world.open_with(Box::new(table.clone())).unwrap();
    let mut idle = |world: &World| {
        while forwarder.step(world.now, false) == Step::Again {}
        for _ in 0..3 {
            assert!(matches!(forwarder.step(world.now, false), Step::Wait(_)));
        }
        table.reads()
    };
    assert_eq!(idle(&world), 0);
    world.samples(&mut ring, 10);
    world.commit();
    damage_the_last(&world);
    world.checkpoint(&ring);
    assert_eq!(idle(&world), 1);
    assert_eq!(world.of_type("loss").len(), 1);
}

/// A table that is behind the journal until a test says otherwise.
#[derive(Clone, Debug)]
struct Lagging {
    rows: RingRows,
    known_to: Arc<Mutex<Positions>>,
}

impl RingSource for Lagging {
    fn each(&self, take: &mut dyn FnMut(HeldRing)) -> io::Result<()> {
        self.rows.each(take)
    }

    fn known_to(&self) -> io::Result<Positions> {
        Ok(*self.known_to.lock().unwrap())
    }
}

#[test]
fn what_is_missing_at_the_end_is_named_once_the_table_of_rings_has_come_so_far() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    world.commit();
    world.checkpoint(&ring);
    let before = world.journal.ends().positions;
    let table = Lagging { rows: world.rings.clone(), known_to: Arc::new(Mutex::new(before)) };
    let mut forwarder = world.open_with(Box::new(table.clone())).unwrap();
    let mut idle = |world: &World| {
        while forwarder.step(world.now, false) == Step::Again {}
        world.of_type("loss").len()
    };
    assert_eq!(idle(&world), 0);
    world.samples(&mut ring, 10);
    world.commit();
    damage_the_last(&world);
    // The frame is gone, and the table knows of the one before it alone.
    assert_eq!(idle(&world), 0);
    assert_eq!(idle(&world), 0);
    world.checkpoint(&ring);
    *table.known_to.lock().unwrap() = world.journal.ends().positions;
    assert_eq!(idle(&world), 1);
    assert_eq!(idle(&world), 1);
}

#[test]
fn nothing_is_said_of_a_ring_in_a_lane_of_which_nothing_is_missing() {
    let mut world = World::new();
    let (mut ring, mut other) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Critical));
    world.samples(&mut ring, 10);
    world.samples(&mut ring, 10);
    world.commit();
    damage_the_last(&world);
    // Of another journal.
    (other.next, other.through) = (6, samples(50));
    for ring in [&ring, &other] {
        world.checkpoint(ring);
    }
    assert_eq!(world.forward().lost, samples(10));
    let losses = world.of_type("loss");
    assert_eq!(losses.len(), 1);
    assert!(losses[0]["id"].as_str().unwrap().contains(&ring.id.to_string()));
}

#[test]
fn a_sink_that_begins_late_in_several_lanes_reads_the_table_once() {
    let mut world = World::new();
    let mut rings = [Lane::Critical, Lane::Bulk, Lane::Latest]
        .map(|lane| Ring::new(u8::try_from(lane.index()).unwrap() + 1, lane));
    for _ in 0..40 {
        for ring in &mut rings {
            world.samples(ring, 10);
        }
        world.commit();
    }
    let ends = world.journal.ends();
    world.journal.prune(&ends.positions).unwrap();
    let tail = world.journal.tail();
    assert!(rings.iter().all(|ring| tail.oldest(ring.lane).0 > 0));
    for ring in &rings {
        world.checkpoint(ring);
    }
    let table = Counted::of(&world);
    let mut forwarder = world.open_with(Box::new(table.clone())).unwrap();
    assert_eq!(table.reads(), 1);
    assert!(world.drive(&mut forwarder, 4));
    assert!(world.of_type("loss").is_empty());
}
