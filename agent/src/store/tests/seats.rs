//! Where devices sat: kept with their samples through all that becomes of blocks.

use std::sync::atomic::AtomicBool;

use protocol::{Clock, DeviceTime};
use rusqlite::Connection;

use super::world::{Frame, MAY, World, all_known, count, go};
use crate::store::check::{Checked, check};
use crate::store::compact_all;
use crate::store::piece::{HEAD_LEN, Head, PieceKind};
use crate::store::rebuild::{JournalBegins, Rebuilt, rebuild};
use crate::store::schema;

const SWAP: i64 = (MAY + 4 * 5400 + 1800) * 1000;

/// Two devices that change places in the middle of a frame, and one that sits nowhere.
fn fleet() -> (World, Vec<Frame>) {
    let mut world = World::new();
    world.swap_between(&[("cab-7", "one", "two"), ("cab-8", "two", "one")], SWAP);
    let frames = (0..9_i64).flat_map(|at| {
        let seq = at.cast_unsigned() + 1;
        [("cab-7", 1), ("cab-8", 2), ("cab-9", 3)].map(|(device, ring)| Frame {
            device,
            ..Frame::minutes(ring, seq, MAY + at * 5400, 90)
        })
    });
    let frames = frames.collect();
    (world, frames)
}

fn checked(world: &World) -> Checked {
    check(&world.path(), &mut |_, _| {}).unwrap()
}

fn rebuilt(world: &World) -> Rebuilt {
    rebuild(&world.storage, &world.path(), &JournalBegins::new(), &mut |_, _| {}).unwrap()
}

/// Samples by vehicle and group; both devices sit half an hour longer than four frames in the first.
fn expected() -> Vec<(String, String, i64)> {
    let (early, late) = (2 * (4 * 90 + 30), 2 * (4 * 90 + 60));
    let seat = |vehicle: &str, group: &str, samples| (vehicle.into(), group.into(), samples);
    vec![
        seat("-", "-", 9 * 180),
        seat("one", "-", early),
        seat("one", "night", late),
        seat("two", "-", early),
        seat("two", "night", late),
    ]
}

#[test]
fn samples_keep_their_vehicle_through_compaction_rewriting_and_rebuild() {
    let (mut world, frames) = fleet();
    let mut engine = world.open();
    for some in frames.chunks(6) {
        engine.commit(&world.batch(some), b"on").unwrap();
    }
    assert_eq!(world.by_seat(), expected(), "as committed");
    assert_eq!(checked(&world).findings, vec![]);
    engine.seal();
    world.compaction(&engine).round(0, &go()).unwrap();
    drop(engine);
    assert_eq!(world.by_seat(), expected(), "compacted");
    compact_all(&world.storage, &world.path(), 1 << 20, &AtomicBool::new(false)).unwrap();
    // Once more into other files, block by block.
    let db = Connection::open(world.path().join(schema::FILE)).unwrap();
    db.execute("UPDATE files SET len = len * 100 WHERE live > 0", []).unwrap();
    drop(db);
    let before = count(&world.path(), "SELECT min(file) FROM blocks");
    for entry in std::fs::read_dir(world.path().join("blocks")).unwrap() {
        let file = std::fs::OpenOptions::new().write(true).open(entry.unwrap().path()).unwrap();
        file.set_len(file.metadata().unwrap().len() * 100).unwrap();
    }
    compact_all(&world.storage, &world.path(), 1 << 20, &AtomicBool::new(false)).unwrap();
    assert!(count(&world.path(), "SELECT min(file) FROM blocks") > before);
    assert_eq!(world.by_seat(), expected(), "rewritten");
    assert_eq!(checked(&world).findings, vec![]);
    let report = rebuilt(&world);
    assert_eq!(report.findings, vec![]);
    assert_eq!(world.by_seat(), expected(), "rebuilt");
    assert_eq!(checked(&world).findings, vec![]);
    assert_eq!(world.known(), all_known(&frames));
    assert_eq!(count(&world.path(), "SELECT count(*) FROM seats"), 4);
}

