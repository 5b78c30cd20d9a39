//! The sinks as the agent runs them: opened, tried again until they open, asked how far they are.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use protocol::DeviceId;

use crate::catalogues::Catalogues;
use crate::config::{Config, OnFull, SinkKind};
use crate::erasure::SinkErased;
use crate::forward::{ForwarderHandle, ForwarderStatus};
use crate::journal::{JournalTail, Positions};
use crate::notify::Pulse;
use crate::privacy::{Policy, PolicyError};
use crate::registry::Registry;
use crate::rings::RingTable;
use crate::storage::SharedStorage;
use crate::vehicles::VehicleId;

mod making;

pub use making::Making;
use making::{Live, LiveSettings, privacy_config};

/// How long to wait before a sink that did not open is tried again.
const REOPEN: Duration = Duration::from_secs(2);

/// Why nothing can be erased any more.
const STOPPING: &str = "the agent is stopping";

/// How long an attempt at hand may take at a stop.
const STOP_MAX: Duration = Duration::from_secs(2);

/// All sinks; the first is the primary one.
#[derive(Debug)]
pub struct Sinks {
    slots: Vec<Arc<Slot>>,
    begun: Instant,
    live: Arc<Live>,
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

impl Sinks {
    /// Opens each; what does not open is tried again in the background, and said in health.
    pub fn start(
        storage: &SharedStorage,
        config: &Config,
        tail: &JournalTail,
        registry: &Registry,
        catalogues: &Catalogues,
        rings: &RingTable,
    ) -> anyhow::Result<Arc<Self>> {
        // A policy that cannot be is the operator's to mend, not to be tried again.
        Policy::from_config(&privacy_config(config))?;
        let live = Arc::new(Live::new(config));
        let makings =
            Making::all_with(Arc::clone(&live), storage, config, tail, registry, catalogues, rings);
        let slots: io::Result<Vec<Arc<Slot>>> = makings.map(Slot::start).collect();
        Ok(Arc::new(Self { slots: slots?, begun: now(), live }))
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

    /// Up to where no sink needs the journal. If it is full, sinks that may lose count only until it
    /// is on record what they have.
    pub fn floor(&self, is_full: bool) -> Option<Positions> {
        let now = self.begun.elapsed();
        let counted = self.slots.iter().enumerate().filter_map(|(at, slot)| {
            if at == 0 || !is_full || slot.on_full == OnFull::Block {
                return Some(slot.keep_from());
            }
            slot.status().ok()?.keep_when_full(now)
        });
        counted.reduce(|least, other| least.min(&other))
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

#[allow(clippy::disallowed_methods, reason = "driver: bounds waiting for a sink")]
fn now() -> Instant {
    Instant::now()
}
