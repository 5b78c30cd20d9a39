//! Failure of every disk call of a few histories: once, and until it is put right.

use std::collections::BTreeMap;
use std::fmt;

use protocol::Lane;
use serde_json::{Value, json};

use super::disk::{CallKind, Failing};
use super::history::{Act, History};
use super::planted::Planted;
use super::states::Prover;
use super::truth::{Violation, must};
use super::world::World;

const FAILINGS: [Failing; 2] = [Failing::NoSpace, Failing::Io];

/// What was tried.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallsReport {
    /// Histories.
    pub histories: u64,
    /// Their disk calls.
    pub calls: u64,
    /// Runs: each call, with each error, once and until it is put right.
    pub runs: u64,
    /// Of the runs, by the call that failed.
    pub struck: BTreeMap<CallKind, u64>,
    /// Runs in which something said that it could not be done.
    pub refused: u64,
    /// Runs in which nobody noticed: the journal found another way.
    pub absorbed: u64,
    /// Recoveries from what a power cut left after that.
    pub recovered: u64,
    /// A violation: nothing was tried after it.
    pub found: Option<String>,
}

impl CallsReport {
    /// One object.
    pub fn to_json(&self, seconds: f64) -> Value {
        let struck: BTreeMap<String, u64> =
            self.struck.iter().map(|(kind, runs)| (format!("{kind:?}"), *runs)).collect();
        json!({
            "proof": "calls",
            "histories": self.histories,
            "calls": self.calls,
            "runs": self.runs,
            "struck": struck,
            "refused": self.refused,
            "absorbed": self.absorbed,
            "recovered": self.recovered,
            "violations": u32::from(self.found.is_some()),
            "found": self.found,
            "seconds": seconds,
        })
    }
}

impl fmt::Display for CallsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { histories, calls, runs, refused, absorbed, recovered, .. } = self;
        writeln!(f, "journal calls: every one of {calls} in {histories} histories fails")?;
        writeln!(f, "  {runs:>10} runs: full or failing, once or until it is put right")?;
        writeln!(f, "  {refused:>10} of them were told, {absorbed} found another way")?;
        writeln!(f, "  {recovered:>10} recoveries from what a power cut left then")?;
        for (kind, runs) in &self.struck {
            writeln!(f, "  {runs:>10} runs in which it was {kind:?}")?;
        }
        match &self.found {
            None => f.write_str("  no violation"),
            Some(found) => write!(f, "  VIOLATION: {found}"),
        }
    }
}

/// Lets every call of the histories fail, up to so many of each.
pub fn prove_calls(
    calls_max: u64,
    planted: Option<Planted>,
    mut progress: impl FnMut(&CallsReport),
) -> CallsReport {
    let mut report = CallsReport::default();
    for history in histories() {
        report.histories += 1;
        let calls = match plain(&history) {
            Ok(calls) => calls,
            Err(Violation(violation)) => {
                report.found = Some(format!("history {}: {violation}", history.number));
                return report;
            }
        };
        report.calls += calls;
        let stride = calls.div_ceil(calls_max).max(1);
        for nth in (1..=calls).step_by(usize::try_from(stride).unwrap_or(1)) {
            for (failing, more) in FAILINGS.into_iter().flat_map(|one| [(one, 0), (one, u64::MAX)])
            {
                report.runs += 1;
                let strike = Strike { nth, failing, more, planted };
                if let Err(Violation(violation)) = run(&history, strike, &mut report) {
                    let how = if more == 0 { "once" } else { "until it is put right" };
                    let number = history.number;
                    report.found = Some(format!(
                        "history {number}, call {nth} fails with {failing:?} {how}: {violation}"
                    ));
                    return report;
                }
            }
        }
        progress(&report);
    }
    report
}

/// How many calls it makes if none fails.
fn plain(history: &History) -> Result<u64, Violation> {
    let mut world = World::new(history, None);
    for act in &history.acts {
        world.perform(act)?;
    }
    Ok(world.disk.calls())
}

/// Which call fails, how, how many more, and what is planted besides.
#[derive(Clone, Copy, Debug)]
struct Strike {
    nth: u64,
    failing: Failing,
    more: u64,
    planted: Option<Planted>,
}

fn run(history: &History, strike: Strike, report: &mut CallsReport) -> Result<(), Violation> {
    let Strike { nth, failing, more, planted } = strike;
    let mut world = World::new(history, planted);
    world.disk.fail(nth, more, failing);
    world.failing = Some(failing);
    let mut prover = Prover::seeking(None);
    let mut was_struck = false;
    for act in &history.acts {
        let told = world.told;
        world.perform(act)?;
        let struck = world.disk.struck();
        if struck.is_none() || was_struck {
            continue;
        }
        was_struck = true;
        if let Some(kind) = struck {
            *report.struck.entry(kind).or_default() += 1;
        }
        // What a power cut leaves now, as long as the cause lasts.
        prover.rest(&world, history)?;
        world.disk.heal();
        // It goes on without a hand, and more comes in meanwhile.
        world.perform(&Act::Append { lane: Lane::Bulk, count: 1, len: 30 })?;
        world.perform(&Act::Commit)?;
        let is_full = world.disk.capacity().is_some();
        must(is_full || world.is_committed(), not_going_on)?;
        if world.told > told {
            report.refused += 1;
        } else {
            report.absorbed += 1;
        }
    }
    must(was_struck, || "the call was not made".to_owned())?;
    world.perform(&Act::Commit)?;
    must(world.is_committed(), not_going_on)?;
    world.perform(&Act::Deliver { count: usize::MAX })?;
    prover.rest(&world, history)?;
    report.recovered += prover.report.recovered;
    Ok(())
}

fn not_going_on() -> String {
    "it does not go on after the cause is gone".to_owned()
}

/// What an agent does all day: commits on three lanes, turns over segments, delivers, prunes,
/// starts; on a disk with room, and on one with little of it.
fn histories() -> [History; 4] {
    let append = |lane, count, len| Act::Append { lane, count, len };
    let some = [append(Lane::Critical, 2, 20), append(Lane::Bulk, 3, 250), Act::Commit];
    let latest = [append(Lane::Latest, 1, 90), append(Lane::Bulk, 4, 90), Act::Commit];
    let round = [Act::Deliver { count: 4 }, Act::Prune];
    let plain = [&[Act::Kill], &some[..], &latest, &some, &latest, &some].concat();
    let pruned =
        [&[Act::Kill], &some[..], &latest, &round, &some, &latest, &round, &some, &round].concat();
    let lives = [
        &[Act::Kill],
        &some[..],
        &[Act::Kill],
        &latest,
        &[append(Lane::Bulk, 2, 40), Act::Kill],
        &round,
        &some,
        &[Act::Kill, Act::PowerCut],
        &latest,
    ]
    .concat();
    let filled = [
        &[Act::Kill],
        &some[..],
        &[Act::Fill { left: 1500 }],
        &some,
        &latest,
        &[Act::Kill],
        &some,
        &round,
        &[Act::Empty],
        &latest,
        // Of this group only a part fits, and is cut off again.
        &[append(Lane::Latest, 1, 10), Act::Commit, Act::Fill { left: 40 }],
        &[append(Lane::Latest, 1, 10), Act::Commit, Act::Empty, Act::Commit],
    ]
    .concat();
    let number = |(number, acts)| History {
        seed: 0,
        number,
        segment: 1700,
        bytes_max: 1 << 30,
        reserve: if number == 3 { 800 } else { 0 },
        acts,
        bits: 5,
        draws: 32,
    };
    [(0, plain), (1, pruned), (2, lives), (3, filled)].map(number)
}
