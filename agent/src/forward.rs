//! Forward: from the journal to one sink, and the only retry loop.
//!
//! One forwarder per sink, on a thread of its own, with plain blocking I/O. It reads the lanes by
//! urgency, opens each frame, follows up each ring ([`continuity`]), clears what leaves
//! ([`crate::privacy`]) and offers the sink batches, each with the cursor behind it. A batch that
//! fails is offered again, the same, after a wait; nothing else is read meanwhile, so an outage of
//! any length costs no memory.
//!
//! What cannot be read goes to the [`dead_letters`]; what cannot be read yet is [`parked`]; neither
//! holds up the sink. Everything that is set aside becomes true with the sink's cursor.
//!
//! Memory: one batch, the journal's read buffers, 56 bytes per ring, 64 per parked frame. One frame
//! is never split, so a batch may exceed its size by one frame's documents.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::frame::Header;
use protocol::{CatalogueId, DeviceId, Lane, RingId};

use crate::document::OwnedCatalogue;
use crate::journal::{Item, JournalCursor, JournalTail, Positions, ReadError, Reader};
use crate::privacy::Policy;
use crate::sink::{AnySink, Resume, SinkError};
use crate::storage::SharedStorage;

pub mod aside;
mod backoff;
pub mod continuity;
pub mod dead_letters;
mod handle;
mod names;
mod opener;
mod origins;
pub mod parked;
mod stage;
mod start;
mod status;
#[cfg(test)]
mod tests;

pub use handle::ForwarderHandle;
pub use opener::ForwardOpener;
pub use parked::ParkedBounds;
pub use status::{Condition, ForwarderStatus, Lag, Snapshot};

pub(crate) use backoff::Backoff;
use continuity::Snapshots;
use stage::{Held, Parts, Stage};
pub use stage::{HeldRing, RingSource};

/// Opens frames; implemented by [`crate::open`].
pub trait OpenFrame: Send {
    /// Opens a frame in place: its header and body.
    fn open<'a>(
        &mut self,
        device: DeviceId,
        ring: RingId,
        lane: Lane,
        frame: &'a mut [u8],
    ) -> Result<(Header, &'a [u8]), Unopened>;

    /// Whether what was received of this device then, in this ring, is to be forgotten.
    fn is_erased(
        &mut self,
        device: DeviceId,
        ring: &RingId,
        received_ms: i64,
    ) -> Result<bool, Unopened>;
}

/// Why a frame was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// Peer: it never will be: no such key, or not authentic.
    #[error("{0}")]
    Unopenable(String),
    /// Resource: the registry cannot be read at the moment.
    #[error("{0}")]
    Unavailable(String),
}

/// Knows catalogues; implemented by [`crate::catalogues`].
pub trait CatalogueSource: Send {
    /// The catalogue with this id, once it is known.
    fn get(&self, id: CatalogueId) -> Option<Arc<OwnedCatalogue>>;
}

/// How one forwarder works.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwarderConfig {
    /// The sink's name: part of file names, so made of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// The agent's own directory: for what is set aside and for snapshots.
    pub data_dir: PathBuf,
    /// Bytes after which a batch is offered, 64 KiB to 4 MiB.
    pub batch_bytes: usize,
    /// Longest time that something waits for its batch to fill.
    pub batch_age: Duration,
    /// Journal bytes after which the rings' state is kept anew: what a start reads again at most,
    /// and what the journal keeps longer than the sink needs it.
    pub snapshot_bytes: u64,
    /// Longest wait between two attempts.
    pub backoff_max: Duration,
    /// Bytes of dead letters kept; older ones go.
    pub dead_letter_bytes_max: u64,
    /// How much may wait for catalogues.
    pub parked: ParkedBounds,
    /// Seeds the jitter.
    pub seed: u64,
}

