//! Making the index anew from the block files.
//!
//! Everything that was appended whole counts. What stands in two places (compaction was cut short,
//! or a file waits for its removal) is told by its identity and indexed once; what is damaged is
//! named and left out. The new index takes the old one's place when it is whole. The cursor is gone
//! with the old one: the sink then goes by identity, ring by ring, from the last frame on.
//!
//! So a hole before that frame would stay one. If something is not there that the old index names,
//! or if that cannot be told, the new index therefore ends, ring by ring, where the agent's journal
//! begins: the sink gets all from there on once more. What the journal no longer has is gone for
//! good, and is named.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use protocol::{RingId, Seq};
use rusqlite::{Connection, TransactionBehavior};
use serde::Serialize;

use super::block::{self, Block};
use super::chapter;
use super::check::Finding;
use super::error::StoreError;
use super::files::{self, Appender, Numbers};
use super::index::{self, Place};
use super::piece::{self, HEAD_LEN, Head, PieceKind};
use super::preface::{Preface, read_catalogue};
use super::scan;
use super::schema;
use super::seat::{self, SeatNumber};
use crate::document::OwnedCatalogue;
use crate::privacy::Seat;
use crate::storage::{File, SharedStorage};
use pen::{Pen, put};

mod missing;
mod pen;

/// The index's page cache, in KiB.
const CACHE_KIB: i64 = 16_384;

/// What a rebuild came to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Rebuilt {
    /// Block files read.
    pub files: u64,
    /// Blocks indexed.
    pub blocks: u64,
    /// Samples in those.
    pub samples: u64,
    /// Records indexed.
    pub records: u64,
    /// Samples that stood in two places.
    pub doubles: u64,
    /// Bytes that could not be read.
    pub damaged_bytes: u64,
    /// Rings of which the sink gets once more what the journal has.
    pub refilled_rings: u64,
    /// Samples that the old index names and that are in no block file; part of them may be in the
    /// journal.
    pub missing_samples: u64,
    /// What was damaged, and where.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// The first frame of each ring that the agent's journal still has.
pub type JournalBegins = HashMap<RingId, Seq>;

