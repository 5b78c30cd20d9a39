//! The proof of the device's store, at reduced size; and that it can fail.

use milepost_proof::device::{Planted, Replay, Report, prove};

fn run(states: u64, planted: Option<Planted>) -> Report {
    prove(&Replay { seed: 3, states, history: None, planted }, |_| {})
}

#[test]
fn i3_the_device_store_keeps_its_promise_under_cuts() {
    let report = run(20_000, None);
    assert_eq!(report.found, None, "{report}");
    assert!(report.second_cuts > report.first_cuts, "{report}");
}

#[test]
fn histories_repeat_themselves() {
    let once = run(3_000, None);
    assert_eq!(once, run(3_000, None));
}

#[test]
fn every_planted_fault_is_found_and_can_be_repeated() {
    for planted in Planted::ALL {
        let report = run(400_000, Some(planted));
        let Some(found) = report.found else { panic!("{planted} is not found") };
        assert!(!found.shrunk.is_empty(), "{found}");
        let history = Some(found.history);
        let again = prove(&Replay { seed: 3, states: 1, history, planted: Some(planted) }, |_| {});
        let repeated = again.found.map(|found| (found.violation, found.place));
        assert_eq!(repeated, Some((found.violation, found.place)), "{planted}");
    }
}
