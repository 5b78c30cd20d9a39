//! How far a query may go, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How far a query may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Rows to give at most; none for all.
    pub rows_max: Option<u64>,
    /// Bytes of one text or blob at most.
    pub value_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows_max: None, value_bytes_max: 16 << 20 }
    }
}

/// Why a query was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stopped {
    /// It took too long.
    Timeout = 1,
    /// Somebody wants no more of it.
    Asked = 2,
}

/// Stops queries from another thread. What was stopped stays stopped until [`Stop::clear`].
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Stops what runs and whatever begins later.
    pub fn stop(&self, why: Stopped) {
        self.0.store(why as u8, Ordering::Relaxed);
    }

    /// Lets queries run again.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether, and why, to stop.
    pub fn why(&self) -> Option<Stopped> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Stopped::Timeout),
            _ => Some(Stopped::Asked),
        }
    }
}
