//! Getting at a data directory: as its owner if no agent runs on it, through the agent's socket if
//! one does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use protocol::{Counts, DeviceId};

use crate::admin::{Admin, Buffered, Client, Hooks, Request, Response};
use crate::config::{Config, SinkKind};
use crate::erasure::{SinkErased, Swept};
use crate::ledger::Ledger;
use crate::lock::{DirLock, LockError, Owner};
use crate::owner::HandOver;
use crate::registry::{OsEntropy, Registry};
use crate::reload::ReloadReport;
use crate::rings::Rings;
use crate::run;
use crate::state::{self, State};
use crate::storage::{Disk, SharedStorage};
use crate::vehicles::VehicleId;
use crate::{backup, upgrade};

/// An agent that starts, or another command, holds the directory for a moment without answering.
const ATTEMPTS: u32 = 100;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// What a command says that does not understand the answer.
pub(super) const ANOTHER_ANSWER: &str =
    "the agent gave another answer than asked for; is it another version?";

/// Somebody who answers requests on a data directory.
pub(super) enum Agent {
    /// We do, and own it.
    Resting(Box<Admin>, #[expect(dead_code, reason = "held until we are done")] (HandOver, Owned)),
    /// The agent that runs on it does.
    Running(Client),
}

/// Whether a command that finds no data directory makes one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Yes: it has something to put there.
    Make,
    /// No: there is nothing to see.
    Refuse,
}

impl Agent {
    /// Gets at the configured data directory.
    pub fn reach(config: &Config, missing: Missing) -> anyhow::Result<Self> {
        Ok(match own_or_connect(&config.agent.data_dir, missing)? {
            Place::Owned(owned) => {
                upgrade::bring_up(&config.agent.data_dir)?;
                let elsewhere = HandOver::of(elsewhere(config));
                Self::Resting(Box::new(resting(config)?), (elsewhere, owned))
            }
            Place::Running(client) => Self::Running(client),
        })
    }

    /// Asks, and takes a refusal for an error.
    pub fn ask(&mut self, request: Request) -> anyhow::Result<Response> {
        let response = match self {
            Self::Resting(admin, _) => admin.answer(request, now_ms(), &mut OsEntropy),
            Self::Running(client) => client.ask(&request)?,
        };
        match response {
            Response::Refused { reason } => bail!(reason),
            response => Ok(response),
        }
    }
}

/// Whose a data directory is.
pub(super) enum Place {
    /// Ours: no agent runs on it.
    Owned(Owned),
    /// The agent's that runs on it.
    Running(Client),
}

/// A data directory that is ours. What root makes there belongs to its owner in the end; only then
/// another may have it.
#[derive(Debug)]
pub(super) struct Owned {
    _hand_over: HandOver,
    _lock: DirLock,
}

/// Takes a data directory, or finds the agent that has it.
pub(super) fn own_or_connect(dir: &Path, missing: Missing) -> anyhow::Result<Place> {
    if missing == Missing::Refuse && !dir.exists() {
        bail!(
            "there is no data directory {}: run the agent or add devices first, or name \
             another one with --data-dir",
            dir.display()
        );
    }
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match DirLock::take(dir, Owner::Agent) {
            Ok(lock) => {
                let hand_over = HandOver::of([dir.to_owned()]);
                return Ok(Place::Owned(Owned { _hand_over: hand_over, _lock: lock }));
            }
            Err(locked @ LockError::Held { .. }) => match Client::connect(dir) {
                Ok(client) => return Ok(Place::Running(client)),
                Err(error) => last = Some(anyhow::Error::new(error).context(locked)),
            },
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(ATTEMPT_PAUSE);
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no attempt was made")))
}

/// Sinks' folders that do not lie in the data directory.
fn elsewhere(config: &Config) -> Vec<PathBuf> {
    let data_dir = &config.agent.data_dir;
    let sinks = config.sinks.0.iter().filter_map(|sink| match &sink.kind {
        SinkKind::File { path, .. } | SinkKind::Store { path, .. } => Some(data_dir.join(path)),
        SinkKind::Stdout => None,
    });
    sinks.filter(|path| !path.starts_with(data_dir)).collect()
}

fn resting(config: &Config) -> anyhow::Result<Admin> {
    let storage: SharedStorage = Arc::new(Disk);
    let dir: &Path = &config.agent.data_dir;
    let database = state::open(&storage, &dir.join(state::FILE_NAME))?;
    let registry =
        Registry::open_with_key_file(database.clone(), &config.key_file(), &mut OsEntropy)
            .context("cannot open the registry")?;
    let rings = Rings::open(database.clone(), 1)?;
    let resting = Resting { config: config.clone(), database, registry: registry.clone(), rings };
    Ok(Admin::new(registry, Arc::new(resting)))
}

/// An agent that does not run has no sessions.
struct Resting {
    config: Config,
    database: State,
    registry: Registry,
    rings: Rings,
}

impl Hooks for Resting {
    fn shut_out(&self, _: DeviceId) {}

    fn unsent(&self, device: DeviceId) -> Option<Counts> {
        let (declared, held) = self.rings.sums_of(device).ok()??;
        Some(declared.since(held))
    }

    fn buffered(&self, device: DeviceId) -> Result<Vec<Buffered>, String> {
        run::buffered_at_rest(&self.config, &self.database, &self.registry, device)
            .map_err(|error| format!("{error:#}"))
    }

    fn erase(&self, devices: &[DeviceId]) -> Result<Vec<Swept>, String> {
        run::erase_at_rest(&self.config, &self.database, &self.registry, devices)
            .map_err(|error| format!("{error:#}"))
    }

    fn erase_vehicle(&self, vehicle: &VehicleId) -> Result<Vec<SinkErased>, String> {
        run::erase_vehicle_at_rest(&self.config, &self.database, &self.registry, vehicle)
            .map_err(|error| format!("{error:#}"))
    }

    fn ledger(&self) -> Result<Ledger, String> {
        run::ledger_at_rest(&self.config).map_err(|error| format!("{error:#}"))
    }

    fn reload(&self) -> Result<ReloadReport, String> {
        Err("no agent runs here".to_owned())
    }

    fn backup(
        &self,
        _: &backup::Plan,
        _: i64,
        _: &mut dyn FnMut(backup::Progress) -> bool,
    ) -> Result<backup::Report, String> {
        // The command makes it itself, without the registry's key.
        Err("no agent runs here".to_owned())
    }
}

pub(super) fn now_ms() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "driver: the command line's one clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
