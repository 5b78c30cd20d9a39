//! Every channel and task of the agent, made here.

use std::sync::Arc;

use anyhow::Context as _;
use protocol::DeviceId;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin, Hooks};
use crate::config::Config;
use crate::http::{Health, Http, Snapshot};
use crate::registry::{OsEntropy, Registry};
use crate::state::{self, DirLock};
use crate::storage::{Disk, SharedStorage};
use crate::telemetry::{self, Metric};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// As configured.
    pub config: Config,
    /// Forget, when killed, every write not synced: an aid of the tests.
    pub hold_unsynced_writes: bool,
}

/// Runs the agent until it is told to stop.
pub fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(options.config))
}

/// The ledger of an agent that does not run; the caller owns its data directory.
pub fn ledger_at_rest(_config: &Config) -> anyhow::Result<serde_json::Value> {
    anyhow::bail!("the ledger is not wired yet")
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let dir = &config.agent.data_dir;
    let _lock = DirLock::take(dir)?;
    let storage: SharedStorage = Arc::new(Disk);
    let database = state::open(&storage, &dir.join(state::FILE_NAME))?;
    let registry = Registry::open_with_key_file(database, &config.key_file(), &mut OsEntropy)?;
    let agent = Arc::new(Agent { registry: registry.clone() });
    let admin_server = admin::Server::bind(dir)?;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(admin_server.serve(Admin::new(registry, agent.clone()), stop.clone()));
    if let Some(address) = config.http.address {
        let http = Http::bind(address).await?;
        tracing::info!(address = %http.address(), "metrics and health");
        tasks.spawn(http.serve(agent, stop.clone()));
    }
    tracing::info!(data_dir = %dir.display(), "ready");
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    tracing::info!("stopping");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

struct Agent {
    registry: Registry,
}

impl Hooks for Agent {
    fn shut_out(&self, device: DeviceId) {
        tracing::debug!(%device, "no session to close");
    }

    fn ledger(&self) -> Result<serde_json::Value, String> {
        Err("the ledger is not wired yet".to_owned())
    }
}

impl Snapshot for Agent {
    fn metrics(&self) -> Vec<Metric> {
        self.registry.count().map(|count| telemetry::DEVICES.reads(count)).into_iter().collect()
    }

    fn health(&self) -> Vec<Health> {
        Vec::new()
    }
}
