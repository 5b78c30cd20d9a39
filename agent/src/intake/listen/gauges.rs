//! What the listener counts, for the metrics page, `/healthz` and the log's summary.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::reason::{End, Refusal, TlsRefusal};

/// Counters and state of one listener. Counters only grow, but for `connections`.
#[derive(Debug)]
pub struct ListenGauges {
    /// Sessions open now: connections whose CONNECT was accepted.
    pub connections: AtomicU64,
    /// Sessions opened.
    pub accepted: AtomicU64,
    /// Frames and hellos handed to the acceptor.
    pub publishes: AtomicU64,
    /// Bytes read from all sockets.
    pub bytes_in: AtomicU64,
    /// Messages of the acceptor that went nowhere: the device had not subscribed, or takes only
    /// smaller packets.
    pub unsent: AtomicU64,
    /// Sockets closed because too many were open: that of whoever had been silent longest, or, if all
    /// had said who they are, that which came last.
    pub turned_away: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    tls_refused: [AtomicU64; TlsRefusal::ALL.len()],
    ended: [AtomicU64; End::ALL.len()],
    health: Mutex<ListenHealth>,
}

/// Whether devices can connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenHealth {
    /// Not listening yet.
    Starting,
    /// Listening.
    Listening,
    /// Listening, but the last attempt to accept a connection failed with this error.
    Failing(String),
    /// Stopped, as asked.
    Stopped,
}

impl Default for ListenGauges {
    fn default() -> Self {
        Self {
            connections: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            publishes: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; _],
            tls_refused: [const { AtomicU64::new(0) }; _],
            ended: [const { AtomicU64::new(0) }; _],
            health: Mutex::new(ListenHealth::Starting),
        }
    }
}

impl ListenGauges {
    /// Connections refused for this reason, before they became sessions.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused.get(reason as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Connections whose TLS came to nothing for this reason.
    pub fn tls_refused(&self, reason: TlsRefusal) -> u64 {
        self.tls_refused.get(reason as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Sessions that ended for this reason.
    pub fn ended(&self, reason: End) -> u64 {
        self.ended.get(reason as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Connections and sessions that broke MQTT's rules.
    pub fn malformed(&self) -> u64 {
        let refused =
            Refusal::ALL.into_iter().filter(|r| r.is_malformed()).map(|r| self.refused(r));
        let ended = End::ALL.into_iter().filter(|e| e.is_malformed()).map(|e| self.ended(e));
        refused.chain(ended).sum()
    }

    /// Whether devices can connect.
    pub fn health(&self) -> ListenHealth {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Listening, or the reason why not.
    pub fn healthy(&self) -> Result<(), String> {
        match self.health() {
            ListenHealth::Listening => Ok(()),
            ListenHealth::Starting => Err("not listening yet".into()),
            ListenHealth::Failing(error) => Err(format!("cannot accept connections: {error}")),
            ListenHealth::Stopped => Err("stopped listening".into()),
        }
    }

    pub(super) fn count_bytes_in(&self, bytes: &[u8]) {
        self.bytes_in.fetch_add(bytes.len().try_into().unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn count_refused(&self, reason: Refusal) {
        if let Some(count) = self.refused.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn count_tls_refused(&self, reason: TlsRefusal) {
        if let Some(count) = self.tls_refused.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn count_ended(&self, reason: End) {
        if let Some(count) = self.ended.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Sets the health; whether it differs from what it was.
    pub(super) fn set_health(&self, health: ListenHealth) -> bool {
        let mut current = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != health;
        *current = health;
        changed
    }
}
