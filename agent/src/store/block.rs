//! Blocks: samples of one stream, in the order of their identity, as columns.
//!
//! ```text
//! head:     device, ring, lane, catalogue, tick, boot, seat, counts, lengths of what follows
//! runs:     one per frame: seq, received, clock, boot, origin, instants
//! instants: ordinal, tick, which columns in which order
//! columns:  values, each column by itself
//! ```
//!
//! Runs, instants and each column are coded by themselves (`coding/`): who asks for one
//! signal decodes the instants and that column. Everything is lossless for whatever is put in: an
//! ordinal may be left out (a privacy rule took the instant), come twice or go back, a time too.

use std::sync::Arc;

use protocol::codec::CodecError;
use protocol::frame::Origin;
use protocol::{CatalogueId, Clock, DeviceId, Lane, RingId, Seq};

use super::error::StoreError;
use super::piece::{self, PieceKind};
use super::seat::SeatNumber;
use crate::value::{Amount, Exact};
pub use exacts::Exacts;
use head::Head;
use instants::Instants;
use values::Values;

mod exacts;
pub(super) mod head;
mod instants;
mod runs;
#[cfg(test)]
mod tests;
mod values;

/// The most samples of a block.
pub const SAMPLES_MAX: usize = 65_535;
/// Columns there can be: a catalogue's signals, and the coarse place.
pub const COLUMNS_MAX: u8 = 65;

/// What all samples of a block have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stream {
    /// Whose.
    pub device: DeviceId,
    /// Which ring's.
    pub ring: RingId,
    /// The ring's lane.
    pub lane: Lane,
    /// Which catalogue the columns are of.
    pub catalogue: CatalogueId,
    /// Milliseconds of one tick.
    pub tick_ms: u32,
    /// The boot that times count from; none on a wall clock.
    pub boot: Option<u32>,
    /// Where the device sat, if that is known.
    pub seat: Option<SeatNumber>,
}

/// What the samples of one frame have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Which frame.
    pub seq: Seq,
    /// When the agent received it.
    pub received_ms: i64,
    /// The clock of its samples.
    pub clock: Clock,
    /// The boot in which they were taken.
    pub boot: u32,
    /// Where it was sealed first, if it was sealed anew.
    pub origin: Option<Origin>,
}

/// A sample on its way into a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// In ticks of the catalogue.
    pub tick: i64,
    /// The value, among the exact ones that stand beside it if it is no number of steps.
    pub amount: Amount,
    /// Which instant of its frame.
    pub ordinal: u32,
    /// Which of the runs; never falls.
    pub run: u16,
    /// Which signal of the catalogue, or the coarse place.
    pub column: u8,
}

/// One sample of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockSample<'a> {
    /// Its own time: since 1970, or since the boot in a block of a boot (then
    /// [`super::read::BlockRow::offset_ms`] has to be added).
    pub time_ms: i64,
    /// The value, among [`Block::exacts`] if it is no number of steps; a cell's bits for
    /// [`crate::privacy::Lens::CELL`].
    pub amount: Amount,
    /// Which instant of the frame.
    pub ordinal: u32,
    /// Which signal of the catalogue.
    pub column: u8,
    /// Its frame.
    pub run: &'a Run,
}

/// Samples that are to become a block.
#[derive(Debug, Default)]
pub struct Samples {
    /// The frames, in the order of their numbers.
    pub runs: Vec<Run>,
    /// The samples, in the order of their identity.
    pub entries: Vec<Entry>,
    /// Values that are no number of steps.
    pub exacts: Vec<Exact>,
}

/// A block, read and found sound as far as its checksum goes.
#[derive(Debug)]
pub struct Block {
    head: Head,
    runs: Vec<Run>,
    /// Per run, how many instants.
    instants: Vec<u32>,
    exacts: Arc<Exacts>,
    /// The whole piece.
    piece: Vec<u8>,
    /// Where in it the coded instants begin.
    body: usize,
}

/// Appends a block, as a piece, to `out`. There must be 1 to [`SAMPLES_MAX`] samples.
pub fn append(out: &mut Vec<u8>, stream: &Stream, samples: &Samples) -> Result<(), StoreError> {
    let Samples { runs, entries, exacts } = samples;
    if entries.is_empty() || entries.len() > SAMPLES_MAX || runs.len() > SAMPLES_MAX {
        return Err(StoreError::damaged("a block of no samples, or of too many"));
    }
    let mut coded_runs = Vec::new();
    let mut body = Vec::with_capacity(entries.len() * 2);
    let instants = instants::encode(entries, runs.len(), &mut body);
    let instants_len = body.len();
    let mut columns = values::encode(entries, &mut body);
    let columns_end = body.len();
    if exacts::encode(entries, exacts, &mut body) {
        columns.push((exacts::COLUMN, body.len() - columns_end));
    }
    runs::encode(runs, &instants, &mut coded_runs);
    let head = Head {
        stream: *stream,
        samples: entries.len(),
        runs: runs.len(),
        runs_len: coded_runs.len(),
        instants_len,
        columns,
    };
    piece::append(out, PieceKind::Block, |out| {
        head.write(out);
        out.extend_from_slice(&coded_runs);
        out.extend_from_slice(&body);
    })
}

