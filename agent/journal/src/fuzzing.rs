//! One record of the log, without the checksum that stands before it.

use protocol::Counts;

use super::record;
use super::record::Record;
use super::{Entry, Lane, Position};

/// Bytes of a record before its body.
pub const HEAD_LEN: usize = record::HEAD_LEN;

/// Reads a record's body, as if its checksum had been right: the lane's totals before it, and the
/// entry, none for a mark; none if it is not read.
pub fn record(record: &[u8]) -> Option<(Counts, Option<Entry<'_>>)> {
    record::read(record).map(|Record { before, entry }| (before, entry))
}

/// Writes an entry as a record.
pub fn written(before: Counts, entry: &Entry<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let seed = record::Seed::new([0; 16], Lane::Bulk);
    record::put_entry(&mut bytes, seed, Position(0), before, entry);
    bytes
}
