//! Frames that were sealed anew: was their content forwarded under its first identity?
//!
//! A device that leaves a ring (a fork) seals what it retains anew, and some of that the agent may
//! hold already. The journal says which: it has the frame of that ring and number, with that tag.

use protocol::frame::{Origin, tag_of};
use protocol::{FrameTag, Lane, RingId, Seq};

use crate::journal::{EntryKind, Item, JournalTail, Position, ReadError};

/// The most tags remembered at a time: 512 KiB.
const TAGS_MAX: usize = 32 * 1024;

/// The tags of the ring last asked about.
#[derive(Debug, Default)]
pub struct Origins {
    ring: RingId,
    /// In ascending order, without a gap that the journal does not have.
    tags: Vec<(Seq, FrameTag)>,
    /// The tags tell of `first` up to `last`.
    first: Seq,
    last: Seq,
}

impl Origins {
    /// Whether the journal holds the frame that `origin` names, before `until` in the lane.
    pub fn is_held(
        &mut self,
        tail: &JournalTail,
        lane: Lane,
        until: Position,
        origin: &Origin,
    ) -> Result<bool, ReadError> {
        let known = self.ring == origin.ring && (self.first..=self.last).contains(&origin.seq);
        if !known {
            self.read(tail, lane, until, origin)?;
        }
        let found = self.tags.binary_search_by_key(&origin.seq, |(seq, _)| *seq).ok();
        let tag = found.and_then(|at| self.tags.get(at)).map(|(_, tag)| *tag);
        Ok(tag == Some(origin.tag))
    }

    /// Reads the lane from its oldest entry: forks are rare.
    fn read(
        &mut self,
        tail: &JournalTail,
        lane: Lane,
        until: Position,
        origin: &Origin,
    ) -> Result<(), ReadError> {
        *self =
            Self { ring: origin.ring, first: origin.seq, last: Seq(u64::MAX), tags: Vec::new() };
        let mut reader = tail.reader(lane, Position::ZERO);
        while reader.position() < until
            && let Some(item) = reader.next()?
        {
            let Item::Entry { entry, .. } = item else { continue };
            let wanted = entry.kind == EntryKind::Frame
                && entry.ring == origin.ring
                && entry.seq >= origin.seq
                && self.tags.last().is_none_or(|(last, _)| *last < entry.seq);
            if !wanted {
                continue;
            }
            if self.tags.len() == TAGS_MAX {
                self.last = entry.seq.prev();
                break;
            }
            self.tags.push((entry.seq, tag_of(entry.payload)));
        }
        Ok(())
    }
}
