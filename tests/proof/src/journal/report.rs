//! What was tried, and what was found.

use std::fmt;

use serde_json::{Value, json};

use super::history::History;
use super::planted::Planted;
use super::states::Failure;

/// What was tried.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// What it was drawn from.
    pub seed: u64,
    /// Histories.
    pub histories: u64,
    /// What was done in them.
    pub acts: u64,
    /// Disk calls that changed something, each with the power cut after it.
    pub calls: u64,
    /// Power cuts, each with all that it may leave, or a part of that.
    pub cuts: u64,
    /// Those of which all that can be left was tried.
    pub cuts_exhausted: u64,
    /// States left.
    pub states: u64,
    /// States whose files are those of no other: names, lengths and all bytes count.
    pub states_distinct: u64,
    /// How often the journal was opened on what was left, and compared.
    pub recovered: u64,
    /// How often the process died in the midst of a call, and the kernel did not.
    pub killed: u64,
    /// How often it went on after that, and was opened once more.
    pub carried_on: u64,
    /// Distinct states left by a cut in a recovery.
    pub second: u64,
    /// Distinct states with a torn tail.
    pub torn: u64,
    /// Distinct states with a part that no mark vouched for.
    pub rewritten: u64,
    /// Distinct states of a journal that was pruned.
    pub pruned: u64,
    /// Distinct states on a disk that was nearly full.
    pub filled: u64,
    /// A violation: nothing was tried after it.
    pub found: Option<Found>,
}

impl Report {
    /// So many of the distinct states, in percent.
    fn share(&self, states: u64) -> u64 {
        (states * 100).checked_div(self.states_distinct).unwrap_or(0)
    }

    /// One object.
    pub fn to_json(&self, seconds: f64) -> Value {
        json!({
            "proof": "journal",
            "seed": self.seed,
            "histories": self.histories,
            "acts": self.acts,
            "calls": self.calls,
            "cuts": self.cuts,
            "cuts_exhausted": self.cuts_exhausted,
            "states": self.states,
            "states_distinct": self.states_distinct,
            "recovered": self.recovered,
            "killed": self.killed,
            "carried_on": self.carried_on,
            "second_percent": self.share(self.second),
            "torn_percent": self.share(self.torn),
            "rewritten_percent": self.share(self.rewritten),
            "pruned_percent": self.share(self.pruned),
            "filled_percent": self.share(self.filled),
            "violations": u32::from(self.found.is_some()),
            "found": self.found.as_ref().map(Found::to_json),
            "seconds": seconds,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "journal, seed {}: {} histories of {} acts",
            self.seed, self.histories, self.acts
        )?;
        writeln!(f, "  {:>10} distinct states of {}", self.states_distinct, self.states)?;
        writeln!(
            f,
            "  {:>10} power cuts: after every one of {} disk calls; of {} all that can be left",
            self.cuts, self.calls, self.cuts_exhausted
        )?;
        writeln!(
            f,
            "  {:>10} recoveries, {} of them went on; {} after a kill",
            self.recovered, self.carried_on, self.killed
        )?;
        let shares = [
            (self.second, "the power went in a recovery"),
            (self.torn, "a tail was torn"),
            (self.rewritten, "no mark vouched for the end"),
            (self.pruned, "the journal was pruned"),
            (self.filled, "the disk was nearly full"),
        ];
        for (states, what) in shares {
            writeln!(f, "  {:>9}% of the distinct states: {what}", self.share(states))?;
        }
        match &self.found {
            None => f.write_str("  no violation"),
            Some(found) => write!(f, "{found}"),
        }
    }
}

/// A violation, and how to see it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What does not hold.
    pub violation: String,
    /// The history it was found in.
    pub history: u64,
    /// Where in the history.
    pub place: Vec<String>,
    /// What repeats it.
    pub command: String,
    /// The shortest history found that fails.
    pub shrunk: Vec<String>,
}

impl Found {
    pub(super) fn new(
        history: &History,
        failure: &Failure,
        shrunk: &History,
        planted: Option<Planted>,
    ) -> Self {
        let Failure { violation, act, place } = failure;
        let what = history.acts.get(*act).map(ToString::to_string).unwrap_or_default();
        let first = format!("act {act}, {what}");
        let History { seed, number, .. } = history;
        let planted = planted.map(|fault| format!(" --planted {fault}")).unwrap_or_default();
        Self {
            violation: violation.clone(),
            history: *number,
            place: [first].into_iter().chain(place.iter().cloned()).collect(),
            command: format!("cargo xtask prove journal --seed {seed} --history {number}{planted}"),
            shrunk: shrunk.acts.iter().map(ToString::to_string).collect(),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "violation": self.violation,
            "history": self.history,
            "place": self.place,
            "command": self.command,
            "shrunk": self.shrunk,
        })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  VIOLATION: {}", self.violation)?;
        writeln!(f, "    history {}", self.history)?;
        for place in &self.place {
            writeln!(f, "    {place}")?;
        }
        writeln!(f, "    again: {}", self.command)?;
        write!(f, "    as short as it gets:")?;
        for act in &self.shrunk {
            write!(f, "\n      {act}")?;
        }
        Ok(())
    }
}
