//! Milepost's wire types: everything that two parties must agree on, and nothing else.
//!
//! No `std`, no heap, no I/O, no clock. The modules follow a sample's way: who it belongs to, what
//! it is, how a batch of samples becomes bytes, how the bytes are sealed, and how the other side
//! says that it holds them. `docs/wire.md` is the same in words; `golden/` holds the bytes.
//!
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::std_instead_of_core, clippy::alloc_instead_of_core))]

#[cfg(test)]
extern crate std;

pub mod identity;
pub mod time;
pub mod signal;
pub mod thinning;
pub mod sample;
pub mod event;
pub mod health;
pub mod loss;
pub mod record;
pub mod varint;
pub mod codec;
pub mod keys;
pub mod frame;
pub mod hello;
pub mod ack;
pub mod downlink;
pub mod topic;
pub mod serial;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

pub use identity::{
    Counts, DeviceId, FrameTag, Generation, JournalInstance, Lane, Registration, RingId, Seq,
};
pub use keys::Secret;
pub use loss::Loss;
pub use sample::{Sample, Value};
pub use signal::{Catalogue, CatalogueId, Signal, SignalIndex, Step};
pub use time::{Clock, DeviceTime};

/// The wire version this crate speaks. Frames have it in the top four bits of their first byte; those
/// of version 0 are read on.
pub const WIRE_VERSION: u8 = 1;

/// In the same place, the version of all other messages: nothing of them changed since version 0.
const MESSAGE_VERSION: u8 = 0;
