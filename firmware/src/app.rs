//! The device, but for its board: [`App::poll`] is the whole flow, in order.
//!
//! Constraints first: no heap, no clock, no panic; a poll ends in bounded time; whatever is kept is
//! in flash or bounded by a setting. A power cut may come between any two bytes written: what it
//! can take is the open batches, and the next boot says how much that was at most.

mod config;
mod open;
mod reports;
mod store;
mod system;
mod uplink;

use core::borrow::BorrowMut;

use embedded_storage::nor_flash::NorFlash;
use protocol::frame::Kind;
use protocol::hello::Challenge;
use protocol::record::Record;
use protocol::{Catalogue, CatalogueId, Clock, Counts, DeviceTime, Lane, RingId, Seq};

use crate::batch::{BatchConfig, Batches, Closed, NoRoom, RecordBatch};
use crate::campaign::Schedule;
use crate::ports::{Deadline, Entropy, Link, Now, Ports, Reading, Source, Vitals};
use crate::ring::RingError;
use crate::session::Session;
use crate::thinning::Thinner;
pub use config::{AppConfig, Counters, Layout, StartError};
use open::{catalogue_id, open_store};
use store::{Identity, Store};
pub use system::SystemError;
#[cfg(not(feature = "model"))]
use system::{System, SystemState};
#[cfg(feature = "model")]
pub use system::{System, SystemState};

/// Readings taken in one poll, so that the link is served in between.
const READINGS_MAX: u32 = 256;

/// The device's core for up to `SIGNALS` signals, with frames that stand in `FRAME` bytes.
///
/// `FRAME` is the longest sealed frame and room to seal it anew ([`crate::batch::FRAME_OVERHEAD`]).
/// `B`: its open batches, or where they are. They are most of it, and a board has no room to hand
/// them over.
#[derive(Debug)]
pub struct App<'a, const SIGNALS: usize, const FRAME: usize, B = Batches<'a, SIGNALS, FRAME>> {
    identity: Identity,
    catalogue: &'a Catalogue<'a>,
    catalogue_id: CatalogueId,
    campaign_id: u32,
    image: u32,
    batching: BatchConfig,
    heartbeat_ms: u32,

    schedule: Schedule<SIGNALS>,
    thinner: Thinner<SIGNALS>,
    batches: B,
    records: RecordBatch<FRAME>,
    stores: [Store; 3],
    session: Session,
    system: System,

    /// Where frames are read to, and sealed anew.
    scratch: [u8; FRAME],
    /// Of the last hello.
    challenge: Challenge,
    /// The agent's clock less the uptime, in milliseconds.
    agent_clock_ms: Option<i64>,
    catalogue_wanted: bool,
    heartbeat_due_ms: u64,
    vitals: Vitals,
    counters: Counters,
}

/// Empty batches for an app of this configuration.
pub fn batches<'a, const SIGNALS: usize, const FRAME: usize>(
    config: &AppConfig<'a>,
) -> Batches<'a, SIGNALS, FRAME> {
    let signals = config.catalogue.signals.len().min(SIGNALS);
    Batches::new(config.catalogue.hints, u8::try_from(signals).unwrap_or(u8::MAX), &config.batch)
}

impl<'a, const SIGNALS: usize, const FRAME: usize> App<'a, SIGNALS, FRAME> {
    /// [`App::start_in`], with batches of its own.
    pub fn start<F: NorFlash>(
        config: AppConfig<'a>,
        now: &Now,
        flash: &mut F,
        entropy: &mut impl Entropy,
    ) -> Result<Self, StartError<F::Error>> {
        let mut place = None;
        Self::start_in(&mut place, batches(&config), config, now, flash, entropy)?;
        // It is there, or that was an error.
        place.ok_or(StartError::Catalogue)
    }
}

