//! What is missing is said, once, with its counts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{io, thread};

use protocol::frame::tag_of;
use protocol::loss::LossReason;
use protocol::{Counts, FrameTag, Lane};
use serde_json::{Value as Json, json};

use super::super::continuity::Snapshots;
use super::super::{HeldRing, RingSource, Step};
use super::world::{
    KNOWN, Ring, RingRows, TestForwarder, World, open_journal, samples, samples_body,
};
use crate::journal::Positions;
use crate::storage::SharedStorage;
use crate::storage::faulty::{Fault, Faulty, Leaves};

pub fn segments(world: &World) -> Vec<PathBuf> {
    let files = world.journal_disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.to_string_lossy().contains("bulk")).collect()
}

/// Two rings, thirty frames each of ten samples, over several segments.
fn thirty_frames() -> (World, Ring, Ring) {
    let mut world = World::new();
    let (mut one, mut other) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    for _ in 0..30 {
        world.samples(&mut one, 10);
        world.samples(&mut other, 10);
        world.commit();
    }
    assert!(segments(&world).len() > 3);
    (world, one, other)
}

/// Sum of what loss documents say.
fn said(world: &World) -> u64 {
    let losses = world.of_type("loss");
    losses.iter().map(|document| document["data"]["samples"].as_u64().unwrap()).sum()
}

#[test]
fn a_flipped_bit_in_the_journal_costs_one_frame_and_is_said() {
    let (mut world, one, other) = thirty_frames();
    let second = segments(&world)[1].clone();
    world.journal_disk.edit(&second, |content| content[1024 + 100] ^= 4);
    let report = world.forward();
    assert_eq!(world.delivered(&one).len() + world.delivered(&other).len(), 590);
    let losses = world.of_type("loss");
    assert_eq!(losses.len(), 1);
    let data = &losses[0]["data"];
    assert_eq!(data["first"], data["last"]);
    assert_eq!((&data["samples"], &data["reason"]), (&json!(10), &json!("journal")));
    assert_eq!(data["by"], "agent");
    assert!(losses[0]["id"].as_str().unwrap().ends_with("/loss"));
    assert_eq!(report.lost, samples(10));
    assert_eq!(report.lost_by_reason, [("journal".to_owned(), samples(10))]);
}

#[test]
fn damage_at_the_very_beginning_is_not_taken_for_a_prune() {
    for byte in [1024, 1024 + 40] {
        let (mut world, one, other) = thirty_frames();
        let first = segments(&world)[0].clone();
        world.journal_disk.edit(&first, |content| content[byte] ^= 4);
        // While a sink reads it, and when one reads again what it has had.
        for _ in 0..2 {
            let report = world.forward();
            assert_eq!((world.delivered(&one).len(), world.delivered(&other).len()), (290, 300));
            let losses = world.of_type("loss");
            assert_eq!(losses.len(), 1);
            let data = &losses[0]["data"];
            assert_eq!((&data["first"], &data["last"]), (&json!(1), &json!(1)));
            assert_eq!((&data["samples"], &data["reason"]), (&json!(10), &json!("journal")));
            assert_eq!(report.lost_by_reason, [("journal".to_owned(), samples(10))]);
            world.disk.lose("/data/cursors/files.rings".as_ref());
        }
    }
}

#[test]
fn a_missing_segment_is_said_ring_by_ring_with_exact_counts() {
    let (mut world, one, other) = thirty_frames();
    let third = segments(&world)[2].clone();
    world.journal_disk.lose(&third);
    let report = world.forward();
    let delivered = (world.delivered(&one).len() + world.delivered(&other).len()) as u64;
    assert_eq!(world.of_type("loss").len(), 2);
    assert_eq!((delivered + said(&world), report.lost.samples), (600, said(&world)));
    assert_eq!(report.lost_by_reason.len(), 1, "all of it is named");
}

