//! Compaction: keeps every sample and its identity, and makes fewer, larger blocks.

use protocol::{Clock, DeviceTime};

use super::world::{DAY, Frame, MAY, World, all_known, count, go};
use crate::store::read::StoreReader;
use crate::store::retention::Retention;
use crate::store::rollup::{self, HOUR_MS, MINUTE_MS};

/// Three days of a cab's minutes in frames of an hour and a half.
fn three_days(ring: u8) -> Vec<Frame> {
    (0..48_i64)
        .map(|at| Frame::minutes(ring, at.cast_unsigned() + 1, MAY + at * 5400, 90))
        .collect()
}

fn check_rollups(world: &World) -> usize {
    let reader = StoreReader::open(&world.path()).unwrap();
    let mut checked = 0;
    for row in super::world::rows(&reader) {
        let sql = "SELECT hourly, minutely FROM rollups WHERE block = ?";
        let packed = reader.connection().query_row(sql, [row.id], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
        });
        let Ok((hourly, minutely)) = packed else { continue };
        let block = reader.block(&row).unwrap();
        let entries: Vec<_> = block.entries(u128::MAX).map(Result::unwrap).collect();
        let offset = row.offset_ms().unwrap();
        let expected = |width| rollup::roll_up(&entries, 1000, offset, width);
        assert_eq!(rollup::unpack(&hourly, HOUR_MS).unwrap(), expected(HOUR_MS));
        if let Some(minutely) = minutely {
            assert_eq!(rollup::unpack(&minutely, MINUTE_MS).unwrap(), expected(MINUTE_MS));
        }
        checked += 1;
    }
    checked
}

#[test]
fn fragments_become_blocks_of_a_day_and_the_files_go() {
    let mut world = World::new();
    let frames = [three_days(1), three_days(2)].concat();
    let mut engine = world.open();
    for frame in &frames {
        engine.commit(&world.batch(std::slice::from_ref(frame)), b"on").unwrap();
    }
    engine.seal();
    assert!(world.block_files() > 3);
    let mut compaction = world.compaction(&engine);
    compaction.round(0, &go()).unwrap();
    assert_eq!(world.known(), all_known(&frames));
    let path = world.path();
    assert_eq!(count(&path, "SELECT count(*) FROM blocks"), 6);
    assert_eq!(count(&path, "SELECT count(*) FROM blocks WHERE level = 1"), 6);
    assert_eq!(count(&path, "SELECT count(*) FROM files WHERE level = 0"), 0);
    assert_eq!(check_rollups(&world), 6);
    assert_eq!(compaction.done().merged, 96);
    // A second round has nothing to do.
    let done = compaction.done();
    compaction.round(0, &go()).unwrap();
    assert_eq!(compaction.done(), done);
}

#[test]
fn late_samples_go_into_their_hour() {
    let mut world = World::new();
    let frames = three_days(1);
    let mut engine = world.open();
    engine.commit(&world.batch(&frames), b"on").unwrap();
    engine.seal();
    let mut compaction = world.compaction(&engine);
    compaction.round(0, &go()).unwrap();
    // Weeks later, of the second day, from before and between.
    let late = Frame::minutes(1, 900, MAY + DAY + 7, 30);
    engine.commit(&world.batch(std::slice::from_ref(&late)), b"late").unwrap();
    engine.seal();
    compaction.round(0, &go()).unwrap();
    assert_eq!(count(&world.path(), "SELECT count(*) FROM blocks"), 3);
    assert_eq!(world.known(), all_known(&[frames, vec![late]].concat()));
    assert_eq!(check_rollups(&world), 3);
}

#[test]
fn many_rounds_and_starts_keep_everything() {
    let mut world = World::new();
    let mut frames = three_days(1);
    frames.extend((0..20).map(|at| {
        // A clock that went back, and samples of other days in one frame.
        let mut frame = Frame::minutes(1, 100 + at, MAY + 2 * DAY, 20);
        frame.samples.extend(Frame::minutes(1, 0, MAY - 40_000, 20).samples);
        frame
    }));
    for (at, frame) in frames.iter().enumerate() {
        let mut engine = world.open();
        engine.commit(&world.batch(std::slice::from_ref(frame)), b"on").unwrap();
        if at % 3 == 0 {
            engine.seal();
            world.compaction(&engine).round(0, &go()).unwrap();
        }
    }
    assert_eq!(world.known(), all_known(&frames));
    check_rollups(&world);
    let engine = world.open();
    let mut compaction = world.compaction(&engine);
    compaction.be_thorough();
    compaction.round(0, &go()).unwrap();
    compaction.round(0, &go()).unwrap();
    assert_eq!(world.known(), all_known(&frames));
    assert!(world.block_files() <= 3, "{}", world.block_files());
}

#[test]
fn a_reader_keeps_what_it_may_still_open() {
    let mut world = World::new();
    let frames = three_days(1);
    let mut engine = world.open();
    engine.commit(&world.batch(&frames), b"on").unwrap();
    engine.seal();
    let reader = StoreReader::open(&world.path()).unwrap();
    let before = super::world::rows(&reader);
    let mut compaction = world.compaction(&engine);
    compaction.round(0, &go()).unwrap();
    for row in &before {
        reader.block(row).unwrap();
    }
    drop(reader);
    compaction.round(1000, &go()).unwrap();
    assert_eq!(world.block_files(), 1);
}

