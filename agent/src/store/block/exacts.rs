//! The values of a block that are no number of steps, behind its columns. In these a step of 0 stands in
//! their place.
//!
//! Each: how many samples after the one before (varint), kind (1), and what it is: 4 or 8 bytes of a
//! number, little endian; bytes and text behind their length (varint).

use protocol::codec::CodecError;
use protocol::varint;

use super::Entry;
use super::head::put;
use crate::value::Exact;

/// In the head, the number of the column in which they stand: behind all that are one.
pub const COLUMN: u8 = u8::MAX;

const MISSING: u8 = 0;
const SINGLE: u8 = 1;
const DOUBLE: u8 = 2;
const BYTES: u8 = 3;
const TEXT: u8 = 4;

/// Values, each with its place among the samples.
#[derive(Debug, Default)]
pub struct Exacts {
    /// In the order of the samples.
    pub values: Vec<Exact>,
    places: Vec<usize>,
}

/// Appends those of these samples; whether there are any.
pub fn encode(entries: &[Entry], exacts: &[Exact], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut behind = 0;
    for (place, entry) in entries.iter().enumerate() {
        let Some(exact) = entry.amount.exact(exacts) else { continue };
        put(out, (place - behind) as u64);
        behind = place;
        match exact {
            Exact::Missing => out.push(MISSING),
            Exact::Single(bits) => {
                out.push(SINGLE);
                out.extend_from_slice(&bits.to_le_bytes());
            }
            Exact::Double(bits) => {
                out.push(DOUBLE);
                out.extend_from_slice(&bits.to_le_bytes());
            }
            Exact::Bytes(bytes) => field(out, BYTES, bytes),
            Exact::Text(text) => field(out, TEXT, text.as_bytes()),
        }
    }
    out.len() > start
}

fn field(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

impl Exacts {
    /// Reads those of so many samples.
    pub fn decode(mut from: &[u8], samples: usize) -> Result<Self, CodecError> {
        let mut exacts = Self::default();
        let mut place = 0;
        while !from.is_empty() {
            let (gap, rest) = varint::read(from).ok_or(CodecError::Truncated)?;
            let gap = usize::try_from(gap).map_err(|_| CodecError::Malformed)?;
            place = usize::checked_add(place, gap).ok_or(CodecError::Malformed)?;
            if place >= samples || (gap == 0 && !exacts.places.is_empty()) {
                return Err(CodecError::Malformed);
            }
            let (kind, rest) = rest.split_first().ok_or(CodecError::Truncated)?;
            let (value, rest) = value(*kind, rest)?;
            exacts.values.push(value);
            exacts.places.push(place);
            from = rest;
        }
        Ok(exacts)
    }

    /// Which of them stands at the `place`-th sample; `next` is the first that may.
    pub fn at(&self, place: usize, next: &mut usize) -> Option<u32> {
        while self.places.get(*next).is_some_and(|at| *at < place) {
            *next += 1;
        }
        let is_here = self.places.get(*next) == Some(&place);
        is_here.then(|| u32::try_from(*next).unwrap_or(u32::MAX))
    }
}

fn value(kind: u8, from: &[u8]) -> Result<(Exact, &[u8]), CodecError> {
    Ok(match kind {
        MISSING => (Exact::Missing, from),
        SINGLE => {
            let (bits, rest) = from.split_first_chunk().ok_or(CodecError::Truncated)?;
            (Exact::Single(u32::from_le_bytes(*bits)), rest)
        }
        DOUBLE => {
            let (bits, rest) = from.split_first_chunk().ok_or(CodecError::Truncated)?;
            (Exact::Double(u64::from_le_bytes(*bits)), rest)
        }
        BYTES | TEXT => {
            let (len, rest) = varint::read(from).ok_or(CodecError::Truncated)?;
            let len = usize::try_from(len).map_err(|_| CodecError::Malformed)?;
            let (bytes, rest) = rest.split_at_checked(len).ok_or(CodecError::Truncated)?;
            let exact = if kind == BYTES {
                Exact::Bytes(bytes.into())
            } else {
                Exact::Text(str::from_utf8(bytes).map_err(|_| CodecError::Malformed)?.into())
            };
            (exact, rest)
        }
        _ => return Err(CodecError::Malformed),
    })
}
