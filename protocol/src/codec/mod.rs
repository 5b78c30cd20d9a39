//! Samples to bytes and back: the seam behind which the batch codec can change.
//!
//! Everything outside sees [`Encoder`], [`Decoder`] and [`SamplesHeader`]. What stands behind them
//! is chosen here, in one place. The codec is streaming (a sample is coded as it is pushed, in the
//! order of pushing, time stamps included), works in bounded memory with integers only, and is
//! lossless at each signal's step.

mod chance;
mod range;
mod number;
mod hints;
mod odds;
mod start;
mod clock;
mod value;
mod model;
mod batch;
mod bits;
mod rice;

pub use batch::{Decoder, Encoder, StillEncoder};
pub use chance::Chance;
pub use hints::{Guess, Hints, SignalHint, Timing};
pub use odds::{Learning, Odds, Still};
pub use start::table_len;
#[cfg(test)]
pub(crate) use start::usual;

use crate::identity::Counts;
use crate::signal::CatalogueId;
use crate::time::Clock;
use crate::varint;

/// The most bytes one pushed sample can add to the encoded batch.
pub const SAMPLE_BYTES_MAX: usize = 88;

/// Stands at the front of a body of samples, before the coded columns.
///
/// Layout: catalogue id (4 bytes, big endian), clock and coding (1), boot (varint), count (varint).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SamplesHeader {
    /// The catalogue the signals belong to.
    pub catalogue: CatalogueId,
    /// What the ticks count from: the epoch, or the boot.
    pub clock: Clock,
    /// How they are coded.
    pub coding: Coding,
    /// The boot in which the samples were taken.
    pub boot: u32,
    /// How many samples follow, 1 to 65535.
    pub count: u16,
}

/// How a batch is coded: the two highest bits of the byte of the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Coding {
    /// As release 0.1.0 did: [`Decoder`] reads it, and nothing writes it.
    Rice = 0,
    /// With odds that are learnt: [`Encoder`].
    Learning = 0x40,
    /// With odds that stay where they begin: [`StillEncoder`].
    Still = 0x80,
}

impl Coding {
    const BITS: u8 = 0xc0;

    fn from_bits(byte: u8) -> Option<Self> {
        [Self::Rice, Self::Learning, Self::Still]
            .into_iter()
            .find(|coding| *coding as u8 == byte & Self::BITS)
    }
}

impl SamplesHeader {
    /// The most bytes a header takes.
    pub const LEN_MAX: usize = 4 + 1 + 5 + 3;

    /// Writes the header to the front of `into`; its length.
    pub fn write(&self, into: &mut [u8; Self::LEN_MAX]) -> usize {
        let fixed: [u8; 4] = self.catalogue.0.to_be_bytes();
        let coding = self.clock as u8 | self.coding as u8;
        for (slot, byte) in into.iter_mut().zip(fixed.into_iter().chain([coding])) {
            *slot = byte;
        }
        let mut at = 5;
        for number in [u64::from(self.boot), u64::from(self.count)] {
            let room = into.get_mut(at..).unwrap_or_default();
            at += varint::write(number, room).unwrap_or_default();
        }
        at
    }

    /// Reads the header; the coded columns follow.
    pub fn read(body: &[u8]) -> Result<(Self, &[u8]), CodecError> {
        let (catalogue, rest) = body.split_first_chunk::<4>().ok_or(CodecError::Truncated)?;
        let (coding, rest) = rest.split_first().ok_or(CodecError::Truncated)?;
        let clock = Clock::from_number(*coding & !Coding::BITS).ok_or(CodecError::Malformed)?;
        let (boot, rest) = varint::read(rest).ok_or(CodecError::Truncated)?;
        let (count, rest) = varint::read(rest).ok_or(CodecError::Truncated)?;
        let header = Self {
            catalogue: CatalogueId(u32::from_be_bytes(*catalogue)),
            clock,
            coding: Coding::from_bits(*coding).ok_or(CodecError::Malformed)?,
            boot: u32::try_from(boot).map_err(|_| CodecError::Malformed)?,
            count: u16::try_from(count).map_err(|_| CodecError::Malformed)?,
        };
        if header.count == 0 { Err(CodecError::Malformed) } else { Ok((header, rest)) }
    }

    /// What the batch adds to the ledger.
    pub fn counts(&self) -> Counts {
        Counts { samples: u64::from(self.count), events: 0 }
    }
}

/// Why bytes are no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The batch ends before its last sample.
    #[error("truncated batch")]
    Truncated,
    /// A number out of its range.
    #[error("malformed batch")]
    Malformed,
    /// A signal that the catalogue does not have.
    #[error("signal outside the catalogue")]
    UnknownSignal,
}

/// A pushed sample did not fit: close the batch and push it into the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the batch is full")]
pub struct Full;

#[cfg(test)]
mod tests;
