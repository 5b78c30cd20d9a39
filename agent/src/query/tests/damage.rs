//! Blocks that cannot be read: the query says which, or leaves them out and says how much.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;

use super::*;

/// Flips a bit within the block of an hour of a truck; its number.
fn damage(dir: &TempDir, device: &str, hour: i64) -> i64 {
    let index = rusqlite::Connection::open(dir.path().join("store.db")).unwrap();
    let sql = "SELECT b.id, b.offset, b.len FROM blocks AS b JOIN devices AS d ON d.id = b.device \
               WHERE d.device = ?1 AND b.from_ms = ?2";
    let (id, offset, len): (i64, u32, u32) = index
        .query_row(sql, rusqlite::params![device, DAY_MS + hour * 3_600_000], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    let path = dir.path().join("blocks/000001.blk");
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, u64::from(offset + len / 2)).unwrap();
    file.write_all_at(&[byte[0] ^ 4], u64::from(offset + len / 2)).unwrap();
    id
}

fn left_out(query: &Query) -> (usize, u64) {
    let LeftOut { blocks, samples, .. } = query.left_out();
    (blocks, samples)
}

#[test]
fn a_query_that_needs_a_damaged_block_names_it_and_what_to_do() {
    let (dir, mut query) = fleet(2);
    let block = damage(&dir, "truck-1", 5);
    let samples = "SELECT max(raw) FROM samples";
    let buckets = format!("SELECT max(max) FROM buckets('{SPEED}', '7m')");
    for sql in [samples, &buckets] {
        let error = try_ask(&mut query, sql).unwrap_err();
        assert!(matches!(error, QueryError::Damaged(_)), "{error:?}");
        let said = error.to_string();
        for part in [
            &format!("block {block} (file 1, byte ")[..],
            "120 samples of device truck-1 from 2008-05-18T05:00:00.000Z to 2008-05-18T05:59:00.000Z",
            "`milepost store check`",
            "`milepost store rebuild`",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(left_out(&query), (0, 0));
    }
    let other = format!("{samples} WHERE device = 'truck-2'");
    assert_eq!(number(&mut query, &other), 59);
    let error = try_ask(&mut query, "SELECT nothing FROM samples").unwrap_err();
    assert!(matches!(error, QueryError::Sql(_)), "it is forgotten with its query: {error}");
    let error = export::export(dir.path(), None, &Stop::default(), &mut Vec::new()).unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, QueryError::Damaged(_)) && said.contains("device truck-1"), "{said}");
}

#[test]
fn damaged_blocks_can_be_left_out_and_are_counted() {
    let (dir, mut query) = fleet(2);
    damage(&dir, "truck-1", 5);
    damage(&dir, "truck-2", 23);
    query.skip_damaged();
    let whole = 2 * 24 * 120;
    for (sql, count, left) in [
        ("SELECT count(raw) FROM samples", whole - 240, (2, 240)),
        ("SELECT count(*) FROM samples", whole - 240, (2, 240)),
        ("SELECT count(*) FROM samples WHERE device = 'truck-1'", 23 * 120, (1, 120)),
        ("SELECT count(*) FROM samples WHERE time < '2008-05-18T05'", 2 * 5 * 120, (0, 0)),
        ("SELECT count(time) FROM (SELECT time FROM samples ORDER BY time)", whole - 240, (2, 240)),
        (
            "SELECT count(time) FROM (SELECT time FROM samples ORDER BY time DESC)",
            whole - 240,
            (2, 240),
        ),
        // Read twice, counted once.
        (
            "SELECT (SELECT count(raw) FROM samples) + (SELECT count(seq) FROM samples)",
            2 * (whole - 240),
            (2, 240),
        ),
        ("SELECT sum(count) FROM buckets('Vehicle.Speed', '7m')", (whole - 240) / 2, (2, 240)),
        // What is kept ready of them is there.
        ("SELECT sum(count) FROM rollup_1h", whole, (0, 0)),
    ] {
        assert_eq!((number(&mut query, sql), left_out(&query)), (count, left), "{sql}");
    }
    let gap = "SELECT hours - lag(hours) OVER (ORDER BY hours) AS step FROM \
               (SELECT DISTINCT time_ms / 3600000 AS hours FROM samples WHERE device = 'truck-1')";
    assert_eq!(number(&mut query, &format!("SELECT max(step) FROM ({gap})")), 2);
    let first = query.left_out().first.unwrap();
    assert!(first.contains("120 samples of device truck-1 from 2008-05-18T05"), "{first}");
    fs::remove_file(dir.path().join("blocks/000001.blk")).unwrap();
    let mut query = Query::open(dir.path()).unwrap();
    let error = try_ask(&mut query, "SELECT max(raw) FROM samples").unwrap_err();
    assert!(error.to_string().contains("of device truck-1 from 2008-05-18T00"), "{error}");
    query.skip_damaged();
    assert_eq!(number(&mut query, "SELECT count(*) FROM samples"), 0);
    assert_eq!(left_out(&query), (48, 2 * 24 * 120));
}
