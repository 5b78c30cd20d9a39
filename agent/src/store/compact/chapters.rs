//! Chapters of records out of the files of commits, so that these can go.

use rusqlite::{TransactionBehavior, params};

use super::{Compaction, WAITING};
use crate::store::chapter::{self, Filed};
use crate::store::error::StoreError;
use crate::store::files::read_piece;
use crate::store::index::{self, Place};

/// A row of `chapters`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChapterRow {
    pub id: i64,
    pub file: u32,
    pub offset: u64,
    pub len: usize,
}

impl Compaction {
    /// Moves all chapters of level 0 that are no longer written to.
    pub(super) fn move_chapters(&mut self) -> Result<(), StoreError> {
        let sql = "SELECT id, file, offset, len FROM chapters
             WHERE file <> ?1 AND file IN (SELECT id FROM files WHERE level = 0) ORDER BY id LIMIT 64";
        let mut past: Vec<i64> = Vec::new();
        loop {
            let rows = self.chapter_rows(sql, self.numbers.current())?;
            let fresh: Vec<ChapterRow> =
                rows.into_iter().filter(|row| !past.contains(&row.id)).collect();
            if fresh.is_empty() {
                return Ok(());
            }
            past.extend(fresh.iter().map(|row| row.id));
            self.move_these(&fresh)?;
        }
    }

    pub(super) fn chapter_rows(&self, sql: &str, file: u32) -> Result<Vec<ChapterRow>, StoreError> {
        let mut query = self.db.prepare_cached(sql)?;
        let rows = query.query_map([file], |row| {
            Ok(ChapterRow {
                id: row.get(0)?,
                file: row.get(1)?,
                offset: row.get::<_, i64>(2)?.cast_unsigned(),
                len: row.get::<_, u32>(3)? as usize,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Makes one chapter, or a few, of what is still in the index of these.
    pub(super) fn move_these(&mut self, rows: &[ChapterRow]) -> Result<(), StoreError> {
        let (mut moved, mut records, mut bytes) = (Vec::new(), Vec::new(), 0);
        for row in rows {
            let read = read_piece(&self.storage, &self.dir, row.file, row.offset, row.len)
                .and_then(|piece| chapter::read(&piece));
            let filed = match read {
                Ok(filed) => filed,
                Err(error) => {
                    // The index still has the documents; only a rebuild would miss them.
                    self.spare(row.file, row.offset, &error);
                    continue;
                }
            };
            for record in filed {
                if self.is_filed(&record, row.id)? {
                    bytes += record.document.len();
                    records.push(record);
                }
            }
            moved.push(*row);
            if bytes >= WAITING {
                self.put_chapter(&moved, &records)?;
                (moved, records, bytes) = (Vec::new(), Vec::new(), 0);
            }
        }
        self.put_chapter(&moved, &records)
    }

    fn is_filed(&self, record: &Filed, chapter: i64) -> Result<bool, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT 1 FROM records WHERE ring = (SELECT id FROM rings WHERE ring = ?1)
             AND seq = ?2 AND ordinal = ?3 AND chapter = ?4",
        )?;
        let ring = &record.ring.0[..];
        Ok(query.exists(params![
            ring,
            record.seq.0.cast_signed(),
            record.ordinal_number(),
            chapter
        ])?)
    }

    fn put_chapter(&mut self, moved: &[ChapterRow], records: &[Filed]) -> Result<(), StoreError> {
        if moved.is_empty() {
            return Ok(());
        }
        let appended = if records.is_empty() {
            None
        } else {
            let mut pieces = Vec::new();
            chapter::append(&mut pieces, records)?;
            Some((self.appender.append(&pieces)?, pieces.len()))
        };
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let new = match &appended {
            None => None,
            Some((appended, len)) => {
                let place = Place { file: appended.file, offset: appended.offset, len: *len };
                index::extend_file(&tx, (appended.file, 1), appended.end, *len as u64)?;
                Some(index::insert_chapter(&tx, &place, records.len())?)
            }
        };
        for row in moved {
            if let Some(new) = new {
                tx.prepare_cached("UPDATE records SET chapter = ?2 WHERE chapter = ?1")?
                    .execute((row.id, new))?;
            }
            tx.prepare_cached("DELETE FROM chapters WHERE id = ?")?.execute([row.id])?;
            index::release(&tx, row.file, row.len as u64)?;
        }
        tx.commit()?;
        if let Some((appended, _)) = &appended {
            self.appender.commit(appended, &[]);
        }
        Ok(())
    }
}
