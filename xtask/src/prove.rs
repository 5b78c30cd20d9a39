//! `cargo xtask prove`: builds the proofs as they are fast, and runs one.

use anyhow::Result;

use crate::test::{cargo, step};

pub fn run(proof: &str, options: &[String]) -> Result<()> {
    let mut run = cargo();
    run.args(["run", "--release", "--quiet", "--package", "milepost-proof"]);
    run.args(["--bin", "milepost-prove", "--", proof]);
    step(&format!("proof: {proof}"), run.args(options))
}
