//! Where a forwarder begins: at its cursor, at the journal's oldest entry, or by identity.

use std::collections::HashMap;
use std::io;

use protocol::loss::LossReason;
use protocol::{Counts, Lane, RingId, Seq};

use super::continuity::{Advance, Continuity, Kept, RingState, Snapshots};
use super::dead_letters::DeadLetters;
use super::names;
use super::parked::Parked;
use super::{ForwardError, ForwarderConfig, HeldRing, RingSource, lane_mut};
use crate::journal::{Damage, Item, JournalCursor, JournalTail, Position, Positions};
use crate::ledger::Tallies;
use crate::sink::{AnySink, CursorState, LogEnd, Naming, Reconcile, Resume};
use crate::storage::SharedStorage;

/// What a forwarder begins with.
#[derive(Debug)]
pub(super) struct Start {
    pub state: CursorState,
    /// Where in the journal it begins.
    pub at: JournalCursor,
    pub continuity: Continuity,
    pub snapshots: Snapshots,
    pub dead_letters: DeadLetters,
    pub parked: Parked,
    /// Why frames are missing, if some are.
    pub holes: LossReason,
    /// The start went by identity.
    pub reconciled: bool,
    /// The sink's cursor, if the start went by identity and it is on record where every ring stood
    /// there.
    known_at: Option<JournalCursor>,
    /// The cursor that the sink holds, as far as it is known, and the sink's name in it.
    pub held: JournalCursor,
    pub called: String,
}

pub(super) fn begin(
    storage: &SharedStorage,
    config: &ForwarderConfig,
    tail: &JournalTail,
    rings: &dyn RingSource,
    (sink, mut resume): (&AnySink, Resume),
) -> Result<Start, ForwardError> {
    let snapshots = Snapshots::new(storage.clone(), config.data_dir.join("cursors"), &config.name);
    let cursor = match &mut resume {
        Resume::Fresh => None,
        Resume::At(state) => Some(&mut **state),
        Resume::Reconcile(reconcile) => reconcile.cursor.as_mut(),
    };
    let was = match cursor {
        Some(cursor) => names::follow(storage, config, cursor)?,
        None => None,
    };
    let kept = match &was {
        Some(was) => snapshots.read_renamed(was)?,
        None => snapshots.read()?,
    };
    let mut start = match resume {
        Resume::Fresh => {
            // A sink that bore this name before may have left dead letters; what waited for it is
            // still in the journal, or none of this sink's.
            let [letters, _] = names::logs(&config.data_dir, &config.name);
            let dead_letters = end_or_next(storage, &letters, None)?;
            let state = CursorState { dead_letters, ..CursorState::default() };
            Start::new(storage, config, tail, snapshots, state, Continuity::default())?
        }
        Resume::At(state) => {
            let documents = state.tallies.documents;
            let usable =
                kept.zip(state.journal).and_then(|(kept, cursor)| kept.before(&cursor, documents));
            let is_known = usable.is_some();
            let (mut continuity, from) =
                usable.map_or_else(Default::default, |(continuity, at)| (continuity, at.positions));
            let mut ask = None;
            if let Some(cursor) = &state.journal {
                let reread =
                    reread(tail, (from, cursor.positions), is_known, rings, &mut continuity)?;
                if reread == Reread::Damaged {
                    // What is gone from there was forwarded: the devices may send it again.
                    ask = Some("the journal is damaged where it was forwarded");
                } else if !is_known {
                    // It may know more than this journal, which may be an older copy's successor.
                    ask = Some("it is not on record what the sink holds of each ring");
                }
            }
            if let Some(why) = ask {
                tracing::warn!(sink = %config.name, "{why}: asking the sink");
                for (ring, last) in sink.delivered()? {
                    continuity.delivered(ring, last);
                }
            }
            let mut start = Start::new(storage, config, tail, snapshots, *state, continuity)?;
            if !is_known {
                for (ring, last) in start.parked.rings() {
                    start.continuity.delivered(ring, last);
                }
            }
            if start.parked.is_damaged() {
                start.settle_parked(&sink.delivered()?);
            }
            start
        }
        Resume::Reconcile(reconcile) => {
            by_identity(storage, config, tail, snapshots, kept, *reconcile)?
        }
    };
    match start.state.journal {
        Some(at) => start.at = at,
        None => start.begin_at_oldest(tail, rings)?,
    }
    start.state.journal = Some(start.at);
    start.called = was.unwrap_or_else(|| config.name.clone());
    start.owe_names();
    start.continuity.settle();
    // Before anything is committed that a later start would have to know the rings for; and until
    // then a later start comes with the sink's own cursor.
    start.held = start.known_at.unwrap_or(start.at);
    let (held, documents) = (&start.held, start.state.tallies.documents);
    start.snapshots.write(&start.called, &start.continuity, held, (held, documents))?;
    Ok(start)
}

