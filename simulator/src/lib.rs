//! A fleet in a process: N real firmware cores, recorded or synthetic traffic in, the oracle at the
//! other end.
//!
//! The modules follow the flow: what the vehicles report, the vehicles, the fleet that runs them,
//! and the oracle that reads what came out.
#![forbid(unsafe_code)]

pub mod seed;
pub mod synthetic;
pub mod scenario;
pub mod source;
pub mod vehicle;
pub mod fleet;
pub mod oracle;
pub mod record;
pub mod cli;
