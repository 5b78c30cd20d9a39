//! What stands before a block's columns, in plain bytes.

use protocol::codec::CodecError;
use protocol::varint;
use protocol::{CatalogueId, DeviceId, Lane, RingId};

use super::{COLUMNS_MAX, SAMPLES_MAX, SeatNumber, Stream};

/// Whose samples, how many, and how long the parts are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    pub stream: Stream,
    pub samples: usize,
    pub runs: usize,
    pub runs_len: usize,
    pub instants_len: usize,
    /// Each column that occurs, and the bytes of its values, in the order in which they stand.
    pub columns: Vec<(u8, usize)>,
}

impl Head {
    pub fn write(&self, out: &mut Vec<u8>) {
        let Stream { device, ring, lane, catalogue, tick_ms, boot, seat } = &self.stream;
        out.push(u8::try_from(device.as_bytes().len()).unwrap_or_default());
        out.extend_from_slice(device.as_bytes());
        out.extend_from_slice(&ring.0);
        out.push(*lane as u8);
        out.extend_from_slice(&catalogue.0.to_be_bytes());
        put(out, u64::from(*tick_ms));
        put(out, boot.map_or(0, |boot| u64::from(boot) + 1));
        put(out, seat.map_or(0, SeatNumber::get));
        for len in [self.samples, self.runs, self.runs_len, self.instants_len, self.columns.len()] {
            put(out, len as u64);
        }
        for (column, len) in &self.columns {
            out.push(*column);
            put(out, *len as u64);
        }
    }

    /// Bytes in which the stream stands.
    pub const STREAM_REACH: usize = 1 + DeviceId::LEN_MAX + 16 + 1 + 4 + 3 * varint::LEN_MAX;

    /// Reads whose block it is and what all its samples have in common: what it begins with.
    pub fn stream(content: &[u8]) -> Result<(Stream, &[u8]), CodecError> {
        let (len, rest) = content.split_first().ok_or(CodecError::Truncated)?;
        let (device, rest) =
            rest.split_at_checked(usize::from(*len)).ok_or(CodecError::Truncated)?;
        let device = str::from_utf8(device).ok().and_then(|name| name.parse::<DeviceId>().ok());
        let (ring, rest) = rest.split_first_chunk::<16>().ok_or(CodecError::Truncated)?;
        let (lane, rest) = rest.split_first().ok_or(CodecError::Truncated)?;
        let (catalogue, rest) = rest.split_first_chunk::<4>().ok_or(CodecError::Truncated)?;
        let mut rest = rest;
        let tick_ms = u32::try_from(take(&mut rest)?).map_err(|_| CodecError::Malformed)?;
        let boot = match take(&mut rest)? {
            0 => None,
            boot => Some(u32::try_from(boot - 1).map_err(|_| CodecError::Malformed)?),
        };
        let seat = SeatNumber::new(take(&mut rest)?);
        let stream = Stream {
            device: device.ok_or(CodecError::Malformed)?,
            ring: RingId(*ring),
            lane: Lane::from_index(*lane).ok_or(CodecError::Malformed)?,
            catalogue: CatalogueId(u32::from_be_bytes(*catalogue)),
            tick_ms,
            boot,
            seat,
        };
        Ok((stream, rest))
    }

    /// Reads it; the parts follow.
    pub fn read(content: &[u8]) -> Result<(Self, &[u8]), CodecError> {
        let (stream, mut rest) = Self::stream(content)?;
        let mut head = Self {
            stream,
            samples: length(&mut rest)?,
            runs: length(&mut rest)?,
            runs_len: length(&mut rest)?,
            instants_len: length(&mut rest)?,
            columns: Vec::new(),
        };
        let columns = length(&mut rest)?;
        let is_sound = (1..=SAMPLES_MAX).contains(&head.samples)
            && (1..=SAMPLES_MAX).contains(&head.runs)
            // And that of values which are no number of steps.
            && columns <= usize::from(COLUMNS_MAX) + 1;
        if !is_sound {
            return Err(CodecError::Malformed);
        }
        for _ in 0..columns {
            let (column, after) = rest.split_first().ok_or(CodecError::Truncated)?;
            rest = after;
            head.columns.push((*column, length(&mut rest)?));
        }
        Ok((head, rest))
    }
}

pub fn put(out: &mut Vec<u8>, number: u64) {
    let mut bytes = [0; varint::LEN_MAX];
    let len = varint::write(number, &mut bytes).unwrap_or_default();
    out.extend(bytes.iter().take(len));
}

fn take(from: &mut &[u8]) -> Result<u64, CodecError> {
    let (number, rest) = varint::read(from).ok_or(CodecError::Truncated)?;
    *from = rest;
    Ok(number)
}

fn length(from: &mut &[u8]) -> Result<usize, CodecError> {
    usize::try_from(take(from)?).map_err(|_| CodecError::Malformed)
}
