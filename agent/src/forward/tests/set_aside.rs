//! Dead letters, parked rings, rules, and the order of lanes.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};

use protocol::frame::Kind;
use protocol::{CatalogueId, Lane};

use super::super::{Condition, Forwarder, ParkedBounds, Step};
use super::world::{KNOWN, LATE, Ring, World, alien_body, samples, samples_body};
use crate::sink::{AnySink, StdoutSink};

#[test]
fn what_cannot_be_read_is_kept_and_holds_up_nobody() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    // Sealed for another ring; a body that is none; a signal that the catalogue does not have.
    let stranger = Ring::new(9, Lane::Bulk).seal(Kind::Samples, 2, &samples_body(KNOWN, 0..3));
    world.append(&mut ring, samples(3), &stranger);
    let frame = ring.seal(Kind::Loss, 3, b"x");
    world.append(&mut ring, samples(1), &frame);
    let frame = ring.seal(Kind::Samples, 4, &alien_body(0..50));
    world.append(&mut ring, samples(50), &frame);
    world.samples(&mut ring, 10);
    world.commit();
    let report = world.forward();
    assert_eq!((report.delivered, report.dead_lettered), (samples(20), samples(54)));
    assert_eq!(world.delivered(&ring).len(), 20);
    let letters = world.dead_letters();
    let reasons: Vec<&str> =
        letters.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    assert_eq!(
        reasons,
        ["authentication failed", "malformed body", "signal outside the catalogue"]
    );
    let mut kept = String::new();
    for byte in &stranger {
        write!(kept, "{byte:02x}").unwrap();
    }
    assert_eq!((&letters[0]["frame"], &letters[0]["seq"]), (&kept.into(), &2.into()));
}

#[test]
fn dead_letters_are_bounded() {
    let mut world = World::new();
    world.config.dead_letter_bytes_max = 4000;
    let mut ring = Ring::new(1, Lane::Bulk);
    for _ in 0..60 {
        world.append(&mut ring, samples(1), &[0x55; 100]);
    }
    world.commit();
    let report = world.forward();
    assert_eq!(report.dead_lettered, samples(60), "all are counted");
    let files = world.disk.files();
    let bytes: usize = files
        .iter()
        .filter(|(path, _)| path.starts_with("/data/dead-letters"))
        .map(|(_, content)| content.len())
        .sum();
    assert!(bytes > 1000 && bytes <= 4000, "{bytes}");
    assert_eq!(world.dead_letters().last().unwrap()["seq"], 60, "the latest are kept");
}

#[test]
fn an_unknown_catalogue_parks_its_ring_and_no_other() {
    let mut world = World::new();
    let (mut late, mut other) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    world.samples_of(&mut late, LATE, 5);
    world.samples(&mut other, 5);
    world.samples(&mut late, 5);
    world.commit();
    let report = world.forward();
    assert_eq!((report.quarantined, report.delivered), (samples(10), samples(5)));
    assert!(world.delivered(&late).is_empty());
    // Over a restart, and in order with what comes meanwhile.
    world.reopen_journal();
    world.samples(&mut late, 5);
    world.commit();
    assert_eq!(world.forward().quarantined, samples(15));
    world.catalogues.learn(LATE);
    world.samples(&mut late, 5);
    world.commit();
    let report = world.forward();
    assert_eq!((report.quarantined, report.delivered), (samples(0), samples(25)));
    assert_eq!(
        world.delivered(&late),
        [0..5, 10..15, 15..20, 20..25].into_iter().flatten().collect::<Vec<i64>>()
    );
}

#[test]
fn beyond_the_bounds_parked_frames_are_dead_letters() {
    let mut world = World::new();
    let (mut one, mut two) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    world.config.parked = ParkedBounds { ring_bytes: 300, bytes: 500 };
    for _ in 0..10 {
        world.samples_of(&mut one, LATE, 5);
        world.samples_of(&mut two, CatalogueId(77), 5);
    }
    world.commit();
    let report = world.forward();
    assert_eq!(report.quarantined + report.dead_lettered, samples(100));
    assert!(!report.quarantined.is_zero() && !report.dead_lettered.is_zero());
    assert!(world.dead_letters()[0]["reason"].as_str().unwrap().starts_with("no room to wait"));
    world.catalogues.learn(LATE);
    world.catalogues.learn(CatalogueId(77));
    let report = world.forward();
    assert!(report.quarantined.is_zero());
    assert_eq!(report.delivered + report.dead_lettered, samples(100));
}

#[test]
fn what_a_rule_takes_out_is_excluded_under_its_name() {
    let mut world = World::new();
    world.drop = vec!["Vehicle.Sp*".to_owned()];
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    world.commit();
    let report = world.forward();
    assert_eq!(report.excluded_by_rule, [("drop Vehicle.Sp*".to_owned(), samples(10))]);
    assert!(world.documents().is_empty());
}

