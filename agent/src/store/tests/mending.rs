//! Damage: said by a check, mended by a rebuild as far as it can be.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use protocol::{Clock, DeviceTime, Seq};
use rusqlite::Connection;

use super::world::{DAY, Frame, MAY, World, all_known, count, go, ring};
use crate::storage::{Disk, SharedStorage};
use crate::store::check::{Checked, check};
use crate::store::rebuild::{JournalBegins, Rebuilt, rebuild};
use crate::store::{Standing, StoreError, compact_all, schema};

/// Two days of two rings, compacted, and something after that; records too.
fn filled() -> (World, Vec<Frame>) {
    let mut world = World::new();
    world.file_bytes = 2000;
    let mut frames: Vec<Frame> = (0..32_i64)
        .flat_map(|at| {
            let seq = at.cast_unsigned() + 1;
            [1, 2].map(|ring| Frame::minutes(ring, seq, MAY + at * 5400, 90))
        })
        .collect();
    let mut engine = world.open();
    engine.commit(&world.batch(&frames), b"one").unwrap();
    let time = DeviceTime { boot: 1, uptime_ms: 5, unix_ms: MAY * 1000, clock: Clock::Agent };
    for seq in 1..9 {
        let frame = Frame::minutes(3, seq, MAY, 1);
        engine.commit(&world.records(&frame, time), b"two").unwrap();
    }
    engine.seal();
    world.compaction(&engine).round(0, &go()).unwrap();
    let later = Frame::minutes(1, 90, MAY + 5 * DAY, 90);
    engine.commit(&world.batch(std::slice::from_ref(&later)), b"three").unwrap();
    frames.push(later);
    (world, frames)
}

fn checked(world: &World) -> Checked {
    check(&world.path(), &mut |_, _| {}).unwrap()
}

fn rebuilt(world: &World) -> Rebuilt {
    rebuild(&world.storage, &world.path(), &JournalBegins::new(), &mut |_, _| {}).unwrap()
}

#[test]
fn a_sound_store_is_found_sound() {
    let (world, frames) = filled();
    let checked = checked(&world);
    assert_eq!((checked.wrong, checked.findings), (0, vec![]));
    assert_eq!(checked.samples, all_known(&frames).len() as u64);
    assert_eq!(checked.records, 16);
}

#[test]
fn a_rebuilt_index_is_the_same_and_the_sink_goes_by_identity() {
    let (world, frames) = filled();
    let dump = |sql: &str| -> Vec<String> {
        let db = Connection::open(world.path().join(schema::FILE)).unwrap();
        let mut query = db.prepare(sql).unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let said = "SELECT format('%d %d %d %d %d %d %d %s %s', b.file, b.offset, b.from_ms, b.span_ms,
          b.seq_first, b.seq_last, b.level, d.device, hex(r.hourly))
        FROM blocks b JOIN devices d ON d.id = b.device LEFT JOIN rollups r ON r.block = b.id
        ORDER BY b.file, b.offset";
    let filed = "SELECT document FROM records ORDER BY ring, seq, ordinal";
    let before = (dump(said), dump(filed));
    let report = rebuilt(&world);
    assert_eq!((report.doubles, report.damaged_bytes, report.records), (0, 0, 16));
    assert_eq!((dump(said), dump(filed)), before);
    assert_eq!(checked(&world).findings, vec![]);
    assert_eq!(world.known(), all_known(&frames));
    let (engine, standing) = world.try_open().unwrap();
    assert!(matches!(standing, Standing::NoCursor(why) if why.contains("rebuilt")));
    let delivered = engine.delivered().unwrap();
    assert_eq!((delivered[&ring(1)], delivered[&ring(3)]), (Seq(90), Seq(8)));
}

