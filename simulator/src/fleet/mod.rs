//! The fleet: N real firmware cores in one process, over real MQTT and TCP.
//!
//! Each vehicle is a task of its own on one thread: [`firmware::App`] with a flash in RAM or in a
//! file, its source as sensors, the system's TCP as link. Nothing here imitates the device; what is
//! here is its board. A supervisor watches the time, the signals and the end.

pub mod keys;
pub mod state;
pub mod flash;
pub mod feed;
pub mod clock;
pub mod tls;
pub mod refusal;
pub mod tcp;
pub mod reach;
pub mod board;
pub mod progress;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use firmware::app::Counters;
use protocol::{Counts, DeviceId, Lane};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::vehicle::Vehicle;
use board::{Job, run_vehicle};
use feed::Pace;
use flash::NorError;
use keys::DeviceKey;
use progress::Progress;
pub use progress::Totals;
use state::StateDir;

/// How a fleet is run.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The agent's or broker's address: `host:port`, `mqtt://host:port`, `mqtts://host:port`.
    pub connect: String,
    /// With `mqtts`: whom devices trust, and how they prove themselves.
    pub tls: Option<tls::TlsFiles>,
    /// How fast sources are read.
    pub pace: Pace,
    /// Longest sealed frame in bytes.
    pub frame_bytes: usize,
    /// Greatest age of an open batch of the bulk lane.
    pub frame_age: Duration,
    /// Flash of a vehicle in KiB.
    pub flash_kib: u32,
    /// Time between two heartbeats; zero for none.
    pub heartbeat: Duration,
    /// Longest wait before a device connects again.
    pub reconnect_within: Duration,
    /// Sampling ends after this time, whatever the sources still have.
    pub sample_for: Option<Duration>,
    /// How long, after the last sample, to wait for the acknowledgement of everything.
    pub drain_for: Duration,
    /// Where flash and positions are kept, if they are.
    pub state: Option<PathBuf>,
    /// Whether standard error is a terminal.
    pub terminal: bool,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Everything was sent and acknowledged.
    Drained,
    /// The time to drain ran out.
    Left,
    /// A signal ended it in order.
    Interrupted,
}

