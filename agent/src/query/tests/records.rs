//! Records, against lists.

use super::super::made::Record;
use super::*;

/// Logs of two devices, one a minute; every seventh has no time.
fn logs(count: u32) -> (TempDir, Query) {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(dir.path()).unwrap();
    let catalogue = maker.catalogue(&Catalogue::new(1, &[])).unwrap();
    let streams = [stream("truck-1", 1, catalogue, 1), stream("truck-2", 2, catalogue, 1)];
    for number in 0..count {
        let about = if number % 10 == 0 { "brake worn" } else { "all is well" };
        let document = format!(
            "{{\"lane\":\"critical\",\"clock\":\"agent\",\"data\":{{\"level\":\"info\",\
             \"target\":\"chassis\",\"message\":\"{about} {number}\"}}}}"
        );
        maker
            .record(&Record {
                stream: &streams[usize::try_from(number % 2).unwrap()],
                kind: 1,
                seq: u64::from(number) + 1,
                ordinal: 0,
                time_ms: (number % 7 != 0).then(|| i64::from(number) * 60_000),
                document: &document,
                log: Some(("chassis", &format!("{about} {number}"))),
            })
            .unwrap();
    }
    let event = "{\"data\":{\"actor\":\"driver\",\"action\":\"open\",\"object\":\"door\",\
                 \"attributes\":{\"side\":\"left\"}}}";
    maker
        .record(&Record {
            stream: &streams[0],
            kind: 0,
            seq: 900_000,
            ordinal: -1,
            time_ms: Some(5),
            document: event,
            log: None,
        })
        .unwrap();
    maker.finish().unwrap();
    let query = Query::open(dir.path()).unwrap();
    (dir, query)
}

#[test]
fn all_come_once_page_by_page() {
    let (_dir, mut query) = logs(2000);
    assert_eq!(number(&mut query, "SELECT count(DISTINCT seq) FROM logs"), 2000);
    assert_eq!(number(&mut query, "SELECT count(*) FROM logs"), 2000);
    for (order, is_descending) in [("time", false), ("time DESC", true)] {
        let rows = ask(&mut query, &format!("SELECT time_ms, seq FROM logs ORDER BY {order}"));
        assert_eq!(rows.len(), 2000);
        let times: Vec<Option<i64>> = rows
            .iter()
            .map(|row| if let Value::Integer(ms) = row[0] { Some(ms) } else { None })
            .collect();
        let is_sorted =
            if is_descending { times.is_sorted_by(|a, b| a >= b) } else { times.is_sorted() };
        assert!(is_sorted, "{order}");
    }
}

#[test]
fn terms_hold() {
    let (_dir, mut query) = logs(2000);
    for (condition, want) in [
        ("device = 'truck-1'", 1000),
        ("device IN ('truck-1', 'truck-2')", 2000),
        ("time >= '1970-01-01T10:00' AND time < 39600000", 51),
        ("time IS NULL", 286),
        ("logs MATCH 'brake'", 200),
        ("logs MATCH 'bra*' AND device = 'truck-2'", 0),
        ("logs MATCH 'brake' AND time < '1970-01-01T10:00'", 51),
        ("logs MATCH 'brake' AND logs MATCH 'worn 100'", 1),
        ("logs MATCH 'message: chassis'", 0),
        ("message LIKE 'brake%'", 200),
        ("level = 'info' AND lane = 'critical' AND clock = 'agent'", 2000),
        ("device = 'truck-1' OR time IS NULL", 1143),
    ] {
        let sql = format!("SELECT count(*) FROM logs WHERE {condition}");
        assert_eq!(number(&mut query, &sql), want, "{condition}");
    }
    let sql = "SELECT time, message FROM logs WHERE logs MATCH 'brake' ORDER BY time DESC LIMIT 2";
    assert_eq!(
        ask(&mut query, sql),
        [
            [text("1970-01-02T09:10:00.000Z"), text("brake worn 1990")],
            [text("1970-01-02T09:00:00.000Z"), text("brake worn 1980")],
        ]
    );
}

#[test]
fn documents_are_taken_apart() {
    let (_dir, mut query) = logs(1);
    let rows = ask(
        &mut query,
        "SELECT device, time, actor, action, object, context, attributes ->> 'side', ordinal, ring \
         FROM events",
    );
    let want = vec![
        text("truck-1"),
        text("1970-01-01T00:00:00.005Z"),
        text("driver"),
        text("open"),
        text("door"),
        Value::Null,
        text("left"),
        Value::Null,
        text(&RingId([1; 16]).to_string()),
    ];
    assert_eq!(rows, [want]);
    for table in ["health", "losses", "restarts", "forks", "crashes"] {
        assert!(ask(&mut query, &format!("SELECT * FROM {table}")).is_empty());
    }
}
