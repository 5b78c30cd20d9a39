//! Retention: what is kept for how long, and how much of it.
//!
//! Oldest first, by the time of the samples and records, not of their arrival. Small transactions;
//! what went is counted (`retired`) and logged. A sink's word of what it was given stays: `rings`
//! keeps each ring's last frame.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::block::Block;
use super::compact::Compaction;
use super::error::StoreError;
use super::facts::Packed;
use super::files::read_piece;
use super::index;
use super::read::BlockRow;
use super::schema::SPAN_MS_MAX;
use crate::privacy::RecordKind;
use crate::store::chapter::kind_number;

/// Rows that go in one transaction.
const STEP: i64 = 256;

/// How often there is a pass, in milliseconds.
pub const PASS_MS: i64 = 600_000;
/// Passes for which a host's clock that leapt ahead must stand before it is believed: a day.
const LEAP_PASSES: i64 = 86_400_000 / PASS_MS;
/// What counts as a leap, in milliseconds between two passes.
const LEAP_MS: i64 = 3_600_000;
/// In `meta`: the time that the last pass went by, and the passes since the clock leapt.
const TRUSTED: &str = "retention_ms";
const LEAPT: &str = "retention_leapt";

/// What is kept for how long, in milliseconds; without a number, for ever.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    /// Samples.
    pub samples_ms: Option<i64>,
    /// Hours and minutes rolled up, beyond their samples.
    pub rollups_ms: Option<i64>,
    /// Events and losses.
    pub events_ms: Option<i64>,
    /// Logs.
    pub logs_ms: Option<i64>,
    /// Heartbeats, boots, forks, crashes.
    pub health_ms: Option<i64>,
    /// Bytes of everything; the oldest days of samples and records go first.
    pub bytes_max: Option<u64>,
}

/// What one pass took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retired {
    /// Samples.
    pub samples: u64,
    /// Blocks' roll-ups.
    pub rollups: u64,
    /// Records.
    pub records: u64,
}

impl Compaction {
    /// The time that a pass goes by: the host's, unless it leapt ahead since the last one. A clock
    /// that is set wrong would have everything let go; so one that leapt is believed only after a
    /// day, and until then time goes on as it did.
    pub fn trusted_now(&mut self, now_ms: i64) -> Result<i64, StoreError> {
        let last: Option<i64> = index::meta(&self.db, TRUSTED)?;
        let passes: i64 = index::meta(&self.db, LEAPT)?.unwrap_or(0);
        let (trusted, leapt) = match last {
            Some(last) if now_ms.saturating_sub(last) > LEAP_MS && passes < LEAP_PASSES => {
                if passes == 0 {
                    tracing::warn!(
                        "the host's clock leapt ahead, or the agent was away: retention goes on as \
                         before, and by the new time from a day on"
                    );
                }
                (last.saturating_add(PASS_MS), passes + 1)
            }
            _ => (now_ms, 0),
        };
        index::set_meta(&self.db, TRUSTED, trusted)?;
        index::set_meta(&self.db, LEAPT, leapt)?;
        Ok(trusted)
    }

    /// One pass over all classes, then over the size.
    /// Ends early, between two steps, on `stop`.
    pub fn retire(
        &mut self,
        retention: &Retention,
        now_ms: i64,
        stop: &AtomicBool,
    ) -> Result<Retired, StoreError> {
        let mut retired = Retired::default();
        let before = |age: Option<i64>| age.map(|age| now_ms.saturating_sub(age));
        let keeps_rollups = retention
            .rollups_ms
            .is_none_or(|rollups| retention.samples_ms.is_none_or(|samples| samples < rollups));
        if let Some(before) = before(retention.samples_ms) {
            retired.samples += self.retire_samples(before, keeps_rollups, stop)?;
        }
        if let Some(before) = before(retention.rollups_ms) {
            retired.rollups += self.retire_rollups(before)?;
        }
        let kinds = |kinds: &[RecordKind]| kinds.iter().map(|kind| kind_number(*kind)).collect();
        let classes: [(&str, Option<i64>, Vec<u8>); 3] = [
            ("events", retention.events_ms, kinds(&[RecordKind::Event, RecordKind::Loss])),
            ("logs", retention.logs_ms, kinds(&[RecordKind::Log])),
            (
                "health",
                retention.health_ms,
                kinds(&[RecordKind::Health, RecordKind::Boot, RecordKind::Fork, RecordKind::Crash]),
            ),
        ];
        for (class, age, kinds) in classes {
            let Some(before) = before(age) else { continue };
            for kind in kinds {
                retired.records += self.retire_records(class, kind, before, stop)?;
            }
        }
        if let Some(most) = retention.bytes_max {
            self.retire_to_size(most, &mut retired, stop)?;
        }
        if retired != Retired::default() {
            let Retired { samples, rollups, records } = retired;
            tracing::info!(samples, rollups, records, "the store has let go of what is too old");
        }
        Ok(retired)
    }

