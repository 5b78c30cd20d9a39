//! What the bench gives the image to code: a catalogue, and samples in batches.
//!
//! A file, because the image has no other way to ask its host for bytes: [`FILE`] in the directory
//! that QEMU runs in. All numbers are little endian:
//!
//! ```text
//! length of the catalogue (4) | the catalogue, as it encodes itself | a piece for each sample
//! piece: tick (8) | steps (8) | signal (1) | whether it is the last one of its batch (1)
//! ```
#![no_std]
#![forbid(unsafe_code)]

use core::ffi::CStr;

use protocol::{Sample, SignalIndex};

/// The file's name.
pub const FILE: &CStr = c"workload";
/// The most samples of one.
pub const SAMPLES_MAX: usize = 30_000;
/// The most bytes of a catalogue: of one that no device would take, too.
pub const CATALOGUE_MAX: usize = 16_384;
/// Bytes of a piece.
pub const PIECE_LEN: usize = 18;
/// Bytes of the largest file.
pub const LEN_MAX: usize = 4 + CATALOGUE_MAX + SAMPLES_MAX * PIECE_LEN;

/// A sample of a whole number of steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The sample.
    pub sample: Sample,
    /// Whether its batch is finished behind it.
    pub is_last: bool,
}

impl Piece {
    /// As it stands in the file; none if its value is no number of steps.
    pub fn bytes(&self) -> Option<[u8; PIECE_LEN]> {
        let mut bytes = [0; PIECE_LEN];
        let (tick, rest) = bytes.split_first_chunk_mut()?;
        let (steps, ends) = rest.split_first_chunk_mut()?;
        *tick = self.sample.tick.to_le_bytes();
        *steps = self.sample.steps()?.to_le_bytes();
        ends.copy_from_slice(&[self.sample.signal.0, u8::from(self.is_last)]);
        Some(bytes)
    }

    /// Reads one.
    pub fn read(bytes: &[u8; PIECE_LEN]) -> Option<Self> {
        let (tick, rest) = bytes.split_first_chunk()?;
        let (steps, ends) = rest.split_first_chunk()?;
        let [signal, is_last] = ends.try_into().ok()?;
        let steps = i64::from_le_bytes(*steps);
        let sample = Sample::new(i64::from_le_bytes(*tick), SignalIndex(signal), steps);
        Some(Self { sample, is_last: is_last != 0 })
    }
}

/// The catalogue's encoding and the pieces of a file.
pub fn parts(file: &[u8]) -> Option<(&[u8], &[[u8; PIECE_LEN]])> {
    let (len, rest) = file.split_first_chunk()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (catalogue, pieces) = rest.split_at_checked(len)?;
    let (pieces, nothing) = pieces.as_chunks();
    nothing.is_empty().then_some((catalogue, pieces))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use protocol::Value;

    use super::*;

    #[test]
    fn a_file_comes_back() {
        let piece = |tick, signal, steps, is_last| Piece {
            sample: Sample::new(tick, SignalIndex(signal), steps),
            is_last,
        };
        let pieces = [piece(1_500_000_000_123, 9, -7, false), piece(-1, 63, i64::MAX, true)];
        let mut file = Vec::from(3_u32.to_le_bytes());
        file.extend(*b"abc");
        file.extend(pieces.iter().flat_map(|piece| piece.bytes().unwrap()));
        let (catalogue, read) = parts(&file).unwrap();
        assert_eq!(catalogue, b"abc");
        let read: Vec<Piece> = read.iter().map(|bytes| Piece::read(bytes).unwrap()).collect();
        assert_eq!(read, pieces);
        assert_eq!(parts(&file[..file.len() - 1]), None, "cut off");
        assert_eq!(parts(&file[..5]), None, "within the catalogue");
    }

    #[test]
    fn what_is_no_number_of_steps_is_no_piece() {
        let sample = Sample { value: Value::Missing, ..Sample::new(0, SignalIndex(0), 0) };
        assert_eq!(Piece { sample, is_last: true }.bytes(), None);
    }
}
