//! What was tried, and what was found.

use std::fmt;

use serde_json::{Value, json};

use super::cuts::{Failure, Lasting, Place};
use super::history::History;
use super::planted::Planted;
use super::world::Trait;

/// What was tried.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// What it was drawn from.
    pub seed: u64,
    /// Histories.
    pub histories: u64,
    /// Operations cut at every step.
    pub operations: u64,
    /// Operations of which every second cut was made, too.
    pub operations_exhausted: u64,
    /// States left by a cut, first and second.
    pub states: u64,
    /// States whose flash is that of no other: all its bytes count, and nothing else.
    pub states_distinct: u64,
    /// First cuts.
    pub first_cuts: u64,
    /// Cuts in what follows a first one.
    pub second_cuts: u64,
    /// Distinct states of a ring that went round its region.
    pub wrapped: u64,
    /// Distinct states of a ring whose region is full of frames that nobody acknowledged.
    pub full: u64,
    /// Distinct states of a ring with a loss to say or said.
    pub loss: u64,
    /// Distinct states of a ring that is taking over another.
    pub forking: u64,
    /// Cuts of these that hit a write of the system area.
    pub system_cuts: u64,
    /// Bits that flipped, without a cut.
    pub rots: u64,
    /// Bits that flipped at a cut.
    pub rot_cuts: u64,
    /// Writes and erases that failed, at every step of an operation.
    pub failures: u64,
    /// Those of them after which the sector was bad for good.
    pub failures_lasting: u64,
    /// Histories with flipped bits, and with failures.
    pub histories_rot: u64,
    /// Histories with failures of the flash.
    pub histories_failing: u64,
    /// Histories in which something was tried on a ring that went round.
    pub histories_wrapped: u64,
    /// And on one that was full.
    pub histories_full: u64,
    /// And on one with a loss to say or said.
    pub histories_loss: u64,
    /// And on one that was taking over another.
    pub histories_forking: u64,
    /// A violation: nothing was tried after it.
    pub found: Option<Found>,
}

impl Report {
    pub(super) fn having(&mut self, one: Trait) -> &mut u64 {
        match one {
            Trait::Wrapped => &mut self.wrapped,
            Trait::Full => &mut self.full,
            Trait::Loss => &mut self.loss,
            Trait::Forking => &mut self.forking,
        }
    }

    /// A history whose operations were tried on such states.
    pub(super) fn count_history(&mut self, history: &History, traits: &[Trait]) {
        self.histories += 1;
        let has = |one: Trait| u64::from(traits.contains(&one));
        self.histories_wrapped += has(Trait::Wrapped);
        self.histories_full += has(Trait::Full);
        self.histories_loss += has(Trait::Loss);
        self.histories_forking += has(Trait::Forking);
        self.histories_rot += u64::from(history.has_rot);
        self.histories_failing += u64::from(history.has_failures);
    }

    /// So many of the histories, in percent.
    pub fn share_of_histories(&self, histories: u64) -> u64 {
        (histories * 100).checked_div(self.histories).unwrap_or(0)
    }

    /// So many of the distinct states, in percent.
    fn share(&self, states: u64) -> u64 {
        (states * 100).checked_div(self.states_distinct).unwrap_or(0)
    }

