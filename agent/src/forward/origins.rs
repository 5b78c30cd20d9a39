//! Frames that were sealed anew: was their content forwarded under its first identity?
//!
//! A device that leaves a ring (a fork) seals what it retains anew, and some of that the agent may
//! hold already. The journal says which: it has the frame of that ring and number, with that tag.

use std::collections::VecDeque;

use protocol::frame::{Origin, tag_of};
use protocol::{FrameTag, Lane, RingId, Seq};

use crate::journal::{EntryKind, Item, JournalTail, Position, ReadError};

/// The most tags remembered of one ring: 96 KiB.
pub(super) const TAGS_MAX: usize = 4096;
/// The most rings remembered: those of a fork are asked about in turn.
pub(super) const RINGS_MAX: usize = 8;

/// The tags of the rings last asked about.
#[derive(Debug, Default)]
pub struct Origins {
    windows: VecDeque<Window>,
}

/// A part of one ring.
#[derive(Debug)]
struct Window {
    ring: RingId,
    /// The tags tell of `first` up to `last`.
    first: Seq,
    last: Seq,
    /// In ascending order.
    tags: Vec<(Seq, FrameTag)>,
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
        let known = self.windows.iter().find(|window| window.tells(origin));
        if let Some(window) = known {
            return Ok(window.tag(origin.seq) == Some(origin.tag));
        }
        let window = Window::read(tail, lane, until, origin)?;
        let tag = window.tag(origin.seq);
        self.windows.retain(|other| other.ring != origin.ring);
        self.windows.truncate(RINGS_MAX - 1);
        self.windows.push_front(window);
        Ok(tag == Some(origin.tag))
    }
}

impl Window {
    /// Reads the lane from its oldest entry: forks are rare.
    fn read(
        tail: &JournalTail,
        lane: Lane,
        until: Position,
        origin: &Origin,
    ) -> Result<Self, ReadError> {
        let (ring, first) = (origin.ring, origin.seq);
        let mut window = Self { ring, first, last: Seq(u64::MAX), tags: Vec::new() };
        let mut reader = tail.reader(lane, Position::ZERO);
        while reader.position() < until
            && let Some(item) = reader.next()?
        {
            let Item::Entry { entry, .. } = item else { continue };
            let is_wanted = entry.kind == EntryKind::Frame
                && entry.ring == ring
                && entry.seq >= first
                && window.tags.last().is_none_or(|(last, _)| *last < entry.seq);
            if !is_wanted {
                continue;
            }
            if window.tags.len() == TAGS_MAX {
                window.last = entry.seq.prev();
                break;
            }
            window.tags.push((entry.seq, tag_of(entry.payload)));
        }
        Ok(window)
    }

    fn tells(&self, origin: &Origin) -> bool {
        self.ring == origin.ring && (self.first..=self.last).contains(&origin.seq)
    }

    fn tag(&self, seq: Seq) -> Option<FrameTag> {
        let at = self.tags.binary_search_by_key(&seq, |(held, _)| *held).ok()?;
        self.tags.get(at).map(|(_, tag)| *tag)
    }
}
