//! One record: marker, length, checksum, body. The byte table is in the [module doc](super).

use protocol::frame::FRAME_LEN_MAX;
use protocol::{Counts, DeviceId, Lane, RingId, Seq};

use super::Position;
use super::fields::{Fields, put_short_counts, put_varint};

/// What a record begins with. Not text, and no byte twice, so that it is found at one offset only.
const MARKER: [u8; 4] = [0xa7, b'M', b'r', 0x1e];
/// Marker, length, checksum.
pub(super) const HEAD_LEN: usize = 12;
/// Kind, totals, received, device, ring, seq, adds, through, at their longest.
const FIELDS_LEN_MAX: usize = 1 + 20 + 8 + 1 + DeviceId::LEN_MAX + 16 + 10 + 40;
const BODY_LEN_MAX: usize = FIELDS_LEN_MAX + FRAME_LEN_MAX;
/// The longest record, in bytes.
pub(super) const RECORD_LEN_MAX: usize = HEAD_LEN + BODY_LEN_MAX;
const KIND_MARK: u8 = 2;

/// What an entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A frame, as it came.
    Frame = 0,
    /// A loss said by this agent: frames of the ring that no device retains.
    Gap = 1,
}

/// One entry: what an acknowledgement rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Frame or gap.
    pub kind: EntryKind,
    /// When the agent took it, in milliseconds since 1970 UTC.
    pub received_ms: i64,
    /// Whose.
    pub device: DeviceId,
    /// Which ring's.
    pub ring: RingId,
    /// A frame's number; for a gap the last one it covers.
    pub seq: Seq,
    /// What it adds to what was accepted.
    pub adds: Counts,
    /// What the ring had taken in all, this entry included.
    pub through: Counts,
    /// A frame: its sealed bytes. A gap: a [`protocol::Loss`] in postcard. At most
    /// [`FRAME_LEN_MAX`] bytes.
    pub payload: &'a [u8],
}

/// What every checksum of a lane starts from: a device that plants a record in a frame cannot know
/// it, and a record is valid at its own position only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(u32);

impl Seed {
    pub(super) fn new(journal: [u8; 16], lane: Lane) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&journal), &[lane as u8]))
    }

    fn checksum(self, at: Position, len: [u8; 4], body: &[u8]) -> u32 {
        let placed = crc32c::crc32c_append(self.0, &at.0.to_le_bytes());
        let placed = crc32c::crc32c_append(placed, &len);
        crc32c::crc32c_append(placed, body)
    }
}

/// A record's body, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record<'a> {
    /// The lane's totals before it.
    pub(super) before: Counts,
    /// An entry; none is a mark: what stands before it was durable when it was written.
    pub(super) entry: Option<Entry<'a>>,
}

impl Record<'_> {
    /// The lane's totals after it.
    pub(super) fn after(&self) -> Counts {
        self.entry.map_or(self.before, |entry| self.before + entry.adds)
    }
}

/// Appends an entry's record, which will stand at `at`.
pub(super) fn put_entry(
    into: &mut Vec<u8>,
    seed: Seed,
    at: Position,
    before: Counts,
    entry: &Entry<'_>,
) {
    let start = begin(into, entry.kind as u8, before);
    into.extend_from_slice(&entry.received_ms.to_le_bytes());
    let device = entry.device.as_bytes();
    into.push(u8::try_from(device.len()).unwrap_or_default());
    into.extend_from_slice(device);
    into.extend_from_slice(&entry.ring.0);
    put_varint(into, entry.seq.0);
    put_short_counts(into, entry.adds);
    put_short_counts(into, entry.through);
    into.extend_from_slice(entry.payload);
    finish(into, start, seed, at);
}

/// Appends a mark, which will stand at `at`.
pub(super) fn put_mark(into: &mut Vec<u8>, seed: Seed, at: Position, before: Counts) {
    let start = begin(into, KIND_MARK, before);
    finish(into, start, seed, at);
}

fn begin(into: &mut Vec<u8>, kind: u8, before: Counts) -> usize {
    let start = into.len();
    into.extend_from_slice(&MARKER);
    into.extend_from_slice(&[0; HEAD_LEN - MARKER.len()]);
    into.push(kind);
    put_short_counts(into, before);
    start
}

