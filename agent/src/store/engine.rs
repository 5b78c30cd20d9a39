//! Committing batches: append and sync, then one transaction with the cursor.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::{RingId, Seq};
use rusqlite::{Connection, TransactionBehavior};

use super::chapter::Filed;
use super::error::StoreError;
use super::files::{self, Appended, Appender, Numbers};
use super::index::{self, Names, Place};
use super::placement;
use super::schema;
use super::seat;
use crate::privacy::Cleared;
use crate::storage::SharedStorage;
use draft::Draft;

mod draft;

/// The index's page cache while committing, in KiB.
const CACHE_KIB: i64 = 4096;
/// Whole appends behind a file's end that a crash can leave: one that was synced and not committed.
const LEFTOVERS_MAX: usize = 1;

/// What a store holds, as its writer finds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing.
    Empty,
    /// What this cursor says.
    Cursor(Vec<u8>),
    /// Something, and why no cursor holds.
    NoCursor(String),
}

/// Writes a store. One at a time: the directory is locked by who opens it.
#[derive(Debug)]
pub struct Engine {
    pub(super) db: Connection,
    pub(super) storage: SharedStorage,
    pub(super) dir: PathBuf,
    pub(super) appender: Appender,
    numbers: Arc<Numbers>,
    pub(super) names: Names,
    pub(super) seats: seat::Known,
}

impl Engine {
    /// Opens the store in a directory, or makes one; cuts off what no transaction knows of.
    /// `file_bytes` is the size of a block file.
    pub fn open(
        storage: &SharedStorage,
        dir: &Path,
        file_bytes: u64,
    ) -> Result<(Self, Standing), StoreError> {
        let blocks = dir.join("blocks");
        storage
            .create_dir_all(&blocks)
            .map_err(StoreError::io(format!("cannot make {}", blocks.display())))?;
        let path = dir.join(schema::FILE);
        let on_disk = list(storage, dir)?;
        if !path.exists() && !on_disk.is_empty() {
            let what = format!("{} is missing, the block files are there", path.display());
            return Err(StoreError::damaged(what));
        }
        let db = schema::open_to_write(&path, CACHE_KIB)?;
        let last = settle(&db, storage, dir, &on_disk)?;
        let numbers = Numbers::after(last);
        let appender = Appender::new(storage, dir, (0, file_bytes), &numbers);
        let standing = standing(&db)?;
        let (storage, dir) = (Arc::clone(storage), dir.to_owned());
        let (names, seats) = (Names::default(), seat::Known::default());
        Ok((Self { db, storage, dir, appender, numbers, names, seats }, standing))
    }

    /// The numbers of block files, to share with compaction.
    pub fn numbers(&self) -> Arc<Numbers> {
        Arc::clone(&self.numbers)
    }

