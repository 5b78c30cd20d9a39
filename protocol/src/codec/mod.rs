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
mod exact;
mod model;
mod batch;
mod bits;
mod rice;

pub use batch::{Decoder, Encoder, Samples, StillEncoder};
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

/// The most bytes one pushed sample can add to the encoded batch, besides what stands beside its value.
pub const SAMPLE_BYTES_MAX: usize = 88;

/// What a batch of samples is of.
///
/// Layout: catalogue id (4 bytes, big endian), clock and coding (1), boot (varint).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SamplesContext {
    /// The catalogue the signals belong to.
    pub catalogue: CatalogueId,
    /// What the ticks count from: the epoch, or the boot.
    pub clock: Clock,
    /// How they are coded.
    pub coding: Coding,
    /// The boot in which the samples were taken.
    pub boot: u32,
}

/// What a batch of samples is of, and how many there are: all that stands before the coded columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SamplesHeader {
    /// What they are of.
    pub context: SamplesContext,
    /// How many samples follow, 1 to 65535 (varint).
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

    /// The two in the byte that they share.
    pub(crate) fn with_clock(byte: u8) -> Option<(Clock, Self)> {
        Some((Clock::from_number(byte & !Self::BITS)?, Self::from_bits(byte)?))
    }
}

impl SamplesContext {
    /// The most bytes it takes.
    pub const LEN_MAX: usize = 4 + 1 + 5;

    /// As it stands in a frame.
    pub fn bytes(&self) -> heapless::Vec<u8, { Self::LEN_MAX }> {
        let mut number = [0; varint::LEN_MAX];
        let len = varint::write(u64::from(self.boot), &mut number).unwrap_or_default();
        let parts = [
            &self.catalogue.0.to_be_bytes()[..],
            &[self.clock as u8 | self.coding as u8],
            number.get(..len).unwrap_or_default(),
        ];
        let mut bytes = heapless::Vec::new();
        for part in parts {
            let fits = bytes.extend_from_slice(part).is_ok();
            debug_assert!(fits, "a context is bounded");
        }
        bytes
    }

    /// Reads it; with the rest.
    pub fn read(from: &[u8]) -> Result<(Self, &[u8]), CodecError> {
        let (catalogue, rest) = from.split_first_chunk::<4>().ok_or(CodecError::Truncated)?;
        let (first, rest) = rest.split_first().ok_or(CodecError::Truncated)?;
        let (clock, coding) = Coding::with_clock(*first).ok_or(CodecError::Malformed)?;
        let (boot, rest) = varint::read(rest).ok_or(CodecError::Truncated)?;
        let catalogue = CatalogueId(u32::from_be_bytes(*catalogue));
        let boot = u32::try_from(boot).map_err(|_| CodecError::Malformed)?;
        Ok((Self { catalogue, clock, coding, boot }, rest))
    }

    /// Reads how many samples of it there are; the coded columns follow.
    pub fn behind(self, body: &[u8]) -> Result<(SamplesHeader, &[u8]), CodecError> {
        let (count, columns) = varint::read(body).ok_or(CodecError::Truncated)?;
        let count = u16::try_from(count).map_err(|_| CodecError::Malformed)?;
        if count == 0 {
            return Err(CodecError::Malformed);
        }
        Ok((SamplesHeader { context: self, count }, columns))
    }
}

impl SamplesHeader {
    /// The most bytes of the count.
    pub const COUNT_LEN_MAX: usize = 3;
    /// The most bytes of a header.
    pub const LEN_MAX: usize = SamplesContext::LEN_MAX + Self::COUNT_LEN_MAX;

    /// The count as it stands before the columns.
    pub fn count_bytes(&self) -> heapless::Vec<u8, { Self::COUNT_LEN_MAX }> {
        let mut number = [0; varint::LEN_MAX];
        let len = varint::write(u64::from(self.count), &mut number).unwrap_or_default();
        let fits = number.get(..len).and_then(|number| heapless::Vec::from_slice(number).ok());
        fits.unwrap_or_default()
    }

    /// The header as it stands where nothing in front of it names the context: in a resealed frame,
    /// and in any of wire version 0.
    pub fn bytes(&self) -> heapless::Vec<u8, { Self::LEN_MAX }> {
        let mut bytes = heapless::Vec::new();
        for part in [&self.context.bytes()[..], &self.count_bytes()] {
            let fits = bytes.extend_from_slice(part).is_ok();
            debug_assert!(fits, "a header is bounded");
        }
        bytes
    }

    /// Reads such a header; the coded columns follow.
    pub fn read(body: &[u8]) -> Result<(Self, &[u8]), CodecError> {
        let (context, rest) = SamplesContext::read(body)?;
        context.behind(rest)
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
