//! What a store meets over the years: samples that are old when they come, disks that no longer
//! read, erasures that are cut short, more than there is room for.

use std::fs;
use std::os::unix::fs::FileExt as _;

use protocol::{Clock, DeviceTime};
use rusqlite::Connection;

use super::world::{DAY, Frame, MAY, World, all_known, count, go};
use crate::store::check::check;
use crate::store::{Retention, StoreError, schema};

fn time() -> DeviceTime {
    DeviceTime { boot: 1, uptime_ms: 5, unix_ms: MAY * 1000, clock: Clock::Agent }
}

/// Bytes of all block files and of the index.
fn everything(world: &World) -> Vec<u8> {
    let path = world.path();
    let blocks = fs::read_dir(path.join("blocks")).unwrap().map(|entry| entry.unwrap().path());
    let index = ["store.db", "store.db-wal"].map(|name| path.join(name));
    blocks.chain(index).filter_map(|path| fs::read(path).ok()).flatten().collect()
}

fn says(world: &World, name: &str) -> bool {
    everything(world).windows(name.len()).any(|window| window == name.as_bytes())
}

/// Two devices' blocks and records, merged into files of both.
fn two_devices() -> (World, Vec<Frame>) {
    let mut world = World::new();
    world.file_bytes = 1 << 20;
    let mut engine = world.open();
    let mut others = Vec::new();
    for at in 0..12_i64 {
        let seq = at.cast_unsigned() + 1;
        let other = Frame::minutes(1, seq, MAY + at * 5400, 90);
        let subject = Frame { device: "subject-9", ..Frame::minutes(2, seq, MAY + at * 5400, 90) };
        engine.commit(&world.batch(&[other.clone(), subject.clone()]), b"on").unwrap();
        let records = [Frame { ring: 3, ..other.clone() }, Frame { ring: 4, ..subject }];
        for frame in records {
            engine.commit(&world.records(&frame, time()), b"on").unwrap();
        }
        others.push(other);
    }
    engine.seal();
    world.compaction(&engine).round(0, &go()).unwrap();
    (world, others)
}

#[test]
fn a_sample_that_is_too_old_when_it_comes_stops_nothing() {
    let mut world = World::new();
    let mut engine = world.open();
    let old = Frame { device: "old", ..Frame::minutes(2, 1, DAY, 90) };
    let new = Frame::minutes(1, 1, MAY, 90);
    engine.commit(&world.batch(&[old, new.clone()]), b"on").unwrap();
    let mut compaction = world.compaction(&engine);
    let retention = Retention { samples_ms: Some(7 * DAY * 1000), ..Retention::default() };
    assert_eq!(compaction.retire(&retention, MAY * 1000, &go()).unwrap().samples, 180);
    engine.seal();
    engine.commit(&world.batch(&[Frame::minutes(1, 2, MAY + DAY, 90)]), b"on").unwrap();
    compaction.round(0, &go()).unwrap();
    let path = world.path();
    assert_eq!(count(&path, "SELECT count(*) FROM blocks WHERE level = 1 AND len > 0"), 1);
    // Its hours stay.
    assert_eq!(
        count(
            &path,
            "SELECT count(*) FROM rollups r JOIN blocks b ON b.id = r.block WHERE b.len = 0"
        ),
        1
    );
    assert_eq!(check(&path, &mut |_, _| {}).unwrap().findings, vec![]);
}

#[test]
fn a_better_clock_leaves_the_hours_whose_samples_are_gone() {
    let mut world = World::new();
    let mut engine = world.open();
    let booted = Frame { clock: Clock::Uptime, boot: 7, ..Frame::minutes(1, 1, 60, 90) };
    engine.commit(&world.batch(&[booted]), b"on").unwrap();
    let says = |clock, unix_ms| DeviceTime { boot: 7, uptime_ms: 60_000, unix_ms, clock };
    let beat = Frame::minutes(3, 1, MAY, 1);
    let time = says(Clock::Agent, MAY * 1000);
    engine.commit(&world.records(&beat, time), b"on").unwrap();
    let mut compaction = world.compaction(&engine);
    let retention = Retention { samples_ms: Some(DAY * 1000), ..Retention::default() };
    let retired = compaction.retire(&retention, (MAY + 9 * DAY) * 1000, &go()).unwrap();
    assert_eq!(retired.samples, 180);
    let path = world.path();
    let (hours, from) = ("SELECT count(*) FROM rollups", "SELECT from_ms FROM blocks");
    let before = (count(&path, hours), count(&path, from));
    assert_eq!(before.0, 1);
    let beat = Frame { seq: 2, ..beat };
    let time = says(Clock::Reference, (MAY + 3600) * 1000);
    engine.commit(&world.records(&beat, time), b"on").unwrap();
    let offset = "SELECT offset_ms FROM boots";
    assert_eq!(count(&path, offset), (MAY + 3600) * 1000 - 60_000, "it was learnt");
    assert_eq!((count(&path, hours), count(&path, from)), before);
}

