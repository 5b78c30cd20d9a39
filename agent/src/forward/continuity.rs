//! Where each ring stands in what was forwarded: a hole between two entries that no loss record
//! explains is itself a loss, and gets said with its exact counts.
//!
//! Each entry carries what its ring had taken in all, so the hole in front of it is known by
//! subtraction, whatever it was that is missing.
//!
//! The map is kept in a file, from time to time, with the positions that it holds for. It may be
//! older than the sink's cursor: the journal in between is read again, by heads. 56 bytes per ring
//! that ever was. What was read and is not with the sink yet stands apart in it: the file holds for
//! the cursor before the batch at hand, and for the one behind it.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use protocol::loss::LossReason;
use protocol::{Counts, Lane, RingId, Seq};
use serde::{Deserialize, Serialize};

use super::lane_mut;
use crate::journal::JournalCursor;
use crate::sink::refuse_newer;
use crate::storage::SharedStorage;

const MAGIC: [u8; 4] = *b"MPr5";
/// What every version's magic begins with; the last byte is the version.
const FAMILY: [u8; 3] = *b"MPr";

/// Rings that a batch moves, about: room that is kept for the next one.
const BATCH_RINGS: usize = 4096;

/// One ring, as far as it was forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RingState {
    /// The last frame, or the last one covered by a loss.
    pub last: Seq,
    /// What the ring had taken up to there; unknown if only the sink remembers the ring.
    pub through: Option<Counts>,
}

impl RingState {
    /// Nothing of it came.
    const NEVER: Self = Self { last: Seq::ZERO, through: Some(Counts::ZERO) };
}

/// An entry as continuity sees it.
#[derive(Clone, Copy, Debug)]
pub struct Advance {
    /// Whose.
    pub ring: RingId,
    /// The first sequence number it speaks for: its own, or the first one a loss covers.
    pub first: Seq,
    /// Its own, or the last one a gap covers.
    pub seq: Seq,
    /// What it adds.
    pub adds: Counts,
    /// What the ring had taken, it included.
    pub through: Counts,
}

/// A part of a ring that is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hole {
    /// First sequence number.
    pub first: Seq,
    /// Last sequence number.
    pub last: Seq,
    /// What was in it.
    pub lost: Counts,
}

/// How an entry follows on what was forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It was forwarded before.
    Repeat,
    /// It is new.
    New {
        /// What is missing before it.
        hole: Option<Hole>,
        /// How much of what it adds is new; less than all only for a loss that covers what was
        /// forwarded.
        fresh: Counts,
    },
}

/// Where every ring stands.
#[derive(Clone, Debug, Default)]
pub struct Continuity {
    rings: HashMap<RingId, RingState>,
    /// What those rings were that have moved since it was last settled.
    before: HashMap<RingId, Option<RingState>>,
    /// The journal's beginning is gone: where the rings stood then that had come before. Met for the
    /// first time, one of them may have an earlier part.
    midway: Option<HashMap<RingId, RingState>>,
    /// When the latest entry was received, in milliseconds since 1970 UTC; 0 if that is not known.
    received_ms: i64,
    /// By lane, why something is missing, until what is missing of rings that do not go on was named as
    /// well, and the sink has that.
    to_name: [Option<LossReason>; 3],
}

impl Continuity {
    /// By lane, why something may be missing of rings that do not go on, if that is to be named yet.
    pub fn to_name(&self) -> [Option<LossReason>; 3] {
        self.to_name
    }

    /// Something is missing in this lane.
    pub fn owe_names(&mut self, lane: Lane, reason: LossReason) {
        *lane_mut(&mut self.to_name, lane) = Some(reason);
    }

    /// The sink has all that was to be named.
    pub fn names_are_told(&mut self) {
        self.to_name = [None; 3];
    }

    /// When the latest entry was received, in milliseconds since 1970 UTC; 0 if that is not known.
    pub fn received_ms(&self) -> i64 {
        self.received_ms
    }