#[test]
fn every_file_says_the_seats_of_its_blocks_itself() {
    let (mut world, frames) = fleet();
    world.file_bytes = 1;
    for frame in &frames {
        // Another life of the agent for each.
        let mut engine = world.open();
        engine.commit(&world.batch(std::slice::from_ref(frame)), b"on").unwrap();
    }
    assert_eq!(count(&world.path(), "SELECT count(*) FROM seats"), 4, "numbers are kept");
    assert_eq!(world.block_files(), frames.len());
    let blocks = world.path().join("blocks");
    let aside = world.dir.path().join("aside");
    std::fs::rename(&blocks, &aside).unwrap();
    for entry in std::fs::read_dir(&aside).unwrap() {
        let path = entry.unwrap().path();
        std::fs::create_dir_all(&blocks).unwrap();
        std::fs::copy(&path, blocks.join(path.file_name().unwrap())).unwrap();
        // The index is that of all files at first: what is missing is named, no seat among it.
        let findings = rebuilt(&world).findings;
        assert!(findings.iter().all(|finding| finding.what.contains("samples of")), "{findings:?}");
        let sits_nowhere =
            count(&world.path(), "SELECT count(*) FROM devices WHERE device = 'cab-9'");
        let unnamed = world.by_seat().iter().any(|(vehicle, ..)| vehicle == "-");
        assert_eq!(unnamed, sits_nowhere == 1, "{}", path.display());
        std::fs::remove_dir_all(&blocks).unwrap();
    }
}

/// Puts zeros into all that says what seats stand for; how often.
fn damage_seats(world: &World) -> usize {
    let mut damaged = 0;
    for entry in std::fs::read_dir(world.path().join("blocks")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let mut at = 0;
        while let Some(head) = Head::read(&bytes[at..]) {
            if head.kind == PieceKind::Seat {
                bytes[at + HEAD_LEN + 9..at + HEAD_LEN + head.len].fill(0xff);
                damaged += 1;
            }
            at += HEAD_LEN + head.len;
        }
        std::fs::write(&path, bytes).unwrap();
    }
    damaged
}

#[test]
fn what_a_lost_seat_stands_for_is_missed_by_name_and_costs_no_sample() {
    let (mut world, frames) = fleet();
    let mut engine = world.open();
    engine.commit(&world.batch(&frames), b"on").unwrap();
    drop(engine);
    assert_eq!(damage_seats(&world), 4);
    // The index still knows.
    assert_eq!(world.by_seat(), expected());
    let findings = rebuilt(&world).findings;
    let says = |what: &str| findings.iter().filter(|finding| finding.what.contains(what)).count();
    // The four stand side by side.
    assert_eq!((says("they say no vehicle"), says("damaged")), (4, 1), "{findings:?}");
    assert_eq!(world.by_seat(), [("-".to_owned(), "-".to_owned(), 9 * 3 * 180)]);
    assert_eq!(world.known(), all_known(&frames));
    assert_eq!(checked(&world).findings, vec![]);
    compact_all(&world.storage, &world.path(), 1 << 20, &AtomicBool::new(false)).unwrap();
    assert_eq!(world.known(), all_known(&frames));
    assert_eq!(checked(&world).findings, vec![]);
}

#[test]
fn another_seat_in_the_index_than_in_the_block_is_found() {
    for change in [
        "UPDATE blocks SET seat = NULL",
        "UPDATE blocks SET seat = 1 + seat % 4",
        "UPDATE blocks SET seat = 1 WHERE seat IS NULL",
        "DELETE FROM seats",
    ] {
        let (mut world, frames) = fleet();
        world.open().commit(&world.batch(&frames), b"on").unwrap();
        assert_eq!(checked(&world).findings, vec![]);
        let db = Connection::open(world.path().join(schema::FILE)).unwrap();
        db.execute(change, []).unwrap();
        let findings = checked(&world).findings;
        assert!(findings.iter().any(|one| one.what.contains("another seat")), "{findings:?}");
    }
}

/// The fleet in a store, partly compacted, with records of all three.
fn written() -> (World, Vec<Frame>) {
    let (mut world, frames) = fleet();
    let mut engine = world.open();
    for (at, some) in frames.chunks(3).enumerate() {
        engine.commit(&world.batch(some), b"on").unwrap();
        for frame in some {
            let unix_ms = frame.samples[0].0 * 1000;
            let time = DeviceTime { boot: 1, uptime_ms: 5, unix_ms, clock: Clock::Agent };
            let frame = Frame { ring: frame.ring + 10, ..frame.clone() };
            engine.commit(&world.records(&frame, time), b"on").unwrap();
        }
        if at == 6 {
            engine.seal();
            world.compaction(&engine).round(0, &go()).unwrap();
        }
    }
    (world, frames)
}