#[test]
fn damage_at_the_end_is_counted_before_it_can_be_named() {
    let (mut world, one, mut other) = thirty_frames();
    let newest = segments(&world).pop().unwrap();
    world.journal_disk.edit(&newest, |content| {
        let at = content.len() - 60;
        content[at] ^= 1;
    });
    let report = world.forward();
    let unnamed = ("journal, not yet named".to_owned(), report.lost);
    assert_eq!(report.lost_by_reason, [unnamed]);
    assert_eq!(report.lost, samples(10));
    assert!(world.of_type("loss").is_empty());
    // The ring goes on, after a restart, and it is named.
    world.reopen_journal();
    world.samples(&mut other, 10);
    world.commit();
    let report = world.forward();
    assert_eq!(report.lost_by_reason, [("journal".to_owned(), samples(10))]);
    assert_eq!((said(&world), world.delivered(&one).len()), (10, 300));
}

#[test]
fn overlapping_claims_are_lost_once() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    world.gap(&mut ring, 4, samples(50));
    world.samples(&mut ring, 10);
    // The device's own word for the same frames comes later and adds nothing.
    world.loss(&mut ring, 2, 0, Counts::ZERO, LossReason::Full);
    // A loss that is a superseded value is excluded, not lost.
    world.loss(&mut ring, 8, 2, samples(7), LossReason::Superseded);
    world.commit();
    let report = world.forward();
    assert_eq!((report.lost, report.excluded), (samples(50), samples(7)));
    assert_eq!(report.excluded_by_rule, [("superseded".to_owned(), samples(7))]);
    let losses = world.of_type("loss");
    assert_eq!(losses.len(), 3);
    assert_eq!(
        (&losses[0]["data"]["by"], &losses[1]["data"]["by"]),
        (&json!("agent"), &json!("device"))
    );
    assert_eq!((&losses[0]["data"]["first"], &losses[0]["data"]["last"]), (&json!(2), &json!(5)));
    assert_eq!(losses[1]["data"]["samples"], 0);
    assert_eq!(said(&world), 57);
}

#[test]
fn a_journal_restored_from_an_old_copy_doubles_nothing() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    for _ in 0..5 {
        world.samples(&mut ring, 10);
    }
    world.commit();
    world.forward();
    let (copy, old_ring): (Faulty, Ring) = (world.journal_disk.copy(), ring.clone());
    for _ in 0..5 {
        world.samples(&mut ring, 10);
    }
    world.commit();
    world.forward();
    assert_eq!(world.delivered(&ring).len(), 100);
    // The copy is put back; the device says what it still has, from frame 9 on.
    world.journal_disk = copy;
    world.lives += 10;
    world.journal = open_journal(&world.journal_disk, world.lives);
    let mut back = old_ring;
    world.gap(&mut back, 2, samples(20));
    assert_eq!(back.next, 8);
    world.raw = 70;
    for _ in 0..4 {
        world.samples(&mut back, 10);
    }
    world.commit();
    let forwarder = world.open().unwrap();
    assert_eq!(forwarder.status().snapshot().reconciled, 1);
    drop(forwarder);
    let report = world.forward();
    assert_eq!(world.delivered(&ring), (0..110).collect::<Vec<i64>>());
    assert!(world.of_type("loss").is_empty(), "what the sink has is not lost");
    assert_eq!(report.accepted, samples(110));
    // And from here on the cursor holds again.
    world.samples(&mut back, 10);
    world.commit();
    let forwarder = world.open().unwrap();
    assert_eq!(forwarder.status().snapshot().reconciled, 0);
    drop(forwarder);
    world.forward();
    assert_eq!(world.delivered(&ring).len(), 120);
}

