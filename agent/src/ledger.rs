//! The ledger: per sink, in samples and in events, what became of what was accepted (I3).
//!
//! `accepted = delivered + buffered + lost + excluded + dead-lettered + quarantined`
//!
//! The left side and `buffered` come from the journal's own totals; everything else is counted
//! where it happens and kept with the sink's cursor. Nothing is made to fit: if the two sides
//! differ, something was lost or doubled in silence, and the report says so.

use std::fmt::Write as _;

use protocol::Counts;
use protocol::loss::LossReason;
use serde::{Deserialize, Serialize};

use crate::journal::Ends;
use crate::sink::CursorState;

/// What became of everything that stands before a sink's cursor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tallies {
    /// The upstream has it.
    pub delivered: Counts,
    /// Lines delivered.
    pub documents: u64,
    /// Gone, by reason; said in a loss document each.
    pub lost: Vec<(LossReason, Counts)>,
    /// Gone in damaged parts of the journal, by lane; whose it was shows when the ring's next frame
    /// comes, and then it moves to `lost`.
    pub unnamed: [Counts; 3],
    /// Taken out, by rule.
    pub excluded: Vec<(String, Counts)>,
    /// Could not be read; kept apart.
    pub dead_lettered: Counts,
    /// Waits for its catalogue; kept sealed.
    pub quarantined: Counts,
    /// What the journal had taken before this sink began, or began anew.
    pub before: Counts,
    /// What the journal never took and yet is counted above: lost with another journal, or parked
    /// before this one was restored.
    pub elsewhere: Counts,
    /// The sink held documents that nobody had counted when this began: an entry that it turns out
    /// to hold counts as delivered then, and otherwise as counted before.
    pub recounts: bool,
    /// From the boots delivered: the most that can have been in batches open when power went.
    pub unsealed_max: Counts,
}

impl Tallies {
    /// Counts a loss.
    pub fn lose(&mut self, reason: LossReason, counts: Counts) {
        add(&mut self.lost, &reason, counts);
    }

    /// Counts what a rule took out.
    pub fn exclude(&mut self, rule: &str, counts: Counts) {
        match self.excluded.iter_mut().find(|(name, _)| name == rule) {
            Some((_, sum)) => *sum += counts,
            None => self.excluded.push((rule.to_owned(), counts)),
        }
    }

    /// Goes on with another journal, or another life of this one: all that was counted so far has
    /// been taken elsewhere.
    #[must_use]
    pub fn carried_over(mut self) -> Self {
        let unnamed = sum(std::mem::take(&mut self.unnamed));
        if !unnamed.is_zero() {
            self.lose(LossReason::Journal, unnamed);
        }
        self.before = Counts::ZERO;
        self.elsewhere = self.accounted();
        self
    }

    /// All that has an outcome.
    pub fn accounted(&self) -> Counts {
        let others = [self.delivered, self.dead_lettered, self.quarantined];
        sum(others) + self.lost_total() + self.excluded_total()
    }

    /// All that is lost.
    pub fn lost_total(&self) -> Counts {
        let named = self.lost.iter().map(|(_, counts)| *counts);
        sum(named.chain(self.unnamed))
    }

    /// All that was taken out.
    pub fn excluded_total(&self) -> Counts {
        sum(self.excluded.iter().map(|(_, counts)| *counts))
    }
}

fn add<K: PartialEq + Copy>(list: &mut Vec<(K, Counts)>, key: &K, counts: Counts) {
    match list.iter_mut().find(|(name, _)| name == key) {
        Some((_, sum)) => *sum += counts,
        None => list.push((*key, counts)),
    }
}

fn sum(counts: impl IntoIterator<Item = Counts>) -> Counts {
    counts.into_iter().fold(Counts::ZERO, |sum, counts| sum + counts)
}

/// The ledgers of all sinks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Whether the agent runs; if not, this is how it was last kept.
    pub running: bool,
    /// Whether every sink's balances.
    pub balanced: bool,
    /// One a sink.
    pub sinks: Vec<LedgerReport>,
}

impl Ledger {
    /// The ledgers at a moment.
    pub fn new(at_ms: i64, sinks: Vec<LedgerReport>) -> Self {
        let balanced = sinks.iter().all(LedgerReport::balanced);
        Self { at_ms, running: true, balanced, sinks }
    }

    /// Whether every sink has all that is in the journal.
    pub fn is_delivered(&self) -> bool {
        self.sinks.iter().all(|sink| sink.buffered.is_zero())
    }

    /// For a person.
    pub fn table(&self) -> String {
        let mut table: String =
            self.sinks.iter().map(LedgerReport::table).collect::<Vec<_>>().join("\n");
        if self.sinks.is_empty() {
            table.push_str("no sink is open yet; see /healthz\n");
        }
        if !self.running {
            table.push_str("the agent does not run; this is how the ledger was last kept\n");
        }
        table
    }
}

