//! Recorded traffic: files of real vehicles to recordings in memory.
//!
//! ```text
//! taxi, OBD car and EV CSV; CAN logs with their DBC; what an agent delivered
//!      -> lines -> a track per vehicle: its catalogue, and its samples in the order of the file
//! ```
//!
//! What a file holds is told by its first line, how it is packed by its first bytes; the name is
//! used only for what stands nowhere else (a drive's date and name). A row that makes no sense is
//! counted and named, never a panic and never a guess.
#![forbid(unsafe_code)]

pub mod civil;
pub mod decimal;
mod lines;
pub mod recording;
mod error;
mod read;
pub mod taxi;
pub mod obd_car;
pub mod ev_twizy;
pub mod can;
mod glob;
pub mod mprec;
pub mod numbers;
#[cfg(test)]
mod tests;

pub use error::ReadError;
pub use read::{FileReport, Kind, ReadOptions, Track, files, read, read_file};
pub use recording::{Entry, Recording, RecordingCursor};

/// Where the recordings lie that tests read, if they are there: `MILEPOST_DATA`, or `data` in a
/// folder `shared` beside the checkout.
#[cfg(test)]
fn recordings_dir() -> Option<std::path::PathBuf> {
    let beside = || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let dir = std::env::var_os("MILEPOST_DATA").map_or_else(beside, std::path::PathBuf::from);
    dir.join("small").is_dir().then_some(dir)
}
