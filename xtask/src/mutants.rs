//! `cargo xtask mutants`: mutants of the pure stages, and whether a test notices.

use anyhow::Result;

use crate::test::{cargo, step};

/// Builds the harness and runs it.
pub fn run(options: &[String]) -> Result<()> {
    let mut run = cargo();
    run.args(["run", "--quiet", "--package", "milepost-mutants", "--"]);
    step("mutants", run.args(options))
}