    /// Takes the samples of blocks that end before a time; leaves their roll-ups, if so told.
    fn retire_samples(
        &mut self,
        before_ms: i64,
        keeps_rollups: bool,
        stop: &AtomicBool,
    ) -> Result<u64, StoreError> {
        let mut taken = 0;
        for device in self.devices()? {
            let mut past = i64::MIN;
            while !stop.load(Ordering::Relaxed) {
                let rows = self.old_blocks(device, before_ms, past)?;
                let Some(last) = rows.last() else { break };
                past = last.id;
                taken += self.retire_blocks(&rows, before_ms, keeps_rollups)?;
            }
        }
        Ok(taken)
    }

    fn devices(&self) -> Result<Vec<i64>, StoreError> {
        let mut query = self.db.prepare_cached("SELECT id FROM devices")?;
        let rows = query.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Blocks with samples that end before a time, and those without a place in time.
    fn old_blocks(
        &self,
        device: i64,
        before_ms: i64,
        past: i64,
    ) -> Result<Vec<BlockRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM blocks AS b
             WHERE device = ?1 AND (from_ms < ?2 OR from_ms IS NULL) AND len > 0 AND id > ?3
               AND (from_ms IS NULL OR from_ms < ?2 - span_ms)
             ORDER BY id LIMIT ?4",
            BlockRow::COLUMNS
        );
        let mut query = self.db.prepare_cached(&sql)?;
        let rows = query.query_map(params![device, before_ms, past, STEP], BlockRow::read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn retire_blocks(
        &mut self,
        rows: &[BlockRow],
        before_ms: i64,
        keeps_rollups: bool,
    ) -> Result<u64, StoreError> {
        let mut going = Vec::new();
        for row in rows {
            let block =
                read_piece(&self.storage, &self.dir, row.file, row.offset, row.len as usize)
                    .and_then(Block::open);
            match (row.offset_ms(), block) {
                // Without a place in time, when it came counts.
                (None, Ok(block)) => {
                    let latest = block.runs().iter().map(|run| run.received_ms).max();
                    if latest.is_some_and(|latest| latest < before_ms) {
                        going.push((row, None));
                    }
                }
                (Some(offset), Ok(block)) if keeps_rollups => {
                    going.push((row, hours(&block, offset).unwrap_or_default()));
                }
                // Perhaps another time; the others must not wait for it.
                (_, Err(StoreError::Io { .. })) | (None, Err(_)) => {}
                (Some(_), _) => going.push((row, None)),
            }
        }
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut taken = 0;
        for (row, hourly) in going {
            match hourly {
                Some(hourly) => {
                    index::retire_block(&tx, row.id)?;
                    tx.prepare_cached(
                        "INSERT OR IGNORE INTO rollups(block, hourly) VALUES (?, ?)",
                    )?
                    .execute(params![row.id, hourly])?;
                }
                None => index::delete_block(&tx, row.id)?,
            }
            index::release(&tx, row.file, u64::from(row.len))?;
            taken += u64::from(row.samples);
        }
        count(&tx, "samples", taken, before_ms)?;
        tx.commit()?;
        Ok(taken)
    }

    /// Takes roll-ups whose samples are gone.
    fn retire_rollups(&mut self, before_ms: i64) -> Result<u64, StoreError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let old = "SELECT id FROM blocks WHERE len = 0 AND from_ms < ?1 - span_ms";
        tx.execute(&format!("DELETE FROM rollups WHERE block IN ({old})"), [before_ms])?;
        let gone =
            tx.execute("DELETE FROM blocks WHERE len = 0 AND from_ms < ?1 - span_ms", [before_ms])?;
        count(&tx, "rollups", gone as u64, before_ms)?;
        tx.commit()?;
        Ok(gone as u64)
    }

