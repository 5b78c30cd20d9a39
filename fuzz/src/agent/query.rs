//! A query is somebody's SQL: whatever it says, the store stays as it was.

use std::cell::RefCell;

use agent::fuzzing::Guarded;

use crate::bound::bounded;

/// Ours; SQLite's own memory has its own limit (`PRAGMA hard_heap_limit`).
pub const MEMORY_MAX: usize = 64 * 1024;

const TABLES: &str = "CREATE TABLE samples(device TEXT, signal TEXT, time_ms INTEGER, value REAL);
    CREATE INDEX by_time ON samples(time_ms);
    CREATE TABLE events(device TEXT, action TEXT);
    INSERT INTO samples VALUES ('van-7', 'Vehicle.Speed', 1, 4.5), ('van-8', 'Vehicle.Speed', 2, 5.5);
    INSERT INTO events VALUES ('van-7', 'open');";

const CHECK: &str =
    "SELECT (SELECT count(*) FROM sqlite_master) * 100 + (SELECT count(*) FROM samples) * 10
    + (SELECT count(*) FROM events) WHERE 1 = (SELECT count(*) FROM samples WHERE value = 4.5)";

thread_local! {
    static GUARDED: RefCell<(Guarded, (u64, Option<i64>))> = RefCell::new({
        let mut guarded = Guarded::new(TABLES).expect("tables");
        assert!(matches!(guarded.run(CHECK), Ok(1)));
        let state = guarded.state();
        (guarded, state)
    });
}

pub fn run(bytes: &[u8]) {
    let Ok(sql) = std::str::from_utf8(bytes) else { return };
    GUARDED.with_borrow_mut(|(guarded, state)| {
        let answered = bounded(MEMORY_MAX, || guarded.run(sql));
        std::hint::black_box(answered.is_ok());
        assert_eq!(guarded.state(), *state, "a query changed something");
        assert!(matches!(guarded.run(CHECK), Ok(1)), "a query changed something");
    });
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        "SELECT signal, count(*), max(value) FROM samples GROUP BY signal",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n LIMIT 9",
        "INSERT INTO samples SELECT * FROM samples",
        "ATTACH ':memory:' AS other",
        "PRAGMA table_info(samples)",
        "PRAGMA writable_schema = ON",
        "SELECT load_extension('x')",
        "SELECT json_extract('{\"a\":[1]}', '$.a[0]'), strftime('%s', 'now'), printf('%9d', 1)",
        "CREATE TEMP TABLE t AS SELECT 1",
        "EXPLAIN QUERY PLAN SELECT * FROM samples a JOIN events b USING (device) ORDER BY 1 DESC",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub const WORDS: &[&[u8]] = &[
    b"SELECT ",
    b" FROM ",
    b" WHERE ",
    b"samples",
    b"events",
    b"sqlite_master",
    b"INSERT INTO ",
    b"UPDATE samples SET value = 1",
    b"DELETE FROM ",
    b"DROP TABLE ",
    b"PRAGMA ",
    b"ATTACH ",
    b"VACUUM",
    b"REINDEX",
    b"ANALYZE",
    b"BEGIN",
    b"COMMIT",
    b"SAVEPOINT a",
    b"RETURNING ",
    b"WITH ",
    b" UNION ",
    b"json_each(",
    b"writefile(",
    b"readfile(",
    b"CREATE ",
    b"ALTER TABLE ",
    b"pragma_table_info(",
    b"query_only",
    b" OVER ()",
    b"RELEASE a",
    b"EXPLAIN ",
    b"DETACH ",
];
