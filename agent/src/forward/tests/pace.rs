//! When a batch is begun, offered, and with the sink.

use std::time::Duration;

use protocol::Lane;

use super::super::Step;
use super::world::{Ring, World};

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
