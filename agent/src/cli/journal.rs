//! `milepost journal`.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use protocol::Lane;
use serde::Serialize;

use super::reach::{Missing, Place, own_or_connect};
use super::write_json;
use crate::config::Config;
use crate::journal::{LaneReport, Report, verify};
use crate::storage::{Disk, SharedStorage};
use crate::upgrade;

#[derive(Subcommand, Debug)]
pub(super) enum Journal {
    /// Read all of the journal and say what is damaged; exit code 1 if anything is. Changes nothing;
    /// the agent must be stopped
    Check(Check),
}

#[derive(Args, Debug)]
pub(super) struct Check {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Checked {
    is_whole: bool,
    lanes: Vec<CheckedLane>,
    flaws: Vec<CheckedFlaw>,
}

#[derive(Serialize)]
struct CheckedLane {
    lane: &'static str,
    segments: usize,
    bytes: u64,
    entries: u64,
    damages: u64,
    torn_bytes: u64,
}

#[derive(Serialize)]
struct CheckedFlaw {
    file: String,
    offset: u64,
}

impl Journal {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(check) => check.execute(config, out),
        }
    }
}

impl Check {
    fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let data_dir = &config.agent.data_dir;
        upgrade::read(data_dir)?;
        // It would see a commit half done.
        let Place::Owned(_owned) = own_or_connect(data_dir, Missing::Refuse)? else {
            bail!("the agent runs: stop it first")
        };
        let dir = data_dir.join("journal");
        let storage: SharedStorage = Arc::new(Disk);
        let report =
            verify(&storage, &dir).with_context(|| format!("cannot check {}", dir.display()))?;
        let Some(report) = report else { bail!("there is no journal in {}", dir.display()) };
        let checked = Checked::new(&report);
        if self.json {
            write_json(out, &checked)?;
        } else {
            checked.tell(out)?;
        }
        Ok(if checked.is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Checked {
    fn new(report: &Report) -> Self {
        let lanes = Lane::ALL.into_iter().zip(&report.lanes);
        let lanes = lanes.map(|(lane, of)| {
            let LaneReport { segments, bytes, entries, damage_count, torn_bytes, .. } = *of;
            let (lane, damages) = (lane.name(), damage_count);
            CheckedLane { lane, segments, bytes, entries, damages, torn_bytes }
        });
        let flaws = report
            .flaws
            .iter()
            .map(|flaw| CheckedFlaw { file: flaw.path.display().to_string(), offset: flaw.at });
        Self { is_whole: report.is_whole(), lanes: lanes.collect(), flaws: flaws.collect() }
    }

    fn tell(&self, out: &mut impl Write) -> std::io::Result<()> {
        for CheckedLane { lane, segments, bytes, entries, damages, torn_bytes } in &self.lanes {
            writeln!(out, "{lane}: {segments} segments, {bytes} bytes, {entries} entries")?;
            if *damages > 0 {
                writeln!(
                    out,
                    "{lane}: {damages} places are damaged; what stood there is said to be lost \
                     when it is forwarded"
                )?;
            }
            if *torn_bytes > 0 {
                writeln!(
                    out,
                    "{lane}: {torn_bytes} bytes at the end were never acknowledged; the next start \
                     cuts them off"
                )?;
            }
        }
        for CheckedFlaw { file, offset } in &self.flaws {
            writeln!(
                out,
                "{file} at {offset}: not as it was written; nothing is lost by it, but look to the \
                 disk"
            )?;
        }
        if self.is_whole { writeln!(out, "nothing is wrong") } else { Ok(()) }
    }
}