/// Why a fleet cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Config: vehicles without a key.
    #[error(
        "no key for {missing} of {of} devices, first {first}: provision them with `milepost devices add`"
    )]
    KeyMissing {
        /// How many.
        missing: usize,
        /// Of how many.
        of: usize,
        /// The first.
        first: DeviceId,
    },
    /// Config: the address leads nowhere.
    #[error("cannot connect to {address}: {source}")]
    Address {
        /// As given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Resource: the state folder.
    #[error("state: {0}")]
    State(#[from] state::StateError),
    /// Resource: the process's signals or limits.
    #[error("process: {0}")]
    Process(#[from] io::Error),
    /// Config or Resource: a vehicle does not start.
    #[error("{device}: cannot start: {reason}")]
    Start {
        /// Whose.
        device: DeviceId,
        /// Why.
        reason: String,
    },
}

/// What all vehicles share: how the run is to end, and what the link says.
#[derive(Debug, Default)]
pub struct Control {
    sampling_over: Cell<bool>,
    stopping: Cell<bool>,
    changed: Notify,
    /// Open connections.
    pub connected: Cell<usize>,
    /// Bytes written to all connections.
    pub sent_bytes: Cell<u64>,
    /// Why the last connection failed.
    pub link_error: RefCell<Option<String>>,
    /// How often devices were turned away, by why.
    pub refusals: RefCell<BTreeMap<String, u64>>,
}

impl Control {
    /// Whether sources are read no further.
    pub fn is_sampling_over(&self) -> bool {
        self.sampling_over.get()
    }

    /// Whether vehicles are to stop at once, in order.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Waits for either to change, from this call on. Cancel safe.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Counts that a device was turned away, if it was.
    pub fn refuse(&self, why: Option<String>) {
        if let Some(why) = why {
            *self.refusals.borrow_mut().entry(why).or_default() += 1;
        }
    }

    fn end_sampling(&self) {
        self.sampling_over.set(true);
        self.changed.notify_waiters();
    }

    fn stop(&self) {
        self.stopping.set(true);
        self.end_sampling();
    }
}

/// What one vehicle shows to the supervisor.
#[derive(Debug)]
pub struct Gauges {
    /// Whose.
    pub device: DeviceId,
    /// Readings taken from the source, those before this run included.
    pub admitted: Rc<Cell<u64>>,
    /// Of those, taken in earlier runs.
    pub resumed_at: u64,
    /// Whether the source is read to its end.
    pub exhausted: Cell<bool>,
    /// What the app counted since its last boot.
    pub counters: Cell<Counters>,
    /// What it counted in the boots of this run before that.
    pub earlier: Cell<Earlier>,
    /// Frames stored and not acknowledged, by lane.
    pub outstanding: Cell<[u64; 3]>,
}

/// Sums of what is counted by boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Earlier {
    /// Boots.
    pub boots: u64,
    /// Samples admitted.
    pub samples: u64,
    /// Events and own records.
    pub events: u64,
    /// Frames stored.
    pub frames: u64,
    /// Frames that full rings dropped.
    pub dropped_frames: u64,
    /// What the flash refused.
    pub flash_errors: u64,
}

impl Gauges {
    /// What was counted in all boots of this run.
    pub fn sums(&self) -> Earlier {
        let (now, before) = (self.counters.get(), self.earlier.get());
        let accepted = |count: fn(&Counts) -> u64| now.accepted.iter().map(count).sum::<u64>();
        Earlier {
            boots: before.boots + 1,
            samples: before.samples + accepted(|counts| counts.samples),
            events: before.events + accepted(|counts| counts.events),
            frames: before.frames + of_all_lanes(now.stored_frames),
            dropped_frames: before.dropped_frames + of_all_lanes(now.dropped_frames),
            flash_errors: before.flash_errors + u64::from(now.flash_errors),
        }
    }
}

/// Runs the fleet to its end. Prints progress to standard error.
///
/// Not cancel safe: dropping it leaves open batches unwritten, as a power cut does.
pub async fn run(
    vehicles: Vec<Vehicle>,
    mut keys: BTreeMap<DeviceId, DeviceKey>,
    config: &FleetConfig,
) -> Result<(Outcome, Totals), FleetError> {
    let missing: Vec<_> = vehicles
        .iter()
        .map(|vehicle| vehicle.device)
        .filter(|device| !keys.contains_key(device))
        .collect();
    if let Some(first) = missing.first() {
        let (missing, of) = (missing.len(), vehicles.len());
        return Err(FleetError::KeyMissing { missing, of, first: *first });
    }
    let endpoint = tcp::Endpoint::resolve(&config.connect, config.tls.as_ref())
        .await
        .map_err(|source| FleetError::Address { address: config.connect.clone(), source })?;
    let state = config.state.as_deref().map(StateDir::open).transpose()?;
    raise_file_limit()?;
    let local = LocalSet::new();
    let control = Rc::new(Control::default());
    let mut tasks = JoinSet::new();
    let mut gauges = Vec::with_capacity(vehicles.len());
    for vehicle in vehicles {
        let Some(key) = keys.remove(&vehicle.device) else { continue };
        let control = control.clone();
        let (job, shown) = Job::prepare(vehicle, key, config, &endpoint, state.as_ref(), control)?;
        gauges.push(shown);
        tasks.spawn_local_on(run_vehicle(job), &local);
    }
    let supervised = supervise(tasks, &gauges, &control, config);
    let outcome = local.run_until(supervised).await?;
    Ok((outcome.0, Totals::of(&gauges, &control, outcome.1)))
}

/// Watches over the vehicles until all have ended; how, and after how long.
async fn supervise(
    mut tasks: JoinSet<Result<(), FleetError>>,
    gauges: &[Rc<Gauges>],
    control: &Control,
    config: &FleetConfig,
) -> Result<(Outcome, Duration), FleetError> {
    let begun = Instant::now();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut tick = interval(Duration::from_millis(100));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress = Progress::new(config.terminal);
    let mut drain_ends: Option<Instant> = None;
    let mut outcome = Outcome::Drained;
    let mut failed = None;
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                // The others stop in order, so that what they hold is not lost with it.
                Some(Ok(Err(error))) => {
                    failed.get_or_insert(error);
                    control.stop();
                }
                Some(Err(error)) => {
                    failed.get_or_insert(FleetError::Process(io::Error::other(error)));
                    control.stop();
                }
            },
            _ = tick.tick() => {
                progress.show(begun.elapsed(), gauges, control);
                if config.sample_for.is_some_and(|time| begun.elapsed() >= time) {
                    control.end_sampling();
                }
                let all_read = gauges.iter().all(|gauges| gauges.exhausted.get());
                if drain_ends.is_none() && (control.is_sampling_over() || all_read) {
                    drain_ends = Instant::now().checked_add(config.drain_for);
                }
                if drain_ends.is_some_and(|ends| Instant::now() >= ends) && !control.is_stopping() {
                    outcome = Outcome::Left;
                    control.stop();
                }
            }
            _ = interrupt.recv() => {
                outcome = Outcome::Interrupted;
                control.stop();
            }
            _ = terminate.recv() => {
                outcome = Outcome::Interrupted;
                control.stop();
            }
        }
    }
    progress.end();
    if let Some(error) = failed {
        return Err(error);
    }
    if Totals::outstanding(gauges) == 0 && outcome == Outcome::Left {
        outcome = Outcome::Drained;
    }
    Ok((outcome, begun.elapsed()))
}

/// A vehicle needs a socket and two files; many systems allow a process 1024 unless it asks.
fn raise_file_limit() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

/// Sum over a vehicle's lanes.
fn of_all_lanes(frames: [u64; 3]) -> u64 {
    Lane::ALL.iter().filter_map(|lane| frames.get(lane.index())).sum()
}

impl From<NorError> for FleetError {
    fn from(error: NorError) -> Self {
        Self::Process(io::Error::other(format!("flash: {error}")))
    }
}
