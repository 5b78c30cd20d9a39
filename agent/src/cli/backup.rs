//! `milepost backup` and `milepost restore`.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::reach::{Missing, Place, now_ms, own_or_connect};
use super::table::time;
use super::write_json;
use crate::admin::{Request, Response};
use crate::backup::{self, Manifest, Origin, Plan, Progress, Report};
use crate::config::Config;
use crate::state;
use crate::storage::{Disk, SharedStorage};

const MIB: f64 = 1024.0 * 1024.0;

/// Make a backup of the data directory, with the agent running or stopped; or check one
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Backup {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Where to: a directory to be made, or a file FILE.tar; outside the data directory. If the
    /// agent runs, it is the agent that writes it
    #[arg(value_name = "DIR|FILE.tar", required = true)]
    to: Option<PathBuf>,
    /// With the wrapping key, so that the backup alone opens everything: guard it as you would the
    /// data
    #[arg(long)]
    with_key: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Read all of a backup and hold it against its checksums
    Verify {
        /// Which
        #[arg(value_name = "DIR|FILE.tar")]
        path: PathBuf,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(super) struct Restore {
    /// Which backup
    #[arg(value_name = "DIR|FILE.tar")]
    from: PathBuf,
    /// The data directory to make [default: the one configured]
    #[arg(long, value_name = "DATA_DIR")]
    to: Option<PathBuf>,
    /// Move a data directory that is there aside first; what it has and the backup has not - the
    /// wrapping key, sinks' own files - stays in place
    #[arg(long)]
    replace: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        if let Some(Verb::Verify { path, json }) = self.verb {
            return verify(&path, json, out);
        }
        let to = self.to.context("where to? name a directory or a FILE.tar")?;
        // The agent's working directory is another one.
        let plan = Plan { to: std::path::absolute(to)?, with_key: self.with_key };
        let mut line = Line::new("copied");
        let report = match own_or_connect(&config.agent.data_dir, Missing::Refuse)? {
            Place::Owned(_owned) => at_rest(config, &plan, &mut line)?,
            Place::Running(mut client) => {
                let request = Request::Backup { plan };
                match client.ask_slowly(&request, &mut |progress| line.show(&progress))? {
                    Response::Backup { report } => *report,
                    Response::Refused { reason } => {
                        line.end();
                        bail!(reason)
                    }
                    _ => bail!(
                        "the agent gave another answer than asked for; is it another version?"
                    ),
                }
            }
        };
        line.end();
        if self.json {
            write_json(out, &report)?;
        } else {
            say_made(&report, out)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Of a data directory on which no agent runs.
fn at_rest(config: &Config, plan: &Plan, line: &mut Line) -> anyhow::Result<Report> {
    let storage: SharedStorage = Arc::new(Disk);
    let data_dir = &config.agent.data_dir;
    let state = state::open_existing(&storage, &data_dir.join(state::FILE_NAME))?;
    let key_file = config.key_file();
    let origin =
        Origin { storage: &storage, data_dir, key_file: &key_file, state: &state, journal: None };
    let mut watcher = |progress| {
        line.show(&progress);
        Ok(())
    };
    Ok(backup::take(&origin, plan, now_ms(), &mut watcher)?)
}

fn say_made(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let Report { path, manifest } = report;
    writeln!(out, "backup made: {}", path.display())?;
    writeln!(out, "{}", summary(manifest))?;
    for left in &manifest.left_out {
        writeln!(out, "not in it: {} ({})", left.path, left.why)?;
    }
    if manifest.with_key {
        writeln!(out, "the wrapping key is in it: whoever has the backup can read everything")?;
    }
    Ok(())
}

fn summary(manifest: &Manifest) -> String {
    let running = if manifest.running { "running" } else { "stopped" };
    let journal = manifest.journal.as_ref().map_or_else(String::new, |journal| {
        let (samples, events) = (journal.samples, journal.events);
        format!(", journal up to {samples} samples and {events} events")
    });
    format!(
        "{} files, {:.1} MiB, by milepost {} at {} ({running}){journal}",
        manifest.files.len(),
        mib(manifest.bytes()),
        manifest.agent,
        time(manifest.made_ms),
    )
}

fn verify(path: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut line = Line::new("checked");
    let mut watcher = |progress| {
        line.show(&progress);
        Ok(())
    };
    let verified = backup::verify(path, &mut watcher);
    line.end();
    let manifest = verified?;
    if json {
        write_json(out, &json!({ "ok": true, "path": path, "manifest": manifest }))?;
    } else {
        writeln!(out, "ok: {}", path.display())?;
        writeln!(out, "{}", summary(&manifest))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Restore {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let to = self.to.unwrap_or_else(|| config.agent.data_dir.clone());
        let mut line = Line::new("restored");
        let mut watcher = |progress| {
            line.show(&progress);
            Ok(())
        };
        let restored = backup::restore(&self.from, &to, self.replace, now_ms(), &mut watcher);
        line.end();
        let (restored, manifest) = restored?;
        let has_key = restored.has_key || config.registry.key_file.is_some();
        if self.json {
            let shown = json!({
                "data_dir": to, "aside": restored.aside, "moved": restored.moved,
                "has_key": has_key, "manifest": manifest,
            });
            write_json(out, &shown)?;
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(out, "restored: {}", to.display())?;
        writeln!(out, "{}", summary(&manifest))?;
        if let Some(aside) = &restored.aside {
            writeln!(out, "the directory that was there is now {}", aside.display())?;
        }
        if !restored.moved.is_empty() {
            writeln!(out, "kept in place: {}", restored.moved.join(", "))?;
        }
        writeln!(out, "\nWhat comes next:")?;
        if !has_key {
            writeln!(
                out,
                "- Put the wrapping key back: {}, mode 0600. Without it nothing can be read.",
                to.join("registry.key").display()
            )?;
        }
        writeln!(
            out,
            "- Start the agent. Devices send again what they still have; sinks are asked what they \
             have, so nothing is doubled.\n\
             - What devices were acknowledged after {} and no longer have is named in the log and, \
             where a sink lacks it, in loss documents.\n\
             - Devices added since the backup have to be added again; secrets rotated or destroyed \
             since are what they were.",
            time(manifest.made_ms)
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// How far it has come, in one line of a terminal; nowhere else.
struct Line {
    doing: &'static str,
    is_terminal: bool,
    shown_mib: Option<u64>,
}

impl Line {
    fn new(doing: &'static str) -> Self {
        Self { doing, is_terminal: io::stderr().is_terminal(), shown_mib: None }
    }

    fn show(&mut self, progress: &Progress) {
        let whole = progress.done / (1024 * 1024);
        if !self.is_terminal || self.shown_mib == Some(whole) {
            return;
        }
        self.shown_mib = Some(whole);
        let of = if progress.total > 0 {
            format!(" of about {:.0}", mib(progress.total))
        } else {
            String::new()
        };
        eprint!("\r{} {:.0}{of} MiB", self.doing, mib(progress.done));
    }

    fn end(&mut self) {
        if self.shown_mib.take().is_some() {
            eprintln!();
        }
    }
}

fn mib(bytes: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "shown to a person, rounded")]
    let bytes = bytes as f64;
    bytes / MIB
}
