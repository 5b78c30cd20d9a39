//! Frames that wait for a catalogue, once it comes.

use std::path::Path;

use protocol::{CatalogueId, Lane};

use super::super::ParkedBounds;
use super::log::logged;
use super::world::{KNOWN, LATE, Ring, World, samples};

const LATER: CatalogueId = CatalogueId(3);

/// So many frames of a ring that wait.
fn waiting(frames: u32) -> (World, Ring) {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    for _ in 0..frames {
        world.samples_of(&mut ring, LATE, 5);
    }
    world.commit();
    world.forward();
    (world, ring)
}

#[test]
fn what_waited_goes_on_until_the_batch_is_full() {
    let (world, _) = waiting(5);
    let mut forwarder = world.open().unwrap();
    let stage = &mut forwarder.stage;
    stage.drain_parked(usize::MAX).unwrap();
    assert_eq!((stage.parked_frames(), stage.pending_bytes()), (5, 0), "it is not known yet");
    world.catalogues.learn(LATE);
    stage.drain_parked(1).unwrap();
    let full = stage.pending_bytes();
    assert!(full > 0 && stage.parked_frames() == 4);
    stage.drain_parked(full).unwrap();
    assert_eq!((stage.parked_frames(), stage.pending_bytes()), (4, full));
    stage.drain_parked(full + 1).unwrap();
    assert_eq!(stage.parked_frames(), 3);
    stage.drain_parked(usize::MAX).unwrap();
    assert_eq!(stage.parked_frames(), 0);
}

#[test]
fn it_says_how_many_frames_wait_and_how_far_it_has_come() {
    let (mut world, mut ring) = waiting(3);
    world.samples_of(&mut ring, LATE, 5);
    world.samples(&mut Ring::new(2, Lane::Bulk), 5);
    world.commit();
    let mut forwarder = world.open().unwrap();
    assert!(world.drive(&mut forwarder, 4));
    let snapshot = forwarder.status().snapshot();
    assert_eq!((snapshot.parked_frames, snapshot.rings), (4, 2));
    assert_eq!(snapshot.received_ms, 1_795_332_600_000);
}

#[test]
fn a_damaged_frame_is_counted_and_those_behind_it_go_on() {
    let (mut world, ring) = waiting(3);
    let mut forwarder = world.open().unwrap();
    world.disk.edit(Path::new("/data/parked/files-000001.log"), |content| content[40] ^= 1);
    world.catalogues.learn(LATE);
    assert!(world.drive(&mut forwarder, 4), "{:?}", forwarder.status().condition());
    let report = forwarder.status().ledger(&world.journal.ends());
    assert!(report.balanced(), "{}", report.table());
    assert_eq!((report.dead_lettered, report.delivered), (samples(5), samples(10)));
    assert_eq!(report.quarantined, samples(0));
    assert_eq!(world.delivered(&ring), (5..15).collect::<Vec<i64>>());
}

#[test]
fn what_has_no_room_behind_others_is_told_by_what_it_waits_for_itself() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    let first = world.samples_of(&mut ring, LATE, 500);
    let ring_bytes = u64::try_from(8 + first.len()).unwrap();
    world.config.parked = ParkedBounds { ring_bytes, bytes: 1 << 20 };
    for catalogue in [LATER, KNOWN] {
        world.samples_of(&mut ring, catalogue, 5);
    }
    world.commit();
    assert_eq!(world.forward().quarantined, samples(500));
    let letters = world.dead_letters();
    let reasons: Vec<&str> =
        letters.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    let of = |what: &str| format!("no room to wait for catalogue {what}");
    assert_eq!(reasons, [of(&LATER.to_string()), of("another")]);
}

/// Where a file of two equally long notes is damaged.
type Place = fn(usize) -> usize;
const IN_THE_SECOND: Place = |len| len - 20;
const IN_ITS_LENGTH: Place = |len| len / 2;

/// Two rings of which a frame each waits, the second one's damaged on disk.
fn damaged(place: Place) -> (World, Ring, Ring) {
    let mut world = World::new();
    let (mut one, mut two) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    world.samples_of(&mut one, LATE, 5);
    world.samples_of(&mut two, LATE, 5);
    world.commit();
    world.forward();
    let path = Path::new("/data/parked/files-000001.log");
    world.disk.edit(path, |content| {
        let at = place(content.len());
        content[at] ^= 1;
    });
    (world, one, two)
}

#[test]
fn a_frame_that_waited_and_is_damaged_is_a_dead_letter_and_no_other_goes_out_twice() {
    let ways = [IN_THE_SECOND, IN_ITS_LENGTH].into_iter().flat_map(|at| [(at, true), (at, false)]);
    for (place, is_running) in ways {
        let (mut world, one, two) = damaged(place);
        let mut forwarder = is_running.then(|| world.open().unwrap());
        world.catalogues.learn(LATE);
        if let Some(forwarder) = &mut forwarder {
            assert!(world.drive(forwarder, 4));
            forwarder.end(None);
        }
        drop(forwarder);
        for start in 0..3 {
            let mut report = None;
            let said = logged(|| report = Some(world.forward()));
            let is_said =
                |line: &String| line.contains("frames that waited for a catalogue are lost");
            assert_eq!(said.iter().any(is_said), start == 0 && !is_running, "{start}: {said:?}");
            let report = report.unwrap();
            assert_eq!(world.delivered(&one).len(), 5, "{is_running}");
            assert!(world.delivered(&two).is_empty());
            let (delivered, lost) = (report.delivered, report.dead_lettered);
            assert_eq!((delivered, lost, report.quarantined), (samples(5), samples(5), samples(0)));
            assert!(report.balanced(), "{}", report.table());
        }
    }
}
