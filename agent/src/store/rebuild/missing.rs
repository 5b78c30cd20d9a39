//! What the old index names and no block file holds any more.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use protocol::{RingId, Seq};
use rusqlite::Connection;

use super::JournalBegins;
use crate::document::Rfc3339;
use crate::store::error::StoreError;
use crate::store::schema;

/// A block of the old index.
#[derive(Debug)]
pub struct Expected {
    place: (u32, u64),
    device: String,
    ring: RingId,
    /// First and last frame.
    frames: (Seq, Seq),
    samples: u64,
    /// From when to when, where that is known.
    times_ms: Option<(i64, i64)>,
}

/// What is missing of a ring.
#[derive(Debug)]
pub struct Missing {
    device: String,
    ring: RingId,
    frames: (Seq, Seq),
    pub samples: u64,
    times_ms: Option<(i64, i64)>,
}

/// The blocks of the index that is to be replaced; none if it cannot be read.
pub fn expected(dir: &Path) -> Option<Vec<Expected>> {
    let read = || -> Result<Vec<Expected>, StoreError> {
        let db = schema::open_to_read(&dir.join(schema::FILE))?;
        let is_sound: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if is_sound != "ok" {
            return Err(StoreError::damaged("the old index is damaged"));
        }
        Ok(blocks(&db)?)
    };
    read().ok()
}

fn blocks(db: &Connection) -> rusqlite::Result<Vec<Expected>> {
    let mut query = db.prepare(
        "SELECT b.file, b.offset, d.device, r.ring, b.seq_first, b.seq_last, b.samples, b.from_ms,
           b.span_ms
         FROM blocks b JOIN devices d ON d.id = b.device JOIN rings r ON r.id = b.ring
         WHERE b.len > 0",
    )?;
    let rows = query.query_map([], |row| {
        let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let (from_ms, span_ms) = (row.get::<_, Option<i64>>(7)?, row.get::<_, i64>(8)?);
        Ok(Expected {
            place: (row.get(0)?, unsigned(1)?),
            device: row.get(2)?,
            ring: RingId(row.get(3)?),
            frames: (Seq(unsigned(4)?), Seq(unsigned(5)?)),
            samples: unsigned(6)?,
            times_ms: from_ms.map(|from_ms| (from_ms, from_ms.saturating_add(span_ms))),
        })
    })?;
    rows.collect()
}

/// What of these is not among the places where something sound was found, ring by ring.
pub fn of(expected: &[Expected], sound: &HashSet<(u32, u64)>) -> Vec<Missing> {
    let mut rings: BTreeMap<(&str, [u8; 16]), Missing> = BTreeMap::new();
    for block in expected.iter().filter(|block| !sound.contains(&block.place)) {
        let new = || Missing {
            device: block.device.clone(),
            ring: block.ring,
            frames: block.frames,
            samples: 0,
            times_ms: block.times_ms,
        };
        let missing = rings.entry((&block.device, block.ring.0)).or_insert_with(new);
        let ((first, last), (other_first, other_last)) = (missing.frames, block.frames);
        missing.frames = (first.min(other_first), last.max(other_last));
        missing.samples += block.samples;
        missing.times_ms = match (missing.times_ms, block.times_ms) {
            (Some((from, to)), Some((other_from, other_to))) => {
                Some((from.min(other_from), to.max(other_to)))
            }
            (one, other) => one.or(other),
        };
    }
    rings.into_values().collect()
}

impl Missing {
    /// What is missing, and what becomes of it.
    pub fn said(&self, journal: &JournalBegins) -> String {
        let Self { device, ring, frames: (first, last), samples, times_ms } = self;
        let mut said = format!("{samples} samples of {device}, frames {first} to {last}");
        if let Some((from, to)) = times_ms {
            said.extend([", ", &shown(*from), " to ", &shown(*to)]);
        }
        said.push_str(match journal.get(ring) {
            Some(begins) if begins <= first => ": come again from the journal",
            Some(begins) if begins <= last => {
                ": come again from the journal as far as it has them; the rest is gone for good"
            }
            _ => ": gone for good, the journal has them no more",
        });
        said
    }
}

fn shown(ms: i64) -> String {
    let mut text = Vec::new();
    Rfc3339::default().write(&mut text, ms);
    String::from_utf8_lossy(&text).into_owned()
}