impl Start {
    fn new(
        storage: &SharedStorage,
        config: &ForwarderConfig,
        tail: &JournalTail,
        snapshots: Snapshots,
        state: CursorState,
        continuity: Continuity,
    ) -> io::Result<Self> {
        let (dir, name) = (&config.data_dir, &config.name);
        let (letters, parked) = (state.dead_letters, state.parked);
        let oldest = JournalCursor {
            journal: tail.id(),
            epoch: tail.epoch(),
            positions: Positions::ZERO,
            totals: <[Counts; 3]>::default(),
        };
        Ok(Self {
            dead_letters: DeadLetters::open(
                storage,
                dir,
                name,
                letters,
                config.dead_letter_bytes_max,
            )?,
            parked: Parked::open(storage, dir, name, parked, config.parked)?,
            state,
            at: oldest,
            held: oldest,
            continuity,
            snapshots,
            holes: LossReason::Journal,
            reconciled: false,
            known_at: None,
            called: name.clone(),
        })
    }

    /// In which lanes something is missing that may be of rings that do not go on.
    fn owe_names(&mut self) {
        let is_behind = self.holes == LossReason::Overrun;
        for (lane, unnamed) in Lane::ALL.into_iter().zip(self.state.tallies.unnamed) {
            let is_known = self.continuity.to_name().get(lane.index()).is_some_and(Option::is_some);
            if is_behind || (!unnamed.is_zero() && !is_known) {
                self.continuity.owe_names(lane, self.holes);
            }
        }
    }

    /// Something of what waited cannot be read: what the sink has of it must not go on again, and what
    /// is missing waits no more.
    fn settle_parked(&mut self, delivered: &HashMap<RingId, Seq>) {
        for (ring, last) in delivered {
            self.parked.forget_through(ring, *last);
        }
        let Tallies { quarantined, dead_lettered, .. } = &mut self.state.tallies;
        let missing = quarantined.since(self.parked.counts());
        // A damaged file may stay for a while after its frames were given up.
        if !missing.is_zero() {
            tracing::error!(?missing, "frames that waited for a catalogue are lost");
        }
        *quarantined = quarantined.since(missing);
        *dead_lettered += missing;
    }

    /// From the oldest entry of each lane; what was pruned by now came before this sink. What is
    /// pruned from here on is its loss, also of a lane that it has read nothing of.
    fn begin_at_oldest(
        &mut self,
        tail: &JournalTail,
        rings: &dyn RingSource,
    ) -> Result<(), ForwardError> {
        for lane in Lane::ALL {
            if let Some(Item::Damage(damage)) =
                tail.reader(lane, Positions::ZERO.get(lane)).next()?
                && is_pruned(tail, lane, &damage)
            {
                self.state.tallies.before += damage.totals;
                self.at.positions.set(lane, damage.to);
                *lane_mut(&mut self.at.totals, lane) = damage.totals;
                if self.known_at.is_none() {
                    begin_midway(&mut self.continuity, rings)?;
                }
            }
        }
        Ok(())
    }
}

