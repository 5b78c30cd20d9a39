//! Whether a store is sound: every block and chapter read, and held against the index.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::OptionalExtension as _;
use serde::Serialize;

use super::block::{Block, Samples};
use super::chapter;
use super::error::StoreError;
use super::facts::{Facts, Packed};
use super::files;
use super::read::{BlockRow, StoreReader};
use super::rollup::{self, HOUR_MS, MINUTE_MS};
use super::seat::SeatNumber;

/// Findings that are kept; the rest is only counted.
const FINDINGS_MAX: usize = 1000;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// In which block file, if in one.
    pub file: Option<u32>,
    /// Where in it.
    pub offset: Option<u64>,
    /// What.
    pub what: String,
}

/// What a check came to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Checked {
    /// Block files.
    pub files: u64,
    /// Blocks.
    pub blocks: u64,
    /// Samples in those.
    pub samples: u64,
    /// Chapters.
    pub chapters: u64,
    /// Records in those.
    pub records: u64,
    /// Bytes of block files and index.
    pub bytes: u64,
    /// Everything that is wrong; how many in all is in `wrong`.
    #[serde(skip)]
    pub findings: Vec<Finding>,
    /// How many things are wrong.
    pub wrong: u64,
}

impl Checked {
    fn find(&mut self, at: Option<(u32, u64)>, what: impl Into<String>) {
        self.wrong += 1;
        if self.findings.len() < FINDINGS_MAX {
            let (file, offset) = at.unzip();
            self.findings.push(Finding { file, offset, what: what.into() });
        }
    }
}

/// Checks the store in a directory, whether an agent writes to it or not. `progress` is told blocks
/// done and blocks in all.
pub fn check(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Checked, StoreError> {
    let reader = StoreReader::open(dir)?;
    let mut checked = Checked::default();
    // One transaction: what compaction does meanwhile does not show.
    reader.connection().execute_batch("BEGIN")?;
    check_index(&reader, dir, &mut checked)?;
    check_files(&reader, dir, &mut checked)?;
    check_blocks(&reader, &mut checked, progress)?;
    check_chapters(&reader, &mut checked)?;
    Ok(checked)
}

fn check_index(reader: &StoreReader, dir: &Path, checked: &mut Checked) -> Result<(), StoreError> {
    let mut query = reader.connection().prepare("PRAGMA integrity_check(100)")?;
    for line in query.query_map([], |row| row.get::<_, String>(0))? {
        match line?.as_str() {
            "ok" => {}
            what => checked.find(None, format!("the index: {what}")),
        }
    }
    checked.bytes += fs::metadata(dir.join(super::schema::FILE)).map_or(0, |file| file.len());
    Ok(())
}

fn check_files(reader: &StoreReader, dir: &Path, checked: &mut Checked) -> Result<(), StoreError> {
    let mut query = reader.connection().prepare(
        "SELECT id, len, live,
           (SELECT coalesce(sum(len), 0) FROM blocks WHERE file = files.id)
           + (SELECT coalesce(sum(len), 0) FROM chapters WHERE file = files.id)
         FROM files ORDER BY id",
    )?;
    let rows = query.query_map([], |row| {
        let number = |at| row.get::<_, i64>(at);
        Ok((row.get::<_, u32>(0)?, number(1)?, number(2)?, number(3)?))
    })?;
    for row in rows {
        let (id, len, live, used) = row?;
        checked.files += 1;
        match fs::metadata(files::path(dir, id)) {
            Ok(file) => {
                checked.bytes += file.len();
                if file.len() < len.cast_unsigned() {
                    checked.find(Some((id, file.len())), "the file ends too early");
                }
            }
            Err(_) if live <= 0 => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let doing = format!("cannot read {}", files::path(dir, id).display());
                return Err(StoreError::io(doing)(error));
            }
            Err(error) => checked.find(Some((id, 0)), format!("the file: {error}")),
        }
        if live != used {
            let what = format!("the index counts {live} bytes in use, and {used} are");
            checked.find(Some((id, 0)), what);
        }
    }
    Ok(())
}

fn check_blocks(
    reader: &StoreReader,
    checked: &mut Checked,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), StoreError> {
    let db = reader.connection();
    let all: i64 =
        db.query_row("SELECT count(*) FROM blocks WHERE len > 0", [], |row| row.get(0))?;
    let sql = format!(
        "SELECT {} FROM blocks AS b WHERE len > 0 ORDER BY file, offset",
        BlockRow::COLUMNS
    );
    let mut query = db.prepare(&sql)?;
    for row in query.query_map([], BlockRow::read)? {
        let row = row?;
        checked.blocks += 1;
        checked.samples += u64::from(row.samples);
        match reader.block(&row) {
            Ok(block) => {
                for what in differences(reader, &row, &block)? {
                    checked.find(Some((row.file, row.offset)), what);
                }
            }
            // That somebody else may read it is no damage, and nothing can be said of it.
            Err(error) if error.is_denied() => return Err(error),
            Err(error) => checked.find(Some((row.file, row.offset)), error.to_string()),
        }
        progress(checked.blocks, all.cast_unsigned());
    }
    Ok(())
}

