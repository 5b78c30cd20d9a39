//! Writing the index: what a transaction puts in and takes out.

use std::collections::{HashMap, HashSet};

use protocol::codec::Hints;
use protocol::signal::CatalogueError;
use protocol::{Catalogue, CatalogueId, Clock, DeviceId, Lane, RingId, Seq};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::block::Stream;
use super::chapter::Filed;
use super::facts::{Facts, Packed};
use super::schema::FLAG_RETIRED;
use super::seat::SeatNumber;
use crate::document::OwnedCatalogue;
use crate::privacy::{Lens, Policy, RecordKind};

/// Names that are remembered with their ids; then all are forgotten.
const NAMES_MAX: usize = 8192;

/// A piece's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub file: u32,
    pub offset: u64,
    pub len: usize,
}

/// A block that is to be in the index.
#[derive(Debug)]
pub struct NewBlock {
    pub place: Place,
    pub stream: Stream,
    pub facts: Facts,
    pub rollups: Option<Packed>,
    pub level: u8,
}

/// Whose a block is: ids of the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    pub device: i64,
    pub ring: i64,
    pub seat: Option<i64>,
}

/// Ids of names. What a transaction that failed put in must be forgotten: [`Names::forget`].
#[derive(Debug, Default)]
pub struct Names {
    devices: HashMap<DeviceId, i64>,
    rings: HashMap<RingId, i64>,
    catalogues: HashSet<CatalogueId>,
    /// Per device, so that each of its seats is noted once.
    seats: HashMap<(SeatNumber, i64), i64>,
}

impl Names {
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// A device's id; made if need be.
    pub fn device(&mut self, db: &Connection, device: DeviceId) -> rusqlite::Result<i64> {
        if let Some(id) = self.devices.get(&device) {
            return Ok(*id);
        }
        if self.devices.len() >= NAMES_MAX {
            self.devices.clear();
        }
        let id = find_or_insert(
            db,
            "SELECT id FROM devices WHERE device = ?1",
            "INSERT INTO devices(device) VALUES (?1)",
            device.as_str(),
        )?;
        self.devices.insert(device, id);
        Ok(id)
    }

    /// A ring's id; made if need be. Its last frame is at least `last`.
    pub fn ring(
        &mut self,
        db: &Connection,
        (ring, device, lane): (RingId, i64, Lane),
        last: Seq,
    ) -> rusqlite::Result<i64> {
        let mut raise = db.prepare_cached(
            "INSERT INTO rings(ring, device, lane, last_seq) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT(ring) DO UPDATE
             SET device = excluded.device, last_seq = max(last_seq, excluded.last_seq)
             RETURNING id",
        )?;
        let id = raise
            .query_row(params![&ring.0[..], device, lane as u8, last.0.cast_signed()], |row| {
                row.get(0)
            })?;
        if self.rings.len() >= NAMES_MAX {
            self.rings.clear();
        }
        self.rings.insert(ring, id);
        Ok(id)
    }

    /// The ids of a stream's device, ring and seat; made if need be. The ring's last frame is at least
    /// `last`.
    pub fn owner(
        &mut self,
        db: &Connection,
        stream: &Stream,
        last: Seq,
    ) -> rusqlite::Result<Owner> {
        let device = self.device(db, stream.device)?;
        let ring = self.ring(db, (stream.ring, device, stream.lane), last)?;
        let seat = stream.seat.map(|seat| self.seat(db, seat, device)).transpose()?;
        Ok(Owner { device, ring, seat })
    }

    /// A seat's id; made if need be, without a name. From here on it is known that the device sat
    /// there.
    fn seat(&mut self, db: &Connection, seat: SeatNumber, device: i64) -> rusqlite::Result<i64> {
        if let Some(id) = self.seats.get(&(seat, device)) {
            return Ok(*id);
        }
        if self.seats.len() >= NAMES_MAX {
            self.seats.clear();
        }
        let number = seat.in_index();
        db.prepare_cached("INSERT OR IGNORE INTO seats(number) VALUES (?)")?.execute([number])?;
        let id = db
            .prepare_cached("SELECT id FROM seats WHERE number = ?")?
            .query_row([number], |row| row.get(0))?;
        db.prepare_cached("INSERT OR IGNORE INTO seated(seat, device) VALUES (?, ?)")?
            .execute([id, device])?;
        self.seats.insert((seat, device), id);
        Ok(id)
    }

    /// Puts a catalogue in, once.
    pub fn catalogue(
        &mut self,
        db: &Connection,
        catalogue: &OwnedCatalogue,
        encoded: &[u8],
    ) -> rusqlite::Result<()> {
        if !self.catalogues.insert(catalogue.id) {
            return Ok(());
        }
        let new = db
            .prepare_cached(
                "INSERT OR IGNORE INTO catalogues(id, tick_ms, encoded) VALUES (?, ?, ?)",
            )?
            .execute(params![catalogue.id.0, catalogue.tick_ms, encoded])?;
        if new == 0 {
            return Ok(());
        }
        let signals = catalogue.signals.iter().map(|signal| (signal.path.as_str(), &*signal.unit));
        let columns = (0_u8..Lens::CELL).zip(signals);
        for (column, (path, unit)) in columns.chain([(Lens::CELL, (Policy::CELL_PATH, ""))]) {
            db.prepare_cached("INSERT OR IGNORE INTO signals(path, unit) VALUES (?, ?)")?
                .execute((path, unit))?;
            db.prepare_cached(
                "INSERT INTO catalogue_signals(signal, catalogue, col)
                 SELECT id, ?2, ?3 FROM signals WHERE path = ?1",
            )?
            .execute((path, catalogue.id.0, column))?;
        }
        Ok(())
    }
}

