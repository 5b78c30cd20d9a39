//! What the index says of a block, from its samples.

use protocol::Seq;

use super::block::{Entry, Run, Samples, Stream};
use super::rollup::{self, HOUR_MS, MINUTE_MS};
use super::schema::{FLAG_CELLS, FLAG_SORTED};
use crate::privacy::Lens;

/// Samples to a roll-up from which hours are kept: with fewer, decoding them is as quick.
const HOURLY_WORTH: usize = 8;
/// Samples to a roll-up from which minutes are kept: they may take a twentieth of what samples take.
const MINUTELY_WORTH: usize = 120;

/// What the index says of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The earliest sample's own time.
    pub own_ms: i64,
    /// From the earliest to the latest.
    pub span_ms: i64,
    /// The first frame.
    pub seq_first: Seq,
    /// The last.
    pub seq_last: Seq,
    /// How many samples.
    pub samples: usize,
    /// A bit per column.
    pub columns: u64,
    /// See [`super::schema`].
    pub flags: i64,
}

impl Facts {
    /// From samples, of which there must be some.
    pub fn of(stream: &Stream, runs: &[Run], entries: &[Entry]) -> Self {
        let ticks = entries.iter().map(|entry| entry.tick);
        let (least, most) = ticks
            .fold((i64::MAX, i64::MIN), |(least, most), tick| (least.min(tick), most.max(tick)));
        let ms = |tick: i64| tick.saturating_mul(i64::from(stream.tick_ms));
        let is_signal = |entry: &&Entry| entry.column < Lens::CELL;
        let columns =
            entries.iter().filter(is_signal).fold(0, |mask, entry| mask | 1 << entry.column);
        let has_cells = entries.iter().any(|entry| entry.column == Lens::CELL);
        let is_sorted = entries.is_sorted_by_key(|entry| entry.tick);
        Self {
            own_ms: ms(least),
            span_ms: ms(most).saturating_sub(ms(least)),
            seq_first: runs.first().map_or(Seq::ZERO, |run| run.seq),
            seq_last: runs.last().map_or(Seq::ZERO, |run| run.seq),
            samples: entries.len(),
            columns,
            flags: if is_sorted { FLAG_SORTED } else { 0 } | if has_cells { FLAG_CELLS } else { 0 },
        }
    }
}

/// Packed roll-ups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packed {
    /// `rollups.hourly`
    pub hourly: Vec<u8>,
    /// `rollups.minutely`
    pub minutely: Option<Vec<u8>>,
}

impl Packed {
    /// The roll-ups of a block whose samples' times are to be moved by `offset_ms`, as far as they
    /// are worth keeping.
    pub fn of(stream: &Stream, samples: &Samples, offset_ms: i64) -> Option<Self> {
        let hourly = Self::if_worth(stream, samples, offset_ms, HOUR_MS, HOURLY_WORTH)?;
        let minutely = Self::if_worth(stream, samples, offset_ms, MINUTE_MS, MINUTELY_WORTH);
        Some(Self { hourly, minutely })
    }

    /// The same for hours, worth keeping or not.
    pub fn hours(stream: &Stream, entries: &[Entry], offset_ms: i64) -> Vec<u8> {
        let tick_ms = i64::from(stream.tick_ms);
        rollup::pack(&rollup::roll_up(entries, tick_ms, offset_ms, HOUR_MS), HOUR_MS)
    }

    fn if_worth(
        stream: &Stream,
        samples: &Samples,
        offset_ms: i64,
        width_ms: i64,
        worth: usize,
    ) -> Option<Vec<u8>> {
        let tick_ms = i64::from(stream.tick_ms);
        let rollups = rollup::roll_up(&samples.entries, tick_ms, offset_ms, width_ms);
        let is_worth = !rollups.is_empty() && samples.entries.len() >= rollups.len() * worth;
        is_worth.then(|| rollup::pack(&rollups, width_ms))
    }
}
