//! What the outside may know of a forwarder: health, metrics, the ledger, how far to prune.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::Counts;
use serde::Serialize;

use crate::journal::{Ends, Positions};
use crate::ledger::LedgerReport;
use crate::notify::Pulse;
use crate::sink::CursorState;

/// The longest reason kept, in characters.
const REASON_MAX: usize = 200;

/// How a forwarder fares.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "state", content = "reason")]
pub enum Condition {
    /// It forwards, or has nothing to.
    Running,
    /// An attempt failed; the same again after a wait.
    Retrying(String),
    /// It has ended: as asked for, without a reason, or for good.
    Stopped(Option<String>),
}

/// A forwarder's state, shared with whoever reports it.
#[derive(Debug)]
pub struct ForwarderStatus {
    name: String,
    inner: Mutex<Snapshot>,
    /// Since when it is asked to keep the rings' state.
    asked: Mutex<Option<Duration>>,
    pulse: Pulse,
}

/// How long a full journal waits for the state of a sink's rings.
const KEEP_MAX: Duration = Duration::from_secs(5);

/// One moment of it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// How it fares.
    pub condition: Condition,
    /// The cursor last committed.
    pub cursor: CursorState,
    /// What the journal must keep for this sink: its cursor, and what a start reads again.
    pub keep_from: Positions,
    /// Attempts that failed, in this life.
    pub retries: u64,
    /// Batches committed, in this life.
    pub batches: u64,
    /// Starts that had to go by identity: 0 or 1.
    pub reconciled: u64,
    /// When the latest entry forwarded was received, in milliseconds since 1970 UTC; 0 for none.
    pub received_ms: i64,
    /// Frames that wait for a catalogue.
    pub parked_frames: usize,
    /// Rings known.
    pub rings: usize,
}

/// How far a sink is behind the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Lag {
    /// Bytes of the journal.
    pub bytes: u64,
    /// Samples.
    pub samples: u64,
    /// Events.
    pub events: u64,
    /// Since the latest forwarded entry was received, if more is waiting.
    pub seconds: u64,
}

impl ForwarderStatus {
    pub(super) fn new(
        name: &str,
        cursor: CursorState,
        keep_from: Positions,
        reconciled: bool,
    ) -> Self {
        Self {
            name: name.to_owned(),
            pulse: Pulse::default(),
            asked: Mutex::default(),
            inner: Mutex::new(Snapshot {
                condition: Condition::Running,
                cursor,
                keep_from,
                retries: 0,
                batches: 0,
                reconciled: u64::from(reconciled),
                received_ms: 0,
                parked_frames: 0,
                rings: 0,
            }),
        }
    }

    /// Whether its thread moves.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This moment.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    /// How it fares.
    pub fn condition(&self) -> Condition {
        self.lock().condition.clone()
    }

    /// What the journal must keep for this sink.
    pub fn keep_from(&self) -> Positions {
        self.lock().keep_from
    }

    /// What the journal must keep for this sink, if anything, although it is full and the sink may
    /// lose, `now` on any clock: what a start would read again, until the rings' state is kept as of
    /// the sink's cursor. Without it nobody could tell after a crash how much was lost. A sink that
    /// hangs is not waited for longer than five seconds.
    pub fn keep_when_full(&self, now: Duration) -> Option<Positions> {
        let (keep_from, is_kept) = {
            let inner = self.lock();
            let at = inner.cursor.journal.map_or(Positions::ZERO, |cursor| cursor.positions);
            (inner.keep_from, at.within(&inner.keep_from))
        };
        let mut asked = self.asked();
        if is_kept {
            *asked = None;
            return None;
        }
        let since = *asked.get_or_insert(now);
        (now.saturating_sub(since) < KEEP_MAX).then_some(keep_from)
    }

    /// Whether the journal waits for the rings' state.
    pub(super) fn is_asked_to_keep(&self) -> bool {
        self.asked().is_some()
    }

    /// The sink's ledger, as of its cursor.
    pub fn ledger(&self, ends: &Ends) -> LedgerReport {
        LedgerReport::new(&self.name, ends, &self.lock().cursor)
    }

    /// How far it is behind.
    pub fn lag(&self, ends: &Ends, now_ms: i64) -> Lag {
        let inner = self.lock();
        let (positions, totals) = inner
            .cursor
            .journal
            .map_or_else(Default::default, |cursor| (cursor.positions, cursor.totals));
        let bytes = ends.positions.0.iter().zip(positions.0).map(|(end, at)| end.since(at)).sum();
        let waiting =
            ends.totals.iter().zip(totals).fold(Counts::ZERO, |sum, (end, at)| sum + end.since(at));
        let is_behind = bytes > 0 && inner.received_ms > 0;
        let age_ms = if is_behind { now_ms.saturating_sub(inner.received_ms) } else { 0 };
        let seconds = u64::try_from(age_ms / 1000).unwrap_or(0);
        Lag { bytes, samples: waiting.samples, events: waiting.events, seconds }
    }

