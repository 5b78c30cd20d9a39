//! Roll-ups: what is kept ready of a block's hours and minutes.

use protocol::codec::CodecError;

/// One signal in one hour or minute, as far as one block goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rollup {
    /// The bucket's number since 1970: hours, or minutes.
    pub bucket: i64,
    /// Which signal of the catalogue.
    pub column: u8,
    /// How many samples.
    pub count: u32,
    /// The least raw value.
    pub min: i64,
    /// The greatest.
    pub max: i64,
    /// All of them.
    pub sum: i128,
    /// The earliest one's.
    pub first: i64,
    /// The latest one's.
    pub last: i64,
    /// When the earliest was, in milliseconds since 1970.
    pub first_ms: i64,
    /// When the latest was.
    pub last_ms: i64,
}

/// Reads `rollups.hourly` (or `minutely`): ordered by bucket, then column.
pub fn decode(_packed: &[u8]) -> Result<Vec<Rollup>, CodecError> {
    Ok(Vec::new())
}
