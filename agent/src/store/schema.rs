//! The index: its tables, and how a connection is set up.
//!
//! `application_id` tells the file from any other SQLite file, `user_version` is the version of all
//! that stands here. Every table but `meta` can be made anew from the block files.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::StoreError;
use crate::storage::{Disk, Room};

/// The index's file in the store's directory.
pub const FILE: &str = "store.db";

/// `MPst`, in the file's header.
pub const APPLICATION_ID: i32 = 0x4d50_7374;
/// The version of the tables below and of the block files they point into.
pub const VERSION: i32 = 1;

/// Bit of `blocks.flags`: the samples stand in the order of their time.
pub const FLAG_SORTED: i64 = 1;
/// Bit of `blocks.flags`: there are coarse places ([`crate::privacy::Lens::CELL`]) among the samples.
pub const FLAG_CELLS: i64 = 2;

/// Bit of `blocks.flags`: the samples are gone, by retention; the roll-ups are still there. `file`,
/// `offset` and `len` are 0.
pub const FLAG_RETIRED: i64 = 4;

/// The longest time that a block of level 1 spans, in milliseconds.
pub const SPAN_MS_MAX: i64 = 86_400_000;

/// All tables.
///
/// Times are milliseconds since 1970 UTC. `blocks.from_ms` is null for a block without a place in
/// time; `uptime_ms` is the uptime of its earliest sample, and null for blocks on a wall clock, so
/// `from_ms - uptime_ms` is what was added to place it. The latest sample is `span_ms` later.
/// `columns` has a bit per signal of the catalogue, from the lowest. `seat` is null where no vehicle is
/// known.
///
/// `seats` has what blocks' seats stand for, as it may leave; `number` is what the blocks themselves
/// say. A seat whose names are all null was erased, or not found by a rebuild. `seated` says which
/// devices have, or had, blocks of a seat.
///
/// `records.kind`: 0 event, 1 log, 2 health, 3 boot, 4 fork, 5 crash, 6 loss. `time_ms` is null
/// without a wall clock (`uptime_ms` is there then), `ordinal` -1 for what the agent itself says.
/// The text of logs is in `log_text`, by the record's id. A record keeps its chapter from going.
///
/// `files.live` is how many bytes of pieces the index points at. `boots` says what to add to the
/// uptime of a boot. `retired` counts what retention took, by class. In `meta`: `cursor` (a sink's,
/// postcard), `commit` (the number of the last one), `rebuilt`, with the reason, while no cursor
/// holds.
pub const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE devices(id INTEGER PRIMARY KEY, device TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE signals(
  id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, unit TEXT NOT NULL) STRICT;
CREATE TABLE catalogues(
  id INTEGER PRIMARY KEY, tick_ms INTEGER NOT NULL, encoded BLOB NOT NULL) STRICT;
CREATE TABLE catalogue_signals(
  signal INTEGER NOT NULL, catalogue INTEGER NOT NULL, col INTEGER NOT NULL,
  PRIMARY KEY(signal, catalogue, col)) STRICT, WITHOUT ROWID;
CREATE TABLE rings(
  id INTEGER PRIMARY KEY, ring BLOB NOT NULL UNIQUE, device INTEGER NOT NULL,
  lane INTEGER NOT NULL, last_seq INTEGER NOT NULL) STRICT;
CREATE TABLE seats(
  id INTEGER PRIMARY KEY, number INTEGER NOT NULL UNIQUE, vehicle TEXT, vehiclegroup TEXT,
  tenant TEXT, region TEXT) STRICT;
CREATE INDEX seats_vehicle ON seats(vehicle);
CREATE TABLE seated(
  seat INTEGER NOT NULL, device INTEGER NOT NULL, PRIMARY KEY(seat, device)) STRICT, WITHOUT ROWID;
CREATE TABLE boots(
  device INTEGER NOT NULL, boot INTEGER NOT NULL, offset_ms INTEGER NOT NULL,
  clock INTEGER NOT NULL, PRIMARY KEY(device, boot)) STRICT, WITHOUT ROWID;
CREATE TABLE files(
  id INTEGER PRIMARY KEY, len INTEGER NOT NULL, level INTEGER NOT NULL,
  live INTEGER NOT NULL) STRICT;
CREATE TABLE blocks(
  id INTEGER PRIMARY KEY, file INTEGER NOT NULL, offset INTEGER NOT NULL, len INTEGER NOT NULL,
  device INTEGER NOT NULL, ring INTEGER NOT NULL, catalogue INTEGER NOT NULL, boot INTEGER,
  seat INTEGER,
  from_ms INTEGER, span_ms INTEGER NOT NULL, uptime_ms INTEGER,
  seq_first INTEGER NOT NULL, seq_last INTEGER NOT NULL, samples INTEGER NOT NULL,
  columns INTEGER NOT NULL, flags INTEGER NOT NULL, level INTEGER NOT NULL) STRICT;
CREATE INDEX blocks_device ON blocks(device, from_ms);
CREATE INDEX blocks_fragment ON blocks(device, ring) WHERE level = 0;
CREATE TABLE rollups(
  block INTEGER PRIMARY KEY, hourly BLOB NOT NULL, minutely BLOB) STRICT;
CREATE TABLE chapters(
  id INTEGER PRIMARY KEY, file INTEGER NOT NULL, offset INTEGER NOT NULL, len INTEGER NOT NULL,
  records INTEGER NOT NULL) STRICT;
CREATE TABLE records(
  id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, device INTEGER NOT NULL, time_ms INTEGER,
  boot INTEGER, uptime_ms INTEGER, clock INTEGER NOT NULL, ring INTEGER NOT NULL,
  seq INTEGER NOT NULL, ordinal INTEGER NOT NULL, received_ms INTEGER NOT NULL,
  chapter INTEGER NOT NULL, document TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX records_identity ON records(ring, seq, ordinal);
CREATE INDEX records_device ON records(device, kind, time_ms);
CREATE INDEX records_time ON records(kind, time_ms);
CREATE INDEX records_chapter ON records(chapter);
CREATE VIRTUAL TABLE log_text USING fts5(target, message, content='', contentless_delete=1);
CREATE TABLE retired(
  class TEXT PRIMARY KEY, count INTEGER NOT NULL, until_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// Makes all tables in an empty file.
pub fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute_batch(TABLES)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    connection.execute_batch("COMMIT")
}

/// Bytes of a page of the index.
const PAGE_BYTES: u64 = 4096;
/// Pages in the log of changes, once it is written back: `SQLite`'s own default.
const WAL_PAGES_MAX: u32 = 1000;

/// Opens an index to write, or makes one where there is none.
///
/// Every commit is durable: the cursor in it lets the journal go. A writer waits for another (the
/// sink for compaction, whose transactions are short).
pub fn open_to_write(path: &Path, cache_kib: i64) -> Result<Connection, StoreError> {
    let is_new = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    // On a small disk the log of changes must not take what is left of it.
    let stride = Room::at(&Disk, path.parent().unwrap_or(path)).stride();
    let pages =
        u32::try_from(stride / PAGE_BYTES).map_or(WAL_PAGES_MAX, |pages| pages.min(WAL_PAGES_MAX));
    connection.pragma_update(None, "wal_autocheckpoint", pages)?;
    if !is_new {
        check(&connection, path)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    if is_new {
        create(&connection)?;
    }
    Ok(connection)
}

/// Opens an index to read, beside whoever writes it.
pub fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "query_only", true)?;
    check(&connection, path)?;
    Ok(connection)
}

/// Refuses an index that a later version wrote, for a command that would write it anew. What is
/// no index, or damaged, is somebody else's to say.
pub fn refuse_newer(path: &Path) -> Result<(), StoreError> {
    if !path.exists() {
        return Ok(());
    }
    match open_to_read(path) {
        Err(newer @ StoreError::Newer { .. }) => Err(newer),
        _ => Ok(()),
    }
}

/// Whether it is an index, and one of this version.
fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let foreign = |what: String| StoreError::Foreign { path: path.to_owned(), what };
    if number("application_id")? != APPLICATION_ID {
        return Err(foreign("not the index of a Milepost store".to_owned()));
    }
    match number("user_version")? {
        VERSION => Ok(()),
        found if found > VERSION => Err(StoreError::Newer { path: path.to_owned(), found }),
        other => Err(foreign(format!("format {other} is none that this version can read"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_known_by_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        create(&Connection::open(&path).unwrap()).unwrap();
        open_to_read(&path).unwrap();
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(open_to_read(&path).unwrap_err().to_string().contains("later version"));
        assert!(matches!(refuse_newer(&path), Err(StoreError::Newer { .. })));
        let other = dir.path().join("other");
        refuse_newer(&other).unwrap();
        std::fs::write(&other, "no index").unwrap();
        refuse_newer(&other).unwrap();
        connection.pragma_update(None, "application_id", 7).unwrap();
        assert!(matches!(open_to_read(&path), Err(StoreError::Foreign { .. })));
    }
}