    pub(super) fn retrying(&self, reason: &str) {
        let mut inner = self.lock();
        inner.condition = Condition::Retrying(capped(reason));
        inner.retries += 1;
    }

    pub(super) fn running(&self) {
        let mut inner = self.lock();
        if inner.condition != Condition::Running {
            inner.condition = Condition::Running;
        }
    }

    pub(super) fn stopped(&self, reason: Option<&str>) {
        self.lock().condition = Condition::Stopped(reason.map(capped));
    }

    pub(super) fn committed(
        &self,
        cursor: CursorState,
        received_ms: i64,
        parked_frames: usize,
        rings: usize,
    ) {
        let mut inner = self.lock();
        inner.cursor = cursor;
        inner.received_ms = received_ms;
        inner.parked_frames = parked_frames;
        inner.rings = rings;
        inner.batches += 1;
        inner.condition = Condition::Running;
    }

    pub(super) fn keep(&self, from: Positions) {
        self.lock().keep_from = from;
        *self.asked() = None;
    }

    fn asked(&self) -> MutexGuard<'_, Option<Duration>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        // Every change is whole: a panic elsewhere leaves nothing half done here.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn capped(reason: &str) -> String {
    reason.chars().take(REASON_MAX).collect()
}

#[cfg(test)]
mod tests {
    use protocol::Lane;

    use super::*;
    use crate::journal::{Epoch, JournalCursor, Position};

    fn cursor(positions: [u64; 3], totals: [Counts; 3]) -> CursorState {
        let positions = Positions(positions.map(Position));
        let journal =
            JournalCursor { journal: [1; 16], epoch: Epoch::default(), positions, totals };
        CursorState { journal: Some(journal), ..CursorState::default() }
    }

    fn counts(samples: u64, events: u64) -> Counts {
        Counts { samples, events }
    }

    fn fresh() -> ForwarderStatus {
        ForwarderStatus::new("files", CursorState::default(), Positions::ZERO, false)
    }

    #[test]
    fn the_lag_is_what_the_journal_has_and_the_sink_has_not() {
        let status = fresh();
        status.committed(cursor([10, 20, 30], [counts(1, 2); 3]), 5_000, 0, 0);
        let mut ends = Ends {
            positions: Positions([Position(10), Position(25), Position(37)]),
            totals: [counts(1, 2), counts(11, 2), counts(1, 5)],
        };
        let lag = Lag { bytes: 12, samples: 10, events: 3, seconds: 4 };
        assert_eq!(status.lag(&ends, 9_999), lag);
        // With nothing waiting there is no age, however long ago that was.
        ends.positions = Positions([10, 20, 30].map(Position));
        assert_eq!(status.lag(&ends, 9_999), Lag { bytes: 0, seconds: 0, ..lag });
    }

    #[test]
    fn before_anything_was_forwarded_all_is_waiting_and_has_no_age() {
        let mut ends = Ends::default();
        ends.positions.set(Lane::Bulk, Position(7));
        assert_eq!(fresh().lag(&ends, 9_999), Lag { bytes: 7, ..Lag::default() });
    }

    #[test]
    fn how_it_fares_follows_each_attempt() {
        let status = fresh();
        assert_eq!(status.condition(), Condition::Running);
        status.retrying("first");
        status.retrying("second");
        assert_eq!(status.condition(), Condition::Retrying("second".to_owned()));
        status.running();
        assert_eq!(status.condition(), Condition::Running);
        status.retrying("third");
        status.committed(CursorState::default(), 1, 2, 3);
        assert_eq!(status.condition(), Condition::Running);
        status.stopped(Some("the end"));
        assert_eq!(status.condition(), Condition::Stopped(Some("the end".to_owned())));
        let Snapshot { retries, batches, received_ms, parked_frames, rings, .. } =
            status.snapshot();
        assert_eq!((retries, batches), (3, 1));
        assert_eq!((received_ms, parked_frames, rings), (1, 2, 3));
    }

    #[test]
    fn a_reason_is_cut_at_its_length() {
        let status = fresh();
        status.retrying(&"ä".repeat(REASON_MAX + 1));
        assert_eq!(status.condition(), Condition::Retrying("ä".repeat(REASON_MAX)));
    }

    #[test]
    fn what_is_kept_for_it_is_what_was_said_last() {
        let status = ForwarderStatus::new("files", CursorState::default(), Positions::ZERO, true);
        let from = Positions([1, 2, 3].map(Position));
        assert_eq!((status.keep_from(), status.snapshot().reconciled), (Positions::ZERO, 1));
        status.keep(from);
        assert_eq!((status.keep_from(), status.name()), (from, "files"));
        assert_eq!(fresh().snapshot().reconciled, 0);
    }
}
