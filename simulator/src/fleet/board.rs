//! One vehicle at work: the app, its flash, source, link and clock, from start to stop.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use firmware::app::{App, AppConfig, Counters, Layout};
use firmware::batch::{BatchConfig, FRAME_OVERHEAD};
use firmware::campaign::{Campaign, Rule, When};
use firmware::mqtt::drive::{self, Board, Clock as _};
use firmware::mqtt::{Mqtt, PACKET_OVERHEAD};
use firmware::ports::{Entropy, Now};
use firmware::ring::Region;
use firmware::session::SessionConfig;
use protocol::health::ResetReason;
use protocol::record::Record;
use protocol::{Catalogue, Lane, SignalIndex};

use super::clock::VehicleClock;
use super::feed::{Exchange, Feed, Pace};
use super::flash::{Backing, Nor, NorError, SECTOR_LEN};
use super::keys::DeviceKey;
use super::reach::WithinReach;
use super::state::StateDir;
use super::tcp::{Endpoint, TcpConnect};
use super::{Control, FleetConfig, FleetError, Gauges};
use crate::source::Source;
use crate::vehicle::Vehicle;

/// Longest frame that can be asked for, in bytes.
pub const FRAME_BYTES_MAX: usize = 2048;
/// Least flash of a vehicle, in KiB.
pub const FLASH_KIB_MIN: u32 = 64;

const RX: usize = 512;

/// Most vehicles: a few signals. Memory counts with thousands of them in a process.
const SIGNALS: usize = 16;
const FRAME: usize = FRAME_BYTES_MAX + FRAME_OVERHEAD;
const TX: usize = FRAME + PACKET_OVERHEAD;

/// Those with more: a catalogue that fills nearly a sector, in which its record must stand.
const SIGNALS_WIDE: usize = Catalogue::SIGNALS_MAX;
const FRAME_WIDE: usize = 3904;
const TX_WIDE: usize = FRAME_WIDE + PACKET_OVERHEAD;
/// Bytes of a catalogue's encoding that the smaller core has room for in any case.
const CATALOGUE_BYTES_SMALL: usize = FRAME_BYTES_MAX - 32;

/// Everything to run one vehicle.
#[derive(Debug)]
pub struct Job {
    vehicle: Vehicle,
    key: DeviceKey,
    flash: Nor,
    sectors: u32,
    batch: BatchConfig,
    heartbeat_ms: u32,
    session: SessionConfig,
    pace: Pace,
    endpoint: Endpoint,
    gauges: Rc<Gauges>,
    control: Rc<Control>,
}

impl Job {
    /// Opens the vehicle's flash; goes on where its position says.
    pub fn prepare(
        vehicle: Vehicle,
        key: DeviceKey,
        config: &FleetConfig,
        endpoint: &Endpoint,
        state: Option<&StateDir>,
        control: Rc<Control>,
    ) -> Result<(Self, Rc<Gauges>), FleetError> {
        let device = vehicle.device;
        let sectors = config.flash_kib / (SECTOR_LEN / 1024);
        let position = Rc::new(Cell::new(0));
        let flash = match state {
            None => Nor::in_ram(sectors),
            Some(state) => {
                let (position_file, resumed_at) = state.position_file(&device)?;
                position.set(resumed_at);
                let file = state.flash_file(&device)?;
                let backing = Backing { file, position_file, position: position.clone() };
                Nor::in_file(sectors, backing)
                    .map_err(|error| FleetError::Start { device, reason: error.to_string() })?
            }
        };
        let gauges = Rc::new(Gauges {
            device,
            resumed_at: position.get(),
            admitted: position,
            exhausted: Cell::new(false),
            counters: Cell::new(Counters::default()),
            earlier: Cell::default(),
            outstanding: Cell::new([0; 3]),
        });
        let batch = batch_config(config);
        let heartbeat_ms = milliseconds(config.heartbeat);
        let pace = config.pace;
        let job = Self {
            vehicle,
            key,
            flash,
            sectors,
            batch,
            heartbeat_ms,
            session: session(config),
            pace,
            endpoint: endpoint.clone(),
            gauges: gauges.clone(),
            control,
        };
        Ok((job, gauges))
    }
}

