//! A fleet in a process: N real firmware cores, recorded or synthetic traffic in, the oracle at the
//! other end.
//!
//! The modules follow the flow: what the vehicles report, the vehicles, the fleet that runs them,
//! and the oracle that reads what came out.
#![forbid(unsafe_code)]

pub mod civil;
pub mod seed;
pub mod trace;
pub mod synthetic;
pub mod scenario;
pub mod source;
pub mod vehicle;
pub mod fleet;
pub mod oracle;
pub mod record;
pub mod cli;

/// Where the recordings lie that tests replay, if they are there: `MILEPOST_DATA`, or `data` in a
/// folder `shared` beside the checkout.
#[cfg(test)]
fn recordings_dir() -> Option<std::path::PathBuf> {
    let beside = || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let dir = std::env::var_os("MILEPOST_DATA").map_or_else(beside, std::path::PathBuf::from);
    dir.join("small").is_dir().then_some(dir)
}
