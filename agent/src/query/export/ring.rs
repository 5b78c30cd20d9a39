//! What the store holds of one ring under one device's name, merged into the order of its identity.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use protocol::{CatalogueId, Lane};
use rusqlite::params;

use super::super::source::Source;
use crate::store::block::{Block, Exacts, Run};
use crate::store::read::BlockRow;
use crate::store::schema::FLAG_RETIRED;
use crate::value::Amount;

/// Blocks that are held decoded whole; of more than that, parts.
const WHOLE_BLOCKS_MAX: usize = 8;
/// Samples of such a part.
const PART: usize = 4096;
/// Records read at a time.
const RECORDS_MAX: usize = 256;

/// (seq, ordinal): an agent's own word, -1, comes before what a frame says.
pub(super) type Place = (u64, i64);

/// A ring, as far as a device has it.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    pub id: i64,
    pub device: i64,
}

/// One sample, with what its document needs.
#[derive(Clone, Debug)]
pub(super) struct RingSample {
    pub run: Run,
    pub ordinal: u32,
    /// Since 1970, or since the boot.
    pub own_ms: i64,
    pub column: u8,
    pub amount: Amount,
    /// Those of its block.
    pub exacts: Arc<Exacts>,
    pub catalogue: CatalogueId,
    pub lane: Lane,
    /// `seats.id`
    pub seat: Option<i64>,
}

/// What comes next of a ring.
#[derive(Debug)]
pub(super) enum Next {
    Sample(RingSample),
    /// A whole document.
    Record(String),
}

/// A ring's samples and records, merged.
pub(super) struct Merge<'a> {
    source: &'a Source,
    ring: Ring,
    /// Blocks still to be opened, by their first frame.
    blocks: VecDeque<BlockRow>,
    open: BinaryHeap<Open>,
    records: VecDeque<(Place, String)>,
    /// The last record read; none if there are no more.
    behind: Option<Place>,
}

/// An open block.
#[derive(Debug)]
struct Open {
    block: Block,
    row: BlockRow,
    samples: VecDeque<RingSample>,
    /// How many were decoded so far.
    decoded: usize,
}

impl RingSample {
    pub fn place(&self) -> Place {
        (self.run.seq.0, i64::from(self.ordinal))
    }
}

impl<'a> Merge<'a> {
    pub fn start(source: &'a Source, ring: Ring) -> rusqlite::Result<Self> {
        let columns = BlockRow::COLUMNS;
        let sql = format!(
            "SELECT {columns} FROM blocks AS b WHERE b.device = ?1 AND b.ring = ?2 \
             AND b.flags & {FLAG_RETIRED} = 0 ORDER BY b.seq_first, b.id"
        );
        let blocks = source.index(|index| {
            let parameters = params![ring.device, ring.id];
            index.prepare_cached(&sql)?.query_map(parameters, BlockRow::read)?.collect()
        })?;
        let mut merge = Self {
            source,
            ring,
            blocks,
            open: BinaryHeap::new(),
            records: VecDeque::new(),
            behind: Some((0, i64::MIN)),
        };
        merge.read_records()?;
        Ok(merge)
    }

    /// The next sample or record; none behind the last.
    pub fn next(&mut self) -> rusqlite::Result<Option<Next>> {
        self.open_blocks()?;
        let sample = self.open.peek().and_then(Open::place);
        let record = self.records.front().map(|(place, _)| *place);
        let is_record = match (sample, record) {
            (None, None) => return Ok(None),
            (Some(sample), Some(record)) => record < sample,
            (None, Some(_)) => true,
            (Some(_), None) => false,
        };
        if is_record {
            let next = self.records.pop_front();
            if self.records.is_empty() {
                self.read_records()?;
            }
            return Ok(next.map(|(_, document)| Next::Record(document)));
        }
        let parts = self.part();
        let Some(mut open) = self.open.peek_mut() else { return Ok(None) };
        let next = open.samples.pop_front();
        if open.samples.is_empty() {
            self.source.check()?;
            open.decode(self.source, parts)?;
        }
        if open.samples.is_empty() {
            PeekMut::pop(open);
        }
        Ok(next.map(Next::Sample))
    }

    /// Opens every block that may hold what comes next.
    fn open_blocks(&mut self) -> rusqlite::Result<()> {
        while let Some(row) = self.blocks.front() {
            let head = self.open.peek().and_then(Open::place);
            if head.is_some_and(|(seq, _)| row.seq_first.0 > seq) {
                break;
            }
            let row = *row;
            self.blocks.pop_front();
            let Some(block) = self.source.block(&row)? else { continue };
            let mut open = Open { block, row, samples: VecDeque::new(), decoded: 0 };
            open.decode(self.source, self.part())?;
            if !open.samples.is_empty() {
                self.open.push(open);
            }
        }
        Ok(())
    }

    fn part(&self) -> usize {
        if self.open.len() < WHOLE_BLOCKS_MAX { usize::MAX } else { PART }
    }

    fn read_records(&mut self) -> rusqlite::Result<()> {
        let Some((seq, ordinal)) = self.behind else { return Ok(()) };
        let sql = "SELECT seq, ordinal, document FROM records \
                   WHERE ring = ?1 AND device = ?2 AND (seq, ordinal) > (?3, ?4) \
                   ORDER BY seq, ordinal LIMIT ?5";
        let limit = i64::try_from(RECORDS_MAX).unwrap_or(i64::MAX);
        self.records = self.source.index(|index| {
            let parameters =
                params![self.ring.id, self.ring.device, seq.cast_signed(), ordinal, limit];
            let mut statement = index.prepare_cached(sql)?;
            let rows = statement.query_map(parameters, |row| {
                Ok(((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?), row.get(2)?))
            })?;
            rows.collect()
        })?;
        let is_full = self.records.len() == RECORDS_MAX;
        self.behind = self.records.back().map(|(place, _)| *place).filter(|_| is_full);
        Ok(())
    }
}

impl Open {
    fn place(&self) -> Option<Place> {
        self.samples.front().map(RingSample::place)
    }

    /// Decodes the next `part` samples.
    fn decode(&mut self, source: &Source, part: usize) -> rusqlite::Result<()> {
        let stream = *self.block.stream();
        for sample in self.block.samples().skip(self.decoded).take(part) {
            let sample = match sample {
                Ok(sample) => sample,
                Err(error) => return source.cannot_read(&self.row, error),
            };
            self.decoded += 1;
            self.samples.push_back(RingSample {
                run: *sample.run,
                ordinal: sample.ordinal,
                own_ms: sample.time_ms,
                column: sample.column,
                amount: sample.amount,
                exacts: self.block.shared_exacts(),
                catalogue: stream.catalogue,
                lane: stream.lane,
                seat: self.row.seat,
            });
        }
        Ok(())
    }

    fn key(&self) -> Reverse<(Option<Place>, i64)> {
        Reverse((self.place(), self.row.id))
    }
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Open {}
