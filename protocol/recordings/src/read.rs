//! Which kind of recording a file is, and what reading it comes to.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::lines::Lines;
use crate::{ReadError, Recording, can, ev_twizy, mprec, obd_car, taxi};

/// The kinds of file that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
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
pub struct ReadOptions {
    /// DBC files for CAN logs, in this order; `CHANNEL=FILE` for one channel alone. None: the file
    /// beside the log.
    pub dbc: Vec<PathBuf>,
    /// Patterns of the signals to take from CAN logs; none: all.
    pub signals: Vec<String>,
    /// Keep CAN logs as raw frames.
    pub raw_can: bool,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taxi => "taxi CSV",
            Self::ObdCar => "OBD car CSV",
            Self::EvTwizy => "EV CSV",
            Self::Candump => "CAN log",
            Self::Recording => "recording of an agent",
        })
    }
}

impl Kind {
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
    /// What it is.
    pub kind: Kind,
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
    pub(crate) fn new(path: &Path, kind: Kind) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            rows: 0,
            samples: 0,
            frames: 0,
            malformed: 0,
            first_malformed: None,
            notes: Vec::new(),
        }
    }

    pub(crate) fn note_malformed(&mut self, line: u64, reason: impl FnOnce() -> String) {
        self.malformed += 1;
        if self.first_malformed.is_none() {
            self.first_malformed = Some((line, reason()));
        }
    }
}

/// The files that are meant: a folder stands for the recordings in it and below, by their names.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ReadError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            walk(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), ReadError> {
    const ENDS: [&str; 5] = [".csv", ".log", ".zst", ".gz", ".mprec"];
    let failed = |source| ReadError::Open { path: dir.to_owned(), source };
    let entries = std::fs::read_dir(dir).map_err(failed)?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            walk(&path, files)?;
        } else if ENDS.iter().any(|end| name.ends_with(end)) {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads files, and folders of them: one track per cab, per drive, per trip.
///
/// A cab that is in several files goes on from one file to the next, in the order given. Two drives
/// or trips of one name stay two tracks. Tracks in which there is nothing are left out.
pub fn read(
    paths: &[PathBuf],
    options: &ReadOptions,
) -> Result<(Vec<Track>, Vec<FileReport>), ReadError> {
    let mut tracks: Vec<Track> = Vec::new();
    let mut cabs: HashMap<String, usize> = HashMap::new();
    let mut reports = Vec::new();
    for path in &files(paths)? {
        let (read, report) = read_file(path, options)?;
        let is_taxi = report.kind == Kind::Taxi;
        reports.push(report);
        for track in read {
            let known = cabs.get(&track.name).and_then(|at| tracks.get_mut(*at));
            match known {
                Some(known) if is_taxi => append(&mut known.recording, &track.recording),
                _ => {
                    if is_taxi {
                        cabs.insert(track.name.clone(), tracks.len());
                    }
                    tracks.push(track);
                }
            }
        }
    }
    tracks.retain(|track| !track.recording.is_empty());
    if tracks.is_empty() {
        return Err(ReadError::NoSamples { paths: paths.to_vec() });
    }
    for track in &mut tracks {
        track.recording.shrink();
    }
    Ok((tracks, reports))
}

fn append(recording: &mut Recording, more: &Recording) {
    for sample in more.samples() {
        // Both are of one kind, so of one catalogue: nothing can be refused.
        let pushed = recording.push(sample);
        debug_assert!(pushed.is_ok(), "tracks of one kind share a catalogue");
    }
}

/// Reads one file.
pub fn read_file(
    path: &Path,
    options: &ReadOptions,
) -> Result<(Vec<Track>, FileReport), ReadError> {
    let mut lines = Lines::open(path)?;
    let Some((_, header)) = lines.read_line()? else {
        return Err(ReadError::EmptyFile { path: path.to_owned() });
    };
    let header = header.to_vec();
    let stem = stem(path);
    let Some(kind) = Kind::of_header(&header) else {
        let header = String::from_utf8_lossy(&header).chars().take(80).collect();
        return Err(ReadError::UnknownKind { path: path.to_owned(), header });
    };
    let mut report = FileReport::new(path, kind);
    let tracks = match kind {
        Kind::Taxi => taxi::read(&mut lines, &mut report)?,
        Kind::ObdCar => obd_car::read(&mut lines, &stem, &mut report)?,
        Kind::EvTwizy => ev_twizy::read(&mut lines, &header, &stem, &mut report)?,
        Kind::Candump => can::read(path, &stem, options, &mut report)?,
        Kind::Recording => mprec::read(path, &mut report)?,
    };
    report.samples = tracks.iter().map(|track| track.recording.len()).sum();
    Ok((tracks, report))
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