impl Block {
    /// Checks a piece of a block file and reads what stands before its columns.
    pub fn open(piece: Vec<u8>) -> Result<Self, StoreError> {
        let content = piece::content(&piece, PieceKind::Block)?;
        let (head, rest) = Head::read(content)?;
        let coded = rest.get(..head.runs_len).ok_or(CodecError::Truncated)?;
        let (runs, instants) = runs::decode(coded, head.runs, head.samples)?;
        let body = piece.len() - rest.len() + head.runs_len;
        let exacts = match head.columns.last() {
            Some((exacts::COLUMN, len)) => {
                let before = head.columns.iter().rev().skip(1).map(|(_, len)| *len);
                let at = before.fold(head.runs_len + head.instants_len, usize::saturating_add);
                let coded = rest.get(at..).and_then(|coded| coded.get(..*len));
                Exacts::decode(coded.ok_or(CodecError::Truncated)?, head.samples)?
            }
            _ => Exacts::default(),
        };
        Ok(Self { head, runs, instants, exacts: Arc::new(exacts), piece, body })
    }

    /// What all samples have in common.
    pub fn stream(&self) -> &Stream {
        &self.head.stream
    }

    /// The frames.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Values that are no number of steps: what [`Amount::Exact`] of its samples stands for.
    pub fn exacts(&self) -> &[Exact] {
        &self.exacts.values
    }

    /// The same, to be kept.
    pub fn shared_exacts(&self) -> Arc<Exacts> {
        Arc::clone(&self.exacts)
    }

    /// How many samples.
    pub fn len(&self) -> usize {
        self.head.samples
    }

    /// A block is never empty.
    pub fn is_empty(&self) -> bool {
        self.head.samples == 0
    }

    /// All samples, in the order of their identity; after an error it ends.
    pub fn samples(&self) -> impl Iterator<Item = Result<BlockSample<'_>, CodecError>> {
        self.samples_of(u128::MAX)
    }

    /// The samples of the columns in this mask (bit 64 is the coarse place), in the order of their
    /// identity; the values of other columns are not decoded.
    pub fn samples_of(
        &self,
        columns: u128,
    ) -> impl Iterator<Item = Result<BlockSample<'_>, CodecError>> {
        let tick_ms = i64::from(self.head.stream.tick_ms);
        self.entries(columns).map(move |entry| {
            let Entry { tick, amount, ordinal, run, column } = entry?;
            let run = self.runs.get(usize::from(run)).ok_or(CodecError::Malformed)?;
            Ok(BlockSample { time_ms: tick.saturating_mul(tick_ms), amount, ordinal, column, run })
        })
    }

    /// The same, as they were put in.
    pub(super) fn entries(&self, columns: u128) -> Entries<'_> {
        let body = self.piece.get(self.body..).unwrap_or_default();
        let (instants, rest) = body.split_at_checked(self.head.instants_len).unwrap_or_default();
        Entries {
            instants: Instants::new(instants),
            values: Values::new(rest, &self.head.columns, columns),
            left_in_run: self.instants.first().copied().unwrap_or_default(),
            per_run: &self.instants,
            run: 0,
            instant: None,
            left: self.head.samples,
            place: 0,
            exacts: &self.exacts,
            next_exact: 0,
        }
    }
}

/// Reads a block's samples. An iterator; after an error it ends.
#[derive(Debug)]
pub struct Entries<'a> {
    instants: Instants<'a>,
    values: Values<'a>,
    /// Instants left in the run at hand.
    left_in_run: u32,
    per_run: &'a [u32],
    run: u16,
    /// The instant at hand: ordinal, tick, and how many of its columns were read.
    instant: Option<(u32, i64, usize)>,
    /// Samples left.
    left: usize,
    /// Samples behind.
    place: usize,
    exacts: &'a Exacts,
    next_exact: usize,
}

impl Entries<'_> {
    fn read(&mut self) -> Result<Option<Entry>, CodecError> {
        while self.left > 0 {
            let (ordinal, tick, at) = match self.instant {
                Some(instant) => instant,
                None => self.next_instant()?,
            };
            let Some(column) = self.instants.columns().get(at).copied() else {
                self.instant = None;
                continue;
            };
            self.instant = Some((ordinal, tick, at + 1));
            self.left -= 1;
            let exact = self.exacts.at(self.place, &mut self.next_exact);
            self.place += 1;
            if let Some(steps) = self.values.next(column)? {
                let amount = exact.map_or(Amount::Steps(steps), Amount::Exact);
                return Ok(Some(Entry { tick, amount, ordinal, run: self.run, column }));
            }
        }
        Ok(None)
    }

    fn next_instant(&mut self) -> Result<(u32, i64, usize), CodecError> {
        while self.left_in_run == 0 {
            self.run = self.run.checked_add(1).ok_or(CodecError::Malformed)?;
            let next = self.per_run.get(usize::from(self.run));
            self.left_in_run = *next.ok_or(CodecError::Malformed)?;
            self.instants.begin_run();
        }
        self.left_in_run -= 1;
        let (ordinal, tick) = self.instants.next()?;
        Ok((ordinal, tick, 0))
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read().transpose();
        if matches!(read, Some(Err(_))) {
            self.left = 0;
        }
        read
    }
}