/// Begins at the journal's oldest entry, past everything that the sink holds.
fn by_identity(
    storage: &SharedStorage,
    config: &ForwarderConfig,
    tail: &JournalTail,
    snapshots: Snapshots,
    kept: Option<Kept>,
    reconcile: Reconcile,
) -> Result<Start, ForwardError> {
    let Reconcile { why, cursor, is_behind, delivered } = reconcile;
    tracing::error!(
        sink = %config.name, %why, rings = delivered.len(),
        "the sink's cursor does not hold in this journal: reading it again from its oldest entry, \
         past what the sink has"
    );
    let mut state = CursorState::default();
    let mut continuity = Continuity::default();
    // Of what is there already: as far as somebody counted it.
    let counted = cursor.as_ref().map(|cursor| cursor.tallies.clone());
    // Where nothing tells where these end, or they are older than what does, because they were
    // restored, they stay as they are, and go on in a new file.
    let [letters, parked] = names::logs(&config.data_dir, &config.name);
    let kept_ends = cursor.as_ref().map(|cursor| (cursor.dead_letters, cursor.parked));
    let (letters_end, parked_end) = kept_ends.unzip();
    state.dead_letters = end_or_next(storage, &letters, letters_end)?;
    state.parked = end_or_next(storage, &parked, parked_end)?;
    let documents = counted.as_ref().map_or(0, |tallies| tallies.documents);
    let cursor = cursor.and_then(|cursor| cursor.journal);
    let known = cursor.and_then(|cursor| kept.and_then(|kept| kept.before(&cursor, documents)));
    let known_at = cursor.filter(|_| known.is_some());
    if let Some((known, _)) = known {
        continuity = known;
    }
    for (ring, last) in &delivered {
        continuity.delivered(*ring, *last);
    }
    let mut start = Start::new(storage, config, tail, snapshots, state, continuity)?;
    for (ring, last) in &delivered {
        // What waited and has gone on since: it must not go on again.
        start.parked.forget_through(ring, *last);
    }
    for (ring, last) in start.parked.rings() {
        start.continuity.delivered(ring, last);
    }
    let quarantined = start.parked.counts();
    start.state.tallies = match counted {
        Some(tallies) => Tallies { quarantined, ..tallies }.carried_over(),
        None => {
            Tallies { quarantined, elsewhere: quarantined, recounts: true, ..Tallies::default() }
        }
    };
    start.reconciled = true;
    start.known_at = known_at;
    if is_behind {
        start.holes = LossReason::Overrun;
    }
    Ok(start)
}

/// Whether it is the beginning that is gone, and not a part that is there and damaged.
fn is_pruned(tail: &JournalTail, lane: Lane, damage: &Damage) -> bool {
    damage.from == Position::ZERO && damage.to <= tail.oldest(lane)
}

/// Whether the rings are known after a [`reread`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reread {
    Whole,
    Damaged,
}

/// The journal's beginning is gone: what had come by now may have an earlier part. Whatever was pruned
/// is in the table of rings.
fn begin_midway(continuity: &mut Continuity, rings: &dyn RingSource) -> io::Result<()> {
    if continuity.begins_midway() {
        return Ok(());
    }
    let mut before = HashMap::new();
    rings.each(&mut |HeldRing { ring, last, through, .. }| {
        before.insert(ring, RingState { last, through: Some(through) });
    })?;
    continuity.begin_midway(before);
    Ok(())
}

/// Brings the rings from `from` up to `to`, by what the entries say of themselves. Where the rings
/// `are_known`, up to `from`, nothing before that is missing.
fn reread(
    tail: &JournalTail,
    (from, to): (Positions, Positions),
    are_known: bool,
    rings: &dyn RingSource,
    continuity: &mut Continuity,
) -> Result<Reread, ForwardError> {
    let mut reread = Reread::Whole;
    for lane in Lane::ALL {
        let mut reader = tail.reader(lane, from.get(lane));
        while reader.position() < to.get(lane)
            && let Some(item) = reader.next()?
        {
            match item {
                Item::Entry { entry, .. } => {
                    continuity.received(entry.received_ms);
                    continuity.advance(&Advance {
                        ring: entry.ring,
                        first: entry.seq,
                        seq: entry.seq,
                        adds: entry.adds,
                        through: entry.through,
                    });
                }
                Item::Damage(damage) if !are_known && is_pruned(tail, lane, &damage) => {
                    begin_midway(continuity, rings)?;
                }
                Item::Damage(_) => reread = Reread::Damaged,
            }
        }
    }
    Ok(reread)
}