    /// One object.
    pub fn to_json(&self, seconds: f64) -> Value {
        json!({
            "proof": "device",
            "seed": self.seed,
            "histories": self.histories,
            "operations": self.operations,
            "operations_exhausted": self.operations_exhausted,
            "states": self.states,
            "states_distinct": self.states_distinct,
            "first_cuts": self.first_cuts,
            "second_cuts": self.second_cuts,
            "system_cuts": self.system_cuts,
            "rots": self.rots,
            "rot_cuts": self.rot_cuts,
            "failures": self.failures,
            "failures_lasting": self.failures_lasting,
            "histories_percent": {
                "wrapped": self.share_of_histories(self.histories_wrapped),
                "full": self.share_of_histories(self.histories_full),
                "loss": self.share_of_histories(self.histories_loss),
                "forking": self.share_of_histories(self.histories_forking),
                "rot": self.share_of_histories(self.histories_rot),
                "failing": self.share_of_histories(self.histories_failing),
            },
            "wrapped_percent": self.share(self.wrapped),
            "full_percent": self.share(self.full),
            "loss_percent": self.share(self.loss),
            "forking_percent": self.share(self.forking),
            "violations": u32::from(self.found.is_some()),
            "found": self.found.as_ref().map(Found::to_json),
            "seconds": seconds,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "device store, seed {}: {} histories", self.seed, self.histories)?;
        writeln!(f, "  {:>10} distinct states of {}", self.states_distinct, self.states)?;
        writeln!(
            f,
            "  {:>10} first cuts: every step of {} operations",
            self.first_cuts, self.operations
        )?;
        let exhausted = self.operations_exhausted;
        writeln!(f, "  {:>10} second cuts: every one of {exhausted} operations", self.second_cuts)?;
        writeln!(f, "  {:>10} cuts of these in writes of the system area", self.system_cuts)?;
        writeln!(f, "  {:>10} flipped bits, and {} at a cut", self.rots, self.rot_cuts)?;
        let lasting = self.failures_lasting;
        writeln!(f, "  {:>10} failed writes and erases, {lasting} for good", self.failures)?;
        let shares = [
            (self.wrapped, self.histories_wrapped, "the ring went round"),
            (self.full, self.histories_full, "it was full"),
            (self.loss, self.histories_loss, "it had a loss to say or said"),
            (self.forking, self.histories_forking, "it was taking over another"),
        ];
        for (states, histories, what) in shares {
            let (states, histories) = (self.share(states), self.share_of_histories(histories));
            writeln!(f, "  {states:>9}% of distinct states, {histories}% of histories: {what}")?;
        }
        for (histories, what) in
            [(self.histories_rot, "bits flipped"), (self.histories_failing, "the flash failed")]
        {
            let histories = self.share_of_histories(histories);
            writeln!(f, "  {histories:>9}% of histories: {what}, too")?;
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
    /// Its flash.
    pub flash: String,
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
        let Place { operation, first, failure: lasting, rot, second } = *failure.at;
        let what = history.operations.get(operation).map(ToString::to_string);
        let mut place = vec![format!("operation {operation}, {}", what.unwrap_or_default())];
        place.extend(first.map(|cut| match lasting {
            None => format!("cut at {cut}"),
            Some(Lasting::Once) => format!("a failure at {cut}"),
            Some(Lasting::ForGood) => format!("a failure for good at {cut}"),
        }));
        place.extend(rot.map(|rot| rot.to_string()));
        place.extend(second.map(|cut| format!("cut again at {cut}")));
        let History { seed, number, unit, sector, sectors, .. } = history;
        let planted = planted.map(|fault| format!(" --planted {fault}")).unwrap_or_default();
        Self {
            violation: failure.violation.clone(),
            history: *number,
            flash: format!("units of {unit} bytes, sectors of {sector}, per lane {sectors:?}"),
            place,
            command: format!("cargo xtask prove device --seed {seed} --history {number}{planted}"),
            shrunk: shrunk.operations.iter().map(ToString::to_string).collect(),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "violation": self.violation,
            "history": self.history,
            "flash": self.flash,
            "place": self.place,
            "command": self.command,
            "shrunk": self.shrunk,
        })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  VIOLATION: {}", self.violation)?;
        writeln!(f, "    history {}: {}", self.history, self.flash)?;
        for place in &self.place {
            writeln!(f, "    {place}")?;
        }
        writeln!(f, "    again: {}", self.command)?;
        write!(f, "    as short as it gets, the last one cut:")?;
        for operation in &self.shrunk {
            write!(f, "\n      {operation}")?;
        }
        Ok(())
    }
}
