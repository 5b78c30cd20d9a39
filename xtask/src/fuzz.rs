//! `cargo xtask fuzz`: every parser of bytes from outside, under libFuzzer.
//!
//! Builds the programs of the `fuzz` crate instrumented (`rustc.rs`) into a directory of their own
//! below the target directory, where the corpora that grow and the inputs that fail are kept too, and
//! runs target by target.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

pub mod build;
mod report;
mod run;
pub mod rustc;

use build::Programs;

/// What is asked for.
pub struct Fuzz {
    /// Which targets; none: all.
    pub targets: Vec<String>,
    /// How long each.
    pub limit: Limit,
    /// How many at once.
    pub jobs: usize,
    /// One JSON object per target.
    pub json: bool,
}

/// When a target's run ends.
#[derive(Clone, Copy)]
pub enum Limit {
    /// After this long.
    Time(Duration),
    /// After so many inputs.
    Inputs(u64),
}

/// Most inputs until a planted fault has to be found.
const PLANTED_INPUTS: u64 = 20_000_000;

/// Fuzzes; fails if anything was found.
pub fn fuzz(fuzz: &Fuzz) -> Result<()> {
    let programs = Programs::build()?;
    let targets = programs.chosen(&fuzz.targets)?;
    if !fuzz.json {
        println!("{}", report::HEAD);
    }
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<()> {
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = run::fuzz(&programs, target, fuzz.limit, Some(&target.name))?;
            println!("{}", if fuzz.json { outcome.json()? } else { outcome.row() });
            if outcome.finding.is_some() {
                found.lock().map_err(|_| anyhow::anyhow!("a job failed"))?.push(outcome);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..fuzz.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        jobs.into_iter()
            .try_for_each(|job| job.join().map_err(|_| anyhow::anyhow!("a job failed"))?)
    })?;
    let found = found.into_inner().unwrap_or_default();
    for outcome in &found {
        eprint!("{}", outcome.explanation());
    }
    ensure!(found.is_empty(), "{} of {} targets found something", found.len(), targets.len());
    Ok(())
}

/// Runs every planted fault from an empty corpus until it is found; fails if one is not.
pub fn planted(json: bool) -> Result<()> {
    let programs = Programs::build()?;
    let mut missed = Vec::new();
    for target in programs.planted()? {
        let outcome = run::fuzz(&programs, &target, Limit::Inputs(PLANTED_INPUTS), None)?;
        println!("{}", if json { outcome.json()? } else { outcome.planted_row() });
        if outcome.finding.is_none() {
            missed.push(target.name.clone());
        }
    }
    ensure!(missed.is_empty(), "not found: {}", missed.join(", "));
    Ok(())
}

/// Puts one input through a target.
pub fn repeat(targets: &[String], input: &Path) -> Result<()> {
    let [name] = targets else { bail!("name the one target that the input is for") };
    let programs = Programs::build()?;
    let target = programs.one(name)?;
    let mut command = run::program(&programs, &target);
    let status = command.arg(absolute(input)?).status().context("starting the target")?;
    ensure!(status.success(), "{name} still fails on {}", input.display());
    println!("{name} holds on {}", input.display());
    Ok(())
}

/// Writes the committed corpora anew, from what they were and what has grown since: nothing that
/// reaches nothing new, and nothing long.
pub fn minimize(names: &[String]) -> Result<()> {
    let programs = Programs::build()?;
    let targets = programs.chosen(names)?;
    let merged = programs.dir.join("merged");
    for target in &targets {
        run::merge(&programs, target, &merged.join(&target.name))?;
    }
    programs.pack(&targets, &merged)
}

/// An input's path, whatever directory cargo runs in.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
}
