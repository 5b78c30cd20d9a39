//! Compaction: fragments into blocks worth their name, and files that are mostly dead into others.
//!
//! A round takes what commits have left behind, stream by stream, in steps that each end with a sync
//! and one transaction: the rows of the new blocks in, those of the old ones out. Cut short anywhere,
//! either both or neither are so. Memory: the fragments of one stream up to [`CHUNK`] samples, one
//! day's blocks that they are merged with, and what waits to be written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::CatalogueId;
use rusqlite::{Connection, TransactionBehavior, params};

use super::block::{self, Block, Stream};
use super::error::StoreError;
use super::facts::{Facts, Packed};
use super::files::{Appender, Numbers, read_piece};
use super::index::{self, Names, NewBlock, Owner, Place};
use super::merge::{Merging, WORTH};
use super::placement;
use super::preface::Preface;
use super::read::BlockRow;
use super::schema::{self, SPAN_MS_MAX};
use crate::storage::SharedStorage;

mod all;
mod chapters;
mod rewrite;

pub use all::{Upkeep, compact_all};

/// Samples of fragments that are merged at a time.
const CHUNK: u32 = 65_536;
/// Rows of fragments that are looked at at a time.
const ROWS: i64 = 4096;
/// Bytes that wait to be written, at most about.
const WAITING: usize = 1 << 20;
/// A whole block is only opened for late samples that are at least this part of it.
const LATE_PART: usize = 64;
/// The index's page cache while compacting, in KiB.
const CACHE_KIB: i64 = 2048;

/// What compaction has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compacted {
    /// Blocks that went into others.
    pub merged: u64,
    /// Blocks made.
    pub made: u64,
    /// Samples in those.
    pub samples: u64,
    /// Files removed.
    pub files: u64,
    /// Blocks that could not be read and were left where they are.
    pub damaged: u64,
}

/// Compacts one store. One at a time, beside the writer.
#[derive(Debug)]
pub struct Compaction {
    pub(super) db: Connection,
    pub(super) dir: PathBuf,
    pub(super) storage: SharedStorage,
    appender: Appender,
    file_bytes: u64,
    numbers: Arc<Numbers>,
    names: Names,
    /// Blocks of another size count as worth merging: all there is, asked for by a person.
    thorough: bool,
    waiting: Waiting,
    /// Files that nothing refers to, and since when.
    dead: HashMap<u32, i64>,
    /// Files with a block that cannot be read: left alone.
    spared: Vec<u32>,
    done: Compacted,
}

/// A step that is not yet committed.
#[derive(Debug, Default)]
struct Waiting {
    pieces: Vec<u8>,
    prefaces: Vec<Preface>,
    /// With the offset that their roll-ups were made for.
    blocks: Vec<(NewBlock, Owner, Option<i64>)>,
    merged: Vec<BlockRow>,
}

/// A stream as the index has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    owner: Owner,
    catalogue: CatalogueId,
    boot: Option<u32>,
}

impl Key {
    fn of(row: &BlockRow) -> Self {
        let BlockRow { device, ring, seat, catalogue, boot, .. } = *row;
        Self { owner: Owner { device, ring, seat }, catalogue, boot }
    }
}

