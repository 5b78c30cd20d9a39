//! An upstream that keeps its cursor with its content, in one step; that can be away, and that can
//! take a batch and say that it did not. And the forwarder to it, or to one of the product's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent::catalogues::Catalogues;
use agent::forward::{Change, ForwardOpener, Forwarder, ForwarderStatus, Step};
use agent::journal::{JournalTail, Position, Positions};
use agent::privacy::Cleared;
use agent::sink::{CursorState, Erased, Holds, Reconcile, Resume, Sink, SinkError, holds};
use protocol::{DeviceId, Lane, RingId, Seq};

use super::slot::{Slot, policy};
use super::truth::{Truth, Violation};

/// Steps of a forwarder in a second, at most.
const STEPS_MAX: u32 = 10_000;
/// How long a sink that did not open is left alone, in seconds.
const REOPEN_S: u64 = 2;

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
        Resume::Reconcile(Box::new(Reconcile {
            why: "another journal, or another life of it".to_owned(),
            cursor: Some(cursor),
            is_behind: found == Holds::Behind,
            delivered: upstream.delivered.clone(),
        }))
    }
}

impl Upstream {
    /// A forwarder begins: what it drops from here on, and whether it begins where others have been.
    pub(super) fn begins(&mut self, resume: &Resume, journal: &JournalTail, drops: u16) {
        match resume {
            Resume::Fresh => {
                let is_pruned = Lane::ALL.iter().any(|lane| journal.oldest(*lane) > Position::ZERO);
                self.truth.begins_late |= is_pruned;
            }
            Resume::At(_) => {}
            Resume::Reconcile(_) => self.truth.reconciled += 1,
        }
        self.truth.policy(drops);
    }

    /// I2: what a journal holds it does not take again; only a sink that went by identity, or began
    /// late, meets what it has.
    pub(super) fn nothing_again(&self) -> Result<(), Violation> {
        let again = self.cursor.as_ref().map(|cursor| cursor.tallies.before).unwrap_or_default();
        if again.is_zero() || self.truth.reconciled > 0 || self.truth.begins_late {
            return Ok(());
        }
        Err(Violation::new("I2", format!("the journal took again what it had: {again:?}")))
    }

    /// I3, I5: what the rules took out is what is not there.
    pub(super) fn exclusions(&self) -> Result<(), Violation> {
        let Some(cursor) = &self.cursor else { return Ok(()) };
        let is_drop = |(rule, _): &&(String, _)| rule.starts_with("drop ");
        let excluded = cursor.tallies.excluded.iter().filter(is_drop);
        let said = excluded.map(|(_, counts)| counts.samples).sum();
        self.truth.exclusions(said)
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
            let (ring, seq) = truth.take(&piece, batch.exacts());
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

/// A forwarder of the product's.
pub(super) type Work = Forwarder<ForwardOpener, Catalogues>;

/// A sink of an agent that runs.
#[derive(Debug)]
pub(super) enum Running {
    /// It does not open yet; when to try again.
    Opening { again_s: u64 },
    /// It forwards; and the rules that it will have from its next batch on.
    Forwarding { work: Box<Work>, status: Arc<ForwarderStatus>, changes: Option<u16> },
}

impl Running {
    pub(super) const fn new() -> Self {
        Self::Opening { again_s: 0 }
    }

    pub(super) const fn is_to_open(&self, now_s: u64) -> bool {
        matches!(self, Self::Opening { again_s } if now_s >= *again_s)
    }

    /// What came of an attempt.
    pub(super) fn opened(&mut self, now_s: u64, work: Option<Work>) {
        *self = match work {
            None => Self::Opening { again_s: now_s + REOPEN_S },
            Some(work) => {
                let status = work.status();
                Self::Forwarding { work: Box::new(work), status, changes: None }
            }
        };
    }

    /// From its next batch on it has these rules.
    pub(super) fn change(&mut self, drops: u16) {
        if let Self::Forwarding { changes, .. } = self {
            *changes = Some(drops);
        }
    }

    pub(super) fn keep_from(&self) -> Positions {
        match self {
            Self::Opening { .. } => Positions::ZERO,
            Self::Forwarding { status, .. } => status.keep_from(),
        }
    }

    pub(super) fn keep_when_full(&self, now_s: u64) -> Option<Positions> {
        match self {
            Self::Opening { .. } => None,
            Self::Forwarding { status, .. } => status.keep_when_full(Duration::from_secs(now_s)),
        }
    }

    /// Does what there is to do; I3: the ledger balances after each step.
    pub(super) fn step(
        &mut self,
        now_s: u64,
        tail: &JournalTail,
        slot: &Slot,
    ) -> Result<(), Violation> {
        let Self::Forwarding { work, status, changes } = self else { return Ok(()) };
        for _ in 0..STEPS_MAX {
            if work.is_between_batches()
                && let Some(drops) = changes.take()
            {
                work.change(Change { policy: policy(drops), rotate_bytes: None });
                slot.model.upstream().truth.policy(drops);
            }
            let step = work.step(Duration::from_secs(now_s), false);
            let ledger = status.ledger(&tail.ends());
            if !ledger.balanced() {
                let what = format!("the ledger does not balance:\n{}", ledger.table());
                return Err(Violation::new("I3", what));
            }
            if step != Step::Again {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn is_delivered(&self, tail: &JournalTail) -> bool {
        match self {
            Self::Opening { .. } => false,
            Self::Forwarding { work, status, .. } => {
                status.ledger(&tail.ends()).buffered.is_zero() && work.is_between_batches()
            }
        }
    }

    pub(super) fn end(&mut self) {
        if let Self::Forwarding { work, .. } = self {
            work.end(None);
        }
    }

    /// What waits for a catalogue, or could not be read.
    pub(super) fn set_aside(&self, tail: &JournalTail) -> u64 {
        match self {
            Self::Opening { .. } => 0,
            Self::Forwarding { status, .. } => {
                let ledger = status.ledger(&tail.ends());
                ledger.quarantined.samples + ledger.dead_lettered.samples
            }
        }
    }

    pub(super) fn condition(&self, tail: &JournalTail) -> String {
        match self {
            Self::Opening { .. } => "does not open".to_owned(),
            Self::Forwarding { status, .. } => {
                let buffered = status.ledger(&tail.ends()).buffered;
                format!("{} {:?} {buffered:?}", status.name(), status.condition())
            }
        }
    }
}
