//! Erasing a device or a vehicle: out of the index, and out of the block files where it stands.
//!
//! First the index, in one transaction. Chapters that hold others' records too are written anew
//! without this device's, a few at a time. Then every piece of the device, whether the index still
//! pointed at it or compaction had left it behind, is overwritten by a void of the same length, so
//! that the files stay readable. So is what says of a seat what it stands for, once no device that
//! sat there is left; and what nobody can read, because nobody can say whose it is. Cut short, it is
//! simply done again: pieces are found by the name in them, and voids that are not empty by their
//! content.

use std::collections::HashSet;

use protocol::DeviceId;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::block::head::Head as BlockHead;
use super::chapter::{self, Filed};
use super::engine::Engine;
use super::error::StoreError;
use super::files::{self, Appended, read_piece};
use super::index::{self, Place};
use super::piece::{self, HEAD_LEN, Head, PieceKind};
use super::seat::SeatNumber;
use super::{scan, schema};
use crate::storage::File;

mod vehicle;

/// Chapters that are written anew at a time.
const CHAPTERS: usize = 8;

/// What was taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// Samples.
    pub samples: u64,
    /// Records.
    pub records: u64,
    /// Bytes that were written over in block files.
    pub bytes: u64,
}

/// What is done with a piece: its file, where it stands, what it is, what its content begins with.
type Take<'a> = dyn FnMut(&dyn File, &Place, PieceKind, &[u8]) -> Result<(), StoreError> + 'a;

/// What block files hold of a device.
#[derive(Debug, Default)]
struct Own {
    /// Its blocks, and what nobody can read.
    blocks: Vec<Place>,
    /// Chapters with a record of its.
    chapters: Vec<Place>,
    /// All seats that files say something of.
    seats: Vec<(Place, SeatNumber)>,
    /// Those that other devices' blocks refer to.
    kept: HashSet<SeatNumber>,
}

impl Engine {
    /// Takes out all there is of a device. Rings keep their last frame, without a name. Nobody may
    /// compact meanwhile.
    pub fn erase(&mut self, device: DeviceId) -> Result<Taken, StoreError> {
        let mut own = Own::default();
        self.each_piece(&mut |file, place, kind, begins| {
            match kind {
                PieceKind::Block => match BlockHead::stream(begins) {
                    Ok((stream, _)) if stream.device != device => own.kept.extend(stream.seat),
                    _ => own.blocks.push(*place),
                },
                PieceKind::Chapter => match read_chapter(file, place) {
                    Ok(records) if records.iter().all(|record| record.device != device) => {}
                    Ok(_) => own.chapters.push(*place),
                    Err(error @ StoreError::Io { .. }) => return Err(error),
                    Err(_) => own.blocks.push(*place),
                },
                PieceKind::Seat => own.seats.extend(seat_number(begins).map(|seat| (*place, seat))),
                PieceKind::Catalogue | PieceKind::Commit | PieceKind::Void => {}
            }
            Ok(())
        })?;
        let mut taken = self.erase_index(device, &mut own.kept)?;
        for places in own.chapters.chunks(CHAPTERS) {
            self.write_anew(places, &|mut records| {
                records.retain(|record| record.device != device);
                records
            })?;
        }
        let seats = own.seats.iter().filter(|(_, seat)| !own.kept.contains(seat));
        let places: Vec<Place> =
            own.blocks.iter().chain(seats.map(|(place, _)| place)).copied().collect();
        self.void(&places)?;
        let written = places.iter().chain(&own.chapters).map(|place| place.len as u64);
        taken.bytes = written.sum();
        self.sweep()?;
        Ok(taken)
    }

    /// Goes through all pieces of all files. What comes next will stand in another file, and nothing
    /// is remembered of what was. What is no piece, and voids that are not empty, become voids.
    fn each_piece(&mut self, take: &mut Take<'_>) -> Result<(), StoreError> {
        self.appender.seal();
        self.names.forget();
        self.seats.forget();
        let ids = files::list(&self.storage, &self.dir)
            .map_err(StoreError::io("cannot list the block files"))?;
        let mut illegible = Vec::new();
        for id in ids {
            let failed = || StoreError::io(format!("cannot read block file {id}"));
            let path = files::path(&self.dir, id);
            let file = self.storage.open(&path, false).map_err(failed())?;
            let len = file.len().map_err(failed())?;
            let mut at = 0;
            while at < len {
                let mut bytes = [0; HEAD_LEN + BlockHead::STREAM_REACH];
                let read = scan::read(&*file, at, &mut bytes);
                let bytes = bytes.get(..read).unwrap_or_default();
                let end = |head: &Head| at + (HEAD_LEN + head.len) as u64;
                let Some(head) = Head::read(bytes).filter(|head| end(head) <= len) else {
                    let next = scan::next_sound(&*file, at, len);
                    let gap = usize::try_from(next - at).unwrap_or_default();
                    illegible.extend(stretches(id, at, gap));
                    at = next;
                    continue;
                };
                let place = Place { file: id, offset: at, len: HEAD_LEN + head.len };
                if head.kind == PieceKind::Void && !is_empty(&*file, &place) {
                    // The power went while it was written.
                    illegible.push(place);
                }
                take(&*file, &place, head.kind, bytes.get(HEAD_LEN..).unwrap_or_default())?;
                at = end(&head);
            }
        }
        self.void(&illegible)
    }

