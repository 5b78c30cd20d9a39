//! Every parser of bytes from outside, as a fuzz target: what goes in, what must hold of what comes
//! out, and how much memory it may take.
//!
//! A target is a function of bytes that panics if something does not hold; it is the same function
//! whether libFuzzer calls it (`cargo xtask fuzz`) or a test does with the committed corpus. Targets
//! that need little are together in one program and those that need the whole agent in another,
//! because libFuzzer looks through the counters of the whole program after each input.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a target says what does not hold by panicking; no part of the product"
)]

pub mod bound;
pub mod input;
pub mod target;
pub mod corpus;
pub mod planted;
pub mod program;
pub mod wire;
#[cfg(feature = "hosts")]
pub mod agent;
#[cfg(feature = "hosts")]
pub mod simulator;

pub use target::{Target, all};
