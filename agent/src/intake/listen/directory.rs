//! Who is connected: at most one session per device, and not more sessions than allowed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::DeviceId;
use tokio::sync::oneshot;

use super::reason::{End, Refusal};
use crate::intake::SessionId;

/// The open sessions by device.
pub(super) struct Directory {
    sessions_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    stopping: bool,
    sessions: HashMap<DeviceId, Entry>,
}

struct Entry {
    session: SessionId,
    end: oneshot::Sender<End>,
}

impl Directory {
    pub(super) fn new(sessions_max: usize) -> Self {
        Self { sessions_max, inner: Mutex::default() }
    }

    /// Enters a session, and ends the device's older one if there is one. What comes back says when
    /// and why the new one is to end.
    pub(super) fn enter(
        &self,
        device: DeviceId,
        session: SessionId,
    ) -> Result<oneshot::Receiver<End>, Refusal> {
        let mut inner = self.inner();
        if inner.stopping {
            return Err(Refusal::Unavailable);
        }
        if inner.sessions.len() >= self.sessions_max && !inner.sessions.contains_key(&device) {
            return Err(Refusal::Full);
        }
        let (end, ended) = oneshot::channel();
        if let Some(older) = inner.sessions.insert(device, Entry { session, end }) {
            tell(older, End::TakenOver);
        }
        Ok(ended)
    }

    /// Takes a session out, unless a newer one took its place.
    pub(super) fn leave(&self, device: &DeviceId, session: SessionId) {
        let mut inner = self.inner();
        if inner.sessions.get(device).is_some_and(|entry| entry.session == session) {
            inner.sessions.remove(device);
        }
    }

    /// Ends all sessions, and lets none in any more.
    pub(super) fn stop(&self) {
        let mut inner = self.inner();
        inner.stopping = true;
        inner.sessions.drain().for_each(|(_, entry)| tell(entry, End::Stopping));
    }

    // The map is whole between any two statements, so a poisoned lock is no reason to stop.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(entry: Entry, end: End) {
    // An error means that the session is over already.
    entry.end.send(end).ok();
}
