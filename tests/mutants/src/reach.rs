//! Which mutants each test reaches: each run once on its own, with none on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::build::Binary;

/// A test, and what it reaches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub ms: u64,
    /// The numbers of the mutants that it reaches.
    pub reached: BTreeSet<u32>,
}

/// The tests of a binary, the quickest first. What is known of the same program is not run again.
pub fn of(binary: &Binary, target: &Path) -> Result<Vec<Test>> {
    let hash = crate::tree::hash(&fs::read(&binary.path)?);
    let known = target.join(format!("mutants/reach-{}-{hash}.json", binary.package));
    if let Ok(text) = fs::read_to_string(&known)
        && let Ok(tests) = serde_json::from_str(&text)
    {
        return Ok(tests);
    }
    let names = list(binary)?;
    eprintln!("== {}: what each of {} tests reaches", binary.package, names.len());
    let trace = target.join(format!("mutants/trace-{}", std::process::id()));
    let mut tests = Vec::new();
    for name in names {
        tests.push(run(binary, name, &trace)?);
    }
    tests.sort_by(|a, b| (a.ms, &a.name).cmp(&(b.ms, &b.name)));
    fs::write(&known, serde_json::to_string(&tests)?)?;
    Ok(tests)
}

/// For each mutant, the tests that reach it, in their order.
pub fn by_mutant(tests: &[Test]) -> BTreeMap<u32, Vec<&Test>> {
    let mut by_mutant: BTreeMap<u32, Vec<&Test>> = BTreeMap::new();
    for test in tests {
        for number in &test.reached {
            by_mutant.entry(*number).or_default().push(test);
        }
    }
    by_mutant
}

fn list(binary: &Binary) -> Result<Vec<String>> {
    let mut command = Command::new(&binary.path);
    let output = command.current_dir(&binary.dir).args(["--list", "--format", "terse"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

#[expect(clippy::disallowed_methods, reason = "how long a test takes is measured, not decided on")]
fn run(binary: &Binary, name: String, trace: &Path) -> Result<Test> {
    match fs::remove_file(trace) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut command = Command::new(&binary.path);
    command.current_dir(&binary.dir).args(["--exact", &name]).env("MILEPOST_MUTANT_TRACE", trace);
    let begin = Instant::now();
    let output = command.output().context("starting a test")?;
    let ms = u64::try_from(begin.elapsed().as_millis())?;
    if !output.status.success() {
        bail!("{name} fails without a mutant: {}", String::from_utf8_lossy(&output.stdout));
    }
    let reached = fs::read_to_string(trace).unwrap_or_default();
    let reached = reached.lines().map(str::parse).collect::<Result<_, _>>()?;
    Ok(Test { name, ms, reached })
}
