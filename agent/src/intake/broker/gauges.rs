//! What a broker intake counts, for the metrics page and `/healthz`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::telemetry::Counter;

/// Counters and state of one broker's intake. Counters only grow, but for `sessions`.
#[derive(Debug)]
pub struct BrokerGauges {
    /// Devices whose session is open now.
    pub sessions: AtomicU64,
    /// Connections that came up, subscriptions included.
    pub connected: AtomicU64,
    /// Of those, with a broker that knew nothing of an earlier session.
    pub forgotten: AtomicU64,
    /// Connections that failed or ended.
    pub failed: AtomicU64,
    /// Messages that came.
    pub messages: AtomicU64,
    /// Bytes of their payloads.
    pub bytes_in: AtomicU64,
    /// Replies that went nowhere: no connection, or too many at once. The devices ask again.
    pub unsent: Counter,
    /// Unix seconds until which our certificate is good; `i64::MAX` without one.
    pub certificate_until_s: AtomicI64,
    unheard: [AtomicU64; Unheard::ALL.len()],
    health: Mutex<BrokerHealth>,
}

/// Why a message went no further. It was acknowledged to the broker, and to nobody else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unheard {
    /// Not on a topic of a device's.
    Topic,
    /// Longer than a frame can be.
    TooLarge,
    /// No such device.
    Unknown,
    /// The device was revoked, or is being shut out.
    Revoked,
    /// More devices at once than sessions, or far more messages than the broker was allowed.
    Full,
}

impl Unheard {
    /// All of them, in order.
    pub const ALL: [Self; 5] =
        [Self::Topic, Self::TooLarge, Self::Unknown, Self::Revoked, Self::Full];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::TooLarge => "too_large",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Full => "full",
        }
    }
}

/// Whether messages come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BrokerHealth {
    /// Not connected yet.
    Starting,
    /// Connected and subscribed.
    Connected,
    /// Not connected, and why; it is tried again.
    Failing(String),
    /// Stopped, as asked.
    Stopped,
}

impl Default for BrokerGauges {
    fn default() -> Self {
        Self {
            sessions: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            unsent: Counter::default(),
            certificate_until_s: AtomicI64::new(i64::MAX),
            unheard: [const { AtomicU64::new(0) }; _],
            health: Mutex::new(BrokerHealth::Starting),
        }
    }
}

impl BrokerGauges {
    /// Messages that went no further for this reason.
    pub fn unheard(&self, reason: Unheard) -> u64 {
        self.unheard.get(reason as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Connected, or the reason why not.
    pub fn healthy(&self) -> Result<(), String> {
        match self.health() {
            BrokerHealth::Connected => Ok(()),
            BrokerHealth::Starting => Err("not connected yet".into()),
            BrokerHealth::Failing(error) => Err(format!("{error}; trying again")),
            BrokerHealth::Stopped => Err("stopped".into()),
        }
    }

    /// Whether messages come.
    pub fn health(&self) -> BrokerHealth {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Seconds until our certificate expires; none without one.
    pub fn certificate_left_s(&self, now_s: i64) -> Option<i64> {
        let until_s = self.certificate_until_s.load(Relaxed);
        (until_s != i64::MAX).then(|| until_s.saturating_sub(now_s))
    }

    pub(super) fn count_unheard(&self, reason: Unheard) {
        if let Some(count) = self.unheard.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Sets the health; whether it differs from what it was.
    pub(super) fn set_health(&self, health: BrokerHealth) -> bool {
        let mut current = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != health;
        *current = health;
        changed
    }
}
