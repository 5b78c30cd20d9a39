//! What must be found after a crash, and whether it is.

use std::sync::{Arc, OnceLock};

use agent::forward::continuity::Continuity;
use agent::journal::{
    Entry, EntryKind, Journal, JournalCursor, Position, Positions, RecoveryReport,
};
use protocol::{Counts, DeviceId, Lane, RingId, Seq};

/// What does not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Violation(pub(super) String);

pub(super) fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(otherwise())) }
}

/// An entry that was appended. Its number stands in the time at which it was received.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) number: u64,
    pub(super) kind: EntryKind,
    pub(super) device: DeviceId,
    pub(super) ring: RingId,
    pub(super) seq: Seq,
    pub(super) adds: Counts,
    pub(super) through: Counts,
    pub(super) payload: Vec<u8>,
    /// It says what a later copy of the journal held: a sink may have had it.
    pub(super) is_elsewhere: bool,
    /// Where it was seen to end.
    pub(super) end: OnceLock<Position>,
}

impl Told {
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry {
            kind: self.kind,
            received_ms: i64::try_from(self.number).unwrap_or(i64::MAX),
            device: self.device,
            ring: self.ring,
            seq: self.seq,
            adds: self.adds,
            through: self.through,
            payload: &self.payload,
        }
    }
}

/// What a sink holds, and its cursor.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) cursor: JournalCursor,
    pub(super) continuity: Continuity,
    /// The number of the last entry delivered of each lane.
    pub(super) through: [u64; 3],
    /// The cursor is of a life that the journal does not know any more.
    pub(super) is_stale: bool,
}

/// What is known of a journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    /// Everything appended, in order.
    pub(super) lanes: [Vec<Arc<Told>>; 3],
    /// How much of it is durable.
    pub(super) committed: [usize; 3],
    /// Up to these numbers entries may be gone.
    pub(super) pruned: [u64; 3],
    /// A sync of a directory failed: some of what was pruned may be there again.
    pub(super) may_return: bool,
    /// The last life that was begun.
    pub(super) epoch: u32,
    /// Cursors that hold.
    pub(super) hold: Vec<JournalCursor>,
    /// Cursors that must not.
    pub(super) stale: Vec<JournalCursor>,
    /// What the sink's file may say.
    pub(super) kept: Vec<Option<Kept>>,
}

/// What an open handed on.
#[derive(Debug, Default)]
pub(super) struct Handed {
    pub(super) numbers: [Vec<u64>; 3],
    pub(super) ends: [Position; 3],
    pub(super) wrong: Option<String>,
}

impl Truth {
    pub(super) fn lane(&self, lane: Lane) -> &[Arc<Told>] {
        self.lanes.get(lane.index()).map_or(&[], Vec::as_slice)
    }

    fn find(&self, lane: Lane, number: u64) -> Option<&Arc<Told>> {
        let told = self.lane(lane);
        told.binary_search_by_key(&number, |told| told.number).ok().and_then(|at| told.get(at))
    }

    /// The entry that this is; a violation if nobody appended it so, or it stands elsewhere.
    pub(super) fn told(
        &self,
        lane: Lane,
        found: &Entry<'_>,
        end: Position,
    ) -> Result<&Arc<Told>, Violation> {
        let number = u64::try_from(found.received_ms).unwrap_or(u64::MAX);
        let told = self.find(lane, number);
        let told = told.filter(|told| told.entry() == *found).ok_or_else(|| {
            Violation(format!(
                "{lane}: an entry that nobody appended: {} {}",
                found.ring, found.seq
            ))
        })?;
        let known = told.end.get().copied().unwrap_or(end);
        must(known == end, || {
            format!("{lane}: entry {number} ends at {end:?}, and did at {known:?}")
        })?;
        Ok(told)
    }

    pub(super) fn take(&self, handed: &mut Handed, lane: Lane, entry: &Entry<'_>, end: Position) {
        let Some(last) = handed.ends.get_mut(lane.index()) else { return };
        match self.told(lane, entry, end) {
            Ok(told) => {
                if *last >= end {
                    handed.wrong.get_or_insert(format!("{lane}: {end:?} after {last:?}"));
                }
                *last = end;
                if let Some(numbers) = handed.numbers.get_mut(lane.index()) {
                    numbers.push(told.number);
                }
            }
            Err(Violation(violation)) => drop(handed.wrong.get_or_insert(violation)),
        }
    }

    /// Whether an open found what it must: how many entries of each lane there are.
    pub(super) fn check(
        &self,
        journal: &Journal,
        report: &RecoveryReport,
        handed: &Handed,
    ) -> Result<[usize; 3], Violation> {
        if let Some(wrong) = &handed.wrong {
            return Err(Violation(wrong.clone()));
        }
        must(!report.is_behind, || "the journal says that it is behind".to_owned())?;
        let epoch = journal.epoch().number;
        must(epoch > self.epoch, || format!("life {epoch} follows life {}", self.epoch))?;
        let mut counts = [0; 3];
        for lane in Lane::ALL {
            let count = self.check_lane(lane, journal, report, handed)?;
            if let Some(slot) = counts.get_mut(lane.index()) {
                *slot = count;
            }
        }
        self.check_cursors(journal)?;
        Ok(counts)
    }

