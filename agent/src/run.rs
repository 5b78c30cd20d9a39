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
//!
//! The service manager is told when all of it stands, when it is being reloaded and when it stops;
//! and that it is alive, as long as every thread that moves data does ([`crate::notify`]).

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::driver::{self, AcceptStatus, Control};
use crate::accept::{AcceptCounters, Acceptor, Begun};
use crate::admin::{self, Admin, Hooks as _};
use crate::backup;
use crate::catalogues::Catalogues;
use crate::config::Config;
use crate::http::Http;
use crate::intake::Inbound;
use crate::intake::broker::{self, BrokerConfig, BrokerGauges};
use crate::intake::listen::{ListenConfig, Listener};
use crate::intake::serial;
use crate::journal::{Journal, JournalConfig};
use crate::lock::{DirLock, Owner};
use crate::notify;
use crate::registry::{Entropy as _, OsEntropy, Registry};
use crate::rings::Rings;
use crate::state;
use crate::storage::{Disk, Held, SharedStorage};
use crate::tls::{self, ServerTls};

mod intakes;
use crate::upgrade;

mod operation;
mod report;
mod rest;
mod sinks;

use operation::{BackupPort, PruneHold, Reloader};
use report::Reporter;
use sinks::Sinks;

pub use report::ledger_at_rest;
pub use rest::{buffered_at_rest, erase_at_rest, erase_vehicle_at_rest, journal_begins};

/// Messages between intakes and acceptor.
const INBOUND_MAX: usize = 1024;
/// Rings whose watermark is kept in memory; the others are read when they are needed.
const RINGS_CACHED_MAX: usize = 65_536;
/// How long sinks may take at a stop to get what the journal holds; the rest they get after the
/// next start.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Turns of all tasks that an intake, which is bound already, takes at most until it listens.
const TURNS_MAX: u32 = 64;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// As configured.
    pub config: Config,
    /// Where that came from.
    pub source: Source,
    /// Forget, when killed, every write not synced: an aid of the tests.
    pub hold_unsynced_writes: bool,
}

/// Where the configuration came from, to be read there again.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file; none: wherever it is found.
    pub path: Option<PathBuf>,
    /// What it said.
    pub text: String,
    /// The command line says what to log, not the file.
    pub is_log_said: bool,
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

