//! `cargo xtask test`: everything that can be tested here, and a word for what cannot.

use std::process::Command;

use anyhow::{Context, Result, bail};
pub use world::binaries::cargo;
use world::binaries::recordings;
use world::board;

pub fn run(all: bool) -> Result<()> {
    if recordings().is_none() {
        let missing = "the recordings (../shared/data, or MILEPOST_DATA) are not here";
        if all {
            bail!("{missing}, and nothing may be skipped");
        }
        eprintln!("skipped: replays of real traffic: {missing}");
    }
    crate::needs::provide(all)?;
    let images = board::has_qemu().then(crate::firmware::build).transpose();
    let mut tests = cargo();
    tests.args(["test", "--workspace"]);
    match images {
        Ok(Some(dir)) => {
            tests.env(board::IMAGES, dir);
        }
        Ok(None) => eprintln!("skipped: the firmware on its boards: no qemu-system-arm"),
        Err(error) if all => return Err(error),
        Err(error) => {
            eprintln!("skipped: the firmware on its boards: {error:#}");
            tests.env(board::IMAGES, "");
        }
    }
    if all {
        // Scenarios that would skip what a machine lacks fail instead.
        tests.env("CI", "true");
    }
    step("tests", &mut tests)
}

/// Runs one step; fails if it does.
pub fn step(name: &str, command: &mut Command) -> Result<()> {
    eprintln!("== {name}");
    let status = command.status().with_context(|| format!("starting {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}
