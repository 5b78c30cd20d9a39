//! One mutant on: its tests, until one fails.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::build::Binary;
use crate::reach::Test;

/// Tests that together take no longer than this run in one process.
const BATCH_MS: u64 = 2000;
/// How much longer than without a mutant tests may compute before they are held to do so for ever.
const PATIENCE: u64 = 5;
/// How long they may compute in any case.
const PATIENCE_MIN_S: u64 = 3;
/// How long they may wait beyond that: a mutant may have them wait for what never comes.
const WAIT_S: u64 = 120;
/// How much memory a mutant may have them take, in KiB.
const MEMORY_KIB: u64 = 4 << 20;

/// What came of a mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A test failed: this one.
    Caught(String),
    /// A test did not come to an end: this one.
    Timeout(String),
    /// All tests that reach it passed: so many.
    Missed(usize),
    /// It does not compile.
    Unviable,
    /// It compiles only on its own.
    Alone,
}

/// Runs these tests with a mutant on; without a number, of a binary that is one.
pub fn run(
    binary: &Binary,
    tests: &[&Test],
    number: Option<u32>,
    scratch: &Path,
) -> Result<Outcome> {
    let mut rest = tests;
    while !rest.is_empty() {
        let mut sum = 0;
        let count = rest.iter().take_while(|test| {
            sum += test.ms;
            sum <= BATCH_MS
        });
        let (batch, behind) = rest.split_at(count.count().max(1).min(rest.len()));
        let outcome = run_batch(binary, batch, number, scratch)?;
        if !matches!(outcome, Outcome::Missed(_)) {
            return Ok(outcome);
        }
        rest = behind;
    }
    Ok(Outcome::Missed(tests.len()))
}

fn run_batch(
    binary: &Binary,
    batch: &[&Test],
    number: Option<u32>,
    scratch: &Path,
) -> Result<Outcome> {
    let usual_ms: u64 = batch.iter().map(|test| test.ms).sum();
    let compute_s = PATIENCE_MIN_S.max(usual_ms * PATIENCE / 1000);
    let limited = format!("ulimit -t {compute_s}; ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.arg("-c").arg(limited).arg(&binary.path).args(["--exact", "--test-threads", "1"]);
    command.args(batch.iter().map(|test| &test.name)).current_dir(&binary.dir);
    command.env("TMPDIR", scratch).env("RUST_BACKTRACE", "0");
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1").env("PROPTEST_MAX_SHRINK_ITERS", "0");
    if let Some(number) = number {
        command.env("MILEPOST_MUTANT", number.to_string());
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting a test")?;
    let verdict = watch(&mut child, Duration::from_secs(compute_s + WAIT_S));
    let status = child.wait()?;
    Ok(match verdict {
        Verdict::Waits(name) => Outcome::Timeout(name),
        Verdict::Ended(_) if status.success() => Outcome::Missed(batch.len()),
        Verdict::Ended(name) if computed_too_long(status) => Outcome::Timeout(name),
        Verdict::Failed(name) | Verdict::Ended(name) => Outcome::Caught(name),
    })
}

/// What the output of the tests says.
enum Verdict {
    /// A test failed.
    Failed(String),
    /// The process ended; the test that ran last.
    Ended(String),
    /// A test waits.
    Waits(String),
}

fn computed_too_long(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    // SIGXCPU at the limit, SIGKILL a second later.
    matches!(status.signal(), Some(24 | 9))
}

fn watch(child: &mut Child, patience: Duration) -> Verdict {
    let (lines, said) = mpsc::channel();
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let Some(output) = output else { return };
        let mut output = BufReader::new(output);
        let mut part = Vec::new();
        // Up to a blank: the test's name comes before it runs, and what came of it after.
        while output.by_ref().read_until(b' ', &mut part).is_ok_and(|read| read > 0) {
            if lines.send(String::from_utf8_lossy(&part).into_owned()).is_err() {
                return;
            }
            part.clear();
        }
    });
    let mut name = String::new();
    let mut last = String::new();
    let verdict = loop {
        match said.recv_timeout(patience) {
            Ok(word) if word.starts_with("FAILED") => break Verdict::Failed(name),
            Ok(word) => {
                let word = word.trim_end().to_owned();
                if word == "..." {
                    name = std::mem::take(&mut last);
                }
                last = word;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break Verdict::Ended(name),
            Err(mpsc::RecvTimeoutError::Timeout) => break Verdict::Waits(name),
        }
    };
    if !matches!(verdict, Verdict::Ended(_)) {
        // The reader ends with the pipe, which ends with the process.
        drop(child.kill());
    }
    drop(reader.join());
    verdict
}
