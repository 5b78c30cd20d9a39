//! Erasing a device: out of the index, and out of the block files where it stands.
//!
//! First the index, in one transaction; chapters that hold others' records too are written anew
//! without this device's. Then every piece of the device, whether the index still pointed at it or
//! compaction had left it behind, is overwritten by a void of the same length, so that the files
//! stay readable. Cut short, it is simply done again: pieces are found by the name in them.

use protocol::DeviceId;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::block::head::Head as BlockHead;
use super::chapter::{self, Filed};
use super::engine::Engine;
use super::error::StoreError;
use super::files::{self, Appended};
use super::index::{self, Place};
use super::piece::{self, HEAD_LEN, Head, PieceKind};
use crate::storage::File;

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

/// Bytes of a block in which its device's name is.
const NAME_REACH: usize = 1 + DeviceId::LEN_MAX;

impl Engine {
    /// Takes out all there is of a device. Rings keep their last frame, without a name. Nobody may
    /// compact meanwhile.
    pub fn erase(&mut self, device: DeviceId) -> Result<Taken, StoreError> {
        self.appender.seal();
        let ids = files::list(&self.storage, &self.dir)
            .map_err(StoreError::io("cannot list the block files"))?;
        let mut own = Vec::new();
        for id in ids {
            own.extend(self.pieces_of(id, device)?);
        }
        let taken = self.erase_index(device, &own);
        self.names.forget();
        let mut taken = taken?;
        for (place, _) in &own {
            self.void(place)?;
            taken.bytes += place.len as u64;
        }
        // What was deleted stands in free pages and in the log until then.
        self.db.execute_batch(
            "INSERT INTO log_text(log_text) VALUES('optimize');
             VACUUM;
             PRAGMA wal_checkpoint(TRUNCATE)",
        )?;
        Ok(taken)
    }

    /// The pieces of a file in which a device is: blocks of its own, and chapters, with the records
    /// of others in them.
    fn pieces_of(&self, id: u32, device: DeviceId) -> Result<Vec<(Place, Vec<Filed>)>, StoreError> {
        let failed = || StoreError::io(format!("cannot read block file {id}"));
        let path = files::path(&self.dir, id);
        let file = self.storage.open(&path, false).map_err(failed())?;
        let len = file.len().map_err(failed())?;
        let (mut at, mut found) = (0, Vec::new());
        while at < len {
            let mut bytes = [0; HEAD_LEN + NAME_REACH];
            let read = file.read_at(at, &mut bytes).map_err(failed())?;
            let bytes = bytes.get(..read).unwrap_or_default();
            let Some(head) = Head::read(bytes) else {
                let what = format!("block file {id} is damaged at {at}, and may hold the device");
                return Err(StoreError::damaged(what));
            };
            let place = Place { file: id, offset: at, len: HEAD_LEN + head.len };
            let content = bytes.get(HEAD_LEN..).unwrap_or_default();
            match head.kind {
                PieceKind::Block if BlockHead::device(content) == Some(device) => {
                    found.push((place, Vec::new()));
                }
                PieceKind::Chapter => {
                    let records = read_chapter(&*file, &place)?;
                    if records.iter().any(|record| record.device == device) {
                        let others = records.into_iter().filter(|record| record.device != device);
                        found.push((place, others.collect()));
                    }
                }
                _ => {}
            }
            at += place.len as u64;
        }
        Ok(found)
    }

    fn erase_index(
        &mut self,
        device: DeviceId,
        own: &[(Place, Vec<Filed>)],
    ) -> Result<Taken, StoreError> {
        let mut pieces = Vec::new();
        let mut moved = Vec::new();
        for (place, others) in own.iter().filter(|(_, others)| !others.is_empty()) {
            let start = pieces.len();
            chapter::append(&mut pieces, others)?;
            moved.push((place, start, pieces.len() - start));
        }
        let appended = if pieces.is_empty() { None } else { Some(self.appender.append(&pieces)?) };
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
        if let Some(appended) = &appended {
            move_chapters(&tx, appended, &moved)?;
        }
        tx.commit()?;
        if let Some(appended) = &appended {
            self.appender.commit(appended, &[]);
        }
        Ok(taken)
    }

    fn void(&self, place: &Place) -> Result<(), StoreError> {
        let failed = || StoreError::io("cannot write over what is erased");
        let mut void = Vec::new();
        piece::append(&mut void, PieceKind::Void, |out| {
            out.resize(out.len() + place.len - HEAD_LEN, 0);
        })?;
        let path = files::path(&self.dir, place.file);
        let file = self.storage.open(&path, false).map_err(failed())?;
        file.write_at(place.offset, &void).and_then(|()| file.sync()).map_err(failed())
    }
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
        // What was delivered of a ring stays known; whose it was does not.
        "UPDATE rings SET device = 0 WHERE device = ?1",
        "DELETE FROM devices WHERE id = ?1",
    ] {
        db.execute(sql, [id])?;
    }
    let (samples, records) = (samples.cast_unsigned(), records.cast_unsigned());
    Ok(Taken { samples, records, bytes: 0 })
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
