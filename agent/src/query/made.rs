//! Stores made up for tests and benches: blocks as compaction leaves them, without a fleet, an agent
//! or a compaction before them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use protocol::{Catalogue, CatalogueId, Seq};
use rusqlite::{Connection, params};

use crate::document::OwnedCatalogue;
use crate::privacy::Seat;
use crate::store::StoreError;
use crate::store::block::{self, Samples, Stream};
use crate::store::facts::{Facts, Packed};
use crate::store::index::{self, Names, NewBlock, Owner, Place};
use crate::store::preface::append_catalogue;
use crate::store::seat::{self, SeatNumber};
use crate::store::{files, schema};

/// A block file is begun anew at this length.
const FILE_LEN_MAX: u64 = 64 << 20;
const CACHE_KIB: i64 = 64 << 10;

/// Writes a store, once.
#[derive(Debug)]
pub struct Maker {
    index: Connection,
    names: Names,
    dir: PathBuf,
    file: File,
    number: u32,
    len: u64,
    catalogues: Vec<(CatalogueId, Vec<u8>)>,
    seats: Vec<(SeatNumber, Seat)>,
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
        let index = schema::open_to_write(&dir.join(schema::FILE), CACHE_KIB)?;
        index.execute_batch("BEGIN")?;
        Ok(Self {
            index,
            names: Names::default(),
            dir: dir.to_owned(),
            file: new_file(dir, 1)?,
            number: 1,
            len: 0,
            catalogues: Vec::new(),
            seats: Vec::new(),
            bytes: Vec::new(),
        })
    }

    /// Makes a catalogue known.
    pub fn catalogue(&mut self, catalogue: &Catalogue<'_>) -> Result<CatalogueId, StoreError> {
        let owned = OwnedCatalogue::new(CatalogueId::default(), catalogue);
        let encoded =
            index::encode(&owned).map_err(|error| StoreError::damaged(error.to_string()))?;
        let id = Catalogue::id_of(&encoded);
        self.names.catalogue(&self.index, &OwnedCatalogue { id, ..owned }, &encoded)?;
        self.bytes.clear();
        append_catalogue(&mut self.bytes, id, &encoded)?;
        self.write()?;
        self.catalogues.push((id, encoded));
        Ok(id)
    }

    /// Makes a seat known.
    pub fn seat(&mut self, seat: &Seat) -> Result<SeatNumber, StoreError> {
        let number = SeatNumber::draw()?;
        seat::put(&self.index, number, seat)?;
        self.bytes.clear();
        seat::append(&mut self.bytes, number, seat)?;
        self.write()?;
        self.seats.push((number, seat.clone()));
        Ok(number)
    }

    /// Writes a block of any level; `offset_ms` places one that counts from a boot. One of level 0,
    /// or without a place in time, has no roll-ups.
    pub fn block(
        &mut self,
        stream: &Stream,
        samples: &Samples,
        level: u8,
        offset_ms: Option<i64>,
    ) -> Result<i64, StoreError> {
        let Samples { runs, entries, .. } = samples;
        self.bytes.clear();
        block::append(&mut self.bytes, stream, samples)?;
        let place = Place { file: self.number, offset: self.len, len: self.bytes.len() };
        self.write()?;
        let offset_ms = if stream.boot.is_some() { offset_ms } else { Some(0) };
        let rollups = offset_ms.filter(|_| level > 0).map(|offset_ms| {
            Packed::of(stream, samples, offset_ms).unwrap_or_else(|| Packed {
                hourly: Packed::hours(stream, entries, offset_ms),
                minutely: None,
            })
        });
        let facts = Facts::of(stream, runs, entries);
        let block = NewBlock { place, stream: *stream, facts, rollups, level };
        let owner = self.owner(stream)?;
        let id = index::insert_block(&self.index, (&block, &place), owner, offset_ms)?;
        if self.len > FILE_LEN_MAX {
            self.next_file()?;
        }
        Ok(id)
    }

    /// Leaves of a block only its roll-ups, as retention does.
    pub fn retire(&mut self, block: i64) -> Result<(), StoreError> {
        Ok(index::retire_block(&self.index, block)?)
    }

    /// Writes a record.
    pub fn record(&mut self, record: &Record<'_>) -> Result<(), StoreError> {
        let Owner { device, ring, .. } = self.owner(record.stream)?;
        self.index.execute(
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
            self.index.execute(
                "INSERT INTO log_text(rowid, target, message) VALUES(last_insert_rowid(), ?1, ?2)",
                [target, message],
            )?;
        }
        Ok(())
    }

    /// Ends it: now it can be opened.
    pub fn finish(self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(StoreError::io("cannot write a block file"))?;
        self.index.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(())
    }

    /// The numbers of a stream's device, ring and seat.
    fn owner(&mut self, stream: &Stream) -> Result<Owner, StoreError> {
        Ok(self.names.owner(&self.index, stream, Seq::ZERO)?)
    }

    fn next_file(&mut self) -> Result<(), StoreError> {
        self.number += 1;
        self.len = 0;
        self.file = new_file(&self.dir, self.number)?;
        self.bytes.clear();
        for (id, encoded) in &self.catalogues {
            append_catalogue(&mut self.bytes, *id, encoded)?;
        }
        for (number, seat) in &self.seats {
            seat::append(&mut self.bytes, *number, seat)?;
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.file.write_all(&self.bytes).map_err(StoreError::io("cannot write a block file"))?;
        self.len += self.bytes.len() as u64;
        Ok(())
    }
}

fn new_file(dir: &Path, number: u32) -> Result<File, StoreError> {
    File::create(files::path(dir, number)).map_err(StoreError::io("cannot make a block file"))
}