#[test]
fn a_damaged_block_is_named_and_costs_only_itself() {
    let (world, frames) = filled();
    let path = world.path();
    let (file, offset) = (
        count(&path, "SELECT file FROM blocks ORDER BY id LIMIT 1"),
        count(&path, "SELECT offset FROM blocks ORDER BY id LIMIT 1"),
    );
    let lost = count(&path, "SELECT samples FROM blocks ORDER BY id LIMIT 1");
    let block_file = path.join(format!("blocks/{file:06}.blk"));
    let mut bytes = std::fs::read(&block_file).unwrap();
    bytes[usize::try_from(offset).unwrap() + 60] ^= 4;
    std::fs::write(&block_file, &bytes).unwrap();
    let found = checked(&world);
    assert_eq!(found.wrong, 1);
    assert_eq!(found.findings[0].file.map(i64::from), Some(file));
    assert!(found.findings[0].what.contains("checksum"), "{found:?}");
    let report = rebuilt(&world);
    // Where the damage is, and what is gone with it.
    assert_eq!(report.findings.len(), 2, "{report:?}");
    assert_eq!(report.missing_samples.cast_signed(), lost);
    assert!(report.findings[1].what.contains("gone for good"), "{report:?}");
    let all = i64::try_from(all_known(&frames).len()).unwrap();
    assert_eq!(i64::try_from(world.known().len()).unwrap(), all - lost);
    assert_eq!(checked(&world).findings, vec![]);
}

#[test]
fn what_an_index_says_wrongly_is_found() {
    for (change, says) in [
        ("UPDATE blocks SET samples = samples + 1 WHERE id = 70", "another samples"),
        ("UPDATE blocks SET span_ms = 5 WHERE id = 70", "another time"),
        ("UPDATE rollups SET hourly = x'0001' WHERE block = 70", "hours"),
        ("DELETE FROM rollups WHERE block = 70", "missing"),
        ("UPDATE files SET live = live + 1", "in use"),
        ("DELETE FROM records WHERE id = 3", "records in a chapter"),
        ("UPDATE records SET document = '{}' WHERE id = 3", "another document"),
    ] {
        let (world, _) = filled();
        let db = Connection::open(world.path().join(schema::FILE)).unwrap();
        let first = count(&world.path(), "SELECT min(block) FROM rollups");
        db.execute(&change.replace("70", &first.to_string()), []).unwrap();
        drop(db);
        let found = checked(&world);
        assert!(found.wrong > 0, "{change}");
        assert!(found.findings.iter().any(|finding| finding.what.contains(says)), "{found:?}");
    }
}

#[test]
fn any_flipped_byte_is_survived() {
    let (world, _) = filled();
    let storage: SharedStorage = Arc::new(Disk);
    let blocks = world.path().join("blocks");
    let files: Vec<_> = std::fs::read_dir(&blocks)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    let (file, whole) = files.iter().max_by_key(|(_, content)| content.len()).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 23) {
        for (path, content) in &files {
            std::fs::write(path, content).unwrap();
        }
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        std::fs::write(file, &bytes).unwrap();
        let report = rebuilt(&world);
        assert!(!report.findings.is_empty(), "at {at}");
        assert_eq!(checked(&world).findings, vec![], "at {at}");
        compact_all(&storage, &world.path(), 2000, &AtomicBool::new(false)).unwrap();
        assert_eq!(checked(&world).findings, vec![], "at {at}");
    }
}

#[test]
fn doubles_of_an_interrupted_compaction_count_once() {
    let (world, frames) = filled();
    // Copies of all files, as if none had been removed, and one cut short.
    let blocks = world.path().join("blocks");
    let mut files: Vec<_> =
        std::fs::read_dir(&blocks).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for (number, file) in (800..).zip(&files) {
        std::fs::copy(file, blocks.join(format!("{number:06}.blk"))).unwrap();
    }
    let torn = std::fs::read(&files[0]).unwrap();
    std::fs::write(blocks.join("000900.blk"), &torn[..torn.len() - 3]).unwrap();
    let report = rebuilt(&world);
    assert!(report.doubles >= all_known(&frames).len() as u64, "{report:?}");
    assert_eq!(world.known(), all_known(&frames));
    assert_eq!(checked(&world).findings, vec![]);
}

#[test]
fn a_part_of_a_block_that_stands_elsewhere_counts_once() {
    let mut world = World::new();
    let all: Vec<Frame> =
        (1..6_i64).map(|seq| Frame::minutes(1, seq.cast_unsigned(), MAY + seq * 600, 9)).collect();
    let mut engine = world.open();
    engine.commit(&world.batch(&all[..3]), b"one").unwrap();
    engine.seal();
    // The same store in another life, which had other frames together.
    drop(engine);
    let first = std::fs::read(world.path().join("blocks/000001.blk")).unwrap();
    let mut other = World::new();
    other.file_bytes = world.file_bytes;
    let mut engine = other.open();
    engine.commit(&other.batch(&all[1..]), b"one").unwrap();
    drop(engine);
    std::fs::write(other.path().join("blocks/000007.blk"), first).unwrap();
    let report = rebuilt(&other);
    assert_eq!(report.doubles, 36);
    assert_eq!(other.known(), all_known(&all));
    assert_eq!(checked(&other).findings, vec![]);
}