async fn serve(Options { config, source, hold_unsynced_writes }: Options) -> anyhow::Result<()> {
    let dir = config.agent.data_dir.as_path();
    let _lock = DirLock::take(dir, Owner::Agent)?;
    backup::finish_move(dir).context("cannot finish what a restore began")?;
    upgrade::bring_up(dir)?;
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
    let rings = Rings::open(database.clone(), RINGS_CACHED_MAX)?;
    let ring_table = rings.table();
    let (journal, rings) = open_journal(&storage, &config, rings)?;
    report::registry_opened(&registry, &journal)?;
    report::restored(dir, &registry)?;
    let tail = journal.tail();

    let stop = CancellationToken::new();
    let (to_accept, inbound) = mpsc::channel(INBOUND_MAX);
    let (to_control, control) = mpsc::channel(64);
    let sinks = Sinks::start(&storage, &config, &tail, &registry, &catalogues, &ring_table)?;
    let prune = PruneHold::default();
    let counters = AcceptCounters::default();
    let accepting = AcceptStatus::default();
    let brokers: Vec<(BrokerConfig, Arc<BrokerGauges>)> =
        config.brokers.iter().map(|broker| (broker.clone(), Arc::default())).collect();
    let serials = config.serials.iter().map(|serial| (serial.clone(), Arc::default())).collect();
    let reporter = Arc::new(Reporter {
        config: config.clone(),
        registry: registry.clone(),
        counters: counters.clone(),
        accepting: accepting.clone(),
        listening: Arc::default(),
        tls: tls.clone(),
        brokers,
        serials,
        sinks: Arc::clone(&sinks),
        control: to_control,
        started_ms: report::unix_ms(),
        backups: BackupPort {
            storage,
            data_dir: dir.to_owned(),
            key_file: config.key_file(),
            state: database,
            tail: tail.clone(),
            prune: prune.clone(),
            stop: stop.clone(),
        },
        tail,
        reloader: Reloader::new(source, Arc::clone(&sinks), rereads(tls.as_ref())),
    });
    report::remember_devices(&registry, &counters.activity)?;

    let acceptor = Acceptor::new(journal, rings, registry.clone(), catalogues, counters, random()?);
    let floor = Arc::clone(&sinks);
    let intakes_ended = CancellationToken::new();
    let ports = driver::Ports {
        inbound,
        control,
        floor: Box::new(move |is_full| floor.floor(is_full).filter(|_| !prune.is_held())),
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
    let intakes = start_intakes(listener, &reporter, to_accept, &stop)?;
    if let Some(tls) = tls {
        tasks.spawn(tls::keep_fresh(tls, stop.clone()));
    }
    tasks.spawn(report::keep_ledger(reporter.clone(), stop.clone()));
    tasks.spawn(operation::keep_watch(reporter.clone(), stop.clone()));
    let signals = Signals::new()?;
    until_listening(&reporter).await;
    tracing::info!(data_dir = %dir.display(), "ready");
    attend(&reporter, signals).await?;
    tracing::info!("stopping");
    notify::stopping();
    stop.cancel();
    intakes.wait().await;
    intakes_ended.cancel();
    tasks.close();
    tasks.wait().await;
    tokio::task::spawn_blocking(move || settle(acceptor, &sinks, &reporter)).await?
}

/// Every way in which devices come. The acceptor ends when the last of them does.
fn start_intakes(
    listener: Option<Listener>,
    reporter: &Reporter,
    to_accept: mpsc::Sender<Inbound>,
    stop: &CancellationToken,
) -> anyhow::Result<TaskTracker> {
    let intakes = TaskTracker::new();
    let registry = &reporter.registry;
    for (broker, gauges) in reporter.brokers.clone() {
        let (registry, to_accept) = (registry.clone(), to_accept.clone());
        let seed = u64::from_le_bytes(random()?);
        intakes.spawn(broker::serve(broker, registry, to_accept, gauges, seed, stop.clone()));
    }
    if let Some(listener) = listener {
        for (serial, gauges) in reporter.serials.clone() {
            intakes.spawn(serial::serve(serial, listener.visits(), gauges, stop.clone()));
        }
        let gauges = Arc::clone(&reporter.listening);
        intakes.spawn(listener.serve(registry.clone(), to_accept, gauges, stop.clone()));
    }
    intakes.close();
    Ok(intakes)
}

/// What a reload reads again besides the file itself.
fn rereads(tls: Option<&Arc<ServerTls>>) -> Vec<operation::Reread> {
    let certificates = |tls: &Arc<ServerTls>| {
        let tls = Arc::clone(tls);
        let read: operation::Read = Box::new(move || {
            let now_s = tls::unix_s();
            tls.refresh(true, now_s);
            tls.status(now_s).problem.map_or(Ok(()), Err)
        });
        ("certificates", read)
    };
    tls.map(certificates).into_iter().collect()
}

/// The intake says itself that it listens, at its first turn.
async fn until_listening(reporter: &Reporter) {
    for _ in 0..TURNS_MAX {
        let is_off = reporter.config.listen.address.is_none();
        if is_off || reporter.listening.healthy().is_ok() {
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// Does as signals say, until one says to stop.
async fn attend(reporter: &Arc<Reporter>, mut signals: Signals) -> anyhow::Result<()> {
    notify::ready(&reporter.status_line());
    while signals.next().await == Told::Reload {
        notify::reloading();
        let reloading = Arc::clone(reporter);
        tokio::task::spawn_blocking(move || drop(reloading.reload())).await?;
        notify::ready(&reporter.status_line());
    }
    Ok(())
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
    rings: Rings,
) -> anyhow::Result<(Journal, Rings)> {
    let settings = JournalConfig {
        segment_bytes: config.journal.segment_bytes,
        bytes_max: config.journal.bytes_max,
        ..JournalConfig::new(config.agent.data_dir.join("journal"))
    };
    let entropy = (random()?, u64::from_le_bytes(random()?));
    let begun = Begun::open(storage, settings, entropy, rings)?;
    report::journal_opened(&begun.report, begun.is_other);
    Ok((begun.journal, begun.rings))
}

/// What has the devices' sessions: with the bound port, if there is to be one, and if there is none, only
/// where serial lines need it.
fn listener(config: &Config, tls: Option<Arc<ServerTls>>) -> anyhow::Result<Option<Listener>> {
    let listen = &config.listen;
    if listen.address.is_none() && config.serials.is_empty() {
        return Ok(None);
    }
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = ListenConfig {
        connections_max: usize::try_from(listen.connections_max).unwrap_or(usize::MAX),
        connect_timeout: listen.connect_timeout,
        write_timeout: listen.write_timeout,
        refusal_delay: listen.refusal_delay,
        keep_alive_max: listen.keep_alive_max,
        queued_bytes_max: usize::try_from(listen.queued_bytes_max).unwrap_or(usize::MAX),
        ..ListenConfig::new(listen.address.unwrap_or(nowhere))
    };
    let listener = match listen.address {
        Some(_) => Listener::bind(settings)?,
        None => Listener::unbound(settings),
    };
    Ok(Some(match tls {
        Some(tls) => listener.with_tls(tls),
        None => listener,
    }))
}

/// What a signal says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// A terminal is where this runs: a hangup says that it is gone.
    is_interactive: bool,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            is_interactive: std::io::stdin().is_terminal(),
        })
    }

    /// Cancel safe.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => if self.is_interactive { Told::Stop } else { Told::Reload },
        }
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
