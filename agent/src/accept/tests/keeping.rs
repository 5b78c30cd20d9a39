//! What is made durable, and what goes: checkpoints, pruning, devices that are forgotten.

use super::*;
use crate::accept::Begun;
use crate::journal::{JournalCursor, PENDING_BYTES_MAX};
use crate::storage::faulty::Faulty;

fn greeted(dir: &Path) -> Bench {
    let mut bench = Bench::new(dir, 1 << 30);
    bench.hello(1, Counts::ZERO, 0);
    bench.commit();
    bench
}

/// Every ring that a start finds, brought up to date from the journal.
fn begin(dir: &Path, journal: &str) -> Begun {
    let storage: SharedStorage = Arc::new(Disk);
    let database = crate::state::open(&storage, &dir.join("state.redb")).unwrap();
    let rings = Rings::open(database, 100).unwrap();
    Begun::open(&storage, JournalConfig::new(dir.join(journal)), ([1; 16], 8), rings).unwrap()
}

#[test]
fn it_waits_for_a_commit_from_a_message_on_until_that_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    assert!(!bench.acceptor.is_waiting());
    bench.hello(1, Counts::ZERO, 0);
    assert!(bench.acceptor.is_waiting());
    bench.commit();
    assert!(!bench.acceptor.is_waiting());
    assert_eq!(bench.acceptor.counters().commits.get(), 1);
    // With nobody waiting it is none.
    bench.commit();
    assert_eq!(bench.acceptor.counters().commits.get(), 1);
}

#[test]
fn a_checkpoint_says_how_far_the_journal_is_and_who_was_heard_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    bench.send(bench.frame(1));
    bench.commit();
    let seen =
        |bench: &Bench| bench.acceptor.registry.show(bench.device).unwrap().unwrap().last_seen_ms;
    assert_eq!(seen(&bench), None);
    bench.acceptor.checkpoint().unwrap();
    assert_eq!(seen(&bench), Some(NOW));
    let (journal, ends) = (&bench.acceptor.journal, bench.acceptor.journal.ends());
    let expected = JournalCursor {
        journal: journal.id(),
        epoch: journal.epoch(),
        positions: ends.positions,
        totals: ends.totals,
    };
    assert_eq!(bench.acceptor.rings().checkpoint().unwrap(), Some(expected));
}

#[test]
fn a_checkpoint_has_nothing_that_the_journal_has_not_i1() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let mut bench = Bench::on(Arc::new(disk.clone()), dir.path(), 1 << 30);
    bench.hello(1, Counts::ZERO, 0);
    bench.send(bench.frame(1));
    bench.commit();
    disk.set_capacity(Some(disk.used()));
    bench.send(bench.frame(2));
    bench.acceptor.commit(NOW).unwrap_err();
    assert!(matches!(bench.acceptor.checkpoint(), Err(CheckpointError::Commit(_))));

    // It is stopped in order, and started again once there is room: the device still has frame 2.
    let (device, secret) = (bench.device, bench.secret.clone());
    drop(bench);
    disk.restart();
    disk.set_capacity(None);
    let (acceptor, _) = acceptor_on(Arc::new(disk), dir.path(), 1 << 30);
    let mut bench = Bench::join(acceptor, device, secret);
    bench.hello(1, Counts::ZERO, 0);
    assert_eq!(bench.commit().unwrap().durable, Seq(1));
    bench.send(bench.frame(2));
    assert_eq!(bench.commit().unwrap().durable, Seq(2));
    let frame = EntryKind::Frame;
    assert_eq!(bench.journaled(), [(frame, 1, 1), (frame, 2, 1)]);
    bench.acceptor.checkpoint().unwrap();
}

#[test]
fn a_checkpoint_commits_what_was_taken_and_the_commit_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    bench.send(bench.frame(1));
    bench.acceptor.checkpoint().unwrap();
    assert!(bench.out.try_recv().is_none());
    assert_eq!(bench.commit().unwrap().durable, Seq(1));
}

#[test]
fn only_what_the_checkpoint_has_is_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 400 * 1024);
    bench.hello(1, Counts::ZERO, 0);
    bench.fill();
    let ends = bench.acceptor.journal.ends().positions;
    let full = bench.acceptor.journal_bytes();
    assert_eq!(full, bench.acceptor.journal.usage_bytes());
    bench.acceptor.prune(&ends).unwrap();
    assert_eq!(bench.acceptor.journal_bytes(), full);
    bench.acceptor.checkpoint().unwrap();
    bench.acceptor.prune(&Positions::default()).unwrap();
    assert_eq!(bench.acceptor.journal_bytes(), full, "a sink needs it");
    bench.acceptor.prune(&ends).unwrap();
    assert!(bench.acceptor.journal_bytes() < full);
}

