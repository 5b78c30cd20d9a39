//! `cargo xtask bench`: figures with their units, from the real binaries.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use world::agent::AgentHome;
use world::binaries::recordings;
use world::fleet::Fleet;

pub mod ingest;
pub mod peers;
pub mod query;
pub mod store;
pub mod wire;

/// Which sink the agent under load has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum SinkKind {
    /// The local store.
    Store,
    /// NDJSON files.
    File,
}

impl SinkKind {
    /// Its section in the agent's configuration.
    fn section(self) -> &'static str {
        match self {
            Self::Store => "[[sink]]\nname = \"store\"\ntype = \"store\"\n",
            Self::File => "[[sink]]\nname = \"documents\"\ntype = \"file\"\n",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::File => "documents",
        }
    }

    /// What `milepost-sim verify` is told of it.
    fn place(self, home: &AgentHome) -> PathBuf {
        match self {
            Self::Store => "store".into(),
            Self::File => home.data.join("documents"),
        }
    }
}

/// Where the recordings are.
fn data(said: &[PathBuf]) -> Result<PathBuf> {
    let data = said.first().cloned().or_else(recordings);
    data.context("no recordings: give --data PATH or set MILEPOST_DATA")
}

/// An empty directory for a run.
fn fresh(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(())
}

/// Holds the sink against what was admitted, with the agent stopped; the oracle's result.
fn verified(fleet: &Fleet, home: &AgentHome, sink: SinkKind, ledger: &Path) -> Result<Value> {
    let verdict = fleet.verify_sink(home, (sink.name(), &sink.place(home)), ledger)?;
    if !verdict.status.success() {
        bail!(
            "verification failed:\n{}{}",
            String::from_utf8_lossy(&verdict.stdout),
            String::from_utf8_lossy(&verdict.stderr)
        );
    }
    Ok(serde_json::from_slice(&verdict.stdout)?)
}

/// A figure out of what a program said.
fn of(said: &Value, at: &str) -> Value {
    said.pointer(at).cloned().unwrap_or_default()
}

fn report(as_json: bool, row: &Value) -> Result<()> {
    if as_json {
        println!("{row}");
    } else {
        println!("{}", serde_json::to_string_pretty(row)?);
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn real(count: u64) -> f64 {
    count as f64
}

fn mib(kib: u64) -> f64 {
    real(kib) / 1024.0
}

/// Bytes of all files under a directory.
fn bytes_under(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_under(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