impl Compaction {
    /// Over the store in a directory whose writer hands out these numbers.
    pub fn open(
        storage: &SharedStorage,
        dir: &Path,
        file_bytes: u64,
        numbers: &Arc<Numbers>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            db: schema::open_to_write(&dir.join(schema::FILE), CACHE_KIB)?,
            dir: dir.to_owned(),
            storage: Arc::clone(storage),
            appender: Appender::new(storage, dir, (1, file_bytes), numbers),
            file_bytes,
            numbers: Arc::clone(numbers),
            names: Names::default(),
            thorough: false,
            waiting: Waiting::default(),
            dead: HashMap::new(),
            spared: Vec::new(),
            done: Compacted::default(),
        })
    }

    /// Merges also what is only somewhat small; for when a person asks.
    #[cfg(test)]
    pub fn be_thorough(&mut self) {
        self.thorough = true;
    }

    /// What was done so far.
    #[cfg(test)]
    pub fn done(&self) -> Compacted {
        self.done
    }

    /// Fragments there are, the file that is written to included.
    pub fn fragments(&self) -> Result<i64, StoreError> {
        let count = "SELECT count(*) FROM blocks WHERE level = 0 AND len > 0";
        Ok(self.db.prepare_cached(count)?.query_row([], |row| row.get(0))?)
    }

    /// One round over all that commits have left behind; ends early, between two steps, on `stop`.
    pub fn round(&mut self, now_ms: i64, stop: &AtomicBool) -> Result<(), StoreError> {
        let worked = self.work(now_ms, stop);
        if worked.is_err() {
            self.waiting = Waiting::default();
            self.names.forget();
            self.appender.seal();
        }
        worked
    }

    fn work(&mut self, now_ms: i64, stop: &AtomicBool) -> Result<(), StoreError> {
        for (device, ring) in self.streams()? {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.merge_ring(device, ring, stop)?;
        }
        self.flush()?;
        if !stop.load(Ordering::Relaxed) {
            self.move_chapters()?;
            self.rewrite_sparse_files(stop)?;
        }
        self.remove_dead(now_ms)
    }

    /// Rings with fragments in files that are no longer written to.
    fn streams(&self) -> Result<Vec<(i64, i64)>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT DISTINCT device, ring FROM blocks WHERE level = 0 AND len > 0
             ORDER BY device, ring",
        )?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn merge_ring(&mut self, device: i64, ring: i64, stop: &AtomicBool) -> Result<(), StoreError> {
        let mut past = i64::MIN;
        loop {
            let rows = self.fragments_of(device, ring, past)?;
            let Some(last) = rows.last() else { return Ok(()) };
            past = last.id;
            let mut rows = rows;
            rows.sort_by_key(|row| (row.catalogue.0, row.boot, row.seat, row.seq_first));
            for same in rows.chunk_by(|a, b| Key::of(a) == Key::of(b)) {
                let mut rest = same;
                while !rest.is_empty() && !stop.load(Ordering::Relaxed) {
                    let mut samples = 0;
                    let fits = rest
                        .iter()
                        .take_while(|row| {
                            samples += row.samples;
                            samples <= CHUNK
                        })
                        .count();
                    let (chunk, after) = rest.split_at(fits.max(1).min(rest.len()));
                    rest = after;
                    self.merge(chunk)?;
                    // The next chunk's days may be this one's.
                    if !rest.is_empty() || self.waiting.pieces.len() >= WAITING {
                        self.flush()?;
                    }
                }
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.flush_if_more(device, ring, past)?;
        }
    }

    fn flush_if_more(&mut self, device: i64, ring: i64, past: i64) -> Result<(), StoreError> {
        if self.fragments_of(device, ring, past)?.is_empty() { Ok(()) } else { self.flush() }
    }

    fn fragments_of(&self, device: i64, ring: i64, past: i64) -> Result<Vec<BlockRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM blocks AS b
             WHERE device = ?1 AND ring = ?2 AND level = 0 AND len > 0 AND file <> ?3 AND id > ?4
             ORDER BY id LIMIT ?5",
            BlockRow::COLUMNS
        );
        let mut query = self.db.prepare_cached(&sql)?;
        let current = self.numbers.current();
        let rows = query.query_map(params![device, ring, current, past, ROWS], BlockRow::read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Merges fragments of one stream into blocks of level 1.
    fn merge(&mut self, fragments: &[BlockRow]) -> Result<(), StoreError> {
        let Some(key) = fragments.first().map(Key::of) else { return Ok(()) };
        let offset = match key.boot {
            None => Some(0),
            Some(boot) => placement::offset_ms(&self.db, key.owner.device, boot)?,
        };
        let mut merging = Merging::default();
        let mut stream = None;
        let mut merged = Vec::new();
        for row in fragments {
            if let Some(block) = self.load(row)
                && self.add(&mut merging, row, &block)
            {
                stream = Some(*block.stream());
                merged.push(*row);
            }
        }
        let Some(stream) = stream else { return Ok(()) };
        for (day, mut merging) in merging.by_day(&stream, offset.unwrap_or_default()) {
            for row in self.beside(&key, day, offset, &merging, &stream)? {
                // One that reaches into two days is taken once.
                if merged.iter().any(|other| other.id == row.id) {
                    continue;
                }
                if let Some(block) = self.load(&row)
                    && self.add(&mut merging, &row, &block)
                {
                    merged.push(row);
                }
            }
            for samples in merging.into_blocks(&stream, offset.unwrap_or_default()) {
                let rollups = offset.and_then(|offset| Packed::of(&stream, &samples, offset));
                self.need(&stream)?;
                let start = self.waiting.pieces.len();
                block::append(&mut self.waiting.pieces, &stream, &samples)?;
                let len = self.waiting.pieces.len() - start;
                let block = NewBlock {
                    place: Place { file: 0, offset: start as u64, len },
                    stream,
                    facts: Facts::of(&stream, &samples.runs, &samples.entries),
                    rollups,
                    level: 1,
                };
                self.waiting.blocks.push((block, key.owner, offset));
            }
        }
        self.waiting.merged.append(&mut merged);
        Ok(())
    }

    /// Blocks of level 1 of that day that new samples are to be merged with: small ones, and those
    /// that late samples fall into, if there are enough to be worth it.
    fn beside(
        &self,
        key: &Key,
        day: i64,
        offset: Option<i64>,
        new: &Merging,
        stream: &Stream,
    ) -> Result<Vec<BlockRow>, StoreError> {
        let from = day.saturating_mul(SPAN_MS_MAX);
        let to = from.saturating_add(SPAN_MS_MAX - 1);
        let place = if offset.is_some() {
            "from_ms BETWEEN ?2 AND ?3"
        } else {
            "from_ms IS NULL AND uptime_ms BETWEEN ?2 AND ?3"
        };
        let sql = format!(
            "SELECT {} FROM blocks AS b WHERE device = ?1 AND {place} AND level = 1 AND len > 0
             AND ring = ?4 AND catalogue = ?5 AND boot IS ?6 AND seat IS ?7",
            BlockRow::COLUMNS
        );
        let mut query = self.db.prepare_cached(&sql)?;
        let rows = query.query_map(
            params![
                key.owner.device,
                from,
                to,
                key.owner.ring,
                key.catalogue.0,
                key.boot,
                key.owner.seat
            ],
            BlockRow::read,
        )?;
        let offset = offset.unwrap_or_default();
        let small = if self.thorough { 4 * WORTH } else { WORTH };
        let (mut beside, mut times) = (Vec::new(), None);
        for row in rows {
            let row = row?;
            let start = row.from_ms.or(row.uptime_ms).unwrap_or_default();
            let end = start.saturating_add(row.span_ms);
            let samples = row.samples as usize;
            let mut late = || {
                let times = times.get_or_insert_with(|| new.times(stream, offset));
                let before = |ms| times.partition_point(|time| *time < ms);
                before(end.saturating_add(1)).saturating_sub(before(start))
            };
            let is_wanted = samples < small || late() >= (samples / LATE_PART).max(1);
            if is_wanted && !self.waiting.merged.iter().any(|other| other.id == row.id) {
                beside.push(row);
            }
        }
        Ok(beside)
    }

    /// Reads a block; one that is damaged or cannot be read is left where it is.
    fn load(&mut self, row: &BlockRow) -> Option<Block> {
        read_piece(&self.storage, &self.dir, row.file, row.offset, row.len as usize)
            .and_then(Block::open)
            .map_err(|error| self.spare(row.file, row.offset, &error))
            .ok()
    }

    /// Adds what is in a block; nothing of one that does not decode.
    fn add(&mut self, merging: &mut Merging, row: &BlockRow, block: &Block) -> bool {
        let added = merging.add(block).map_err(StoreError::from);
        added.map_err(|error| self.spare(row.file, row.offset, &error)).is_ok()
    }

    /// Leaves a file where it is, for what cannot be read in it; said once.
    fn spare(&mut self, file: u32, offset: u64, why: &StoreError) {
        if !self.spared.contains(&file) {
            tracing::error!(
                file,
                offset,
                %why,
                "a part of the store cannot be read: run `milepost store check`"
            );
            self.spared.push(file);
        }
        self.done.damaged += 1;
    }

    /// Puts before a block what it refers to, unless the file has it.
    fn need(&mut self, stream: &Stream) -> Result<(), StoreError> {
        for preface in Preface::of(stream) {
            if !self.appender.has(preface) && !self.waiting.prefaces.contains(&preface) {
                preface.append(&self.db, &mut self.waiting.pieces)?;
                self.waiting.prefaces.push(preface);
            }
        }
        Ok(())
    }

    /// Writes what waits, and commits it.
    fn flush(&mut self) -> Result<(), StoreError> {
        let Waiting { pieces, prefaces, blocks, merged } = std::mem::take(&mut self.waiting);
        if blocks.is_empty() {
            return Ok(());
        }
        let appended = self.appender.append(&pieces)?;
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut live = 0;
        for (block, owner, made_for) in &blocks {
            // The boot may have been placed, or placed anew, since the roll-ups were made.
            let offset = match block.stream.boot {
                None => Some(0),
                Some(boot) => placement::offset_ms(&tx, owner.device, boot)?,
            };
            let offset_in_file = appended.offset + block.place.offset;
            let place = Place { file: appended.file, offset: offset_in_file, ..block.place };
            live += place.len as u64;
            let id = index::insert_block(&tx, (block, &place), *owner, offset)?;
            if offset != *made_for {
                tx.execute("DELETE FROM rollups WHERE block = ?", [id])?;
            }
            self.done.made += 1;
            self.done.samples += block.facts.samples as u64;
        }
        for row in &merged {
            index::delete_block(&tx, row.id)?;
            index::release(&tx, row.file, u64::from(row.len))?;
            self.done.merged += 1;
        }
        index::extend_file(&tx, (appended.file, self.appender.level()), appended.end, live)?;
        tx.commit()?;
        self.appender.commit(&appended, &prefaces);
        Ok(())
    }
}