fn find_or_insert(db: &Connection, find: &str, insert: &str, name: &str) -> rusqlite::Result<i64> {
    let found = db.prepare_cached(find)?.query_row([name], |row| row.get(0)).optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    db.prepare_cached(insert)?.execute([name])?;
    Ok(db.last_insert_rowid())
}

/// A catalogue's canonical encoding, without what only the batch codec is told.
pub fn encode(catalogue: &OwnedCatalogue) -> Result<Vec<u8>, CatalogueError> {
    let mut bytes = vec![0; 2 * Catalogue::ENCODED_MAX];
    let len = catalogue.with(|said| {
        let plain = Catalogue { hints: Hints::NONE, ..*said };
        plain.encode(&mut bytes)
    })?;
    bytes.truncate(len);
    Ok(bytes)
}

/// Puts a block in; `offset_ms` is what places a boot's, if that is known.
pub fn insert_block(
    db: &Connection,
    (block, place): (&NewBlock, &Place),
    owner: Owner,
    offset_ms: Option<i64>,
) -> rusqlite::Result<i64> {
    let NewBlock { place: _, stream, facts, rollups, level } = block;
    let uptime_ms = stream.boot.map(|_| facts.own_ms);
    let from_ms = match stream.boot {
        None => Some(facts.own_ms),
        Some(_) => offset_ms.map(|offset| facts.own_ms.saturating_add(offset)),
    };
    db.prepare_cached(
        "INSERT INTO blocks(file, offset, len, device, ring, catalogue, boot, seat, from_ms,
           span_ms, uptime_ms, seq_first, seq_last, samples, columns, flags, level)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        place.file,
        place.offset.cast_signed(),
        signed(place.len),
        owner.device,
        owner.ring,
        stream.catalogue.0,
        stream.boot,
        owner.seat,
        from_ms,
        facts.span_ms,
        uptime_ms,
        facts.seq_first.0.cast_signed(),
        facts.seq_last.0.cast_signed(),
        signed(facts.samples),
        facts.columns.cast_signed(),
        facts.flags,
        level,
    ])?;
    let id = db.last_insert_rowid();
    if let Some(Packed { hourly, minutely }) = rollups {
        db.prepare_cached("INSERT INTO rollups(block, hourly, minutely) VALUES (?, ?, ?)")?
            .execute(params![id, hourly, minutely])?;
    }
    Ok(id)
}

/// Takes a block out, with its roll-ups.
pub fn delete_block(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM blocks WHERE id = ?")?.execute([id])?;
    db.prepare_cached("DELETE FROM rollups WHERE block = ?")?.execute([id])?;
    Ok(())
}

/// Leaves of a block only its roll-ups.
pub fn retire_block(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE blocks SET file = 0, offset = 0, len = 0, flags = flags | ?2 WHERE id = ?1",
    )?
    .execute((id, FLAG_RETIRED))?;
    Ok(())
}

/// Says how long a file is, and that so many more of its bytes count.
pub fn extend_file(
    db: &Connection,
    (file, level): (u32, u8),
    len: u64,
    live: u64,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO files(id, len, level, live) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT(id) DO UPDATE SET len = excluded.len, live = live + excluded.live",
    )?
    .execute(params![file, len.cast_signed(), level, live.cast_signed()])?;
    Ok(())
}

/// Says that so many bytes of a file no longer count.
pub fn release(db: &Connection, file: u32, bytes: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE files SET live = live - ?2 WHERE id = ?1")?
        .execute((file, bytes.cast_signed()))?;
    Ok(())
}

/// Puts a chapter in.
pub fn insert_chapter(db: &Connection, place: &Place, records: usize) -> rusqlite::Result<i64> {
    db.prepare_cached("INSERT INTO chapters(file, offset, len, records) VALUES (?, ?, ?, ?)")?
        .execute(params![
            place.file,
            place.offset.cast_signed(),
            signed(place.len),
            signed(records)
        ])?;
    Ok(db.last_insert_rowid())
}

/// Files a record; whether it was not there yet.
pub fn insert_record(
    db: &Connection,
    record: &Filed,
    (device, ring): (i64, i64),
    chapter: i64,
) -> rusqlite::Result<bool> {
    let time = record.time;
    let uptime = time.map(|time| i64::try_from(time.uptime_ms).unwrap_or(i64::MAX));
    let new = db
        .prepare_cached(
            "INSERT OR IGNORE INTO records(kind, device, time_ms, boot, uptime_ms, clock, ring, seq,
               ordinal, received_ms, chapter, document)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            record.kind,
            device,
            record.time_ms(),
            time.map(|time| time.boot),
            uptime,
            time.map_or(Clock::Agent, |time| time.clock) as u8,
            ring,
            record.seq.0.cast_signed(),
            record.ordinal_number(),
            record.received_ms,
            chapter,
            record.document,
        ])?;
    if new > 0 && record.kind == super::chapter::kind_number(RecordKind::Log) {
        db.prepare_cached(
            "INSERT INTO log_text(rowid, target, message)
             SELECT id, json_extract(document, '$.data.target'),
               json_extract(document, '$.data.message')
             FROM records WHERE id = ? AND json_valid(document)",
        )?
        .execute([db.last_insert_rowid()])?;
    }
    Ok(new > 0)
}

/// A value of `meta`.
pub fn meta<T: rusqlite::types::FromSql>(
    db: &Connection,
    key: &str,
) -> rusqlite::Result<Option<T>> {
    db.prepare_cached("SELECT value FROM meta WHERE key = ?")?
        .query_row([key], |row| row.get(0))
        .optional()
}

/// Sets a value of `meta`.
pub fn set_meta(db: &Connection, key: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO meta(key, value) VALUES (?1, ?2)
         ON CONFLICT(key) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![key, value])?;
    Ok(())
}

/// As SQLite has it.
pub fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