#[test]
fn a_lost_cursor_doubles_nothing() {
    let (mut world, mut one, _) = thirty_frames();
    world.forward();
    world.disk.lose("/out/.milepost-cursor".as_ref());
    world.disk.lose("/data/cursors/files.rings".as_ref());
    world.samples(&mut one, 10);
    world.commit();
    // Nobody vouches for the last frame in the files: it may come again, under the same ids.
    let last = world.documents().pop().unwrap()["id"].clone();
    world.forward();
    let again: Vec<_> =
        world.documents().into_iter().filter(|document| document["id"] == last).collect();
    assert_eq!(again.len(), 2);
    let mut ids: Vec<String> =
        world.documents().iter().map(|document| document["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 610);
    assert_eq!(world.documents().len(), 620, "one frame of ten twice");
}

#[test]
fn a_replaced_journal_goes_on_by_identity() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    world.samples(&mut ring, 10);
    world.commit();
    world.forward();
    // A new journal, and an acceptor that knows the ring: it goes on at 5; 3 and 4 were journaled
    // and never forwarded.
    world.journal_disk = Faulty::default();
    world.reopen_journal();
    ring.next = 5;
    ring.through += samples(33);
    world.raw = 100;
    world.samples(&mut ring, 10);
    world.commit();
    let report = world.forward();
    assert_eq!(said(&world), 33);
    assert_eq!(
        (report.accepted, report.delivered, report.lost),
        (samples(63), samples(30), samples(33)),
        "with the twenty of before"
    );
}

#[test]
fn a_sink_that_begins_late_takes_what_there_is() {
    let (mut world, one, other) = thirty_frames();
    let ends = world.journal.ends();
    world.journal.prune(&ends.positions).unwrap();
    for ring in [&one, &other] {
        world.checkpoint(ring);
    }
    let report = world.forward();
    assert!(report.accepted.samples < 600 && report.lost.is_zero(), "{}", report.table());
    let delivered = world.delivered(&one).len() + world.delivered(&other).len();
    assert_eq!(report.accepted.samples, delivered as u64);
    assert!(world.of_type("loss").is_empty());
}

#[test]
fn a_sink_that_was_overrun_says_what_it_lost() {
    let (mut world, mut one, other) = thirty_frames();
    let mut forwarder = world.open().unwrap();
    assert_eq!(forwarder.step(world.now, false), Step::Again);
    let ends = world.journal.ends();
    world.journal.prune(&ends.positions).unwrap();
    assert!(world.drive(&mut forwarder, 4));
    let report = forwarder.status().ledger(&world.journal.ends());
    assert!(report.balanced(), "{}", report.table());
    let delivered = world.delivered(&one).len() + world.delivered(&other).len();
    assert_eq!(delivered as u64 + report.lost.samples, 600);
    assert!(report.lost_by_reason.iter().any(|(reason, _)| reason == "overrun"));
    assert!(world.of_type("loss").iter().all(|loss| loss["data"]["reason"] == "overrun"));
    // The same over a start: the cursor is behind what the journal keeps.
    drop(forwarder);
    for _ in 0..30 {
        world.samples(&mut one, 10);
        world.commit();
    }
    let ends = world.journal.ends();
    world.journal.prune(&ends.positions).unwrap();
    let report = world.forward();
    assert!(report.lost_by_reason.iter().all(|(reason, _)| reason == "overrun"));
    assert_eq!(said(&world), report.lost.samples);
    assert_eq!(
        world.delivered(&one).len()
            + world.delivered(&other).len()
            + usize::try_from(said(&world)).unwrap(),
        900
    );
}

#[test]
fn a_lane_that_a_sink_had_read_nothing_of_is_lost_when_it_was_overrun() {
    for restarts in [false, true] {
        let mut world = World::new();
        let mut ring = Ring::new(1, Lane::Bulk);
        world.samples(&mut ring, 10);
        world.commit();
        world.forward();
        let mut forwarder = (!restarts).then(|| world.open().unwrap());
        let mut latest = Ring::new(2, Lane::Latest);
        for _ in 0..60 {
            world.samples(&mut latest, 10);
            world.samples(&mut ring, 10);
            world.commit();
        }
        let ends = world.journal.ends();
        world.journal.prune(&ends.positions).unwrap();
        world.samples(&mut latest, 10);
        world.commit();
        let report = match &mut forwarder {
            None => world.forward(),
            Some(forwarder) => {
                assert!(world.drive(forwarder, 4));
                forwarder.status().ledger(&world.journal.ends())
            }
        };
        assert!(report.balanced(), "{}", report.table());
        let delivered = world.delivered(&latest);
        assert!(delivered.len() < 600, "nothing was pruned");
        let losses = world.of_type("loss");
        let of_latest = losses.iter().find(|loss| loss["data"]["first"] == json!(1)).unwrap();
        assert_eq!(of_latest["data"]["samples"], json!(610 - delivered.len()), "{restarts}");
        assert_eq!(of_latest["data"]["reason"], "overrun");
        assert_eq!(said(&world), report.lost.samples);
    }
}

#[test]
fn a_sink_that_was_overrun_and_then_cut_off_says_how_much_it_lost() {
    let (mut world, mut one, _) = thirty_frames();
    let mut forwarder = world.open().unwrap();
    while forwarder.step(world.now, false) == Step::Again {}
    let status = forwarder.status();
    // A full journal waits until it is on record what the sink has of each ring.
    world.now += Duration::from_secs(1);
    let waits_for = status.keep_when_full(world.now);
    assert_eq!(waits_for, Some(Positions::ZERO));
    assert_ne!(forwarder.step(world.now, false), Step::Again);
    assert_eq!(status.keep_when_full(world.now), None);
    // The power goes; the journal goes on, and past the sink.
    drop(forwarder);
    for _ in 0..30 {
        world.samples(&mut one, 10);
        world.commit();
    }
    let ends = world.journal.ends();
    world.journal.prune(&ends.positions).unwrap();
    world.samples(&mut one, 10);
    world.commit();
    let report = world.forward();
    assert!(said(&world) > 0);
    assert_eq!(said(&world), report.lost.samples);
    let documents = world.documents().len() - world.of_type("loss").len();
    assert_eq!(documents as u64 + said(&world), 910);
}

#[test]
fn a_sink_that_was_overrun_and_takes_nothing_over_several_starts_says_how_much_it_lost() {
    let (mut world, mut one, _) = thirty_frames();
    world.forward();
    let mut new = Ring::new(3, Lane::Bulk);
    for _ in 0..3 {
        for _ in 0..30 {
            world.samples(&mut one, 10);
            world.samples(&mut new, 10);
            world.commit();
        }
        let ends = world.journal.ends();
        world.journal.prune(&ends.positions).unwrap();
        // It opens, and is away from then on.
        drop(world.open().unwrap());
    }
    world.samples(&mut one, 10);
    world.samples(&mut new, 10);
    world.commit();
    let report = world.forward();
    assert!(report.balanced(), "{}", report.table());
    assert_eq!(said(&world), report.lost.samples);
    let documents = world.documents().len() - world.of_type("loss").len();
    assert_eq!(documents as u64 + said(&world), 600 + 2 * 910);
}

#[test]
fn a_sink_that_was_overrun_and_is_told_in_vain_says_how_much_it_lost_at_the_next_start() {
    let mut failed = 0;
    // One of the disk's next calls fails: of those that keep what is to be told, or of those that tell it,
    // which is in a batch of its own, or in the first one.
    for (nth, batch_bytes) in (1..=16).flat_map(|nth| [(nth, 1), (nth, 1 << 20)]) {
        let (mut world, mut goes_on, mut ended) = thirty_frames();
        world.forward();
        world.config.batch_bytes = batch_bytes;
        for _ in 0..10 {
            world.samples(&mut ended, 10);
        }
        for _ in 0..30 {
            world.samples(&mut goes_on, 10);
            world.commit();
        }
        let ends = world.journal.ends();
        world.journal.prune(&ends.positions).unwrap();
        for ring in [&goes_on, &ended] {
            world.checkpoint(ring);
        }
        let mut forwarder = world.open().unwrap();
        world.disk.fail(nth, Fault::Io);
        failed += u32::from(!world.drive(&mut forwarder, 1));
        drop(forwarder);
        world.disk.heal();
        let report = world.forward();
        assert!(report.balanced(), "{}", report.table());
        assert_eq!(said(&world), report.lost.samples, "{nth}");
        let documents = world.documents().len() - world.of_type("loss").len();
        assert_eq!(documents as u64 + said(&world), 600 + 400, "{nth}");
    }
    assert!(failed > 20, "{failed}");
}

/// A ring that ends before what the journal keeps begins, and one that goes on; the sink has some
/// of it.
fn ended_and_pruned() -> (World, Ring, Ring, TestForwarder) {
    let (mut world, mut goes_on, ended) = thirty_frames();
    let mut forwarder = world.open().unwrap();
    for _ in 0..4 {
        assert_eq!(forwarder.step(world.now, false), Step::Again);
    }
    // As a full journal does before it is pruned past a sink.
    world.now += Duration::from_secs(1);
    assert!(forwarder.status().keep_when_full(world.now).is_some());
    assert_eq!(forwarder.step(world.now, false), Step::Again);
    for _ in 0..30 {
        world.samples(&mut goes_on, 10);
        world.commit();
    }
    let ends = world.journal.ends();
    world.journal.prune(&ends.positions).unwrap();
    for ring in [&goes_on, &ended] {
        world.checkpoint(ring);
    }
    (world, goes_on, ended, forwarder)
}

#[test]
fn what_is_missing_of_a_ring_that_does_not_go_on_is_said_as_well() {
    let (mut world, goes_on, mut ended, mut forwarder) = ended_and_pruned();
    assert!(world.drive(&mut forwarder, 4));
    let report = forwarder.status().ledger(&world.journal.ends());
    assert!(report.balanced(), "{}", report.table());
    let lost = [("overrun".to_owned(), report.lost)];
    assert_eq!(report.lost_by_reason, lost, "all of it is named");
    assert_eq!(said(&world), report.lost.samples);
    let delivered = world.delivered(&goes_on).len() + world.delivered(&ended).len();
    assert_eq!(delivered as u64 + said(&world), 900);
    let losses = world.of_type("loss");
    let of_ended = of_ring(&losses, &ended).map(|loss| &loss["data"]["last"]);
    assert_eq!(of_ended.collect::<Vec<_>>(), [&json!(30)]);
    // It goes on after all, and after a start: nothing is said twice.
    for restarts in [false, true] {
        world.samples(&mut ended, 10);
        world.commit();
        if restarts {
            drop(forwarder);
            forwarder = world.open().unwrap();
        }
        assert!(world.drive(&mut forwarder, 4));
        assert_eq!(world.of_type("loss"), losses, "{restarts}");
    }
    assert_eq!(world.delivered(&ended).len() as u64, 320 - lost_of(&losses, &ended));
}

/// By lane, why something is still to be named, as it is kept.
fn to_name(world: &World) -> [Option<LossReason>; 3] {
    let storage: SharedStorage = Arc::new(world.disk.clone());
    let snapshots = Snapshots::new(storage, "/data/cursors".into(), "files");
    snapshots.read().unwrap().unwrap().settled().0.to_name()
}

#[test]
fn that_a_ring_is_to_be_named_and_why_is_kept_until_the_sink_has_it() {
    let (mut world, _, _, mut forwarder) = ended_and_pruned();
    while to_name(&world) == [None; 3] {
        assert_eq!(forwarder.step(world.now, false), Step::Again);
    }
    assert_eq!(to_name(&world), [None, Some(LossReason::Overrun), None]);
    // The power goes; the sink has what stands behind the hole, and not yet what is named after it.
    drop(forwarder);
    let mut forwarder = world.open().unwrap();
    assert!(world.drive(&mut forwarder, 4));
    let report = forwarder.status().ledger(&world.journal.ends());
    assert_eq!(report.lost_by_reason, [("overrun".to_owned(), report.lost)]);
    forwarder.end(None);
    assert_eq!(to_name(&world), [None; 3]);
}

/// Those losses that are a ring's.
fn of_ring<'a>(losses: &'a [Json], ring: &Ring) -> impl Iterator<Item = &'a Json> + use<'a> {
    let of_it = format!("{}/{}/", ring.device, ring.id);
    losses.iter().filter(move |loss| loss["id"].as_str().unwrap().starts_with(&of_it))
}

