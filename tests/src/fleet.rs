//! The simulator as a process.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::agent::AgentHome;
use crate::binaries::Binaries;
use crate::process::Process;

/// A fleet: what it replays, and its keys and state under one directory.
#[derive(Clone, Debug)]
pub struct Fleet {
    binaries: Binaries,
    dir: PathBuf,
    /// Which vehicles: recordings, or a synthetic fleet; the same for `devices`, `replay` or `run`,
    /// and `verify`.
    what: Vec<String>,
    /// `replay` or `run`.
    verb: &'static str,
    /// How many of these words `devices` needs: names do not depend on what vehicles do.
    named_by: usize,
    /// What else `verify` needs to know that nothing was recorded.
    verify_flag: Option<&'static str>,
    /// `--rounds`, for `replay` and `verify`.
    rounds: Option<u32>,
    /// Other devices are with the agent, too.
    has_others: bool,
}

impl Fleet {
    /// A fleet that replays recordings as `vehicles` vehicles (as many as are in them, if `None`).
    pub fn replay(
        binaries: &Binaries,
        dir: &Path,
        files: &[PathBuf],
        vehicles: Option<u32>,
    ) -> Result<Self> {
        let mut what: Vec<String> =
            files.iter().map(|file| file.to_string_lossy().into_owned()).collect();
        if let Some(vehicles) = vehicles {
            what.extend(["--vehicles".to_owned(), vehicles.to_string()]);
        }
        std::fs::create_dir_all(dir)?;
        Ok(Self {
            binaries: binaries.clone(),
            dir: dir.to_owned(),
            named_by: what.len(),
            what,
            verb: "replay",
            verify_flag: None,
            rounds: None,
            has_others: false,
        })
    }

    /// A small synthetic fleet from a seed; its drives have this length.
    pub fn synthetic(
        binaries: &Binaries,
        dir: &Path,
        vehicles: u32,
        seed: u64,
        length: Duration,
    ) -> Result<Self> {
        let (vehicles, seed) = (vehicles.to_string(), seed.to_string());
        let length = format!("{}s", length.as_secs());
        let what = ["--vehicles", &vehicles, "--seed", &seed, "--for", &length];
        let what = what.map(str::to_owned);
        std::fs::create_dir_all(dir)?;
        Ok(Self {
            binaries: binaries.clone(),
            dir: dir.to_owned(),
            what: what.into(),
            verb: "run",
            named_by: 2,
            verify_flag: Some("--synthetic"),
            rounds: None,
            has_others: false,
        })
    }

    /// The fleet of a scenario file, for this long by its own clock.
    pub fn scenario(
        binaries: &Binaries,
        dir: &Path,
        file: &Path,
        length: Duration,
    ) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let length = format!("{}s", length.as_secs());
        Ok(Self {
            binaries: binaries.clone(),
            dir: dir.to_owned(),
            what: vec![file.to_string_lossy().into_owned(), "--for".to_owned(), length],
            verb: "run",
            named_by: 1,
            verify_flag: None,
            rounds: None,
            has_others: false,
        })
    }

    /// The same, with more words on how files are read, like `--raw-can`.
    #[must_use]
    pub fn reading(mut self, words: &[&str]) -> Self {
        self.what.extend(words.iter().map(|word| (*word).to_owned()));
        self.named_by = self.what.len();
        self
    }

    /// The same, beside other devices.
    #[must_use]
    pub const fn beside_others(mut self) -> Self {
        self.has_others = true;
        self
    }

    /// The same, but each vehicle does all it did so many times in a row.
    #[must_use]
    pub fn rounds(mut self, rounds: u32) -> Self {
        self.rounds = Some(rounds);
        self
    }

    /// Its key file.
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys.ndjson")
    }

    /// Its flash images and what was admitted.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The simulator's own log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("fleet.log")
    }

    /// The names of its devices, one a line.
    pub fn names(&self) -> Result<String> {
        let mut command = Command::new(&self.binaries.simulator);
        command.arg("devices").args(self.what.iter().take(self.named_by));
        let output = command.output().context("running milepost-sim")?;
        if !output.status.success() {
            bail!("milepost-sim devices: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts it; its last words go to `summary`.
    pub fn start(&self, connect: &str, more: &[&str], summary: &Path) -> Result<Process> {
        let mut command = self.command(self.verb);
        command.args(["--connect", connect, "--json", "--keys"]).arg(self.keys());
        command.arg("--state").arg(self.state()).args(more);
        command.stdout(std::fs::File::create(summary)?);
        Process::start("milepost-sim", &mut command, &self.log())
    }

    /// Holds what the file sink has against what was admitted.
    pub fn verify(&self, sink: &Path, ledger: Option<&Path>, state: bool) -> Result<Output> {
        let mut command = self.command("verify");
        command.args(self.verify_flag).arg("--sink").arg(sink).arg("--json");
        if state {
            command.arg("--state").arg(self.state());
        }
        if self.has_others {
            command.arg("--others");
        }
        if let Some(ledger) = ledger {
            command.args(["--ledger-sink", "file", "--ledger"]).arg(ledger);
        }
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .context("running milepost-sim")
    }

    /// Holds the sink of this name against what was admitted: a file sink's directory, or `store`.
    pub fn verify_sink(
        &self,
        home: &AgentHome,
        (name, sink): (&str, &Path),
        ledger: &Path,
    ) -> Result<Output> {
        let mut command = self.command("verify");
        command.args(self.verify_flag).arg("--sink").arg(sink).arg("--json");
        command.arg("--state").arg(self.state());
        command.args(["--ledger-sink", name, "--ledger"]).arg(ledger);
        if sink == Path::new("store") {
            command.arg("--config").arg(&home.config);
            command.arg("--milepost").arg(&self.binaries.agent);
        }
        command.output().context("running milepost-sim")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.binaries.simulator);
        command.arg(verb).args(&self.what);
        if let Some(rounds) = self.rounds {
            command.args(["--rounds", &rounds.to_string()]);
        }
        command
    }
}
