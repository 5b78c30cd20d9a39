//! Recordings as sets of like vehicles: one catalogue, and what is known of it beforehand.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use protocol::{CatalogueId, Sample, SignalIndex};
use recordings::{Kind, ReadError, ReadOptions, Track};
use signals::OwnedCatalogue;

/// Parts of a CAN log of a car with an OBD-II poller, a GNSS receiver and an inertial sensor: the
/// catalogue, with what was learnt of other parts of the one log there is, and whether its samples
/// come in rows of one time stamp.
const PARTS: [(&str, &str, bool); 2] = [
    ("box", include_str!("../signals/box.toml"), false),
    ("imu", include_str!("../signals/imu.toml"), true),
];

/// Taxis of the table.
const TAXIS: usize = 12;
/// Of so many OBD drives one is in the table, the first and then every such.
const DRIVES: usize = 8;
/// Trips of the table are all but these: what is known of such a car was learnt of them.
const LEARNT_TRIPS: [&str; 2] = ["T2_03_29_2021", "T3_04_22_2021_2"];
/// A box's log is measured from here on, an inertial sensor's between these: seconds.
const BOX_FROM_S: i64 = 600;
const IMU_S: [i64; 2] = [300, 900];

/// One vehicle, or one drive of it.
#[derive(Debug)]
pub struct Vehicle {
    /// As its source names it.
    pub name: String,
    /// In the order in which they were taken.
    pub samples: Vec<Sample>,
}

/// Like vehicles.
#[derive(Debug)]
pub struct Set {
    /// What they are.
    pub name: String,
    /// Their signals, and what is known of them.
    pub catalogue: OwnedCatalogue,
    /// What a peer calls the signals.
    pub names: Vec<String>,
    /// A peer gets integers as they are on the bus.
    pub is_raw: bool,
    /// Samples of one time stamp are a row of the source.
    pub has_rows: bool,
    /// Who is measured.
    pub vehicles: Vec<Vehicle>,
    /// One of those that are not, for a peer that begins with what it learnt.
    pub left_over: Option<Vehicle>,
}

impl Set {
    /// How many samples are measured.
    pub fn samples(&self) -> usize {
        self.vehicles.iter().map(|vehicle| vehicle.samples.len()).sum()
    }

    /// So many times as long is a message where the vehicles say something once a minute, more or
    /// less.
    pub fn scale(&self) -> u32 {
        if self.name == "taxi" { 10 } else { 1 }
    }
}