    /// Takes out of the index's file what was deleted or changed: it stands in free pages and in the
    /// log until then. The index is made anew for that, on the disk and not in memory.
    fn sweep(&self) -> Result<(), StoreError> {
        self.db.execute_batch(
            "INSERT INTO log_text(log_text) VALUES('optimize');
             PRAGMA temp_store = FILE;
             VACUUM;
             PRAGMA temp_store = MEMORY",
        )?;
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_busy: bool = self.db.query_row(checkpoint, [], |row| row.get(0))?;
        if is_busy {
            // A query or a backup reads what was; it must end first.
            return Err(StoreError::InUse(self.dir.join(schema::FILE)));
        }
        Ok(())
    }

    /// Takes a device out of the index, with the seats that only it had; notes which are kept.
    fn erase_index(
        &mut self,
        device: DeviceId,
        kept: &mut HashSet<SeatNumber>,
    ) -> Result<Taken, StoreError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut taken = Taken::default();
        let id: Option<i64> = tx
            .query_row("SELECT id FROM devices WHERE device = ?", [device.as_str()], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(id) = id {
            taken = delete_device(&tx, id)?;
        }
        delete_seats(&tx, kept)?;
        tx.commit()?;
        Ok(taken)
    }

    /// Writes chapters elsewhere with what `keep` leaves of them, and over them where they stood.
    fn write_anew(
        &mut self,
        places: &[Place],
        keep: &dyn Fn(Vec<Filed>) -> Vec<Filed>,
    ) -> Result<(), StoreError> {
        let (mut pieces, mut moved) = (Vec::new(), Vec::new());
        for place in places {
            let piece = read_piece(&self.storage, &self.dir, place.file, place.offset, place.len)?;
            let kept = keep(chapter::read(&piece)?);
            if kept.is_empty() {
                continue;
            }
            let start = pieces.len();
            chapter::append(&mut pieces, &kept)?;
            moved.push((place, start, pieces.len() - start));
        }
        if !pieces.is_empty() {
            let appended = self.appender.append(&pieces)?;
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            move_chapters(&tx, &appended, &moved)?;
            tx.commit()?;
            self.appender.commit(&appended, &[]);
        }
        self.void(places)
    }

    /// Writes over pieces, so that nothing stands there.
    fn void(&self, places: &[Place]) -> Result<(), StoreError> {
        self.write_over(places, |place| {
            let mut void = Vec::with_capacity(place.len);
            let len = place.len.saturating_sub(HEAD_LEN);
            piece::append(&mut void, PieceKind::Void, |out| out.resize(out.len() + len, 0))?;
            // Too short for a piece: zeros, which are none.
            void.truncate(if place.len < HEAD_LEN { 0 } else { void.len() });
            void.resize(place.len, 0);
            Ok(void)
        })
    }

    /// Puts other bytes of the same length in the place of pieces, which stand in order; one sync a
    /// file.
    fn write_over(
        &self,
        places: &[Place],
        with: impl Fn(&Place) -> Result<Vec<u8>, StoreError>,
    ) -> Result<(), StoreError> {
        let failed = || StoreError::io("cannot write over what is erased");
        for in_file in places.chunk_by(|a, b| a.file == b.file) {
            let Some(first) = in_file.first() else { continue };
            let path = files::path(&self.dir, first.file);
            let file = self.storage.open(&path, false).map_err(failed())?;
            for place in in_file {
                file.write_at(place.offset, &with(place)?).map_err(failed())?;
            }
            file.sync().map_err(failed())?;
        }
        Ok(())
    }
}

/// A stretch that is no piece, in parts that can become voids.
fn stretches(file: u32, at: u64, len: usize) -> impl Iterator<Item = Place> {
    const PART: usize = HEAD_LEN + piece::CONTENT_MAX;
    (0..len.div_ceil(PART)).map(move |part| {
        let offset = part * PART;
        Place { file, offset: at + offset as u64, len: PART.min(len - offset) }
    })
}

