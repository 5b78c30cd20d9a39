//! A store that the agent's own engine wrote, asked beside it, before and after compaction.

use std::convert::Infallible;

use protocol::DeviceTime;

use super::*;
use crate::privacy::Cleared;
use crate::sink::Ndjson;
use crate::store::rebuild::{JournalBegins, rebuild};
use crate::store::tests::world::{Frame, MAY, World, go};

/// The lines of a file sink.
fn rendered(batch: &Cleared) -> Vec<String> {
    let mut lines = Vec::new();
    let Ok(()) = Ndjson::default().render(batch, |part| {
        lines.extend_from_slice(part);
        Ok::<_, Infallible>(())
    });
    String::from_utf8(lines).unwrap().lines().map(str::to_owned).collect()
}

fn exported(world: &World) -> Vec<String> {
    let mut out = Vec::new();
    export::export(&world.path(), None, &Stop::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn exported_documents_are_those_of_the_file_sink() {
    let mut world = World::new();
    let mut frames: Vec<Frame> = (0..30_i64)
        .map(|at| Frame::minutes(1, at.cast_unsigned() + 1, MAY + at * 5400, 90))
        .collect();
    // A clock that goes back within a frame, a device without a clock, another ring.
    let mut jumping = Frame::minutes(1, 31, MAY + 86_400, 20);
    jumping.samples.extend(Frame::minutes(1, 0, MAY - 40_000, 20).samples);
    frames.push(jumping);
    let mut early = Frame::minutes(1, 32, 60, 30);
    early.clock = Clock::Uptime;
    frames.push(early);
    frames
        .extend((0..5_i64).map(|at| Frame::minutes(2, at.cast_unsigned() + 1, MAY + at * 900, 15)));
    let samples = world.batch(&frames);
    let uptime_ms = 3_700_000;
    let unix_ms = MAY * 1000;
    let time = DeviceTime { boot: 1, uptime_ms, clock: Clock::Agent, unix_ms };
    let records = world.records(&Frame::minutes(2, 6, MAY, 1), time);
    let mut want = rendered(&samples);
    want.extend(rendered(&records));

    let mut engine = world.open();
    engine.commit(&samples, b"one").unwrap();
    assert_eq!(exported(&world).len(), want.len() - 2);
    engine.commit(&records, b"two").unwrap();
    assert_eq!(exported(&world), want, "as committed");
    engine.seal();
    let mut compaction = world.compaction(&engine);
    compaction.be_thorough();
    compaction.round(0, &go()).unwrap();
    assert_eq!(exported(&world), want, "compacted");
}

#[test]
fn exported_documents_say_the_vehicle_as_those_of_the_file_sink_do() {
    let mut world = World::new();
    world.swap("cab-7", (MAY + 4 * 5400 + 1800) * 1000);
    let mut frames: Vec<Frame> = (0..9_i64)
        .map(|at| Frame::minutes(1, at.cast_unsigned() + 1, MAY + at * 5400, 90))
        .collect();
    // Back in the first vehicle for a part of a frame.
    let mut jumping = Frame::minutes(1, 10, MAY + 10 * 5400, 20);
    jumping.samples.extend(Frame::minutes(1, 0, MAY + 7, 20).samples);
    jumping.samples.extend(Frame::minutes(1, 0, MAY + 11 * 5400, 20).samples);
    frames.push(jumping);
    let samples = world.batch(&frames);
    let time = DeviceTime { boot: 1, uptime_ms: 9, clock: Clock::Agent, unix_ms: MAY * 1000 };
    let records = world.records(&Frame::minutes(1, 11, MAY, 1), time);
    let want = [rendered(&samples), rendered(&records)].concat();
    let saying = |what: &str| want.iter().filter(|line| line.contains(what)).count();
    assert_eq!(saying("\"vehicle\":\"one\",\"data\""), 4 * 90 + 30 + 20 + 2);
    assert_eq!(saying("\"vehicle\":\"two\",\"vehiclegroup\":\"night\",\"data\""), 4 * 90 + 60 + 40);

    let mut engine = world.open();
    engine.commit(&samples, b"one").unwrap();
    engine.commit(&records, b"two").unwrap();
    assert_eq!(exported(&world), want, "as committed");
    let mut query = Query::open(&world.path()).unwrap();
    let said = ask(&mut query, "SELECT vehicle, vehiclegroup, tenant FROM health");
    assert_eq!(said, [[text("one"), Value::Null, Value::Null]]);
    engine.seal();
    let mut compaction = world.compaction(&engine);
    compaction.be_thorough();
    compaction.round(0, &go()).unwrap();
    assert_eq!(exported(&world), want, "compacted");
    drop((engine, compaction));
    rebuild(&world.storage, &world.path(), &JournalBegins::new(), &mut |_, _| {}).unwrap();
    assert_eq!(exported(&world), want, "rebuilt");
}

#[test]
fn answers_are_the_same_before_and_after_compaction() {
    let mut world = World::new();
    let frames: Vec<Frame> = (0..48_i64)
        .map(|at| Frame::minutes(1, at.cast_unsigned() + 1, MAY + at * 5400, 90))
        .collect();
    let mut engine = world.open();
    for frame in &frames {
        engine.commit(&world.batch(std::slice::from_ref(frame)), b"on").unwrap();
    }
    let questions = [
        "SELECT count(*), min(time), max(time), sum(raw) FROM samples",
        "SELECT time, value FROM samples WHERE signal = 'Vehicle.Speed' \
         AND time >= '2008-05-19T03:10' AND time < '2008-05-19T04:10' ORDER BY time DESC",
        "SELECT * FROM rollup_1h ORDER BY device, time, signal",
        "SELECT * FROM buckets('Vehicle.Load', '7m', '2008-05-18T05:01', '2008-05-18T09:03')",
    ];
    let answers = |world: &World| {
        let mut query = Query::open(&world.path()).unwrap();
        questions.map(|sql| sorted(ask(&mut query, sql)))
    };
    let before = answers(&world);
    assert_eq!(
        before[0],
        [[
            Value::Integer(48 * 180),
            text("2008-05-18T00:00:00.000Z"),
            text("2008-05-20T23:59:00.000Z"),
            Value::Integer(
                frames.iter().flat_map(|frame| &frame.samples).map(|(.., raw)| raw).sum()
            ),
        ]]
    );
    assert_eq!((before[1].len(), before[2].len()), (60, 144));
    // One that was open before looks on at what it sees.
    let mut open = Query::open(&world.path()).unwrap();
    engine.seal();
    let mut compaction = world.compaction(&engine);
    compaction.be_thorough();
    compaction.round(0, &go()).unwrap();
    compaction.round(0, &go()).unwrap();
    assert_eq!(answers(&world), before);
    assert_eq!(ask(&mut open, questions[0]), before[0]);
    engine.commit(&world.batch(&[Frame::minutes(1, 49, MAY, 1)]), b"more").unwrap();
    assert_eq!(number(&mut open, "SELECT count(*) FROM samples"), 48 * 180 + 2);
}

fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort_by_cached_key(|row| format!("{row:?}"));
    rows
}
