//! The bytes in flash: sector header, record header, commit. All numbers little-endian.
//!
//! Everything stands on multiples of [`UNIT`] and is a multiple of it long, so that no write unit
//! is ever programmed twice, whatever its size.

use protocol::{Counts, Lane, RingId, Seq};

use super::fields::{Reader, Writer};
use super::{Cause, Lost, RingMeta};
use crate::checksum::{CRC, flipped_bit, is_one_bit};

/// Lengths as flash counts them, in bytes.
pub(super) mod extent {
    /// The largest write or read unit of a flash.
    pub const UNIT: u32 = 8;
    /// A sector header without a fork mark.
    pub const SECTOR_PLAIN: u32 = 88;
    /// A sector header with one.
    pub const SECTOR_FORKING: u32 = 152;
    /// A record's header: written when the number is reserved.
    pub const RECORD_HEADER: u32 = 32;
    /// A record's commit: written after the body.
    pub const COMMIT: u32 = 8;
    /// What a record takes besides its body.
    pub const RECORD_OVERHEAD: u32 = RECORD_HEADER + COMMIT;
}

pub(super) const UNIT: usize = extent::UNIT as usize;
pub(super) const SECTOR_HEADER_LEN_MAX: usize = extent::SECTOR_FORKING as usize;
pub(super) const RECORD_HEADER_LEN: usize = extent::RECORD_HEADER as usize;
pub(super) const COMMIT_LEN: usize = extent::COMMIT as usize;
pub(super) const RECORD_OVERHEAD: usize = extent::RECORD_OVERHEAD as usize;

/// Where the checksum of a header stands, of a sector or a record.
const CHECKSUM_AT: usize = 4;
const CHECKSUM_LEN: usize = 4;
/// What a record's checksum is bound to besides its header: the ring and the sector's number.
const BOUND_LEN: usize = 20;

/// Three letters and the version of this layout.
const MAGIC: [u8; 4] = *b"MPr\x01";
/// First byte of a record: never that of a blank unit.
const RECORD_MARK: u8 = 0xA5;

/// What a sector's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SectorHeader {
    pub span: Span,
    pub lane: Lane,
    /// The ring's format counter.
    pub format: u32,
    /// How many sectors the region has: another layout of the same flash is not ours.
    pub sectors: u32,
    /// From here to the first frame retained, frames are gone unacknowledged: none if it begins no
    /// earlier.
    pub lost: Option<Lost>,
    /// The ring takes over what another one held.
    pub fork: Option<ForkMark>,
}

/// One sector of one ring: what the headers of its records are relative to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub ring: RingId,
    /// Counts the sectors opened in this region, over all its rings.
    pub number: u32,
    /// The number the first record here takes.
    pub first: Seq,
    /// What the ring had taken before it.
    pub before: Counts,
    /// Where the first record stands.
    pub records_at: u32,
}

/// How far the ring is in taking over another one, when the sector was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ForkMark {
    pub old: RingId,
    /// The number the old ring would have assigned next.
    pub old_next: Seq,
    /// What it had taken before that.
    pub old_before_next: Counts,
    /// The last of its frames that was copied or counted as lost.
    pub copied: Seq,
    /// What the old ring had taken, up to and including `copied`.
    pub copied_through: Counts,
}

impl SectorHeader {
    pub(super) const fn meta(&self) -> RingMeta {
        RingMeta { ring: self.span.ring, lane: self.lane, format: self.format }
    }

    /// How long the header of a sector is, and so where its records begin.
    pub(super) const fn extent(forking: bool) -> u32 {
        if forking { extent::SECTOR_FORKING } else { extent::SECTOR_PLAIN }
    }

