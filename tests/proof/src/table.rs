//! Which harness finds which planted fault: one table for all of them.
//!
//! A harness that is added has a line in `HARNESSES` and hands over a [`Row`] for each fault that
//! it should find.

use std::fmt;

use serde_json::{Value, json};

/// Tries every fault planted for one harness, from a seed.
type Harness = fn(u64, &mut dyn FnMut(Row));

/// All of them.
const HARNESSES: [Harness; 4] = [
    crate::device::find_planted,
    crate::journal::find_planted,
    crate::fleet::find_planted,
    crate::outage::find_planted,
];

/// One fault planted for one harness, and what came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The harness's name: what `cargo xtask prove` calls it.
    pub harness: &'static str,
    /// The fault's.
    pub fault: &'static str,
    /// After how many distinct states, or worlds, it was found, or given up.
    pub states: u64,
    /// What the oracle said; nothing if it was not found.
    pub said: Option<String>,
}

/// Plants every fault in turn and hands over each row once it is known. Whether all were found.
pub fn fill(seed: u64, mut row: impl FnMut(&Row)) -> bool {
    let mut all_found = true;
    for harness in HARNESSES {
        harness(seed, &mut |found| {
            all_found &= found.said.is_some();
            row(&found);
        });
    }
    all_found
}

impl Row {
    /// The line above all rows.
    pub fn heading() -> String {
        line("harness", "planted fault", "found", "after states", "what was said")
    }

    /// One object.
    pub fn to_json(&self) -> Value {
        json!({
            "harness": self.harness,
            "fault": self.fault,
            "found": self.said.is_some(),
            "states": self.states,
            "said": self.said,
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = if self.said.is_some() { "yes" } else { "NO" };
        // Some of it is of many lines: `--json` has all of them.
        let said = self.said.as_deref().unwrap_or("nothing").lines().next().unwrap_or_default();
        f.write_str(&line(self.harness, self.fault, found, &self.states.to_string(), said))
    }
}

fn line(harness: &str, fault: &str, found: &str, states: &str, said: &str) -> String {
    format!("{harness:<8}  {fault:<24}  {found:<5}  {states:>12}  {said}")
}
