//! Every channel and task of the agent, made here.
//!
//! ```text
//!   listen
//!   broker --inbound--> accept (thread) --journal--> forward (a thread per sink)
//!                          ^  control <-- admin           |
//!                          +------- floor <---------------+   how far to prune
//! ```
//!
//! One async thread owns all sockets; what waits for the disk has threads of its own. A stop runs
//! the same way as the data: intakes end, the acceptor commits what it took, sinks get what they
//! can take in a moment, cursors are kept.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::driver::{self, AcceptStatus, Control};
use crate::accept::{AcceptCounters, Acceptor, replay, replay_from};
use crate::admin::{self, Admin};
use crate::catalogues::Catalogues;
use crate::config::Config;
use crate::http::Http;
use crate::intake::broker::{self, BrokerConfig, BrokerGauges};
use crate::intake::listen::{ListenConfig, ListenGauges, Listener};
use crate::journal::{Ends, Entry, Journal, JournalConfig, JournalTail, Position};
use crate::registry::{Entropy as _, OsEntropy, Registry};
use crate::rings::Rings;
use crate::state::{self, DirLock};
use crate::storage::{Disk, Held, SharedStorage};
use crate::tls::{self, ServerTls};

mod intakes;
mod report;
mod rest;
mod sinks;

use report::Reporter;
use sinks::Sinks;

pub use report::ledger_at_rest;
pub use rest::{buffered_at_rest, erase_at_rest};

/// Messages between intakes and acceptor.
const INBOUND_MAX: usize = 1024;
/// Rings whose watermark is kept in memory; the others are read when they are needed.
const RINGS_CACHED_MAX: usize = 65_536;
/// How long sinks may take at a stop to get what the journal holds; the rest they get after the
/// next start.
const DRAIN_MAX: Duration = Duration::from_secs(5);

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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_stack_size(512 * 1024)
        .build()?;
    runtime.block_on(serve(options))
}

async fn serve(Options { config, hold_unsynced_writes }: Options) -> anyhow::Result<()> {
    let dir = config.agent.data_dir.as_path();
    let _lock = DirLock::take(dir)?;
    // Addresses first: what cannot be served is said before anything is touched.
    let tls = config.listen.tls.clone().map(ServerTls::load).transpose();
    let tls = tls.context("[listen.tls]")?.map(Arc::new);
    let listener = listener(&config, tls.clone())?;
    let http = match config.http.address {
        Some(address) => Some(Http::bind(address).await?),
        None => None,
    };

    let storage: SharedStorage =
        if hold_unsynced_writes { Arc::new(Held::default()) } else { Arc::new(Disk) };
    let database = state::open(&storage, &dir.join(state::FILE_NAME))?;
    let registry =
        Registry::open_with_key_file(database.clone(), &config.key_file(), &mut OsEntropy)?;
    let catalogues = Catalogues::open(database.clone())?;
    let rings = Rings::open(database, RINGS_CACHED_MAX)?;
    let (journal, rings) = open_journal(&storage, &config, rings)?;
    if registry.count()? == 0 && journal.ends() != Ends::default() {
        tracing::error!(
            "the journal has frames and the registry no devices: if state.redb is missing, bring it \
             back, for without the devices' secrets nothing of this can be read"
        );
    }
    let tail = journal.tail();

    let stop = CancellationToken::new();
    let (to_accept, inbound) = mpsc::channel(INBOUND_MAX);
    let (to_control, control) = mpsc::channel(64);
    let sinks = Sinks::start(&storage, &config, &tail, &registry, &catalogues)?;
    let counters = AcceptCounters::default();
    let accepting = AcceptStatus::default();
    let gauges = Arc::new(ListenGauges::default());
    let brokers: Vec<(BrokerConfig, Arc<BrokerGauges>)> =
        config.brokers.iter().map(|broker| (broker.clone(), Arc::default())).collect();
    let reporter = Arc::new(Reporter {
        config: config.clone(),
        registry: registry.clone(),
        tail,
        counters: counters.clone(),
        accepting: accepting.clone(),
        listening: Arc::clone(&gauges),
        tls: tls.clone(),
        brokers: brokers.clone(),
        sinks: Arc::clone(&sinks),
        control: to_control,
        started_ms: report::unix_ms(),
    });
    report::remember_devices(&registry, &counters.activity)?;

    let acceptor = Acceptor::new(journal, rings, registry.clone(), catalogues, counters, random()?);
    let floor = Arc::clone(&sinks);
    let intakes_ended = CancellationToken::new();
    let ports = driver::Ports {
        inbound,
        control,
        floor: Box::new(move |is_full| floor.floor(is_full)),
        status: accepting,
        stop: intakes_ended.clone(),
    };
    let acceptor = driver::spawn(acceptor, ports)?;

    let tasks = TaskTracker::new();
    let admin_server = admin::Server::bind(dir)?;
    let admin = Admin::new(registry.clone(), reporter.clone());
    let finishing = admin.clone();
    tasks.spawn_blocking(move || finishing.finish_erasures());
    tasks.spawn(admin_server.serve(admin, stop.clone()));
    if let Some(http) = http {
        tracing::info!(address = %http.address(), "metrics and health");
        tasks.spawn(http.serve(reporter.clone(), stop.clone()));
    }
    let intakes = TaskTracker::new();
    for (broker, gauges) in brokers {
        let (registry, to_accept) = (registry.clone(), to_accept.clone());
        let seed = u64::from_le_bytes(random()?);
        intakes.spawn(broker::serve(broker, registry, to_accept, gauges, seed, stop.clone()));
    }
    if let Some(listener) = listener {
        intakes.spawn(listener.serve(registry, to_accept.clone(), gauges, stop.clone()));
    }
    // The acceptor ends when the last intake does.
    drop(to_accept);
    intakes.close();
    if let Some(tls) = tls {
        tasks.spawn(tls::keep_fresh(tls, stop.clone()));
    }
    tasks.spawn(report::keep_ledger(reporter.clone(), stop.clone()));
    tracing::info!(data_dir = %dir.display(), "ready");

    until_told_to_stop().await?;
    tracing::info!("stopping");
    stop.cancel();
    intakes.wait().await;
    intakes_ended.cancel();
    tasks.close();
    tasks.wait().await;
    tokio::task::spawn_blocking(move || settle(acceptor, &sinks, &reporter)).await?
}

