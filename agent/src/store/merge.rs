//! Many small blocks of one stream into few: by day, cut at an hour's end once it is worth a block.

use std::collections::BTreeMap;

use protocol::codec::CodecError;

use super::block::{Block, Entry, Run, SAMPLES_MAX, Samples, Stream};
use super::rollup::HOUR_MS;
use super::schema::SPAN_MS_MAX;
use crate::value::{Amount, Exact};

/// Samples from which a block is worth its overhead: it ends with the hour.
pub const WORTH: usize = 8192;

/// A sample on its way from blocks into others.
#[derive(Clone, Copy, Debug)]
struct Loose {
    tick: i64,
    /// Among the exact ones of whoever has it.
    amount: Amount,
    ordinal: u32,
    run: u32,
    column: u8,
}

/// Samples of one stream, of any number of blocks.
#[derive(Debug, Default)]
pub struct Merging {
    runs: Vec<Run>,
    loose: Vec<Loose>,
    exacts: Vec<Exact>,
}

impl Merging {
    /// Adds what is in a block; nothing, if it does not decode. No sample may be in two.
    pub fn add(&mut self, block: &Block) -> Result<(), CodecError> {
        let base = u32::try_from(self.runs.len()).map_err(|_| CodecError::Malformed)?;
        let before = (self.loose.len(), self.exacts.len());
        for entry in block.entries(u128::MAX) {
            let loose = entry.map(|Entry { tick, amount, ordinal, run, column }| Loose {
                tick,
                amount: amount.moved(block.exacts(), &mut self.exacts),
                ordinal,
                run: base + u32::from(run),
                column,
            });
            match loose {
                Ok(loose) => self.loose.push(loose),
                Err(error) => {
                    self.loose.truncate(before.0);
                    self.exacts.truncate(before.1);
                    return Err(error);
                }
            }
        }
        self.runs.extend_from_slice(block.runs());
        Ok(())
    }

    /// Parts it by day, each day's number with what is in it. `offset_ms` is what places the
    /// samples.
    pub fn by_day(self, stream: &Stream, offset_ms: i64) -> BTreeMap<i64, Self> {
        let clock = Clock { tick_ms: i64::from(stream.tick_ms), offset_ms };
        let Self { runs, loose, exacts } = self;
        let mut days: BTreeMap<i64, Self> = BTreeMap::new();
        for group in loose.chunk_by(|a, b| a.run == b.run && clock.day(a) == clock.day(b)) {
            let Some(first) = group.first() else { continue };
            let Some(run) = runs.get(first.run as usize) else { continue };
            let day = days.entry(clock.day(first)).or_default();
            let index = u32::try_from(day.runs.len()).unwrap_or(u32::MAX);
            day.runs.push(*run);
            let own = &mut day.exacts;
            day.loose.extend(group.iter().map(|loose| {
                let amount = loose.amount.moved(&exacts, own);
                Loose { run: index, amount, ..*loose }
            }));
        }
        days
    }

    /// The times of all samples, in order.
    pub fn times(&self, stream: &Stream, offset_ms: i64) -> Vec<i64> {
        let clock = Clock { tick_ms: i64::from(stream.tick_ms), offset_ms };
        let mut times: Vec<i64> = self.loose.iter().map(|loose| clock.ms(loose)).collect();
        times.sort_unstable();
        times
    }

