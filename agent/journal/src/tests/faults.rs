//! Every call of two lives' work goes wrong once, in every way.

use super::*;

/// How far the work got. A lane's entries are numbered from 1.
#[derive(Clone, Debug, Default)]
struct Done {
    appended: Replayed,
    committed: Replayed,
    /// The critical lane's oldest entries are needed no longer.
    is_pruned: bool,
}

impl Done {
    fn append(&mut self, journal: &mut Journal, lane: Lane, count: usize) {
        let appended = self.appended.get_mut(lane);
        for _ in 0..count {
            let number = u64::try_from(appended.len()).unwrap() + 1;
            super::append(journal, lane, number).unwrap();
            appended.push(number);
        }
    }

    fn commit(&mut self, journal: &mut Journal) -> io::Result<()> {
        journal.commit().map_err(io::Error::other)?;
        self.committed = self.appended.clone();
        Ok(())
    }

    fn prune(&mut self, journal: &mut Journal) -> io::Result<()> {
        self.is_pruned = true;
        let mut below = Positions::ZERO;
        below.set(Lane::Critical, journal.ends().positions.get(Lane::Critical));
        journal.prune(&below)
    }

    /// Opens and compares: what was committed is there, and whatever is there was appended.
    fn check(&self, disk: &Faulty) -> Journal {
        let (journal, report, replayed) = open(disk, 99);
        for lane in Lane::ALL {
            let (appended, found) = (self.appended.get(lane), replayed.get(lane));
            let committed = self.committed.get(lane).len();
            if self.is_pruned && lane == Lane::Critical {
                // Removed or not, in any order; never what stands last.
                assert!(found.is_sorted() && found.iter().all(|number| appended.contains(number)));
                assert!(committed == 0 || found.contains(&appended[committed - 1]), "{found:?}");
                continue;
            }
            assert!(appended.starts_with(found), "{lane}: {found:?} of {appended:?}");
            assert!(found.len() >= committed, "{lane}: {found:?} of {committed}");
            assert!(report.damages.iter().all(|(of, _)| *of != lane), "{report:?}");
        }
        journal
    }
}

/// The work, up to the first error: all lanes, several segments, several groups in each.
fn work(disk: &Faulty, done: &mut Done) -> io::Result<()> {
    for life in 0..2 {
        // What was never committed went with the last life's memory.
        done.appended = done.committed.clone();
        let mut journal = try_open(disk, life).map_err(io::Error::other)?.0;
        for round in 0..5 {
            done.append(&mut journal, Lane::Critical, 8);
            done.append(&mut journal, Lane::Bulk, 5 + 3 * round);
            done.commit(&mut journal)?;
        }
        done.append(&mut journal, Lane::Latest, 1);
        done.commit(&mut journal)?;
        done.prune(&mut journal)?;
        done.append(&mut journal, Lane::Bulk, 3);
    }
    Ok(())
}

fn calls_of_work() -> u64 {
    let disk = Faulty::default();
    work(&disk, &mut Done::default()).unwrap();
    let own = |lane| {
        segments(&disk).into_iter().filter(move |path| path.starts_with(format!("journal/{lane}")))
    };
    assert!(own(Lane::Bulk).count() > 3, "several segments");
    assert!(own(Lane::Critical).all(|path| !path.ends_with(format!("{:020}.seg", 0))), "pruned");
    disk.calls()
}

fn leaves(seed: u64) -> [Leaves; 4] {
    let seed = seed.wrapping_mul(0x1234_5678_9abc_def1);
    [Leaves::Nothing, Leaves::All, Leaves::Some(seed), Leaves::Some(!seed)]
}

#[test]
fn power_cut_at_every_call() {
    for nth in 1..=calls_of_work() {
        for fault in [Fault::CutBefore, Fault::CutAfter] {
            let (disk, mut done) = (Faulty::default(), Done::default());
            disk.fail(nth, fault);
            assert!(work(&disk, &mut done).is_err());
            for leaves in leaves(nth) {
                let disk = disk.copy();
                disk.power_cycle(leaves);
                let mut journal = done.check(&disk);
                // And it goes on.
                let mut done = done.clone();
                done.appended = replayed_to(&journal, &done);
                done.append(&mut journal, Lane::Latest, 2);
                done.commit(&mut journal).unwrap();
                disk.power_cycle(Leaves::Nothing);
                done.check(&disk);
            }
        }
    }
}

/// What of the appended is there after all.
fn replayed_to(journal: &Journal, done: &Done) -> Replayed {
    PerLane::new(|lane| {
        let mut appended = done.appended.get(lane).clone();
        let totals = journal.ends().get(lane).totals;
        while total(appended.iter().copied()) != totals {
            appended.pop().unwrap();
        }
        appended
    })
}

#[test]
fn power_cut_at_every_call_of_a_recovery() {
    for nth in 1..=calls_of_work() {
        let (disk, mut done) = (Faulty::default(), Done::default());
        disk.fail(nth, Fault::CutBefore);
        assert!(work(&disk, &mut done).is_err());
        disk.power_cycle(Leaves::Some(nth));
        for again in 1.. {
            let disk = disk.copy();
            disk.fail(again, if again % 2 == 0 { Fault::CutBefore } else { Fault::CutAfter });
            let opened = try_open(&disk, 3).is_ok();
            disk.power_cycle(Leaves::Some(nth + again));
            done.check(&disk);
            if opened {
                break;
            }
        }
    }
}

