//! World after world.

use super::plan::Plan;
use super::planted::Planted;
use super::report::{Found, Outcome, Report};
use super::shrink::shrink;
use super::truth::Violation;
use super::world::run;
use crate::table::Row;

/// What to run.
#[derive(Clone, PartialEq, Debug)]
pub struct Replay {
    /// What is drawn.
    pub seed: u64,
    /// Go on until so many hours were driven, by all vehicles together.
    pub hours: f64,
    /// Only this world.
    pub world: Option<u64>,
    /// Without the faults of these numbers.
    pub without: Vec<usize>,
    /// Plant a fault, to see it found.
    pub planted: Option<Planted>,
}

/// Runs worlds until enough was driven, or one of them breaks a promise. `trace` is given what
/// happened in each, `so_far` is called after each.
pub fn prove(
    replay: &Replay,
    mut trace: impl FnMut(&str),
    mut so_far: impl FnMut(&Report),
) -> Report {
    let mut report = Report::default();
    let mut number = replay.world.unwrap_or(0);
    loop {
        let plan = Plan::draw(replay.seed, number);
        let asked = plan.without(&replay.without);
        let Outcome { violation, at_s, tally, trace: told } = run(&asked, replay.planted, true);
        report.digest = digest(report.digest, told.as_bytes());
        trace(&told);
        report.tally.add(&tally);
        if let Some(violation) = violation {
            let without = shrink(&plan, &replay.without, replay.planted, &violation);
            let said = |(at, fault)| format!("{at:>7} {fault}");
            let shrunk = plan.without(&without).faults.into_iter().map(said).collect();
            let command = command(replay, number, &without);
            let Violation { invariant, what: violation } = violation;
            let world = number;
            report.found =
                Some(Found { invariant, violation, world, at_s, command, shrunk, without });
            return report;
        }
        so_far(&report);
        if replay.world.is_some() || report.hours() >= replay.hours {
            return report;
        }
        number += 1;
    }
}

/// Hours in which a planted fault has to be found.
const PLANTED_HOURS: f64 = 800.0;

/// Tries every fault planted for this harness.
pub fn find_planted(seed: u64, row: &mut dyn FnMut(Row)) {
    for fault in Planted::ALL {
        let planted = Some(fault);
        let replay =
            Replay { seed, hours: PLANTED_HOURS, world: None, without: Vec::new(), planted };
        let report = prove(&replay, |_| {}, |_| {});
        let said = report.found.map(|found| format!("{}: {}", found.invariant, found.violation));
        row(Row { harness: "fleet", fault: fault.name(), states: report.tally.worlds, said });
    }
}

fn command(replay: &Replay, world: u64, without: &[usize]) -> String {
    let planted = replay.planted.map(|planted| format!(" --planted {planted}")).unwrap_or_default();
    let numbers: Vec<String> = without.iter().map(ToString::to_string).collect();
    let without = if without.is_empty() { "" } else { " --without " };
    let (seed, numbers) = (replay.seed, numbers.join(","));
    format!("cargo xtask prove fleet --seed {seed} --world {world}{planted}{without}{numbers}")
}

/// FNV-1a.
fn digest(so_far: u64, bytes: &[u8]) -> u64 {
    let begin = if so_far == 0 { 0xcbf2_9ce4_8422_2325 } else { so_far };
    bytes.iter().fold(begin, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
