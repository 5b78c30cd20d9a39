//! When the state of the rings is kept.

use std::time::Duration;

use protocol::Lane;

use super::super::{KEEP_AGAIN, SNAPSHOT_AGE, Step};
use super::losses::segments;
use super::world::{Ring, World};
use crate::journal::Positions;

fn kept(world: &World) -> Vec<u8> {
    let mut files = world.disk.files().into_iter();
    files.find(|(path, _)| path.ends_with("files.rings")).unwrap().1
}

fn append(world: &mut World, ring: &mut Ring) {
    world.samples(ring, 10);
    world.commit();
}

#[test]
fn the_rings_are_kept_before_a_batch_of_which_the_journal_does_not_tell_all() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    let mut forwarder = world.open().unwrap();
    let at_start = kept(&world);
    append(&mut world, &mut ring);
    assert_eq!(forwarder.step(world.now, false), Step::Again);
    assert!(kept(&world) == at_start, "an entry tells how far its ring has come");
    append(&mut world, &mut ring);
    let newest = segments(&world).pop().unwrap();
    world.journal_disk.edit(&newest, |content| {
        let at = content.len() - 60;
        content[at] ^= 1;
    });
    append(&mut world, &mut ring);
    assert_eq!(forwarder.step(world.now, false), Step::Again);
    assert_eq!(world.of_type("loss").len(), 1);
    let told = kept(&world);
    assert!(told != at_start, "damage does not");
    append(&mut world, &mut ring);
    assert_eq!(forwarder.step(world.now, false), Step::Again);
    assert!(kept(&world) == told, "and that was the last batch");
}

/// Whether the rings are kept as of a batch that is taken at `now`, where so many bytes of the journal
/// more than it comes to make it due.
fn is_kept(more: u64, now: Duration) -> bool {
    let mut world = World::new();
    append(&mut world, &mut Ring::new(1, Lane::Bulk));
    let ends = world.journal.ends().positions;
    world.config.snapshot_bytes = ends.get(Lane::Bulk).0 + more;
    let mut forwarder = world.open().unwrap();
    assert_eq!(forwarder.status().keep_from(), Positions::ZERO);
    assert_eq!(forwarder.step(now, false), Step::Again);
    forwarder.status().keep_from() == ends
}

#[test]
fn the_rings_are_kept_after_so_many_bytes_or_so_much_time() {
    assert!(is_kept(0, Duration::ZERO) && !is_kept(1, Duration::ZERO));
    assert!(is_kept(1, SNAPSHOT_AGE));
    assert!(!is_kept(1, SNAPSHOT_AGE.saturating_sub(Duration::from_nanos(1))));
}

#[test]
fn the_rings_are_kept_when_an_attempt_fails_and_not_again_before_a_second_has_passed() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    let mut forwarder = world.open().unwrap();
    let status = forwarder.status();
    // One batch is taken and the next one is not, at first; up to which batch the rings are kept.
    let mut ends = Vec::new();
    let mut fail_once = |now| {
        append(&mut world, &mut ring);
        ends.push(world.journal.ends().positions);
        assert_eq!(forwarder.step(now, false), Step::Again);
        append(&mut world, &mut ring);
        *world.opener.unavailable.lock().unwrap() = 1;
        let Step::Wait(wait) = forwarder.step(now, false) else { panic!("it was to fail") };
        assert_eq!(forwarder.step(now + wait, false), Step::Again);
        ends.iter().position(|ends| *ends == status.keep_from())
    };
    let first = Duration::from_secs(10);
    assert_eq!(fail_once(first), Some(0));
    assert_eq!(fail_once(first + KEEP_AGAIN / 2), Some(0), "too soon");
    assert_eq!(fail_once(first + KEEP_AGAIN), Some(2));
}

#[test]
fn the_rings_are_kept_for_who_asks_and_not_again_before_a_second_has_passed() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    let mut forwarder = world.open().unwrap();
    let status = forwarder.status();
    let asked_at = Duration::from_secs(10);
    let again_at = asked_at + KEEP_AGAIN;
    let too_soon = again_at.saturating_sub(Duration::from_nanos(1));
    let mut ends = Vec::new();
    let mut step = |world: &mut World, now| {
        append(world, &mut ring);
        ends.push(world.journal.ends().positions);
        assert_eq!(forwarder.step(now, false), Step::Again);
        ends.iter().position(|ends| *ends == status.keep_from())
    };
    for _ in 0..2 {
        assert_eq!(step(&mut world, asked_at), None, "nobody has asked yet");
    }
    assert!(status.keep_when_full(asked_at).is_some());
    assert_eq!(step(&mut world, asked_at), Some(1), "as of the batch before");
    assert!(status.keep_when_full(asked_at).is_some());
    assert_eq!(step(&mut world, too_soon), Some(1));
    assert_eq!(step(&mut world, again_at), Some(3));
}
