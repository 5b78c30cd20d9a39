//! The local store: samples in blocks of coded columns, everything else in SQLite beside them.
//!
//! # Constraints
//!
//! - 500,000 samples a second from 1,000 devices on two cores, beside everything else the agent
//!   does, within 64 MiB. No row per sample, then, no JSON, no index entry per sample.
//! - At most 1.5 bytes a sample on disk, index and roll-ups included; for a taxi that says three
//!   things a minute as for a bus that says a thousand things a second.
//! - A query of one device's hour out of 100 million samples in 50 ms, of one signal's hourly means
//!   over a fleet's day in 500 ms.
//! - Exactly once: what the cursor says is in the store is in it, and nothing behind it; whatever
//!   is cut short, wherever.
//! - One file damaged costs what stood in it, said and counted, and never the rest. The index is
//!   only an index: lost or damaged, it is made anew from the block files.
//! - Queries run in other processes, beside a writing agent, and hold up nothing.
//! - Every sample keeps its identity `(device, ring, seq, ordinal)` (I2): what is in the store can
//!   be compared with any other sink, document by document, and a cursor can be found anew.
//!
//! # Layout
//!
//! ```text
//! DIR/store.db              SQLite, WAL: index, roll-ups, records, cursor      (schema.rs)
//! DIR/blocks/000001.blk     pieces, only appended to                           (piece.rs)
//! ```
//!
//! A *piece* is self-describing, behind a magic, a length and a CRC32C. There are four kinds: a
//! *catalogue* and a *seat* (`seat.rs`: the vehicle in which a device sat), which every file has of its
//! own before the first block that needs it; a *block* of samples; a *chapter* of records, which are
//! JSON documents.
//!
//! A *block* (`block.rs`) holds samples of one device, ring, catalogue and seat: all on a wall clock, or
//! all of one boot that had none. A device that is put into another vehicle begins another block, and
//! compaction keeps them apart. They stand in the order of their identity, in columns
//! (`columns.rs`): runs (one per frame), instants (tick and which signals), and one column of values
//! per signal, so that a query decodes no more than it asks for. At most 65,535 samples.
//!
//! # Writing
//!
//! A commit (`engine.rs`) appends one block per stream of the batch, however small, syncs the file,
//! then makes one transaction: the index rows, the records, the cursor and the file's new end. What
//! stands in a file behind its recorded end counts for nothing; the next start cuts it off.
//!
//! Compaction (`compact.rs`, a thread of its own) takes whole files of such fragments and writes
//! blocks of level 1 into other files: a stream's samples of one UTC day, cut at an hour's end once a
//! block is worth it (8,192 samples), at 65,535 at the latest. Late samples go into the block of
//! their hour. A transaction swaps the rows; a file that nothing refers to is removed. A reader has
//! the file open or finds the row gone and asks again.
//!
//! Samples whose clock counted from the boot are blocks of their own, outside time, until a record
//! or a later heartbeat of that boot says when it was (`placement.rs`).
//!
//! # Invariants of the index
//!
//! - A block of level 1 spans less than a day (86,400,000 ms); one of level 0 may span anything.
//!   There are few of level 0, and they have a partial index.
//! - `from_ms` is null exactly for blocks without a place in time.
//! - The roll-ups of a block are those of all its samples, or there are none.

pub mod schema;
pub mod read;
pub mod block;
pub mod rollup;
pub mod check;
pub mod rebuild;
pub mod seat;
mod background;
mod chapter;
mod coding;
mod compact;
pub(crate) mod engine;
mod erase;
mod error;
#[cfg(feature = "model")]
pub(crate) mod fuzzing;
pub(crate) mod facts;
pub(crate) mod files;
pub(crate) mod index;
mod merge;
mod piece;
mod placement;
pub(crate) mod preface;
mod retention;
mod scan;
#[cfg(test)]
pub(crate) mod tests;

pub use background::CompactionHandle;
pub use compact::{Upkeep, compact_all};
pub use engine::{Engine, Standing};
pub use erase::Taken;
pub use error::StoreError;
pub(crate) use error::index_advice;
pub use retention::{Retention, Retired};