#[test]
fn a_file_that_cannot_be_read_holds_up_nobody_else() {
    let mut world = World::new();
    let mut engine = world.open();
    engine.commit(&world.batch(&[Frame::minutes(1, 1, MAY, 90)]), b"on").unwrap();
    engine.seal();
    engine.commit(&world.batch(&[Frame::minutes(2, 1, MAY, 90)]), b"on").unwrap();
    engine.seal();
    engine.commit(&world.batch(&[Frame::minutes(3, 1, MAY, 90)]), b"on").unwrap();
    let path = world.path();
    let first = format!("{:06}.blk", count(&path, "SELECT min(file) FROM blocks"));
    let first = path.join("blocks").join(first);
    fs::rename(&first, first.with_extension("away")).unwrap();
    let mut compaction = world.compaction(&engine);
    compaction.round(0, &go()).unwrap();
    assert_eq!(count(&path, "SELECT count(*) FROM blocks WHERE level = 1"), 1);
    let retention = Retention { samples_ms: Some(DAY * 1000), ..Retention::default() };
    let retired = compaction.retire(&retention, (MAY + 9 * DAY) * 1000, &go()).unwrap();
    assert_eq!(retired.samples, 360, "what can be read goes");
    fs::rename(first.with_extension("away"), &first).unwrap();
    assert_eq!(compaction.retire(&retention, (MAY + 9 * DAY) * 1000, &go()).unwrap().samples, 180);
}

#[test]
fn room_is_made_of_records_too_and_of_roll_ups() {
    let mut world = World::new();
    let mut engine = world.open();
    for seq in 1..40 {
        engine.commit(&world.records(&Frame::minutes(3, seq, MAY, 1), time()), b"on").unwrap();
    }
    engine.seal();
    let mut compaction = world.compaction(&engine);
    compaction.round(0, &go()).unwrap();
    let path = world.path();
    let retention = Retention { bytes_max: Some(0), ..Retention::default() };
    assert!(compaction.retire(&retention, 0, &go()).unwrap().records > 0);
    assert_eq!(count(&path, "SELECT count(*) FROM records"), 0);
    // Samples leave no hours behind when there is no room for them.
    engine.commit(&world.batch(&[Frame::minutes(1, 1, MAY, 90)]), b"on").unwrap();
    let unplaced = Frame { clock: Clock::Uptime, boot: 7, ..Frame::minutes(2, 1, 60, 90) };
    engine.commit(&world.batch(&[unplaced]), b"on").unwrap();
    let retired = compaction.retire(&retention, 0, &go()).unwrap();
    assert_eq!(retired.samples, 360);
    assert_eq!(count(&path, "SELECT count(*) FROM blocks"), 0);
    assert_eq!(count(&path, "SELECT count(*) FROM rollups"), 0);
}

#[test]
fn an_erasure_that_lost_power_while_it_wrote_over_is_done_again() {
    let (world, others) = two_devices();
    let path = world.path();
    let (file, offset, len): (u32, u64, usize) = Connection::open(path.join(schema::FILE))
        .unwrap()
        .query_row("SELECT file, offset, len FROM chapters LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned(), row.get::<_, u32>(2)? as usize))
        })
        .unwrap();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path.join("blocks").join(format!("{file:06}.blk")))
        .unwrap();
    let mut chapter = vec![0; len];
    file.read_exact_at(&mut chapter, offset).unwrap();
    let mut engine = world.open();
    engine.erase("subject-9".parse().unwrap()).unwrap();
    assert!(!says(&world, "subject-9"));
    // Only the first bytes of what was written over had come to the disk.
    file.write_all_at(&chapter[64..], offset + 64).unwrap();
    assert!(says(&world, "subject-9"));
    engine.erase("subject-9".parse().unwrap()).unwrap();
    assert!(!says(&world, "subject-9"));
    assert_eq!(world.known(), all_known(&others));
}

#[test]
fn what_nobody_can_read_goes_with_an_erasure() {
    let (world, others) = two_devices();
    let path = world.path();
    // The head of the subject's own block.
    let (id, offset): (u32, u64) = Connection::open(path.join(schema::FILE))
        .unwrap()
        .query_row(
            "SELECT file, offset FROM blocks JOIN devices d ON d.id = blocks.device
             WHERE d.device = 'subject-9'",
            [],
            |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())),
        )
        .unwrap();
    let file = path.join("blocks").join(format!("{id:06}.blk"));
    fs::File::options().write(true).open(file).unwrap().write_all_at(&[0; 9], offset).unwrap();
    assert!(says(&world, "subject-9"));
    let mut engine = world.open();
    engine.erase("subject-9".parse().unwrap()).unwrap();
    assert!(!says(&world, "subject-9"));
    assert_eq!(world.known(), all_known(&others));
    assert_eq!(check(&path, &mut |_, _| {}).unwrap().findings, vec![]);
}

#[test]
fn an_erasure_beside_a_long_reader_is_not_called_done() {
    let (world, _) = two_devices();
    let reader = schema::open_to_read(&world.path().join(schema::FILE)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let devices = "SELECT count(*) FROM devices";
    let seen: i64 = reader.query_row(devices, [], |row| row.get(0)).unwrap();
    assert_eq!(seen, 2);
    let mut engine = world.open();
    engine.wait_at_most(std::time::Duration::from_millis(10));
    let error = engine.erase("subject-9".parse().unwrap()).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    reader.execute_batch("COMMIT").unwrap();
    engine.erase("subject-9".parse().unwrap()).unwrap();
    assert!(!says(&world, "subject-9"));
}
