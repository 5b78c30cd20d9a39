//! Stores made up for tests and benches: blocks as compaction leaves them, without a fleet, an agent
//! or a compaction before them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use protocol::{Catalogue, CatalogueId};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::store::StoreError;
use crate::store::block::{self, Run, Samples, Stream};
use crate::store::files;
use crate::store::piece::{self, PieceKind};
use crate::store::rollup::{self, HOUR_MS};
use crate::store::schema::{self, FLAG_CELLS, FLAG_SORTED};

/// A block file is begun anew at this length.
const FILE_LEN_MAX: u64 = 64 << 20;

/// Writes a store, once.
#[derive(Debug)]
pub struct Maker {
    connection: Connection,
    dir: PathBuf,
    file: File,
    number: u32,
    len: u64,
    catalogues: Vec<(CatalogueId, Vec<u8>)>,
    bytes: Vec<u8>,
}

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Whose.
    pub stream: &'a Stream,
    /// `records.kind`
    pub kind: u8,
    /// Its frame and its place in it; -1 for what the agent says.
    pub seq: u64,
    /// See there.
    pub ordinal: i64,
    /// None without a wall clock.
    pub time_ms: Option<i64>,
    /// The whole document.
    pub document: &'a str,
    /// Target and message of a log.
    pub log: Option<(&'a str, &'a str)>,
}

