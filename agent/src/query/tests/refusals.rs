//! What a query may not do, and how it is told.

use std::thread;

use super::*;

fn refused(query: &mut Query, sql: &str) -> String {
    match try_ask(query, sql) {
        Err(QueryError::Refused { what, .. }) => what,
        other => panic!("{sql}: {other:?}"),
    }
}

fn wrong(query: &mut Query, sql: &str) -> String {
    match try_ask(query, sql) {
        Err(QueryError::Sql(error)) => error.to_string(),
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn nothing_but_reading() {
    let (dir, mut query) = fleet(1);
    for (sql, what) in [
        ("DELETE FROM blocks", "DELETE would delete from blocks"),
        ("UPDATE main.devices SET device = 'x'", "UPDATE would change devices"),
        ("INSERT INTO meta VALUES('a', 1)", "INSERT would write into meta"),
        ("DROP TABLE blocks", "would delete from sqlite_master"),
        ("CREATE TABLE x(y)", "would write into sqlite_master"),
        ("CREATE TEMP TABLE x(y)", "would write into sqlite_temp_master"),
        ("ATTACH '/tmp/x.db' AS x", "ATTACH would open"),
        ("VACUUM", "would change"),
        ("PRAGMA query_only = OFF", "PRAGMA query_only"),
        ("PRAGMA journal_mode = DELETE", "PRAGMA journal_mode"),
        ("PRAGMA writable_schema = ON", "PRAGMA writable_schema"),
        ("BEGIN IMMEDIATE", "transaction"),
        ("SAVEPOINT x", "transaction"),
        ("SELECT load_extension('x')", "load_extension"),
        ("INSERT INTO log_text(log_text) VALUES('rebuild')", "INSERT would write into log_text"),
        ("REINDEX", "would change"),
        ("WITH x AS (SELECT 1) DELETE FROM rings", "DELETE would delete from rings"),
    ] {
        let said = refused(&mut query, sql);
        assert!(said.contains(what), "{sql}: {said}");
    }
    assert_eq!(number(&mut query, "SELECT count(*) FROM samples"), 24 * 120);
    assert!(!dir.path().join("x.db").exists());
    // What only tells something may be asked.
    assert!(!ask(&mut query, "SELECT name FROM pragma_table_info('samples')").is_empty());
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let (_dir, mut query) = fleet(1);
    assert_eq!(
        wrong(&mut query, "SELECT tmie FROM samples"),
        "no such column: tmie\n  SELECT tmie FROM samples\n         ^"
    );
    let said = wrong(&mut query, "SELECT *\nFROM sample");
    assert!(said.contains("no such table: sample"), "{said}");
    // Double quotes are for names.
    assert!(wrong(&mut query, "SELECT \"x\" FROM samples").contains("no such column"));
    assert!(wrong(&mut query, "").contains("one SELECT"));
    assert!(wrong(&mut query, "-- nothing").contains("one SELECT"));
    assert!(wrong(&mut query, "SELECT 1; SELECT 2").contains("more than one statement"));
    let said = wrong(&mut query, "SELECT * FROM samples WHERE time > 'noon'");
    assert!(said.contains("'noon' is no time"), "{said}");
    let said = wrong(&mut query, "SELECT * FROM buckets('Vehicle.Speed', 'wide')");
    assert!(said.contains("'wide' is no width"), "{said}");
    assert!(wrong(&mut query, "SELECT * FROM buckets()").contains("wide"));
    assert_eq!(
        wrong(&mut query, "SELECT * FROM logs WHERE logs MATCH '\"'"),
        "unterminated string"
    );
}

#[test]
fn a_query_without_end_is_cut_off() {
    let (_dir, mut query) = fleet(2);
    let never = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                 SELECT count(*) FROM n";
    let long =
        "SELECT count(*) FROM samples a, samples b, samples c WHERE a.value + b.value = c.value";
    for sql in [never, long] {
        let stop = query.stop();
        let stopper = thread::spawn(move || {
            thread::sleep(std::time::Duration::from_millis(50));
            stop.stop(Stopped::Timeout);
        });
        let error = try_ask(&mut query, sql).unwrap_err();
        assert!(matches!(error, QueryError::Stopped(Stopped::Timeout)), "{error}");
        stopper.join().unwrap();
        query.stop().clear();
    }
    assert_eq!(number(&mut query, "SELECT count(*) FROM samples"), 48 * 120);
}

#[test]
fn rows_are_limited_and_that_is_said() {
    let (_dir, mut query) = fleet(1);
    let mut limited = |rows_max| {
        let limits = Limits { rows_max: Some(rows_max), ..Limits::default() };
        let mut table = Table::default();
        let answered = query.run("SELECT * FROM signals", &limits, &mut table).unwrap();
        assert_eq!(answered.rows, u64::try_from(table.rows.len()).unwrap());
        answered
    };
    assert_eq!(limited(1), Answered { rows: 1, is_cut: true });
    assert_eq!(limited(2), Answered { rows: 2, is_cut: false });
    assert_eq!(limited(0), Answered { rows: 0, is_cut: true });
}

#[test]
fn a_value_is_no_longer_than_it_may_be() {
    let (_dir, mut query) = fleet(1);
    let error = try_ask(&mut query, "SELECT zeroblob(1000000000)").unwrap_err();
    assert!(matches!(error, QueryError::Sql(_)), "{error:?}");
}

#[test]
fn a_failing_reader_ends_it() {
    struct Full;
    impl Rows for Full {
        fn begin(&mut self, _: &[&str]) -> io::Result<()> {
            Ok(())
        }
        fn row(&mut self, _: &[ValueRef<'_>]) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn end(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_dir, mut query) = fleet(1);
    let error = query.run("SELECT * FROM samples", &Limits::default(), &mut Full).unwrap_err();
    assert!(matches!(error, QueryError::Output(_)), "{error}");
}