/// Samples that these losses of a ring come to.
fn lost_of(losses: &[Json], ring: &Ring) -> u64 {
    of_ring(losses, ring).map(|loss| loss["data"]["samples"].as_u64().unwrap()).sum()
}

#[test]
fn what_is_missing_of_a_ring_that_does_not_go_on_is_said_once_whatever_fails() {
    // The power goes before and after each call, and leaves all or nothing of what was not synced.
    let faults = [Fault::CutBefore, Fault::CutAfter]
        .map(|fault| [Leaves::Nothing, Leaves::All].map(|leaves| (fault, leaves)));
    let mut named = 0;
    for (nth, (fault, leaves)) in
        (1..).flat_map(|nth| faults.into_iter().flatten().map(move |how| (nth, how)))
    {
        let (mut world, _, ended, mut forwarder) = ended_and_pruned();
        world.disk.fail(nth, fault);
        let is_over = world.drive(&mut forwarder, 1);
        if is_over && !world.disk.is_off() {
            break;
        }
        drop(forwarder);
        world.disk.power_cycle(leaves);
        let was_said = !world.of_type("loss").is_empty();
        named += u64::from(was_said);
        let report = world.forward();
        assert!(report.balanced(), "{nth}: {}", report.table());
        let losses = world.of_type("loss");
        let ids: BTreeSet<String> = losses.iter().map(|loss| loss["id"].to_string()).collect();
        assert_eq!(ids.len(), losses.len(), "{nth}");
        let delivered = world.delivered(&ended).len() as u64;
        let [data] = of_ring(&losses, &ended).map(|loss| &loss["data"]).collect::<Vec<_>>()[..]
        else {
            panic!("{nth}, {fault:?}, {leaves:?}: {losses:?}")
        };
        assert_eq!((&data["first"], &data["last"]), (&json!(delivered / 10 + 1), &json!(30)));
        // Of what it took after the journal was pruned past it, and before the hole was passed, only the
        // sink knows: then nobody knows how much is missing behind it.
        let told = delivered + lost_of(&losses, &ended);
        let is_told = told == 300 || (!was_said && told == delivered);
        assert!(is_told, "{nth}, {fault:?}, {leaves:?}: {told}");
    }
    assert!(named > 0, "cut off each time before anything was said");
}

