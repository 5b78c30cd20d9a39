//! `cargo xtask mutants`: mutants of the pure stages, and whether a test notices.

use anyhow::Result;

use crate::test::{cargo, step};

/// Of what a landing changes, what CI takes time for. What is left out is said.
const LANDING: [&str; 3] = ["--landing", "--seconds", "300"];

/// Builds the harness and runs it.
pub fn run(options: &[String]) -> Result<()> {
    let mut run = cargo();
    run.args(["run", "--quiet", "--package", "milepost-mutants", "--"]);
    step("mutants", run.args(options))
}

/// Those of the lines that a landing changes.
pub fn landing() -> Result<()> {
    run(&LANDING.map(str::to_owned))
}