    pub(super) fn encode(&self) -> ([u8; SECTOR_HEADER_LEN_MAX], usize) {
        let mut bytes = [0; SECTOR_HEADER_LEN_MAX];
        let mut fields = Writer(&mut bytes);
        fields.put(&MAGIC);
        fields.put(&[0; 4]);
        fields.put(&self.span.number.to_le_bytes());
        let cause = self.lost.map_or(0, |lost| lost.cause as u8);
        fields.put(&[self.lane as u8, u8::from(self.fork.is_some()), cause, 0]);
        fields.put(&self.span.ring.0);
        fields.put(&self.format.to_le_bytes());
        fields.put(&self.sectors.to_le_bytes());
        fields.put(&self.span.first.0.to_le_bytes());
        fields.counts(self.span.before);
        fields.put(&self.lost.map_or(Seq::ZERO, |lost| lost.first).0.to_le_bytes());
        fields.counts(self.lost.map_or(Counts::ZERO, |lost| lost.before));
        if let Some(mark) = &self.fork {
            fields.put(&mark.old.0);
            fields.put(&mark.old_next.0.to_le_bytes());
            fields.counts(mark.old_before_next);
            fields.put(&mark.copied.0.to_le_bytes());
            fields.counts(mark.copied_through);
        }
        let len = Self::extent(self.fork.is_some()) as usize;
        let checksum = sector_checksum(bytes.get(..len).unwrap_or_default());
        if let Some(slot) = bytes.get_mut(4..8) {
            slot.copy_from_slice(&checksum.to_le_bytes());
        }
        (bytes, len)
    }

    /// Reads it, if it is whole.
    pub(super) fn decode(bytes: &[u8; SECTOR_HEADER_LEN_MAX]) -> Option<Self> {
        Self::read(bytes, false)
    }

    /// Reads it as it was before one bit of it flipped, if that can be: the bit would cost all that
    /// is in its sector, and at the start of a ring the ring. One that was cut short may look so,
    /// too; but nothing follows that.
    pub(super) fn mended(bytes: &[u8; SECTOR_HEADER_LEN_MAX]) -> Option<Self> {
        Self::read(bytes, true)
    }

    fn read(bytes: &[u8; SECTOR_HEADER_LEN_MAX], mends: bool) -> Option<Self> {
        let magic = u32::from_le_bytes(*bytes.first_chunk()?) ^ u32::from_le_bytes(MAGIC);
        if magic.count_ones() > 1 {
            return None;
        }
        [false, true].into_iter().find_map(|forking| Self::read_as(*bytes, forking, mends))
    }

    fn read_as(
        mut bytes: [u8; SECTOR_HEADER_LEN_MAX],
        is_forking: bool,
        mends: bool,
    ) -> Option<Self> {
        let len = Self::extent(is_forking) as usize;
        let checksum = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
        let difference = checksum ^ sector_checksum(bytes.get(..len)?);
        if difference != 0 {
            mend(bytes.get_mut(..len)?, difference, 0).filter(|()| mends)?;
        }
        let mut fields = Reader(&bytes);
        let magic = fields.take::<4>()?;
        fields.u32()?;
        let number = fields.u32()?;
        let [lane, forking, cause, _] = fields.take::<4>()?;
        if magic != MAGIC || forking != u8::from(is_forking) {
            return None;
        }
        let ring = RingId(fields.take()?);
        let format = fields.u32()?;
        let sectors = fields.u32()?;
        let first = fields.seq()?;
        let before = fields.counts()?;
        let (lost_first, lost_before) = (fields.seq()?, fields.counts()?);
        let lost = if lost_first == Seq::ZERO {
            None
        } else {
            Some(Lost { first: lost_first, before: lost_before, cause: Cause::from_index(cause)? })
        };
        let fork = if forking == 1 {
            Some(ForkMark {
                old: RingId(fields.take()?),
                old_next: fields.seq()?,
                old_before_next: fields.counts()?,
                copied: fields.seq()?,
                copied_through: fields.counts()?,
            })
        } else {
            None
        };
        let records_at = Self::extent(fork.is_some());
        Some(Self {
            span: Span { ring, number, first, before, records_at },
            lane: Lane::from_index(lane)?,
            format,
            sectors,
            lost,
            fork,
        })
    }
}

