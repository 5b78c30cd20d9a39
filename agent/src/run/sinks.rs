//! The sinks as the agent runs them: opened, tried again until they open, asked how far they are.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use protocol::frame::{Binding, Header};
use protocol::{CatalogueId, DeviceId, Lane, RingId};

use super::sink_dir;
use crate::catalogues::Catalogues;
use crate::config::{Config, Keep, OnFull, Sink, SinkKind};
use crate::document::OwnedCatalogue;
use crate::erasure::SinkErased;
use crate::forward::aside;
use crate::forward::{
    CatalogueSource, Change, Forwarder, ForwarderConfig, ForwarderHandle, ForwarderStatus,
    OpenFrame, Unopened,
};
use crate::journal::{JournalTail, Positions};
use crate::lock::{DirLock, Owner};
use crate::notify::Pulse;
use crate::open::{OpenError, Opener, Purpose};
use crate::privacy::{LocationConfig, Policy, PolicyError, PrivacyConfig, PseudonymConfig};
use crate::registry::{Registry, RegistryError};
use crate::sink::{
    AnySink, FileSink, FileSinkConfig, Resume, Sink as _, SinkError, StdoutSink, StoreSink,
    StoreSinkConfig,
};
use crate::storage::SharedStorage;
use crate::store::Retention;
use crate::vehicles::{Standing, VehicleId};

/// How long to wait before a sink that did not open is tried again.
const REOPEN: Duration = Duration::from_secs(2);

/// Why nothing can be erased any more.
const STOPPING: &str = "the agent is stopping";

/// How long an attempt at hand may take at a stop.
const STOP_MAX: Duration = Duration::from_secs(2);

/// A batch of the local store.
const STORE_BATCH_BYTES: usize = 4 << 20;
/// How long something waits to be in the local store.
const STORE_BATCH_AGE: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 86_400_000;

/// All sinks; the first is the primary one.
#[derive(Debug)]
pub struct Sinks {
    slots: Vec<Arc<Slot>>,
    live: Arc<Live>,
}

/// What of the configuration may change while sinks run.
#[derive(Debug)]
struct Live(Mutex<LiveSettings>);

#[derive(Clone, Debug)]
struct LiveSettings {
    privacy: PrivacyConfig,
    sinks: Vec<Sink>,
}

impl Live {
    fn new(config: &Config) -> Self {
        let (privacy, sinks) = (privacy_config(config), config.sinks.0.clone());
        Self(Mutex::new(LiveSettings { privacy, sinks }))
    }

    fn get(&self) -> MutexGuard<'_, LiveSettings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rotate_bytes(&self, name: &str) -> Option<u64> {
        let settings = self.get();
        let sink = settings.sinks.iter().find(|sink| sink.name == name)?;
        match sink.kind {
            SinkKind::File { rotate_bytes, .. } => Some(rotate_bytes),
            SinkKind::Stdout | SinkKind::Store { .. } => None,
        }
    }
}

/// One sink.
#[derive(Debug)]
pub struct Slot {
    making: Making,
    on_full: OnFull,
    /// What writes to standard output waits for whoever reads it, for as long as that takes.
    may_hang: bool,
    state: Mutex<State>,
    opening: Mutex<Option<JoinHandle<()>>>,
    /// Held by whoever opens the sink: it is not opened while something is erased in it.
    door: Mutex<()>,
}

/// How far it has come.
#[derive(Debug)]
enum State {
    /// It does not open: why.
    Opening(String),
    /// Something is erased in it; it goes on from here.
    Paused(Arc<ForwarderStatus>),
    Forwarding(ForwarderHandle),
    Ended,
}

impl State {
    fn is_to_open(&self) -> bool {
        matches!(self, Self::Opening(_) | Self::Paused(_))
    }
}

/// What opening a sink needs.
#[derive(Debug)]
pub struct Making {
    storage: SharedStorage,
    config: Config,
    sink: Sink,
    tail: JournalTail,
    registry: Registry,
    catalogues: Catalogues,
    live: Arc<Live>,
}

