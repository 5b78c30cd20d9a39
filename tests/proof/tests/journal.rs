//! The proof of the agent's journal, at reduced size; and that it can fail.

use milepost_proof::journal::{
    CallKind, Flips, Planted, Replay, Report, prove, prove_calls, prove_flips,
};

fn run(states: u64, planted: Option<Planted>) -> Report {
    prove(&Replay { seed: 3, states, history: None, planted }, |_| {})
}

#[test]
fn i1_the_journal_keeps_what_it_committed_whatever_a_crash_leaves() {
    let report = run(20_000, None);
    assert_eq!(report.found, None, "{report}");
    let kinds = [report.second, report.torn, report.rewritten, report.pruned, report.filled];
    assert!(kinds.into_iter().all(|states| states > 100), "{report}");
    assert!(report.killed > 10 && report.carried_on > 1000, "{report}");
}

#[test]
fn histories_repeat_themselves() {
    assert_eq!(run(4000, None), run(4000, None));
}

/// What the oracle says of each fault, in part.
fn expected(planted: Planted) -> &'static [&'static str] {
    match planted {
        // Nothing, or a mark that stands behind nothing.
        Planted::AckBeforeFsync | Planted::DirNotSynced => {
            &["was durable, and found is only", "the totals are"]
        }
        Planted::CursorAfterUnlink => &["may be gone", "before entry"],
        // A record that nobody wrote, or with counts that nobody said.
        Planted::TornTailAccepted => &["that nobody appended", "the totals are"],
        Planted::StaleCursorTrusted => &["before entry", "and the end is", "once more"],
        Planted::EpochNotPersisted => &["follows life", "does not hold any more"],
        Planted::SyncFailureHidden | Planted::WriteFailureHidden => {
            &["was durable, and found is only", "the totals are", "follows life"]
        }
        Planted::ChecksumFits | Planted::LossUntold => &["forwarded: "],
    }
}

#[test]
fn every_planted_fault_is_found_and_can_be_repeated() {
    for planted in Planted::JOURNAL {
        let report = run(200_000, Some(planted));
        let Some(found) = report.found else { panic!("{planted} is not found") };
        let is_it = expected(planted).iter().any(|part| found.violation.contains(part));
        assert!(is_it && !found.place.is_empty(), "{planted}: {found}");
        let history = Some(found.history);
        let again = prove(&Replay { seed: 3, states: 1, history, planted: Some(planted) }, |_| {});
        let repeated = again.found.map(|found| (found.violation, found.place));
        assert_eq!(repeated, Some((found.violation, found.place)), "{planted}");
    }
}

#[test]
fn any_disk_call_that_fails_loses_nothing_and_it_goes_on_by_itself() {
    let report = prove_calls(30, None, |_| {});
    assert_eq!(report.found, None, "{report}");
    assert!(report.refused > 0 && report.absorbed > 0, "{report}");
    for kind in [CallKind::Write, CallKind::Sync, CallKind::SyncDir, CallKind::Open, CallKind::Read]
    {
        assert!(report.struck.get(&kind).is_some_and(|runs| *runs > 4), "{kind:?}: {report}");
    }
}

#[test]
fn a_flipped_bit_costs_one_entry_at_most_and_that_is_named() {
    let flips =
        Flips { bytes: 400 << 10, every: 61, forwarded_every: 97, whole: 400, ..Flips::SMALL };
    let report = prove_flips(&flips, |_| {});
    assert_eq!(report.found, None, "{report}");
    assert_eq!(report.lost_max, 1);
    assert_eq!(report.detected, report.total());
    assert!(report.flips.len() == 6 && report.named == report.entries, "{report}");
    assert!(report.forwarded_lost > 100, "{report}");
}

#[test]
fn every_fault_planted_for_calls_and_flips_is_found() {
    let calls =
        Planted::CALLS.map(|fault| (fault, prove_calls(u64::MAX, Some(fault), |_| {}).found));
    let flips = Planted::FLIPS.map(|fault| {
        (fault, prove_flips(&Flips { planted: Some(fault), ..Flips::SMALL }, |_| {}).found)
    });
    for (fault, found) in calls.into_iter().chain(flips) {
        let Some(found) = found else { panic!("{fault} is not found") };
        assert!(expected(fault).iter().any(|part| found.contains(part)), "{fault}: {found}");
    }
}
