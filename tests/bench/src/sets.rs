//! Recordings as sets of like vehicles: one catalogue, and what is known of it beforehand.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use protocol::{CatalogueId, Sample, SignalIndex};
use recordings::{Kind, ReadError, ReadOptions, Track};
use signals::OwnedCatalogue;

/// Part of a CAN log of a car with an OBD-II poller, a GNSS receiver and an inertial sensor.
struct Part {
    name: &'static str,
    /// The catalogue, with what was learnt of other parts of the one log there is.
    catalogue: &'static str,
    /// Whether its samples come in rows of one time stamp.
    has_rows: bool,
    /// What the peers have, in their order: the last part of a signal's path, and their name for it.
    peers: &'static [(&'static str, &'static str)],
}

const PARTS: [Part; 2] = [
    Part {
        name: "box",
        catalogue: include_str!("../signals/box.toml"),
        has_rows: false,
        peers: &[
            ("Latitude", "latitude"),
            ("Longitude", "longitude"),
            ("Altitude", "altitude"),
            ("Speed", "speed"),
            ("SpeedAccuracy", "speedaccuracy"),
            ("PositionAccuracy", "positionaccuracy"),
            ("Satellites", "satellites"),
            ("FixType", "fixtype"),
            ("Heading", "heading"),
            ("Roll", "roll"),
            ("Pitch", "pitch"),
            ("DistanceTrip", "distancetrip"),
            ("EngineLoad", "engine_load"),
            ("EngineCoolantTemperature", "coolant_temp"),
            ("IntakeManifoldPressure", "intake_map"),
            ("EngineSpeed", "engine_rpm"),
            ("VehicleSpeed", "vehicle_speed"),
            ("ThrottlePosition", "throttle"),
            ("FuelLevel", "fuel_level"),
            ("BarometricPressure", "baro"),
            ("ControlModuleVoltage", "module_voltage"),
            ("ActualTorque", "engine_torque"),
        ],
    },
    Part {
        name: "imu",
        catalogue: include_str!("../signals/imu.toml"),
        has_rows: true,
        peers: &[],
    },
];

/// Taxis of the table.
const TAXIS: usize = 12;
/// Of so many OBD drives one is in the table, the first and then every such.
const DRIVES: usize = 8;
/// Trips of the table are all but these: what is known of such a car was learnt of them.
const LEARNT_TRIPS: [&str; 2] = ["T2_03_29_2021", "T3_04_22_2021_2"];
/// What a peer learnt beforehand it has from the last one that is not in the table, of the drives or
/// taxis up to this: as the reference in `wire-reference` has it.
const TEACHING_DRIVE: usize = 44;
const TEACHING_TAXI: usize = 29;
/// A box is measured from so many seconds after its first sample; an inertial sensor too, until so
/// many after the log's.
const BOX_FROM_S: i64 = 600;
const IMU_FROM_S: i64 = 300;
const IMU_TO_S: i64 = 900;

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
    /// What a peer has of each signal.
    pub peers: Vec<Peer>,
    /// A peer gets integers as they are on the bus.
    pub is_raw: bool,
    /// Samples of one time stamp are a row of the source.
    pub has_rows: bool,
    /// Who is measured.
    pub vehicles: Vec<Vehicle>,
    /// One of those that are not, for a peer that begins with what it learnt.
    pub teacher: Option<Vehicle>,
}

