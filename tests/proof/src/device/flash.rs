//! The flash as the device sees it: the model, a list of the steps taken, and planted faults.

use crc::{CRC_32_ISCSI, Crc};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use firmware::ring::flash_model::{FlashModel, Left, PowerCut};

use super::planted::Planted;
use crate::chance::Chance;

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

// Where a record's parts stand: for faults that are made for this very layout.
const SECTOR_MAGIC: &[u8] = b"MPr\x01";
const SYSTEM_MAGIC: &[u8] = b"MPs\x00";
const BODY_AT_OFFSET: u32 = 40;
const RECORD_MARK: u8 = 0xA5;
const RECORD_HEADER_LEN: usize = 32;
const COMMIT_AT: u32 = 32;
const BODY_AT: usize = 40;

/// Why the flash did not do as asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FlashFault {
    /// The power is gone.
    Cut,
    /// It says that it failed, and goes on.
    Failed,
}

impl NorFlashError for FlashFault {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl From<PowerCut> for FlashFault {
    fn from(_: PowerCut) -> Self {
        Self::Cut
    }
}

/// One write unit programmed, or one sector erased.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// Where in the flash.
    pub at: u32,
    pub kind: StepKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StepKind {
    /// This unit of a write of so many.
    Unit {
        index: usize,
        of: usize,
    },
    Erase,
}

/// A flash with write units of `U` bytes and sectors of `S`.
#[derive(Clone, Debug)]
pub(super) struct Flash<const U: usize, const S: usize> {
    pub model: FlashModel<U, U, S>,
    watched: Option<Vec<Step>>,
    /// Where a write or an erase fails, the sector is bad for good.
    is_lasting: bool,
    /// The start of a sector that takes nothing any more.
    pub bad: Option<u32>,
    /// Where the latest record's header was written.
    pub record_at: u32,
    /// Per sector: its header was written, and it was not erased since.
    pub headed: Vec<bool>,
    planted: Option<Planted>,
    /// Of the record written last, for planted faults.
    record: Option<RecordUnderWay<U, S>>,
    commits: u32,
    erases: u32,
    entries: u32,
}

#[derive(Clone, Debug)]
struct RecordUnderWay<const U: usize, const S: usize> {
    at: u32,
    header: Vec<u8>,
    before: Box<FlashModel<U, U, S>>,
}

impl<const U: usize, const S: usize> Flash<U, S> {
    pub(super) fn new(sectors: usize, planted: Option<Planted>) -> Self {
        let model = FlashModel::new(sectors, 1);
        Self {
            model,
            watched: None,
            is_lasting: false,
            bad: None,
            record_at: 0,
            headed: vec![false; sectors],
            planted,
            record: None,
            commits: 0,
            erases: 0,
            entries: 0,
        }
    }

    /// The write unit or erase after the next `steps` ones fails, and leaves this. If it `stays`,
    /// the sector is bad from then on.
    pub(super) fn fail_at(&mut self, steps: u32, left: Left, stays: bool) {
        self.model.fail_at(steps, left);
        self.is_lasting = stays;
    }

    /// From now on, notes each step.
    pub(super) fn watch(&mut self) {
        self.watched = Some(Vec::new());
    }

    /// What was noted.
    pub(super) fn steps(&mut self) -> Vec<Step> {
        self.watched.take().unwrap_or_default()
    }

    /// The power is back.
    pub(super) fn power_on(&mut self) {
        let was_cut = !self.model.is_powered();
        if let Some(record) = self.record.take().filter(|_| was_cut) {
            match self.planted {
                Some(Planted::SeqReused) => self.model = *record.before,
                Some(Planted::TornAccepted) => self.forge_commit(&record),
                _ => {}
            }
        }
        self.model.power_on();
    }

    fn outcome(&mut self, at: u32, done: Result<(), PowerCut>) -> Result<(), FlashFault> {
        let Err(PowerCut) = done else { return Ok(()) };
        if !self.model.is_powered() {
            return Err(FlashFault::Cut);
        }
        self.record = None;
        if self.planted == Some(Planted::FailureUnnoticed) {
            return Ok(());
        }
        self.bad = self.is_lasting.then_some(at - at.checked_rem(sector_len::<S>()).unwrap_or(0));
        Err(FlashFault::Failed)
    }

    fn is_bad(&self, at: u32) -> bool {
        let end = |start: u32| start.saturating_add(sector_len::<S>());
        self.model.is_powered() && self.bad.is_some_and(|bad| bad <= at && at < end(bad))
    }

    fn head(&mut self, at: u32, is_headed: bool) {
        let sector = usize::try_from(at).unwrap_or(usize::MAX) / S;
        if let Some(headed) = self.headed.get_mut(sector) {
            *headed = is_headed;
        }
    }

    /// Makes a record whole that is none, as a ring would take it that does not look.
    fn forge_commit(&mut self, record: &RecordUnderWay<U, S>) {
        let start = usize::try_from(record.at).unwrap_or(usize::MAX);
        let Some(place) = self.model.bytes_mut().get_mut(start..) else { return };
        let Some((header, rest)) = place.split_at_mut_checked(RECORD_HEADER_LEN) else { return };
        if *header != *record.header {
            return;
        }
        let (Some([.., low, high]), Some(seq)) = (header.first_chunk::<4>(), header.get(8..12))
        else {
            return;
        };
        let len = u16::from_le_bytes([*low, *high]);
        let body = rest.get(BODY_AT - RECORD_HEADER_LEN..).unwrap_or_default();
        let checksum = CRC.checksum(body.get(..usize::from(len)).unwrap_or_default());
        // The number relative to its sector's first: right in a ring's first sector.
        let seq = seq.iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        let mut digest = CRC.digest();
        digest.update(&checksum.to_le_bytes());
        digest.update(&len.to_le_bytes());
        digest.update(&(seq + 1).to_le_bytes());
        let [low, high, ..] = digest.finalize().to_le_bytes();
        let [len_low, len_high] = len.to_le_bytes();
        let [a, b, c, d] = checksum.to_le_bytes();
        for (slot, byte) in rest.iter_mut().zip([a, b, c, d, len_low, len_high, low, high]) {
            *slot = byte;
        }
    }

