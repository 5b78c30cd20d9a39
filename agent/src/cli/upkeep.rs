//! `milepost store check`, `rebuild` and `compact`.

use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use super::reach::{Missing, Owned, Place, own_or_connect};
use super::write_json;
use crate::config::{Config, SinkKind};
use crate::lock::{DirLock, LockError, Owner};
use crate::owner::{HandOver, refused};
use crate::storage::{Disk, SharedStorage};
use crate::store::check::{self, Checked, Finding};
use crate::store::rebuild::{self, JournalBegins, Rebuilt};
use crate::store::{Upkeep, compact_all, read, schema};
use crate::{run, upgrade};

/// How often progress is said: on a terminal, and elsewhere.
const TELL_TERMINAL: Duration = Duration::from_millis(200);
const TELL_LINES: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub(super) struct Check {
    /// One JSON object a line: each finding, then the sums
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct Rebuild {
    /// One JSON object a line: each finding, then the sums
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct Compact {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let dir = known(config)?;
        let mut progress = Progress::new("blocks");
        let checked = check::check(&dir, &mut |done, all| progress.tell(done, all));
        progress.end();
        let checked = checked.with_context(|| format!("cannot check {}", dir.display()))?;
        let Checked { files, blocks, samples, chapters, records, bytes, wrong, .. } = checked;
        tell_findings(out, self.json, &checked.findings)?;
        if self.json {
            write_json(out, &checked)?;
        } else {
            writeln!(
                out,
                "{files} files, {blocks} blocks with {samples} samples, {chapters} chapters with \
                 {records} records, {bytes} bytes"
            )?;
            match wrong {
                0 => writeln!(out, "nothing is wrong")?,
                _ => writeln!(
                    out,
                    "{wrong} things are wrong: stop the agent and run `milepost store rebuild`"
                )?,
            }
        }
        Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Rebuild {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let dir = known(config)?;
        let _owned = own(&dir)?;
        let (journal, _agent) = journal(config)?;
        let mut progress = Progress::new("bytes");
        let mut tell = |done, all| progress.tell(done, all);
        let rebuilt = rebuild::rebuild(&disk(), &dir, &journal, &mut tell);
        progress.end();
        let rebuilt = rebuilt.with_context(|| format!("cannot rebuild {}", dir.display()))?;
        let Rebuilt {
            files, blocks, samples, records, doubles, damaged_bytes, refilled_rings, ..
        } = rebuilt;
        tell_findings(out, self.json, &rebuilt.findings)?;
        if self.json {
            write_json(out, &rebuilt)?;
        } else {
            writeln!(
                out,
                "the index was made anew from {files} files: {blocks} blocks with {samples} \
                 samples, {records} records"
            )?;
            if doubles > 0 {
                writeln!(out, "{doubles} samples stood in two places and count once")?;
            }
            if damaged_bytes > 0 {
                writeln!(out, "{damaged_bytes} bytes are damaged and left out")?;
            }
            if refilled_rings > 0 {
                writeln!(
                    out,
                    "not everything was there: the agent's next start fills in what its journal \
                     has of {refilled_rings} rings"
                )?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Compact {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let dir = known(config)?;
        let _owned = own(&dir)?;
        read::index_of(&dir)?;
        let file_bytes = file_bytes(config);
        let done = compact_all(&disk(), &dir, file_bytes, &AtomicBool::new(false))
            .with_context(|| format!("cannot compact {}", dir.display()))?;
        if self.json {
            write_json(out, &done)?;
            return Ok(ExitCode::SUCCESS);
        }
        let Upkeep { merged, made, bytes_before, bytes_after, samples, damaged, .. } = done;
        writeln!(out, "{merged} blocks were merged into {made}")?;
        writeln!(out, "{bytes_before} bytes before, {bytes_after} after, {samples} samples")?;
        if damaged > 0 {
            writeln!(out, "{damaged} blocks cannot be read: run `milepost store check`")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The store, if this version knows what the data directory holds. Changes nothing.
pub(super) fn known(config: &Config) -> anyhow::Result<PathBuf> {
    upgrade::read(&config.agent.data_dir)?;
    let dir = dir(config);
    schema::refuse_newer(&dir.join(schema::FILE))?;
    Ok(dir)
}

/// Where the store is: the first sink of that type, or where it would be by default.
fn dir(config: &Config) -> PathBuf {
    let configured = config.sinks.0.iter().find_map(|sink| match &sink.kind {
        SinkKind::Store { path, .. } => Some(path.as_path()),
        SinkKind::File { .. } | SinkKind::Stdout => None,
    });
    config.agent.data_dir.join(configured.unwrap_or(Path::new("store")))
}

fn file_bytes(config: &Config) -> u64 {
    let configured = config.sinks.0.iter().find_map(|sink| match &sink.kind {
        SinkKind::Store { file_bytes, .. } => Some(*file_bytes),
        SinkKind::File { .. } | SinkKind::Stdout => None,
    });
    configured.unwrap_or(16 << 20)
}

fn disk() -> SharedStorage {
    Arc::new(Disk)
}

/// A store that is ours: nobody else writes to it meanwhile, and what root makes there belongs to
/// its owner in the end.
#[derive(Debug)]
struct OwnedStore {
    _hand_over: HandOver,
    _lock: DirLock,
}

fn own(dir: &Path) -> anyhow::Result<OwnedStore> {
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            bail!("cannot read {}: {error}{}", dir.display(), refused(&error))
        }
        _ => bail!("there is no store in {}", dir.display()),
    }
    match DirLock::take(dir, Owner::Sink) {
        Ok(lock) => {
            let hand_over = HandOver::of([dir.to_owned()]);
            hand_over.also_when_stopped()?;
            Ok(OwnedStore { _hand_over: hand_over, _lock: lock })
        }
        Err(LockError::Held { dir, .. }) => {
            bail!("an agent has the store in {} open: stop it first", dir.display())
        }
        Err(error) => Err(error.into()),
    }
}

/// What the agent's journal has, and the agent's lock; neither if there is no agent to this store.
fn journal(config: &Config) -> anyhow::Result<(JournalBegins, Option<Owned>)> {
    if !config.agent.data_dir.join("journal").is_dir() {
        return Ok((JournalBegins::new(), None));
    }
    match own_or_connect(&config.agent.data_dir, Missing::Refuse)? {
        Place::Owned(agent) => {
            upgrade::bring_up(&config.agent.data_dir)?;
            Ok((run::journal_begins(config)?, Some(agent)))
        }
        Place::Running(_) => bail!("the agent runs: stop it first"),
    }
}

fn tell_findings(out: &mut impl Write, json: bool, findings: &[Finding]) -> anyhow::Result<()> {
    for finding in findings {
        if json {
            write_json(out, finding)?;
            continue;
        }
        match (finding.file, finding.offset) {
            (Some(file), Some(offset)) => {
                writeln!(out, "{file:06}.blk at {offset}: {}", finding.what)?;
            }
            _ => writeln!(out, "{}", finding.what)?,
        }
    }
    Ok(())
}

/// Progress on standard error: a line that changes on a terminal, a line now and then elsewhere.
struct Progress {
    what: &'static str,
    terminal: bool,
    told: Instant,
    dirty: bool,
}

impl Progress {
    fn new(what: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { what, terminal, told: now(), dirty: false }
    }

    fn tell(&mut self, done: u64, all: u64) {
        let pause = if self.terminal { TELL_TERMINAL } else { TELL_LINES };
        if self.told.elapsed() < pause {
            return;
        }
        self.told = now();
        let what = self.what;
        if self.terminal {
            self.dirty = true;
            eprint!("\r{done} of {all} {what} ");
        } else {
            eprintln!("{done} of {all} {what}");
        }
    }

    fn end(&self) {
        if self.dirty {
            eprintln!();
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "driver: paces what a person sees")]
fn now() -> Instant {
    Instant::now()
}