/// Runs a vehicle until all is sent and acknowledged, or it is told to stop.
///
/// Cancelling it is a power cut: what is in flash stays, open batches are gone.
pub async fn run_vehicle(job: Job) -> Result<(), FleetError> {
    if is_wide(job.vehicle.source.catalogue()) {
        Box::pin(run_sized::<SIGNALS_WIDE, FRAME_WIDE, TX_WIDE>(job)).await
    } else {
        Box::pin(run_sized::<SIGNALS, FRAME, TX>(job)).await
    }
}

/// Whether a catalogue needs the core with more room.
fn is_wide(catalogue: &Catalogue<'_>) -> bool {
    let mut bytes = [0; CATALOGUE_BYTES_SMALL];
    catalogue.signals.len() > SIGNALS || catalogue.encode(&mut bytes).is_err()
}

async fn run_sized<const SIGNALS: usize, const FRAME: usize, const TX: usize>(
    job: Job,
) -> Result<(), FleetError> {
    let exchange = Rc::new(Exchange::default());
    let (gauges, control) = (job.gauges.clone(), job.control.clone());
    let mut feed = Feed::new(
        job.vehicle.source.clone(),
        job.pace,
        exchange.clone(),
        gauges.clone(),
        control.clone(),
    );
    let rules = rules_for(&job.vehicle.source);
    let (device, key) = (job.vehicle.device, &job.key);
    let mut flash = job.flash;
    let mut entropy = SystemEntropy;
    let watch = Watch { exchange, gauges, control, flushed: Cell::new(false) };
    loop {
        let clock = VehicleClock::new(watch.exchange.clone(), watch.control.clone());
        let config = AppConfig {
            device,
            secret: key.secret.clone(),
            generation: key.generation,
            registration: key.registration,
            catalogue: job.vehicle.source.catalogue(),
            campaign: Campaign { id: 1, rules: &rules },
            image: 0,
            reset: ResetReason::Power,
            layout: layout(job.sectors),
            batch: job.batch,
            session: job.session,
            heartbeat_ms: job.heartbeat_ms,
        };
        let mut app = App::<SIGNALS, FRAME>::start(config, &clock.now(), &mut flash, &mut entropy)
            .map_err(|error| FleetError::Start { device, reason: error.to_string() })?;
        let mut mqtt = Mqtt::<TX, RX>::new(device, &key.secret);
        let connect = TcpConnect::new(job.endpoint.clone(), device, watch.control.clone());
        let connect = WithinReach::new(connect, watch.exchange.clone());
        let mut board = Board { flash, source: feed, entropy, connect, clock: clock.clone() };
        let until = |now, app: &mut App<'_, SIGNALS, FRAME>, flash: &mut Nor| {
            watch.after_poll(now, app, flash)
        };
        drive::run(&mut app, &mut mqtt, &mut board, until).await;
        if !watch.browns_out() {
            watch.stop(clock.now(), &mut app, &mut board.flash)?;
            return Ok(());
        }
        watch.gauges.earlier.set(watch.gauges.sums());
        watch.gauges.counters.set(Counters::default());
        Board { flash, source: feed, entropy, .. } = board;
        feed.boot();
    }
}

/// What happens between two polls.
struct Watch {
    exchange: Rc<Exchange>,
    gauges: Rc<Gauges>,
    control: Rc<Control>,
    flushed: Cell<bool>,
}

impl Watch {
    /// Hands over events, shows how the vehicle fares, and says whether it is done.
    fn after_poll<const SIGNALS: usize, const FRAME: usize>(
        &self,
        now: Now,
        app: &mut App<'_, SIGNALS, FRAME>,
        flash: &mut Nor,
    ) -> bool {
        if self.hand_over_events(&now, app) {
            self.exchange.poll_soon.set(true);
        }
        self.show(app);
        if self.exchange.held_back.get() {
            let used = app.ring_used(Lane::Bulk);
            let freed = used < self.exchange.ring_used.replace(used);
            self.exchange.poll_soon.set(self.exchange.poll_soon.get() || freed);
        } else {
            self.exchange.ring_used.set(app.ring_used(Lane::Bulk));
        }
        if self.control.is_stopping() || self.browns_out() {
            return true;
        }
        let read = self.gauges.exhausted.get() || self.control.is_sampling_over();
        if !read || !self.exchange.events.borrow().is_empty() {
            return false;
        }
        if !self.flushed.replace(true) {
            app.flush(now, flash);
            self.exchange.poll_soon.set(true);
            return false;
        }
        app.idle()
    }