#[test]
fn urgent_lanes_overtake_and_starve_nobody() {
    let mut world = World::new();
    world.config.batch_bytes = 1 << 20;
    world.rotate_bytes = 1 << 30;
    let (mut bulk, mut critical) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Critical));
    for _ in 0..100 {
        world.samples(&mut bulk, 1);
        world.samples(&mut critical, 1);
        world.samples(&mut critical, 1);
    }
    world.commit();
    world.forward();
    let lanes: Vec<String> = world
        .documents()
        .iter()
        .map(|document| document["lane"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(lanes.len(), 300);
    let at = |lane: &str, nth: usize| {
        lanes.iter().enumerate().filter(|(_, of)| *of == lane).nth(nth).unwrap().0
    };
    assert!(at("critical", 0) < at("bulk", 0));
    assert!(at("critical", 199) < at("bulk", 99));
    assert!(at("bulk", 0) < at("critical", 199));
}

#[test]
fn a_busy_registry_is_waited_for() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    world.commit();
    *world.opener.unavailable.lock().unwrap() = 3;
    let report = world.forward();
    assert_eq!(report.delivered, samples(10));
}

/// A pipe whose reader takes so many bytes, in small sips, and goes.
struct Pipe {
    taken: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(7).min(self.room);
        if taken == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.room -= taken;
        self.taken.lock().unwrap().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn standard_output_is_given_up_when_nobody_reads_it() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    world.samples(&mut ring, 10);
    world.commit();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let open = |world: &World, room: usize| {
        let pipe = Pipe { taken: Arc::clone(&taken), room };
        let (storage, tail) = (world.storage(), world.journal.tail());
        let path = "/data/cursors/files".as_ref();
        let (sink, resume) = StdoutSink::open(&storage, path, &tail, Box::new(pipe)).unwrap();
        let parts = world.parts();
        let sink: (AnySink, _) = (Box::new(sink), resume);
        Forwarder::open(&storage, world.config.clone(), tail, sink, parts).unwrap()
    };
    let mut forwarder = open(&world, 4000);
    while forwarder.step(world.now, true) != Step::Ended {}
    let Condition::Stopped(Some(reason)) = forwarder.status().condition() else {
        panic!("it goes on without a reader");
    };
    assert_eq!(reason, "nobody reads standard output any more");
    drop(forwarder);
    // The next life repeats the batch that nobody vouches for, under the same ids.
    taken.lock().unwrap().clear();
    let mut forwarder = open(&world, usize::MAX);
    while forwarder.step(world.now, true) != Step::Ended {}
    let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 10, "the first frame was acknowledged by its cursor");
    assert!(forwarder.status().ledger(&world.journal.ends()).balanced());
}

/// In this world everything is received at one time.
const RECEIVED_MS: i64 = 1_795_332_600_000;

#[test]
fn of_an_erased_device_nothing_leaves_and_everything_is_counted() {
    let mut world = World::new();
    let (mut gone, mut stays) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    world.samples(&mut gone, 10);
    world.commit();
    world.forward();
    world.opener.erased.lock().unwrap().insert(gone.device, RECEIVED_MS);
    // Frames that nobody can open any more, the agent's word of a gap, a hole in the journal.
    world.samples(&mut gone, 5);
    world.gap(&mut gone, 2, samples(7));
    gone.next += 3;
    gone.through += samples(20);
    world.samples(&mut gone, 5);
    world.samples(&mut stays, 4);
    world.gap(&mut stays, 1, samples(2));
    world.commit();
    let report = world.forward();
    assert!(report.balanced(), "{report:?}");
    assert_eq!(report.excluded_by_rule, [("erased".to_owned(), samples(10))]);
    assert_eq!((report.lost, report.dead_lettered), (samples(29), samples(0)));
    assert_eq!(world.delivered(&gone).len(), 10, "what it said before is the sink's business");
    let said: Vec<String> = world
        .documents()
        .into_iter()
        .filter(|document| document["type"] == "milepost.loss")
        .map(|document| document["source"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(said, [format!("/devices/{}", stays.device)], "no loss names the erased one");
}

#[test]
fn one_that_came_back_under_the_name_has_its_own_dead_letters() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.opener.erased.lock().unwrap().insert(ring.device, RECEIVED_MS - 1);
    world.samples(&mut ring, 5);
    world.commit();
    let report = world.forward();
    assert_eq!((report.dead_lettered, report.excluded), (samples(5), samples(0)));
}

#[test]
fn parked_frames_of_an_erased_device_are_counted_as_such() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples_of(&mut ring, LATE, 5);
    world.samples_of(&mut ring, LATE, 6);
    world.commit();
    assert_eq!(world.forward().quarantined, samples(11));
    world.opener.erased.lock().unwrap().insert(ring.device, RECEIVED_MS);
    let (storage, data_dir) = (world.storage(), world.config.data_dir.clone());
    let aside = super::super::aside::erase(&storage, &data_dir, "files", ring.device).unwrap();
    assert_eq!(aside.parked, 2);
    world.samples_of(&mut ring, LATE, 7);
    world.commit();
    let report = world.forward();
    assert!(report.balanced(), "{report:?}");
    assert_eq!((report.quarantined, report.excluded), (samples(0), samples(18)));
    world.catalogues.learn(LATE);
    assert_eq!(world.forward().delivered, samples(0), "no catalogue brings it back");
}
