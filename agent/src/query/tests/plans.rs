//! What is pushed down, by what SQLite says and by the blocks that are read.

use super::*;
use crate::value::Amount;

#[test]
fn device_signal_and_time_choose_the_blocks() {
    let (_dir, mut query) = fleet(3);
    for (sql, blocks, rows) in [
        ("SELECT value FROM samples", 72, 72 * 120),
        ("SELECT value FROM samples WHERE device = 'truck-2'", 24, 24 * 120),
        ("SELECT value FROM samples WHERE device IN ('truck-2', 'truck-3', 'x')", 48, 48 * 120),
        (
            "SELECT value FROM samples WHERE device LIKE 'TRUCK-_' AND device > 'truck-2'",
            24,
            24 * 120,
        ),
        ("SELECT value FROM samples WHERE device = 'nobody'", 0, 0),
        ("SELECT value FROM samples WHERE signal = 'Vehicle.Speed'", 72, 72 * 60),
        ("SELECT value FROM samples WHERE signal = 'Vehicle.Nothing'", 0, 0),
        ("SELECT value FROM samples WHERE signal LIKE '%door%'", 72, 72 * 60),
        (
            "SELECT value FROM samples WHERE time >= '2008-05-18T07' AND time < '2008-05-18T08:00Z'",
            3,
            360,
        ),
        (
            "SELECT value FROM samples WHERE time BETWEEN '2008-05-18 07:30' AND '2008-05-18 08:29'",
            6,
            360,
        ),
        ("SELECT value FROM samples WHERE time_ms >= 1211155200000 - 60000", 3, 6),
        ("SELECT value FROM samples WHERE time = 1211094000000", 3, 6),
        (
            "SELECT value FROM samples WHERE time IN ('2008-05-18T07:00:00Z', '2008-05-18T09:00:00Z')",
            6,
            12,
        ),
        ("SELECT value FROM samples WHERE time > '2008-05-19'", 0, 0),
        ("SELECT value FROM samples WHERE time < NULL", 0, 0),
        (
            "SELECT value FROM samples WHERE device = 'truck-1' AND signal = 'Vehicle.Speed' \
             AND time >= '2008-05-18T07:00:00Z' AND time < '2008-05-18T08:00:00Z'",
            1,
            60,
        ),
    ] {
        let before = query.blocks_read();
        assert_eq!(ask(&mut query, sql).len(), rows, "{sql}");
        assert_eq!(query.blocks_read() - before, blocks, "{sql}");
    }
}

#[test]
fn counting_decodes_only_what_lies_on_an_edge() {
    let (_dir, mut query) = fleet(2);
    assert_eq!(number(&mut query, "SELECT count(*) FROM samples"), 48 * 120);
    assert_eq!(
        number(&mut query, "SELECT count(*) FROM samples WHERE device = 'truck-1'"),
        24 * 120
    );
    assert_eq!(query.blocks_read(), 0);
    let rows = ask(&mut query, "SELECT device, count(*) FROM samples GROUP BY device");
    assert_eq!(rows[1], [text("truck-2"), Value::Integer(24 * 120)]);
    assert_eq!(query.blocks_read(), 0);
}

#[test]
fn order_is_declared_where_it_is_delivered() {
    let (_dir, mut query) = fleet(2);
    for (sql, is_sorted_by_us) in [
        ("SELECT value FROM samples ORDER BY time", true),
        ("SELECT value FROM samples ORDER BY time DESC", true),
        ("SELECT value FROM samples ORDER BY time_ms", true),
        ("SELECT value FROM samples ORDER BY device, time", true),
        ("SELECT value FROM samples ORDER BY device DESC, time", true),
        ("SELECT value FROM samples WHERE signal = 'Vehicle.Speed' ORDER BY signal, time", true),
        ("SELECT value FROM samples WHERE device = 'truck-1' ORDER BY device, time DESC", true),
        ("SELECT device, avg(value) FROM samples GROUP BY device", true),
        ("SELECT value FROM samples ORDER BY time, device", false),
        ("SELECT value FROM samples ORDER BY signal, time", false),
        ("SELECT value FROM samples ORDER BY value", false),
        ("SELECT mean FROM rollup_1h ORDER BY device, time", true),
        ("SELECT mean FROM rollup_1h WHERE device = 'truck-1' ORDER BY time", true),
        ("SELECT mean FROM rollup_1h ORDER BY time", false),
        ("SELECT message FROM logs ORDER BY time DESC", true),
    ] {
        let plan = plan(&mut query, sql);
        assert_eq!(!plan.contains("TEMP B-TREE"), is_sorted_by_us, "{sql}\n{plan}");
    }
    let plan = plan(
        &mut query,
        "SELECT value FROM samples WHERE device = 'x' AND time > 5 AND signal IN ('a', 'b')",
    );
    assert!(plan.contains("time > ?, device = ?, signal IN ?"), "{plan}");
}

#[test]
fn the_newest_sample_costs_one_block_a_device() {
    let (_dir, mut query) = fleet(3);
    let sql = "SELECT time FROM samples WHERE device = 'truck-1' ORDER BY time DESC LIMIT 1";
    assert_eq!(blocks_read(&mut query, sql), 1);
    assert_eq!(ask(&mut query, sql), [[text("2008-05-18T23:59:00.000Z")]]);
    let sql = "SELECT device, time FROM samples ORDER BY time DESC LIMIT 5";
    assert_eq!(blocks_read(&mut query, sql), 3);
}

