//! Filtering and grouping by the vehicle in which devices sat.

use super::*;
use crate::value::Amount;

/// Three trucks, for a day an instant a minute: the first sits in bus 7 until half past noon and in
/// bus 8 then, the second in bus 8 until noon and nowhere then, the third nowhere.
fn moved() -> (TempDir, Query) {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(dir.path()).unwrap();
    let signals = [signal(SPEED, Step::new(1, 10))];
    let catalogue = maker.catalogue(&Catalogue::new(1000, &signals)).unwrap();
    let seven = maker.seat(&seat("bus 7", Some("night"), None)).unwrap();
    let eight = maker.seat(&seat("bus 8", Some("day"), Some("north"))).unwrap();
    for device in 1..=3_u8 {
        for half in 0..48_i64 {
            let seat = match (device, half) {
                (1, ..25) => Some(seven),
                (1, _) | (2, ..24) => Some(eight),
                _ => None,
            };
            let stream =
                Stream { seat, ..stream(&format!("truck-{device}"), device, catalogue, 1000) };
            let entry = |minute: i64| Entry {
                tick: DAY_MS / 1000 + half * 1800 + minute * 60,
                amount: Amount::Steps(half),
                ordinal: u32::try_from(minute).unwrap(),
                run: 0,
                column: 0,
            };
            let samples = Samples {
                runs: vec![run(half.cast_unsigned() + 1)],
                entries: (0..30).map(entry).collect(),
                exacts: Vec::new(),
            };
            maker.block(&stream, &samples, 1, None).unwrap();
        }
    }
    maker.finish().unwrap();
    let query = Query::open(dir.path()).unwrap();
    (dir, query)
}

#[test]
fn vehicles_and_what_they_belong_to_choose_the_blocks() {
    let (_dir, mut query) = moved();
    for (terms, blocks) in [
        ("vehicle = 'bus 7'", 25),
        ("vehicle = 'bus 8'", 23 + 24),
        ("vehicle IN ('bus 8', 'bus 7', 'bus 9')", 72),
        ("vehicle LIKE 'BUS%' AND vehicle > 'bus 7'", 47),
        ("vehicle = 'bus 8' AND device = 'truck-2'", 24),
        ("vehicle = 'bus 8' AND time >= '2008-05-18T11:30' AND time < '2008-05-18T12:00'", 1),
        ("vehicle = 'bus 8' AND time >= '2008-05-18T11:30' AND time < '2008-05-18T13:00'", 2),
        ("vehiclegroup = 'night'", 25),
        ("vehiclegroup GLOB 'd*' AND region = 'north'", 47),
        ("tenant = 'nobody'", 0),
        ("vehicle = NULL", 0),
        ("vehicle = 'bus 7' AND vehiclegroup = 'day'", 0),
    ] {
        let sql = format!("SELECT value FROM samples WHERE {terms}");
        let before = query.blocks_read();
        assert_eq!(ask(&mut query, &sql).len(), blocks * 30, "{terms}");
        assert_eq!(query.blocks_read() - before, blocks as u64, "{terms}");
    }
    // These are left to SQLite, and tell the same.
    for (terms, halves) in [
        ("vehicle IS NULL", 24 + 48),
        ("vehicle IS NOT NULL AND region IS NULL", 25),
        ("vehicle COLLATE NOCASE = 'BUS 7'", 25),
        ("vehicle <> 'bus 7'", 47),
        ("vehicle = 'bus 7' OR device = 'truck-3'", 25 + 48),
    ] {
        let sql = format!("SELECT count(*) FROM samples WHERE {terms}");
        assert_eq!(number(&mut query, &sql), halves * 30, "{terms}");
    }
    let plan = plan(&mut query, "SELECT value FROM samples WHERE vehicle = 'bus 7' ORDER BY time");
    assert!(plan.contains("vehicle = ?, by-time") && !plan.contains("B-TREE"), "{plan}");
}

#[test]
fn counting_by_vehicle_decodes_nothing() {
    let (_dir, mut query) = moved();
    let sql =
        "SELECT vehicle, vehiclegroup, count(*) FROM samples GROUP BY vehicle ORDER BY vehicle";
    assert_eq!(blocks_read(&mut query, sql), 0);
    let row = |vehicle: &str, group: &str, halves: i64| {
        vec![text(vehicle), text(group), Value::Integer(halves * 30)]
    };
    let nowhere = vec![Value::Null, Value::Null, Value::Integer(72 * 30)];
    assert_eq!(ask(&mut query, sql), [nowhere, row("bus 7", "night", 25), row("bus 8", "day", 47)]);
}

#[test]
fn an_hour_in_two_vehicles_is_two_rows() {
    let (_dir, mut query) = moved();
    for table in ["rollup_1h", "buckets('Vehicle.Speed', '1h')"] {
        let hour = if table == "rollup_1h" { "time" } else { "bucket" };
        let sql = format!(
            "SELECT vehicle, region, count, min, last FROM {table} WHERE device = 'truck-1' \
             AND {hour} = '2008-05-18T12:00:00Z' ORDER BY vehicle"
        );
        let row = |vehicle: &str, region, raw: f64| {
            let value = Value::Real(raw / 10.0);
            vec![text(vehicle), region, Value::Integer(30), value.clone(), value]
        };
        let want = [row("bus 7", Value::Null, 24.0), row("bus 8", text("north"), 25.0)];
        assert_eq!(ask(&mut query, &sql), want, "{table}");
        let sql = format!("SELECT sum(count) FROM {table} WHERE vehicle = 'bus 8'");
        assert_eq!(blocks_read(&mut query, &sql), 0);
        assert_eq!(number(&mut query, &sql), 47 * 30);
        let sql = format!(
            "SELECT vehicle, sum(sum) / sum(count) FROM {table} WHERE vehiclegroup = 'night' GROUP BY 1"
        );
        assert_eq!(ask(&mut query, &sql), [[text("bus 7"), Value::Real(1.2)]], "{table}");
    }
    let sql = "SELECT count(*), sum(count) FROM rollup_1m";
    assert_eq!(ask(&mut query, sql), [[Value::Integer(72 * 60), Value::Integer(72 * 60)]]);
}