    /// An entry was received then.
    pub fn received(&mut self, received_ms: i64) {
        self.received_ms = received_ms;
    }

    /// From here on a ring of those that had come before, and that is not known, is taken as it comes.
    pub fn begin_midway(&mut self, before: HashMap<RingId, RingState>) {
        self.midway.get_or_insert(before);
    }

    /// Whether it begins so.
    pub fn begins_midway(&self) -> bool {
        self.midway.is_some()
    }

    /// Where a ring stands.
    pub fn get(&self, ring: &RingId) -> Option<RingState> {
        self.rings.get(ring).copied()
    }

    /// How many rings there are.
    pub fn ring_count(&self) -> usize {
        self.rings.len()
    }

    /// The sink holds this ring up to `last`.
    pub fn delivered(&mut self, ring: RingId, last: Seq) {
        let known = self.rings.entry(ring).or_insert(RingState { last, through: None });
        if known.last < last {
            *known = RingState { last, through: None };
        }
    }

    /// Where a ring stands, as is taken if it never came; none if that cannot be said.
    pub(super) fn known(&self, ring: &RingId) -> Option<RingState> {
        let came_before = self.midway.as_ref().is_some_and(|before| before.contains_key(ring));
        self.get(ring).or((!came_before).then_some(RingState::NEVER))
    }

    /// From where on a ring is missing of which nothing more stands in the journal.
    pub(super) fn missing_from(&self, ring: &RingId) -> RingState {
        let before = || self.midway.as_ref()?.get(ring).copied();
        self.get(ring).or_else(before).unwrap_or(RingState::NEVER)
    }

    /// How the entry follows. Changes nothing: see [`Continuity::advance`].
    pub fn judge(&self, entry: &Advance) -> Verdict {
        let midway = RingState { last: entry.first.prev(), through: None };
        let state = self.known(&entry.ring).unwrap_or(midway);
        if entry.seq <= state.last {
            return Verdict::Repeat;
        }
        let before = entry.through.since(entry.adds);
        let lost = state.through.map_or(Counts::ZERO, |through| before.since(through));
        let is_explained = entry.first <= state.last.next() && lost.is_zero();
        let first = state.last.next();
        let until =
            if entry.first > first { entry.first.prev() } else { entry.seq.prev().max(first) };
        let fresh = state.through.map_or(entry.adds, |through| {
            let beyond = entry.through.since(through);
            Counts {
                samples: beyond.samples.min(entry.adds.samples),
                events: beyond.events.min(entry.adds.events),
            }
        });
        Verdict::New { hole: (!is_explained).then_some(Hole { first, last: until, lost }), fresh }
    }

    /// Takes note that the entry was forwarded.
    pub fn advance(&mut self, entry: &Advance) {
        self.reach(entry.ring, RingState { last: entry.seq, through: Some(entry.through) });
    }

    /// Takes note that all up to there was forwarded, or said to be lost.
    pub fn reach(&mut self, ring: RingId, state: RingState) {
        let known = self.rings.get(&ring).copied();
        if known.is_none_or(|known| known.last <= state.last) {
            self.before.entry(ring).or_insert(known);
            self.rings.insert(ring, state);
        }
    }

    /// All of it is with the sink.
    pub fn settle(&mut self) {
        self.before.clear();
        // A start reads of all rings; a batch, of so many.
        self.before.shrink_to(BATCH_RINGS);
    }

    /// Where the rings stood when it was last settled.
    fn settled(&self) -> impl Iterator<Item = (RingId, RingState)> {
        self.rings.iter().filter_map(|(ring, state)| match self.before.get(ring) {
            Some(before) => before.map(|before| (*ring, before)),
            None => Some((*ring, *state)),
        })
    }

