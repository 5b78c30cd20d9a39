//! Milepost's proofs: harnesses that try every state a fault can leave behind, and an oracle each
//! that says what must hold in it.
//!
//! A harness drives the product's own code, draws what it does from a seed, and counts what it
//! tried. [`Planted`](device::Planted) faults show that its oracle can fail.
#![forbid(unsafe_code)]

pub mod chance;
pub mod device;
pub mod fleet;
pub mod journal;
pub mod light;
pub mod outage;
pub mod table;
pub mod wear;