/// Turns back the one bit that makes the checksum of a header differ by this; `bound` bytes that
/// are not in flash come before the header's. Nothing if it takes more than a bit.
fn mend(header: &mut [u8], difference: u32, bound: usize) -> Option<()> {
    if is_one_bit(difference) {
        return Some(());
    }
    let covered = header.len().checked_sub(CHECKSUM_LEN)?;
    let (at, mask) = flipped_bit(difference, bound.checked_add(covered)?)?;
    let at = at.checked_sub(bound)?;
    let at = if at < CHECKSUM_AT { at } else { at.checked_add(CHECKSUM_LEN)? };
    *header.get_mut(at)? ^= mask;
    Some(())
}

/// Over everything but the checksum's own field.
fn sector_checksum(bytes: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(bytes.get(..4).unwrap_or_default());
    digest.update(bytes.get(8..).unwrap_or_default());
    digest.finalize()
}

/// What a record is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// A frame of this ring.
    Own,
    /// A frame of the old ring, sealed anew; counts only once it is committed, because until then
    /// the old one is still there to be copied again.
    Copy {
        /// Its number in the old ring.
        origin: Seq,
    },
    /// No frame at all: a number burnt for frames of the old ring that could not be copied.
    LostCopy {
        /// The last of them.
        origin: Seq,
    },
}

/// What a record's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordHeader {
    pub seq: Seq,
    pub purpose: Purpose,
    /// Bytes kept for the body, before rounding up to whole units.
    pub len: u16,
    pub adds: Counts,
    /// What the ring had taken before this record.
    pub before: Counts,
}

impl RecordHeader {
    /// Bytes from one record's start to the next one's.
    pub(super) fn record_len(body_len: u16) -> u32 {
        u32::from(body_len).next_multiple_of(extent::UNIT) + extent::RECORD_OVERHEAD
    }

    /// Writes it relative to its sector; nothing if a number is too far from the sector's start.
    pub(super) fn encode(&self, span: &Span, old_next: Seq) -> Option<[u8; RECORD_HEADER_LEN]> {
        let (kind, origin) = match self.purpose {
            Purpose::Own => (0, 0),
            Purpose::Copy { origin } => (1, old_next.0.checked_sub(origin.0)?),
            Purpose::LostCopy { origin } => (2, old_next.0.checked_sub(origin.0)?),
        };
        let before = self.before.since(span.before);
        let mut bytes = [0; RECORD_HEADER_LEN];
        let mut fields = Writer(&mut bytes);
        fields.put(&[RECORD_MARK, kind]);
        fields.put(&self.len.to_le_bytes());
        fields.put(&[0; 4]);
        fields.put(&short(self.seq.0.checked_sub(span.first.0)?)?);
        fields.put(&short(self.adds.samples)?);
        fields.put(&short(self.adds.events)?);
        fields.put(&short(before.samples)?);
        fields.put(&short(before.events)?);
        fields.put(&short(origin)?);
        let checksum = record_checksum(span, &bytes);
        bytes.get_mut(4..8)?.copy_from_slice(&checksum.to_le_bytes());
        Some(bytes)
    }

    /// Reads it, if it is whole and of this very sector.
    pub(super) fn decode(
        bytes: &[u8; RECORD_HEADER_LEN],
        span: &Span,
        old_next: Seq,
    ) -> Option<Self> {
        Self::read(bytes, span, old_next, false)
    }

    /// Reads it as it was before one bit of it flipped, if that can be. One that was cut short may
    /// look so, too; but a commit never follows that.
    pub(super) fn mended(
        bytes: &[u8; RECORD_HEADER_LEN],
        span: &Span,
        old_next: Seq,
    ) -> Option<Self> {
        Self::read(bytes, span, old_next, true)
    }

