//! What came of a target's run.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use super::build::Target;

/// The head of the table of [`Outcome::row`].
pub const HEAD: &str =
    "target           |       inputs |  inputs/s | findings |  peak B |  bound B | corpus";

/// A target's figures, and what it found.
#[derive(Serialize)]
pub struct Outcome {
    target: String,
    inputs: u64,
    inputs_per_s: u64,
    /// The most bytes that the parser had allocated at once, and the most that it may.
    peak_bytes: u64,
    bound_bytes: usize,
    corpus_inputs: u64,
    edges: u64,
    pub finding: Option<Finding>,
}

/// An input that does not hold.
#[derive(Serialize)]
pub struct Finding {
    /// Where it is kept.
    pub artifact: Option<String>,
    /// What was said.
    pub said: Vec<String>,
}

impl Outcome {
    pub fn new(target: &Target) -> Self {
        Self {
            target: target.name.clone(),
            inputs: 0,
            inputs_per_s: 0,
            peak_bytes: 0,
            bound_bytes: target.alloc_max,
            corpus_inputs: 0,
            edges: 0,
            finding: None,
        }
    }

    /// Takes a line that libFuzzer, or the target, says.
    pub fn take(&mut self, line: &str) {
        let number_after = |text: &str| {
            let (_, rest) = line.split_once(text)?;
            let digits = rest.trim_start();
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            digits.get(..end)?.parse().ok()
        };
        let slots = [
            ("stat::number_of_executed_units:", &mut self.inputs),
            ("stat::average_exec_per_sec:", &mut self.inputs_per_s),
            ("milepost peak bytes:", &mut self.peak_bytes),
            (" cov: ", &mut self.edges),
            (" corp: ", &mut self.corpus_inputs),
        ];
        for (text, slot) in slots {
            if let Some(number) = number_after(text) {
                *slot = number;
            }
        }
    }

    pub fn row(&self) -> String {
        let Self { target, inputs, inputs_per_s, peak_bytes, bound_bytes, corpus_inputs, .. } =
            self;
        let findings = u8::from(self.finding.is_some());
        format!(
            "{target:16} | {inputs:12} | {inputs_per_s:9} | {findings:8} | {peak_bytes:7} | \
             {bound_bytes:8} | {corpus_inputs:6}"
        )
    }

    /// The same of a planted fault.
    pub fn planted_row(&self) -> String {
        let Self { target, inputs, finding, .. } = self;
        let Some(finding) = finding else {
            return format!("{target}: NOT found in {inputs} inputs");
        };
        let said = finding.said.iter().find(|line| !line.contains("panicked at"));
        let said = said.map_or("", String::as_str).trim();
        format!("{target}: found after {inputs} inputs: {said}")
    }

    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// What was found, and how to see it again.
    pub fn explanation(&self) -> String {
        let Some(Finding { artifact, said }) = &self.finding else { return String::new() };
        let mut text = format!("\n{}:\n", self.target);
        for line in said {
            let told = writeln!(text, "  {line}");
            debug_assert!(told.is_ok(), "a string takes all");
        }
        if let Some(artifact) = artifact {
            text += "repeat: cargo xtask fuzz ";
            text += &[&self.target, " --repeat ", artifact, "\n"].concat();
        }
        text
    }
}
