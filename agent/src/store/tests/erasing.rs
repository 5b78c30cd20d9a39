//! A device that is to be forgotten.

use protocol::{Clock, DeviceTime};

use super::world::{Frame, MAY, World, all_known, count, go, ring};
use crate::store::check::check;
use crate::store::rebuild::{JournalBegins, rebuild};

#[test]
fn a_device_is_gone_from_index_and_files_and_the_others_stay() {
    let mut world = World::new();
    let mut engine = world.open();
    let cab = |ring, seq, at| Frame::minutes(ring, seq, MAY + at * 5400, 90);
    let subject = |ring, seq, at| Frame { device: "subject-9", ..cab(ring, seq, at) };
    let time = DeviceTime { boot: 1, uptime_ms: 5, unix_ms: MAY * 1000, clock: Clock::Agent };
    let mut others = Vec::new();
    for at in 0..20_i64 {
        let seq = at.cast_unsigned() + 1;
        let frames = [cab(1, seq, at), subject(2, seq, at)];
        engine.commit(&world.batch(&frames), b"on").unwrap();
        for frame in [cab(3, seq, at), subject(4, seq, at)] {
            engine.commit(&world.records(&frame, time), b"on").unwrap();
        }
        others.push(frames[0].clone());
        if at == 10 {
            engine.seal();
            world.compaction(&engine).round(0, &go()).unwrap();
        }
    }
    let taken = engine.erase("subject-9".parse().unwrap()).unwrap();
    assert_eq!((taken.samples, taken.records), (20 * 180, 40));
    assert!(taken.bytes > 0);
    assert_eq!(world.known(), all_known(&others));
    let path = world.path();
    assert_eq!(count(&path, "SELECT count(*) FROM records"), 40);
    for entry in std::fs::read_dir(path.join("blocks")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(9).any(|window| window == b"subject-9"));
    }
    let index = std::fs::read(path.join("store.db")).unwrap();
    assert!(!index.windows(9).any(|window| window == b"subject-9"));
    assert_eq!(check(&path, &mut |_, _| {}).unwrap().findings, vec![]);
    // What was delivered is still known, and the device may come back under its name.
    assert_eq!(engine.delivered().unwrap()[&ring(2)].0, 20);
    assert_eq!(engine.erase("subject-9".parse().unwrap()).unwrap().samples, 0);
    engine.commit(&world.batch(&[subject(2, 50, 90)]), b"on").unwrap();
    assert_eq!(count(&path, "SELECT count(*) FROM devices"), 2);
    engine.erase("subject-9".parse().unwrap()).unwrap();
    engine.seal();
    world.compaction(&engine).round(0, &go()).unwrap();
    drop(engine);
    rebuild(&world.storage, &path, &JournalBegins::new(), &mut |_, _| {}).unwrap();
    assert_eq!(world.known(), all_known(&others));
    assert_eq!(check(&path, &mut |_, _| {}).unwrap().findings, vec![]);
}
