//! What the running agent does for its operator beside its work: backups, reloads, signs of life.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Source;
use super::report::Reporter;
use super::sinks::Sinks;

use crate::backup::{self, BackupError, Origin, Plan, Progress};
use crate::config::Config;
use crate::journal::JournalTail;
use crate::logging::{self, Log};
use crate::notify::{self, Vigil};
use crate::reload::{ReloadReport, Settings};
use crate::state::State;
use crate::storage::SharedStorage;

/// Keeps the journal from being pruned while somebody copies it.
#[derive(Clone, Debug, Default)]
pub struct PruneHold(Arc<AtomicUsize>);

/// Ends the hold when dropped.
#[derive(Debug)]
pub struct Held(PruneHold);

impl PruneHold {
    /// Whether anybody holds.
    pub fn is_held(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    /// Holds it from now on.
    pub fn hold(&self) -> Held {
        self.0.fetch_add(1, Ordering::AcqRel);
        Held(self.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a backup needs of the running agent.
#[derive(Debug)]
pub struct BackupPort {
    pub storage: SharedStorage,
    pub data_dir: PathBuf,
    pub key_file: PathBuf,
    pub state: State,
    pub tail: JournalTail,
    pub prune: PruneHold,
    pub stop: CancellationToken,
}

impl BackupPort {
    /// Makes a backup; blocks until it is there.
    pub fn take(
        &self,
        plan: &Plan,
        now_ms: i64,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<backup::Report, BackupError> {
        if self.prune.is_held() {
            return Err(BackupError::Place("another backup is being made".to_owned()));
        }
        let _held = self.prune.hold();
        let origin = Origin {
            storage: &self.storage,
            data_dir: &self.data_dir,
            key_file: &self.key_file,
            state: &self.state,
            journal: Some(&self.tail),
        };
        let mut watcher = |progress| {
            if self.stop.is_cancelled() || !watch(progress) {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            Ok(())
        };
        let made = backup::take(&origin, plan, now_ms, &mut watcher);
        match &made {
            Ok(report) => tracing::info!(
                path = %report.path.display(), bytes = report.manifest.bytes(),
                files = report.manifest.files.len(), "backup made"
            ),
            Err(error) => tracing::warn!(path = %plan.to.display(), %error, "no backup was made"),
        }
        made
    }
}

/// Something that is read again at every reload, like certificates: what it is called, and how.
pub type Reread = (&'static str, Read);
/// Reads it: why it is not in use, if it is not.
pub type Read = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Reads the configuration again.
pub struct Reloader {
    source: Source,
    sinks: Arc<Sinks>,
    reread: Vec<Reread>,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    settings: Settings,
    /// Why the last attempt changed nothing, if it did not.
    problem: Option<String>,
}

impl Reloader {
    /// For an agent that was started with this configuration.
    pub fn new(source: Source, sinks: Arc<Sinks>, reread: Vec<Reread>) -> Self {
        let running = Running { settings: Settings::of(&source.text), problem: None };
        Self { source, sinks, reread, running: Mutex::new(running) }
    }

    /// Why the last reload changed nothing, if it did not; for health.
    pub fn problem(&self) -> Option<String> {
        self.running().problem.clone()
    }

    /// Reads the file, checks it, and takes up what can be; what is wrong with it, if it changed
    /// nothing. Blocks.
    pub fn reload(&self) -> Result<ReloadReport, String> {
        let mut running = self.running();
        match self.try_reload(&mut running.settings) {
            Ok(report) => {
                running.problem = None;
                let (applied, restart) = (report.applied.join(" "), report.restart.join(" "));
                tracing::info!(applied, restart, "configuration read again");
                Ok(report)
            }
            Err(problem) => {
                tracing::error!(%problem, "the configuration cannot be used; nothing was changed");
                // Health has one line for it.
                let first = problem.lines().next().unwrap_or_default();
                running.problem = Some(format!("not reloaded: {first}"));
                Err(problem)
            }
        }
    }

    fn try_reload(&self, settings: &mut Settings) -> Result<ReloadReport, String> {
        let loaded = Config::load_and_check_here(self.source.path.as_deref())
            .map_err(|error| error.to_string())?;
        let mut taken = settings.clone();
        let (applied, restart) = taken.take(&Settings::of(&loaded.text));
        let is_applied = |section: &str| applied.iter().any(|key| key.starts_with(section));
        if is_applied("privacy.") || is_applied("sink.") {
            self.sinks.change(&loaded.config).map_err(|error| error.to_string())?;
        }
        if is_applied("log.") && !self.source.is_log_said {
            logging::apply(&Log::from(&loaded.config.log)).map_err(|error| error.to_string())?;
        }
        *settings = taken;
        let mut reread = Vec::new();
        for (what, read) in &self.reread {
            match read() {
                Ok(()) => reread.push((*what).to_owned()),
                Err(why) => reread.push(format!("{what}: not in use: {why}")),
            }
        }
        let path = loaded.path.map(|path| path.display().to_string());
        Ok(ReloadReport { path, applied, restart, reread })
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("source", &self.source).finish_non_exhaustive()
    }
}

/// How often the status line is looked at.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Tells the service manager how it is going, and, while everything moves, that the agent is alive.
pub async fn keep_watch(reporter: Arc<Reporter>, stop: CancellationToken) {
    let watchdog = notify::watchdog();
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let every = watchdog.map_or(STATUS_EVERY, |watchdog| (watchdog / 4).min(STATUS_EVERY));
    let mut vigil = Vigil::new(watchdog.map_or(Duration::MAX, |watchdog| watchdog / 2));
    let mut said = String::new();
    let mut hanging = None;
    let begun = now();
    let mut tick = tokio::time::interval(every);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let found = vigil.look(now().duration_since(begun), reporter.pulses());
        if found != hanging.as_deref() {
            if let Some(thread) = found {
                tracing::error!(thread, "a thread hangs; the watchdog is not fed");
            } else {
                tracing::info!("everything moves again");
            }
        }
        hanging = found.map(str::to_owned);
        if watchdog.is_some() && hanging.is_none() {
            notify::alive();
        }
        let status = hanging
            .as_ref()
            .map_or_else(|| reporter.status_line(), |thread| format!("{thread} hangs"));
        if status != said {
            notify::status(&status);
            said = status;
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "driver: times the watchdog")]
fn now() -> Instant {
    Instant::now()
}
