//! The whole system at reduced size; and that the oracle can fail.

use milepost_proof::fleet::{Planted, Replay, Report, prove};

fn run(hours: f64, planted: Option<Planted>) -> Report {
    let replay = Replay { seed: 1, hours, world: None, without: Vec::new(), planted };
    prove(&replay, |_| {}, |_| {})
}

#[test]
fn the_promise_holds_for_a_fleet_under_faults() {
    let report = run(60.0, None);
    assert_eq!(report.found, None, "{report}");
}

#[test]
fn rings_that_wrap_are_full_or_fork_and_all_kinds_of_losses_are_a_tenth_or_more() {
    let replay = Replay { seed: 2, hours: 500.0, world: None, without: Vec::new(), planted: None };
    let report = prove(&replay, |_| {}, |_| {});
    assert_eq!(report.found, None, "{report}");
    let shares = report.shares();
    assert!(shares.iter().all(|(_, share)| *share >= 0.1), "{shares:?}");
    assert!(report.held_exactly() >= 0.2, "the oracle lets too much pass: {report}");
}

#[test]
fn a_seed_gives_the_same_trace() {
    let trace = || {
        let mut trace = String::new();
        let replay =
            Replay { seed: 7, hours: 60.0, world: None, without: Vec::new(), planted: None };
        let report = prove(&replay, |told| trace.push_str(told), |_| {});
        (trace, report)
    };
    let once = trace();
    assert!(once.0.lines().count() > 50, "{}", once.0);
    assert_eq!(once, trace());
}

/// What the oracle says of each fault, in part: the one or the other.
fn expected(planted: Planted) -> &'static [&'static str] {
    match planted {
        // A device has nothing that its agent lost, so somebody else must have acknowledged it. Or it is
        // gone which journal the segments are of: an agent does not start on those.
        Planted::AckBeforeFsync => &["acknowledged by whom?", "no agent runs"],
        Planted::ReleaseOnPuback => &["acknowledged by whom?"],
        Planted::WatermarkNotPersisted => &["took again what it had"],
        Planted::StaleCursorTrusted => &["the ledger does not balance"],
        Planted::RevokedHeard => &["shut out"],
        // It is said exactly, and is of a sink that its agent was to wait for.
        Planted::CursorAfterUnlink => &["its agent was to wait"],
        Planted::SeqReused => &["more are said to be lost than are"],
        Planted::JournalForgotten => {
            &["more are said to be lost than are", "acknowledged by whom?"]
        }
        Planted::ForkNotNoticed => &["are missing, and no loss says so"],
        Planted::EventForgotten | Planted::LostEventsUntold => &["events of ring"],
    }
}

#[test]
fn every_planted_fault_is_found_and_can_be_repeated() {
    for planted in Planted::ALL {
        let report = run(800.0, Some(planted));
        let Some(found) = report.found else { panic!("{planted} is not found") };
        let is_expected = expected(planted).iter().any(|said| found.violation.contains(said));
        assert!(is_expected, "{planted}: {found:?}");
        let without = found.without;
        let (world, planted) = (Some(found.world), Some(planted));
        let again = prove(&Replay { seed: 1, hours: 0.0, world, without, planted }, |_| {}, |_| {});
        assert!(again.found.is_some(), "what is left of the plan is enough");
    }
}