fn finish(into: &mut [u8], start: usize, seed: Seed, at: Position) {
    let record = into.get_mut(start..).unwrap_or_default();
    let Some((head, body)) = record.split_first_chunk_mut::<HEAD_LEN>() else { return };
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = seed.checksum(at, len, body).to_le_bytes();
    let numbers = len.into_iter().chain(checksum);
    for (slot, byte) in head.iter_mut().skip(MARKER.len()).zip(numbers) {
        *slot = byte;
    }
}

/// The length of the whole record that stands at the front of `bytes`, which stand at `at`; none
/// if there is no valid one.
pub(super) fn check(seed: Seed, at: Position, bytes: &[u8]) -> Option<usize> {
    let mut fields = Fields(bytes);
    if fields.array()? != MARKER {
        return None;
    }
    let len = fields.array()?;
    let checksum = fields.u32()?;
    let body_len = usize::try_from(u32::from_le_bytes(len)).ok()?;
    if body_len > BODY_LEN_MAX {
        return None;
    }
    let body = fields.bytes(body_len)?;
    (seed.checksum(at, len, body) == checksum).then_some(HEAD_LEN + body_len)
}

/// Where the next marker stands in `bytes`.
pub(super) fn find_marker(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MARKER.len()).position(|window| window == MARKER)
}

/// Reads a record that [`check`] found whole; none if it is of a kind unknown to this version.
pub(super) fn read(record: &[u8]) -> Option<Record<'_>> {
    let mut fields = Fields(record.get(HEAD_LEN..)?);
    let kind = fields.u8()?;
    let before = fields.short_counts()?;
    let kind = match kind {
        0 => EntryKind::Frame,
        1 => EntryKind::Gap,
        KIND_MARK => return Some(Record { before, entry: None }),
        _ => return None,
    };
    let received_ms = i64::from_le_bytes(fields.array()?);
    let device_len = fields.u8()?;
    let device = str::from_utf8(fields.bytes(device_len.into())?).ok()?.parse().ok()?;
    let entry = Entry {
        kind,
        received_ms,
        device,
        ring: RingId(fields.array()?),
        seq: Seq(fields.varint()?),
        adds: fields.short_counts()?,
        through: fields.short_counts()?,
        payload: fields.0,
    };
    Some(Record { before, entry: Some(entry) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_record_fits_and_is_bound_to_journal_lane_and_position() {
        let most = Counts { samples: u64::MAX, events: u64::MAX };
        let payload = [0xa7; FRAME_LEN_MAX];
        let entry = Entry {
            kind: EntryKind::Gap,
            received_ms: i64::MIN,
            device: "a-device_with-32-characters-0123".parse().unwrap(),
            ring: RingId([7; 16]),
            seq: Seq(u64::MAX),
            adds: most,
            through: most,
            payload: &payload,
        };
        let seed = Seed::new([1; 16], Lane::Bulk);
        let at = Position(77);
        let mut bytes = vec![];
        put_entry(&mut bytes, seed, at, most, &entry);
        assert_eq!(bytes.len(), RECORD_LEN_MAX);
        assert_eq!(check(seed, at, &bytes), Some(RECORD_LEN_MAX));
        assert_eq!(read(&bytes), Some(Record { before: most, entry: Some(entry) }));
        assert_eq!(check(seed, at, &bytes[..bytes.len() - 1]), None, "cut off");
        assert_eq!(check(seed, Position(78), &bytes), None, "elsewhere");
        assert_eq!(check(Seed::new([1; 16], Lane::Latest), at, &bytes), None, "another lane");
        assert_eq!(check(Seed::new([2; 16], Lane::Bulk), at, &bytes), None, "another journal");
    }

    #[test]
    fn unknown_kind_is_whole_but_not_read() {
        let seed = Seed::new([1; 16], Lane::Bulk);
        let mut bytes = vec![];
        let start = begin(&mut bytes, 9, Counts::ZERO);
        finish(&mut bytes, start, seed, Position(0));
        assert_eq!(check(seed, Position(0), &bytes), Some(bytes.len()));
        assert_eq!(read(&bytes), None);
    }
}