#[test]
fn compacting_everything_makes_it_small_and_keeps_it() {
    let (world, frames) = filled();
    let storage: SharedStorage = Arc::new(Disk);
    let done = compact_all(&storage, &world.path(), 1 << 20, &AtomicBool::new(false)).unwrap();
    assert_eq!(done.samples, all_known(&frames).len() as u64);
    assert!(done.bytes_after <= done.bytes_before, "{done:?}");
    assert_eq!(world.known(), all_known(&frames));
    assert_eq!(checked(&world).findings, vec![]);
    assert_eq!(count(&world.path(), "SELECT count(*) FROM blocks WHERE level = 0"), 0);
    // The cursor is still there.
    assert_eq!(world.try_open().unwrap().1, Standing::Cursor(b"three".to_vec()));
}

#[test]
fn there_is_nothing_to_mend_where_there_is_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let storage: SharedStorage = Arc::new(Disk);
    let missing = |error| matches!(error, StoreError::Missing(_));
    assert!(missing(check(dir.path(), &mut |_, _| {}).unwrap_err()));
    assert!(missing(
        rebuild(&storage, dir.path(), &JournalBegins::new(), &mut |_, _| {}).unwrap_err()
    ));
    let stop = AtomicBool::new(false);
    assert!(missing(compact_all(&storage, dir.path(), 1 << 20, &stop).unwrap_err()));
}

#[test]
fn what_is_missing_comes_again_from_where_the_journal_begins() {
    let (mut world, mut frames) = filled();
    let path = world.path();
    // Of what is sure to be missed: a file in the midst of the rings, gone as a whole.
    let file =
        count(&path, "SELECT file FROM blocks WHERE level = 1 ORDER BY seq_first, id LIMIT 1");
    let missing = format!("SELECT sum(samples) FROM blocks WHERE file = {file}");
    let missing = count(&path, &missing).unsigned_abs();
    std::fs::remove_file(path.join("blocks").join(format!("{file:06}.blk"))).unwrap();
    // The journal has ring 1 as a whole, and of ring 2 only the later frames; nothing of ring 3.
    let journal = JournalBegins::from([(ring(1), Seq(1)), (ring(2), Seq(20))]);
    let report = rebuild(&world.storage, &path, &journal, &mut |_, _| {}).unwrap();
    assert_eq!((report.refilled_rings, report.missing_samples), (2, missing));
    let said: Vec<&str> = report.findings.iter().map(|finding| finding.what.as_str()).collect();
    assert!(said.iter().any(|said| said.contains("of cab-7, frames 1 to")), "{said:?}");
    let (mut engine, _) = world.try_open().unwrap();
    let delivered = engine.delivered().unwrap();
    // Nothing is known of a ring that has nothing left.
    assert!(delivered.get(&ring(1)).is_none_or(|last| *last == Seq(0)));
    assert!(delivered.get(&ring(2)).is_none_or(|last| *last == Seq(19)));
    assert_eq!(delivered[&ring(3)], Seq(8), "what the journal does not have stays");
    let again: Vec<Frame> =
        frames.iter().filter(|frame| frame.ring == 1 || frame.seq >= 20).cloned().collect();
    engine.commit(&world.batch(&again), b"again").unwrap();
    engine.seal();
    world.compaction(&engine).round(0, &go()).unwrap();
    // Whatever was in the missing file of ring 2 before frame 20 is gone, and nothing is there twice.
    let known = world.known();
    let known_again = all_known(&again);
    assert!(known_again.iter().all(|sample| known.contains(sample)));
    frames.retain(|frame| frame.ring == 1 || frame.seq >= 20 || frame.ring == 2);
    let all = all_known(&frames);
    assert!(known.iter().all(|sample| all.contains(sample)));
    assert!(known.windows(2).all(|pair| pair[0] != pair[1]), "nothing twice");
    // Made anew once more, with nothing missing, it is the same.
    drop(engine);
    let report = rebuild(&world.storage, &path, &journal, &mut |_, _| {}).unwrap();
    assert_eq!((report.refilled_rings, report.missing_samples), (0, 0));
    assert_eq!(world.known(), known);
}
