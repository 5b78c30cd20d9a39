//! Committing batches: append and sync, then one transaction with the cursor.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::{Clock, RingId, Seq};
use rusqlite::{Connection, TransactionBehavior};

use super::block::{self, Run, SAMPLES_MAX, Samples, Stream};
use super::chapter::{self, Filed};
use super::error::StoreError;
use super::facts::Facts;
use super::files::{self, Appended, Appender, Numbers};
use super::index::{self, Names, NewBlock, Place};
use super::placement;
use super::preface::{Preface, append_catalogue};
use super::schema;
use super::seat::{self, SeatNumber};
use crate::document::OwnedCatalogue;
use crate::privacy::{Cleared, ClearedFrame, ClearedSample, Piece, Seat};
use crate::storage::SharedStorage;

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

/// A frame and its samples.
type Taken<'a> = (&'a ClearedFrame, &'a [ClearedSample]);

/// One commit's blocks on their way.
#[derive(Debug, Default)]
struct Draft {
    pieces: Vec<u8>,
    /// Offsets are from the pieces' beginning.
    blocks: Vec<NewBlock>,
    catalogues: Vec<(Arc<OwnedCatalogue>, Vec<u8>)>,
    seats: Vec<(SeatNumber, Arc<Seat>)>,
    /// Where the chapter stands, and what is in it.
    chapter: Option<(usize, usize, Vec<Filed>)>,
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

    /// Takes a batch and the cursor behind it: all or nothing.
    pub fn commit(&mut self, batch: &Cleared, cursor: &[u8]) -> Result<(), StoreError> {
        let draft = self.draft(batch)?;
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

    /// Codes a batch, stream by stream.
    fn draft(&mut self, batch: &Cleared) -> Result<Draft, StoreError> {
        let mut draft = Draft::default();
        let mut streams: HashMap<Stream, usize> = HashMap::new();
        let mut frames: Vec<(Stream, Vec<Taken<'_>>)> = Vec::new();
        let mut records = Vec::new();
        // By where they lie: a batch's frames share what they know of their seats.
        let mut seats: HashMap<*const Seat, SeatNumber> = HashMap::new();
        for piece in batch.pieces() {
            match piece {
                Piece::Samples(frame, samples) => {
                    draft.catalogue(&self.appender, frame.lens.catalogue())?;
                    let seat = match &frame.from.seat {
                        None => None,
                        Some(seat) => Some(match seats.entry(Arc::as_ptr(seat)) {
                            Entry::Occupied(known) => *known.get(),
                            Entry::Vacant(new) => {
                                let number = self.seats.number(&self.db, seat)?;
                                draft.seat(&self.appender, number, seat)?;
                                *new.insert(number)
                            }
                        }),
                    };
                    let stream = Stream { seat, ..stream_of(frame) };
                    let at = *streams.entry(stream).or_insert_with(|| {
                        frames.push((stream, Vec::new()));
                        frames.len() - 1
                    });
                    if let Some((_, frames)) = frames.get_mut(at) {
                        frames.push((frame, samples));
                    }
                }
                Piece::Record(record, document) => records.push(Filed::new(record, document)),
            }
        }
        let mut samples = Samples::default();
        for (stream, mut frames) in frames {
            frames.sort_by_key(|(frame, _)| frame.from.seq);
            for (frame, taken) in frames {
                if samples.entries.len() + taken.len() > SAMPLES_MAX {
                    draft.block(&stream, &mut samples)?;
                }
                samples.take(frame, taken);
            }
            draft.block(&stream, &mut samples)?;
        }
        if !records.is_empty() {
            let start = draft.pieces.len();
            chapter::append(&mut draft.pieces, &records)?;
            draft.chapter = Some((start, draft.pieces.len() - start, records));
        }
        Ok(draft)
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

impl Draft {
    /// Puts a catalogue before the blocks that need it, unless the file has it.
    fn catalogue(
        &mut self,
        appender: &Appender,
        catalogue: &Arc<OwnedCatalogue>,
    ) -> Result<(), StoreError> {
        let is_here = |(other, _): &(Arc<OwnedCatalogue>, Vec<u8>)| other.id == catalogue.id;
        if appender.has(Preface::Catalogue(catalogue.id)) || self.catalogues.iter().any(is_here) {
            return Ok(());
        }
        let encoded = index::encode(catalogue)
            .map_err(|error| StoreError::damaged(format!("catalogue {}: {error}", catalogue.id)))?;
        append_catalogue(&mut self.pieces, catalogue.id, &encoded)?;
        self.catalogues.push((Arc::clone(catalogue), encoded));
        Ok(())
    }

    /// The same for a seat.
    fn seat(
        &mut self,
        appender: &Appender,
        number: SeatNumber,
        seat: &Arc<Seat>,
    ) -> Result<(), StoreError> {
        let is_here = |(other, _): &(SeatNumber, Arc<Seat>)| *other == number;
        if appender.has(Preface::Seat(number)) || self.seats.iter().any(is_here) {
            return Ok(());
        }
        seat::append(&mut self.pieces, number, seat)?;
        self.seats.push((number, Arc::clone(seat)));
        Ok(())
    }

    /// What stands in the pieces for blocks to refer to.
    fn prefaces(&self) -> Vec<Preface> {
        let catalogues = self.catalogues.iter().map(|(one, _)| Preface::Catalogue(one.id));
        catalogues.chain(self.seats.iter().map(|(number, _)| Preface::Seat(*number))).collect()
    }

    /// Makes a block of what there is, and empties it.
    fn block(&mut self, stream: &Stream, samples: &mut Samples) -> Result<(), StoreError> {
        if samples.entries.is_empty() {
            return Ok(());
        }
        let start = self.pieces.len();
        block::append(&mut self.pieces, stream, samples)?;
        self.blocks.push(NewBlock {
            place: Place { file: 0, offset: start as u64, len: self.pieces.len() - start },
            stream: *stream,
            facts: Facts::of(stream, &samples.runs, &samples.entries),
            rollups: None,
            level: 0,
        });
        samples.clear();
        Ok(())
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

fn stream_of(frame: &ClearedFrame) -> Stream {
    let catalogue = frame.lens.catalogue();
    Stream {
        device: frame.from.device,
        ring: frame.from.ring,
        lane: frame.from.lane,
        catalogue: catalogue.id,
        tick_ms: catalogue.tick_ms,
        boot: (frame.clock == Clock::Uptime).then_some(frame.boot),
        seat: None,
    }
}

impl Samples {
    /// Adds a frame's samples behind those of the frames before it.
    fn take(&mut self, frame: &ClearedFrame, samples: &[ClearedSample]) {
        let run = u16::try_from(self.runs.len()).unwrap_or(u16::MAX);
        self.runs.push(Run {
            seq: frame.from.seq,
            received_ms: frame.from.received_ms,
            clock: frame.clock,
            boot: frame.boot,
            origin: frame.from.origin,
        });
        self.entries.extend(samples.iter().map(|sample| block::Entry {
            tick: sample.tick,
            raw: sample.raw,
            ordinal: sample.ordinal,
            run,
            column: sample.column,
        }));
    }

    /// Empties it, and keeps its room.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.entries.clear();
    }
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
