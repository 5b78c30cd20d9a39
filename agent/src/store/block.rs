//! Blocks.

use protocol::codec::CodecError;
use protocol::frame::Origin;
use protocol::{CatalogueId, Clock, DeviceId, Lane, RingId, Seq};

use super::error::StoreError;

/// What all samples of a block have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stream {
    /// Whose.
    pub device: DeviceId,
    /// Which ring's.
    pub ring: RingId,
    /// The ring's lane.
    pub lane: Lane,
    /// Which catalogue the columns are of.
    pub catalogue: CatalogueId,
    /// Milliseconds of one tick.
    pub tick_ms: u32,
    /// The boot that times count from; none on a wall clock.
    pub boot: Option<u32>,
}

/// What a frame of a block has in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Which frame.
    pub seq: Seq,
    /// When the agent received it.
    pub received_ms: i64,
    /// The clock of its samples.
    pub clock: Clock,
    /// The boot in which they were taken.
    pub boot: u32,
    /// Where it was sealed first, if it was sealed anew.
    pub origin: Option<Origin>,
}

/// One sample of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockSample<'a> {
    /// Its own time: since 1970, or since the boot in a block of a boot (then
    /// [`BlockRow::offset_ms`] has to be added).
    pub time_ms: i64,
    /// In steps of its signal; a cell's bits for [`crate::privacy::Lens::CELL`].
    pub raw: i64,
    /// Which instant of the frame.
    pub ordinal: u32,
    /// Which signal of the catalogue.
    pub column: u8,
    /// Its frame.
    pub run: &'a Run,
}

/// A block, read and found sound.
#[derive(Debug)]
pub struct Block {
    stream: Stream,
    runs: Vec<Run>,
}

impl Block {
    /// Checks a piece of a block file and reads what stands before its columns.
    pub fn open(_piece: Vec<u8>) -> Result<Self, StoreError> {
        Err(StoreError::damaged("not yet"))
    }

    /// What all samples have in common.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The frames.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// All samples, in the order of their identity; after an error it ends.
    pub fn samples(&self) -> impl Iterator<Item = Result<BlockSample<'_>, CodecError>> {
        self.samples_of(u128::MAX)
    }

    /// The samples of the columns in this mask (bit 64 is the coarse place), in the order of their
    /// identity; the values of other columns are not decoded.
    pub fn samples_of(
        &self,
        _columns: u128,
    ) -> impl Iterator<Item = Result<BlockSample<'_>, CodecError>> {
        std::iter::empty()
    }
}
