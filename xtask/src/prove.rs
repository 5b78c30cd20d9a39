//! `cargo xtask prove`: builds the proofs as they are fast, and runs one.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use crate::test::{cargo, step};

/// Every proof, so small that it takes seconds. The tests of their package try more; that these can be
/// called as the documents say is seen here.
const REDUCED: [(&str, &[&str]); 6] = [
    ("device", &["--states", "500", "--json"]),
    ("journal", &["--states", "500", "--json"]),
    ("calls", &["--calls", "2", "--json"]),
    ("flips", &["--every", "20011", "--forwarded-every", "4001", "--whole", "20", "--json"]),
    ("fleet", &["--hours", "2", "--json"]),
    ("outage", &["--hours", "2", "--devices", "500", "--journal-mib", "1", "--json"]),
];

/// Runs the proof that is asked for, with its options; without one, what can be asked for is said.
pub fn run(options: &[String]) -> Result<()> {
    let (proof, options) = match options.split_first() {
        Some((first, rest)) if first == "--planted" => ("planted", rest),
        Some((first, rest)) => (first.as_str(), rest),
        None => ("--help", options),
    };
    let mut run = milepost_prove(&["--release"], proof);
    step(&format!("proof: {proof}"), run.args(options))
}

/// All of them at reduced size, on the program that tests run.
pub fn reduced() -> Result<()> {
    for (proof, options) in REDUCED {
        let mut run = milepost_prove(&[], proof);
        step(&format!("proof: {proof}, reduced"), run.args(options))?;
    }
    Ok(())
}

/// How fast a board's flash wears out: the measurement's object.
pub fn wear() -> Result<serde_json::Value> {
    let mut run = milepost_prove(&[], "wear");
    let output = run.arg("--json").stderr(Stdio::inherit()).output().context("starting wear")?;
    ensure!(output.status.success(), "wear failed ({})", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn milepost_prove(profile: &[&str], proof: &str) -> std::process::Command {
    let mut run = cargo();
    run.args(["run", "--quiet", "--package", "milepost-proof", "--bin", "milepost-prove"]);
    run.args(profile).args(["--", proof]);
    run
}
