//! What a serial line counts, for the metrics page and `/healthz`.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// Counters and state of one line. Counters only grow.
#[derive(Debug, Default)]
pub struct SerialGauges {
    /// Streams that the device opened.
    pub streams: AtomicU64,
    /// Bytes that came, of packets and of noise.
    pub bytes_in: AtomicU64,
    /// Packets that noise changed, and noise.
    pub garbled: AtomicU64,
    /// Times that the port could not be opened, or failed.
    pub failed: AtomicU64,
    health: Mutex<SerialHealth>,
}

/// Whether the device can be heard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SerialHealth {
    /// Not tried yet.
    #[default]
    Starting,
    /// The port is open.
    Open,
    /// It is not, for this reason, and is tried again.
    Waiting(String),
    /// Stopped, as asked.
    Stopped,
}

impl SerialGauges {
    /// Whether the device can be heard.
    pub fn health(&self) -> SerialHealth {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Open, or the reason why not.
    pub fn healthy(&self) -> Result<(), String> {
        match self.health() {
            SerialHealth::Open => Ok(()),
            SerialHealth::Starting => Err("not open yet".into()),
            SerialHealth::Waiting(error) => Err(error),
            SerialHealth::Stopped => Err("stopped".into()),
        }
    }

    /// Sets the health; whether it differs from what it was.
    pub(super) fn set_health(&self, health: SerialHealth) -> bool {
        let mut current = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != health;
        *current = health;
        changed
    }
}