impl Sinks {
    /// Opens each; what does not open is tried again in the background, and said in health.
    pub fn start(
        storage: &SharedStorage,
        config: &Config,
        tail: &JournalTail,
        registry: &Registry,
        catalogues: &Catalogues,
    ) -> anyhow::Result<Arc<Self>> {
        // A policy that cannot be is the operator's to mend, not to be tried again.
        Policy::from_config(&privacy_config(config))?;
        let live = Arc::new(Live::new(config));
        let makings =
            Making::all_with(Arc::clone(&live), storage, config, tail, registry, catalogues);
        let slots: io::Result<Vec<Arc<Slot>>> = makings.map(Slot::start).collect();
        Ok(Arc::new(Self { slots: slots?, live }))
    }

    /// Takes devices out of every sink and of what was set aside for it; per device, one a sink.
    /// Each sink stands still meanwhile, and what it was given and had not taken is read anew.
    pub fn erase(&self, devices: &[DeviceId]) -> Vec<Vec<SinkErased>> {
        let by_sink = self.slots.iter().map(|slot| slot.erase(devices));
        transposed(by_sink, devices.len())
    }

    /// The same for a vehicle's name; one a sink.
    pub fn erase_vehicle(&self, vehicle: &VehicleId) -> Vec<SinkErased> {
        let erase = |slot: &Arc<Slot>| {
            let erased = slot.standing_still(|making| making.erase_vehicle(vehicle));
            erased.unwrap_or_else(|| SinkErased::failed(slot.name(), STOPPING))
        };
        self.slots.iter().map(erase).collect()
    }

    /// Up to where no sink needs the journal. If it is full, sinks that may lose do not count.
    pub fn floor(&self, is_full: bool) -> Option<Positions> {
        let counted = self
            .slots
            .iter()
            .enumerate()
            .filter(|(at, slot)| *at == 0 || !is_full || slot.on_full == OnFull::Block);
        counted.map(|(_, slot)| slot.keep_from()).reduce(|least, other| least.min(&other))
    }

    /// Every sink's name, and either its forwarder's state or why there is none.
    pub fn each(&self) -> impl Iterator<Item = (&str, Result<Arc<ForwarderStatus>, String>)> {
        self.slots.iter().map(|slot| (slot.name(), slot.status()))
    }

    /// Takes up other rules and sizes, from each sink's next batch on. On an error nothing changes.
    pub fn change(&self, config: &Config) -> Result<(), PolicyError> {
        let privacy = privacy_config(config);
        Policy::from_config(&privacy)?;
        *self.live.get() = LiveSettings { privacy, sinks: config.sinks.0.clone() };
        for slot in &self.slots {
            if let State::Forwarding(forwarder) = &*slot.state() {
                forwarder.change(slot.making.change()?);
            }
        }
        Ok(())
    }

    /// The threads that must not stand still while they have work.
    pub fn pulses(&self) -> Vec<(String, Pulse)> {
        let watched = self.slots.iter().filter(|slot| !slot.may_hang);
        watched
            .filter_map(|slot| {
                let status = slot.status().ok()?;
                Some((format!("forward {}", slot.name()), status.pulse().clone()))
            })
            .collect()
    }

    /// Ends all: what is in the journal goes out as far as it can within `drain`. Blocks; whether
    /// no thread panicked.
    pub fn stop(&self, drain: Duration) -> bool {
        self.slots.iter().for_each(|slot| slot.finish());
        let overdue = now() + drain;
        while now() < overdue && !self.slots.iter().all(|slot| slot.is_finished()) {
            thread::sleep(Duration::from_millis(10));
        }
        self.slots.iter().map(|slot| slot.stop()).fold(true, |all, sound| all & sound)
    }
}

impl Slot {
    fn start(making: Making) -> io::Result<Arc<Self>> {
        let slot = Arc::new(Self {
            on_full: making.sink.on_full,
            may_hang: making.sink.kind == SinkKind::Stdout,
            state: Mutex::new(State::Opening("not yet opened".to_owned())),
            opening: Mutex::new(None),
            door: Mutex::new(()),
            making,
        });
        slot.open()?;
        Ok(slot)
    }