/// A signal in a peer's eyes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// What it calls it.
    pub name: String,
    /// Where it has it among the others.
    pub place: usize,
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
pub fn read(paths: &[PathBuf], options: &ReadOptions, all: bool) -> Result<Vec<Set>> {
    let mut files = recordings::files(paths)?;
    let is_named = |file: &Path| {
        let of_it = |path: &&PathBuf| path.ends_with("small") && file.starts_with(path);
        paths.iter().any(|path| path == file || of_it(&path))
    };
    files.retain(|file| is_named(file) || !is_beside_the_whole(file));
    let mut kinds: [(Kind, Vec<Track>); 3] =
        [Kind::ObdCar, Kind::EvTwizy, Kind::Taxi].map(|kind| (kind, Vec::new()));
    let mut sets = Vec::new();
    for file in &files {
        let (kind, tracks) = match recordings::read_file(file, options) {
            Ok((tracks, report)) => (report.kind, tracks),
            Err(error @ ReadError::UnknownKind { .. }) => {
                eprintln!("left out: {error}");
                continue;
            }
            Err(ReadError::NoDbc { path, beside }) => {
                let (path, beside) = (path.display(), beside.display());
                eprintln!("left out: {path}: it needs a DBC, as {beside} or with --dbc FILE");
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

/// The little of each that is there for everyday tests is not measured beside the whole.
fn is_beside_the_whole(path: &Path) -> bool {
    let small = path.parent().filter(|dir| dir.ends_with("small"));
    let data = small.and_then(Path::parent).and_then(|data| data.read_dir().ok());
    data.is_some_and(|entries| entries.flatten().filter(|entry| entry.path().is_dir()).count() > 1)
}

fn of_kind(kind: Kind, tracks: Vec<Track>, all: bool) -> Option<Set> {
    let catalogue =
        OwnedCatalogue::new(CatalogueId::default(), tracks.first()?.recording.catalogue());
    let (name, names, has_rows): (_, &[&str], _) = match kind {
        Kind::ObdCar => ("obd_car", &OBD, false),
        Kind::EvTwizy => ("ev_twizy", &EV, true),
        _ => ("taxi", &["lat", "lon", "occupied"], true),
    };
    let (mut vehicles, mut teacher) = (Vec::new(), None);
    for (at, track) in tracks.into_iter().enumerate() {
        let (is_measured, teaches) = match kind {
            Kind::ObdCar => (at.is_multiple_of(DRIVES), at <= TEACHING_DRIVE),
            Kind::EvTwizy => (!LEARNT_TRIPS.contains(&track.name.as_str()), true),
            _ => (at < TAXIS, at <= TEACHING_TAXI),
        };
        if all || is_measured {
            vehicles.push(vehicle(&track));
        } else if teaches {
            teacher = Some(track);
        }
    }
    let teacher = teacher.as_ref().map(vehicle);
    let peers = in_order(names.iter().map(|name| (*name).to_owned()));
    let name = name.to_owned();
    Some(Set { name, catalogue, peers, is_raw: false, has_rows, vehicles, teacher })
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
    for Part { name, catalogue, has_rows, peers } in PARTS {
        let catalogue =
            signals::read(catalogue).map_err(|problems| anyhow::anyhow!("{name}: {problems:?}"))?;
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
        let since = |first: Option<&Sample>, sample: &Sample| {
            let passed = first.map_or(0, |first| sample.tick - first.tick);
            passed * i64::from(catalogue.tick_ms) / 1000
        };
        let (first, first_of_log) = (samples.first(), whole.samples.first());
        let end = samples.last().map_or(0, |last| since(first, last));
        let (from, to) = match (all, has_rows) {
            (false, true) if end > IMU_TO_S => (IMU_FROM_S, IMU_TO_S),
            (false, false) if end > 2 * BOX_FROM_S => (BOX_FROM_S, i64::MAX),
            _ => (0, i64::MAX),
        };
        let of = |is_in: &dyn Fn(&Sample) -> bool| Vehicle {
            name: whole.name.clone(),
            samples: samples.iter().filter(|sample| is_in(sample)).copied().collect(),
        };
        let measured =
            of(&|sample| since(first, sample) >= from && since(first_of_log, sample) < to);
        let teacher = (from > 0).then(|| of(&|sample| since(first, sample) < from));
        let (name, vehicles) = (name.to_owned(), vec![measured]);
        let peers = in_peers_order(&catalogue, peers);
        sets.push(Set { name, catalogue, peers, is_raw: true, has_rows, vehicles, teacher });
    }
    if sets.len() == before {
        let catalogue = OwnedCatalogue::new(CatalogueId::default(), there);
        let peers = in_peers_order(&catalogue, &[]);
        let (name, vehicles) = (whole.name.clone(), vec![whole]);
        let (is_raw, has_rows, teacher) = (true, true, None);
        sets.push(Set { name, catalogue, peers, is_raw, has_rows, vehicles, teacher });
    }
    Ok(())
}

/// Signals where the peers have them; where nothing is said of that, as in the catalogue.
fn in_peers_order(catalogue: &OwnedCatalogue, peers: &[(&str, &str)]) -> Vec<Peer> {
    let paths = catalogue.signals.iter().map(|signal| signal.path.as_str());
    let ends: Vec<&str> = paths.map(|path| path.rsplit('.').next().unwrap_or(path)).collect();
    let place = |end: &&str| {
        let place = peers.iter().position(|(of_ours, _)| of_ours == end)?;
        let (_, name) = peers.get(place)?;
        Some(Peer { name: (*name).to_owned(), place })
    };
    let known: Option<Vec<Peer>> = ends.iter().map(place).collect();
    known.unwrap_or_else(|| in_order(ends.iter().map(|end| end.to_lowercase())))
}

fn in_order(names: impl Iterator<Item = String>) -> Vec<Peer> {
    names.enumerate().map(|(place, name)| Peer { name, place }).collect()
}

fn vehicle(track: &Track) -> Vehicle {
    Vehicle { name: track.name.clone(), samples: track.recording.samples().collect() }
}