    fn is_commit(&self, offset: u32, bytes: &[u8]) -> bool {
        let here = self.record.as_ref().is_some_and(|record| record.at + COMMIT_AT == offset);
        here && bytes.len() == 8
    }

    /// What a planted fault makes of a write: `Some` if it is done with it.
    fn faulty_write(&mut self, offset: u32, bytes: &[u8]) -> Option<Result<(), PowerCut>> {
        let planted = self.planted?;
        if planted == Planted::SystemNotPersisted && bytes.starts_with(SYSTEM_MAGIC) {
            self.entries += 1;
            return self.entries.is_multiple_of(5).then_some(Ok(()));
        }
        if bytes.len() == RECORD_HEADER_LEN && bytes.first() == Some(&RECORD_MARK) {
            let before = Box::new(self.model.clone());
            self.record = Some(RecordUnderWay { at: offset, header: bytes.to_vec(), before });
            return (planted == Planted::ReserveNotPersisted).then_some(Ok(()));
        }
        if !self.is_commit(offset, bytes) {
            return None;
        }
        self.commits += 1;
        let record = self.record.take()?;
        match planted {
            Planted::ReserveNotPersisted => Some(
                self.model
                    .write(record.at, &record.header)
                    .and_then(|()| self.model.write(offset, bytes)),
            ),
            Planted::WriteNotPersisted => self.commits.is_multiple_of(7).then_some(Ok(())),
            _ => {
                let written = self.model.write(offset, bytes);
                if written.is_err() {
                    self.record = Some(record);
                }
                Some(written)
            }
        }
    }
}

impl<const U: usize, const S: usize> ErrorType for Flash<U, S> {
    type Error = FlashFault;
}

impl<const U: usize, const S: usize> ReadNorFlash for Flash<U, S> {
    const READ_SIZE: usize = U;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashFault> {
        Ok(self.model.read(offset, bytes)?)
    }

    fn capacity(&self) -> usize {
        self.model.capacity()
    }
}

impl<const U: usize, const S: usize> NorFlash for Flash<U, S> {
    const WRITE_SIZE: usize = U;
    const ERASE_SIZE: usize = S;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashFault> {
        if self.is_bad(from) {
            return Err(FlashFault::Failed);
        }
        self.head(from, false);
        let mut at = from;
        while let Some(watched) = self.watched.as_mut().filter(|_| at < to) {
            watched.push(Step { at, kind: StepKind::Erase });
            at = at.saturating_add(u32::try_from(S).unwrap_or(u32::MAX));
        }
        self.erases += 1;
        if self.planted == Some(Planted::EraseSkipped) && self.erases.is_multiple_of(7) {
            return Ok(());
        }
        let done = self.model.erase(from, to);
        self.outcome(from, done)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashFault> {
        if self.is_bad(offset) {
            return Err(FlashFault::Failed);
        }
        // A body may look like a header.
        let is_body = offset == self.record_at.saturating_add(BODY_AT_OFFSET);
        if bytes.len() == RECORD_HEADER_LEN && bytes.first() == Some(&RECORD_MARK) && !is_body {
            self.record_at = offset;
        }
        if let Some(watched) = &mut self.watched {
            let of = bytes.len() / U;
            let units = (0..of).zip((offset..).step_by(U));
            let steps = units.map(|(index, at)| Step { at, kind: StepKind::Unit { index, of } });
            watched.extend(steps);
        }
        let done = match self.faulty_write(offset, bytes) {
            Some(done) => done,
            None => self.model.write(offset, bytes),
        };
        self.outcome(offset, done)?;
        if bytes.starts_with(SECTOR_MAGIC) && offset.is_multiple_of(sector_len::<S>()) {
            self.head(offset, true);
        }
        Ok(())
    }
}

/// Bytes of a sector.
pub(super) fn sector_len<const S: usize>() -> u32 {
    u32::try_from(S).unwrap_or(u32::MAX)
}

/// Every cut of these steps: at which one, and what it leaves of it. A unit that is complete while
/// the next one of its write is untouched is that next one's cut, and not listed twice.
pub(super) fn cuts(steps: &[Step], chance: &mut Chance) -> Vec<(u32, Left)> {
    let mut cuts = Vec::new();
    for (number, step) in (0_u32..).zip(steps) {
        let mut cut = |left| cuts.push((number, left));
        cut(Left::Untouched);
        cut(Left::Torn(chance.draw()));
        cut(Left::Garbage(chance.draw()));
        match step.kind {
            StepKind::Erase => {
                // One of each way to be half erased: some bits, or some bytes.
                cut(Left::Torn(chance.draw() & !1));
                cut(Left::Torn(chance.draw() | 1));
                cut(Left::Complete);
            }
            StepKind::Unit { index, of } => {
                if index == 0 && of > 1 {
                    cut(Left::Scattered(chance.draw()));
                    cut(Left::Scattered(chance.draw()));
                }
                if index + 1 == of {
                    cut(Left::Complete);
                }
            }
        }
    }
    cuts
}