impl ForwarderConfig {
    /// The defaults, for a sink of this name.
    pub fn new(name: &str, data_dir: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            data_dir,
            batch_bytes: 256 << 10,
            batch_age: Duration::from_millis(200),
            snapshot_bytes: 32 << 20,
            backoff_max: Duration::from_secs(30),
            dead_letter_bytes_max: 64 << 20,
            parked: ParkedBounds { ring_bytes: 4 << 20, bytes: 64 << 20 },
            seed: 1,
        }
    }
}

/// Why a forwarder cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Resource: its own files.
    #[error("the forwarder's files: {0}")]
    Io(#[from] io::Error),
    /// Resource: the journal.
    #[error(transparent)]
    Journal(#[from] ReadError),
}

/// What changes while a forwarder runs.
#[derive(Debug, Default)]
pub struct Change {
    /// The rules for what leaves.
    pub policy: Option<Policy>,
    /// Size of a file before the next is begun.
    pub rotate_bytes: Option<u64>,
}

/// What to do after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Step again at once.
    Again,
    /// Nothing to do before this much time has passed, or more has come.
    Wait(Duration),
    /// It has ended.
    Ended,
}

/// How often an empty journal is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Time after which the rings' state is kept anew.
const SNAPSHOT_AGE: Duration = Duration::from_mins(1);
/// How soon it is kept again for who asks.
const KEEP_AGAIN: Duration = Duration::from_secs(1);
/// Failed reads in a row after which a block of the journal counts as damaged.
const READS_MAX: u32 = 8;

/// Entries of a lane that are read before the lanes are looked at by urgency again.
const fn quota(lane: Lane) -> u32 {
    match lane {
        Lane::Critical | Lane::Latest => 64,
        Lane::Bulk => 16,
    }
}

/// The value of one lane.
fn lane_mut<T>(all: &mut [T; 3], lane: Lane) -> &mut T {
    let [critical, bulk, latest] = all;
    match lane {
        Lane::Critical => critical,
        Lane::Bulk => bulk,
        Lane::Latest => latest,
    }
}

/// From the journal to one sink.
#[derive(Debug)]
pub struct Forwarder<O, C> {
    config: ForwarderConfig,
    stage: Stage<O, C>,
    sink: AnySink,
    tail: JournalTail,
    readers: [Reader; 3],
    status: Arc<ForwarderStatus>,
    snapshots: Snapshots,
    /// The cursor that the sink holds, and its name in it. At a start by identity that cursor stands where
    /// the journal is gone by now; a later start that finds the rings kept for another one knows none.
    held: JournalCursor,
    called: String,
    /// What the sink has.
    committed: JournalCursor,
    /// Where and when the rings' state was kept last.
    kept: (Positions, Duration),
    /// When the batch at hand got its first entry.
    begun: Option<Duration>,
    /// The batch at hand was offered and not taken: nothing is added to it.
    offered: bool,
    /// The rings' state was kept for the batch at hand.
    has_told: bool,
    backoff: Backoff,
    /// Not before this.
    wait_until: Duration,
}

impl<O: OpenFrame, C: CatalogueSource> Forwarder<O, C> {
    /// A forwarder from `tail` to a sink that was opened with `resume`.
    pub fn open(
        storage: &SharedStorage,
        config: ForwarderConfig,
        tail: JournalTail,
        (sink, resume): (AnySink, Resume),
        (opener, catalogues, rings, policy): (O, C, Box<dyn RingSource>, Policy),
    ) -> Result<Self, ForwardError> {
        let begun = start::begin(storage, &config, &tail, &*rings, (&sink, resume))?;
        let (dead_letters, parked) = (begun.dead_letters, begun.parked);
        let continuity = begun.continuity;
        let name = config.name.clone();
        let parts =
            Parts { name, opener, catalogues, rings, policy, continuity, dead_letters, parked };
        let drain_from = if begun.reconciled { tail.ends().positions } else { Positions::ZERO };
        let stage = Stage::new(parts, tail.clone(), &begun.state, drain_from, begun.holes);
        let positions = stage.positions();
        let status = ForwarderStatus::new(&config.name, begun.state, positions, begun.reconciled);
        Ok(Self {
            readers: Lane::ALL.map(|lane| tail.reader(lane, positions.get(lane))),
            backoff: Backoff::new(config.backoff_max, config.seed),
            config,
            stage,
            sink,
            tail,
            status: Arc::new(status),
            snapshots: begun.snapshots,
            held: begun.held,
            called: begun.called,
            committed: begun.at,
            kept: (positions, Duration::ZERO),
            begun: None,
            offered: false,
            has_told: false,
            wait_until: Duration::ZERO,
        })
    }