    /// Per ring, the last frame of which anything is or was here.
    pub fn delivered(&self) -> Result<HashMap<RingId, Seq>, StoreError> {
        let mut query = self.db.prepare("SELECT ring, last_seq FROM rings")?;
        let rows = query.query_map([], |row| {
            let ring: Vec<u8> = row.get(0)?;
            let ring = ring.try_into().map(RingId).unwrap_or_default();
            Ok((ring, Seq(row.get::<_, i64>(1)?.cast_unsigned())))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What comes next goes to another file, so that this one can be compacted.
    pub fn seal(&mut self) {
        self.appender.seal();
    }

    /// How long to wait for others who have the index.
    #[cfg(test)]
    pub fn wait_at_most(&self, time: std::time::Duration) {
        self.db.busy_timeout(time).unwrap_or_default();
    }

    /// Takes a batch and the cursor behind it: all or nothing.
    pub fn commit(&mut self, batch: &Cleared, cursor: &[u8]) -> Result<(), StoreError> {
        let draft = Draft::of(batch, &self.db, &self.appender, &mut self.seats)?;
        let appended =
            if draft.pieces.is_empty() { None } else { Some(self.appender.append(&draft.pieces)?) };
        if let Err(error) = self.write_index(&draft, appended.as_ref(), cursor) {
            self.names.forget();
            return Err(error.into());
        }
        if let Some(appended) = &appended {
            self.appender.commit(appended, &draft.prefaces());
        }
        Ok(())
    }

    fn write_index(
        &mut self,
        draft: &Draft,
        appended: Option<&Appended>,
        cursor: &[u8],
    ) -> rusqlite::Result<()> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (catalogue, encoded) in &draft.catalogues {
            self.names.catalogue(&tx, catalogue, encoded)?;
        }
        for (number, seat) in &draft.seats {
            seat::put(&tx, *number, seat)?;
        }
        if let Some(Appended { file, offset, end }) = appended {
            let mut live = 0;
            for block in &draft.blocks {
                let owner = self.names.owner(&tx, &block.stream, block.facts.seq_last)?;
                let offset_ms = match block.stream.boot {
                    None => None,
                    Some(boot) => placement::offset_ms(&tx, owner.device, boot)?,
                };
                let place =
                    Place { file: *file, offset: offset + block.place.offset, ..block.place };
                live += place.len as u64;
                index::insert_block(&tx, (block, &place), owner, offset_ms)?;
            }
            if let Some((start, len, records)) = &draft.chapter {
                let place = Place { file: *file, offset: offset + *start as u64, len: *len };
                live += place.len as u64;
                file_records(&tx, &mut self.names, &place, records)?;
            }
            index::extend_file(&tx, (*file, 0), *end, live)?;
        }
        index::set_meta(&tx, "cursor", cursor)?;
        tx.commit()
    }
}

/// Files the records of a chapter, those that are not there yet; how many. Places what a boot's clock
/// allows to place.
pub fn file_records(
    db: &Connection,
    names: &mut Names,
    place: &Place,
    records: &[Filed],
) -> rusqlite::Result<i64> {
    let chapter = index::insert_chapter(db, place, records.len())?;
    let mut filed = 0;
    for record in records {
        let device = names.device(db, record.device)?;
        let ring = names.ring(db, (record.ring, device, record.lane), record.seq)?;
        filed += i64::from(index::insert_record(db, record, (device, ring), chapter)?);
        if let Some(boot) = record.boot_offset() {
            placement::learn(db, device, boot)?;
        }
    }
    if filed < index::signed(records.len()) {
        db.execute("UPDATE chapters SET records = ?2 WHERE id = ?1", (chapter, filed))?;
    }
    Ok(filed)
}

/// Brings files and index in line; the highest number of a file.
fn settle(
    db: &Connection,
    storage: &SharedStorage,
    dir: &Path,
    on_disk: &[u32],
) -> Result<u32, StoreError> {
    let mut query = db.prepare("SELECT id, len, live FROM files ORDER BY id")?;
    let rows = query.query_map([], |row| {
        Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?.cast_unsigned(), row.get::<_, i64>(2)?))
    })?;
    let known: Vec<(u32, u64, i64)> = rows.collect::<Result<_, _>>()?;
    let mut last = on_disk.last().copied().unwrap_or_default();
    for (id, len, live) in &known {
        last = last.max(*id);
        if on_disk.binary_search(id).is_ok() {
            cut(storage, &files::path(dir, *id), *len)?;
        } else if *live > 0 {
            return Err(StoreError::damaged(format!("block file {id} is missing")));
        } else {
            db.execute("DELETE FROM files WHERE id = ?", [id])?;
        }
    }
    for id in on_disk.iter().filter(|id| known.binary_search_by_key(id, |row| &row.0).is_err()) {
        let path = files::path(dir, *id);
        cut(storage, &path, 0)?;
        storage.remove(&path).map_err(StoreError::io("cannot remove a block file"))?;
    }
    Ok(last)
}

/// Cuts off what stands behind a file's end, if a crash can have left it.
fn cut(storage: &SharedStorage, path: &Path, len: u64) -> Result<(), StoreError> {
    let failed = |what: &str| StoreError::io(format!("{what} {}", path.display()));
    let file = storage.open(path, false).map_err(failed("cannot open"))?;
    let there = file.len().map_err(failed("cannot read"))?;
    if there < len {
        let what = format!("{} is shorter than the index says", path.display());
        return Err(StoreError::damaged(what));
    }
    if there == len {
        return Ok(());
    }
    let behind = files::appends(&*file, len).map_err(failed("cannot read"))?.len();
    if behind > LEFTOVERS_MAX {
        let what = format!("the index is older than {}", path.display());
        return Err(StoreError::damaged(what));
    }
    file.set_len(len).and_then(|()| file.sync()).map_err(failed("cannot cut"))
}

fn list(storage: &SharedStorage, dir: &Path) -> Result<Vec<u32>, StoreError> {
    files::list(storage, dir).map_err(StoreError::io("cannot list the block files"))
}

fn standing(db: &Connection) -> Result<Standing, StoreError> {
    if let Some(cursor) = index::meta(db, "cursor")? {
        return Ok(Standing::Cursor(cursor));
    }
    if let Some(why) = index::meta(db, "rebuilt")? {
        return Ok(Standing::NoCursor(why));
    }
    let is_used = db.prepare("SELECT 1 FROM rings LIMIT 1")?.exists([])?;
    let why = || "the store has no cursor".to_owned();
    Ok(if is_used { Standing::NoCursor(why()) } else { Standing::Empty })
}