/// A table whose reading takes until it is told to go on.
#[derive(Debug)]
struct Slow {
    rows: RingRows,
    begun: mpsc::Sender<()>,
    goes_on: mpsc::Receiver<()>,
}

impl RingSource for Slow {
    fn each(&self, take: &mut dyn FnMut(HeldRing)) -> io::Result<()> {
        // Asked a second time there is nobody to tell, and nothing to wait for.
        self.begun.send(()).unwrap_or_default();
        self.goes_on.recv().unwrap_or_default();
        self.rows.each(take)
    }

    fn known_to(&self) -> io::Result<Positions> {
        self.rows.known_to()
    }
}

#[test]
fn what_comes_while_the_table_is_read_is_not_said_to_be_missing() {
    let (mut world, _, mut ended, forwarder) = ended_and_pruned();
    drop(forwarder);
    let (begun, begins) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel();
    let slow = Slow { rows: world.rings.clone(), begun, goes_on };
    let mut forwarder = world.open_with(Box::new(slow)).unwrap();
    let now = world.now;
    let stepping = thread::spawn(move || {
        while forwarder.step(now, false) == Step::Again {}
        forwarder
    });
    begins.recv().unwrap();
    world.samples(&mut ended, 10);
    world.commit();
    world.checkpoint(&ended);
    drop(go_on);
    let mut forwarder = stepping.join().unwrap();
    assert!(world.drive(&mut forwarder, 4));
    let delivered = world.delivered(&ended);
    assert_eq!(delivered.len() as u64 + lost_of(&world.of_type("loss"), &ended), 310);
    assert_eq!(delivered.last(), Some(&(world.raw - 1)));
}