#[test]
fn records_outlive_the_file_they_came_in() {
    let mut world = World::new();
    let mut engine = world.open();
    for seq in 1..20 {
        let frame = Frame::minutes(3, seq, MAY, 1);
        let time = DeviceTime { boot: 1, uptime_ms: 5, unix_ms: MAY * 1000, clock: Clock::Agent };
        engine.commit(&world.records(&frame, time), b"on").unwrap();
    }
    engine.seal();
    let mut compaction = world.compaction(&engine);
    compaction.round(0, &go()).unwrap();
    let path = world.path();
    assert_eq!(count(&path, "SELECT count(*) FROM chapters"), 1);
    assert_eq!(count(&path, "SELECT records FROM chapters"), 38);
    assert_eq!(count(&path, "SELECT count(*) FROM files WHERE level = 0"), 0);
    // Health goes by age, logs stay; the chapter stays for their sake, without what went.
    let retention = Retention { health_ms: Some(1000), ..Retention::default() };
    let now = MAY * 1000 + 5000;
    assert_eq!(compaction.retire(&retention, now, &go()).unwrap().records, 19);
    assert_eq!(count(&path, "SELECT records FROM chapters"), 19);
    assert_eq!(count(&path, "SELECT count FROM retired WHERE class = 'health'"), 19);
    let retention = Retention { logs_ms: Some(1000), ..Retention::default() };
    compaction.retire(&retention, now, &go()).unwrap();
    assert_eq!(count(&path, "SELECT count(*) FROM chapters"), 0);
    assert_eq!(count(&path, "SELECT count(*) FROM log_text"), 0);
    compaction.round(0, &go()).unwrap();
    assert_eq!(count(&path, "SELECT count(*) FROM files WHERE live > 0"), 0);
}

#[test]
fn the_oldest_goes_first_and_leaves_its_roll_ups() {
    let mut world = World::new();
    let frames = three_days(1);
    let mut engine = world.open();
    engine.commit(&world.batch(&frames), b"on").unwrap();
    engine.seal();
    let mut compaction = world.compaction(&engine);
    compaction.round(0, &go()).unwrap();
    let path = world.path();
    let day_ms = DAY * 1000;
    let retention = Retention {
        samples_ms: Some(day_ms),
        rollups_ms: Some(30 * day_ms),
        ..Retention::default()
    };
    let third_day = (MAY + 2 * DAY) * 1000 + 3_600_000;
    let retired = compaction.retire(&retention, third_day, &go()).unwrap();
    assert_eq!(retired.samples, 2880);
    let kept: Vec<_> =
        all_known(&frames).into_iter().filter(|known| known.4 >= (MAY + DAY) * 1000).collect();
    assert_eq!(count(&path, "SELECT sum(samples) FROM blocks WHERE len > 0"), 5760);
    assert_eq!(count(&path, "SELECT count(*) FROM blocks WHERE len = 0 AND flags & 4"), 1);
    assert_eq!(count(&path, "SELECT count(*) FROM rollups"), 3);
    let retired = compaction.retire(&retention, third_day + 40 * day_ms, &go()).unwrap();
    assert_eq!((retired.samples, retired.rollups), (5760, 3));
    assert_eq!(count(&path, "SELECT count(*) FROM blocks"), 0);
    assert_eq!(kept.len(), 5760);
    // What the store was given is still known.
    assert_eq!(engine.delivered().unwrap().len(), 1);
}

#[test]
fn a_size_is_kept() {
    let mut world = World::new();
    let frames = three_days(1);
    let mut engine = world.open();
    engine.commit(&world.batch(&frames), b"on").unwrap();
    engine.seal();
    let mut compaction = world.compaction(&engine);
    compaction.round(0, &go()).unwrap();
    let whole = compaction.size().unwrap();
    let retention = Retention { bytes_max: Some(whole - 1), ..Retention::default() };
    assert_eq!(compaction.retire(&retention, 0, &go()).unwrap().samples, 2880);
    assert!(compaction.size().unwrap() < whole);
    let retention = Retention { bytes_max: Some(1), ..Retention::default() };
    assert_eq!(compaction.retire(&retention, 0, &go()).unwrap().samples, 5760);
}

#[test]
fn a_clock_that_leaps_ahead_is_believed_after_a_day() {
    const PASS_MS: i64 = 600_000;
    let mut world = World::new();
    let mut engine = world.open();
    engine.commit(&world.batch(&three_days(1)), b"on").unwrap();
    let mut compaction = world.compaction(&engine);
    let (now, decade) = (MAY * 1000, 10 * 365 * DAY * 1000);
    assert_eq!(compaction.trusted_now(now).unwrap(), now);
    assert_eq!(compaction.trusted_now(now + PASS_MS).unwrap(), now + PASS_MS);
    // For an hour it is ten years later; then it is mended.
    for pass in 2..8 {
        let trusted = compaction.trusted_now(now + decade + pass * PASS_MS).unwrap();
        assert_eq!(trusted, now + pass * PASS_MS);
    }
    assert_eq!(compaction.trusted_now(now + 8 * PASS_MS).unwrap(), now + 8 * PASS_MS);
    // It goes back for a while: nothing is let go that would not have been.
    assert_eq!(compaction.trusted_now(now - decade).unwrap(), now - decade);
    // This time it stays, over a restart of the compaction too.
    let mut believed = None;
    for pass in 0..200 {
        if pass == 50 {
            compaction = world.compaction(&engine);
        }
        let at = now + pass * PASS_MS;
        if compaction.trusted_now(at).unwrap() == at && believed.is_none() {
            believed = Some(pass);
        }
    }
    assert_eq!(believed, Some(144));
}