/// Whether a void is zeros and nothing else.
fn is_empty(file: &dyn File, place: &Place) -> bool {
    let mut bytes = vec![0; place.len];
    let read = scan::read(file, place.offset, &mut bytes);
    let content = bytes.get(HEAD_LEN..read).unwrap_or_default();
    read == place.len && content.iter().all(|byte| *byte == 0)
}

/// Which seat a piece is about, from its first bytes.
fn seat_number(content: &[u8]) -> Option<SeatNumber> {
    SeatNumber::new(u64::from_be_bytes(*content.first_chunk()?))
}

fn read_chapter(file: &dyn File, place: &Place) -> Result<Vec<Filed>, StoreError> {
    let mut piece = vec![0; place.len];
    file.read_at(place.offset, &mut piece).map_err(StoreError::io("cannot read a chapter"))?;
    chapter::read(&piece)
}

/// Takes all rows of a device out of the index.
fn delete_device(db: &Connection, id: i64) -> rusqlite::Result<Taken> {
    let number = |sql: &str| db.query_row(sql, [id], |row| row.get::<_, i64>(0));
    let samples =
        number("SELECT coalesce(sum(samples), 0) FROM blocks WHERE device = ? AND len > 0")?;
    let records = number("SELECT count(*) FROM records WHERE device = ?")?;
    for sql in [
        "UPDATE files SET live = live - coalesce(
           (SELECT sum(len) FROM blocks WHERE file = files.id AND device = ?1), 0)
         WHERE id IN (SELECT file FROM blocks WHERE device = ?1)",
        "DELETE FROM rollups WHERE block IN (SELECT id FROM blocks WHERE device = ?1)",
        "DELETE FROM blocks WHERE device = ?1",
        "DELETE FROM log_text WHERE rowid IN (SELECT id FROM records WHERE device = ?1 AND kind = 1)",
        "UPDATE chapters SET records = records - (
           SELECT count(*) FROM records WHERE chapter = chapters.id AND device = ?1)
         WHERE id IN (SELECT chapter FROM records WHERE device = ?1)",
        "DELETE FROM records WHERE device = ?1",
        "UPDATE files SET live = live - coalesce(
           (SELECT sum(len) FROM chapters WHERE file = files.id AND records <= 0), 0)
         WHERE id IN (SELECT file FROM chapters WHERE records <= 0) AND ?1 = ?1",
        "DELETE FROM chapters WHERE records <= 0 AND ?1 = ?1",
        "DELETE FROM boots WHERE device = ?1",
        "DELETE FROM seated WHERE device = ?1",
        // What was delivered of a ring stays known; whose it was does not.
        "UPDATE rings SET device = 0 WHERE device = ?1",
        "DELETE FROM devices WHERE id = ?1",
    ] {
        db.execute(sql, [id])?;
    }
    let (samples, records) = (samples.cast_unsigned(), records.cast_unsigned());
    Ok(Taken { samples, records, bytes: 0 })
}

/// Deletes the seats that nobody has any more, neither in the index nor, by `kept`, in files; adds to
/// `kept` what the index keeps.
fn delete_seats(db: &Connection, kept: &mut HashSet<SeatNumber>) -> rusqlite::Result<()> {
    let mut query = db.prepare(
        "SELECT id, number, id IN (SELECT seat FROM blocks WHERE seat IS NOT NULL) FROM seats",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (id, number, is_used) = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get(2)?);
        let Some(number) = SeatNumber::new(number.cast_unsigned()) else { continue };
        if is_used {
            kept.insert(number);
        } else if !kept.contains(&number) {
            db.execute("DELETE FROM seats WHERE id = ?", [id])?;
            db.execute("DELETE FROM seated WHERE seat = ?", [id])?;
        }
    }
    Ok(())
}

/// Points the index at the chapters that others' records stand in now.
fn move_chapters(
    db: &Connection,
    appended: &Appended,
    moved: &[(&Place, usize, usize)],
) -> rusqlite::Result<()> {
    let mut live = 0;
    for (from, start, len) in moved {
        let to = appended.offset + *start as u64;
        let changed = db.execute(
            "UPDATE chapters SET file = ?3, offset = ?4, len = ?5 WHERE file = ?1 AND offset = ?2",
            params![
                from.file,
                from.offset.cast_signed(),
                appended.file,
                to.cast_signed(),
                index::signed(*len)
            ],
        )?;
        // One that compaction had left behind is nobody's.
        if changed > 0 {
            index::release(db, from.file, from.len as u64)?;
            live += *len as u64;
        }
    }
    index::extend_file(db, (appended.file, 0), appended.end, live)
}
