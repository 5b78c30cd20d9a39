//! What a start knows of the rings, and of what was set aside, when something of it was lost.

use std::path::Path;

use protocol::Lane;

use super::super::Step;
use super::losses::segments;
use super::world::{LATE, Ring, World, samples};

const CURSOR: &str = "/out/.milepost-cursor";
const RINGS: &str = "/data/cursors/files.rings";

/// Enough frames of a ring that what stands before them can be pruned.
fn prune_behind(world: &mut World, ring: &mut Ring) {
    for _ in 0..40 {
        world.samples(ring, 10);
        world.commit();
    }
    let ends = world.journal.ends();
    world.journal.prune(&ends.positions).unwrap();
}

#[test]
fn a_sink_that_begins_anew_writes_over_no_dead_letters_of_before() {
    let mut world = World::new();
    world.append(&mut Ring::new(1, Lane::Bulk), samples(1), &[0xff; 40]);
    world.commit();
    world.forward();
    let letters = world.dead_letters();
    for (path, _) in world.disk.files() {
        if path.starts_with("/out") {
            world.disk.lose(&path);
        }
    }
    assert_eq!(world.forward().dead_lettered, samples(1));
    assert_eq!(world.dead_letters(), [&letters[..], &letters[..]].concat());
}

#[test]
fn what_is_damaged_behind_the_cursor_and_comes_again_is_not_delivered_twice() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    for _ in 0..3 {
        world.samples(&mut ring, 10);
        world.commit();
    }
    // The power goes before the rings' state is kept.
    let mut forwarder = world.open().unwrap();
    while forwarder.step(world.now, false) == Step::Again {}
    drop(forwarder);
    let newest = segments(&world).pop().unwrap();
    world.journal_disk.edit(&newest, |content| {
        let at = content.len() - 60;
        content[at] ^= 1;
    });
    (ring.next, ring.through, world.raw) = (3, samples(20), 20);
    world.samples(&mut ring, 10);
    world.samples(&mut ring, 10);
    world.commit();
    world.forward();
    assert_eq!(world.delivered(&ring), (0..40).collect::<Vec<i64>>());
}

#[test]
fn what_waits_is_not_set_aside_again_when_the_rings_are_not_on_record() {
    let mut world = World::new();
    let (mut late, mut other) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    for _ in 0..3 {
        world.samples_of(&mut late, LATE, 5);
    }
    world.commit();
    world.forward();
    prune_behind(&mut world, &mut other);
    for ring in [&late, &other] {
        world.checkpoint(ring);
    }
    assert_eq!(world.forward().quarantined, samples(15));
    world.disk.lose(Path::new(RINGS));
    // The device sends its last frame again.
    (late.next, late.through) = (3, samples(10));
    world.samples_of(&mut late, LATE, 5);
    world.commit();
    assert_eq!(world.forward().quarantined, samples(15));
    world.catalogues.learn(LATE);
    world.forward();
    assert_eq!(world.delivered(&late).len(), 15);
}

#[test]
fn a_ring_of_before_the_sink_is_taken_as_it_comes_also_when_the_rings_are_not_on_record() {
    let mut world = World::new();
    let (mut before, mut other) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    for _ in 0..3 {
        world.samples(&mut before, 10);
    }
    prune_behind(&mut world, &mut other);
    for ring in [&before, &other] {
        world.checkpoint(ring);
    }
    world.forward();
    assert!(world.delivered(&before).is_empty(), "all of it came before the sink");
    world.disk.lose(Path::new(RINGS));
    world.samples(&mut before, 10);
    world.commit();
    let report = world.forward();
    assert_eq!((report.lost, world.delivered(&before).len()), (samples(0), 10));
    assert!(world.of_type("loss").is_empty());
}

#[test]
fn a_ring_whose_beginning_is_damaged_is_told_of_when_the_rings_are_not_on_record() {
    let mut world = World::new();
    let (mut ring, mut other) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    world.samples(&mut ring, 10);
    world.samples(&mut other, 10);
    world.commit();
    world.journal_disk.edit(&segments(&world)[0], |content| content[1024 + 40] ^= 4);
    world.forward();
    world.checkpoint(&ring);
    world.disk.lose(Path::new(RINGS));
    world.samples(&mut ring, 10);
    world.commit();
    let report = world.forward();
    assert_eq!(report.lost_by_reason, [("journal".to_owned(), samples(10))], "it is named");
    assert_eq!(world.delivered(&ring).len(), 10);
}

#[test]
fn without_its_cursor_a_sink_counts_anew_what_it_holds_and_what_waits() {
    for is_pruned in [false, true] {
        let mut world = World::new();
        let (mut late, mut other) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
        for _ in 0..2 {
            world.samples_of(&mut late, LATE, 5);
        }
        world.samples(&mut other, 10);
        world.gap(&mut other, 2, samples(7));
        world.commit();
        world.forward();
        if is_pruned {
            prune_behind(&mut world, &mut other);
            world.checkpoint(&late);
            world.checkpoint(&other);
        } else {
            world.samples(&mut other, 10);
            world.commit();
        }
        world.forward();
        world.disk.lose(Path::new(CURSOR));
        world.disk.lose(Path::new(RINGS));
        let report = world.forward();
        assert_eq!(report.quarantined, samples(10), "{is_pruned}");
        if !is_pruned {
            assert_eq!((report.accepted, report.delivered), (samples(37), samples(20)));
            assert_eq!(report.lost_by_reason, [("unexplained".to_owned(), samples(7))]);
        }
        world.catalogues.learn(LATE);
        assert_eq!(world.forward().quarantined, samples(0));
        assert_eq!(of_ring(&world, &late), 10, "{is_pruned}");
    }
}

/// Documents of a ring. The last frame before a cursor was lost may be there twice.
fn of_ring(world: &World, ring: &Ring) -> usize {
    let of_it = ring.id.to_string();
    let ids = world.documents().into_iter().map(|document| document["id"].to_string());
    ids.filter(|id| id.contains(&of_it)).count()
}

#[test]
fn what_has_gone_on_since_an_old_cursor_was_written_does_not_wait_again() {
    let mut world = World::new();
    let (mut late, mut other) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    for _ in 0..2 {
        world.samples_of(&mut late, LATE, 5);
    }
    world.commit();
    assert_eq!(world.forward().quarantined, samples(10));
    let cursor = world.disk.files().into_iter().find(|(path, _)| path == Path::new(CURSOR));
    world.catalogues.learn(LATE);
    for _ in 0..40 {
        world.samples(&mut other, 10);
        world.commit();
    }
    assert_eq!(world.forward().quarantined, samples(0));
    // Restored from a copy, without the files that the sink has written since.
    world.disk.edit(Path::new(CURSOR), |content| *content = cursor.unwrap().1);
    let forwarder = world.open().unwrap();
    assert_eq!(forwarder.status().snapshot().reconciled, 1);
    drop(forwarder);
    assert_eq!(world.forward().quarantined, samples(0));
    assert_eq!(of_ring(&world, &late), 10);
}
