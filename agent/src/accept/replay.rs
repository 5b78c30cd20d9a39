//! A start: the rings brought up to date from the journal.

use protocol::{Counts, FrameTag, Lane, frame};

use crate::dedup::Watermark;
use crate::journal::{Entry, EntryKind, JournalCursor, Positions};
use crate::rings::{Ring, Rings, RingsError};

/// Brings the rings up to date with one journal entry, at a start.
pub fn replay(rings: &mut Rings, lane: Lane, entry: &Entry<'_>) -> Result<(), RingsError> {
    let known = rings.get(&entry.ring)?;
    if known.is_some_and(|ring| ring.watermark.durable >= entry.seq) {
        return Ok(());
    }
    let tag = match entry.kind {
        EntryKind::Frame => frame::tag_of(entry.payload),
        EntryKind::Gap => FrameTag::default(),
    };
    let watermark = Watermark { durable: entry.seq, tag, through: entry.through };
    let declared = known.map_or(Counts::ZERO, |ring| ring.declared);
    rings.put(entry.ring, Ring { device: entry.device, lane, watermark, declared });
    Ok(())
}

/// From where a start must read the journal again: where the ring table's checkpoint stands, if it
/// is of this journal.
pub fn replay_from(
    checkpoint: Option<JournalCursor>,
    valid: impl FnOnce(&JournalCursor) -> bool,
) -> Positions {
    checkpoint.filter(|cursor| valid(cursor)).map(|cursor| cursor.positions).unwrap_or_default()
}