#[test]
fn a_device_that_is_forgotten_is_told_to_go_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    bench.acceptor.forget(&"another".parse().unwrap());
    assert_eq!(bench.out.try_recv(), None);
    bench.acceptor.forget(&bench.device);
    assert_eq!(bench.out.try_recv(), Some(Outbound::Close));
}

#[test]
fn the_keys_of_a_device_that_is_forgotten_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    bench.send(bench.frame(1));
    bench.acceptor.registry.revoke(bench.device, NOW).unwrap();
    bench.acceptor.forget(&bench.device);
    bench.send(bench.frame(2));
    assert_eq!(bench.acceptor.counters().rejected_key.get(), 1);
}

#[test]
fn what_an_erased_device_sent_is_durable_and_its_rings_are_nobodys_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    bench.send(bench.frame(1));
    assert_eq!(bench.acceptor.erase(NOW, &bench.device).unwrap(), 1);
    assert_eq!(bench.out.try_recv(), Some(Outbound::Close));
    assert_eq!(bench.acceptor.rings().sums_of(bench.device).unwrap(), None);
    assert_eq!(bench.acceptor.registry.show(bench.device).unwrap().unwrap().last_seen_ms, None);
    let (device, ring) = (bench.device, bench.ring);
    drop(bench);
    let mut begun = begin(dir.path(), "journal");
    assert_eq!(begun.rings.sums_of(device).unwrap(), None);
    assert_eq!(begun.rings.get(&ring).unwrap().unwrap().watermark.durable, Seq(1));
}

#[test]
fn a_start_brings_the_rings_up_to_date_from_where_the_checkpoint_stands() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    bench.send(bench.frame(1));
    bench.commit();
    bench.acceptor.checkpoint().unwrap();
    bench.hello(4, events(7), 0);
    bench.send(bench.frame(4));
    bench.commit();
    let mut held = bench.acceptor.rings.get(&bench.ring).unwrap().unwrap();
    // What a device declares is said in hellos, and those are in no journal.
    held.declared = Counts::ZERO;
    let ring = bench.ring;
    drop(bench);
    let mut begun = begin(dir.path(), "journal");
    assert_eq!(begun.rings.get(&ring).unwrap(), Some(held));
    assert_eq!((begun.is_other, begun.report.entries), (false, 2));
}

#[test]
fn a_start_with_another_journal_knows_only_what_that_one_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    bench.send(bench.frame(1));
    bench.commit();
    bench.acceptor.checkpoint().unwrap();
    let ring = bench.ring;
    drop(bench);
    let mut begun = begin(dir.path(), "another");
    assert!(begun.is_other);
    assert_eq!(begun.rings.get(&ring).unwrap(), None);
}

#[test]
fn an_older_entry_moves_no_watermark_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    let payload = bench.frame(5);
    let entry = |seq, through| Entry {
        kind: EntryKind::Frame,
        received_ms: NOW,
        device: bench.device,
        ring: bench.ring,
        seq: Seq(seq),
        adds: events(1),
        through: events(through),
        payload: &payload,
    };
    let rings = &mut bench.acceptor.rings;
    for (seq, through) in [(5, 50), (5, 51), (4, 40)] {
        replay(rings, Lane::Bulk, &entry(seq, through)).unwrap();
    }
    let watermark = rings.get(&bench.ring).unwrap().unwrap().watermark;
    assert_eq!((watermark.durable, watermark.through), (Seq(5), events(50)));
    assert_eq!(watermark.tag, frame::tag_of(&payload));
    let gap = Entry { kind: EntryKind::Gap, ..entry(6, 60) };
    replay(rings, Lane::Bulk, &gap).unwrap();
    let watermark = rings.get(&bench.ring).unwrap().unwrap().watermark;
    assert_eq!(watermark.tag, protocol::FrameTag::default(), "no frame has that number");
}

#[test]
fn a_start_reads_from_the_checkpoint_on_if_it_is_of_this_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    bench.send(bench.frame(1));
    bench.commit();
    bench.acceptor.checkpoint().unwrap();
    let checkpoint = bench.acceptor.rings().checkpoint().unwrap();
    let positions = bench.acceptor.journal.ends().positions;
    assert_ne!(positions, Positions::default());
    assert_eq!(replay_from(checkpoint, |_| true), positions);
    assert_eq!(replay_from(checkpoint, |_| false), Positions::default());
    assert_eq!(replay_from(None, |_| true), Positions::default());
}

#[test]
fn a_group_may_be_as_large_as_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    let mut seq = 0;
    let refused = loop {
        seq += 1;
        let payload = bench.seal(Kind::Samples, seq, &[0; 4000]);
        if let Err(refused) = bench.publish(Channel::Frames(Lane::Bulk), payload) {
            break refused;
        }
        assert!(usize::try_from(seq).unwrap() * 4000 < PENDING_BYTES_MAX, "it has a bound");
    };
    assert!(matches!(refused.reason, Blocked::Journal(AppendError::Pending)));
}
