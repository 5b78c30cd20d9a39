//! The thread that compacts and retires.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::compact::Compaction;
use super::error::StoreError;
use super::files::Numbers;
use super::retention::{PASS_MS, Retention};
use crate::storage::SharedStorage;

/// How often it looks whether there is something to do.
const LOOK: Duration = Duration::from_secs(1);
/// Rounds are at least this far apart.
const ROUND: Duration = Duration::from_secs(10);
/// Fragments from which the file that commits go to is wanted too.
const FRAGMENTS_MAX: i64 = 20_000;
/// After this time it is wanted in any case.
const FRAGMENT_AGE: Duration = Duration::from_hours(1);
/// How often retention is looked after.
const RETENTION: Duration = Duration::from_millis(PASS_MS.unsigned_abs());

/// A running compaction. Ends when this is dropped.
#[derive(Debug)]
pub struct CompactionHandle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    seal: AtomicBool,
}

impl CompactionHandle {
    /// Begins.
    pub fn spawn(
        storage: &SharedStorage,
        dir: PathBuf,
        file_bytes: u64,
        retention: Retention,
        numbers: Arc<Numbers>,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::default());
        let (storage, watched) = (Arc::clone(storage), Arc::clone(&shared));
        let open = move || Compaction::open(&storage, &dir, file_bytes, &numbers);
        // What does not open now is said by whoever opens the store.
        let first = open()?;
        let body = move || {
            let mut turn = Turn::begin(uptime());
            let mut compaction = Some(first);
            while !watched.stop.load(Ordering::Relaxed) {
                turn.take(&mut compaction, &retention, &watched, &open);
                thread::park_timeout(LOOK);
            }
        };
        let thread = thread::Builder::new()
            .name("compaction".to_owned())
            .spawn(body)
            .map_err(StoreError::io("cannot start the compaction"))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whether the file that commits go to is to be left to compaction; asked once.
    pub fn wants_seal(&self) -> bool {
        self.shared.seal.swap(false, Ordering::Relaxed)
    }
}

impl Drop for CompactionHandle {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the compaction panicked");
            }
        }
    }
}

/// When what was done last, by a clock that nobody sets.
struct Turn {
    round: Instant,
    seal: Instant,
    retention: Option<Instant>,
    failure: Option<String>,
}

impl Turn {
    fn begin(now: Instant) -> Self {
        Self { round: now, seal: now, retention: None, failure: None }
    }

    fn take(
        &mut self,
        compaction: &mut Option<Compaction>,
        retention: &Retention,
        shared: &Shared,
        open: &dyn Fn() -> Result<Compaction, StoreError>,
    ) {
        let now = uptime();
        if now.duration_since(self.round) < ROUND {
            return;
        }
        self.round = now;
        let worked = match compaction {
            Some(compaction) => self.work(compaction, retention, shared, now),
            None => open().map(|opened| *compaction = Some(opened)),
        };
        match worked {
            Ok(()) => self.failure = None,
            Err(error) => {
                *compaction = None;
                let reason = error.to_string();
                if self.failure.as_ref() != Some(&reason) {
                    tracing::warn!(%reason, "the store cannot be compacted; trying again");
                    self.failure = Some(reason);
                }
            }
        }
    }

    fn work(
        &mut self,
        compaction: &mut Compaction,
        retention: &Retention,
        shared: &Shared,
        now: Instant,
    ) -> Result<(), StoreError> {
        let now_ms = now_ms();
        compaction.round(now_ms, &shared.stop)?;
        let left = compaction.fragments()?;
        let is_old = now.duration_since(self.seal) >= FRAGMENT_AGE;
        if left >= FRAGMENTS_MAX || (is_old && left > 0) {
            self.seal = now;
            shared.seal.store(true, Ordering::Relaxed);
        }
        let is_due = |last: Instant| now.duration_since(last) >= RETENTION;
        if self.retention.is_none_or(is_due) && !shared.stop.load(Ordering::Relaxed) {
            self.retention = Some(now);
            let trusted_ms = compaction.trusted_now(now_ms)?;
            compaction.retire(retention, trusted_ms, &shared.stop)?;
        }
        Ok(())
    }
}

#[allow(clippy::disallowed_methods, reason = "driver: what is due is told by the host's uptime")]
fn uptime() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods, reason = "driver: ages are told by the host's clock")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_millis());
    since.map_or(0, |ms| i64::try_from(ms).unwrap_or(i64::MAX))
}