    /// What the outside may know of it.
    pub fn status(&self) -> Arc<ForwarderStatus> {
        Arc::clone(&self.status)
    }

    /// Whether no batch is begun: what was read is with the sink.
    pub fn is_between_batches(&self) -> bool {
        !self.offered && !self.holds_something()
    }

    /// Goes on with other rules. Only between batches, so that each is of one kind.
    pub fn change(&mut self, change: Change) {
        let Change { policy, rotate_bytes } = change;
        if let Some(policy) = policy {
            self.stage.set_policy(policy);
        }
        if let Some(bytes) = rotate_bytes {
            self.sink.rotate_after(bytes);
        }
    }

    /// One step at `now`, on any clock that only goes forward. Once it is to `finish`, it ends when
    /// all that is durable in the journal has been forwarded.
    pub fn step(&mut self, now: Duration, finish: bool) -> Step {
        if self.status.is_asked_to_keep() && now.saturating_sub(self.kept.1) >= KEEP_AGAIN {
            self.keep_rings(now, true);
        }
        if now < self.wait_until {
            return Step::Wait(self.wait_until.saturating_sub(now));
        }
        if self.offered {
            return self.commit(now);
        }
        let more = match self.fill() {
            Ok(more) => more,
            // What was read before that can go out.
            Err(held) if self.stage.positions() == self.committed.positions => {
                return self.fail(now, &held.to_string());
            }
            Err(held) => {
                tracing::warn!(sink = %self.config.name, %held, "cannot go on reading");
                return self.commit(now);
            }
        };
        if !self.holds_something() {
            self.status.running();
            self.keep_rings(now, finish);
            return if finish { Step::Ended } else { Step::Wait(POLL) };
        }
        let begun = *self.begun.get_or_insert(now);
        let age = now.saturating_sub(begun);
        if more || finish || age >= self.config.batch_age {
            return self.commit(now);
        }
        Step::Wait(POLL.min(self.config.batch_age.saturating_sub(age)))
    }

    /// Ends it: keeps the rings' state, so that the next start reads little.
    pub fn end(&mut self, reason: Option<&str>) {
        self.keep_rings(Duration::MAX, true);
        self.status.stopped(reason);
    }

    fn holds_something(&self) -> bool {
        self.stage.pending_bytes() > 0 || self.stage.positions() != self.committed.positions
    }

    /// Reads into the batch; whether it is full.
    fn fill(&mut self) -> Result<bool, Held> {
        self.stage.drain_parked(self.config.batch_bytes)?;
        loop {
            let mut has_read = false;
            for lane in Lane::BY_URGENCY {
                for _ in 0..quota(lane) {
                    if self.stage.pending_bytes() >= self.config.batch_bytes {
                        return Ok(true);
                    }
                    if !self.read(lane)? {
                        break;
                    }
                    has_read = true;
                }
            }
            if !has_read {
                self.stage.name_ended(self.config.batch_bytes)?;
                return Ok(self.stage.pending_bytes() >= self.config.batch_bytes);
            }
        }
    }

