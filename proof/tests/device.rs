//! The proof of the device's store, at reduced size; and that it can fail.

use milepost_proof::device::{Planted, Replay, Report, prove};

fn run(states: u64, planted: Option<Planted>) -> Report {
    prove(&Replay { seed: 3, states, history: None, planted }, |_| {})
}

#[test]
fn i3_the_device_store_keeps_its_promise_under_cuts() {
    let report = run(10_000, None);
    assert_eq!(report.found, None, "{report}");
    assert!(report.second_cuts > report.first_cuts, "{report}");
}

#[test]
fn histories_repeat_themselves() {
    let once = run(2_000, None);
    assert_eq!(once, run(2_000, None));
}

/// What the oracle says of each fault, in part.
fn expected(planted: Planted) -> &'static [&'static str] {
    match planted {
        Planted::SeqReused => &["would be the next"],
        Planted::TornAccepted => &["is not the one that was written", "nobody wrote one"],
        Planted::ReleasedUnacknowledged => &["was dropped, and nothing says so"],
        // The number, or what it counts.
        Planted::ReserveNotPersisted => &["would be the next", "the counts are"],
        Planted::WriteNotPersisted => &["was written and is gone"],
        Planted::EraseSkipped => &["programmed twice"],
        Planted::LossUntold => &["does not say so", "nothing says so"],
        Planted::LossMiscounted => &["is said to be gone, and the counts are"],
    }
}

#[test]
fn every_planted_fault_is_found_and_can_be_repeated() {
    for planted in Planted::ALL {
        let report = run(400_000, Some(planted));
        let Some(found) = report.found else { panic!("{planted} is not found") };
        let is_it = expected(planted).iter().any(|part| found.violation.contains(part));
        assert!(is_it && !found.shrunk.is_empty(), "{planted}: {found}");
        let history = Some(found.history);
        let again = prove(&Replay { seed: 3, states: 1, history, planted: Some(planted) }, |_| {});
        let repeated = again.found.map(|found| (found.violation, found.place));
        assert_eq!(repeated, Some((found.violation, found.place)), "{planted}");
    }
}
