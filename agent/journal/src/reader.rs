//! The readers' side: what is durable, where it stands, and a way through it.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::{Counts, JournalInstance, Lane};
use tokio::sync::watch;

use super::cursor::{Ends, Epoch, Identity, JournalCursor, PerLane, Point, Position};
use super::epochs::Epochs;
use super::record::{Entry, Seed};
use super::scan::{Scan, Span, Step};
use super::segment::{Segment, lane_dir, path_of};
use storage::{File, SharedStorage};

/// What writer and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) storage: SharedStorage,
    pub(super) dir: PathBuf,
    pub(super) identity: Identity,
    pub(super) epochs: Epochs,
    /// The segments of each lane, in order. Only the writer changes it.
    segments: Mutex<PerLane<Vec<Segment>>>,
}

/// Where a position stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// In this part of the log, whose end is this point.
    Segment(Position, Point),
    /// Nowhere: the log goes on at this point.
    Nowhere(Point),
    /// Beyond what is durable.
    Ahead,
}

impl Shared {
    pub(super) fn new(
        storage: SharedStorage,
        dir: PathBuf,
        identity: Identity,
        epochs: Epochs,
        segments: PerLane<Vec<Segment>>,
    ) -> Self {
        Self { storage, dir, identity, epochs, segments: Mutex::new(segments) }
    }

    pub(super) fn segments(&self) -> MutexGuard<'_, PerLane<Vec<Segment>>> {
        // Nothing is done under the lock that could leave the list half changed.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, lane: Lane, at: Position, end: Point) -> Place {
        if at >= end.at {
            return Place::Ahead;
        }
        let segments = self.segments();
        let segments = segments.get(lane);
        let following = segments.partition_point(|segment| segment.base.at <= at);
        let next = segments.get(following).map_or(end, |segment| segment.base);
        let next = if next.at < end.at { next } else { end };
        match following.checked_sub(1).and_then(|own| segments.get(own)) {
            Some(own) => Place::Segment(own.base.at, next),
            None => Place::Nowhere(next),
        }
    }
}

/// The readers' view of a journal: cheap to clone, used from any thread.
#[derive(Clone, Debug)]
pub struct JournalTail {
    shared: Arc<Shared>,
    ends: watch::Receiver<Ends>,
}

impl JournalTail {
    pub(super) const fn new(shared: Arc<Shared>, ends: watch::Receiver<Ends>) -> Self {
        Self { shared, ends }
    }

    /// The journal's id.
    pub fn id(&self) -> [u8; 16] {
        self.shared.identity.journal
    }

    /// This life of it.
    pub fn epoch(&self) -> Epoch {
        self.shared.identity.epoch
    }

    /// Names this life towards devices.
    pub fn instance(&self) -> JournalInstance {
        self.shared.identity.instance()
    }

    /// How far it is durable.
    pub fn ends(&self) -> Ends {
        *self.ends.borrow()
    }

    /// To wait until more is durable. It ends when the journal is dropped.
    pub fn watch(&self) -> watch::Receiver<Ends> {
        self.ends.clone()
    }

    /// A reader of one lane, from a position that an [`Item`] or [`Ends`] named.
    pub fn reader(&self, lane: Lane, from: Position) -> Reader {
        Reader {
            scan: Scan::new(Seed::new(self.id(), lane)),
            tail: self.clone(),
            lane,
            at: from,
            open: None,
        }
    }

    /// Where a lane's oldest segment begins; what stood before was pruned.
    pub fn oldest(&self, lane: Lane) -> Position {
        self.extent(lane).2
    }

    /// The journal's directory.
    pub(super) fn dir(&self) -> &std::path::Path {
        &self.shared.dir
    }

    /// Where a lane's segments begin, in order.
    pub(super) fn bases(&self, lane: Lane) -> Vec<Position> {
        self.shared.segments().get(lane).iter().map(|segment| segment.base.at).collect()
    }

    /// How many segments a lane has, the bytes of their files, and where the first begins.
    pub(super) fn extent(&self, lane: Lane) -> (usize, u64, Position) {
        let segments = self.shared.segments();
        let segments = segments.get(lane);
        let bytes = segments.iter().map(|segment| segment.bytes).sum();
        let begin = segments.first().map_or(self.ends().get(lane).at, |first| first.base.at);
        (segments.len(), bytes, begin)
    }

    /// Whether a cursor was taken from this journal, and not from a later life of which this one
    /// is an older copy.
    ///
    /// It was if the journal is the same, its life is known, and it reaches no further than that
    /// life did: up to the beginning of the next one, or up to what is durable now.
    pub fn validates(&self, cursor: &JournalCursor) -> bool {
        let reach = if cursor.epoch == self.epoch() {
            Some(self.ends().positions)
        } else {
            self.shared.epochs.end_of(cursor.epoch)
        };
        cursor.journal == self.id() && reach.is_some_and(|reach| cursor.positions.within(&reach))
    }
}

