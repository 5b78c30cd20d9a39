//! Files that are mostly dead, or very small, into others; and what nothing refers to, off the disk.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{TransactionBehavior, params};

use super::{Compaction, WAITING};
use crate::store::block::head;
use crate::store::error::StoreError;
use crate::store::files::{self, ReaderLock, read_piece};
use crate::store::index;
use crate::store::piece::{self, PieceKind};
use crate::store::preface::Preface;
use crate::store::read::BlockRow;

/// How long a reader may keep a file that nothing refers to any more.
const READERS_MS: i64 = 600_000;
/// Small files that may stand about.
const SMALL_FILES_MAX: usize = 8;

/// A row of `files`.
#[derive(Clone, Copy, Debug)]
struct FileRow {
    id: u32,
    len: u64,
    live: u64,
}

impl Compaction {
    /// Copies what counts out of files of level 1 in which little does.
    pub(super) fn rewrite_sparse_files(&mut self, stop: &AtomicBool) -> Result<(), StoreError> {
        for file in self.sparse_files()? {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.rewrite(file)?;
        }
        Ok(())
    }

    fn sparse_files(&self) -> Result<Vec<u32>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT id, len, live FROM files WHERE level = 1 AND live > 0 ORDER BY id",
        )?;
        let rows = query.query_map([], |row| {
            let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
            Ok(FileRow { id: row.get(0)?, len: unsigned(1)?, live: unsigned(2)? })
        })?;
        let rows: Vec<FileRow> = rows.collect::<Result<_, _>>()?;
        let current = self.appender.file();
        let is_free = |row: &&FileRow| Some(row.id) != current && !self.spared.contains(&row.id);
        let part = if self.thorough { 95 } else { 75 };
        let is_sparse =
            |row: &&FileRow| row.live.saturating_mul(100) < row.len.saturating_mul(part);
        let is_small = |row: &&FileRow| row.len < self.file_bytes / 4;
        let free = || rows.iter().filter(is_free);
        let mut chosen: Vec<u32> = free().filter(is_sparse).map(|row| row.id).collect();
        let small: Vec<u32> =
            free().filter(|row| is_small(row) && !is_sparse(row)).map(|row| row.id).collect();
        let small_max = if self.thorough { 2 } else { SMALL_FILES_MAX };
        if small.len() > small_max {
            chosen.extend(small);
        }
        Ok(chosen)
    }

    fn rewrite(&mut self, file: u32) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT {} FROM blocks AS b WHERE file = ?1 AND len > 0 ORDER BY offset",
            BlockRow::COLUMNS
        );
        let rows: Vec<BlockRow> = {
            let mut query = self.db.prepare_cached(&sql)?;
            query.query_map([file], BlockRow::read)?.collect::<Result<_, _>>()?
        };
        let mut rest = &rows[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest
                .iter()
                .take_while(|row| {
                    bytes += row.len as usize;
                    bytes <= WAITING
                })
                .count();
            let (some, after) = rest.split_at(fits.max(1).min(rest.len()));
            rest = after;
            self.copy(some)?;
        }
        let chapters = "SELECT id, file, offset, len FROM chapters WHERE file = ?1";
        let chapters = self.chapter_rows(chapters, file)?;
        self.move_these(&chapters)
    }

    fn copy(&mut self, rows: &[BlockRow]) -> Result<(), StoreError> {
        let mut pieces = Vec::new();
        let mut prefaces: Vec<Preface> = Vec::new();
        let mut copied = Vec::new();
        for row in rows {
            let read = read_piece(&self.storage, &self.dir, row.file, row.offset, row.len as usize);
            let stream = read.and_then(|read| {
                let content = piece::content(&read, PieceKind::Block)?;
                let stream = head::Head::stream(content)?.0;
                Ok((read, stream))
            });
            let (read, stream) = match stream {
                Ok(found) => found,
                Err(error) => {
                    self.spare(row.file, row.offset, &error);
                    continue;
                }
            };
            for preface in Preface::of(&stream) {
                if !self.appender.has(preface) && !prefaces.contains(&preface) {
                    preface.append(&self.db, &mut pieces)?;
                    prefaces.push(preface);
                }
            }
            copied.push((*row, pieces.len() as u64));
            pieces.extend_from_slice(&read);
        }
        if copied.is_empty() {
            return Ok(());
        }
        let appended = self.appender.append(&pieces)?;
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut live = 0;
        for (row, at) in &copied {
            live += u64::from(row.len);
            tx.prepare_cached("UPDATE blocks SET file = ?2, offset = ?3 WHERE id = ?1")?
                .execute(params![row.id, appended.file, (appended.offset + at).cast_signed()])?;
            index::release(&tx, row.file, u64::from(row.len))?;
        }
        index::extend_file(&tx, (appended.file, 1), appended.end, live)?;
        tx.commit()?;
        self.appender.commit(&appended, &prefaces);
        Ok(())
    }

    /// Removes files that nothing refers to, once no reader is there or all have had their time.
    pub(super) fn remove_dead(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let current = [self.numbers.current(), self.appender.file().unwrap_or_default()];
        let dead: Vec<u32> = {
            let mut query = self.db.prepare_cached("SELECT id FROM files WHERE live <= 0")?;
            let rows = query.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let dead: Vec<u32> = dead.into_iter().filter(|id| !current.contains(id)).collect();
        self.dead.retain(|id, _| dead.contains(id));
        if dead.is_empty() {
            return Ok(());
        }
        let unread = ReaderLock::exclusive(&self.dir)?;
        let mut removed = Vec::new();
        for id in dead {
            let since = *self.dead.entry(id).or_insert(now_ms);
            if unread.is_none() && now_ms.saturating_sub(since) < READERS_MS {
                continue;
            }
            match self.storage.remove(&files::path(&self.dir, id)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("cannot remove a block file")(error));
                }
                _ => removed.push(id),
            }
        }
        // The row goes last: a file that the index does not know is one that was never committed.
        self.storage
            .sync_dir(&self.dir.join("blocks"))
            .map_err(StoreError::io("cannot sync the directory of block files"))?;
        for id in removed {
            self.db.execute("DELETE FROM files WHERE id = ?", [id])?;
            self.dead.remove(&id);
            self.done.files += 1;
        }
        Ok(())
    }
}
