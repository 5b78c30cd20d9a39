//! The table of the journal's lives: what `validates` looks cursors up in.
//!
//! One slot of [`SLOT_LEN`] bytes per life, written in place, so that a start needs no room on a
//! disk that is full; the oldest gives way after [`SLOTS`] starts. A slot that is damaged or
//! forgotten makes the cursors of two lives invalid, which is safe: their sinks are reconciled by
//! identity.

use std::io;
use std::path::{Path, PathBuf};

use super::cursor::{Ends, Epoch, Identity, PerLane, Point, Position, Positions};
use super::error::is_no_space;
use super::fields::{Fields, put_counts};
use super::flaws::first_difference;
use super::segment::Unfinished;
use storage::{SharedStorage, Storage};

const MAGIC: [u8; 4] = *b"MPEp";
const SLOT_LEN: usize = 128;
const SLOTS: u32 = 2048;
const EMPTY_SLOT: [u8; SLOT_LEN] = [0; SLOT_LEN];
/// What a slot holds, without its checksum.
const FIELDS_LEN: usize = 4 + 16 + 4 + 8 + 3 * 24;
/// Length of the file, in bytes.
pub(super) const FILE_LEN: u64 = SLOTS as u64 * SLOT_LEN as u64;

/// The beginning of one life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Start {
    pub(super) epoch: Epoch,
    /// What the journal held when it began.
    pub(super) ends: Ends,
}

/// The lives of one journal, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Epochs {
    starts: Vec<Start>,
}