    /// Opens it now, or keeps trying in the background.
    fn open(self: &Arc<Self>) -> io::Result<()> {
        if self.try_open() {
            return Ok(());
        }
        let opening = Arc::clone(self);
        let thread =
            thread::Builder::new().name(format!("open {}", self.name())).spawn(move || {
                while !opening.try_open() {
                    thread::park_timeout(REOPEN);
                }
            })?;
        *self.opening.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    fn name(&self) -> &str {
        &self.making.sink.name
    }

    /// Takes devices out of its files.
    fn erase(self: &Arc<Self>, devices: &[DeviceId]) -> Vec<SinkErased> {
        let erased = self.standing_still(|making| making.erase(devices));
        let failed = |_: &DeviceId| SinkErased::failed(self.name(), STOPPING);
        erased.unwrap_or_else(|| devices.iter().map(failed).collect())
    }

    /// Stops it, does something with its files, and opens it again; none if it has ended.
    fn standing_still<T>(self: &Arc<Self>, work: impl FnOnce(&Making) -> T) -> Option<T> {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        let paused = match &*state {
            State::Forwarding(forwarder) => Some(State::Paused(forwarder.status())),
            State::Opening(_) | State::Paused(_) => None,
            State::Ended => return None,
        };
        let was = paused.map(|paused| std::mem::replace(&mut *state, paused));
        drop(state);
        if let Some(State::Forwarding(mut forwarder)) = was {
            forwarder.stop(STOP_MAX);
        }
        let done = work(&self.making);
        drop(door);
        let is_paused = matches!(*self.state(), State::Paused(_));
        if is_paused && let Err(error) = self.open() {
            tracing::error!(sink = %self.name(), %error, "the sink was not opened again");
        }
        Some(done)
    }

    /// One attempt; whether there is nothing more to try.
    fn try_open(&self) -> bool {
        let _door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.state().is_to_open() {
            return true;
        }
        match self.making.open() {
            Ok(forwarder) => {
                let mut state = self.state();
                if state.is_to_open() {
                    // A reload may have come between.
                    match self.making.change() {
                        Ok(change) => forwarder.change(change),
                        Err(error) => {
                            tracing::warn!(sink = %self.name(), %error, "rules unchanged");
                        }
                    }
                    *state = State::Forwarding(forwarder);
                }
                true
            }
            Err(reason) => {
                let mut state = self.state();
                let is_known = matches!(&*state, State::Opening(before) if *before == reason);
                if state.is_to_open() && !is_known {
                    tracing::warn!(sink = %self.name(), %reason, "the sink does not open; trying again");
                    *state = State::Opening(reason);
                }
                false
            }
        }
    }

    fn keep_from(&self) -> Positions {
        self.status().map_or(Positions::ZERO, |status| status.keep_from())
    }

    fn status(&self) -> Result<Arc<ForwarderStatus>, String> {
        match &*self.state() {
            State::Opening(reason) => Err(reason.clone()),
            State::Forwarding(forwarder) => Ok(forwarder.status()),
            State::Paused(status) => Ok(Arc::clone(status)),
            State::Ended => Err("stopped".to_owned()),
        }
    }

    fn finish(&self) {
        if let State::Forwarding(forwarder) = &*self.state() {
            forwarder.finish();
        }
    }

    fn is_finished(&self) -> bool {
        match &*self.state() {
            State::Forwarding(forwarder) => forwarder.is_finished(),
            State::Opening(_) | State::Paused(_) | State::Ended => true,
        }
    }

    fn stop(&self) -> bool {
        let mut state = self.state();
        // The ledger is closed after this and wants to know how far the sink came.
        if let State::Forwarding(forwarder) = &mut *state {
            return forwarder.stop(STOP_MAX);
        }
        *state = State::Ended;
        drop(state);
        let opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner).take();
        opening.is_none_or(|thread| {
            thread.thread().unpark();
            thread.join().is_ok()
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Making {
    /// One for each sink that is configured.
    pub fn all(
        storage: &SharedStorage,
        config: &Config,
        tail: &JournalTail,
        registry: &Registry,
        catalogues: &Catalogues,
    ) -> impl Iterator<Item = Self> {
        let live = Arc::new(Live::new(config));
        Self::all_with(live, storage, config, tail, registry, catalogues)
    }

    fn all_with(
        live: Arc<Live>,
        storage: &SharedStorage,
        config: &Config,
        tail: &JournalTail,
        registry: &Registry,
        catalogues: &Catalogues,
    ) -> impl Iterator<Item = Self> {
        config.sinks.0.iter().map(move |sink| Self {
            storage: Arc::clone(storage),
            config: config.clone(),
            sink: sink.clone(),
            tail: tail.clone(),
            registry: registry.clone(),
            catalogues: catalogues.clone(),
            live: Arc::clone(&live),
        })
    }

    fn policy(&self) -> Result<Policy, PolicyError> {
        let policy = Policy::from_config(&self.live.get().privacy)?;
        Ok(policy.with_vehicles(self.registry.vehicles().clone()))
    }

    /// What may have changed since it was opened.
    fn change(&self) -> Result<Change, PolicyError> {
        let rotate_bytes = self.live.rotate_bytes(&self.sink.name);
        Ok(Change { policy: Some(self.policy()?), rotate_bytes })
    }

    /// The sink's name, and up to where in the journal it has everything; nothing forwards to it.
    pub fn reach(&self) -> Result<(&str, Positions), SinkError> {
        let (_, resume) = self.sink()?;
        let cursor = match resume {
            Resume::At(state) => state.journal,
            Resume::Fresh | Resume::Reconcile(_) => None,
        };
        let positions = cursor.map_or(Positions::ZERO, |cursor| cursor.positions);
        Ok((&self.sink.name, positions))
    }

    /// Takes devices out of the sink and of what was set aside for it; nothing forwards to it.
    pub fn erase(&self, devices: &[DeviceId]) -> Vec<SinkErased> {
        let name = &self.sink.name;
        let data_dir = &self.config.agent.data_dir;
        let policy = self.policy().map_err(|error| error.to_string());
        let mut sink = self.sink().map_err(|error| error.to_string());
        let mut erase = |device: &DeviceId| {
            let aside = aside::erase(&self.storage, data_dir, name, *device);
            let (sink, _) = sink.as_mut().map_err(|error| error.clone())?;
            let shown = policy.as_ref().map_err(Clone::clone)?.shown(*device);
            let erased = sink.erase(&shown).map_err(|error| error.to_string())?;
            let aside = aside.map_err(|error| format!("what was set aside: {error}"))?;
            Ok(SinkErased { sink: name.clone(), erased, ..SinkErased::default() }.with(aside))
        };
        let or_failed = |device: &DeviceId| {
            erase(device).unwrap_or_else(|why: String| SinkErased::failed(name, &why))
        };
        devices.iter().map(or_failed).collect()
    }

    /// Takes a vehicle's name out of the sink; nothing forwards to it.
    pub fn erase_vehicle(&self, vehicle: &VehicleId) -> SinkErased {
        let name = &self.sink.name;
        let erase = || {
            let shown = self.policy().map_err(|error| error.to_string())?.shown_vehicle(vehicle);
            let (mut sink, _) = self.sink().map_err(|error| error.to_string())?;
            sink.erase_vehicle(&shown).map_err(|error| error.to_string())
        };
        match erase() {
            Ok(erased) => SinkErased { sink: name.clone(), erased, ..SinkErased::default() },
            Err(why) => SinkErased::failed(name, &why),
        }
    }

    fn open(&self) -> Result<ForwarderHandle, String> {
        let sink = self.sink().map_err(|error| error.to_string())?;
        let policy = self.policy().map_err(|error| error.to_string())?;
        let registry = self.registry.clone();
        let opener =
            ForwardOpener { opener: Opener::new(registry.clone(), Purpose::Forward), registry };
        let mut config = ForwarderConfig::new(&self.sink.name, self.config.agent.data_dir.clone());
        if matches!(self.sink.kind, SinkKind::Store { .. }) {
            // Fewer and larger blocks; the journal holds the rest meanwhile.
            config.batch_bytes = STORE_BATCH_BYTES;
            config.batch_age = STORE_BATCH_AGE;
        }
        let parts = (opener, self.catalogues.clone(), policy);
        let forwarder = Forwarder::open(&self.storage, config, self.tail.clone(), sink, parts)
            .map_err(|error| error.to_string())?;
        ForwarderHandle::spawn(forwarder).map_err(|error| error.to_string())
    }

    fn sink(&self) -> Result<(AnySink, Resume), SinkError> {
        match &self.sink.kind {
            SinkKind::File { path, rotate_bytes } => {
                let dir = sink_dir(&self.config, path);
                let failed = |error: String| SinkError::Retry(error);
                self.storage
                    .create_dir_all(&dir)
                    .map_err(|error| failed(format!("{}: {error}", dir.display())))?;
                let lock =
                    DirLock::take(&dir, Owner::Sink).map_err(|error| failed(error.to_string()))?;
                let config = FileSinkConfig { dir, rotate_bytes: *rotate_bytes };
                let (sink, resume) =
                    FileSink::open(&self.storage, &config, Some(lock), &self.tail)?;
                Ok((AnySink::File(sink), resume))
            }
            SinkKind::Store { path, file_bytes, keep } => {
                let dir = sink_dir(&self.config, path);
                let retention = retention(keep);
                let config = StoreSinkConfig { dir, file_bytes: *file_bytes, retention };
                let failed = |error: String| SinkError::Retry(error);
                self.storage
                    .create_dir_all(&config.dir)
                    .map_err(|error| failed(format!("{}: {error}", config.dir.display())))?;
                let lock = DirLock::take(&config.dir, Owner::Sink)
                    .map_err(|error| failed(error.to_string()))?;
                let (mut sink, resume) =
                    StoreSink::open(&self.storage, &config, Some(lock), &self.tail)?;
                sink.compact(&self.storage, &config)?;
                Ok((AnySink::Store(Box::new(sink)), resume))
            }
            SinkKind::Stdout => {
                let cursor: PathBuf =
                    self.config.agent.data_dir.join("cursors").join(&self.sink.name);
                let out = Box::new(io::stdout());
                let (sink, resume) = StdoutSink::open(&self.storage, &cursor, &self.tail, out)?;
                Ok((AnySink::Stdout(sink), resume))
            }
        }
    }
}

fn retention(keep: &Keep) -> Retention {
    let ms = |days: Option<u64>| {
        days.map(|days| i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(DAY_MS))
    };
    Retention {
        samples_ms: ms(keep.samples_days),
        rollups_ms: ms(keep.rollups_days),
        events_ms: ms(keep.events_days),
        logs_ms: ms(keep.logs_days),
        health_ms: ms(keep.health_days),
        bytes_max: keep.bytes_max,
    }
}

/// From one list a sink to one list a device.
pub fn transposed(
    by_sink: impl Iterator<Item = Vec<SinkErased>>,
    devices: usize,
) -> Vec<Vec<SinkErased>> {
    let mut by_device = vec![Vec::new(); devices];
    for erased in by_sink {
        by_device.iter_mut().zip(erased).for_each(|(of, erased)| of.push(erased));
    }
    by_device
}

fn privacy_config(config: &Config) -> PrivacyConfig {
    let privacy = &config.privacy;
    PrivacyConfig {
        drop: privacy.drop.clone(),
        location: privacy
            .location
            .as_ref()
            .map(|location| LocationConfig { resolution: location.resolution }),
        pseudonym: privacy.pseudonym.as_ref().map(|pseudonym| PseudonymConfig {
            key_file: pseudonym.key_file.clone(),
            key_id: pseudonym.key_id,
            fields: pseudonym.fields.clone(),
        }),
        drop_vehicle: privacy.drop_vehicle,
    }
}

/// [`Opener`] as forwarders see it.
struct ForwardOpener {
    opener: Opener,
    registry: Registry,
}

impl OpenFrame for ForwardOpener {
    fn open<'a>(
        &mut self,
        device: DeviceId,
        ring: RingId,
        lane: Lane,
        frame: &'a mut [u8],
    ) -> Result<(Header, &'a [u8]), Unopened> {
        match self.opener.open(&Binding { device, ring, lane }, frame) {
            Ok((header, body)) => Ok((header, body)),
            Err(OpenError::Registry(error)) => Err(Unopened::Unavailable(error.to_string())),
            Err(error) => Err(Unopened::Unopenable(error.to_string())),
        }
    }

    fn is_erased(&mut self, device: DeviceId, received_ms: i64) -> Result<bool, Unopened> {
        let is_erased = || {
            let Some(at_ms) = self.registry.erased_at(device)? else { return Ok(false) };
            // One that came back under the name has a history of its own since.
            Ok(received_ms <= at_ms || self.registry.standing(device)? == Standing::Unknown)
        };
        is_erased().map_err(|error: RegistryError| Unopened::Unavailable(error.to_string()))
    }
}

impl CatalogueSource for Catalogues {
    fn get(&self, id: CatalogueId) -> Option<Arc<OwnedCatalogue>> {
        Self::get(self, id)
    }
}

#[allow(clippy::disallowed_methods, reason = "driver: bounds the drain at a stop")]
fn now() -> Instant {
    Instant::now()
}