    /// The rings that have moved since.
    fn moved(&self) -> Vec<(RingId, RingState)> {
        self.before.keys().filter_map(|ring| Some((*ring, self.get(ring)?))).collect()
    }
}

/// The file that keeps it, in a directory for all sinks, by the sink's name.
#[derive(Clone, Debug)]
pub struct Snapshots {
    storage: SharedStorage,
    dir: PathBuf,
    sink: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Snapshot {
    /// What the sink is called in the cursor that it holds.
    called: String,
    at: JournalCursor,
    midway: Option<Vec<(RingId, RingState)>>,
    received_ms: i64,
    to_name: [Option<LossReason>; 3],
    rings: Vec<(RingId, RingState)>,
    /// Where the batch at hand ends, and the rings that it moves.
    ahead: Option<Ahead>,
}

/// The rings behind the batch at hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ahead {
    at: JournalCursor,
    /// Documents that the sink has then: a batch of losses alone moves no position.
    documents: u64,
    moved: Vec<(RingId, RingState)>,
}

/// What the file holds.
#[derive(Clone, Debug)]
pub struct Kept(Snapshot);

impl Kept {
    /// The rings as of the first of its two cursors.
    pub fn settled(self) -> (Continuity, JournalCursor) {
        let Snapshot { at, midway, received_ms, to_name, rings, .. } = self.0;
        let midway = midway.map(|midway| midway.into_iter().collect());
        let (rings, before) = (rings.into_iter().collect(), HashMap::new());
        (Continuity { rings, before, midway, received_ms, to_name }, at)
    }

    /// The rings as of the last of its two cursors that stands before `cursor` or there, where the sink
    /// has so many documents; none if the file is of another journal, or of later.
    pub fn before(
        self,
        cursor: &JournalCursor,
        documents: u64,
    ) -> Option<(Continuity, JournalCursor)> {
        let precedes = |at: &JournalCursor| {
            at.journal == cursor.journal && at.positions.within(&cursor.positions)
        };
        let mut kept = self;
        let ahead = kept.0.ahead.take();
        let (mut continuity, at) = kept.settled();
        match ahead {
            Some(ahead)
                if precedes(&ahead.at)
                    && (ahead.at.positions != cursor.positions || ahead.documents <= documents) =>
            {
                continuity.rings.extend(ahead.moved);
                Some((continuity, ahead.at))
            }
            _ => precedes(&at).then_some((continuity, at)),
        }
    }
}

impl Snapshots {
    /// Kept in `dir`, for a sink of this name.
    pub fn new(storage: SharedStorage, dir: PathBuf, sink: &str) -> Self {
        Self { storage, dir, sink: sink.to_owned() }
    }

    /// Replaces the file, durably: the rings as they were when they were settled `at`, and as they
    /// are at the cursor `ahead`, with so many documents, if something has moved. `called` is the
    /// sink's name in the cursor that it holds.
    pub fn write(
        &self,
        called: &str,
        continuity: &Continuity,
        at: &JournalCursor,
        (ahead, documents): (&JournalCursor, u64),
    ) -> io::Result<()> {
        let rings = continuity.settled().collect();
        let moved = continuity.moved();
        let ahead = (!moved.is_empty()).then_some(Ahead { at: *ahead, documents, moved });
        let Continuity { midway, received_ms, to_name, .. } = continuity;
        let midway = midway.as_ref().map(|midway| midway.iter().map(|(r, s)| (*r, *s)).collect());
        let (called, at) = (called.to_owned(), *at);
        let (received_ms, to_name) = (*received_ms, *to_name);
        let snapshot = Snapshot { called, at, midway, received_ms, to_name, rings, ahead };
        let body = postcard::to_extend(&snapshot, Vec::new()).map_err(io::Error::other)?;
        self.storage.create_dir_all(&self.dir)?;
        let path = self.path(&self.sink);
        let new = path.with_extension("rings-new");
        match self.storage.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.storage.open(&new, true)?;
        let checksum = crc32c::crc32c(&body).to_le_bytes();
        file.write_at(0, &[&MAGIC[..], &checksum, &body].concat())?;
        file.sync()?;
        self.storage.rename(&new, &path)?;
        self.storage.sync_dir(&self.dir)
    }