/// The data's own order: what was taken is committed, then forwarded, then the books are closed.
fn settle(
    acceptor: JoinHandle<Acceptor>,
    sinks: &Sinks,
    reporter: &Reporter,
) -> anyhow::Result<()> {
    let acceptor = acceptor.join();
    let sound = sinks.stop(DRAIN_MAX);
    reporter.write_ledger();
    anyhow::ensure!(acceptor.is_ok() && sound, "a thread panicked; what it said is in the log");
    tracing::info!("stopped");
    Ok(())
}

fn open_journal(
    storage: &SharedStorage,
    config: &Config,
    mut rings: Rings,
) -> anyhow::Result<(Journal, Rings)> {
    let settings = JournalConfig {
        segment_bytes: config.journal.segment_bytes,
        bytes_max: config.journal.bytes_max,
        ..JournalConfig::new(config.agent.data_dir.join("journal"))
    };
    // The checkpoint's journal cannot be asked before it is open, so the rings are brought up to
    // date afterwards, from where the checkpoint is known to be good.
    let checkpoint = rings.checkpoint()?;
    let nonce = u64::from_le_bytes(random()?);
    let end = checkpoint.map(|cursor| cursor.positions).unwrap_or_default();
    let mut ignored = |_, _: &Entry<'_>, _: Position| {};
    let (journal, report) =
        Journal::open(Arc::clone(storage), settings, random()?, nonce, &end, &mut ignored)?;
    let tail = journal.tail();
    let from = replay_from(checkpoint, |cursor| tail.validates(cursor));
    let is_other = checkpoint.is_some_and(|cursor| !tail.validates(&cursor));
    report::journal_opened(&report, is_other);
    if is_other {
        // An acknowledgement may only say what this journal holds.
        rings.clear()?;
    }
    for lane in protocol::Lane::ALL {
        replay_lane(&tail, lane, from.get(lane), &mut rings)?;
    }
    Ok((journal, rings))
}

fn replay_lane(
    tail: &JournalTail,
    lane: protocol::Lane,
    from: Position,
    rings: &mut Rings,
) -> anyhow::Result<()> {
    let mut reader = tail.reader(lane, from);
    while let Some(item) = reader.next()? {
        if let crate::journal::Item::Entry { entry, .. } = item {
            replay(rings, lane, &entry)?;
        }
    }
    Ok(())
}

/// The bound port, if there is to be one.
fn listener(config: &Config, tls: Option<Arc<ServerTls>>) -> anyhow::Result<Option<Listener>> {
    let listen = &config.listen;
    let Some(address) = listen.address else { return Ok(None) };
    let listener = Listener::bind(ListenConfig {
        connections_max: usize::try_from(listen.connections_max).unwrap_or(usize::MAX),
        connect_timeout: listen.connect_timeout,
        write_timeout: listen.write_timeout,
        refusal_delay: listen.refusal_delay,
        keep_alive_max: listen.keep_alive_max,
        queued_bytes_max: usize::try_from(listen.queued_bytes_max).unwrap_or(usize::MAX),
        ..ListenConfig::new(address)
    })?;
    Ok(Some(match tls {
        Some(tls) => listener.with_tls(tls),
        None => listener,
    }))
}

async fn until_told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        // The terminal is gone.
        _ = hangup.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    OsEntropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// A sink's directory: a relative one lies in the data directory.
fn sink_dir(config: &Config, path: &Path) -> std::path::PathBuf {
    config.agent.data_dir.join(path)
}

/// What an operator may still ask of the acceptor.
type Controls = mpsc::Sender<Control>;