impl Maker {
    /// Begins a store in a directory that has none.
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir.join("blocks")).map_err(StoreError::io("cannot make a store"))?;
        let connection = Connection::open(dir.join(schema::FILE))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        schema::create(&connection)?;
        connection.execute_batch("BEGIN")?;
        Ok(Self {
            connection,
            dir: dir.to_owned(),
            file: new_file(dir, 1)?,
            number: 1,
            len: 0,
            catalogues: Vec::new(),
            bytes: Vec::new(),
        })
    }

    /// Makes a catalogue known.
    pub fn catalogue(&mut self, catalogue: &Catalogue<'_>) -> Result<CatalogueId, StoreError> {
        let mut encoded = vec![0; Catalogue::ENCODED_MAX];
        let len = catalogue
            .encode(&mut encoded)
            .map_err(|error| StoreError::damaged(error.to_string()))?;
        encoded.truncate(len);
        let id = Catalogue::id_of(&encoded);
        self.connection.execute(
            "INSERT OR IGNORE INTO catalogues VALUES(?1, ?2, ?3)",
            params![id.0, catalogue.tick_ms, encoded],
        )?;
        for (column, signal) in catalogue.signals.iter().enumerate() {
            self.connection.execute(
                "INSERT OR IGNORE INTO signals(path, unit) VALUES(?1, ?2)",
                params![signal.path, signal.unit],
            )?;
            self.connection.execute(
                "INSERT OR IGNORE INTO catalogue_signals \
                 SELECT id, ?2, ?3 FROM signals WHERE path = ?1",
                params![signal.path, id.0, i64::try_from(column).unwrap_or_default()],
            )?;
        }
        self.catalogues.push((id, encoded));
        Ok(id)
    }

    /// Writes a block of any level; `offset_ms` places one that counts from a boot. Where it counts
    /// from one and has no place, there are no roll-ups.
    pub fn block(
        &mut self,
        stream: &Stream,
        samples: &Samples,
        level: u8,
        offset_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        self.bytes.clear();
        block::append(&mut self.bytes, stream, samples)?;
        self.file.write_all(&self.bytes).map_err(StoreError::io("cannot write a block"))?;
        let at = self.len;
        self.len += self.bytes.len() as u64;
        let offset_ms = if stream.boot.is_some() { offset_ms } else { Some(0) };
        self.index(stream, samples, (at, self.bytes.len()), level, offset_ms)?;
        if let Some(offset_ms) = offset_ms.filter(|_| level > 0) {
            let tick_ms = i64::from(stream.tick_ms);
            let hourly = rollup::roll_up(&samples.entries, tick_ms, offset_ms, HOUR_MS);
            self.connection.execute(
                "INSERT INTO rollups VALUES(last_insert_rowid(), ?1, NULL)",
                [rollup::pack(&hourly, HOUR_MS)],
            )?;
        }
        if self.len > FILE_LEN_MAX { self.next_file() } else { Ok(()) }
    }

    fn index(
        &self,
        stream: &Stream,
        samples: &Samples,
        (at, len): (u64, usize),
        level: u8,
        offset_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let Samples { runs, entries } = samples;
        let (device, ring) = self.ring(stream)?;
        let tick_ms = i64::from(stream.tick_ms);
        let times = || entries.iter().map(|entry| entry.tick.saturating_mul(tick_ms));
        let (from, to) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let has_cells = entries.iter().any(|entry| entry.column > 63);
        let flags =
            i64::from(times().is_sorted()) * FLAG_SORTED + i64::from(has_cells) * FLAG_CELLS;
        let signals = entries.iter().filter(|entry| entry.column < 64);
        let columns = signals.fold(0_u64, |columns, entry| columns | 1 << entry.column);
        let seq = |run: Option<&Run>| run.map(|run| run.seq.0.cast_signed());
        let row = params![
            self.number,
            at.cast_signed(),
            i64::try_from(len).unwrap_or_default(),
            device,
            ring,
            stream.catalogue.0,
            stream.boot,
            offset_ms.map(|offset_ms| from.saturating_add(offset_ms)),
            to.saturating_sub(from),
            stream.boot.map(|_| from),
            seq(runs.first()),
            seq(runs.last()),
            i64::try_from(entries.len()).unwrap_or_default(),
            columns.cast_signed(),
            flags,
            level,
        ];
        self.connection.execute(
            "INSERT INTO blocks(file, offset, len, device, ring, catalogue, boot, from_ms, span_ms, \
             uptime_ms, seq_first, seq_last, samples, columns, flags, level) \
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            row,
        )?;
        Ok(())
    }

    /// Writes a record.
    pub fn record(&mut self, record: &Record<'_>) -> Result<(), StoreError> {
        let (device, ring) = self.ring(record.stream)?;
        self.connection.execute(
            "INSERT INTO records(kind, device, time_ms, boot, uptime_ms, clock, ring, seq, ordinal, \
             received_ms, chapter, document) VALUES(?1, ?2, ?3, 1, NULL, 3, ?4, ?5, ?6, 0, 0, ?7)",
            params![
                record.kind,
                device,
                record.time_ms,
                ring,
                record.seq.cast_signed(),
                record.ordinal,
                record.document,
            ],
        )?;
        if let Some((target, message)) = record.log {
            self.connection.execute(
                "INSERT INTO log_text(rowid, target, message) VALUES(last_insert_rowid(), ?1, ?2)",
                [target, message],
            )?;
        }
        Ok(())
    }

    /// Ends it: now it can be opened.
    pub fn finish(self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(StoreError::io("cannot write a block file"))?;
        self.connection.execute_batch("COMMIT; ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(())
    }

    /// The numbers of a stream's device and ring.
    fn ring(&self, stream: &Stream) -> Result<(i64, i64), StoreError> {
        let name = stream.device.as_str();
        let find = "SELECT d.id, r.id FROM devices AS d JOIN rings AS r ON r.device = d.id \
                    WHERE d.device = ?1 AND r.ring = ?2";
        let found = || {
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            self.connection.query_row(find, params![name, stream.ring.0], read).optional()
        };
        if let Some(numbers) = found()? {
            return Ok(numbers);
        }
        self.connection.execute("INSERT OR IGNORE INTO devices(device) VALUES(?1)", [name])?;
        self.connection.execute(
            "INSERT INTO rings(ring, device, lane, last_seq) \
             SELECT ?2, id, ?3, 0 FROM devices WHERE device = ?1",
            params![name, stream.ring.0, stream.lane as u8],
        )?;
        found()?.ok_or_else(|| StoreError::damaged("a ring that was just written is not there"))
    }

    fn next_file(&mut self) -> Result<(), StoreError> {
        self.number += 1;
        self.len = 0;
        self.file = new_file(&self.dir, self.number)?;
        for (_, encoded) in &self.catalogues {
            self.bytes.clear();
            piece::append(&mut self.bytes, PieceKind::Catalogue, |out| {
                out.extend_from_slice(encoded);
            })?;
            self.file.write_all(&self.bytes).map_err(StoreError::io("cannot write a catalogue"))?;
            self.len += self.bytes.len() as u64;
        }
        Ok(())
    }
}

fn new_file(dir: &Path, number: u32) -> Result<File, StoreError> {
    File::create(files::path(dir, number)).map_err(StoreError::io("cannot make a block file"))
}
