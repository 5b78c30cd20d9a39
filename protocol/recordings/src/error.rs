//! Why a file is no recording.

use std::io;
use std::path::{Path, PathBuf};

use can_dbc::DbcError;

/// Why a file cannot be read as a recording.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read to its end, or not unpacked.
    #[error("{}:{line}: cannot read: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// At which line.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// Its header is none of those known.
    #[error(
        "{}: no kind of recording that is known (its first line is {header:?}); known are \
         taxi CSV (cab,latitude,longitude,occupancy,time), \
         OBD car CSV (Time,Engine Coolant Temperature ...), \
         EV CSV (Date,Time,Soc,Speed,Mode,LAT,LON,ALT,GpsSpeed ...), \
         CAN logs of `candump -L`, plain, .gz or .zst, and what `milepost-sim record` writes",
        path.display()
    )]
    UnknownKind {
        /// Which file.
        path: PathBuf,
        /// The beginning of its first line.
        header: String,
    },
    /// A CAN log, and nothing that tells its signals.
    #[error(
        "{}: a CAN log needs a DBC: there is no {}; name one with --dbc FILE, or keep the frames \
         as they are with --raw-can",
        path.display(),
        beside.display()
    )]
    NoDbc {
        /// Which file.
        path: PathBuf,
        /// Where its DBC was looked for.
        beside: PathBuf,
    },
    /// A DBC that cannot be read.
    #[error("{}", no_dbc(path, reason))]
    Dbc {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: DbcError,
    },
    /// An OBD drive whose file name does not begin with its date.
    #[error(
        "{}: the rows of an OBD drive have no date: the file's name must begin with it, like \
         2017-07-05_Seat_Leon_RT_S_Stau.csv",
        path.display()
    )]
    NoDate {
        /// Which file.
        path: PathBuf,
    },
    /// A file of no bytes.
    #[error("{}: an empty file", path.display())]
    EmptyFile {
        /// Which file.
        path: PathBuf,
    },
    /// No file, or none with a sample.
    #[error("no samples in {}", listed(paths))]
    NoSamples {
        /// Which files were read.
        paths: Vec<PathBuf>,
    },
}

/// The first of some files, and how many more there are.
fn listed(paths: &[PathBuf]) -> String {
    match paths {
        [] => "no file".to_owned(),
        [only] => only.display().to_string(),
        [first, more @ ..] => format!("{} and {} more", first.display(), more.len()),
    }
}

/// Where a file stops being a DBC: the parser's own words are a picture of several lines.
fn no_dbc(path: &Path, reason: &DbcError) -> String {
    let (path, picture) = (path.display(), reason.to_string());
    let place = picture.trim_start().strip_prefix("--> ").and_then(|rest| rest.split_once(':'));
    match (reason, place) {
        (DbcError::Pest(error), Some((line, _))) => {
            let text: String = error.line().trim().chars().take(80).collect();
            format!("{path}:{line}: no DBC: {text:?} cannot be read")
        }
        _ => format!("{path}: no DBC: {picture}"),
    }
}