    /// Takes records of one kind; one without a time of its own goes by when it came.
    fn retire_records(
        &mut self,
        class: &str,
        kind: u8,
        before_ms: i64,
        stop: &AtomicBool,
    ) -> Result<u64, StoreError> {
        let mut gone = 0;
        while !stop.load(Ordering::Relaxed) {
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let old: Vec<(i64, i64)> = {
                let mut query = tx.prepare_cached(
                    "SELECT id, chapter FROM records
                     WHERE kind = ?1 AND (time_ms < ?2 OR (time_ms IS NULL AND received_ms < ?2))
                     LIMIT ?3",
                )?;
                let rows = query
                    .query_map((kind, before_ms, STEP), |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect::<Result<_, _>>()?
            };
            for (id, chapter) in &old {
                tx.prepare_cached("DELETE FROM records WHERE id = ?")?.execute([id])?;
                if kind == kind_number(RecordKind::Log) {
                    tx.prepare_cached("DELETE FROM log_text WHERE rowid = ?")?.execute([id])?;
                }
                tx.prepare_cached("UPDATE chapters SET records = records - 1 WHERE id = ?")?
                    .execute([chapter])?;
            }
            release_empty_chapters(&tx, &old)?;
            count(&tx, class, old.len() as u64, before_ms)?;
            tx.commit()?;
            gone += old.len() as u64;
            if index::signed(old.len()) < STEP {
                break;
            }
        }
        Ok(gone)
    }

    /// Takes the oldest day, roll-ups included, again and again, until the rest fits.
    fn retire_to_size(
        &mut self,
        most: u64,
        retired: &mut Retired,
        stop: &AtomicBool,
    ) -> Result<(), StoreError> {
        while self.size()? > most && !stop.load(Ordering::Relaxed) {
            let Some(oldest) = self.oldest()? else { return Ok(()) };
            let before =
                oldest.div_euclid(SPAN_MS_MAX).saturating_add(1).saturating_mul(SPAN_MS_MAX);
            let samples = self.retire_samples(before, false, stop)?;
            let rollups = self.retire_rollups(before)?;
            let mut records = 0;
            for kind in 0..=kind_number(RecordKind::Loss) {
                records += self.retire_records("size", kind, before, stop)?;
            }
            retired.samples += samples;
            retired.rollups += rollups;
            retired.records += records;
            if (samples, rollups, records) == (0, 0, 0) {
                // A block of level 0 that reaches further: compaction will part it.
                return Ok(());
            }
        }
        Ok(())
    }

    /// The earliest time of anything; what has no place in time goes by when it came.
    fn oldest(&self) -> Result<Option<i64>, StoreError> {
        let placed: Option<i64> = self.db.query_row(
            "SELECT min(at) FROM (
               SELECT min(from_ms) AS at FROM blocks
               UNION ALL SELECT min(coalesce(time_ms, received_ms)) FROM records)",
            [],
            |row| row.get(0),
        )?;
        let sql = format!(
            "SELECT {} FROM blocks AS b WHERE from_ms IS NULL AND len > 0 ORDER BY id LIMIT 1",
            BlockRow::COLUMNS
        );
        let unplaced = self.db.query_row(&sql, [], BlockRow::read).optional()?;
        let came = unplaced.and_then(|row| {
            let piece =
                read_piece(&self.storage, &self.dir, row.file, row.offset, row.len as usize);
            let block = piece.and_then(Block::open).ok()?;
            block.runs().iter().map(|run| run.received_ms).max()
        });
        Ok(placed.into_iter().chain(came).min())
    }

    /// Bytes that count: the live ones of block files, and the index without its free pages.
    pub fn size(&self) -> Result<u64, StoreError> {
        let live: i64 =
            self.db.query_row("SELECT coalesce(sum(live), 0) FROM files", [], |row| row.get(0))?;
        let number = |name| self.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let pages = number("page_count")? - number("freelist_count")?;
        Ok((live + pages * number("page_size")?).cast_unsigned())
    }
}

fn hours(block: &Block, offset_ms: i64) -> Result<Option<Vec<u8>>, StoreError> {
    let entries: Vec<_> = block.entries(u128::MAX).collect::<Result<_, _>>()?;
    Ok(Some(Packed::hours(block.stream(), &entries, offset_ms)))
}

fn release_empty_chapters(db: &Connection, records: &[(i64, i64)]) -> rusqlite::Result<()> {
    let mut chapters: Vec<i64> = records.iter().map(|(_, chapter)| *chapter).collect();
    chapters.sort_unstable();
    chapters.dedup();
    for chapter in chapters {
        db.prepare_cached(
            "UPDATE files SET live = live -
               (SELECT len FROM chapters WHERE id = ?1 AND records <= 0)
             WHERE id = (SELECT file FROM chapters WHERE id = ?1 AND records <= 0)",
        )?
        .execute([chapter])?;
        db.prepare_cached("DELETE FROM chapters WHERE id = ? AND records <= 0")?
            .execute([chapter])?;
    }
    Ok(())
}

/// Keeps count of what is gone.
fn count(db: &Connection, class: &str, gone: u64, until_ms: i64) -> rusqlite::Result<()> {
    if gone == 0 {
        return Ok(());
    }
    db.prepare_cached(
        "INSERT INTO retired(class, count, until_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT(class) DO UPDATE
         SET count = count + excluded.count, until_ms = max(until_ms, excluded.until_ms)",
    )?
    .execute(params![class, gone.cast_signed(), until_ms])?;
    Ok(())
}