    /// Reads the file; nothing if there is none or it is damaged. One of a newer version is an
    /// error.
    pub fn read(&self) -> io::Result<Option<Kept>> {
        self.read_of(&self.sink)
    }

    /// Of a sink whose cursor calls it otherwise: from the file under that name, or from its own if a
    /// start under the new name wrote that already. What another sink keeps there is not taken.
    pub fn read_renamed(&self, called: &str) -> io::Result<Option<Kept>> {
        for file in [self.sink.as_str(), called] {
            let kept = self.read_of(file)?.filter(|kept| kept.0.called == called);
            if kept.is_some() {
                return Ok(kept);
            }
        }
        Ok(None)
    }

    fn read_of(&self, sink: &str) -> io::Result<Option<Kept>> {
        let path = self.path(sink);
        let file = match self.storage.open(&path, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        refuse_newer(&bytes, FAMILY, MAGIC).map_err(|error| {
            io::Error::new(error.kind(), format!("{} has {error}", path.display()))
        })?;
        Ok(decode(&bytes))
    }

    fn path(&self, sink: &str) -> PathBuf {
        self.dir.join(format!("{sink}.rings"))
    }
}

fn decode(bytes: &[u8]) -> Option<Kept> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, body) = rest.split_first_chunk::<4>()?;
    if *magic != MAGIC || crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    postcard::from_bytes(body).ok().map(Kept)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::{Position, Positions};
    use crate::storage::Disk;
    use crate::storage::faulty::{Fault, Faulty};

    const RING: RingId = RingId([1; 16]);

    fn samples(samples: u64) -> Counts {
        Counts { samples, events: 0 }
    }

    fn entry(first: u64, seq: u64, adds: u64, through: u64) -> Advance {
        let (adds, through) = (samples(adds), samples(through));
        Advance { ring: RING, first: Seq(first), seq: Seq(seq), adds, through }
    }

    fn after(entries: &[Advance]) -> Continuity {
        let mut continuity = Continuity::default();
        for entry in entries {
            continuity.advance(entry);
        }
        continuity
    }

    fn new(hole: Option<(u64, u64, u64)>, fresh: u64) -> Verdict {
        let hole = hole.map(|(first, last, lost)| Hole {
            first: Seq(first),
            last: Seq(last),
            lost: samples(lost),
        });
        Verdict::New { hole, fresh: samples(fresh) }
    }

    #[test]
    fn a_hole_has_its_range_and_exact_counts() {
        let continuity = after(&[entry(1, 1, 10, 10), entry(2, 2, 10, 20)]);
        assert_eq!(continuity.judge(&entry(2, 2, 10, 20)), Verdict::Repeat);
        assert_eq!(continuity.judge(&entry(3, 3, 10, 30)), new(None, 10));
        assert_eq!(continuity.judge(&entry(5, 5, 10, 57)), new(Some((3, 4, 27)), 10));
        assert_eq!(continuity.judge(&entry(5, 5, 10, 30)), new(Some((3, 4, 0)), 10), "burnt");
        assert_eq!(continuity.judge(&entry(3, 9, 70, 90)), new(None, 70), "a loss explains");
        assert_eq!(continuity.judge(&entry(2, 9, 60, 90)), new(Some((3, 8, 10)), 60));
        assert_eq!(continuity.judge(&entry(1, 9, 85, 90)), new(None, 70), "a loss overlaps");
    }

    #[test]
    fn a_loss_that_does_not_explain_all_leaves_a_hole_up_to_where_it_begins_or_stands() {
        let continuity = after(&[entry(1, 1, 10, 10), entry(2, 2, 10, 20)]);
        assert_eq!(continuity.judge(&entry(3, 9, 60, 90)), new(Some((3, 8, 10)), 60));
        assert_eq!(continuity.judge(&entry(5, 9, 60, 90)), new(Some((3, 4, 10)), 60));
    }

    #[test]
    fn every_ring_is_counted_once() {
        let other = Advance { ring: RingId([2; 16]), ..entry(1, 1, 10, 10) };
        let continuity = after(&[entry(1, 1, 10, 10), entry(2, 2, 10, 20), other]);
        assert_eq!(continuity.ring_count(), 2);
    }

    #[test]
    fn a_ring_begins_at_one_unless_the_beginning_is_gone() {
        let mut continuity = Continuity::default();
        assert_eq!(continuity.judge(&entry(4, 4, 10, 40)), new(Some((1, 3, 30)), 10));
        continuity.begin_midway([(RING, RingState::NEVER)].into());
        assert_eq!(continuity.judge(&entry(4, 4, 10, 40)), new(None, 10));
        continuity.delivered(RING, Seq(3));
        assert_eq!(continuity.judge(&entry(3, 3, 10, 30)), Verdict::Repeat);
        assert_eq!(continuity.judge(&entry(4, 4, 10, 40)), new(None, 10));
        assert_eq!(continuity.judge(&entry(5, 5, 10, 50)), new(Some((4, 4, 0)), 10));
    }

    #[test]
    fn a_snapshot_comes_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursors/files.rings");
        let snapshots = Snapshots::new(Arc::new(Disk), dir.path().join("cursors"), "files");
        assert!(snapshots.read().unwrap().is_none());
        let mut continuity = after(&[entry(1, 7, 10, 10)]);
        continuity.owe_names(Lane::Bulk, LossReason::Overrun);
        let at = JournalCursor {
            journal: [3; 16],
            epoch: crate::journal::Epoch::default(),
            positions: crate::journal::Positions::ZERO,
            totals: [samples(1); 3],
        };
        snapshots.write("files", &continuity, &at, (&at, 3)).unwrap();
        let (back, kept_at) = snapshots.read().unwrap().unwrap().before(&at, 3).unwrap();
        assert_eq!(back.to_name(), [None, Some(LossReason::Overrun), None]);
        assert_eq!((back.rings, kept_at), (continuity.rings, at));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(snapshots.read().unwrap().is_none());
        bytes[3] = MAGIC[3] + 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = snapshots.read().unwrap_err().to_string();
        assert!(error.contains("files.rings has format 6"), "{error}");
    }

    #[test]
    fn a_disk_that_fails_is_no_snapshot_that_is_not_there() {
        let disk = Faulty::default();
        let snapshots = Snapshots::new(Arc::new(disk.clone()), "/cursors".into(), "files");
        let continuity = after(&[entry(1, 7, 10, 10)]);
        let at = JournalCursor {
            journal: [3; 16],
            epoch: crate::journal::Epoch::default(),
            positions: Positions::ZERO,
            totals: [samples(1); 3],
        };
        disk.fail(1, Fault::Io);
        assert!(snapshots.read().is_err());
        assert!(snapshots.read().unwrap().is_none());
        snapshots.write("files", &continuity, &at, (&at, 3)).unwrap();
        // What a start that was cut off left, longer than what is to be written, cannot be removed.
        let left = PathBuf::from("/cursors/files.rings-new");
        snapshots.storage.open(&left, true).unwrap().write_at(0, &[7; 4000]).unwrap();
        disk.fail(2, Fault::Io);
        assert!(snapshots.write("files", &continuity, &at, (&at, 3)).is_err());
        assert!(snapshots.read().unwrap().is_some(), "the one of before is untouched");
    }

    #[test]
    fn a_snapshot_holds_before_the_batch_at_hand_and_behind_it() {
        const OTHER: RingId = RingId([2; 16]);
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(Arc::new(Disk), dir.path().to_owned(), "files");
        let cursor = |bytes| JournalCursor {
            journal: [3; 16],
            epoch: crate::journal::Epoch::default(),
            positions: Positions([bytes, Position::ZERO, Position::ZERO]),
            totals: [samples(1); 3],
        };
        let [at, between, ahead] = [10, 15, 20].map(|bytes| cursor(Position(bytes)));
        let mut continuity = after(&[entry(1, 1, 10, 10)]);
        continuity.settle();
        continuity.advance(&entry(2, 2, 10, 20));
        continuity.advance(&Advance { ring: OTHER, ..entry(1, 1, 5, 5) });
        snapshots.write("files", &continuity, &at, (&ahead, 3)).unwrap();
        let kept = snapshots.read().unwrap().unwrap();
        assert!(kept.clone().before(&cursor(Position(9)), 3).is_none());
        for cursor in [at, between] {
            let (rings, kept_at) = kept.clone().before(&cursor, 3).unwrap();
            assert_eq!(kept_at, at);
            assert_eq!(rings.get(&RING).unwrap().through, Some(samples(10)));
            assert_eq!(rings.get(&OTHER), None);
        }
        let (rings, kept_at) = kept.clone().before(&ahead, 3).unwrap();
        assert_eq!(kept_at, ahead);
        assert_eq!(
            (rings.get(&RING), rings.get(&OTHER)),
            (continuity.get(&RING), continuity.get(&OTHER))
        );
        let another = JournalCursor { journal: [4; 16], ..ahead };
        assert!(kept.before(&another, 3).is_none());
    }

    #[test]
    fn a_renamed_sink_takes_what_was_kept_under_its_old_name_and_nothing_of_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let of = |sink| Snapshots::new(Arc::new(Disk), dir.path().to_owned(), sink);
        let at = JournalCursor {
            journal: [3; 16],
            epoch: crate::journal::Epoch::default(),
            positions: crate::journal::Positions::ZERO,
            totals: [samples(1); 3],
        };
        let keep = |sink, called, seq| {
            let mut continuity = after(&[entry(1, seq, 10, 10)]);
            continuity.settle();
            of(sink).write(called, &continuity, &at, (&at, 0)).unwrap();
        };
        let last = || {
            let kept = of("new").read_renamed("old").unwrap()?;
            kept.settled().0.get(&RING).map(|ring| ring.last)
        };
        keep("new", "new", 9);
        assert_eq!(last(), None, "of a sink that was called so before");
        keep("old", "old", 1);
        assert_eq!(last(), Some(Seq(1)));
        keep("new", "old", 2);
        assert_eq!(last(), Some(Seq(2)), "a start under the new name came so far");
        keep("old", "another", 3);
        assert_eq!(last(), Some(Seq(2)));
        keep("new", "new", 9);
        assert_eq!(last(), None, "the old name is another's now");
    }

    #[test]
    fn a_batch_of_losses_alone_is_told_by_its_documents() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(Arc::new(Disk), dir.path().to_owned(), "files");
        let at = JournalCursor {
            journal: [3; 16],
            epoch: crate::journal::Epoch::default(),
            positions: Positions([Position(10), Position::ZERO, Position::ZERO]),
            totals: [samples(1); 3],
        };
        let mut continuity = after(&[entry(1, 1, 10, 10)]);
        continuity.settle();
        continuity.reach(RING, RingState { last: Seq(9), through: Some(samples(90)) });
        snapshots.write("files", &continuity, &at, (&at, 4)).unwrap();
        let kept = snapshots.read().unwrap().unwrap();
        let last = |documents| {
            let (rings, _) = kept.clone().before(&at, documents).unwrap();
            rings.get(&RING).unwrap().last
        };
        assert_eq!([3, 4, 5].map(last), [Seq(1), Seq(9), Seq(9)]);
    }
}