/// How a block differs from what the index says of it.
fn differences(
    reader: &StoreReader,
    row: &BlockRow,
    block: &Block,
) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let entries = match block.entries(u128::MAX).collect::<Result<Vec<_>, _>>() {
        Ok(entries) => entries,
        Err(error) => return Ok(vec![format!("the block does not decode: {error}")]),
    };
    let stream = block.stream();
    let facts = Facts::of(stream, block.runs(), &entries);
    let (device, ring, seat): (String, Vec<u8>, Option<i64>) = reader
        .connection()
        .prepare_cached(
            "SELECT (SELECT device FROM devices WHERE id = ?1),
               (SELECT ring FROM rings WHERE id = ?2), (SELECT number FROM seats WHERE id = ?3)",
        )?
        .query_row((row.device, row.ring, row.seat), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let seat = seat.and_then(|number| SeatNumber::new(number.cast_unsigned()));
    let own_ms = row.uptime_ms.or(row.from_ms).unwrap_or_default();
    let says = [
        ("device", device == stream.device.as_str()),
        ("ring", ring == stream.ring.0),
        ("catalogue", row.catalogue == stream.catalogue),
        ("boot", row.boot == stream.boot),
        ("samples", row.samples as usize == facts.samples),
        ("seat", row.seat.is_some() == stream.seat.is_some() && seat == stream.seat),
        ("first frame", row.seq_first == facts.seq_first),
        ("last frame", row.seq_last == facts.seq_last),
        ("time", own_ms == facts.own_ms && row.span_ms == facts.span_ms),
        ("columns", row.columns == facts.columns && row.flags == facts.flags),
    ];
    found.extend(
        says.iter()
            .filter(|(_, holds)| !holds)
            .map(|(what, _)| format!("the index has another {what} than the block")),
    );
    let kept: Option<(Vec<u8>, Option<Vec<u8>>)> = reader
        .connection()
        .prepare_cached("SELECT hourly, minutely FROM rollups WHERE block = ?")?
        .query_row([row.id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((hourly, minutely)) = kept {
        let offset = row.offset_ms().unwrap_or_default();
        let holds = |packed: &[u8], width| {
            let made = rollup::roll_up(&entries, i64::from(stream.tick_ms), offset, width);
            rollup::unpack(packed, width).is_ok_and(|kept| kept == made)
        };
        if !holds(&hourly, HOUR_MS) {
            found.push("the hours' roll-ups are not the block's".to_owned());
        }
        if minutely.is_some_and(|minutely| !holds(&minutely, MINUTE_MS)) {
            found.push("the minutes' roll-ups are not the block's".to_owned());
        }
    } else if row.level > 0 && row.from_ms.is_some() && row.boot.is_none() {
        let (runs, exacts) = (block.runs().to_vec(), block.exacts().to_vec());
        let samples = Samples { runs, entries, exacts };
        if Packed::of(stream, &samples, 0).is_some() {
            found.push("the roll-ups are missing".to_owned());
        }
    }
    Ok(found)
}

fn check_chapters(reader: &StoreReader, checked: &mut Checked) -> Result<(), StoreError> {
    let mut query =
        reader.connection().prepare("SELECT id, file, offset, len, records FROM chapters")?;
    let rows = query.query_map([], |row| {
        let place = (row.get::<_, u32>(1)?, row.get::<_, i64>(2)?.cast_unsigned());
        Ok((row.get::<_, i64>(0)?, place, row.get::<_, u32>(3)?, row.get::<_, i64>(4)?))
    })?;
    for row in rows {
        let (id, (file, offset), len, records) = row?;
        checked.chapters += 1;
        let piece = reader.piece(file, offset, len);
        let filed = match piece.and_then(|piece| chapter::read(&piece)) {
            Ok(filed) => filed,
            Err(error) if error.is_denied() => return Err(error),
            Err(error) => {
                checked.find(Some((file, offset)), error.to_string());
                continue;
            }
        };
        let mut found = 0;
        for record in &filed {
            let document: Option<String> = reader
                .connection()
                .prepare_cached(
                    "SELECT document FROM records WHERE chapter = ?1 AND seq = ?2 AND ordinal = ?3
                     AND ring = (SELECT id FROM rings WHERE ring = ?4)",
                )?
                .query_row(
                    (id, record.seq.0.cast_signed(), record.ordinal_number(), &record.ring.0[..]),
                    |row| row.get(0),
                )
                .optional()?;
            let Some(document) = document else { continue };
            found += 1;
            if document != record.document {
                let what = format!("the index has another document of frame {}", record.seq.0);
                checked.find(Some((file, offset)), what);
            }
        }
        checked.records += u64::try_from(found).unwrap_or_default();
        if found != records {
            let what = format!("the index counts {records} records in a chapter, and has {found}");
            checked.find(Some((file, offset)), what);
        }
    }
    Ok(())
}
