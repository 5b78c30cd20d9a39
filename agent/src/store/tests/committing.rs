//! Commits: all or nothing, and what a reader finds.

use protocol::{Clock, DeviceTime, Seq};

use super::world::{Frame, MAY, World, all_known, count, go, ring};
use crate::store::check::check;
use crate::store::{Standing, StoreError, schema};

#[test]
fn what_is_committed_is_found_and_the_cursor_with_it() {
    let mut world = World::new();
    let frames = [Frame::minutes(1, 1, MAY, 50), Frame::minutes(2, 7, MAY + 30, 9)];
    let (mut engine, standing) = world.try_open().unwrap();
    assert_eq!(standing, Standing::Empty);
    engine.commit(&world.batch(&frames[..1]), b"one").unwrap();
    engine.commit(&world.batch(&frames[1..]), b"two").unwrap();
    assert_eq!(world.known(), all_known(&frames));
    drop(engine);
    let (engine, standing) = world.try_open().unwrap();
    assert_eq!(standing, Standing::Cursor(b"two".to_vec()));
    let delivered = engine.delivered().unwrap();
    assert_eq!((delivered[&ring(1)], delivered[&ring(2)]), (Seq(1), Seq(7)));
    assert_eq!(world.known(), all_known(&frames));
}

#[test]
fn a_frame_in_two_pieces_because_its_device_was_swapped_is_whole() {
    let mut world = World::new();
    world.swap("cab-7", (MAY + 20 * 60) * 1000);
    let frames = [Frame::minutes(1, 1, MAY, 50), Frame::minutes(1, 2, MAY + 600, 50)];
    let mut engine = world.open();
    let batch = world.batch(&frames);
    assert_eq!(batch.pieces().count(), 4);
    engine.commit(&batch, b"one").unwrap();
    assert_eq!(world.known(), all_known(&frames));
    engine.seal();
    world.compaction(&engine).round(0, &go()).unwrap();
    assert_eq!(world.known(), all_known(&frames));
    assert_eq!(check(&world.path(), &mut |_, _| {}).unwrap().findings, vec![]);
}

#[test]
fn what_stands_behind_the_end_is_cut_off() {
    let mut world = World::new();
    let frames = [Frame::minutes(1, 1, MAY, 50)];
    let mut engine = world.open();
    engine.commit(&world.batch(&frames), b"one").unwrap();
    drop(engine);
    let file = world.path().join("blocks/000001.blk");
    let whole = std::fs::read(&file).unwrap();
    let mut torn = whole.clone();
    torn.extend_from_slice(&whole[..whole.len() / 2]);
    std::fs::write(&file, &torn).unwrap();
    // A file that was begun and never committed.
    std::fs::write(world.path().join("blocks/000002.blk"), &whole).unwrap();
    let engine = world.open();
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    assert_eq!(world.block_files(), 1);
    drop(engine);
    assert_eq!(world.known(), all_known(&frames));
}

#[test]
fn an_index_older_than_the_files_is_refused() {
    let mut world = World::new();
    world.file_bytes = 1 << 20;
    let mut engine = world.open();
    engine.commit(&world.batch(&[Frame::minutes(1, 1, MAY, 50)]), b"one").unwrap();
    drop(engine);
    let index = world.path().join(schema::FILE);
    let old = std::fs::read(&index).unwrap();
    let mut engine = world.open();
    for seq in 2..5 {
        engine.commit(&world.batch(&[Frame::minutes(1, seq, MAY, 50)]), b"more").unwrap();
    }
    drop(engine);
    std::fs::write(&index, old).unwrap();
    let refused = world.try_open().unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("milepost store rebuild"), "{refused}");
}

#[test]
fn a_missing_file_and_a_damaged_index_are_said() {
    let mut world = World::new();
    let mut engine = world.open();
    engine.commit(&world.batch(&[Frame::minutes(1, 1, MAY, 500)]), b"one").unwrap();
    drop(engine);
    let file = world.path().join("blocks/000001.blk");
    let whole = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(
        world.try_open().unwrap_err().to_string().contains("000001.blk")
            || world.try_open().unwrap_err().to_string().contains("block file 1 is missing")
    );
    std::fs::write(&file, &whole[..10]).unwrap();
    assert!(world.try_open().unwrap_err().to_string().contains("shorter"));
    std::fs::write(&file, &whole).unwrap();
    world.open();
    let index = world.path().join(schema::FILE);
    let mut bytes = std::fs::read(&index).unwrap();
    bytes[..16].fill(b'x');
    std::fs::write(&index, &bytes).unwrap();
    let refused = world.try_open().unwrap_err().to_string();
    assert!(refused.contains("milepost store rebuild"), "{refused}");
    std::fs::remove_file(&index).unwrap();
    let refused = world.try_open().unwrap_err().to_string();
    assert!(refused.contains("missing"), "{refused}");
}