impl Epochs {
    /// Reads the table, with the id of the journal it is of; empty and without id if there is none.
    pub(super) fn read(
        storage: &dyn Storage,
        journal: &Path,
    ) -> io::Result<(Option<[u8; 16]>, Self)> {
        let file = match storage.open(&path_of(journal), false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((None, Self::default()));
            }
            Err(error) => return Err(error),
        };
        let mut found: Vec<([u8; 16], Start)> = Vec::new();
        let mut block = [0; 32 * SLOT_LEN];
        let mut offset = 0;
        while offset < FILE_LEN {
            let read = file.read_at(offset, &mut block)?;
            if read == 0 {
                break;
            }
            let slots = block.get(..read).unwrap_or_default().chunks_exact(SLOT_LEN);
            found.extend(slots.filter_map(decode));
            offset += u64::try_from(block.len()).unwrap_or(FILE_LEN);
        }
        found.sort_unstable_by_key(|(_, start)| start.epoch.number);
        let journal = found.last().map(|(journal, _)| *journal);
        found.retain(|(of, _)| Some(*of) == journal);
        Ok((journal, Self { starts: found.into_iter().map(|(_, start)| start).collect() }))
    }

    /// The first byte of the table that is not as it was written, if one is not: a slot is empty, or
    /// whole and in its place.
    pub(super) fn flaw(storage: &dyn Storage, journal: &Path) -> io::Result<Option<u64>> {
        let file = match storage.open(&path_of(journal), false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut table = vec![0; usize::try_from(FILE_LEN).unwrap_or(0)];
        let read = file.read_at(0, &mut table)?;
        table.truncate(read);
        for (number, slot) in (0..SLOTS).zip(table.chunks(SLOT_LEN)) {
            if slot == EMPTY_SLOT {
                continue;
            }
            let life = decode(slot).filter(|(_, start)| start.epoch.number % SLOTS == number);
            let written = life.map_or(EMPTY_SLOT.to_vec(), |(of, start)| encode(of, &start));
            if let Some(at) = first_difference(slot, &written) {
                let before = usize::try_from(number).unwrap_or(0).saturating_mul(SLOT_LEN);
                return Ok(u64::try_from(before.saturating_add(at)).ok());
            }
        }
        let is_short = u64::try_from(read).is_ok_and(|read| read < FILE_LEN);
        Ok(is_short.then(|| u64::try_from(read).unwrap_or(0)))
    }

    /// The life that began last.
    pub(super) fn last(&self) -> Option<&Start> {
        self.starts.last()
    }

    /// How far positions of this life can reach, if it is known and over.
    pub(super) fn end_of(&self, epoch: Epoch) -> Option<Positions> {
        let own =
            self.starts.binary_search_by_key(&epoch.number, |start| start.epoch.number).ok()?;
        let next = self.starts.get(own.checked_add(1)?)?;
        let known = self.starts.get(own).is_some_and(|start| start.epoch == epoch);
        let follows = epoch.number.checked_add(1) == Some(next.epoch.number);
        (known && follows).then_some(next.ends.positions)
    }

    /// Adds a life, durably, and makes the table if there is none. As long as the journal
    /// `is_unused`, it is made anew: an earlier attempt may have failed to make its name durable.
    pub(super) fn begin(
        &mut self,
        storage: &SharedStorage,
        journal: &Path,
        identity: &Identity,
        ends: Ends,
        is_unused: bool,
    ) -> io::Result<()> {
        let start = Start { epoch: identity.epoch, ends };
        let mut found = match storage.open(&path_of(journal), false) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if found.is_none() || is_unused {
            match self.write_anew(storage, journal, identity, &start) {
                Ok(()) => found = None,
                // A start needs no room.
                Err(error) if is_no_space(&error) && found.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(file) = found {
            // The last life may have died between its write and its sync: without its slot the
            // cursors of the life before it would not hold.
            if let Some(last) = self.starts.last() {
                file.write_at(offset_of(last), &encode(identity.journal, last))?;
                file.sync()?;
            }
            file.write_at(offset_of(&start), &encode(identity.journal, &start))?;
            file.sync()?;
        }
        self.starts.retain(|start| start.epoch.number % SLOTS != identity.epoch.number % SLOTS);
        self.starts.push(start);
        Ok(())
    }

    fn write_anew(
        &self,
        storage: &SharedStorage,
        journal: &Path,
        identity: &Identity,
        begun: &Start,
    ) -> io::Result<()> {
        let file = Unfinished::begin(storage, journal, path_of(journal))?;
        let zeros = vec![0; usize::try_from(FILE_LEN).unwrap_or(0)];
        let mut starts = self.starts.iter().chain([begun]);
        let written = file.write_at(0, &zeros).and_then(|()| {
            starts.try_for_each(|start| {
                file.write_at(offset_of(start), &encode(identity.journal, start))
            })
        });
        match written {
            Ok(()) => file.finish().map(drop),
            Err(error) => Err(file.give_up(error)),
        }
    }
}

pub(super) fn path_of(journal: &Path) -> PathBuf {
    journal.join("epochs")
}

/// Where a life's slot stands.
fn offset_of(start: &Start) -> u64 {
    let slot_len = u64::try_from(SLOT_LEN).unwrap_or(0);
    u64::from(start.epoch.number % SLOTS).saturating_mul(slot_len)
}

fn encode(journal: [u8; 16], start: &Start) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT_LEN);
    slot.extend_from_slice(&MAGIC);
    slot.extend_from_slice(&journal);
    slot.extend_from_slice(&start.epoch.number.to_le_bytes());
    slot.extend_from_slice(&start.epoch.nonce.to_le_bytes());
    for (position, totals) in start.ends.positions.0.iter().zip(start.ends.totals) {
        slot.extend_from_slice(&position.0.to_le_bytes());
        put_counts(&mut slot, totals);
    }
    let checksum = crc32c::crc32c(&slot);
    slot.extend_from_slice(&checksum.to_le_bytes());
    slot.resize(SLOT_LEN, 0);
    slot
}

fn decode(slot: &[u8]) -> Option<([u8; 16], Start)> {
    let (said, rest) = slot.split_at_checked(FIELDS_LEN)?;
    let mut fields = Fields(said);
    // Most slots of most tables are empty.
    if fields.array()? != MAGIC || Fields(rest).u32()? != crc32c::crc32c(said) {
        return None;
    }
    let journal = fields.array()?;
    let epoch = Epoch { number: fields.u32()?, nonce: fields.u64()? };
    let points = PerLane::try_new(|_| {
        let at = Position(fields.u64().ok_or(())?);
        Ok::<_, ()>(Point { at, totals: fields.counts().ok_or(())? })
    });
    Some((journal, Start { epoch, ends: Ends::from_points(&points.ok()?) }))
}
