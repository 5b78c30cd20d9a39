//! A store on the real disk, batches for it, and what a reader finds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use protocol::codec::{Encoder, Hints, SamplesContext, SamplesHeader};
use protocol::event::{Level, Log};
use protocol::health::Heartbeat;
use protocol::record::Record;
use protocol::{CatalogueId, Clock, DeviceTime, Lane, RingId, Sample, Seq, SignalIndex, Step};
use tempfile::TempDir;

use crate::document::{OwnedCatalogue, OwnedHints, OwnedSignal};
use crate::privacy::{Cleared, Lens, Policy, Source};
use crate::storage::{Disk, SharedStorage};
use crate::store::compact::Compaction;
use crate::store::read::{BlockRow, StoreReader};
use crate::store::{Engine, Standing, StoreError, schema};
use crate::vehicles::{Assignment, Belonging, Change, Said, Vehicles};

pub const DAY: i64 = 86_400;
/// 2008-05-18T00:00:00Z, in seconds.
pub const MAY: i64 = 14_017 * DAY;

/// A sample, as a test names it: ring, seq, ordinal, column, time in ms, raw.
pub type Known = (u8, u64, u32, u8, i64, i64);

pub struct World {
    pub dir: TempDir,
    pub storage: SharedStorage,
    pub file_bytes: u64,
    lens: Arc<Lens>,
    policy: Policy,
}

/// One frame to come.
#[derive(Clone, Debug)]
pub struct Frame {
    pub device: &'static str,
    pub ring: u8,
    pub seq: u64,
    pub clock: Clock,
    pub boot: u32,
    /// Tick, column, raw.
    pub samples: Vec<(i64, u8, i64)>,
}

impl Frame {
    /// A sample a minute of two signals, from a second on.
    pub fn minutes(ring: u8, seq: u64, from: i64, count: i64) -> Self {
        let sample = |at: i64| {
            let tick = from + at * 60;
            [(tick, 0, tick % 977), (tick, 1, -at)]
        };
        let samples = (0..count).flat_map(sample).collect();
        Self { device: "cab-7", ring, seq, clock: Clock::Agent, boot: 1, samples }
    }

    pub fn known(&self) -> Vec<Known> {
        let (mut ordinal, mut last, mut seen) = (0_u32, None, Vec::new());
        let mut known = Vec::new();
        for (tick, column, raw) in &self.samples {
            if last.is_some_and(|last| last != *tick) || seen.contains(column) {
                ordinal += 1;
                seen.clear();
            }
            last = Some(*tick);
            seen.push(*column);
            known.push((self.ring, self.seq, ordinal, *column, tick * 1000, *raw));
        }
        known
    }
}

pub fn ring(number: u8) -> RingId {
    RingId([number; 16])
}

fn catalogue() -> OwnedCatalogue {
    let signal = |path: &str| OwnedSignal {
        path: path.to_owned(),
        unit: "km/h".to_owned(),
        step: Step::new(1, 10),
        raw_min: 0,
        raw_max: 1000,
    };
    let signals = ["Vehicle.Speed", "Vehicle.Load", "Vehicle.Range"].map(signal).to_vec();
    let (hints, thinning) = (OwnedHints::default(), Vec::new());
    OwnedCatalogue { id: CatalogueId(9), tick_ms: 1000, signals, hints, thinning }
}

impl World {
    pub fn new() -> Self {
        Self::on(Arc::new(Disk))
    }

    pub fn on(storage: SharedStorage) -> Self {
        let policy = Policy::none();
        let lens = Arc::new(policy.lens(&Arc::new(catalogue())));
        let dir = tempfile::tempdir().unwrap();
        Self { dir, storage, file_bytes: 4096, lens, policy }
    }

    /// From now on a device sits in one vehicle up to a time, and then in another, which is of the
    /// group "night".
    pub fn swap(&mut self, device: &str, at_ms: i64) {
        self.swap_between(&[(device, "one", "two")], at_ms);
    }

    /// The same of several devices: in which vehicle each sits, and in which from that time on.
    pub fn swap_between(&mut self, moves: &[(&str, &str, &str)], at_ms: i64) {
        self.sit(&vehicles(self.dir.path(), moves, at_ms));
    }

