//! The writer of one lane: what is pending, and how it becomes durable.

use std::io;
use std::path::PathBuf;

use protocol::{Counts, Lane};

use super::cursor::{Identity, Point, Position};
use super::error::is_no_space;
use super::reader::Shared;
use super::record::{self, Entry, Seed};
use super::segment::{HEADER_LEN, Header, Segment, Unfinished, lane_dir, offset_of};
use storage::{File, SharedStorage};

/// What the buffer shrinks to once it is written.
const PENDING_KEPT: usize = 256 * 1024;

/// The end of one lane's log.
#[derive(Debug)]
pub(super) struct LaneLog {
    lane: Lane,
    dir: PathBuf,
    seed: Seed,
    identity: Identity,
    /// The segment that takes the next records; none before the first, and after a fault.
    active: Option<Active>,
    durable: Point,
    /// A mark of `mark_len` bytes, and the records that are not known durable: kept until they are.
    pending: Vec<u8>,
    mark_len: usize,
    /// The totals with what is pending.
    totals: Counts,
}

#[derive(Debug)]
struct Active {
    file: Box<dyn File>,
    base: Position,
}

impl LaneLog {
    pub(super) fn new(
        journal: &std::path::Path,
        lane: Lane,
        identity: Identity,
        end: Point,
    ) -> Self {
        Self {
            lane,
            dir: lane_dir(journal, lane),
            seed: Seed::new(identity.journal, lane),
            identity,
            active: None,
            durable: end,
            pending: Vec::new(),
            mark_len: 0,
            totals: end.totals,
        }
    }

    pub(super) const fn durable(&self) -> Point {
        self.durable
    }

    /// Bytes that wait for a commit.
    pub(super) const fn pending_bytes(&self) -> usize {
        self.pending.len().saturating_sub(self.mark_len)
    }

    pub(super) fn append(&mut self, entry: &Entry<'_>) {
        let at = self.durable.at.plus(self.pending.len());
        record::put_entry(&mut self.pending, self.seed, at, self.totals, entry);
        self.totals += entry.adds;
    }

    /// Makes what is pending durable; how many bytes the files grew. On an error all of it is still
    /// pending.
    pub(super) fn commit(&mut self, shared: &Shared, segment_bytes: u64) -> io::Result<u64> {
        if self.pending_bytes() == 0 {
            return Ok(0);
        }
        let group = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        let grown = if self.write_active(segment_bytes)? {
            if let Some(segment) = shared.segments().get_mut(self.lane).last_mut() {
                segment.bytes = segment.bytes.saturating_add(group);
            }
            group
        } else {
            self.write_new(&shared.storage)?;
            let bytes = HEADER_LEN.saturating_add(group);
            let mut segments = shared.segments();
            let segments = segments.get_mut(self.lane);
            // A segment in which nothing was whole gives way to the one that begins where it did.
            segments.retain(|segment| segment.base.at < self.durable.at);
            segments.push(Segment { base: self.durable, bytes });
            bytes
        };
        self.durable = Point { at: self.durable.at.plus(self.pending.len()), totals: self.totals };
        self.mark();
        Ok(grown)
    }

    /// Writes the group to the segment that is open; whether it could. After any fault but a full
    /// disk the segment is sealed: what its file holds beyond the durable end counts for nothing.
    fn write_active(&mut self, segment_bytes: u64) -> io::Result<bool> {
        let Some(active) = &self.active else { return Ok(false) };
        let offset = offset_of(active.base, self.durable.at);
        let end = offset.saturating_add(u64::try_from(self.pending.len()).unwrap_or(u64::MAX));
        if end > segment_bytes {
            self.active = None;
            return Ok(false);
        }
        let fault = match active.file.write_at(offset, &self.pending) {
            Ok(()) => match active.file.sync() {
                Ok(()) => return Ok(true),
                Err(error) => error,
            },
            Err(error) if is_no_space(&error) => {
                // Gives back what was written of the group, so that the rest of the disk's
                // users, and the next start, have room; the mark stays.
                let kept = offset.saturating_add(u64::try_from(self.mark_len).unwrap_or(0));
                if let Err(again) = active.file.set_len(kept) {
                    tracing::debug!(lane = %self.lane, %again, "cannot cut what did not fit");
                }
                return Err(error);
            }
            Err(error) => error,
        };
        tracing::warn!(lane = %self.lane, error = %fault, "journal segment sealed after a fault");
        self.active = None;
        Ok(false)
    }

    /// Writes the group to a new segment, which has its name only once all of that is durable.
    fn write_new(&mut self, storage: &SharedStorage) -> io::Result<()> {
        let header = Header { identity: self.identity, lane: self.lane, base: self.durable };
        let segment = Unfinished::segment(storage, &self.dir, &header)?;
        let file = match segment.write_at(HEADER_LEN, &self.pending) {
            Ok(()) => segment.finish()?,
            Err(error) => return Err(segment.give_up(error)),
        };
        self.active = Some(Active { file, base: self.durable.at });
        Ok(())
    }

    /// Bytes that the next group may take before its buffer grows.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.pending.capacity()
    }

    /// Begins the next group with a mark, and writes it at once, unsynced: after a crash of the
    /// process it tells that the group before it was durable. If it cannot be written now, it is
    /// with the next group.
    fn mark(&mut self) {
        self.pending.clear();
        self.pending.shrink_to(PENDING_KEPT);
        record::put_mark(&mut self.pending, self.seed, self.durable.at, self.durable.totals);
        self.mark_len = self.pending.len();
        if let Some(active) = &self.active
            && let Err(error) =
                active.file.write_at(offset_of(active.base, self.durable.at), &self.pending)
        {
            tracing::debug!(lane = %self.lane, %error, "cannot write the mark yet");
        }
    }
}
