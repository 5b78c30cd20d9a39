//! All sinks down for days, with a fleet that does not stop: what the agent's memory does, and what
//! comes of every number afterwards.
//!
//! The agent's cores (acceptor, registry, rings, journal, a forwarder for each sink, on real files)
//! run in a process of their own, whose resident memory is the agent's and nobody else's. The
//! devices ([`crate::light`]) and the oracle are in the other one; in between is a pipe, which the
//! devices fill as far as the agent says that it has room, as a socket would. Time is virtual.

mod fleet;
mod host;
mod planted;
mod process;
mod prove;
mod report;
mod sink;
mod truth;
mod wire;

pub use planted::Planted;
pub use process::serve;
pub use prove::{Settings, find_planted, prove};
pub use report::{Moment, Report};
