//! One target's run.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Limit;
use super::build::{Programs, Target};
use super::report::{Finding, Outcome};

/// Longer than any input may take, in seconds.
const HANG_S: u32 = 20;
/// More memory than a whole program may take, corpus included, in MiB.
const RSS_MIB: u32 = 2048;
/// Most lines that are kept of what a target says when it fails.
const SAID_MAX: usize = 60;

/// The program of a target, which is to run that one.
pub fn program(programs: &Programs, target: &Target) -> Command {
    let mut command = Command::new(&target.program);
    let findings = format!("{}/", programs.dir.join("findings").display());
    command
        .current_dir(&programs.dir)
        .env("MILEPOST_FUZZ_TARGET", &target.name)
        .env("RUST_BACKTRACE", "1")
        .arg(format!("-artifact_prefix={findings}{}-", target.name))
        .arg(format!("-max_len={}", target.len_max))
        .arg(format!("-timeout={HANG_S}"))
        .arg(format!("-rss_limit_mb={RSS_MIB}"));
    command
}

/// Runs a target over its corpus, and lets that grow; from nothing, if it has none.
pub fn fuzz(
    programs: &Programs,
    target: &Target,
    limit: Limit,
    corpus: Option<&str>,
) -> Result<Outcome> {
    let grown = programs.dir.join("corpus").join(&target.name);
    for dir in [grown.clone(), programs.dir.join("findings")] {
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let mut command = program(programs, target);
    match limit {
        Limit::Time(time) => command.arg(format!("-max_total_time={}", time.as_secs().max(1))),
        Limit::Inputs(inputs) => command.arg(format!("-runs={inputs}")),
    };
    command.arg("-print_final_stats=1");
    if let Some(name) = corpus {
        // An empty one is refused.
        let words = programs.committed().join(format!("{name}.dict"));
        if fs::metadata(&words).is_ok_and(|file| file.len() > 0) {
            command.arg(format!("-dict={}", words.display()));
        }
        command.arg(&grown).arg(programs.committed().join(name));
    }
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", target.name))?;
    let stderr = child.stderr.take().context("no stderr")?;
    let mut outcome = Outcome::new(target);
    let (mut said, mut artifact) = (Vec::new(), None);
    let mut log =
        fs::File::create(programs.dir.join("findings").join(format!("{}.log", target.name)))?;
    for line in BufReader::new(stderr).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        outcome.take(&line);
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            artifact = Some(path.trim().to_owned());
        }
        if !line.starts_with('#') {
            writeln!(log, "{line}")?;
            // From the panic on; before it stands what the fuzzer says of itself.
            let begins = line.contains("panicked at") || line.starts_with("==");
            if (begins || !said.is_empty()) && said.len() < SAID_MAX {
                said.push(line);
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        outcome.finding = Some(Finding { artifact, said });
    }
    Ok(outcome)
}

/// Puts into a directory the fewest inputs, of the committed and the grown ones, that reach all that
/// these reach.
pub fn merge(programs: &Programs, target: &Target, into: &Path) -> Result<()> {
    let grown = programs.dir.join("corpus").join(&target.name);
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    for dir in [into, &grown] {
        fs::create_dir_all(dir)?;
    }
    let mut command = program(programs, target);
    command.arg("-merge=1").arg(into).arg(programs.committed().join(&target.name)).arg(&grown);
    let output = command.output().with_context(|| format!("starting {}", target.name))?;
    ensure!(output.status.success(), "merging {} failed", target.name);
    Ok(())
}
