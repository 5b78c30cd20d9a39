//! An upstream that keeps its cursor with its content, in one step; that can be away, and that can
//! take a batch and say that it did not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent::journal::JournalTail;
use agent::privacy::Cleared;
use agent::sink::{CursorState, Erased, Holds, Reconcile, Resume, Sink, SinkError, holds};
use protocol::{DeviceId, RingId, Seq};

use super::truth::{Truth, Violation};

/// What it holds; lives on when the agent does not.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    pub truth: Truth,
    cursor: Option<CursorState>,
    delivered: HashMap<RingId, Seq>,
    pub is_down: bool,
    /// Batches that it will take and deny.
    pub doubtful: u32,
    /// Of the batch that it denied: the next offer is the same.
    denied: Option<CursorState>,
}

/// The agent's end of it.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelSink(Arc<Mutex<Upstream>>);

impl ModelSink {
    pub(super) fn upstream(&self) -> MutexGuard<'_, Upstream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it says when an agent comes with this journal.
    pub(super) fn resume(&self, journal: &JournalTail, trusts: bool) -> Resume {
        let mut upstream = self.upstream();
        upstream.denied = None;
        let Some(cursor) = upstream.cursor.clone() else { return Resume::Fresh };
        let found = if trusts { Holds::Yes } else { holds(&cursor, journal) };
        if found == Holds::Yes {
            return Resume::At(Box::new(cursor));
        }
        upstream.truth.reconciled += 1;
        Resume::Reconcile(Box::new(Reconcile {
            why: "another journal, or another life of it".to_owned(),
            cursor: Some(cursor),
            is_behind: found == Holds::Behind,
            delivered: upstream.delivered.clone(),
        }))
    }
}

impl Upstream {
    /// I2: what a journal holds it does not take again; only a sink that went by identity meets what
    /// it has.
    pub(super) fn nothing_again(&self) -> Result<(), Violation> {
        let again = self.cursor.as_ref().map(|cursor| cursor.tallies.before).unwrap_or_default();
        if again.is_zero() || self.truth.reconciled > 0 {
            return Ok(());
        }
        Err(Violation(format!("the journal took again what it had: {again:?}")))
    }
}

impl Sink for ModelSink {
    fn write(&mut self, batch: &Cleared, cursor: &CursorState) -> Result<(), SinkError> {
        let mut upstream = self.upstream();
        if upstream.is_down {
            return Err(SinkError::Retry("away".to_owned()));
        }
        if upstream.denied.take().is_some_and(|denied| denied == *cursor) {
            return Ok(());
        }
        let Upstream { truth, delivered, .. } = &mut *upstream;
        for piece in batch.pieces() {
            let (ring, seq) = truth.take(&piece);
            let last = delivered.entry(ring).or_default();
            *last = seq.max(*last);
        }
        upstream.cursor = Some(cursor.clone());
        if upstream.doubtful > 0 {
            upstream.doubtful -= 1;
            upstream.denied = Some(cursor.clone());
            return Err(SinkError::Retry("no answer in time".to_owned()));
        }
        Ok(())
    }

    fn erase(&mut self, _device: &DeviceId) -> Result<Erased, SinkError> {
        Ok(Erased::default())
    }

    fn erase_vehicle(&mut self, _vehicle: &str) -> Result<Erased, SinkError> {
        Ok(Erased::default())
    }

    fn delivered(&self) -> std::io::Result<HashMap<RingId, Seq>> {
        Ok(self.upstream().delivered.clone())
    }
}