    /// Whether the power goes now: not before what the source said was handed over.
    fn browns_out(&self) -> bool {
        self.exchange.browned_out.get()
            && !self.control.is_stopping()
            && self.exchange.events.borrow().is_empty()
    }

    /// Stores what is open, in order, and notes how far the source was read.
    fn stop<const SIGNALS: usize, const FRAME: usize>(
        &self,
        now: Now,
        app: &mut App<'_, SIGNALS, FRAME>,
        flash: &mut Nor,
    ) -> Result<(), NorError> {
        while self.hand_over_events(&now, app) {
            app.flush(now, flash);
        }
        app.stop(now, flash);
        self.show(app);
        flash.note_position()
    }

    /// Gives the app the events that the source said, as many as it takes; whether there were any.
    fn hand_over_events<const SIGNALS: usize, const FRAME: usize>(
        &self,
        now: &Now,
        app: &mut App<'_, SIGNALS, FRAME>,
    ) -> bool {
        let mut events = self.exchange.events.borrow_mut();
        let any = !events.is_empty();
        while let Some(occurrence) = events.front() {
            if app.record(now, |time| Record::Event(occurrence.event(time))).is_err() {
                break; // Full until the next poll.
            }
            events.pop_front();
        }
        any
    }

    fn show<const SIGNALS: usize, const FRAME: usize>(&self, app: &App<'_, SIGNALS, FRAME>) {
        self.gauges.counters.set(app.counters());
        self.gauges.outstanding.set(Lane::ALL.map(|lane| app.outstanding(lane)));
    }
}

/// Every reading is admitted, to the lane that its source means it for.
fn rules_for(source: &Source) -> Vec<Rule> {
    let signals = source.catalogue().signals.len();
    let when = When::Offered;
    (0_u8..)
        .take(signals)
        .map(SignalIndex)
        .map(|signal| Rule { signal, lane: Some(source.lane_of(signal)), when })
        .collect()
}

/// Two sectors for the system, an eighth of the rest for the critical lane, three sectors at least
/// for each ring, what is left for the recording.
fn layout(sectors: u32) -> Layout {
    let (system, latest) = (2, 3);
    let critical = (sectors / 8).max(3);
    let bulk = sectors.saturating_sub(system + latest + critical);
    let mut start = system * SECTOR_LEN;
    let mut region = |sectors: u32| {
        let region = Region { start, len: sectors * SECTOR_LEN };
        start += region.len;
        region
    };
    Layout {
        system: 0..system * SECTOR_LEN,
        rings: [region(critical), region(bulk), region(latest)],
    }
}

fn batch_config(config: &FleetConfig) -> BatchConfig {
    let default = BatchConfig::default();
    let [critical, _, latest] = default.frame_age_ms_max;
    BatchConfig {
        frame_len_max: config.frame_bytes,
        frame_age_ms_max: [critical, milliseconds(config.frame_age), latest],
        ..default
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// The system's randomness.
#[derive(Clone, Copy, Debug)]
struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        // Ring ids stay unique even then: they have a counter too.
        if let Err(error) = getrandom::fill(bytes) {
            tracing::warn!(%error, "the system gives no randomness");
        }
    }
}

fn session(config: &FleetConfig) -> SessionConfig {
    let default = SessionConfig::default();
    let backoff_ms_max = milliseconds(config.reconnect_within);
    SessionConfig {
        backoff_ms_max,
        backoff_ms_base: default.backoff_ms_base.min(backoff_ms_max),
        busy_ms_min: default.busy_ms_min.min(backoff_ms_max),
        ..default
    }
}
