//! When a batch is begun, offered, and with the sink.

use std::time::Duration;

use protocol::Lane;

use super::super::{READS_MAX, Step};
use super::log::logged;
use super::world::{Ring, World, samples};
use crate::ledger::LedgerReport;
use crate::storage::faulty::Fault;

/// Longer than any wait between two attempts.
const LONG: Duration = Duration::from_hours(1);

#[test]
fn a_batch_is_at_hand_from_its_first_entry_until_the_sink_has_it() {
    let mut world = World::new();
    world.config.batch_bytes = 1 << 20;
    let mut forwarder = world.open().unwrap();
    assert!(forwarder.is_between_batches());
    world.samples(&mut Ring::new(1, Lane::Bulk), 10);
    world.commit();
    assert!(matches!(forwarder.step(world.now, false), Step::Wait(_)));
    assert!(!forwarder.is_between_batches(), "it may grow");
    world.disk.set_capacity(Some(0));
    world.now += world.config.batch_age;
    assert!(matches!(forwarder.step(world.now, false), Step::Wait(_)));
    assert!(!forwarder.is_between_batches(), "it was offered and not taken");
    world.disk.set_capacity(None);
    world.now += LONG;
    assert_eq!(forwarder.step(world.now, false), Step::Again);
    assert!(forwarder.is_between_batches());
}

#[test]
fn what_was_read_before_a_fault_goes_out_and_where_nothing_was_it_is_a_failed_attempt() {
    let mut world = World::new();
    world.config.batch_bytes = 1 << 20;
    let mut ring = Ring::new(1, Lane::Bulk);
    let mut forwarder = world.open().unwrap();
    let attempts = |forwarder: &super::world::TestForwarder| {
        let snapshot = forwarder.status().snapshot();
        (snapshot.retries, snapshot.batches)
    };
    world.samples(&mut ring, 10);
    world.commit();
    *world.opener.unavailable.lock().unwrap() = 1;
    assert!(matches!(forwarder.step(world.now, false), Step::Wait(_)));
    assert_eq!(attempts(&forwarder), (1, 0));
    world.now += LONG;
    assert!(matches!(forwarder.step(world.now, false), Step::Wait(_)), "it may grow");
    world.samples(&mut ring, 10);
    world.commit();
    *world.opener.unavailable.lock().unwrap() = 1;
    assert_eq!(forwarder.step(world.now, false), Step::Again);
    assert_eq!(attempts(&forwarder), (1, 1));
    assert_eq!(world.delivered(&ring).len(), 10);
}

#[test]
fn a_batch_takes_all_that_there_is_room_for() {
    let mut world = World::new();
    world.config.batch_bytes = 1 << 20;
    let mut ring = Ring::new(1, Lane::Bulk);
    for _ in 0..100 {
        world.samples(&mut ring, 1);
    }
    world.commit();
    let mut forwarder = world.open().unwrap();
    assert_eq!(forwarder.step(world.now, true), Step::Again);
    assert_eq!(forwarder.step(world.now, true), Step::Ended);
    assert_eq!((forwarder.status().snapshot().batches, world.delivered(&ring).len()), (1, 100));
}

/// Three frames from a journal of which so many reads in a row fail, the `nth` first: how many attempts
/// failed, and what the ledger says.
fn read_with_failures(nth: u64, failures: u32) -> (u64, LedgerReport) {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    for _ in 0..3 {
        world.samples(&mut ring, 10);
    }
    world.commit();
    let mut forwarder = world.open().unwrap();
    for at in (nth..).take(usize::try_from(failures).unwrap()) {
        world.journal_disk.fail(at, Fault::Io);
    }
    assert!(world.drive(&mut forwarder, 100));
    let report = forwarder.status().ledger(&world.journal.ends());
    assert!(report.balanced() && report.buffered.is_zero(), "{}", report.table());
    (forwarder.status().snapshot().retries, report)
}

#[test]
fn a_journal_that_cannot_be_read_is_taken_for_damaged_after_many_attempts_alone() {
    let mut failed = 0;
    for nth in 1..=8 {
        for failures in [1, 2, READS_MAX] {
            let (retries, report) = read_with_failures(nth, failures);
            assert_eq!(report.delivered, samples(30), "{nth}, {failures}");
            failed = failed.max(retries);
        }
    }
    assert_eq!(failed, u64::from(READS_MAX), "each read that was struck was an attempt");
    let (retries, report) = read_with_failures(2, 4 * READS_MAX);
    assert!(retries > u64::from(READS_MAX) && !report.lost.is_zero(), "{}", report.table());
}

#[test]
fn an_outage_is_logged_once_however_long_it_is() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    let mut forwarder = world.open().unwrap();
    for _ in 0..2 {
        world.samples(&mut ring, 10);
        world.commit();
        world.disk.set_capacity(Some(0));
        let lines = logged(|| assert!(!world.drive(&mut forwarder, 5)));
        let said = lines.iter().filter(|line| line.contains("an attempt failed; trying again"));
        assert_eq!(said.count(), 1, "{lines:?}");
        world.disk.set_capacity(None);
        assert!(world.drive(&mut forwarder, 5));
    }
}

#[test]
fn a_batch_of_one_large_frame_leaves_room_for_a_full_batch_and_no_more() {
    let mut world = World::new();
    world.config.batch_bytes = 10_000;
    world.samples(&mut Ring::new(1, Lane::Bulk), 2000);
    world.commit();
    let mut forwarder = world.open().unwrap();
    assert!(world.drive(&mut forwarder, 4));
    let room = forwarder.stage.batch().room();
    assert!((10_000..15_000).contains(&room), "{room}");
}