impl<'a, const SIGNALS: usize, const FRAME: usize, B> App<'a, SIGNALS, FRAME, B>
where
    B: BorrowMut<Batches<'a, SIGNALS, FRAME>>,
{
    /// Opens or formats the rings, counts the boot and says so. Blocks for as long as the flash
    /// takes to be looked through. `batches` are those of this configuration ([`batches`]), and the
    /// app is put together in the `place` where it stays.
    pub fn start_in<'p, F: NorFlash>(
        place: &'p mut Option<Self>,
        batches: B,
        config: AppConfig<'a>,
        now: &Now,
        flash: &mut F,
        entropy: &mut impl Entropy,
    ) -> Result<&'p mut Self, StartError<F::Error>> {
        let AppConfig { device, secret, generation, registration, .. } = config;
        let AppConfig { catalogue, campaign, layout, .. } = config;
        let identity = Identity { device, secret, generation, registration };
        let mut scratch = [0; FRAME];
        let signals = catalogue.signals.len();
        let catalogue_id = catalogue_id::<FRAME>(catalogue, &mut scratch)
            .filter(|_| signals <= SIGNALS && signals > 0)
            .ok_or(StartError::Catalogue)?;
        let schedule = Schedule::new(&campaign, catalogue)?;

        let mut system = System::open(flash, &layout.system)?;
        let before = system.state();
        let boot = before.boot.saturating_add(1);
        system.write(flash, SystemState { boot, clean: false, ..before })?;

        let mut open = |lane: Lane| {
            let region = layout.rings.get(lane.index()).copied().ok_or(RingError::Region)?;
            let mut store =
                open_store(&identity, lane, region, &mut system, flash, entropy, &mut scratch)?;
            store.find_front(flash, &mut scratch);
            let fits = store.ring.frame_len_max() >= FRAME;
            if fits { Ok(store) } else { Err(StartError::FrameLen) }
        };
        let mut stores = [open(Lane::Critical)?, open(Lane::Bulk)?, open(Lane::Latest)?];
        for (store, unsent) in stores.iter_mut().zip(before.unsent) {
            store.recall(unsent);
        }
        let unsent = stores.each_ref().map(Store::unsent);
        // Only now: the rings of another registration are formatted, whenever the power goes.
        system.write(flash, SystemState { unsent, registration, ..system.state() })?;

        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        let app = place.insert(Self {
            identity,
            catalogue,
            catalogue_id,
            campaign_id: campaign.id,
            image: config.image,
            batching: config.batch,
            heartbeat_ms: config.heartbeat_ms,
            schedule,
            thinner: Thinner::new(),
            batches,
            records: RecordBatch::new(),
            stores,
            session: Session::new(config.session, u64::from_le_bytes(seed)),
            system,
            scratch,
            challenge: Challenge::default(),
            agent_clock_ms: None,
            catalogue_wanted: false,
            heartbeat_due_ms: now.uptime_ms,
            vitals: Vitals::default(),
            counters: Counters::default(),
        });
        app.say_boot(now, config.reset, before.clean || before.boot == 0);
        Ok(app)
    }

    /// Does all there is to do now. To be called by the deadline it returned last, and whenever the
    /// link or the source has something.
    pub fn poll<F: NorFlash, S: Source, L: Link, E: Entropy>(
        &mut self,
        now: Now,
        ports: &mut Ports<'_, F, S, L, E>,
    ) -> Deadline {
        let now = self.with_agent_clock(now);
        if self.system.state().clean {
            self.mark_clean(false, ports.flash);
        }
        self.take_link_events(&now, ports);
        // What a fork left behind comes first, so that a lane keeps the order in which it was taken;
        // the source waits meanwhile, a few frames' time a poll.
        let resealing = self.reseal(&now, ports);
        let more = !resealing && self.sample(&now, ports);
        if !resealing {
            self.close_batches(&now, ports.flash, false);
        }
        self.say_heartbeat(&now);
        self.store_records(&now, ports.flash);
        self.say_losses(&now, ports.flash, false);
        let session_ms = self.run_session(&now, ports);
        if more || resealing {
            return Deadline(now.uptime_ms);
        }
        self.deadline(session_ms, ports.source.due())
    }

    /// Closes, seals and stores all that is open, windows included, without waiting for its time.
    pub fn flush<F: NorFlash>(&mut self, now: Now, flash: &mut F) {
        let now = self.with_agent_clock(now);
        while let Some(window) = self.thinner.open(self.catalogue) {
            self.push_window(&now, flash, &window);
        }
        self.close_batches(&now, flash, true);
        self.store_records(&now, flash);
        self.say_losses(&now, flash, true);
    }

    /// An orderly stop: stores all that is open and notes that nothing is. A later poll takes the
    /// note back.
    pub fn stop<F: NorFlash>(&mut self, now: Now, flash: &mut F) {
        self.flush(now, flash);
        self.mark_clean(true, flash);
    }

    /// What the next heartbeats say of the board.
    pub const fn note(&mut self, vitals: Vitals) {
        self.vitals = vitals;
    }

    /// Takes an event, a line of log or a crash, to be stored at the next poll.
    pub fn record<'r>(
        &mut self,
        now: &Now,
        record: impl FnOnce(DeviceTime) -> Record<'r>,
    ) -> Result<(), NoRoom> {
        let now = self.with_agent_clock(*now);
        let record = record(self.device_time(&now));
        self.records.push(&record)?;
        self.accept(Lane::Critical, record.counts());
        Ok(())
    }

    /// Whether nothing is open and all that is stored was acknowledged in this boot.
    pub fn idle(&self) -> bool {
        self.batches.borrow().is_empty()
            && self.records.is_empty()
            && self.stores.iter().all(|store| {
                store.outstanding() == 0
                    && store.losses_due_ms().is_none()
                    && store.ring.fork().is_none()
            })
    }

    /// Frames of a lane that are stored and not acknowledged in this boot.
    pub fn outstanding(&self, lane: Lane) -> u64 {
        self.store(lane).map_or(0, Store::outstanding)
    }

    /// How much of a lane's ring is taken by frames that are not acknowledged, in percent. A source
    /// that waits while this is high never makes the ring drop anything.
    pub fn ring_used(&self, lane: Lane) -> u8 {
        self.store(lane).map_or(0, |store| store.ring.used())
    }

    /// The id of a lane's ring.
    pub fn ring_id(&self, lane: Lane) -> RingId {
        self.store(lane).map(|store| store.ring.id()).unwrap_or_default()
    }

    /// The next sequence number of a lane's ring.
    pub fn next_seq(&self, lane: Lane) -> Seq {
        self.store(lane).map(|store| store.ring.next()).unwrap_or_default()
    }

    /// What a lane's ring had taken before that number.
    pub fn taken(&self, lane: Lane) -> Counts {
        self.store(lane).map(|store| store.ring.before_next()).unwrap_or_default()
    }

    /// The number of this boot, from 1.
    pub fn boot(&self) -> u32 {
        self.system.state().boot
    }

    /// The catalogue's id.
    pub fn catalogue_id(&self) -> CatalogueId {
        self.catalogue_id
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        Counters {
            stored_frames: self.stores.each_ref().map(|store| store.stored_frames),
            dropped_frames: self.stores.each_ref().map(|store| store.dropped_frames),
            ..self.counters
        }
    }

    /// Takes readings from the source and puts them into batches; whether there may be more.
    fn sample<F: NorFlash, S: Source, L, E>(
        &mut self,
        now: &Now,
        ports: &mut Ports<'_, F, S, L, E>,
    ) -> bool {
        while let Some((signal, lanes)) = self.schedule.due(now.uptime_ms) {
            let Some(reading) = ports.source.read(signal, now) else { continue };
            self.take_into_windows(now, ports.flash, &reading);
            let lanes = lanes.into_iter().flatten();
            self.push_to(now, ports.flash, lanes, &reading, ports.source.content());
        }
        for _ in 0..READINGS_MAX {
            let Some(reading) = ports.source.next(now) else { return false };
            let is_noted = self.take_into_windows(now, ports.flash, &reading);
            let lanes = self.schedule.lanes(reading.sample.signal);
            let is_ruled = self.push_to(now, ports.flash, lanes, &reading, ports.source.content());
            if !is_ruled && !is_noted {
                self.counters.refused = self.counters.refused.saturating_add(1);
            }
        }
        true
    }

    /// Ends the windows that a reading is beyond, and takes it into those that it is in; whether its
    /// signal has any.
    fn take_into_windows<F: NorFlash>(
        &mut self,
        now: &Now,
        flash: &mut F,
        reading: &Reading,
    ) -> bool {
        while let Some(window) = self.thinner.ended(self.catalogue, reading) {
            self.push_window(now, flash, &window);
        }
        self.thinner.note(self.catalogue, reading)
    }

    /// To some lanes; whether there are any. What is recorded may be left out; of the latest values none
    /// is: it would be gone with the frame that the next one supersedes.
    fn push_to<F: NorFlash>(
        &mut self,
        now: &Now,
        flash: &mut F,
        lanes: impl Iterator<Item = Lane>,
        reading: &Reading,
        content: &[u8],
    ) -> bool {
        let mut any = false;
        for lane in lanes {
            any = true;
            if lane == Lane::Latest || self.thinner.takes(self.catalogue, reading) {
                self.push(now, flash, lane, reading, content);
            } else {
                self.counters.thinned = self.counters.thinned.saturating_add(1);
            }
        }
        any
    }

    fn push_window<F: NorFlash>(&mut self, now: &Now, flash: &mut F, window: &Reading) {
        for lane in self.schedule.lanes(window.sample.signal) {
            self.push(now, flash, lane, window, &[]);
        }
    }

    fn push<F: NorFlash>(
        &mut self,
        now: &Now,
        flash: &mut F,
        lane: Lane,
        reading: &Reading,
        content: &[u8],
    ) {
        let mut pushed = self.batches.borrow_mut().push(lane, now.uptime_ms, reading, content);
        if pushed.is_err() {
            self.close_batch(now, flash, lane);
            pushed = self.batches.borrow_mut().push(lane, now.uptime_ms, reading, content);
        }
        if pushed.is_ok() {
            self.accept(lane, Counts { samples: 1, events: 0 });
        } else {
            // Not even an empty batch takes it: no such signal, or not what its value says.
            self.counters.refused = self.counters.refused.saturating_add(1);
        }
    }

    fn accept(&mut self, lane: Lane, counts: Counts) {
        if let Some(accepted) = self.counters.accepted.get_mut(lane.index()) {
            *accepted += counts;
        }
    }

    /// Closes the batches whose time has come, or all.
    fn close_batches<F: NorFlash>(&mut self, now: &Now, flash: &mut F, all: bool) {
        for lane in Lane::ALL {
            let due = self.batch_due_ms(lane);
            if due.is_some_and(|due| all || due <= now.uptime_ms) {
                self.close_batch(now, flash, lane);
            }
        }
    }

    fn batch_due_ms(&self, lane: Lane) -> Option<u64> {
        let age_ms_max = self.batching.frame_age_ms_max.get(lane.index())?;
        let (opened_ms, is_full) = self.batches.borrow().opened_ms(lane)?;
        let age_ms = if is_full { 0 } else { *age_ms_max };
        Some(opened_ms.saturating_add(u64::from(age_ms)))
    }

    fn close_batch<F: NorFlash>(&mut self, now: &Now, flash: &mut F, lane: Lane) {
        let time = self.device_time(now);
        let Some(store) = self.stores.get_mut(lane.index()) else { return };
        if let Some((closed, buffer)) =
            self.batches.borrow_mut().close(lane, self.catalogue_id, time.boot)
        {
            store_frame(store, flash, time, Kind::Samples, buffer, &closed, &mut self.counters);
        }
    }

    /// Seals the records that wait into one frame of the critical lane.
    fn store_records<F: NorFlash>(&mut self, now: &Now, flash: &mut F) {
        self.say_catalogue();
        let time = self.device_time(now);
        let [store, ..] = &mut self.stores;
        if let Some(closed) = self.records.close() {
            let buffer = self.records.buffer();
            store_frame(store, flash, time, Kind::Records, buffer, &closed, &mut self.counters);
        }
    }

    fn say_losses<F: NorFlash>(&mut self, now: &Now, flash: &mut F, at_once: bool) {
        let time = self.device_time(now);
        for store in &mut self.stores {
            if store.say_losses(flash, time, at_once).is_err() {
                self.counters.flash_errors = self.counters.flash_errors.saturating_add(1);
            }
        }
    }

    fn mark_clean<F: NorFlash>(&mut self, clean: bool, flash: &mut F) {
        let state = SystemState { clean, ..self.system.state() };
        if self.system.write(flash, state).is_err() {
            self.counters.flash_errors = self.counters.flash_errors.saturating_add(1);
        }
    }

    /// The time with the agent's clock, if the board has none as good.
    fn with_agent_clock(&self, now: Now) -> Now {
        let worth = now.wall.map_or(Clock::Uptime, |(_, clock)| clock);
        match (self.agent_clock_ms, i64::try_from(now.uptime_ms)) {
            (Some(offset), Ok(uptime)) if worth < Clock::Agent => {
                Now { wall: Some((offset.saturating_add(uptime), Clock::Agent)), ..now }
            }
            _ => now,
        }
    }

    fn device_time(&self, now: &Now) -> DeviceTime {
        let (unix_ms, clock) = now.wall.unwrap_or_default();
        DeviceTime { boot: self.boot(), uptime_ms: now.uptime_ms, unix_ms, clock }
    }

    fn deadline(&self, session_ms: u64, source_ms: Option<u64>) -> Deadline {
        let batches = Lane::ALL.into_iter().filter_map(|lane| self.batch_due_ms(lane));
        let losses = self.stores.iter().filter_map(Store::losses_due_ms);
        let heartbeat = (self.heartbeat_ms > 0).then_some(self.heartbeat_due_ms);
        let soonest = batches
            .chain(losses)
            .chain(heartbeat)
            .chain(source_ms)
            .chain(self.schedule.deadline())
            .fold(session_ms, u64::min);
        Deadline(soonest)
    }

    fn store(&self, lane: Lane) -> Option<&Store> {
        self.stores.get(lane.index())
    }
}

/// Stores a frame; what the flash refuses is counted, and said if it got a number.
fn store_frame<F: NorFlash>(
    store: &mut Store,
    flash: &mut F,
    time: DeviceTime,
    kind: Kind,
    buffer: &mut [u8],
    closed: &Closed,
    counters: &mut Counters,
) {
    let before = store.ring.before_next();
    if store.store(flash, time, kind, buffer, closed).is_err() {
        counters.flash_errors = counters.flash_errors.saturating_add(1);
        if store.ring.before_next() == before {
            counters.unstored += closed.counts;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
