//! What is asked for of one block, as much of it at once as there is room for.

use std::sync::Arc;

use protocol::{Lane, RingId};

use super::super::selection::Selection;
use super::super::source::{Columns, Source};
use crate::privacy::Seat;
use crate::store::block::{Exacts, Run};
use crate::store::read::BlockRow;
use crate::value::{Amount, Exact};

/// One sample asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hit {
    /// Since 1970, or since the boot in a block of a boot.
    pub own_ms: i64,
    /// Among those of the block if it is no number of steps.
    pub amount: Amount,
    pub ordinal: u32,
    /// Its place in the block, among all that were asked for.
    place: u32,
    run: u32,
    pub column: u8,
}

/// How a block is gone through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// As its samples stand.
    Identity,
    /// By time.
    Ascending,
    /// By time, the latest first.
    Descending,
}

/// Where the next slice goes on: behind this time and place.
type Mark = (i64, u32);

/// A block at hand: the samples asked for, or the next of them. What does not fit is decoded again
/// later, so that a merge of many blocks takes no more room than one of few.
#[derive(Debug)]
pub(super) struct Slice {
    row: BlockRow,
    columns: Columns,
    way: Way,
    runs: Vec<Run>,
    exacts: Arc<Exacts>,
    hits: Vec<Hit>,
    at: usize,
    /// Samples that are only counted: nobody asked what they are.
    uncounted: u32,
    /// None once all were given.
    rest: Option<Mark>,
    pub ring: RingId,
    pub lane: Lane,
    /// Where the device sat.
    pub seat: Option<Arc<Seat>>,
}

impl Slice {
    /// A block of which nothing is asked but how many samples it has.
    pub fn count(source: &Source, row: BlockRow) -> rusqlite::Result<Self> {
        let uncounted = row.samples;
        Ok(Self { uncounted, ..Self::empty(source, row, 0, Way::Identity)? })
    }

    /// The first slice of a block, of at most `hits_max` samples unless it goes by identity.
    pub fn open(
        source: &Source,
        selection: &Selection,
        row: BlockRow,
        columns: Columns,
        way: Way,
        hits_max: usize,
    ) -> rusqlite::Result<Self> {
        let mut slice = Self::empty(source, row, columns, way)?;
        slice.fill(source, selection, None, hits_max)?;
        Ok(slice)
    }

    fn empty(source: &Source, row: BlockRow, columns: Columns, way: Way) -> rusqlite::Result<Self> {
        Ok(Self {
            seat: source.seat(row.seat)?,
            row,
            columns,
            way,
            runs: Vec::new(),
            exacts: Arc::default(),
            hits: Vec::new(),
            at: 0,
            uncounted: 0,
            rest: None,
            ring: RingId::default(),
            lane: Lane::Bulk,
        })
    }

    /// Whether there is no sample left.
    pub fn is_over(&self) -> bool {
        self.at >= self.hits.len() && self.uncounted == 0
    }

    /// Goes on by one.
    pub fn advance(
        &mut self,
        source: &Source,
        selection: &Selection,
        hits_max: usize,
    ) -> rusqlite::Result<()> {
        if self.uncounted > 0 {
            self.uncounted -= 1;
            return Ok(());
        }
        self.at += 1;
        match self.rest {
            Some(mark) if self.at >= self.hits.len() => {
                self.fill(source, selection, Some(mark), hits_max)
            }
            _ => Ok(()),
        }
    }

    /// How many samples are left to count.
    pub fn uncounted(&self) -> u32 {
        self.uncounted
    }

    /// The sample at hand; none if it is only counted.
    pub fn hit(&self) -> Option<&Hit> {
        self.hits.get(self.at)
    }

    /// Its frame.
    pub fn run(&self, hit: &Hit) -> Option<&Run> {
        self.runs.get(usize::try_from(hit.run).ok()?)
    }

    /// What its value is, if that is no number of steps.
    pub fn exact(&self, hit: &Hit) -> Option<&Exact> {
        hit.amount.exact(&self.exacts.values)
    }

    pub fn row(&self) -> &BlockRow {
        &self.row
    }

    /// The time of the sample at hand; none without a place in time.
    pub fn time_ms(&self) -> Option<i64> {
        let offset = self.row.offset_ms()?;
        self.hit().map(|hit| hit.own_ms.saturating_add(offset))
    }

    fn fill(
        &mut self,
        source: &Source,
        selection: &Selection,
        behind: Option<Mark>,
        hits_max: usize,
    ) -> rusqlite::Result<()> {
        let offset = self.row.offset_ms();
        let (way, asked) = (self.way, |own_ms: i64| match offset {
            Some(offset) => selection.holds(own_ms.saturating_add(offset)),
            None => !selection.is_timed,
        });
        self.hits.clear();
        (self.at, self.rest) = (0, None);
        let Some(block) = source.block(&self.row)? else { return Ok(()) };
        self.ring = block.stream().ring;
        self.lane = block.stream().lane;
        self.exacts = block.shared_exacts();
        let (mut run, mut place) = (0_u32, 0_u32);
        let mut runs: Vec<Run> = Vec::new();
        let mut last: Option<&Run> = None;
        for sample in block.samples_of(self.columns) {
            let sample = match sample {
                Ok(sample) => sample,
                Err(error) => {
                    // All of it is left out, or nothing.
                    self.hits.clear();
                    return source.cannot_read(&self.row, error);
                }
            };
            place += 1;
            let mark = (sample.time_ms, place);
            if !asked(sample.time_ms) || behind.is_some_and(|behind| !way.is_behind(mark, behind)) {
                continue;
            }
            if last.is_none_or(|last| !std::ptr::eq(last, sample.run)) {
                last = Some(sample.run);
                run = u32::try_from(runs.len()).unwrap_or(u32::MAX);
                runs.push(*sample.run);
            }
            self.hits.push(Hit {
                own_ms: sample.time_ms,
                amount: sample.amount,
                ordinal: sample.ordinal,
                place,
                run,
                column: sample.column,
            });
        }
        self.runs = runs;
        self.arrange(hits_max.max(1));
        Ok(())
    }

    /// Brings the hits into their order and leaves those beyond `hits_max` for later.
    fn arrange(&mut self, hits_max: usize) {
        self.rest = None;
        if self.way == Way::Identity {
            return;
        }
        let is_descending = self.way == Way::Descending;
        let key = |hit: &Hit| {
            let place = i64::from(hit.place);
            if is_descending { (!hit.own_ms, -place) } else { (hit.own_ms, place) }
        };
        if self.hits.len() > hits_max {
            self.hits.select_nth_unstable_by_key(hits_max, key);
            self.hits.truncate(hits_max);
            self.hits.shrink_to_fit();
        }
        let is_cut = self.hits.len() == hits_max;
        self.hits.sort_unstable_by_key(key);
        if is_cut {
            self.rest = self.hits.last().map(|hit| (hit.own_ms, hit.place));
        }
    }
}

impl Way {
    fn is_behind(self, mark: Mark, behind: Mark) -> bool {
        match self {
            Self::Identity => true,
            Self::Ascending => mark > behind,
            Self::Descending => mark < behind,
        }
    }
}