#[test]
fn power_cut_after_a_kill_at_every_call() {
    for nth in 1..=calls_of_work() {
        for fault in [Fault::NoSpace, Fault::Io, Fault::CutBefore] {
            let (disk, mut done) = (Faulty::default(), Done::default());
            disk.fail(nth, fault);
            if work(&disk, &mut done).is_ok() {
                continue;
            }
            disk.restart();
            done.check(&disk);
            let replayed = open(&disk, 4).2;
            // What an open handed on has been acknowledged since.
            disk.power_cycle(Leaves::Nothing);
            let again = open(&disk, 5).2;
            for lane in Lane::ALL {
                assert!(again.get(lane).ends_with(replayed.get(lane)), "{nth} {fault:?} {again:?}");
            }
        }
    }
}

#[test]
fn error_at_every_call_loses_nothing() {
    for nth in 1..=calls_of_work() {
        for fault in [Fault::NoSpace, Fault::Io] {
            for leaves in leaves(nth) {
                let (disk, mut done) = (Faulty::default(), Done::default());
                disk.fail(nth, fault);
                work_on(&disk, &mut done);
                disk.power_cycle(leaves);
                done.check(&disk);
            }
        }
    }
}

/// As [`work`], but does again what failed.
fn work_on(disk: &Faulty, done: &mut Done) {
    for life in 0..2 {
        let opened = try_open(disk, life).or_else(|_| try_open(disk, life));
        let mut journal = opened.unwrap().0;
        for round in 0..5 {
            done.append(&mut journal, Lane::Critical, 8);
            done.append(&mut journal, Lane::Bulk, 5 + 3 * round);
            if done.commit(&mut journal).is_err() {
                // More comes in before the next attempt.
                done.append(&mut journal, Lane::Bulk, 1);
                done.commit(&mut journal).unwrap();
            }
        }
        if done.prune(&mut journal).is_err() {
            done.prune(&mut journal).unwrap();
        }
    }
    assert_eq!(done.committed, done.appended);
}

#[test]
fn failed_sync_is_not_retried_on_the_same_file() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..4);
    let [first] = &segments(&disk)[..] else { panic!("one segment") };
    let durable = journal.ends().positions.get(Lane::Bulk);
    // The write, then the sync.
    disk.fail(2, Fault::Io);
    append(&mut journal, Lane::Bulk, 4).unwrap();
    journal.commit().unwrap();
    let after = segments(&disk);
    assert_eq!(after.len(), 2);
    assert_eq!(after[0], *first);
    assert!(after[1].to_str().unwrap().ends_with(&format!("{:020}.seg", durable.0)));
    disk.power_cycle(Leaves::Nothing);
    assert_eq!(open(&disk, 2).2.get(Lane::Bulk), &[1, 2, 3, 4]);
}

#[test]
fn failed_write_goes_to_a_new_segment_at_once() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..4);
    disk.fail(1, Fault::Io);
    append(&mut journal, Lane::Bulk, 4).unwrap();
    journal.commit().unwrap();
    assert_eq!(segments(&disk).len(), 2);
    assert_eq!(read_all(&journal.tail(), Lane::Bulk).numbers, [1, 2, 3, 4]);
}

#[test]
fn what_an_open_found_gone_does_not_come_back() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..4);
    append(&mut journal, Lane::Bulk, 4).unwrap();
    append(&mut journal, Lane::Bulk, 5).unwrap();
    // Half of it is written, and cut off again.
    disk.fail(1, Fault::NoSpace);
    journal.commit().unwrap_err();
    disk.restart();
    assert_eq!(open(&disk, 2).2.get(Lane::Bulk), &[1, 2, 3]);
    for seed in 0..32 {
        let disk = disk.copy();
        disk.power_cycle(Leaves::Some(seed));
        assert_eq!(open(&disk, 3).2.get(Lane::Bulk), &[1, 2, 3]);
    }
}

#[test]
fn disk_that_stays_broken_keeps_everything_pending() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..4);
    let ends = journal.ends();
    append(&mut journal, Lane::Bulk, 4).unwrap();
    append(&mut journal, Lane::Latest, 1).unwrap();
    for nth in 1..100 {
        disk.fail(nth, Fault::Io);
    }
    for _ in 0..3 {
        let error = journal.commit().unwrap_err();
        assert!(matches!(error, CommitError::Io { lane: Lane::Bulk, .. }), "{error}");
        assert_eq!(journal.ends(), ends);
    }
    disk.heal();
    append(&mut journal, Lane::Bulk, 5).unwrap();
    journal.commit().unwrap();
    disk.power_cycle(Leaves::Nothing);
    let replayed = open(&disk, 2).2;
    assert_eq!(replayed.get(Lane::Bulk), &[1, 2, 3, 4, 5]);
    assert_eq!(replayed.get(Lane::Latest), &[1]);
}