#[test]
fn a_sink_that_began_late_is_told_of_a_ring_that_began_later() {
    let (mut world, mut one, before) = thirty_frames();
    // Nothing more comes of it, and it was there before the sink: that is none of its losses.
    for ring in [&one, &before] {
        world.checkpoint(ring);
    }
    for _ in 0..20 {
        world.samples(&mut one, 10);
        world.commit();
    }
    let ends = world.journal.ends();
    world.journal.prune(&ends.positions).unwrap();
    world.checkpoint(&one);
    let mut forwarder = world.open().unwrap();
    assert!(world.drive(&mut forwarder, 4));
    let mut later = Ring::new(3, Lane::Bulk);
    for _ in 0..30 {
        world.samples(&mut later, 10);
        world.commit();
    }
    for _ in 0..30 {
        world.samples(&mut one, 10);
        world.commit();
    }
    let ends = world.journal.ends();
    world.journal.prune(&ends.positions).unwrap();
    for ring in [&one, &later] {
        world.checkpoint(ring);
    }
    assert!(world.drive(&mut forwarder, 4));
    let report = forwarder.status().ledger(&world.journal.ends());
    assert!(report.balanced(), "{}", report.table());
    let losses = world.of_type("loss");
    assert_eq!(world.delivered(&later).len() as u64 + lost_of(&losses, &later), 300);
    assert_eq!(of_ring(&losses, &later).count(), 1);
    assert_eq!(of_ring(&losses, &before).count(), 0);
    assert_eq!(said(&world), report.lost.samples);
    assert_eq!(report.lost_by_reason, [("overrun".to_owned(), report.lost)]);
}

