//! Recorded traffic: files of real vehicles to recordings in memory.
//!
//! What a file holds is told by its first line, how it is packed by its first bytes; the name is
//! used only for what stands nowhere else (a drive's date and name). A row that makes no sense is
//! counted and named, never a panic and never a guess.

pub mod decimal;
pub mod lines;
pub mod recording;
pub mod taxi;
pub mod obd_car;
pub mod ev_twizy;
pub mod can;
pub mod mprec;
pub mod glob;

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
    /// A CAN log; see [`can`].
    Candump,
    /// What an agent delivered; see [`mprec`].
    Recording,
}

/// How files are read that can be read in more than one way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TraceOptions {
    /// DBC files for CAN logs, in this order; `CHANNEL=FILE` for one channel alone. None: the file
    /// beside the log.
    pub dbc: Vec<PathBuf>,
    /// Patterns of the signals to take from CAN logs; none: all.
    pub signals: Vec<String>,
    /// Keep CAN logs as raw frames.
    pub raw_can: bool,
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
        } else if can::is_log(header) {
            Some(Self::Candump)
        } else if mprec::is_header(header) {
            Some(Self::Recording)
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
    /// CAN frames kept as they are.
    pub frames: u64,
    /// Rows, or values in a row, that were left out because they make no sense.
    pub malformed: u64,
    /// Line and reason of the first of those.
    pub first_malformed: Option<(u64, String)>,
    /// What else there is to say of it, a sentence each.
    pub notes: Vec<String>,
}

impl FileReport {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            rows: 0,
            samples: 0,
            frames: 0,
            malformed: 0,
            first_malformed: None,
            notes: Vec::new(),
        }
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
    #[error("{}: no DBC: {reason}", path.display())]
    Dbc {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
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
pub fn read_file(
    path: &Path,
    options: &TraceOptions,
) -> Result<(TraceKind, Vec<Track>, FileReport), TraceError> {
    let mut lines = Lines::open(path)?;
    let header = lines.read_line()?.map(|(_, line)| line.to_vec()).unwrap_or_default();
    let stem = stem(path);
    let mut report = FileReport::new(path);
    let Some(kind) = TraceKind::of_header(&header) else {
        let header = String::from_utf8_lossy(&header).chars().take(80).collect();
        return Err(TraceError::UnknownKind { path: path.to_owned(), header });
    };
    let tracks = match kind {
        TraceKind::Taxi => taxi::read(&mut lines, &mut report)?,
        TraceKind::ObdCar => obd_car::read(&mut lines, &stem, &mut report)?,
        TraceKind::EvTwizy => ev_twizy::read(&mut lines, &header, &stem, &mut report)?,
        TraceKind::Candump => can::read(path, &stem, options, &mut report)?,
        TraceKind::Recording => mprec::read(path, &mut report)?,
    };
    report.samples = tracks.iter().map(|track| track.recording.len()).sum();
    Ok((kind, tracks, report))
}

/// The file's name without `.csv`, `.log`, `.gz`, `.zst`.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let mut stem = name.as_ref();
    for extension in [".gz", ".zst", ".csv", ".log"] {
        stem = stem.strip_suffix(extension).unwrap_or(stem);
    }
    stem.to_owned()
}

#[cfg(test)]
mod tests;
