//! The documents of a file sink, from blocks in any order.

use protocol::SignalIndex;
use protocol::thinning::{Skip, Thin, Thinning};

use super::super::made::Record;
use super::*;
use crate::value::{Amount, Exact};

fn exported(dir: &TempDir, device: Option<&str>) -> Vec<String> {
    let mut out = Vec::new();
    let device = device.map(|name| name.parse().unwrap());
    let count = export::export(dir.path(), device, &Stop::default(), &mut out).unwrap();
    let lines: Vec<String> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(count, u64::try_from(lines.len()).unwrap());
    lines
}

#[test]
fn what_is_no_number_of_steps_is_asked_for_and_exported_as_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(dir.path()).unwrap();
    let signals = [signal(SPEED, Step::new(1, 10))];
    let catalogue = maker.catalogue(&Catalogue::new(1000, &signals)).unwrap();
    let stream = stream("truck-1", 0xab, catalogue, 1000);
    let exacts = vec![
        Exact::Missing,
        Exact::Single(0.5_f32.to_bits()),
        Exact::Double(f64::INFINITY.to_bits()),
        Exact::Bytes([1, 0xff].into()),
        Exact::Text("ä".into()),
    ];
    let amounts = (0..5).map(Amount::Exact).chain([Amount::Steps(415)]);
    let entries = (0..).zip(amounts).map(|(at, amount)| Entry {
        tick: i64::from(at),
        amount,
        ordinal: at,
        run: 0,
        column: 0,
    });
    let samples = Samples { runs: vec![run(3)], entries: entries.collect(), exacts };
    // With roll-ups, of which they are no part.
    maker.block(&stream, &samples, 1, None).unwrap();
    maker.finish().unwrap();
    let values = ["null", "0.5", r#"{"float":"Infinity"}"#, r#"{"hex":"01ff"}"#, "\"ä\"", "41.5"];
    let members: Vec<String> = exported(&dir, None)
        .iter()
        .map(|line| line.split_once("\"Vehicle.Speed\":").unwrap().1.replace("}}", ""))
        .collect();
    let want: Vec<String> = values.iter().map(|value| value.replace('}', "")).collect();
    let members: Vec<String> = members.iter().map(|member| member.replace('}', "")).collect();
    assert_eq!(members, want);
    let mut query = Query::open(dir.path()).unwrap();
    let sql = "SELECT value, raw, exact FROM samples ORDER BY ordinal";
    let rows = ask(&mut query, sql);
    let (null, text) = (Value::Null, |text: &str| Value::Text(text.to_owned()));
    assert_eq!(rows[0], [null.clone(), null.clone(), text("null")]);
    assert_eq!(rows[1], [Value::Real(0.5), null.clone(), text("0.5")]);
    assert_eq!(rows[2][2], text(r#"{"float":"Infinity"}"#));
    assert_eq!(rows[3], [Value::Blob(vec![1, 0xff]), null.clone(), text(r#"{"hex":"01ff"}"#)]);
    assert_eq!(rows[4], [text("ä"), null.clone(), text("\"ä\"")]);
    assert_eq!(rows[5], [Value::Real(41.5), Value::Integer(415), null]);
    let counted = ask(&mut query, "SELECT count, max FROM rollup_1h");
    assert_eq!(counted, [[Value::Integer(1), Value::Real(41.5)]]);
}

#[test]
fn what_was_left_out_is_exported_and_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(dir.path()).unwrap();
    let signals = [signal(SPEED, Step::new(1, 10)), signal(DOORS, Step::ONE)];
    let skip = Skip { dead_band: Some(5), ..Skip::default() };
    let thinning = [Thinning { signal: SignalIndex(0), how: Thin::Skip(skip) }];
    let plain = Catalogue::new(1000, &signals);
    let of_plain = maker.catalogue(&plain).unwrap();
    let thinned = maker.catalogue(&Catalogue { thinning: &thinning, ..plain }).unwrap();
    assert_ne!(of_plain, thinned);
    let entry = |tick, column| Entry {
        tick,
        amount: Amount::Steps(415),
        ordinal: u32::from(tick > 0),
        run: 0,
        column,
    };
    for (ring, catalogue) in [(0xab, of_plain), (0xac, thinned)] {
        // An instant with both signals, and one with the door's alone.
        let entries = vec![entry(0, 0), entry(0, 1), entry(1, 1)];
        let samples = Samples { runs: vec![run(3)], entries, exacts: Vec::new() };
        maker.block(&stream("truck-1", ring, catalogue, 1000), &samples, 1, None).unwrap();
    }
    maker.finish().unwrap();
    let exported = exported(&dir, None);
    let said: Vec<bool> = exported
        .iter()
        .map(|line| line.ends_with(r#"},"thinning":"Vehicle.Speed;dead_band=0.5"}"#))
        .collect();
    assert_eq!(said, [false, false, true, false], "{exported:?}");
    let mut query = Query::open(dir.path()).unwrap();
    let sql = "SELECT DISTINCT signal, thinning FROM samples WHERE thinning IS NOT NULL";
    assert_eq!(ask(&mut query, sql), [[text(SPEED), text("Vehicle.Speed;dead_band=0.5")]]);
}

#[test]
fn blocks_and_records_are_merged_by_identity() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(dir.path()).unwrap();
    let signals = [signal(SPEED, Step::new(1, 10)), signal(DOORS, Step::ONE)];
    let catalogue = maker.catalogue(&Catalogue::new(1000, &signals)).unwrap();
    let stream = stream("truck-1", 0xab, catalogue, 1000);
    let entry = |tick, raw, ordinal, run, column| Entry {
        tick,
        amount: Amount::Steps(raw),
        ordinal,
        run,
        column,
    };
    // The second block has the middle of the first one's frame, and a frame of its own.
    let first = Samples {
        runs: vec![run(3), run(5)],
        entries: vec![
            entry(10, 415, 0, 0, 0),
            entry(10, 2, 0, 0, 1),
            entry(12, 420, 2, 0, 0),
            entry(20, 1, 0, 1, 1),
        ],
        exacts: Vec::new(),
    };
    let cell = 0x0872_830c_ffff_ffff_i64 << 4 >> 4;
    let second = Samples {
        runs: vec![run(3), run(4)],
        entries: vec![entry(-4000, 418, 1, 0, 0), entry(15, 3, 0, 1, 1), entry(15, cell, 0, 1, 64)],
        exacts: Vec::new(),
    };
    maker.block(&stream, &second, 1, None).unwrap();
    maker.block(&stream, &first, 0, None).unwrap();
    let uptime = Run { clock: Clock::Uptime, boot: 9, ..run(2) };
    let booted =
        Samples { runs: vec![uptime], entries: vec![entry(7, -1, 0, 0, 0)], exacts: Vec::new() };
    maker.block(&Stream { boot: Some(9), ..stream }, &booted, 1, Some(1_000_000)).unwrap();
    for (seq, ordinal, document) in
        [(4, -1, "{\"lost\":1}"), (6, 1, "{\"b\":1}"), (6, 0, "{\"a\":1}"), (3, 9, "{\"c\":1}")]
    {
        let (kind, time_ms) = (6, None);
        let record = Record { stream: &stream, kind, seq, ordinal, time_ms, document, log: None };
        maker.record(&record).unwrap();
    }
    maker.finish().unwrap();
    let ring = RingId([0xab; 16]);
    let document = |id: &str, time: &str, clock: &str, boot: u32, members: &str| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"truck-1/{ring}/{id}\",\
             \"source\":\"/devices/truck-1\",\"type\":\"milepost.samples\",{time},\
             \"lane\":\"bulk\",\"clock\":\"{clock}\",\"boot\":{boot},\
             \"received\":\"1970-01-01T00:00:00.005Z\",\"data\":{{{members}}}}}"
        )
    };
    let at = |second: u32| format!("\"time\":\"1970-01-01T00:00:{second:02}.000Z\"");
    let early = "\"time\":\"1969-12-31T22:53:20.000Z\"";
    let want = [
        document("2/0", "\"uptimems\":7000", "uptime", 9, "\"Vehicle.Speed\":-0.1"),
        document(
            "3/0",
            &at(10),
            "reference",
            1,
            "\"Vehicle.Speed\":41.5,\"Vehicle.Cabin.DoorCount\":2",
        ),
        document("3/1", early, "reference", 1, "\"Vehicle.Speed\":41.8"),
        document("3/2", &at(12), "reference", 1, "\"Vehicle.Speed\":42"),
        "{\"c\":1}".to_owned(),
        "{\"lost\":1}".to_owned(),
        document(
            "4/0",
            &at(15),
            "reference",
            1,
            &format!("\"Vehicle.Cabin.DoorCount\":3,\"Vehicle.CurrentLocation.H3\":\"{cell:x}\""),
        ),
        document("5/0", &at(20), "reference", 1, "\"Vehicle.Cabin.DoorCount\":1"),
        "{\"a\":1}".to_owned(),
        "{\"b\":1}".to_owned(),
    ];
    assert_eq!(exported(&dir, None), want);
    assert_eq!(exported(&dir, Some("truck-1")).len(), want.len());
    assert!(exported(&dir, Some("truck-2")).is_empty());
}

/// Twenty blocks over the same frames, each with some of their instants: more than are held whole.
#[test]
fn many_blocks_over_the_same_frames() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(dir.path()).unwrap();
    let signals = [signal(DOORS, Step::ONE)];
    let catalogue = maker.catalogue(&Catalogue::new(1, &signals)).unwrap();
    let stream = stream("truck-1", 1, catalogue, 1);
    let (blocks, frames, instants) = (20_u32, 30_u32, 200_u32);
    for block in 0..blocks {
        let mut samples = Samples::default();
        for frame in 0..frames {
            samples.runs.push(run(u64::from(frame) + 1));
            for ordinal in (block..instants * blocks).step_by(usize::try_from(blocks).unwrap()) {
                samples.entries.push(Entry {
                    tick: i64::from(ordinal),
                    amount: Amount::Steps(1),
                    ordinal,
                    run: u16::try_from(frame).unwrap(),
                    column: 0,
                });
            }
        }
        maker.block(&stream, &samples, 1, None).unwrap();
    }
    maker.finish().unwrap();
    let lines = exported(&dir, None);
    let ids = lines.iter().map(|line| {
        let document: serde_json::Value = serde_json::from_str(line).unwrap();
        let id =
            document["id"].as_str().unwrap().rsplit('/').take(2).map(|part| part.parse().unwrap());
        let id: Vec<u32> = id.collect();
        (id[1], id[0])
    });
    let want = (1..=frames).flat_map(|seq| (0..instants * blocks).map(move |at| (seq, at)));
    assert!(ids.eq(want));
}

/// From when `[privacy.pseudonym]` is turned on a ring is another device's; what was before is there.
#[test]
fn a_ring_that_changed_its_devices_name_is_exported_under_both() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(dir.path()).unwrap();
    let signals = [signal(DOORS, Step::ONE)];
    let catalogue = maker.catalogue(&Catalogue::new(1000, &signals)).unwrap();
    let plain = stream("truck-1", 1, catalogue, 1000);
    let shown = stream("p-2f8a", 1, catalogue, 1000);
    for (stream, seq, loss) in [(&plain, 1, 2), (&shown, 3, 4)] {
        let entries =
            vec![Entry { tick: 10, amount: Amount::Steps(1), ordinal: 0, run: 0, column: 0 }];
        maker
            .block(stream, &Samples { runs: vec![run(seq)], entries, exacts: Vec::new() }, 0, None)
            .unwrap();
        let document = format!("{{\"of\":\"{}\"}}", stream.device);
        let record = Record {
            stream,
            kind: 6,
            seq: loss,
            ordinal: -1,
            time_ms: None,
            document: &document,
            log: None,
        };
        maker.record(&record).unwrap();
    }
    maker.finish().unwrap();
    // As every commit leaves it: the ring is the device's that sent last.
    let index = rusqlite::Connection::open(dir.path().join("store.db")).unwrap();
    let owner = "UPDATE rings SET device = (SELECT id FROM devices WHERE device = 'p-2f8a')";
    index.execute(owner, []).unwrap();
    drop(index);
    let ring = RingId([1; 16]);
    let told = |device: Option<&str>| -> Vec<String> {
        let of = |line: &String| {
            let document: serde_json::Value = serde_json::from_str(line).unwrap();
            let named = document["id"].as_str().or(document["of"].as_str());
            named.unwrap().replace(&ring.to_string(), "ring")
        };
        exported(&dir, device).iter().map(of).collect()
    };
    assert_eq!(told(None), ["p-2f8a/ring/3/0", "p-2f8a", "truck-1/ring/1/0", "truck-1"]);
    assert_eq!(told(Some("truck-1")), ["truck-1/ring/1/0", "truck-1"]);
}
