//! What a sink does with a journal: it follows its cursor, if that holds, and each ring.

use std::sync::Arc;

use agent::forward::continuity::{self, Advance, Continuity, RingState, Snapshots, Verdict};
use agent::journal::{Entry, EntryKind, Item, Journal, Position, Positions};
use agent::storage::SharedStorage;
use protocol::{Counts, Lane, Loss, Seq};

use super::planted::Planted;
use super::truth::{Kept, Told, Truth, Violation, cursor, must};

/// The file of the sink's cursor, which also says what it holds of each ring.
pub(super) fn snapshots(storage: SharedStorage) -> Snapshots {
    Snapshots::new(storage, "cursors".into(), "sink")
}

/// What the file says, which must be one of those that it may.
pub(super) fn read(truth: &Truth, storage: SharedStorage) -> Result<Option<Kept>, Violation> {
    let read = snapshots(storage).read();
    let read = read.map_err(|error| Violation(format!("the cursor cannot be read: {error}")))?;
    let read = read.map(continuity::Kept::settled);
    let is_it = |kept: &&Option<Kept>| match (kept, &read) {
        (None, None) => true,
        (Some(kept), Some((continuity, at))) => {
            kept.cursor == *at && is_same(truth, &kept.continuity, continuity)
        }
        _ => false,
    };
    truth.kept.iter().find(is_it).cloned().ok_or_else(|| {
        let at = read.map(|(_, at)| at);
        Violation(format!("the durable cursor is gone; there is {at:?}"))
    })
}

fn is_same(truth: &Truth, one: &Continuity, other: &Continuity) -> bool {
    let rings = truth.lanes.iter().flatten().map(|told| &told.ring);
    one.ring_count() == other.ring_count()
        && rings.into_iter().all(|ring| one.get(ring) == other.get(ring))
}

/// Takes up to so many entries of each lane from where the cursor stands.
pub(super) fn deliver(
    truth: &Truth,
    journal: &Journal,
    kept: Option<&Kept>,
    count: usize,
    planted: Option<Planted>,
) -> Result<Kept, Violation> {
    let tail = journal.tail();
    let is_trusted = planted == Some(Planted::StaleCursorTrusted);
    if let Some(kept) = kept {
        let holds = tail.validates(&kept.cursor);
        must(holds != kept.is_stale || is_trusted, || format!("{:?} holds: {holds}", kept.cursor))?;
    }
    let begin = kept.cloned().unwrap_or_else(|| Kept {
        cursor: cursor(journal, Positions::ZERO, [Counts::ZERO; 3]),
        continuity: Continuity::default(),
        through: [0; 3],
        is_stale: false,
    });
    let by_identity = begin.is_stale && !is_trusted;
    let mut sink = Sink { truth, by_identity, kept: begin };
    let mut positions = sink.kept.cursor.positions;
    let mut totals = sink.kept.cursor.totals;
    if by_identity {
        (positions, totals) = (Positions::ZERO, [Counts::ZERO; 3]);
    }
    // By identity all of it: the next cursor holds again.
    let count = if by_identity { usize::MAX } else { count };
    for lane in Lane::ALL {
        let Some(totals) = totals.get_mut(lane.index()) else { continue };
        let at = sink.lane(journal, lane, positions.get(lane), totals, count)?;
        positions.set(lane, at);
    }
    sink.kept.cursor = cursor(journal, positions, totals);
    sink.kept.is_stale = false;
    sink.kept.continuity.settle();
    Ok(sink.kept)
}

struct Sink<'a> {
    truth: &'a Truth,
    by_identity: bool,
    kept: Kept,
}

impl Sink<'_> {
    fn lane(
        &mut self,
        journal: &Journal,
        lane: Lane,
        from: Position,
        totals: &mut Counts,
        count: usize,
    ) -> Result<Position, Violation> {
        let mut reader = journal.tail().reader(lane, from);
        let mut taken = 0;
        while taken < count {
            let next = reader.next();
            match next.map_err(|error| Violation(format!("{lane}: {error}: {}", error.source)))? {
                None => break,
                Some(Item::Entry { entry, end, totals: after, .. }) => {
                    taken += 1;
                    must(after == *totals + entry.adds, || {
                        format!("{lane}: {after:?} after {totals:?} and {:?}", entry.adds)
                    })?;
                    *totals = after;
                    self.entry(lane, &entry, end)?;
                }
                Some(Item::Damage(damage)) => {
                    let is_pruned = damage.from == Position::ZERO && self.by_identity;
                    must(is_pruned, || format!("{lane}: {damage:?} beyond the cursor"))?;
                    // As the table of rings has them.
                    let told = Lane::ALL.into_iter().flat_map(|lane| self.truth.lane(lane));
                    let stood = |told: &Arc<Told>| {
                        let Entry { ring, seq, through, .. } = told.entry();
                        (ring, RingState { last: seq, through: Some(through) })
                    };
                    self.kept.continuity.begin_midway(told.map(stood).collect());
                    *totals = damage.totals;
                }
            }
        }
        let said = journal.ends().get(lane).totals;
        must(taken == count || *totals == said, || {
            format!("{lane}: read up to {totals:?}, and the end is {said:?}")
        })?;
        Ok(reader.position())
    }

    fn entry(&mut self, lane: Lane, entry: &Entry<'_>, end: Position) -> Result<(), Violation> {
        let told = self.truth.told(lane, entry, end)?;
        let advance = advance(entry);
        let number = told.number;
        match self.kept.continuity.judge(&advance) {
            Verdict::Repeat => must(self.by_identity || told.is_elsewhere, || {
                format!("{lane}: entry {number} once more")
            })?,
            Verdict::New { hole: Some(hole), .. } => {
                return Err(Violation(format!("{lane}: {hole:?} before entry {number}")));
            }
            Verdict::New { hole: None, fresh } => {
                must(fresh == entry.adds || told.is_elsewhere, || {
                    format!("{lane}: of entry {number} only {fresh:?} is new")
                })?;
                self.kept.continuity.advance(&advance);
            }
        }
        if let Some(through) = self.kept.through.get_mut(lane.index()) {
            *through = number;
        }
        Ok(())
    }
}

/// An entry, as its ring sees it.
pub(super) fn advance(entry: &Entry<'_>) -> Advance {
    let loss = (entry.kind == EntryKind::Gap)
        .then(|| postcard::from_bytes::<Loss>(entry.payload).ok())
        .flatten();
    let first: Seq = loss.map_or(entry.seq, |loss| loss.first);
    Advance { ring: entry.ring, first, seq: entry.seq, adds: entry.adds, through: entry.through }
}