#[test]
fn a_full_journal_does_not_wait_for_a_sink_that_hangs() {
    let (world, ..) = thirty_frames();
    let mut forwarder = world.open().unwrap();
    while forwarder.step(world.now, false) == Step::Again {}
    let status = forwarder.status();
    let at = Duration::from_secs(100);
    assert!(status.keep_when_full(at).is_some());
    assert!(status.keep_when_full(at + Duration::from_secs(4)).is_some());
    assert_eq!(status.keep_when_full(at + Duration::from_secs(5)), None);
}

#[test]
fn a_frame_sealed_anew_is_not_doubled() {
    let mut world = World::new();
    let (mut old, mut new) = (Ring::new(1, Lane::Bulk), Ring::new(4, Lane::Bulk));
    world.samples(&mut old, 10);
    let frame = world.samples(&mut old, 10);
    let body = samples_body(KNOWN, 10..20);
    world.resealed(&mut new, &old, 2, tag_of(&frame), &body, samples(10));
    // Same number, another frame: the device was rolled back and this is news.
    let news = samples_body(KNOWN, 100..110);
    world.resealed(&mut new, &old, 2, FrameTag([5; 8]), &news, samples(10));
    // Never came under its first identity.
    let more = samples_body(KNOWN, 110..120);
    world.resealed(&mut new, &old, 3, FrameTag([6; 8]), &more, samples(10));
    world.commit();
    let report = world.forward();
    assert_eq!(report.excluded_by_rule, [("resealed".to_owned(), samples(10))]);
    assert_eq!(world.delivered(&new), (100..120).collect::<Vec<i64>>());
    let origins: Vec<_> = world
        .documents()
        .iter()
        .filter_map(|document| document["origin"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(origins.len(), 20);
    assert!(origins[0].ends_with("/2") && origins[19].ends_with("/3"));
}
