//! A forwarder on a thread of its own.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{CatalogueSource, Change, Condition, Forwarder, ForwarderStatus, OpenFrame, Step};

/// How often a stop looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often a forwarder that waits looks whether it is asked for something.
const ASKED_EVERY: Duration = Duration::from_millis(500);

/// A forwarder that runs.
#[derive(Debug)]
pub struct ForwarderHandle {
    status: Arc<ForwarderStatus>,
    finish: Arc<AtomicBool>,
    give_up: Arc<AtomicBool>,
    change: Arc<Mutex<Option<Change>>>,
    thread: Option<JoinHandle<()>>,
}

impl ForwarderHandle {
    /// Starts a forwarder on a thread of its own.
    pub fn spawn<O, C>(mut forwarder: Forwarder<O, C>) -> io::Result<Self>
    where
        O: OpenFrame + 'static,
        C: CatalogueSource + 'static,
    {
        let status = forwarder.status();
        let (finish, give_up) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let change: Arc<Mutex<Option<Change>>> = Arc::default();
        let changes = Arc::clone(&change);
        let pulse = status.pulse().clone();
        let (asked, dropped) = (Arc::clone(&finish), Arc::clone(&give_up));
        let name = format!("forward {}", status.name());
        let thread = thread::Builder::new().name(name).spawn(move || {
            #[allow(clippy::disallowed_methods, reason = "driver: the forwarder's clock")]
            let origin = Instant::now();
            while !dropped.load(Ordering::Acquire) {
                pulse.beat();
                if forwarder.is_between_batches()
                    && let Some(change) = lock(&changes).take()
                {
                    forwarder.change(change);
                }
                match forwarder.step(origin.elapsed(), asked.load(Ordering::Acquire)) {
                    Step::Again => {}
                    Step::Wait(wait) => {
                        pulse.rest();
                        thread::park_timeout(wait.min(ASKED_EVERY));
                    }
                    Step::Ended => break,
                }
            }
            let reason = match forwarder.status.condition() {
                Condition::Running => None,
                Condition::Retrying(reason) => Some(reason),
                Condition::Stopped(reason) => reason,
            };
            forwarder.end(reason.as_deref());
            pulse.rest();
        })?;
        Ok(Self { status, finish, give_up, change, thread: Some(thread) })
    }

    /// What the outside may know of it.
    pub fn status(&self) -> Arc<ForwarderStatus> {
        Arc::clone(&self.status)
    }

    /// From the next batch on, other rules apply.
    pub fn change(&self, change: Change) {
        *lock(&self.change) = Some(change);
        self.wake();
    }

    /// From now on it ends as soon as all that is durable in the journal has been forwarded.
    pub fn finish(&self) {
        self.finish.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it after the attempt at hand, whatever is left: the next start goes on from the cursor.
    /// Blocks until then, but not longer than `at_most`: an attempt can hang in a write that nobody
    /// reads. Whether it did not panic.
    pub fn stop(&mut self, at_most: Duration) -> bool {
        self.give_up.store(true, Ordering::Release);
        self.wake();
        let mut left = at_most;
        while !self.is_finished() && !left.is_zero() {
            thread::sleep(LOOK_EVERY);
            left = left.saturating_sub(LOOK_EVERY);
        }
        match self.thread.take() {
            Some(thread) if thread.is_finished() => thread.join().is_ok(),
            Some(_) => {
                let sink = self.status.name();
                tracing::warn!(%sink, "hangs in an attempt; left behind, its cursor stands before it");
                true
            }
            None => true,
        }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
