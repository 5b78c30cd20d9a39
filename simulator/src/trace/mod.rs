//! Recorded traffic: CSV files of real vehicles to recordings in memory.
//!
//! What a file holds is told by its header line, how it is packed by its first bytes; the name is
//! used only for what stands nowhere else (a drive's date and name). A row that makes no sense is
//! counted and named, never a panic and never a guess.

pub mod decimal;
pub mod lines;
pub mod recording;
pub mod taxi;
pub mod obd_car;
pub mod ev_twizy;

use std::io;
use std::path::{Path, PathBuf};

pub use recording::{Recording, RecordingCursor};

use lines::Lines;

/// The kinds of file that can be replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TraceKind {
    /// GPS and occupancy of many cabs; see [`taxi`].
    Taxi,
    /// One drive of a car's OBD-II poller; see [`obd_car`].
    ObdCar,
    /// One trip of an electric car at 1 Hz; see [`ev_twizy`].
    EvTwizy,
}

impl TraceKind {
    fn of_header(header: &[u8]) -> Option<Self> {
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        if taxi::is_header(header) {
            Some(Self::Taxi)
        } else if obd_car::is_header(header) {
            Some(Self::ObdCar)
        } else if ev_twizy::is_header(header) {
            Some(Self::EvTwizy)
        } else {
            None
        }
    }
}

/// The samples of one vehicle in one file.
#[derive(Clone, Debug)]
pub struct Track {
    /// The vehicle's name as the source gives it.
    pub name: String,
    /// Its samples in the order of the file.
    pub recording: Recording,
}

/// What reading a file came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileReport {
    /// Which file.
    pub path: PathBuf,
    /// Rows after the header.
    pub rows: u64,
    /// Samples made of them.
    pub samples: u64,
    /// Rows, or values in a row, that were left out because they make no sense.
    pub malformed: u64,
    /// Line and reason of the first of those.
    pub first_malformed: Option<(u64, String)>,
}

impl FileReport {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), rows: 0, samples: 0, malformed: 0, first_malformed: None }
    }

    fn note_malformed(&mut self, line: u64, reason: impl FnOnce() -> String) {
        self.malformed += 1;
        if self.first_malformed.is_none() {
            self.first_malformed = Some((line, reason()));
        }
    }
}

/// Why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
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
         OBD car CSV (Time,Engine Coolant Temperature ...) and \
         EV CSV (Date,Time,Soc,Speed,Mode,LAT,LON,ALT,GpsSpeed ...), plain, .gz or .zst",
        path.display()
    )]
    UnknownKind {
        /// Which file.
        path: PathBuf,
        /// The beginning of its first line.
        header: String,
    },
    /// A CAN log.
    #[error("{}: a candump log; CAN logs cannot be replayed yet, CSV recordings can", path.display())]
    Candump {
        /// Which file.
        path: PathBuf,
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
    /// No file, or none with a sample.
    #[error("no samples in {files} file(s)")]
    Empty {
        /// How many files were read.
        files: usize,
    },
}

/// Reads one file.
pub fn read_file(path: &Path) -> Result<(TraceKind, Vec<Track>, FileReport), TraceError> {
    let mut lines = Lines::open(path)?;
    let header = lines.read_line()?.map(|(_, line)| line.to_vec()).unwrap_or_default();
    let stem = stem(path);
    let mut report = FileReport::new(path);
    let Some(kind) = TraceKind::of_header(&header) else {
        let path = path.to_owned();
        if is_candump(&header) {
            return Err(TraceError::Candump { path });
        }
        let header = String::from_utf8_lossy(&header).chars().take(80).collect();
        return Err(TraceError::UnknownKind { path, header });
    };
    let tracks = match kind {
        TraceKind::Taxi => taxi::read(&mut lines, &mut report)?,
        TraceKind::ObdCar => obd_car::read(&mut lines, &stem, &mut report)?,
        TraceKind::EvTwizy => ev_twizy::read(&mut lines, &header, &stem, &mut report)?,
    };
    report.samples = tracks.iter().map(|track| track.recording.len()).sum();
    Ok((kind, tracks, report))
}

/// The file's name without `.csv`, `.gz`, `.zst`.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let mut stem = name.as_ref();
    for extension in [".gz", ".zst", ".csv"] {
        stem = stem.strip_suffix(extension).unwrap_or(stem);
    }
    stem.to_owned()
}

/// `candump -L` writes `(seconds) channel ID#DATA`.
fn is_candump(line: &[u8]) -> bool {
    line.starts_with(b"(") && line.contains(&b'#')
}

#[cfg(test)]
mod tests;