/// The end of a log, if its files reach there; otherwise a new file's beginning, behind all others.
fn end_or_next(
    storage: &SharedStorage,
    naming: &Naming,
    end: Option<LogEnd>,
) -> io::Result<LogEnd> {
    let last = naming.numbers(storage)?.last().copied().unwrap_or_default();
    let next = LogEnd { file: last.saturating_add(1), len: 0 };
    let Some(end) = end else { return Ok(next) };
    if last > end.file.saturating_add(1) {
        return Ok(next);
    }
    let reaches = match storage.open(&naming.path(end.file), false) {
        Ok(file) => file.len()? >= end.len,
        Err(error) if error.kind() == io::ErrorKind::NotFound => end.len == 0,
        Err(error) => return Err(error),
    };
    if reaches {
        return Ok(end);
    }
    tracing::warn!(
        dir = %naming.dir.display(), name = %naming.stem,
        "what was set aside is older than the sink's cursor: it goes on in a new file"
    );
    Ok(LogEnd { file: last.max(end.file).saturating_add(1), len: 0 })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::storage::Storage as _;
    use crate::storage::faulty::{Fault, Faulty};

    /// A disk with files of a log of so many bytes each, by number.
    fn disk_with(files: &[(u32, usize)]) -> (Faulty, Naming) {
        let disk = Faulty::default();
        let naming =
            Naming { dir: PathBuf::from("/data/parked"), stem: "s".to_owned(), suffix: "log" };
        for (number, len) in files {
            disk.open(&naming.path(*number), true).unwrap().write_at(0, &vec![1; *len]).unwrap();
        }
        (disk, naming)
    }

    fn found(files: &[(u32, usize)], end: Option<(u32, u64)>) -> (u32, u64) {
        let (disk, naming) = disk_with(files);
        let storage: SharedStorage = Arc::new(disk);
        let end = end.map(|(file, len)| LogEnd { file, len });
        let LogEnd { file, len } = end_or_next(&storage, &naming, end).unwrap();
        (file, len)
    }

    #[test]
    fn a_log_goes_on_at_its_end_or_behind_all_its_files() {
        let two = [(1, 9), (2, 5)];
        assert_eq!(found(&[], None), (1, 0));
        assert_eq!(found(&two, None), (3, 0), "nobody knows its end");
        assert_eq!(found(&two, Some((2, 5))), (2, 5));
        assert_eq!(found(&two, Some((2, 4))), (2, 4), "the rest was not committed");
        assert_eq!(found(&two, Some((2, 6))), (3, 0), "it is older than its end");
        assert_eq!(found(&two, Some((1, 9))), (1, 9), "one file more may have been begun");
        assert_eq!(found(&[(1, 9), (3, 5)], Some((1, 9))), (4, 0), "two may not");
        assert_eq!(found(&[], Some((2, 0))), (2, 0), "nothing of it was written");
        assert_eq!(found(&[], Some((2, 1))), (3, 0));
        assert_eq!(found(&[(3, 1)], Some((2, 1))), (4, 0));
    }

    #[test]
    fn a_log_that_cannot_be_looked_at_is_not_taken_for_one_that_is_not_there() {
        let (disk, naming) = disk_with(&[(2, 5)]);
        // Its directory is read, and then it is opened.
        disk.fail(2, Fault::Io);
        let storage: SharedStorage = Arc::new(disk);
        let end = LogEnd { file: 2, len: 0 };
        assert!(end_or_next(&storage, &naming, Some(end)).is_err());
        assert_eq!(end_or_next(&storage, &naming, Some(end)).unwrap(), end);
    }
}