/// One sink's ledger at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LedgerReport {
    /// Which sink.
    pub sink: String,
    /// What the journal took for it.
    pub accepted: Counts,
    /// The upstream has it.
    pub delivered: Counts,
    /// In the journal, behind the sink's cursor.
    pub buffered: Counts,
    /// Gone, and said so.
    pub lost: Counts,
    /// Taken out by a rule, or superseded.
    pub excluded: Counts,
    /// Could not be read; kept apart.
    pub dead_lettered: Counts,
    /// Waits for its catalogue.
    pub quarantined: Counts,
    /// `lost` by reason.
    pub lost_by_reason: Vec<(String, Counts)>,
    /// `excluded` by rule.
    pub excluded_by_rule: Vec<(String, Counts)>,
    /// Lines delivered.
    pub documents: u64,
    /// Upper bound of what never was sealed because the power went; no part of the sum.
    pub unsealed_max: Counts,
    /// What all devices said they had taken, by their latest hellos; no part of the sum.
    pub declared: Option<Counts>,
}

impl LedgerReport {
    /// The ledger of a sink: the journal's ends, and the cursor the sink last committed.
    pub fn new(sink: &str, ends: &Ends, cursor: &CursorState) -> Self {
        let tallies = &cursor.tallies;
        let passed = cursor.journal.map_or(tallies.before, |journal| sum(journal.totals));
        let taken = sum(ends.totals);
        let unnamed = sum(tallies.unnamed);
        let mut lost_by_reason: Vec<(String, Counts)> = tallies
            .lost
            .iter()
            .map(|(reason, counts)| (reason.name().to_owned(), *counts))
            .collect();
        if !unnamed.is_zero() {
            lost_by_reason.push(("journal, not yet named".to_owned(), unnamed));
        }
        Self {
            sink: sink.to_owned(),
            accepted: taken.since(tallies.before) + tallies.elsewhere,
            delivered: tallies.delivered,
            buffered: taken.since(passed),
            lost: tallies.lost_total(),
            excluded: tallies.excluded_total(),
            dead_lettered: tallies.dead_lettered,
            quarantined: tallies.quarantined,
            lost_by_reason,
            excluded_by_rule: tallies.excluded.clone(),
            documents: tallies.documents,
            unsealed_max: tallies.unsealed_max,
            declared: None,
        }
    }

    /// What all outcomes together come to.
    pub fn accounted(&self) -> Counts {
        sum([
            self.delivered,
            self.buffered,
            self.lost,
            self.excluded,
            self.dead_lettered,
            self.quarantined,
        ])
    }

    /// Whether everything accepted has exactly one outcome.
    pub fn balanced(&self) -> bool {
        self.accepted == self.accounted()
    }

    /// The ledger for a person.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut line = |name: &str, counts: Counts| {
            let written = writeln!(table, "{name:<32}{:>16}{:>16}", counts.samples, counts.events);
            debug_assert!(written.is_ok(), "a string takes every write");
        };
        line("accepted", self.accepted);
        line("= delivered", self.delivered);
        line("+ buffered", self.buffered);
        line("+ lost", self.lost);
        for (reason, counts) in &self.lost_by_reason {
            line(&format!("    {reason}"), *counts);
        }
        line("+ excluded", self.excluded);
        for (rule, counts) in &self.excluded_by_rule {
            line(&format!("    {rule}"), *counts);
        }
        line("+ dead-lettered", self.dead_lettered);
        line("+ quarantined", self.quarantined);
        if !self.balanced() {
            line("  accounted for", self.accounted());
        }
        line("never sealed, at most", self.unsealed_max);
        let verdict = if self.balanced() { "balanced" } else { "NOT BALANCED" };
        format!("{:<32}{:>16}{:>16}\n{table}{verdict}\n", self.sink, "samples", "events")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Epoch, JournalCursor, Positions};

    fn counts(samples: u64) -> Counts {
        Counts { samples, events: samples / 10 }
    }

    fn cursor() -> CursorState {
        let mut tallies = Tallies { delivered: counts(500), ..Tallies::default() };
        tallies.lose(LossReason::Full, counts(100));
        tallies.lose(LossReason::Full, counts(20));
        tallies.exclude("drop Vehicle.Cabin.*", counts(30));
        tallies.dead_lettered = counts(40);
        tallies.quarantined = counts(10);
        let journal = JournalCursor {
            journal: [1; 16],
            epoch: Epoch::default(),
            positions: Positions::ZERO,
            totals: [counts(300), counts(400), counts(0)],
        };
        CursorState { journal: Some(journal), tallies, ..CursorState::default() }
    }

    #[test]
    fn it_balances_only_if_every_count_has_an_outcome() {
        let ends =
            Ends { positions: Positions::ZERO, totals: [counts(300), counts(600), counts(100)] };
        let report = LedgerReport::new("files", &ends, &cursor());
        assert_eq!((report.accepted, report.buffered), (counts(1000), counts(300)));
        assert!(report.balanced(), "{}", report.table());
        assert!(report.table().ends_with("\nbalanced\n"));
        for change in [1, -1] {
            let mut other = cursor();
            other.tallies.delivered.events =
                other.tallies.delivered.events.saturating_add_signed(change);
            let report = LedgerReport::new("files", &ends, &other);
            assert!(!report.balanced());
            assert!(report.table().contains("NOT BALANCED"));
        }
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<LedgerReport>(&json).unwrap(), report);
    }
}