/// Rebuilds the index of the store in a directory, which nobody else may have open. `progress` is
/// told bytes done and bytes in all.
pub fn rebuild(
    storage: &SharedStorage,
    dir: &Path,
    journal: &JournalBegins,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Rebuilt, StoreError> {
    let ids = files::list(storage, dir).map_err(StoreError::io("cannot list the block files"))?;
    if ids.is_empty() && !dir.join(schema::FILE).exists() {
        return Err(StoreError::Missing(dir.to_owned()));
    }
    let new = dir.join("store.db.new");
    let expected = missing::expected(dir);
    let (db, mut pen) = build(storage, dir, &ids, &new, &JournalBegins::new(), progress)?;
    let missing = expected.as_ref().map(|expected| missing::of(expected, &pen.sound));
    let is_whole = missing.as_ref().is_some_and(Vec::is_empty) && pen.rebuilt.damaged_bytes == 0;
    let db = if is_whole || journal.is_empty() {
        db
    } else {
        let findings = std::mem::take(&mut pen.rebuilt.findings);
        drop(db);
        let (db, other) = build(storage, dir, &ids, &new, journal, progress)?;
        pen = other;
        pen.rebuilt.findings = findings;
        pen.rebuilt.refilled_rings = journal.len() as u64;
        db
    };
    for missing in missing.unwrap_or_default() {
        pen.rebuilt.missing_samples += missing.samples;
        let what = missing.said(journal);
        pen.rebuilt.findings.push(Finding { file: None, offset: None, what });
    }
    // Out of WAL: one file to put in place.
    db.pragma_update(None, "journal_mode", "DELETE")?;
    db.close().map_err(|(_, error)| error)?;
    remove_index(&dir.join(schema::FILE))?;
    fs::rename(&new, dir.join(schema::FILE))
        .and_then(|()| fs::File::open(dir)?.sync_all())
        .map_err(StoreError::io("cannot put the new index in place"))?;
    Ok(pen.rebuilt)
}

/// An index of all there is, of each ring up to where the journal begins.
fn build(
    storage: &SharedStorage,
    dir: &Path,
    ids: &[u32],
    new: &Path,
    journal: &JournalBegins,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Connection, Pen), StoreError> {
    remove_index(new)?;
    let db = schema::open_to_write(new, CACHE_KIB)?;
    let mut pen = Pen::default();
    pen.ends.clone_from(journal);
    let mut rebuild = Rebuild { db, storage, dir, pen };
    let size = |id: &u32| fs::metadata(files::path(dir, *id)).map_or(0, |file| file.len());
    let all: u64 = ids.iter().map(size).sum();
    let mut done = 0;
    // The newest first: what compaction made stands for what it was made of.
    for id in ids.iter().rev() {
        rebuild.file(*id)?;
        done += size(id);
        progress(done, all);
    }
    let last = ids.last().copied().unwrap_or_default();
    rebuild.pen.name_seats(&rebuild.db)?;
    rebuild.partial_blocks(last)?;
    rebuild.pen.miss_seats(&rebuild.db)?;
    rebuild.pen.end_rings(&rebuild.db)?;
    index::set_meta(&rebuild.db, "rebuilt", "the store's index was rebuilt from its block files")?;
    let Rebuild { db, pen, .. } = rebuild;
    Ok((db, pen))
}

fn remove_index(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io(format!("cannot remove {}", path.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

struct Rebuild<'a> {
    db: Connection,
    storage: &'a SharedStorage,
    dir: &'a Path,
    pen: Pen,
}

/// What one file holds.
#[derive(Default)]
struct Found {
    level: u8,
    end: u64,
    pieces: Vec<(PieceKind, Place)>,
    catalogues: Vec<(OwnedCatalogue, Vec<u8>)>,
    seats: Vec<(SeatNumber, Seat)>,
}

impl Rebuild<'_> {
    fn file(&mut self, id: u32) -> Result<(), StoreError> {
        let path = files::path(self.dir, id);
        let failed = StoreError::io(format!("cannot read {}", path.display()));
        let file = self.storage.open(&path, false).map_err(failed)?;
        let found = self.scan(id, &*file)?;
        self.pen.rebuilt.files += 1;
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut live = 0;
        for (catalogue, encoded) in &found.catalogues {
            self.pen.names.catalogue(&tx, catalogue, encoded)?;
        }
        for (number, seat) in found.seats {
            self.pen.seat(number, seat);
        }
        for (kind, place) in &found.pieces {
            let piece = read(&*file, place);
            let is_kept = if *kind == PieceKind::Chapter {
                self.pen.chapter(&tx, place, &piece)?
            } else {
                self.pen.block(&tx, (place, found.level), &Block::open(piece)?)?
            };
            if is_kept {
                live += place.len as u64;
            }
        }
        index::extend_file(&tx, (id, found.level), found.end, live)?;
        tx.commit()?;
        Ok(())
    }

    /// Finds what is sound in a file: pieces of whole appends, catalogues read.
    fn scan(&mut self, id: u32, file: &dyn File) -> Result<Found, StoreError> {
        let failed = || StoreError::io(format!("cannot read block file {id}"));
        let len = file.len().map_err(failed())?;
        let mut found = Found::default();
        let mut at = 0;
        while at < len {
            let mut head = [0; HEAD_LEN];
            let read_len = scan::read(file, at, &mut head);
            let head = Head::read(head.get(..read_len).unwrap_or_default());
            let end = |head: &Head| at + (HEAD_LEN + head.len) as u64;
            let Some(head) = head.filter(|head| end(head) <= len) else {
                at = self.damage(id, file, (at, len));
                continue;
            };
            let place = Place { file: id, offset: at, len: HEAD_LEN + head.len };
            let piece = read(file, &place);
            let Ok(content) = piece::content(&piece, head.kind) else {
                at = self.damage(id, file, (at, len));
                continue;
            };
            let next = end(&head);
            match head.kind {
                PieceKind::Commit => match files::read_stamp(content) {
                    Some((rest, level)) if next.saturating_add(rest) <= len => found.level = level,
                    // Cut short: it was never committed.
                    _ => break,
                },
                PieceKind::Catalogue => found.catalogues.extend(read_catalogue(content)),
                PieceKind::Seat => match seat::read(content) {
                    Ok(seat) => found.seats.push(seat),
                    Err(error) => {
                        self.pen.note(id, at, place.len as u64, &error.to_string());
                    }
                },
                PieceKind::Void => {}
                PieceKind::Block | PieceKind::Chapter => found.pieces.push((head.kind, place)),
            }
            at = next;
            found.end = at;
        }
        // What does not decode in spite of its checksum.
        let mut sound = Vec::new();
        for (kind, place) in std::mem::take(&mut found.pieces) {
            let piece = read(file, &place);
            let decodes = match kind {
                PieceKind::Chapter => chapter::read(&piece).map(drop),
                _ => Block::open(piece).and_then(|block| {
                    block.entries(u128::MAX).try_for_each(|entry| entry.map(drop))?;
                    Ok(())
                }),
            };
            match decodes {
                Ok(()) => {
                    self.pen.sound.insert((place.file, place.offset));
                    sound.push((kind, place));
                }
                Err(error) => {
                    self.pen.note(id, place.offset, place.len as u64, &error.to_string());
                }
            }
        }
        found.pieces = sound;
        Ok(found)
    }

    /// Notes damage; where the next sound piece begins.
    fn damage(&mut self, id: u32, file: &dyn File, (at, len): (u64, u64)) -> u64 {
        let next = scan::next_sound(file, at, len);
        let what = if next < len { "damaged" } else { "damaged up to its end" };
        self.pen.note(id, at, next - at, what);
        next
    }

    /// Writes what stands only in blocks that are doubles for the rest into blocks of their own.
    fn partial_blocks(&mut self, last: u32) -> Result<(), StoreError> {
        let numbers = Numbers::after(last);
        let mut appender = Appender::new(self.storage, self.dir, (0, u64::MAX), &numbers);
        for place in std::mem::take(&mut self.pen.partial) {
            let path = files::path(self.dir, place.file);
            let file = self.storage.open(&path, false).map_err(StoreError::io("cannot read"))?;
            let block = Block::open(read(&*file, &place))?;
            let samples = self.pen.rest_of(&block)?;
            if samples.entries.is_empty() {
                continue;
            }
            let mut pieces = Vec::new();
            for preface in Preface::of(block.stream()) {
                preface.append(&self.db, &mut pieces)?;
            }
            let start = pieces.len();
            block::append(&mut pieces, block.stream(), &samples)?;
            let appended = appender.append(&pieces)?;
            let place = Place {
                file: appended.file,
                offset: appended.offset + start as u64,
                len: pieces.len() - start,
            };
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            put(&tx, &mut self.pen.names, (&place, 0), &block, &samples)?;
            index::extend_file(&tx, (place.file, 0), appended.end, place.len as u64)?;
            tx.commit()?;
            appender.commit(&appended, &[]);
            self.pen.rebuilt.blocks += 1;
            self.pen.rebuilt.samples += samples.entries.len() as u64;
        }
        Ok(())
    }
}

fn read(file: &dyn File, place: &Place) -> Vec<u8> {
    let mut bytes = vec![0; place.len];
    let len = scan::read(file, place.offset, &mut bytes);
    bytes.truncate(len);
    bytes
}
