//! `cargo xtask mutants`: mutants of the pure stages, and whether a test notices.

use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

use crate::test::{cargo, step};

/// Seconds after which a landing begins no more of a package.
const LANDING_S: &str = "240";
/// What it exits with if all that were tried hold, and some were not tried.
const NOT_ALL: i32 = 3;

fn milepost_mutants(options: &[impl AsRef<std::ffi::OsStr>]) -> Command {
    let mut run = cargo();
    run.args(["run", "--quiet", "--package", "milepost-mutants", "--"]).args(options);
    run
}

/// Builds the harness and runs it.
pub fn run(options: &[String]) -> Result<()> {
    step("mutants", &mut milepost_mutants(options))
}

/// Those of the lines that a landing changes, as many as there is time for; it says how many are left.
pub fn landing() -> Result<()> {
    eprintln!("== mutants of the lines that changed");
    let mut run = milepost_mutants(&["--landing", "--jobs", "2", "--seconds", LANDING_S]);
    let status: ExitStatus = run.status().context("starting the mutants")?;
    if !(status.success() || status.code() == Some(NOT_ALL)) {
        bail!("mutants failed ({status})");
    }
    Ok(())
}