#[test]
fn hourly_means_decode_nothing() {
    let (_dir, mut query) = fleet(3);
    let sql = format!(
        "SELECT time, sum(sum) / sum(count) FROM rollup_1h WHERE signal = '{SPEED}' \
         AND time >= '{DAY}' AND time < '2008-05-19' GROUP BY time"
    );
    let rows = ask(&mut query, &sql);
    assert_eq!(rows.len(), 24);
    assert_eq!(rows[7], [text("2008-05-18T07:00:00.000Z"), Value::Real(2.95)]);
    let sql = "SELECT device, bucket, mean FROM \
               buckets('Vehicle.Speed', '6h', '2008-05-18', '2008-05-19')";
    let rows = ask(&mut query, sql);
    assert_eq!(rows.len(), 12);
    assert_eq!(rows[5], [text("truck-2"), text("2008-05-18T06:00:00.000Z"), Value::Real(2.95)]);
    assert_eq!(query.blocks_read(), 0);
    // An edge within an hour is looked at more closely, and only there.
    let sql = "SELECT count FROM buckets('Vehicle.Speed', '6h', '2008-05-18T00:30', '2008-05-19')";
    assert_eq!(ask(&mut query, sql)[0], [Value::Integer(330)]);
    assert_eq!(query.blocks_read(), 3);
}

#[test]
fn buckets_begin_when_they_begin() {
    let (_dir, mut query) = fleet(1);
    let count = |query: &mut Query, condition: &str| {
        let sql =
            format!("SELECT count(*) FROM rollup_1h WHERE signal = '{SPEED}' AND {condition}");
        number(query, &sql)
    };
    assert_eq!(count(&mut query, "time >= '2008-05-18T07:30'"), 16);
    assert_eq!(count(&mut query, "time <= '2008-05-18T07:30'"), 8);
    assert_eq!(count(&mut query, "time = '2008-05-18T07:30'"), 0);
    assert_eq!(count(&mut query, "time = '2008-05-18T07:00'"), 1);
    let sql = "SELECT sum(count) FROM rollup_1h WHERE time >= '2008-05-18T23'";
    assert_eq!(number(&mut query, sql), 120, "a bucket comes whole");
}

#[test]
fn a_row_is_one_row_however_often_it_is_come_upon() {
    let (_dir, mut query) = fleet(2);
    let sql = "SELECT count(*) FROM samples WHERE device = 'truck-1' OR time < '2008-05-18T01'";
    assert_eq!(number(&mut query, sql), 24 * 120 + 120);
    let sql = "SELECT count(*) FROM (SELECT device, value FROM samples \
               WHERE signal = 'Vehicle.Speed' OR time_ms < 1211072400000)";
    assert_eq!(number(&mut query, sql), 48 * 60 + 2 * 60);
}

#[test]
fn tables_are_joined() {
    let (_dir, mut query) = fleet(3);
    let sql = "WITH chosen(name) AS (VALUES ('truck-1'), ('truck-3')) \
               SELECT s.device, count(*) FROM chosen JOIN samples AS s ON s.device = chosen.name \
               WHERE s.time < '2008-05-18T01' GROUP BY s.device";
    let rows = ask(&mut query, sql);
    assert_eq!(
        rows,
        [[text("truck-1"), Value::Integer(120)], [text("truck-3"), Value::Integer(120)],]
    );
    let sql = "SELECT d.device, b.mean FROM devices AS d \
               JOIN buckets('Vehicle.Speed', '1d', '2008-05-18', '2008-05-19', d.device) AS b";
    assert_eq!(ask(&mut query, sql).len(), 3);
}

#[test]
fn what_retention_leaves_is_the_roll_ups() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(dir.path()).unwrap();
    let signals = [signal(DOORS, Step::ONE)];
    let catalogue = maker.catalogue(&Catalogue::new(1000, &signals)).unwrap();
    let stream = stream("truck-1", 1, catalogue, 1000);
    for hour in 0..2 {
        let tick = DAY_MS / 1000 + hour * 3600;
        let entry = |ordinal| Entry {
            tick: tick + i64::from(ordinal) * 60,
            amount: Amount::Steps(4),
            ordinal,
            run: 0,
            column: 0,
        };
        let samples =
            Samples { runs: vec![run(1)], entries: vec![entry(0), entry(1)], exacts: Vec::new() };
        let block = maker.block(&stream, &samples, 1, None).unwrap();
        if hour == 0 {
            maker.retire(block).unwrap();
        }
    }
    maker.finish().unwrap();
    let mut query = Query::open(dir.path()).unwrap();
    assert_eq!(number(&mut query, "SELECT count(*) FROM samples"), 2);
    assert_eq!(number(&mut query, "SELECT samples FROM devices"), 2);
    assert_eq!(number(&mut query, "SELECT sum(count) FROM rollup_1h"), 4);
    let sql = "SELECT count FROM buckets('Vehicle.Cabin.DoorCount', '1h', '2008-05-18T00:00:30')";
    assert_eq!(ask(&mut query, sql), [[Value::Integer(2)]]);
    let mut out = Vec::new();
    assert_eq!(export::export(dir.path(), None, &Stop::default(), &mut out).unwrap(), 2);
}
