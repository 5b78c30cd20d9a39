//! The power goes, the process is killed, the disk fails or fills up, at every call there is.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use tempfile::TempDir;

use super::world::{DAY, Frame, MAY, World, all_known, go, vehicles};
use crate::storage::SharedStorage;
use crate::storage::faulty::{Fault, Faulty, Leaves};
use crate::store::compact::Compaction;
use crate::store::{Engine, Standing, StoreError, rebuild};
use crate::vehicles::Vehicles;

/// In the midst of the second frame.
const SWAP: i64 = (MAY + DAY + 600 + 12 * 60) * 1000;
static SWAPPED: LazyLock<(TempDir, Vehicles)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path(), &[("cab-7", "one", "two")], SWAP);
    (dir, vehicles)
});

/// The index is on the real disk, the block files are on one that fails.
struct Machine {
    world: World,
    disk: Faulty,
    frames: Vec<Frame>,
}

impl Machine {
    fn new() -> Self {
        let disk = Faulty::default();
        let mut world = World::on(Arc::new(disk.clone()));
        world.file_bytes = 700;
        std::fs::create_dir_all(world.path().join("blocks")).unwrap();
        world.sit(&SWAPPED.1);
        let frames = (0..12_i64)
            .map(|at| Frame::minutes(1, at.cast_unsigned() + 1, MAY + at % 3 * DAY + at * 600, 25))
            .collect();
        Self { world, disk, frames }
    }

    /// Commits what the cursor says is missing, compacting now and then.
    fn run(&mut self) -> Result<(), StoreError> {
        let (mut engine, standing) = self.world.try_open()?;
        let done = done(&standing);
        let mut compaction = self.compaction(&engine)?;
        for at in done..self.frames.len() {
            let batch = self.world.batch(&self.frames[at..=at]);
            engine.commit(&batch, &[u8::try_from(at + 1).unwrap()])?;
            if at % 4 == 3 {
                engine.seal();
                compaction.round(0, &go())?;
            }
        }
        engine.seal();
        compaction.round(0, &go())
    }

    fn compaction(&self, engine: &Engine) -> Result<Compaction, StoreError> {
        let (storage, path) = (&self.world.storage, self.world.path());
        Compaction::open(storage, &path, self.world.file_bytes, &engine.numbers())
    }

    /// Puts the block files where a reader finds them.
    fn show(&self) {
        let blocks = self.world.path().join("blocks");
        std::fs::remove_dir_all(&blocks).unwrap();
        std::fs::create_dir(&blocks).unwrap();
        for (path, content) in self.disk.files() {
            std::fs::write(path, content).unwrap();
        }
    }

    fn holds_the_first(&self, frames: usize) {
        self.show();
        assert_eq!(self.world.known(), all_known(&self.frames[..frames]));
        assert_eq!(self.world.by_seat(), by_seat(&self.frames[..frames]));
    }
}

/// Samples by where the device sat.
fn by_seat(frames: &[Frame]) -> Vec<(String, String, i64)> {
    let all = frames.iter().flat_map(|frame| &frame.samples);
    let (mut early, mut late) = (0, 0);
    for (tick, ..) in all {
        *(if tick * 1000 < SWAP { &mut early } else { &mut late }) += 1;
    }
    [("one", "-", early), ("two", "night", late)]
        .into_iter()
        .filter(|(.., samples)| *samples > 0)
        .map(|(vehicle, group, samples)| (vehicle.to_owned(), group.to_owned(), samples))
        .collect()
}

/// How many frames the cursor says are there.
fn done(standing: &Standing) -> usize {
    match standing {
        Standing::Empty => 0,
        Standing::Cursor(cursor) => usize::from(cursor[0]),
        Standing::NoCursor(why) => panic!("{why}"),
    }
}

fn calls_of_a_whole_run() -> u64 {
    let mut machine = Machine::new();
    machine.run().unwrap();
    machine.holds_the_first(12);
    machine.disk.calls()
}

fn is_the_power(error: &StoreError) -> bool {
    error.to_string().contains("the power is off")
}

