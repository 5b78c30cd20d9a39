//! Who is connected and has not said who it is, in the order of arrival.
//!
//! Anyone can hold a connection for as long as a CONNECT may take, so when there is no room the one
//! that has been silent longest makes it: whoever speaks at once gets in, however many do not.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use tokio::task::AbortHandle;

/// Held by a connection until it has said who it is.
#[derive(Debug)]
pub(super) struct Arrival(Arc<()>);

/// The connections that have not.
#[derive(Debug, Default)]
pub(super) struct Lobby(VecDeque<(Weak<()>, AbortHandle)>);

impl Arrival {
    pub(super) fn new() -> Self {
        Self(Arc::new(()))
    }

    /// What the lobby knows of it.
    pub(super) fn watch(&self) -> Weak<()> {
        Arc::downgrade(&self.0)
    }
}

impl Lobby {
    /// One more has arrived.
    pub(super) fn enter(&mut self, arrival: Weak<()>, task: AbortHandle, tasks: usize) {
        // Those behind one that is silent may have spoken long ago.
        if self.0.len() > tasks.saturating_mul(2) {
            self.0.retain(|(arrival, _)| arrival.strong_count() > 0);
        }
        self.0.push_back((arrival, task));
    }

    /// Ends the connection that has been silent longest; false if there is none.
    pub(super) fn make_room(&mut self) -> bool {
        while let Some((arrival, task)) = self.0.pop_front() {
            if arrival.strong_count() > 0 {
                task.abort();
                return true;
            }
        }
        false
    }
}