/// A part of the log in which there is no valid record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where it begins.
    pub from: Position,
    /// Where the log goes on.
    pub to: Position,
    /// The lane's totals at `to`: less those known at `from`, they are what was lost.
    pub totals: Counts,
}

/// What a reader comes across.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// An entry.
    Entry {
        /// What it says; borrowed from the reader's buffer.
        entry: Entry<'a>,
        /// Where it begins.
        at: Position,
        /// Where it ends: to go on from here is to have done with it.
        end: Position,
        /// The lane's totals at `end`.
        totals: Counts,
    },
    /// Something that cannot be read any more: damaged, missing, or pruned below the reader.
    Damage(Damage),
}

/// Why a reader does not get on. It stays where it is; the caller may try again, or give up the
/// block with [`Reader::pass_unreadable`].
#[derive(Debug, thiserror::Error)]
#[error("cannot read the {lane} lane of the journal at {}", at.0)]
pub struct ReadError {
    /// Which lane.
    pub lane: Lane,
    /// Where.
    pub at: Position,
    /// What the storage says.
    pub source: io::Error,
}

/// A way through one lane, from the oldest to what is durable. Holds one open file and 64 KiB.
#[derive(Debug)]
pub struct Reader {
    tail: JournalTail,
    lane: Lane,
    at: Position,
    scan: Scan,
    open: Option<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    /// None if the file is not there.
    file: Option<Box<dyn File>>,
    base: Position,
    end: Point,
}

enum Advance {
    Entry(Position, usize),
    Damage(Damage),
    End,
}

impl Reader {
    /// Where it stands: before what [`Self::next`] gives next.
    pub const fn position(&self) -> Position {
        self.at
    }

    /// The next entry or damage; none if that is all that is durable so far.
    ///
    /// On an error it stays where it is.
    #[allow(clippy::should_implement_trait, reason = "it lends from its buffer; Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        let advanced =
            self.advance().map_err(|source| ReadError { lane: self.lane, at: self.at, source })?;
        Ok(match advanced {
            Advance::Entry(at, len) => self.scan.record(at, len).and_then(|record| {
                let totals = record.after();
                record.entry.map(|entry| Item::Entry { entry, at, end: self.at, totals })
            }),
            Advance::Damage(damage) => Some(Item::Damage(damage)),
            Advance::End => None,
        })
    }

    /// Takes what cannot be read from here on, up to the next whole record, for damaged: for a
    /// caller that has tried [`Self::next`] often enough.
    pub fn pass_unreadable(&mut self) {
        self.scan.pass_unreadable();
    }

    fn advance(&mut self) -> io::Result<Advance> {
        loop {
            let Some(open) = self.open.as_ref().filter(|open| self.at < open.end.at) else {
                match self.find() {
                    Place::Ahead => return Ok(Advance::End),
                    Place::Nowhere(next) => {
                        self.open = None;
                        return Ok(Advance::Damage(self.skip_to(next)));
                    }
                    Place::Segment(base, end) => self.enter(base, end)?,
                }
                continue;
            };
            let end = open.end;
            let Some(file) = &open.file else {
                return Ok(Advance::Damage(self.skip_to(end)));
            };
            let span = Span { base: open.base, end: end.at };
            match self.scan.step(&**file, span, self.at)? {
                Step::Record(len) => {
                    let at = self.at;
                    self.at = at.plus(len);
                    if self.scan.record(at, len).is_some_and(|record| record.entry.is_some()) {
                        return Ok(Advance::Entry(at, len));
                    }
                }
                Step::Damage(to) => {
                    let totals = self.scan.totals_at(to);
                    let next = Point { at: to, totals: totals.unwrap_or(end.totals) };
                    return Ok(Advance::Damage(self.skip_to(next)));
                }
                Step::End => self.open = None,
            }
        }
    }

    fn find(&self) -> Place {
        // First how far, then where: a segment that begins later than this end is not looked at.
        let end = self.tail.ends().get(self.lane);
        self.tail.shared.place(self.lane, self.at, end)
    }

    fn skip_to(&mut self, next: Point) -> Damage {
        let from = self.at;
        self.at = next.at;
        Damage { from, to: next.at, totals: next.totals }
    }

    /// Opens the segment at `base`, or takes note of its new end.
    fn enter(&mut self, base: Position, end: Point) -> io::Result<()> {
        if let Some(open) = self.open.as_mut().filter(|open| open.base == base) {
            open.end = end;
            return Ok(());
        }
        self.open = None;
        self.scan.reset();
        let shared = &self.tail.shared;
        let path = path_of(&lane_dir(&shared.dir, self.lane), base);
        let file = match shared.storage.open(&path, false) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // Pruned between the look at the list and the open: look again.
        let pruned =
            file.is_none() && !matches!(self.find(), Place::Segment(again, _) if again == base);
        if !pruned {
            self.open = Some(OpenSegment { file, base, end });
        }
        Ok(())
    }
}