#[test]
fn a_power_cut_at_any_call_loses_and_doubles_nothing() {
    let calls = calls_of_a_whole_run();
    assert!(calls > 100, "{calls}");
    let mut unnoticed = 0;
    for at in 1..=calls {
        let fault = if at % 2 == 0 { Fault::CutBefore } else { Fault::CutAfter };
        let leaves = match at % 3 {
            0 => Leaves::Nothing,
            1 => Leaves::All,
            _ => Leaves::Some(at),
        };
        let mut machine = Machine::new();
        machine.disk.fail(at, fault);
        let run = machine.run();
        if let Err(cut) = &run {
            assert!(is_the_power(cut), "at {at}: {cut}");
        }
        machine.disk.power_cycle(leaves);
        let (engine, standing) = machine.world.try_open().unwrap();
        let done = done(&standing);
        drop(engine);
        // Only what compaction reads last may meet it unnoticed: then all is there.
        if run.is_ok() {
            assert_eq!(done, 12, "at {at}");
            unnoticed += 1;
        }
        machine.holds_the_first(done);
        machine.run().unwrap();
        machine.holds_the_first(12);
    }
    assert!(unnoticed * 20 < calls, "{unnoticed} of {calls} cuts went unnoticed");
}

#[test]
fn a_kill_at_any_call_and_a_lost_index_lose_and_double_nothing() {
    let calls = calls_of_a_whole_run();
    for at in (1..=calls).step_by(3) {
        let mut machine = Machine::new();
        machine.disk.fail(at, Fault::CutBefore);
        let run = machine.run();
        machine.disk.restart();
        let (engine, standing) = machine.world.try_open().unwrap();
        let done = done(&standing);
        drop(engine);
        assert!(run.is_err() || done == 12, "at {at}: unnoticed, and {done} of 12 there");
        machine.show();
        let path = machine.world.path();
        lose_index(&path);
        if std::fs::read_dir(path.join("blocks")).unwrap().count() == 0 {
            continue;
        }
        let disk: SharedStorage = Arc::new(crate::storage::Disk);
        rebuild::rebuild(&disk, &path, &rebuild::JournalBegins::new(), &mut |_, _| {}).unwrap();
        assert_eq!(machine.world.known(), all_known(&machine.frames[..done]), "at {at}");
    }
}

fn lose_index(path: &Path) {
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        drop(std::fs::remove_file(path.join(name)));
    }
}

#[test]
fn a_disk_that_fails_once_anywhere_costs_another_attempt() {
    let calls = calls_of_a_whole_run();
    for at in 1..=calls {
        let fault = if at % 2 == 0 { Fault::Io } else { Fault::NoSpace };
        let mut machine = Machine::new();
        machine.disk.fail(at, fault);
        // The same engine goes on after a failure, as the forwarder has it.
        let Ok((mut engine, _)) = machine.world.try_open() else { continue };
        let mut compaction = machine.compaction(&engine).unwrap();
        for number in 0..machine.frames.len() {
            let batch = machine.world.batch(&machine.frames[number..=number]);
            let cursor = [u8::try_from(number + 1).unwrap()];
            if let Err(error) = engine.commit(&batch, &cursor) {
                assert_eq!(error.is_disk_full(), fault == Fault::NoSpace, "{error}");
                engine.commit(&batch, &cursor).unwrap();
            }
            if number % 4 == 3 {
                engine.seal();
                if compaction.round(0, &go()).is_err() {
                    compaction.round(0, &go()).unwrap();
                }
            }
        }
        machine.holds_the_first(12);
        drop((engine, compaction));
        machine.run().unwrap();
        machine.holds_the_first(12);
    }
}

#[test]
fn a_full_disk_holds_up_and_loses_nothing_once_there_is_room() {
    let mut machine = Machine::new();
    machine.disk.set_capacity(Some(1500));
    let (mut engine, _) = machine.world.try_open().unwrap();
    let mut refused = 0;
    for number in 0..machine.frames.len() {
        let batch = machine.world.batch(&machine.frames[number..=number]);
        let cursor = [u8::try_from(number + 1).unwrap()];
        while let Err(error) = engine.commit(&batch, &cursor) {
            assert!(error.is_disk_full(), "{error}");
            refused += 1;
            if refused == 3 {
                machine.disk.set_capacity(None);
            }
        }
    }
    assert_eq!(refused, 3);
    machine.holds_the_first(12);
}
