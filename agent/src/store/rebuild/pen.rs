//! What a rebuild puts into the new index, and what it knows of it meanwhile.

use std::collections::{HashMap, HashSet};

use protocol::{RingId, Seq};
use rusqlite::Connection;

use super::{JournalBegins, Rebuilt};
use crate::privacy::Seat;
use crate::store::block::{Block, Entry, Samples};
use crate::store::chapter;
use crate::store::check::Finding;
use crate::store::engine::file_records;
use crate::store::error::StoreError;
use crate::store::facts::{Facts, Packed};
use crate::store::index::{self, Names, NewBlock, Place};
use crate::store::placement;
use crate::store::schema::SPAN_MS_MAX;
use crate::store::seat::{self, SeatNumber};

/// What goes into the index, and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Pen {
    pub names: Names,
    seen: Seen,
    pub rebuilt: Rebuilt,
    /// Blocks of which a part stands elsewhere, or is not wanted.
    pub partial: Vec<Place>,
    /// Where sound pieces stand: file and offset.
    pub sound: HashSet<(u32, u64)>,
    /// Where rings are to end: the first frame that is not wanted.
    pub ends: JournalBegins,
    /// What files say of seats.
    seats: HashMap<SeatNumber, Seat>,
}

/// Instants that are indexed already: per ring and frame, ranges of ordinals.
#[derive(Debug, Default)]
struct Seen(HashMap<RingId, HashMap<Seq, Vec<(u32, u32)>>>);

impl Seen {
    fn has(&self, ring: RingId, seq: Seq, ordinal: u32) -> bool {
        let ranges = self.0.get(&ring).and_then(|frames| frames.get(&seq));
        ranges.is_some_and(|all| all.iter().any(|(from, to)| (*from..=*to).contains(&ordinal)))
    }

    fn add(&mut self, ring: RingId, seq: Seq, ordinal: u32) {
        let ranges = self.0.entry(ring).or_default().entry(seq).or_default();
        match ranges.last_mut() {
            Some((from, to)) if (*from..=to.saturating_add(1)).contains(&ordinal) => {
                *to = ordinal.max(*to);
            }
            _ => ranges.push((ordinal, ordinal)),
        }
    }
}

impl Pen {
    /// Files what is new of a chapter; whether anything was.
    pub fn chapter(
        &mut self,
        db: &Connection,
        place: &Place,
        piece: &[u8],
    ) -> Result<bool, StoreError> {
        let mut records = chapter::read(piece)?;
        records.retain(|record| self.is_wanted(record.ring, record.seq));
        let filed = file_records(db, &mut self.names, place, &records)?;
        self.rebuilt.records += filed.cast_unsigned();
        if filed == 0 {
            db.execute("DELETE FROM chapters WHERE records = 0", [])?;
        }
        Ok(filed > 0)
    }

    /// Indexes a block, unless anything of it is indexed already; whether it did.
    pub fn block(
        &mut self,
        db: &Connection,
        (place, level): (&Place, u8),
        block: &Block,
    ) -> Result<bool, StoreError> {
        let entries: Vec<Entry> = block.entries(u128::MAX).collect::<Result<_, _>>()?;
        let ring = block.stream().ring;
        let is_wanted = |entry: &&Entry| self.is_wanted(ring, seq_of(block, entry));
        let is_double = |entry: &&Entry| self.seen.has(ring, seq_of(block, entry), entry.ordinal);
        let wanted = entries.iter().filter(is_wanted).count();
        let doubles = entries.iter().filter(is_wanted).filter(is_double).count();
        self.rebuilt.doubles += doubles as u64;
        if doubles > 0 || wanted < entries.len() {
            if doubles < wanted {
                self.partial.push(*place);
            }
            return Ok(false);
        }
        for entry in &entries {
            self.seen.add(ring, seq_of(block, entry), entry.ordinal);
        }
        let (runs, exacts) = (block.runs().to_vec(), block.exacts().to_vec());
        let samples = Samples { runs, entries, exacts };
        self.rebuilt.blocks += 1;
        self.rebuilt.samples += samples.entries.len() as u64;
        put(db, &mut self.names, (place, level), block, &samples)?;
        Ok(true)
    }

