//! How clients fare, all together, and what they are told.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::watch;

/// What all clients of a process share.
#[derive(Debug)]
pub struct Tally {
    begun: Instant,
    /// Frames that each device is to have measured.
    pub measured: watch::Receiver<u64>,
    /// A client goes when the agent holds all that it has.
    pub leaves: Cell<bool>,
    pub connected: Cell<u64>,
    /// Devices of which an agent holds everything.
    pub held: Cell<u64>,
    /// When each of these was, in milliseconds since 1970.
    pub held_at: RefCell<Vec<u64>>,
    pub attempts: Cell<u64>,
    /// The port did not answer.
    pub failed: Cell<u64>,
    /// The agent said that it is full.
    pub busy: Cell<u64>,
    /// The connection ended, for any other reason.
    pub down: Cell<u64>,
    pub hellos: Cell<u64>,
    pub frames: Cell<u64>,
}

pub fn add(to: &Cell<u64>, more: u64) {
    to.set(to.get() + more);
}

#[allow(clippy::disallowed_methods, reason = "a driver: real clients in real time")]
impl Tally {
    pub fn new(measured: watch::Receiver<u64>) -> Self {
        Self {
            begun: Instant::now(),
            measured,
            leaves: Cell::default(),
            connected: Cell::default(),
            held: Cell::default(),
            held_at: RefCell::default(),
            attempts: Cell::default(),
            failed: Cell::default(),
            busy: Cell::default(),
            down: Cell::default(),
            hellos: Cell::default(),
            frames: Cell::default(),
        }
    }

    /// Milliseconds since the process began.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When that is.
    pub fn instant(&self, at_ms: u64) -> tokio::time::Instant {
        // No timer is set further off than an hour.
        let at_ms = at_ms.min(self.now_ms().saturating_add(3_600_000));
        (self.begun + Duration::from_millis(at_ms)).into()
    }

    /// An agent holds all that a device has.
    pub fn holds(&self) {
        add(&self.held, 1);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.held_at.borrow_mut().push(at_ms);
    }

    /// Forgets when that was, for the next round.
    pub fn forget(&self) {
        self.held.set(0);
        self.held_at.borrow_mut().clear();
    }

    pub fn to_json(&self) -> Value {
        json!({
            "measured": *self.measured.borrow(),
            "connected": self.connected.get(),
            "held": self.held.get(),
            "attempts": self.attempts.get(),
            "failed": self.failed.get(),
            "busy": self.busy.get(),
            "down": self.down.get(),
            "hellos": self.hellos.get(),
            "frames": self.frames.get(),
        })
    }
}
