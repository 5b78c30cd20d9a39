//! The outage at reduced size; and that the oracle can fail.

use milepost_proof::outage::{Planted, Report, Settings, prove};

fn run(name: &str, planted: Option<Planted>) -> Report {
    let dir = std::env::temp_dir().join(format!("milepost-outage-{name}-{}", std::process::id()));
    prove(&Settings { planted, ..Settings::small(1, dir) }, |_| {})
}

#[test]
fn memory_stays_flat_and_every_number_is_accounted_for() {
    let report = run("whole", None);
    assert_eq!(report.found, None, "{report}");
    assert!(report.moments.iter().any(|moment| moment.is_blocked), "the journal was never full");
    let last = report.moments.last().unwrap();
    assert!(last.dropped > 0, "no device was ever full");
}

/// What the oracle says of each fault, in part.
fn expected(planted: Planted) -> &'static str {
    match planted {
        Planted::QueueUnbounded => "resident memory moved by",
        Planted::BatchForgotten => "are missing, and 0 said to be lost",
        Planted::BatchTwice => "came after number",
        Planted::LossForgotten => "samples are missing, and",
    }
}

#[test]
fn every_planted_fault_is_found() {
    for planted in Planted::ALL {
        let report = run(planted.name(), Some(planted));
        let Some(found) = &report.found else { panic!("{planted} is not found: {report}") };
        assert!(found.contains(expected(planted)), "{planted}: {found}");
    }
}
