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
//! Some worlds have two agents on the same devices, each with its own disk, journal and sinks: the
//! devices are with now one, now the other, and behind a broker with both at once.
//!
//! **What is checked**, and which invariant it is of:
//!
//! - I1 (`rest.rs`, `errands.rs`, `union.rs`): what an agent holds is freed on the device, and
//!   nothing else is: all comes to rest, and what one agent is said to have, it has. Who is shut out
//!   is not acknowledged, and nothing is taken of it.
//! - I2 (`truth.rs`, `stream.rs`): samples of a ring come in the order of its numbers, each once, and
//!   every value is what the vehicle measured then. A journal takes nothing twice.
//! - I3 (`stream.rs`, `sink.rs`): what was admitted and did not come is covered by a loss document
//!   that came before, to the very sample; or was taken out by a rule; or was open when the power
//!   went, and no more than the setting allows. The ledger of every sink balances after each step.
//! - I4 (`stream.rs`): nothing of a device that was erased leaves any more, whatever the journal has.
//! - I5 (`truth.rs`): nothing leaves that a rule takes out at that time.
//! - I6 (`rest.rs`): nothing is held for ever, and nothing grows beyond its bounds on the way there.
//! - I7, I8 (`world.rs`): the same seed gives the same trace, under clocks that leap by decades; and
//!   no core panics.
//!
//! A violation is followed by the same world with fewer and fewer faults, until each that is left is
//! needed.

mod broker;
mod device;
mod documents;
mod errands;
mod fault;
mod host;
mod life;
mod links;
mod network;
mod plan;
mod planted;
mod prove;
mod report;
mod rest;
mod shrink;
mod sink;
mod slot;
mod source;
mod stream;
mod strike;
mod strike_agent;
mod truth;
mod union;
mod world;

pub use planted::Planted;
pub use prove::{Replay, find_planted, prove};
pub use report::{Found, Report};
