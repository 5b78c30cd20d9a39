//! A forwarder on its own thread: how it ends, and how it is told of other rules.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use protocol::Lane;

use super::super::{Change, Condition, Forwarder, ForwarderHandle, ForwarderStatus, POLL};
use super::world::{Ring, World, samples};
use crate::notify::Vigil;
use crate::sink::{AnySink, StdoutSink};

/// More than anything here takes.
const LONG: Duration = Duration::from_secs(30);

fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..LONG.as_millis() {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it never came to that");
}

fn has_all(world: &World, status: &ForwarderStatus) -> bool {
    let cursor = status.snapshot().cursor.journal;
    cursor.is_some_and(|cursor| cursor.positions == world.journal.ends().positions)
}

#[test]
fn it_ends_as_asked_once_all_is_forwarded() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    world.commit();
    let mut handle = ForwarderHandle::spawn(world.open().unwrap()).unwrap();
    until(|| has_all(&world, &handle.status()));
    assert!(!handle.is_finished(), "more may come");
    assert_eq!(handle.status().condition(), Condition::Running);
    world.samples(&mut ring, 10);
    world.commit();
    handle.finish();
    until(|| handle.is_finished());
    assert_eq!(handle.status().condition(), Condition::Stopped(None));
    assert_eq!(world.delivered(&ring).len(), 20);
    assert!(handle.stop(LONG));
    // Nobody takes it to hang now.
    let (mut vigil, pulse) = (Vigil::new(LONG), handle.status().pulse().clone());
    let hangs = [Duration::ZERO, LONG]
        .map(|now| vigil.look(now, vec![("forward".to_owned(), pulse.clone())]).map(str::to_owned));
    assert_eq!(hangs, [None, None]);
}

#[test]
fn a_stop_does_not_wait_for_the_next_attempt() {
    let world = World::new();
    let mut forwarder = world.open().unwrap();
    forwarder.wait_until = 100 * LONG;
    let mut handle = ForwarderHandle::spawn(forwarder).unwrap();
    assert!(handle.stop(LONG));
    assert_eq!(handle.status().condition(), Condition::Stopped(None), "it has ended by then");
}

#[test]
fn one_that_is_stopped_says_what_it_failed_at() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    world.commit();
    let forwarder = world.open().unwrap();
    world.disk.set_capacity(Some(0));
    let mut handle = ForwarderHandle::spawn(forwarder).unwrap();
    until(|| handle.status().snapshot().retries > 0);
    assert!(handle.stop(LONG));
    let Condition::Stopped(Some(reason)) = handle.status().condition() else {
        panic!("a reason: {:?}", handle.status().condition())
    };
    assert!(!reason.is_empty());
}

#[test]
fn other_rules_hold_from_the_next_batch_on() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    world.commit();
    let mut handle = ForwarderHandle::spawn(world.open().unwrap()).unwrap();
    until(|| has_all(&world, &handle.status()));
    world.drop = vec!["Vehicle.Sp*".to_owned()];
    handle.change(Change { policy: Some(world.policy()), rotate_bytes: None });
    // It looks for that before it reads on.
    std::thread::sleep(5 * POLL);
    world.samples(&mut ring, 5);
    world.commit();
    until(|| has_all(&world, &handle.status()));
    assert!(handle.stop(LONG));
    let report = handle.status().ledger(&world.journal.ends());
    assert_eq!((report.delivered, report.excluded), (samples(10), samples(5)));
}

/// A reader of standard output that says when a write begins, and does not come back from it, or not
/// alive.
struct Reader {
    begun: mpsc::Sender<()>,
    never: Option<mpsc::Receiver<()>>,
}

impl io::Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.send(()).ok();
        let Some(never) = &self.never else { panic!("a fault of the sink") };
        never.recv().ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// In an attempt to write to such a reader.
fn attempting(never: Option<mpsc::Receiver<()>>) -> ForwarderHandle {
    let (begun, begins) = mpsc::channel();
    let reader = Reader { begun, never };
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    world.commit();
    let (storage, tail) = (world.storage(), world.journal.tail());
    let path = "/data/cursors/files".as_ref();
    let (sink, resume) = StdoutSink::open(&storage, path, &tail, Box::new(reader)).unwrap();
    let parts = world.parts();
    let sink: (AnySink, _) = (Box::new(sink), resume);
    let forwarder = Forwarder::open(&storage, world.config.clone(), tail, sink, parts).unwrap();
    let handle = ForwarderHandle::spawn(forwarder).unwrap();
    begins.recv().unwrap();
    handle
}

#[test]
fn one_that_hangs_in_an_attempt_is_left_behind() {
    let (_hangs, never) = mpsc::channel();
    let mut handle = attempting(Some(never));
    assert!(handle.stop(Duration::from_millis(50)));
    assert_eq!(handle.status().condition(), Condition::Running, "it knows of nothing");
    assert!(handle.is_finished() && handle.stop(LONG), "nobody waits for it again");
}

#[test]
fn one_that_panicked_is_told_from_one_that_ended() {
    let mut handle = attempting(None);
    assert!(!handle.stop(LONG));
}