    fn read(
        bytes: &[u8; RECORD_HEADER_LEN],
        span: &Span,
        old_next: Seq,
        mends: bool,
    ) -> Option<Self> {
        let mut bytes = *bytes;
        let checksum = u32::from_le_bytes(*bytes.get(CHECKSUM_AT..)?.first_chunk()?);
        let difference = checksum ^ record_checksum(span, &bytes);
        if difference != 0 {
            mend(&mut bytes, difference, BOUND_LEN).filter(|()| mends)?;
        }
        let mut fields = Reader(&bytes);
        let [mark, kind] = fields.take::<2>()?;
        if mark != RECORD_MARK {
            return None;
        }
        let len = u16::from_le_bytes(fields.take()?);
        fields.u32()?;
        let seq = Seq(span.first.0.checked_add(u64::from(fields.u32()?))?);
        let adds = fields.short_counts()?;
        let before = span.before + fields.short_counts()?;
        let origin = Seq(old_next.0.saturating_sub(u64::from(fields.u32()?)));
        let purpose = match kind {
            0 => Purpose::Own,
            1 => Purpose::Copy { origin },
            2 => Purpose::LostCopy { origin },
            _ => return None,
        };
        Some(Self { seq, purpose, len, adds, before })
    }
}

/// Whether the first bytes of a unit can be those of a record.
pub(super) const fn may_be_record(unit: [u8; UNIT]) -> bool {
    let [mark, ..] = unit;
    // One bit of it may have flipped.
    (mark ^ RECORD_MARK).count_ones() <= 1
}

/// Bound to the ring and the sector's number: what an erase left behind is never a record.
fn record_checksum(span: &Span, bytes: &[u8; RECORD_HEADER_LEN]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&span.ring.0);
    digest.update(&span.number.to_le_bytes());
    digest.update(bytes.get(..4).unwrap_or_default());
    digest.update(bytes.get(8..).unwrap_or_default());
    digest.finalize()
}

/// What makes a record whole: written last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Commit {
    /// Bytes of the body.
    pub len: u16,
    /// CRC-32/ISCSI of the body.
    pub checksum: u32,
}

impl Commit {
    pub(super) fn encode(self, seq: Seq) -> [u8; COMMIT_LEN] {
        let mut bytes = [0; COMMIT_LEN];
        let mut fields = Writer(&mut bytes);
        fields.put(&self.checksum.to_le_bytes());
        fields.put(&self.len.to_le_bytes());
        fields.put(&self.check(seq));
        bytes
    }

    /// Reads it; nothing if it was never written, or not wholly.
    pub(super) fn decode(bytes: [u8; COMMIT_LEN], record: &RecordHeader) -> Option<Self> {
        let mut fields = Reader(&bytes);
        let checksum = fields.u32()?;
        let len = u16::from_le_bytes(fields.take()?);
        let commit = Self { len, checksum };
        (len <= record.len && commit.check(record.seq) == fields.take()?).then_some(commit)
    }

    /// Reads it as it was before one bit of it flipped, if that can be. A commit's own check is
    /// short: it is one only if the body agrees.
    pub(super) fn mended(bytes: [u8; COMMIT_LEN], record: &RecordHeader) -> Option<Self> {
        let word = u64::from_le_bytes(bytes);
        (0..u64::BITS).find_map(|bit| Self::decode((word ^ (1 << bit)).to_le_bytes(), record))
    }

    fn check(self, seq: Seq) -> [u8; 2] {
        let mut digest = CRC.digest();
        digest.update(&self.checksum.to_le_bytes());
        digest.update(&self.len.to_le_bytes());
        digest.update(&seq.0.to_le_bytes());
        let [low, high, ..] = digest.finalize().to_le_bytes();
        [low, high]
    }
}

/// Whether counts fit a record's header.
pub(super) fn is_short(counts: Counts) -> bool {
    short(counts.samples).is_some() && short(counts.events).is_some()
}

/// As much of the counts as fits a record's header.
pub(super) fn shortened(counts: Counts) -> Counts {
    let most = u64::from(u32::MAX);
    Counts { samples: counts.samples.min(most), events: counts.events.min(most) }
}

fn short(number: u64) -> Option<[u8; 4]> {
    u32::try_from(number).ok().map(u32::to_le_bytes)
}