    /// The blocks to make of one day, each in the order of identity.
    pub fn into_blocks(mut self, stream: &Stream, offset_ms: i64) -> Vec<Samples> {
        let clock = Clock { tick_ms: i64::from(stream.tick_ms), offset_ms };
        self.order();
        // Stable: within an hour the order of identity stays.
        self.loose.sort_by_key(|loose| clock.hour(loose));
        let mut blocks = Vec::new();
        let mut part: Vec<Loose> = Vec::new();
        let mut day = None;
        for hour in self.loose.chunk_by(|a, b| clock.hour(a) == clock.hour(b)) {
            // Blocks that were made before their place in time was known may reach into the next.
            let next = hour.first().map(|loose| clock.day(loose));
            if day != next && !part.is_empty() {
                blocks.push(self.block(&mut part));
            }
            day = next;
            for instant in hour.chunk_by(|a, b| (a.run, a.ordinal) == (b.run, b.ordinal)) {
                for instant in instant.chunks(SAMPLES_MAX) {
                    if part.len() + instant.len() > SAMPLES_MAX {
                        blocks.push(self.block(&mut part));
                    }
                    part.extend_from_slice(instant);
                }
            }
            if part.len() >= WORTH {
                blocks.push(self.block(&mut part));
            }
        }
        if !part.is_empty() {
            blocks.push(self.block(&mut part));
        }
        blocks
    }

    /// Puts runs in the order of their frames, one for each, and samples in that of their identity.
    fn order(&mut self) {
        let mut ranks: Vec<u32> = (0..).take(self.runs.len()).collect();
        let seq = |at: &u32| self.runs.get(*at as usize).map(|run| run.seq);
        ranks.sort_by_key(seq);
        let mut place = vec![0; self.runs.len()];
        let mut runs: Vec<Run> = Vec::with_capacity(self.runs.len());
        for at in ranks {
            let Some(run) = self.runs.get(at as usize) else { continue };
            if runs.last().is_none_or(|last| last.seq != run.seq) {
                runs.push(*run);
            }
            if let Some(place) = place.get_mut(at as usize) {
                *place = u32::try_from(runs.len() - 1).unwrap_or(u32::MAX);
            }
        }
        for loose in &mut self.loose {
            loose.run = place.get(loose.run as usize).copied().unwrap_or_default();
        }
        self.runs = runs;
        self.loose.sort_by_key(|loose| (loose.run, loose.ordinal));
    }

    /// A block of these samples, which are taken out.
    fn block(&self, part: &mut Vec<Loose>) -> Samples {
        // Several hours of one frame that went back in time.
        part.sort_by_key(|loose| (loose.run, loose.ordinal));
        let mut samples = Samples::default();
        let mut last = None;
        for Loose { tick, amount, ordinal, run, column } in part.drain(..) {
            if last != Some(run) {
                samples.runs.extend(self.runs.get(run as usize));
                last = Some(run);
            }
            let run = u16::try_from(samples.runs.len().saturating_sub(1)).unwrap_or(u16::MAX);
            let amount = amount.moved(&self.exacts, &mut samples.exacts);
            samples.entries.push(Entry { tick, amount, ordinal, run, column });
        }
        samples
    }
}

impl Samples {
    /// Leaves out frames of which there is no sample.
    pub fn drop_empty_runs(&mut self) {
        let all = std::mem::take(&mut self.runs);
        let mut last = None;
        for entry in &mut self.entries {
            if last != Some(entry.run) {
                self.runs.extend(all.get(usize::from(entry.run)));
                last = Some(entry.run);
            }
            entry.run = u16::try_from(self.runs.len().saturating_sub(1)).unwrap_or(u16::MAX);
        }
    }
}

/// When a loose sample was.
#[derive(Clone, Copy)]
struct Clock {
    tick_ms: i64,
    offset_ms: i64,
}

impl Clock {
    fn ms(self, loose: &Loose) -> i64 {
        loose.tick.saturating_mul(self.tick_ms).saturating_add(self.offset_ms)
    }

    fn hour(self, loose: &Loose) -> i64 {
        self.ms(loose).div_euclid(HOUR_MS)
    }

