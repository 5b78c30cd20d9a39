//! Bodies of records: in, out, and checked.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use protocol::frame::{TAG_LEN, tag_of};
use protocol::{FrameTag, Seq};

use super::layout::{Commit, UNIT, extent};
use super::walk::{Chain, Found, Geometry, Place, Record};
use super::{ReadFrame, RingError};
use crate::checksum::CRC;

/// Bytes of a frame that are read at once where it has no place as a whole.
const CHUNK: u32 = 64;

/// Writes the body of the record that stands at `address`, and then its commit.
pub(super) fn write<F: NorFlash>(
    flash: &mut F,
    address: u32,
    seq: Seq,
    frame: &[u8],
    len: u16,
) -> Result<(), F::Error> {
    let (whole, rest) = frame.split_at(frame.len() - frame.len() % UNIT);
    let body_at = address.saturating_add(extent::RECORD_OVERHEAD);
    if !whole.is_empty() {
        flash.write(body_at, whole)?;
    }
    if !rest.is_empty() {
        let mut last = [0xFF; UNIT];
        for (slot, byte) in last.iter_mut().zip(rest) {
            *slot = *byte;
        }
        let done = u32::from(len) - u32::from(len) % extent::UNIT;
        flash.write(body_at.saturating_add(done), &last)?;
    }
    let commit = Commit { len, checksum: CRC.checksum(frame) };
    flash.write(address.saturating_add(extent::RECORD_HEADER), &commit.encode(seq))
}

/// Reads the frame `seq` to the front of `into`.
pub(super) fn read<F: ReadNorFlash>(
    flash: &mut F,
    geometry: &Geometry,
    chain: &Chain,
    place: &mut Option<Place>,
    seq: Seq,
    into: &mut [u8],
) -> Result<ReadFrame, RingError<F::Error>> {
    let (record, commit) = committed(flash, geometry, chain, place, seq)?;
    let len = usize::from(commit.len);
    let frame = into.get_mut(..len).ok_or(RingError::Room(len))?;
    let address = geometry.address(record.number, record.body_at());
    let (whole, rest) = frame.split_at_mut(len - len % UNIT);
    flash.read(address, whole)?;
    if !rest.is_empty() {
        let mut last = [0; UNIT];
        let done = u32::from(commit.len) - u32::from(commit.len) % extent::UNIT;
        flash.read(address.saturating_add(done), &mut last)?;
        for (slot, byte) in rest.iter_mut().zip(last) {
            *slot = byte;
        }
    }
    if CRC.checksum(frame) != commit.checksum {
        return Err(RingError::Damaged(chain.gone_at(flash, geometry, place, seq)?));
    }
    Ok(ReadFrame { len, adds: record.header.adds, tag: tag_of(frame) })
}

/// The tag of the frame `seq`, once its checksum was found right.
pub(super) fn tag<F: ReadNorFlash>(
    flash: &mut F,
    geometry: &Geometry,
    chain: &Chain,
    place: &mut Option<Place>,
    seq: Seq,
) -> Result<FrameTag, RingError<F::Error>> {
    let (record, commit) = committed(flash, geometry, chain, place, seq)?;
    let address = geometry.address(record.number, record.body_at());
    let (checksum, tail) = digest(flash, address, commit.len)?;
    if checksum != commit.checksum {
        return Err(RingError::Damaged(chain.gone_at(flash, geometry, place, seq)?));
    }
    if usize::from(commit.len) < TAG_LEN {
        return Ok(FrameTag::default());
    }
    Ok(tag_of(&tail))
}

/// The checksum of a body.
pub(super) fn checksum<F: ReadNorFlash>(
    flash: &mut F,
    address: u32,
    len: u16,
) -> Result<u32, F::Error> {
    digest(flash, address, len).map(|(checksum, _)| checksum)
}

/// The checksum of a body, and its last bytes: at the end of a frame, those of its tag.
fn digest<F: ReadNorFlash>(
    flash: &mut F,
    mut address: u32,
    len: u16,
) -> Result<(u32, [u8; TAG_LEN]), F::Error> {
    let mut left = usize::from(len);
    let mut digest = CRC.digest();
    let mut tail = [0; TAG_LEN];
    let mut chunk = [0; CHUNK as usize];
    while left > 0 {
        let take = left.min(chunk.len());
        let part = chunk.get_mut(..take.next_multiple_of(UNIT)).unwrap_or_default();
        flash.read(address, part)?;
        let part = part.get(..take).unwrap_or_default();
        digest.update(part);
        let kept = TAG_LEN.saturating_sub(part.len());
        tail.rotate_left(TAG_LEN - kept);
        for (slot, byte) in
            tail.iter_mut().skip(kept).zip(part.iter().skip(part.len().saturating_sub(TAG_LEN)))
        {
            *slot = *byte;
        }
        address = address.saturating_add(CHUNK);
        left -= take;
    }
    Ok((digest.finalize(), tail))
}

fn committed<F: ReadNorFlash>(
    flash: &mut F,
    geometry: &Geometry,
    chain: &Chain,
    place: &mut Option<Place>,
    seq: Seq,
) -> Result<(Record, Commit), RingError<F::Error>> {
    match chain.find(flash, geometry, place, seq)? {
        Found::Gone(gone) => Err(RingError::Damaged(gone)),
        Found::Record(record) => match record.commit {
            Some(commit) => Ok((record, commit)),
            None => Err(RingError::Damaged(chain.gone_at(flash, geometry, place, seq)?)),
        },
    }
}