#[test]
fn an_erased_device_leaves_no_seat_that_only_it_had() {
    let mut world = World::new();
    world.swap_between(&[("cab-7", "shared", "its own"), ("cab-8", "shared", "another")], SWAP);
    let mut engine = world.open();
    let frame =
        |device, ring, seq, at| Frame { device, ..Frame::minutes(ring, seq, MAY + at * 5400, 90) };
    for at in 0..9_i64 {
        let seq = at.cast_unsigned() + 1;
        let frames = [frame("cab-7", 1, seq, at), frame("cab-8", 2, seq, at)];
        engine.commit(&world.batch(&frames), b"on").unwrap();
        if at == 6 {
            engine.seal();
            world.compaction(&engine).round(0, &go()).unwrap();
        }
    }
    assert_ne!(world.files_with("its own"), Vec::<String>::new());
    engine.erase("cab-7".parse().unwrap()).unwrap();
    assert_eq!(world.files_with("its own"), Vec::<String>::new());
    let vehicles = |world: &World| -> Vec<String> {
        world.by_seat().into_iter().map(|(vehicle, ..)| vehicle).collect()
    };
    assert_eq!(vehicles(&world), ["another", "shared"]);
    assert_eq!(count(&world.path(), "SELECT count(*) FROM seats"), 2);
    assert_eq!(checked(&world).findings, vec![]);
    // The seat comes back with whoever sits there next.
    engine.commit(&world.batch(&[frame("cab-7", 3, 1, 40)]), b"on").unwrap();
    assert_eq!(vehicles(&world), ["another", "its own", "shared"]);
    engine.erase("cab-7".parse().unwrap()).unwrap();
    drop(engine);
    assert_eq!(rebuilt(&world).findings, vec![]);
    assert_eq!(vehicles(&world), ["another", "shared"]);
    assert_eq!(world.files_with("its own"), Vec::<String>::new());
}

#[test]
fn an_erased_vehicle_leaves_what_was_recorded_in_it_without_its_name() {
    let (world, frames) = written();
    let path = world.path();
    let mut engine = world.open();
    let named =
        count(&path, "SELECT count(*) FROM records WHERE document LIKE '%\"vehicle\":\"one\"%'");
    assert_eq!(named, 18);
    assert_ne!(world.files_with("\"one\""), Vec::<String>::new());
    let taken = engine.erase_vehicle("one").unwrap();
    assert_eq!((taken.samples, taken.records), (0, 18));
    assert!(taken.bytes > 0);
    let mut expected = expected();
    for seat in &mut expected {
        seat.0 = seat.0.replace("one", "-");
    }
    let merged = |mut seats: Vec<(String, String, i64)>| {
        seats.sort();
        seats.dedup_by(|b, a| {
            let same = (&a.0, &a.1) == (&b.0, &b.1);
            a.2 += if same { b.2 } else { 0 };
            same
        });
        seats
    };
    let check_all = |world: &World| {
        assert_eq!(world.by_seat(), merged(expected.clone()));
        assert_eq!(world.known(), all_known(&frames));
        assert_eq!(world.files_with("one"), Vec::<String>::new());
        assert_eq!(checked(world).findings, vec![]);
        let all = "SELECT count(*) FROM records WHERE json_valid(document)";
        assert_eq!(count(&world.path(), all), 54);
        let two = "SELECT count(*) FROM records WHERE document LIKE '%\"vehicle\":\"two\"%'";
        assert_eq!(count(&world.path(), two), 18);
    };
    check_all(&world);
    assert_eq!(engine.erase_vehicle("one").unwrap(), crate::store::Taken::default());
    engine.seal();
    world.compaction(&engine).round(0, &go()).unwrap();
    drop(engine);
    check_all(&world);
    assert_eq!(rebuilt(&world).findings, vec![]);
    check_all(&world);
}