    /// From now on devices sit where this says.
    pub fn sit(&mut self, vehicles: &Vehicles) {
        self.policy = Policy::none().with_vehicles(vehicles.clone());
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub fn open(&self) -> Engine {
        self.try_open().unwrap().0
    }

    pub fn try_open(&self) -> Result<(Engine, Standing), StoreError> {
        Engine::open(&self.storage, &self.path(), self.file_bytes)
    }

    pub fn batch(&mut self, frames: &[Frame]) -> Cleared {
        let mut cleared = Cleared::default();
        for frame in frames {
            let mut buffer = vec![0; 100 + frame.samples.len() * 24];
            let mut encoder = Encoder::<3>::new(Hints::NONE, 3);
            for (tick, signal, raw) in &frame.samples {
                let sample = Sample::new(*tick, SignalIndex(*signal), *raw);
                encoder.push(&mut buffer, sample).unwrap();
            }
            let header = SamplesHeader {
                context: SamplesContext {
                    catalogue: CatalogueId(9),
                    clock: frame.clock,
                    coding: protocol::codec::Coding::Learning,
                    boot: frame.boot,
                },
                count: encoder.count(),
            };
            let len = encoder.finish(&mut buffer).unwrap();
            let source = source(frame);
            let lens = Arc::clone(&self.lens);
            self.policy.turn_to(source.device).unwrap();
            self.policy.samples(&source, &header, &buffer[..len], &lens, &mut cleared).unwrap();
        }
        cleared
    }

    /// A heartbeat and a line of log, in one frame.
    pub fn records(&mut self, frame: &Frame, time: DeviceTime) -> Cleared {
        let mut cleared = Cleared::default();
        self.policy.turn_to(source(frame).device).unwrap();
        let beat = Heartbeat { time, supply_mv: 12_000, ..Heartbeat::default() };
        self.policy.record(&source(frame), 0, &Record::Heartbeat(beat), &mut cleared);
        let log = Log { time, level: Level::Warning, target: "modem", message: "no carrier" };
        self.policy.record(&source(frame), 1, &Record::Log(log), &mut cleared);
        cleared
    }

    pub fn compaction(&self, engine: &Engine) -> Compaction {
        let numbers = engine.numbers();
        Compaction::open(&self.storage, &self.path(), self.file_bytes, &numbers).unwrap()
    }

    /// Everything there is, as a reader finds it; sorted. Checks each row against its block.
    pub fn known(&self) -> Vec<Known> {
        let reader = StoreReader::open(&self.path()).unwrap();
        let mut known = Vec::new();
        for row in rows(&reader) {
            let block = reader.block(&row).unwrap();
            let offset = row.offset_ms().unwrap_or_default();
            assert_eq!(block.len(), row.samples as usize);
            let mut times = Vec::new();
            for sample in block.samples() {
                let sample = sample.unwrap();
                let ring = block.stream().ring.0[0];
                let (seq, ordinal) = (sample.run.seq.0, sample.ordinal);
                let time_ms = sample.time_ms + offset;
                times.push(time_ms);
                assert!(row.has(sample.column));
                known.push((
                    ring,
                    seq,
                    ordinal,
                    sample.column,
                    time_ms,
                    sample.amount.steps().unwrap(),
                ));
            }
            if let (Some(from), Some(to)) = (row.from_ms, row.to_ms()) {
                assert_eq!(times.iter().min(), Some(&from));
                assert_eq!(times.iter().max(), Some(&to));
                assert!(row.level == 0 || to - from < schema::SPAN_MS_MAX);
            }
            assert_eq!(times.is_sorted(), row.is_sorted());
        }
        known.sort_unstable();
        known
    }

    /// Samples by vehicle and group, as the index has them; "-" for none.
    pub fn by_seat(&self) -> Vec<(String, String, i64)> {
        let reader = StoreReader::open(&self.path()).unwrap();
        let mut query = reader
            .connection()
            .prepare(
                "SELECT coalesce(vehicle, '-'), coalesce(vehiclegroup, '-'), sum(samples) FROM blocks
                 LEFT JOIN seats ON seats.id = blocks.seat GROUP BY 1, 2 ORDER BY 1, 2",
            )
            .unwrap();
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// The store's files in which these bytes stand.
    pub fn files_with(&self, wanted: &str) -> Vec<String> {
        let blocks = std::fs::read_dir(self.path().join("blocks")).unwrap();
        let index = std::fs::read_dir(self.path()).unwrap();
        let paths = blocks.chain(index).map(|entry| entry.unwrap().path());
        let has = |path: &PathBuf| {
            path.is_file()
                && std::fs::read(path)
                    .unwrap()
                    .windows(wanted.len())
                    .any(|window| window == wanted.as_bytes())
        };
        paths.filter(has).map(|path| path.display().to_string()).collect()
    }

    pub fn block_files(&self) -> usize {
        std::fs::read_dir(self.path().join("blocks")).unwrap().count()
    }
}

/// Devices, each in which vehicle it sits, and in which, of the group "night", from a time on.
pub fn vehicles(dir: &Path, moves: &[(&str, &str, &str)], at_ms: i64) -> Vehicles {
    let disk: SharedStorage = Arc::new(Disk);
    let state = crate::state::open(&disk, &dir.join("state.redb")).unwrap();
    let vehicles = Vehicles::open(state).unwrap();
    let night = Some(Said(Some("night".parse().unwrap())));
    let first = |(device, one, _)| (device, one, None, Some(at_ms), Change::default());
    let then = |(device, _, two)| {
        let change = Change { group: night.clone(), ..Change::default() };
        (device, two, Some(at_ms), None, change)
    };
    let stays = moves.iter().copied().map(first).chain(moves.iter().copied().map(then));
    for (device, vehicle, from_ms, to_ms, change) in stays {
        let (device, vehicle) = (device.parse().unwrap(), vehicle.parse().unwrap());
        let belonging = Belonging::default();
        let new = Assignment { device, vehicle, from_ms, to_ms, belonging };
        vehicles.assign(&new, &change, 1).unwrap();
    }
    vehicles
}

pub fn rows(reader: &StoreReader) -> Vec<BlockRow> {
    let sql = format!("SELECT {} FROM blocks AS b ORDER BY id", BlockRow::COLUMNS);
    let mut query = reader.connection().prepare(&sql).unwrap();
    query.query_map([], BlockRow::read).unwrap().map(Result::unwrap).collect()
}

pub fn count(path: &Path, sql: &str) -> i64 {
    let reader = StoreReader::open(path).unwrap();
    reader.connection().query_row(sql, [], |row| row.get(0)).unwrap()
}

pub fn all_known(frames: &[Frame]) -> Vec<Known> {
    let mut known: Vec<Known> = frames.iter().flat_map(Frame::known).collect();
    known.sort_unstable();
    known
}

pub fn go() -> AtomicBool {
    AtomicBool::new(false)
}

fn source<'a>(frame: &Frame) -> Source<'a> {
    Source {
        device: frame.device.parse().unwrap(),
        ring: ring(frame.ring),
        seq: Seq(frame.seq),
        lane: Lane::Bulk,
        received_ms: 1_795_332_600_123,
        origin: None,
    }
}