    fn day(self, loose: &Loose) -> i64 {
        self.ms(loose).div_euclid(SPAN_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::{CatalogueId, Lane, RingId, Seq};

    use super::*;
    use crate::store::block;

    fn stream() -> Stream {
        Stream {
            device: "cab-7".parse().unwrap(),
            ring: RingId([3; 16]),
            lane: Lane::Bulk,
            catalogue: CatalogueId(77),
            tick_ms: 1000,
            boot: None,
            seat: None,
        }
    }

    /// Frames of a ring: each with instants, of a tick and some columns.
    fn frames() -> impl Strategy<Value = Vec<Vec<(i64, u8)>>> {
        let tick = prop_oneof![0_i64..400_000, Just(i64::MAX), Just(i64::MIN)];
        prop::collection::vec(prop::collection::vec((tick, 1_u8..4), 1..60), 1..12)
    }

    fn run(seq: u64) -> Run {
        let clock = protocol::Clock::Agent;
        Run { seq: Seq(seq), received_ms: 7, clock, boot: 2, origin: None }
    }

    fn block_of(seq: u64, instants: &[(i64, u8)]) -> Block {
        let mut samples = Samples { runs: vec![run(seq)], ..Samples::default() };
        for (ordinal, (tick, columns)) in (0..).zip(instants) {
            samples.entries.extend((0..*columns).map(|column| Entry {
                tick: *tick,
                amount: Amount::Steps(i64::from(ordinal) * 10 + i64::from(column)),
                ordinal,
                run: 0,
                column,
            }));
        }
        let mut piece = Vec::new();
        block::append(&mut piece, &stream(), &samples).unwrap();
        Block::open(piece).unwrap()
    }

    type Identified = (u64, u32, u8, i64, i64);

    fn identified(samples: &Samples) -> impl Iterator<Item = Identified> {
        samples.entries.iter().map(|entry| {
            let seq = samples.runs[usize::from(entry.run)].seq.0;
            (seq, entry.ordinal, entry.column, entry.tick, entry.amount.steps().unwrap())
        })
    }

    proptest! {
        #[test]
        fn every_sample_is_in_one_block_of_its_day(frames in frames(), turn in any::<usize>()) {
            let mut blocks: Vec<Block> =
                (1..).zip(&frames).map(|(seq, instants)| block_of(seq, instants)).collect();
            let before: Vec<Identified> = (1_u64..).zip(&frames).flat_map(|(seq, instants)| {
                (0_u32..).zip(instants.clone()).flat_map(move |(ordinal, (tick, columns))| {
                    (0..columns).map(move |column| {
                        (seq, ordinal, column, tick, i64::from(ordinal) * 10 + i64::from(column))
                    })
                })
            }).collect();
            let turn = turn % blocks.len();
            blocks.rotate_left(turn);
            let mut merging = Merging::default();
            for block in &blocks {
                merging.add(block).unwrap();
            }
            let mut after = Vec::new();
            for (day, merging) in merging.by_day(&stream(), 0) {
                for samples in merging.into_blocks(&stream(), 0) {
                    let mut all: Vec<Identified> = identified(&samples).collect();
                    prop_assert!(all.is_sorted_by_key(|one| (one.0, one.1)));
                    for one in &all {
                        prop_assert_eq!(one.3.saturating_mul(1000).div_euclid(SPAN_MS_MAX), day);
                    }
                    after.append(&mut all);
                }
            }
            after.sort_unstable();
            let mut expected = before;
            expected.sort_unstable();
            prop_assert_eq!(after, expected);
        }
    }

    #[test]
    fn blocks_end_with_an_hour_or_when_they_are_full() {
        let mut merging = Merging::default();
        // One sample a second for a day, and one hour of eighty thousand.
        let second =
            |tick| Loose { tick, amount: Amount::Steps(tick), ordinal: 0, run: 0, column: 0 };
        merging.loose = (0..86_400).map(second).collect();
        merging.loose.extend((0..80_000).map(|at| Loose { ordinal: at, ..second(7200) }));
        merging.runs = vec![run(1)];
        let blocks = merging.into_blocks(&stream(), 0);
        assert!(blocks.iter().all(|block| block.entries.len() <= SAMPLES_MAX));
        assert_eq!(blocks.iter().map(|block| block.entries.len()).sum::<usize>(), 166_400);
        assert!(blocks.iter().rev().skip(1).all(|block| block.entries.len() >= WORTH));
    }
}
