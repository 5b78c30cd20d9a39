//! The whole system under one seed: devices, their flash, the way to the agent, agents' disks and
//! clocks, sinks; in one process and in virtual time.
//!
//! What runs is what ships: the firmware's core ([`firmware::App`]) with its rings, seals and link
//! session; the agent's acceptor, journal, registry and forwarder. Modelled are the flash, the disk,
//! the network or broker between them (messages, not bytes), the clock and the upstream.
//!
//! A seed draws worlds. A world is some vehicles, some hours of driving, a way to the agent, and a
//! plan of faults; which kinds of faults it has is drawn too, so that each meets the others and each
//! is met alone. When the drive is over all faults are over, and everything has to come to rest.
//!
//! **What is checked** (`truth.rs`), at each batch that a sink takes:
//!
//! - Samples of a ring come in the order of its numbers, each number once (I2), and every value is
//!   what the vehicle measured then.
//! - What was admitted and did not come is covered by a loss document that came before, to the very
//!   sample; or it was open when the power went, and no more than the setting allows (I3).
//! - The ledger balances after each step of the forwarder (I3).
//! - The agent and the device come to rest: nothing is held for ever (I1, I6).
//!
//! A violation is followed by the same world with fewer and fewer faults, until each that is left is
//! needed.

mod broker;
mod device;
mod host;
mod links;
mod network;
mod plan;
mod planted;
mod prove;
mod report;
mod shrink;
mod sink;
mod source;
mod strike;
mod truth;
mod world;

pub use planted::Planted;
pub use prove::{Replay, find_planted, prove};
pub use report::{Found, Report};