    /// What of a block is not indexed yet; from here on it is.
    pub fn rest_of(&mut self, block: &Block) -> Result<Samples, StoreError> {
        let ring = block.stream().ring;
        let (runs, exacts) = (block.runs().to_vec(), block.exacts().to_vec());
        let mut samples = Samples { runs, entries: Vec::new(), exacts };
        for entry in block.entries(u128::MAX) {
            let entry = entry?;
            let seq = seq_of(block, &entry);
            if self.is_wanted(ring, seq) && !self.seen.has(ring, seq, entry.ordinal) {
                samples.entries.push(entry);
            }
        }
        for entry in &samples.entries {
            self.seen.add(ring, seq_of(block, entry), entry.ordinal);
        }
        samples.drop_empty_runs();
        Ok(samples)
    }

    fn is_wanted(&self, ring: RingId, seq: Seq) -> bool {
        self.ends.get(&ring).is_none_or(|end| seq < *end)
    }

    /// Says of the rings that are to end that they do.
    pub fn end_rings(&self, db: &Connection) -> rusqlite::Result<()> {
        let mut end =
            db.prepare("UPDATE rings SET last_seq = min(last_seq, ?2) WHERE ring = ?1")?;
        for (ring, first) in &self.ends {
            end.execute((&ring.0[..], first.prev().0.cast_signed()))?;
        }
        Ok(())
    }

    /// Takes note of what a number stands for. Where files differ, an erasure was cut short: the
    /// one without the vehicle's name is right.
    pub fn seat(&mut self, number: SeatNumber, seat: Seat) {
        let known = self.seats.entry(number).or_insert_with(|| seat.clone());
        if seat.vehicle.is_none() {
            *known = seat;
        }
    }

    /// Says in the index what all numbers stand for.
    pub fn name_seats(&self, db: &Connection) -> rusqlite::Result<()> {
        db.execute_batch("BEGIN IMMEDIATE")?;
        for (number, seat) in &self.seats {
            seat::put(db, *number, seat)?;
        }
        db.execute_batch("COMMIT")
    }

    /// Leaves out of the index what no block refers to, and notes what no file says.
    pub fn miss_seats(&mut self, db: &Connection) -> rusqlite::Result<()> {
        db.execute("DELETE FROM seats WHERE id NOT IN (SELECT seat FROM seated)", [])?;
        let mut query = db.prepare(
            "SELECT number, (SELECT count(*) FROM blocks WHERE seat = seats.id) FROM seats",
        )?;
        let rows = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        for row in rows {
            let (number, blocks) = row?;
            let number = SeatNumber::new(number.cast_unsigned());
            if number.is_some_and(|number| !self.seats.contains_key(&number)) {
                let what = format!(
                    "where the device of {blocks} blocks sat stands in no file: they say no vehicle"
                );
                self.rebuilt.findings.push(Finding { file: None, offset: None, what });
            }
        }
        Ok(())
    }

    pub fn note(&mut self, file: u32, offset: u64, bytes: u64, what: &str) {
        self.rebuilt.damaged_bytes += bytes;
        let what = format!("{what} ({bytes} bytes left out)");
        self.rebuilt.findings.push(Finding { file: Some(file), offset: Some(offset), what });
    }
}

fn seq_of(block: &Block, entry: &Entry) -> Seq {
    block.runs().get(usize::from(entry.run)).map_or(Seq::ZERO, |run| run.seq)
}

/// Indexes a block.
pub(super) fn put(
    db: &Connection,
    names: &mut Names,
    (place, level): (&Place, u8),
    block: &Block,
    samples: &Samples,
) -> rusqlite::Result<()> {
    let stream = *block.stream();
    let facts = Facts::of(&stream, &samples.runs, &samples.entries);
    let owner = names.owner(db, &stream, facts.seq_last)?;
    let offset = match stream.boot {
        None => Some(0),
        Some(boot) => placement::offset_ms(db, owner.device, boot)?,
    };
    // A file of level 1 was damaged in its stamp, perhaps; the span decides then.
    let level = if facts.span_ms < SPAN_MS_MAX { level.min(1) } else { 0 };
    let rollups = match offset {
        Some(offset) if level > 0 => Packed::of(&stream, samples, offset),
        _ => None,
    };
    let block = NewBlock { place: *place, stream, facts, rollups, level };
    index::insert_block(db, (&block, place), owner, offset)?;
    Ok(())
}
