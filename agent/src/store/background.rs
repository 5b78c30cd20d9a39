//! The thread that compacts and retires.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::compact::Compaction;
use super::error::StoreError;
use super::files::Numbers;
use super::retention::Retention;
use crate::storage::SharedStorage;

/// How often it looks whether there is something to do.
const LOOK: Duration = Duration::from_secs(1);
/// Rounds are at least this far apart.
const ROUND_MS: i64 = 10_000;
/// Fragments from which the file that commits go to is wanted too.
const FRAGMENTS_MAX: i64 = 20_000;
/// After this time it is wanted in any case.
const FRAGMENT_AGE_MS: i64 = 3_600_000;
/// How often retention is looked after.
const RETENTION_MS: i64 = 600_000;

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
            let mut turn = Turn::begin(now_ms());
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

/// When what was done last.
struct Turn {
    round_ms: i64,
    seal_ms: i64,
    retention_ms: Option<i64>,
    failure: Option<String>,
}

impl Turn {
    fn begin(now_ms: i64) -> Self {
        Self { round_ms: now_ms, seal_ms: now_ms, retention_ms: None, failure: None }
    }

    fn take(
        &mut self,
        compaction: &mut Option<Compaction>,
        retention: &Retention,
        shared: &Shared,
        open: &dyn Fn() -> Result<Compaction, StoreError>,
    ) {
        let now_ms = now_ms();
        // The host's clock may jump: then it is simply time.
        if (now_ms - self.round_ms).unsigned_abs() < ROUND_MS.unsigned_abs() {
            return;
        }
        self.round_ms = now_ms;
        let worked = match compaction {
            Some(compaction) => self.work(compaction, retention, shared, now_ms),
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
        now_ms: i64,
    ) -> Result<(), StoreError> {
        compaction.round(now_ms, &shared.stop)?;
        let left = compaction.fragments()?;
        let is_old = (now_ms - self.seal_ms).unsigned_abs() >= FRAGMENT_AGE_MS.unsigned_abs();
        if left >= FRAGMENTS_MAX || (is_old && left > 0) {
            self.seal_ms = now_ms;
            shared.seal.store(true, Ordering::Relaxed);
        }
        let is_due = |last: i64| (now_ms - last).unsigned_abs() >= RETENTION_MS.unsigned_abs();
        if self.retention_ms.is_none_or(is_due) && !shared.stop.load(Ordering::Relaxed) {
            self.retention_ms = Some(now_ms);
            compaction.retire(retention, now_ms)?;
        }
        Ok(())
    }
}

#[allow(clippy::disallowed_methods, reason = "driver: ages are told by the host's clock")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_millis());
    since.map_or(0, |ms| i64::try_from(ms).unwrap_or(i64::MAX))
}