#[test]
fn a_batch_offered_again_after_a_failure_is_there_once() {
    let mut world = World::new();
    let frames = [Frame::minutes(1, 1, MAY, 50)];
    let mut engine = world.open();
    engine.commit(&world.batch(&frames), b"one").unwrap();
    // Another transaction keeps the index from being written.
    let more = [Frame::minutes(1, 2, MAY + 5000, 50)];
    let blocks = world.path().join("blocks");
    let aside = world.path().join("aside");
    let batch = world.batch(&more);
    engine.seal();
    std::fs::rename(&blocks, &aside).unwrap();
    engine.commit(&batch, b"two").unwrap_err();
    engine.commit(&batch, b"two").unwrap_err();
    std::fs::rename(&aside, &blocks).unwrap();
    engine.commit(&batch, b"two").unwrap();
    assert_eq!(world.known(), all_known(&[frames, more].concat()));
}

#[test]
fn records_are_filed_and_logs_can_be_searched() {
    let mut world = World::new();
    let mut engine = world.open();
    let frame = Frame::minutes(3, 4, MAY, 1);
    let time = DeviceTime { boot: 1, uptime_ms: 5000, unix_ms: MAY * 1000, clock: Clock::Agent };
    let batch = world.records(&frame, time);
    engine.commit(&batch, b"one").unwrap();
    // The same frame again, as after a reconciliation that knew less than it might.
    engine.commit(&batch, b"two").unwrap();
    let path = world.path();
    assert_eq!(count(&path, "SELECT count(*) FROM records"), 2);
    let found = "SELECT count(*) FROM records JOIN log_text ON log_text.rowid = records.id
        WHERE log_text MATCH 'carrier' AND json_extract(document, '$.data.target') = 'modem'";
    assert_eq!(count(&path, found), 1);
    assert_eq!(count(&path, "SELECT sum(records) FROM chapters"), 2);
    assert_eq!(engine.delivered().unwrap()[&ring(3)], Seq(4));
}

#[test]
fn samples_from_before_the_clock_was_known_are_placed_when_it_is() {
    let mut world = World::new();
    let mut engine = world.open();
    let mut early = Frame::minutes(1, 1, 60, 20);
    early.clock = Clock::Uptime;
    engine.commit(&world.batch(&[early.clone()]), b"one").unwrap();
    let path = world.path();
    let unplaced = "SELECT count(*) FROM blocks WHERE from_ms IS NULL AND uptime_ms = 60000";
    assert_eq!(count(&path, unplaced), 1);
    let boot_ms = MAY * 1000 - 5_000_000;
    let says = |boot, offset, clock| DeviceTime {
        boot,
        uptime_ms: 5_000_000,
        unix_ms: boot_ms + offset + 5_000_000,
        clock,
    };
    let health = Frame::minutes(3, 4, MAY, 1);
    engine.commit(&world.records(&health, says(2, 0, Clock::Agent)), b"two").unwrap();
    assert_eq!(count(&path, unplaced), 1, "another boot");
    let rtc = Frame { seq: 5, ..health.clone() };
    engine.commit(&world.records(&rtc, says(1, 777, Clock::Rtc)), b"three").unwrap();
    let from = "SELECT from_ms FROM blocks";
    assert_eq!(count(&path, from), boot_ms + 60_777);
    // A better clock corrects it, a worse one does not.
    let agent = Frame { seq: 6, ..health.clone() };
    engine.commit(&world.records(&agent, says(1, 0, Clock::Agent)), b"four").unwrap();
    let rtc = Frame { seq: 7, ..health };
    engine.commit(&world.records(&rtc, says(1, 9, Clock::Rtc)), b"five").unwrap();
    assert_eq!(count(&path, from), boot_ms + 60_000);
    // What comes later of that boot finds its place at once.
    let mut late = Frame::minutes(1, 2, 600, 20);
    late.clock = Clock::Uptime;
    engine.commit(&world.batch(&[late.clone()]), b"six").unwrap();
    assert_eq!(count(&path, "SELECT count(*) FROM blocks WHERE from_ms IS NULL"), 0);
    let mut expected = all_known(&[early, late]);
    for known in &mut expected {
        known.4 += boot_ms;
    }
    assert_eq!(world.known(), expected);
}

#[test]
fn a_device_that_claims_any_time_harms_nobody() {
    let mut world = World::new();
    let mut engine = world.open();
    let mut frames = Vec::new();
    for (seq, tick) in (1..).zip([i64::MAX, i64::MIN, i64::MAX / 1000, 0, -5]) {
        for clock in [Clock::Uptime, Clock::Agent] {
            let mut frame = Frame::minutes(clock as u8, seq, 0, 1);
            frame.clock = clock;
            frame.samples = vec![(tick, 0, i64::MIN), (tick, 1, i64::MAX)];
            frames.push(frame);
        }
    }
    engine.commit(&world.batch(&frames), b"one").unwrap();
    for (seq, unix_ms) in (50..).zip([i64::MAX, i64::MIN, 1 << 60, 1 << 51]) {
        let time = DeviceTime { boot: 1, uptime_ms: u64::MAX - 5, unix_ms, clock: Clock::Agent };
        let frame = Frame::minutes(9, seq, 0, 1);
        engine.commit(&world.records(&frame, time), b"two").unwrap();
        let time = DeviceTime { boot: 1, uptime_ms: 5, unix_ms, clock: Clock::Reference };
        let frame = Frame::minutes(9, seq + 100, 0, 1);
        engine.commit(&world.records(&frame, time), b"two").unwrap();
    }
    assert_eq!(count(&world.path(), "SELECT sum(samples) FROM blocks"), 20);
}