    fn check_lane(
        &self,
        lane: Lane,
        journal: &Journal,
        report: &RecoveryReport,
        handed: &Handed,
    ) -> Result<usize, Violation> {
        let told = self.lane(lane);
        let found = handed.numbers.get(lane.index()).map_or(&[][..], Vec::as_slice);
        let committed = self.committed.get(lane.index()).copied().unwrap_or(0);
        let pruned = self.pruned.get(lane.index()).copied().unwrap_or(0);
        let may_be_gone = told.partition_point(|told| told.number <= pruned);
        let old = found.partition_point(|number| *number <= pruned);
        let (old, rest) = found.split_at_checked(old).unwrap_or_default();
        let end = may_be_gone + rest.len();
        let there = told.get(may_be_gone..end).unwrap_or_default();
        must(is_same(there, rest), || {
            format!(
                "{lane}: found {found:?}, which is not one part of what was appended, and only \
                 what is up to {pruned} may be gone"
            )
        })?;
        let gone = may_be_gone.saturating_sub(old.len());
        let left = told.get(gone..may_be_gone).unwrap_or_default();
        must(is_same(left, old) || self.may_return, || {
            format!("{lane}: found {old:?} of what was pruned up to {pruned}")
        })?;
        must(end >= committed, || {
            let last = committed.checked_sub(1).and_then(|last| told.get(last));
            let last = last.map_or(0, |told| told.number);
            format!("{lane}: entry {last} was durable, and found is only {found:?}")
        })?;
        let totals = sum(told.get(..end).unwrap_or_default());
        let said = journal.ends().get(lane).totals;
        must(said == totals, || {
            format!("{lane}: the totals are {said:?}, and {totals:?} is right")
        })?;
        let reach = may_be_gone.checked_sub(1).and_then(|last| told.get(last)?.end.get());
        let damages = || report.damages.iter().filter(|(of, _)| *of == lane);
        let is_below = damages().all(|(_, damage)| Some(&damage.to) <= reach);
        let is_first = damages().all(|(_, damage)| damage.from == Position::ZERO);
        let is_one = damages().count() == usize::from(gone > 0);
        must(is_below && (is_first && is_one || self.may_return), || {
            format!("{lane}: {:?} with {gone} entries gone", report.damages)
        })?;
        Ok(end)
    }

    fn check_cursors(&self, journal: &Journal) -> Result<(), Violation> {
        let tail = journal.tail();
        for cursor in &self.hold {
            must(tail.validates(cursor), || format!("{cursor:?} does not hold any more"))?;
            let mut beyond = *cursor;
            for lane in Lane::ALL {
                beyond.positions.set(lane, Position(u64::MAX));
            }
            must(!tail.validates(&beyond), || format!("{beyond:?} holds"))?;
        }
        for cursor in &self.stale {
            must(!tail.validates(cursor), || format!("{cursor:?} is of another copy, and holds"))?;
        }
        Ok(())
    }

    /// What was found is what there is.
    pub(super) fn found(&mut self, journal: &Journal, counts: [usize; 3]) {
        for ((told, committed), count) in self.lanes.iter_mut().zip(&mut self.committed).zip(counts)
        {
            told.truncate(count);
            *committed = count;
        }
        self.epoch = journal.epoch().number;
        self.note(journal);
    }

    /// A cursor that stands at the end holds from now on.
    pub(super) fn note(&mut self, journal: &Journal) {
        let ends = journal.ends();
        if self
            .hold
            .last()
            .is_some_and(|last| last.positions == ends.positions && last.epoch == journal.epoch())
        {
            return;
        }
        if self.hold.len() >= CURSORS_MAX {
            self.hold.remove(1);
        }
        self.hold.push(cursor(journal, ends.positions, ends.totals));
    }

    /// What the ring with this id has taken, and its last number.
    pub(super) fn ring(&self, ring: RingId) -> (Seq, Counts) {
        let all = self.lanes.iter().flatten().filter(|told| told.ring == ring);
        all.max_by_key(|told| told.seq)
            .map_or((Seq::ZERO, Counts::ZERO), |told| (told.seq, told.through))
    }
}

/// How many cursors are remembered.
const CURSORS_MAX: usize = 8;

pub(super) fn cursor(
    journal: &Journal,
    positions: Positions,
    totals: [Counts; 3],
) -> JournalCursor {
    JournalCursor { journal: journal.id(), epoch: journal.epoch(), positions, totals }
}

fn is_same(told: &[Arc<Told>], numbers: &[u64]) -> bool {
    told.iter().map(|told| told.number).eq(numbers.iter().copied())
}

pub(super) fn sum(told: &[Arc<Told>]) -> Counts {
    told.iter().fold(Counts::ZERO, |sum, told| sum + told.adds)
}