    /// Takes the next entry of a lane; whether there was one.
    fn read(&mut self, lane: Lane) -> Result<bool, Held> {
        let reader = lane_mut(&mut self.readers, lane);
        let held = match reader.next() {
            Ok(None) => return Ok(false),
            Ok(Some(Item::Damage(damage))) => {
                self.stage.damage(lane, &damage);
                return Ok(true);
            }
            Ok(Some(Item::Entry { entry, at, end, totals })) => {
                match self.stage.entry(lane, &entry, end, totals) {
                    Ok(()) => return Ok(true),
                    Err(held) => (held, at),
                }
            }
            Err(error) => {
                if self.backoff.failures() >= READS_MAX {
                    reader.pass_unreadable();
                }
                return Err(Held::Storage(error.to_string()));
            }
        };
        *reader = self.tail.reader(lane, held.1);
        Err(held.0)
    }

    /// Offers the batch to the sink.
    fn commit(&mut self, now: Duration) -> Step {
        self.offered = true;
        let sealed = self
            .keep_told()
            .and_then(|()| self.stage.seal())
            .map_err(|error| SinkError::Retry(format!("cannot set frames aside: {error}")));
        let written =
            sealed.and_then(|state| self.sink.write(self.stage.batch(), &state).map(|()| state));
        match written {
            Ok(state) => {
                // Room for a full batch and the frame that filled it.
                self.stage.committed(&state, self.config.batch_bytes / 4 * 5);
                self.committed = state.journal.unwrap_or(self.committed);
                self.held = self.committed;
                self.called.clone_from(&self.config.name);
                let received_ms = self.stage.received_ms();
                let (parked, rings) =
                    (self.stage.parked_frames(), self.stage.continuity().ring_count());
                self.status.committed(state, received_ms, parked, rings);
                (self.offered, self.has_told) = (false, false);
                self.begun = None;
                self.backoff.reset();
                self.keep_rings(now, false);
                Step::Again
            }
            Err(SinkError::Retry(reason)) => self.fail(now, &reason),
            Err(SinkError::Stop(reason)) => {
                tracing::error!(sink = %self.config.name, %reason, "the sink is given up");
                self.end(Some(&reason));
                Step::Ended
            }
        }
    }

    /// Keeps the rings' state before a batch of which no later start could read it in the journal.
    fn keep_told(&mut self) -> io::Result<()> {
        if self.has_told || !self.stage.tells_more() {
            return Ok(());
        }
        let ahead = (&self.stage.cursor(), self.stage.documents());
        self.snapshots.write(&self.called, self.stage.continuity(), &self.held, ahead)?;
        self.has_told = true;
        Ok(())
    }

    fn fail(&mut self, now: Duration, reason: &str) -> Step {
        let wait = self.backoff.next();
        if self.backoff.failures() == 1 {
            tracing::warn!(sink = %self.config.name, %reason, "an attempt failed; trying again");
        }
        self.status.retrying(reason);
        // One that stays away may be overrun, and by then the disk may have no room for this.
        if now.saturating_sub(self.kept.1) >= KEEP_AGAIN {
            self.keep_rings(now, true);
        }
        self.wait_until = now.saturating_add(wait);
        Step::Wait(wait)
    }

    /// Keeps the rings' state if it is time, or `due` and the cursor has moved.
    fn keep_rings(&mut self, now: Duration, due: bool) {
        let committed = self.committed.positions;
        let (at, when) = self.kept;
        if committed == at {
            return;
        }
        let passed: u64 = committed.0.iter().zip(at.0).map(|(to, from)| to.since(from)).sum();
        if !due && passed < self.config.snapshot_bytes && now.saturating_sub(when) < SNAPSHOT_AGE {
            return;
        }
        self.kept.1 = now;
        let (rings, ahead) = (self.stage.continuity(), self.stage.cursor());
        let ahead = (&ahead, self.stage.documents());
        match self.snapshots.write(&self.called, rings, &self.held, ahead) {
            Ok(()) => {
                self.kept.0 = committed;
                self.status.keep(committed);
            }
            Err(error) => tracing::warn!(sink = %self.config.name, %error, "cannot keep the rings"),
        }
    }
}