/// Reads what there is: the streams of the table, or all.
pub fn read(paths: &[PathBuf], all: bool) -> Result<Vec<Set>> {
    let mut files = Vec::new();
    for path in paths {
        walk(path, &mut files)?;
    }
    let mut kinds: [(Kind, Vec<Track>); 3] =
        [Kind::ObdCar, Kind::EvTwizy, Kind::Taxi].map(|kind| (kind, Vec::new()));
    let mut sets = Vec::new();
    for file in &files {
        let (kind, tracks) = match recordings::read_file(file, &ReadOptions::default()) {
            Ok((tracks, report)) => (report.kind, tracks),
            Err(error @ (ReadError::UnknownKind { .. } | ReadError::NoDbc { .. })) => {
                eprintln!("left out: {error}");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if let Some((_, of_kind)) = kinds.iter_mut().find(|(known, _)| *known == kind) {
            of_kind.extend(tracks);
        } else {
            for track in &tracks {
                can(track, all, &mut sets)?;
            }
        }
    }
    let known = kinds.into_iter().filter(|(_, tracks)| !tracks.is_empty());
    let mut sets: Vec<Set> =
        known.filter_map(|(kind, tracks)| of_kind(kind, tracks, all)).chain(sets).collect();
    sets.retain(|set| set.samples() > 0);
    if sets.is_empty() {
        bail!(
            "no samples in {}",
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(sets)
}

/// Files of recordings, by name. A little of each, for everyday tests, is not measured beside the
/// whole.
fn walk(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    let mut entries: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    entries.sort();
    let is_whole = entries.iter().filter(|entry| entry.is_dir()).count() > 1;
    for entry in entries {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_recording =
            [".csv", ".log", ".zst", ".gz", ".mprec"].iter().any(|end| name.ends_with(end));
        if entry.is_dir() && !(is_whole && name == "small") {
            walk(&entry, files)?;
        } else if is_recording {
            files.push(entry);
        }
    }
    Ok(())
}

fn of_kind(kind: Kind, tracks: Vec<Track>, all: bool) -> Option<Set> {
    let catalogue =
        OwnedCatalogue::new(CatalogueId::default(), tracks.first()?.recording.catalogue());
    let (name, names, has_rows): (_, &[&str], _) = match kind {
        Kind::ObdCar => ("obd_car", &OBD, false),
        Kind::EvTwizy => ("ev_twizy", &EV, true),
        _ => ("taxi", &["lat", "lon", "occupied"], true),
    };
    let is_measured = |at: usize, track: &Track| {
        all || match kind {
            Kind::ObdCar => at.is_multiple_of(DRIVES),
            Kind::EvTwizy => !LEARNT_TRIPS.contains(&track.name.as_str()),
            _ => at < TAXIS,
        }
    };
    let (mut vehicles, mut left_over) = (Vec::new(), None);
    for (at, track) in tracks.into_iter().enumerate() {
        if is_measured(at, &track) {
            vehicles.push(vehicle(&track));
        } else if left_over.is_none() {
            left_over = Some(vehicle(&track));
        }
    }
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let name = name.to_owned();
    Some(Set { name, catalogue, names, is_raw: false, has_rows, vehicles, left_over })
}

const OBD: [&str; 10] = [
    "coolant_temp",
    "intake_map",
    "engine_rpm",
    "vehicle_speed",
    "intake_air_temp",
    "maf",
    "throttle",
    "ambient_temp",
    "pedal_d",
    "pedal_e",
];
const EV: [&str; 7] = ["soc", "speed", "mode", "lat", "lon", "alt", "gps_speed"];

/// The parts of a CAN log that are known, or all of it.
fn can(track: &Track, all: bool, sets: &mut Vec<Set>) -> Result<()> {
    let whole = vehicle(track);
    let there = track.recording.catalogue();
    let before = sets.len();
    for (name, toml, has_rows) in PARTS {
        let catalogue =
            signals::read(toml).map_err(|problems| anyhow::anyhow!("{name}: {problems:?}"))?;
        let places: Vec<Option<usize>> = there
            .signals
            .iter()
            .map(|signal| catalogue.signals.iter().position(|known| known.path == signal.path))
            .collect();
        if places.iter().flatten().count() < catalogue.signals.len() {
            continue;
        }
        let mut samples = Vec::new();
        for sample in &whole.samples {
            let place = places.get(usize::from(sample.signal.0)).copied().flatten();
            if let Some(signal) = place.and_then(|place| u8::try_from(place).ok()) {
                samples.push(Sample { signal: SignalIndex(signal), ..*sample });
            }
        }
        let seconds = |sample: &Sample| {
            let first = samples.first().map_or(0, |first: &Sample| first.tick);
            (sample.tick - first) * i64::from(catalogue.tick_ms) / 1000
        };
        let end = samples.last().map_or(0, seconds);
        let [from, to] = match (all, has_rows) {
            (false, true) if end > IMU_S[1] => IMU_S,
            (false, false) if end > 2 * BOX_FROM_S => [BOX_FROM_S, i64::MAX],
            _ => [0, i64::MAX],
        };
        let of = |from: i64, to: i64| Vehicle {
            name: whole.name.clone(),
            samples: samples.iter().filter(|s| (from..to).contains(&seconds(s))).copied().collect(),
        };
        let names = catalogue.signals.iter().map(|signal| short(&signal.path)).collect();
        let (vehicles, left_over) = (vec![of(from, to)], (from > 0).then(|| of(0, from)));
        let name = name.to_owned();
        sets.push(Set { name, catalogue, names, is_raw: true, has_rows, vehicles, left_over });
    }
    if sets.len() == before {
        let catalogue = OwnedCatalogue::new(CatalogueId::default(), there);
        let names = catalogue.signals.iter().map(|signal| short(&signal.path)).collect();
        let (name, vehicles) = (whole.name.clone(), vec![whole]);
        sets.push(Set {
            name,
            catalogue,
            names,
            is_raw: true,
            has_rows: true,
            vehicles,
            left_over: None,
        });
    }
    Ok(())
}

/// The last part of a path.
fn short(path: &str) -> String {
    path.rsplit('.').next().unwrap_or(path).to_lowercase()
}

fn vehicle(track: &Track) -> Vehicle {
    Vehicle { name: track.name.clone(), samples: track.recording.samples().collect() }
}
