//! The proof of the device's store, at reduced size; and that it can fail.

use milepost_proof::device::{Planted, Replay, Report, prove, survey};

fn run(states: u64, planted: Option<Planted>) -> Report {
    prove(&Replay { seed: 3, states, history: None, planted }, |_| {})
}

#[test]
fn i3_the_device_store_keeps_its_promise_under_cuts() {
    let report = run(20_000, None);
    assert_eq!(report.found, None, "{report}");
    assert!(report.second_cuts > report.first_cuts, "{report}");
    let tried = [report.system_cuts, report.rots, report.rot_cuts, report.failures_lasting];
    assert!(tried.iter().all(|count| *count > 0), "{report}");
}

#[test]
fn wrapped_full_and_losing_rings_each_are_a_tenth_or_more_of_the_histories() {
    for seed in [1, 2] {
        let report = survey(seed, 300);
        assert_eq!(report.found, None, "{report}");
        let shares = [
            ("wrapped", report.histories_wrapped),
            ("full", report.histories_full),
            ("loss", report.histories_loss),
            ("forking", report.histories_forking),
            ("flipped bits", report.histories_rot),
            ("failures", report.histories_failing),
        ]
        .map(|(what, histories)| (what, report.share_of_histories(histories)));
        assert!(shares.iter().all(|(_, share)| *share >= 10), "seed {seed}: {shares:?}");
    }
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
        Planted::ReleasedUnacknowledged | Planted::DamageUntold => {
            &["was dropped, and nothing says so"]
        }
        Planted::FailureUnnoticed => &["programmed twice", "was written and is gone"],
        // The number, what it counts, what a boot takes for one, or its place: taken for blank by the
        // boot in a fork that burnt a number for what is gone, and programmed again.
        Planted::ReserveNotPersisted => &[
            "would be the next",
            "the counts are",
            "are gone that nobody took",
            "programmed twice",
        ],
        Planted::WriteNotPersisted => &["was written and is gone"],
        // Or what was to be erased is found where the ring did not come round yet.
        Planted::EraseSkipped => &["programmed twice", "of the old ring is lost"],
        Planted::LossUntold => &["does not say so", "nothing says so"],
        Planted::LossMiscounted => &["is said to be gone, and the counts are"],
        Planted::SystemNotPersisted => &["the system area says"],
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
