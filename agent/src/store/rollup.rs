//! Roll-ups: what is kept ready of a block's hours and minutes.
//!
//! Exact: raw integers and their sum, so that a mean over many blocks is what all samples' mean is.
//! Packed column by column, each number against what the samples' continuity lets expect, since for
//! a device that says little they would weigh as much as its samples.

use std::collections::BTreeMap;

use protocol::codec::CodecError;
use protocol::varint;

use super::block::{COLUMNS_MAX, Entry};
use super::coding::{Bit, Decoder, Encoder, Number};

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds of a minute.
pub const MINUTE_MS: i64 = 60_000;
/// More roll-ups than a block can have: what a reader takes at most.
const ROLLUPS_MAX: u64 = 65_535;

/// One signal in one hour or minute, as far as one block goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rollup {
    /// Which signal of the catalogue; never a coarse place.
    pub column: u8,
    /// The bucket's number since 1970: hours, or minutes.
    pub bucket: i64,
    /// How many samples.
    pub count: u32,
    /// The least raw value.
    pub min: i64,
    /// The greatest.
    pub max: i64,
    /// All of them.
    pub sum: i128,
    /// The earliest one's; of several at one time, the first by identity.
    pub first: i64,
    /// The latest one's; of several at one time, the last by identity.
    pub last: i64,
    /// When the earliest was, in milliseconds since 1970.
    pub first_ms: i64,
    /// When the latest was.
    pub last_ms: i64,
}

impl Rollup {
    fn new(column: u8, bucket: i64, ms: i64, raw: i64) -> Self {
        let (count, sum) = (1, i128::from(raw));
        let (first, last, first_ms, last_ms) = (raw, raw, ms, ms);
        Self { column, bucket, count, min: raw, max: raw, sum, first, last, first_ms, last_ms }
    }

    fn add(&mut self, ms: i64, raw: i64) {
        self.count = self.count.saturating_add(1);
        self.min = self.min.min(raw);
        self.max = self.max.max(raw);
        self.sum = self.sum.saturating_add(i128::from(raw));
        if ms < self.first_ms {
            (self.first_ms, self.first) = (ms, raw);
        }
        if ms >= self.last_ms {
            (self.last_ms, self.last) = (ms, raw);
        }
    }
}

/// Rolls samples up, in the order of their identity; ordered by column, then bucket.
pub fn roll_up(entries: &[Entry], tick_ms: i64, offset_ms: i64, width_ms: i64) -> Vec<Rollup> {
    let mut all: BTreeMap<(u8, i64), Rollup> = BTreeMap::new();
    // The bucket at hand of each column: the next sample is in the same one, as a rule.
    let mut current: Vec<Option<Rollup>> = vec![None; usize::from(COLUMNS_MAX) - 1];
    for entry in entries {
        // A coarse place is a name, not a quantity; nor is what is no number of steps summed up.
        let (Some(slot), Some(raw)) =
            (current.get_mut(usize::from(entry.column)), entry.amount.steps())
        else {
            continue;
        };
        let ms = entry.tick.saturating_mul(tick_ms).saturating_add(offset_ms);
        let bucket = ms.div_euclid(width_ms);
        if let Some(rollup) = slot
            && rollup.bucket == bucket
        {
            rollup.add(ms, raw);
            continue;
        }
        let next = match all.remove(&(entry.column, bucket)) {
            Some(mut rollup) => {
                rollup.add(ms, raw);
                rollup
            }
            None => Rollup::new(entry.column, bucket, ms, raw),
        };
        if let Some(done) = slot.replace(next) {
            all.insert((done.column, done.bucket), done);
        }
    }
    all.extend(
        current.into_iter().flatten().map(|rollup| ((rollup.column, rollup.bucket), rollup)),
    );
    all.into_values().collect()
}

/// What packing and unpacking know alike.
#[derive(Default)]
struct Model {
    numbers: Numbers,
    /// Per bucket: what the column before had in it.
    before: BTreeMap<i64, (u32, i64, i64)>,
}

struct Numbers {
    column: Number,
    bucket: Number,
    like_before: Bit,
    count: Number,
    first_ms: Number,
    last_ms: Number,
    first: Number,
    last: Number,
    below: Number,
    above: Number,
    mean: Number,
    rest: Number,
}

impl Default for Numbers {
    fn default() -> Self {
        let number = Number::new;
        Self {
            column: number(),
            bucket: number(),
            like_before: Bit::EVEN,
            count: number(),
            first_ms: number(),
            last_ms: number(),
            first: number(),
            last: number(),
            below: number(),
            above: number(),
            mean: number(),
            rest: number(),
        }
    }
}

/// What comes before the first of a column.
fn before_first(column: u8, bucket: i64) -> Rollup {
    Rollup { count: 0, ..Rollup::new(column, bucket, 0, 0) }
}

/// Packs roll-ups in the order that [`roll_up`] gives.
pub fn pack(rollups: &[Rollup], width_ms: i64) -> Vec<u8> {
    let unit = unit_of(rollups, width_ms);
    let mut out = Vec::new();
    let mut number = [0; varint::LEN_MAX];
    for value in [rollups.len() as u64, unit.cast_unsigned()] {
        let len = varint::write(value, &mut number).unwrap_or_default();
        out.extend(number.iter().take(len));
    }
    let start = out.len();
    let (mut to, mut model) = (Encoder::new(), Model::default());
    let mut last = before_first(0, 0);
    for rollup in rollups {
        let Model { numbers: n, before } = &mut model;
        let columns = i64::from(rollup.column) - i64::from(last.column);
        n.column.put(&mut to, &mut out, columns);
        if columns != 0 {
            last = before_first(rollup.column, last.bucket);
        }
        n.bucket.put(&mut to, &mut out, rollup.bucket.wrapping_sub(last.bucket.wrapping_add(1)));
        let start_ms = rollup.bucket.wrapping_mul(width_ms);
        let times = [rollup.first_ms, rollup.last_ms]
            .map(|ms| ms.wrapping_sub(start_ms).checked_div(unit).unwrap_or_default());
        let alike = (rollup.count, times[0], times[1]);
        let is_like_before = before.get(&rollup.bucket) == Some(&alike);
        to.bit(&mut out, &mut n.like_before, is_like_before);
        if !is_like_before {
            n.count.put(&mut to, &mut out, i64::from(rollup.count) - i64::from(last.count));
            n.first_ms.put(&mut to, &mut out, times[0]);
            n.last_ms.put(&mut to, &mut out, (width_ms / unit).wrapping_sub(times[1]));
            before.insert(rollup.bucket, alike);
        }
        n.first.put(&mut to, &mut out, rollup.first.wrapping_sub(last.last));
        if rollup.count > 1 {
            put_values(n, &mut to, &mut out, rollup);
        }
        last = *rollup;
    }
    to.finish(&mut out, start);
    out
}

/// All but the first, of two or more.
fn put_values(n: &mut Numbers, to: &mut Encoder, out: &mut Vec<u8>, rollup: &Rollup) {
    let (low, high) = (rollup.first.min(rollup.last), rollup.first.max(rollup.last));
    n.last.put(to, out, rollup.last.wrapping_sub(rollup.first));
    n.below.put(to, out, low.wrapping_sub(rollup.min));
    n.above.put(to, out, rollup.max.wrapping_sub(high));
    let (mean, rest) = mean(rollup);
    n.mean.put(to, out, mean.wrapping_sub(low.midpoint(high)));
    n.rest.put(to, out, rest.wrapping_sub(i64::from(rollup.count / 2)));
}

/// The mean, rounded down, and what is left of the sum: both fit, whatever the values.
fn mean(rollup: &Rollup) -> (i64, i64) {
    let count = i128::from(rollup.count.max(1));
    let fit = |value| i64::try_from(value).unwrap_or_default();
    (fit(rollup.sum.div_euclid(count)), fit(rollup.sum.rem_euclid(count)))
}

/// What all times within their buckets are multiples of, in milliseconds: 1 or 1000.
fn unit_of(rollups: &[Rollup], width_ms: i64) -> i64 {
    let is_whole = |ms: i64| ms.rem_euclid(1000) == 0;
    let all = rollups.iter().all(|rollup| is_whole(rollup.first_ms) && is_whole(rollup.last_ms));
    if all && is_whole(width_ms) { 1000 } else { 1 }
}

/// Reads packed roll-ups of buckets this wide ([`HOUR_MS`] for `rollups.hourly`, [`MINUTE_MS`] for
/// `rollups.minutely`): ordered by column, then bucket.
pub fn unpack(packed: &[u8], width_ms: i64) -> Result<Vec<Rollup>, CodecError> {
    let (count, rest) = varint::read(packed).ok_or(CodecError::Truncated)?;
    let (unit, coded) = varint::read(rest).ok_or(CodecError::Truncated)?;
    if count > ROLLUPS_MAX || !matches!(unit, 1 | 1000) {
        return Err(CodecError::Malformed);
    }
    let unit = unit.cast_signed();
    let (mut from, mut model) = (Decoder::new(coded), Model::default());
    let mut last = before_first(0, 0);
    let mut rollups = Vec::new();
    for _ in 0..count {
        let Model { numbers: n, before } = &mut model;
        let columns = n.column.take(&mut from);
        let column = u8::try_from(i64::from(last.column).wrapping_add(columns))
            .ok()
            .filter(|column| *column < COLUMNS_MAX)
            .ok_or(CodecError::Malformed)?;
        if columns != 0 {
            last = before_first(column, last.bucket);
        }
        let bucket = n.bucket.take(&mut from).wrapping_add(last.bucket.wrapping_add(1));
        let start_ms = bucket.wrapping_mul(width_ms);
        let alike = if from.bit(&mut n.like_before) {
            *before.get(&bucket).ok_or(CodecError::Malformed)?
        } else {
            let count = n.count.take(&mut from).wrapping_add(i64::from(last.count));
            let count = u32::try_from(count).ok().filter(|count| *count > 0);
            let first = n.first_ms.take(&mut from);
            let last = (width_ms / unit).wrapping_sub(n.last_ms.take(&mut from));
            let alike = (count.ok_or(CodecError::Malformed)?, first, last);
            before.insert(bucket, alike);
            alike
        };
        let (count, first_at, last_at) = alike;
        let first = n.first.take(&mut from).wrapping_add(last.last);
        let mut rollup = Rollup::new(column, bucket, 0, first);
        rollup.count = count;
        rollup.first_ms = start_ms.wrapping_add(first_at.wrapping_mul(unit));
        rollup.last_ms = start_ms.wrapping_add(last_at.wrapping_mul(unit));
        if count > 1 {
            take_values(n, &mut from, &mut rollup);
        }
        last = rollup;
        rollups.push(rollup);
    }
    Ok(rollups)
}

fn take_values(n: &mut Numbers, from: &mut Decoder<'_>, rollup: &mut Rollup) {
    rollup.last = rollup.first.wrapping_add(n.last.take(from));
    let (low, high) = (rollup.first.min(rollup.last), rollup.first.max(rollup.last));
    rollup.min = low.wrapping_sub(n.below.take(from));
    rollup.max = high.wrapping_add(n.above.take(from));
    let mean = n.mean.take(from).wrapping_add(low.midpoint(high));
    let rest = n.rest.take(from).wrapping_add(i64::from(rollup.count / 2));
    rollup.sum = i128::from(mean) * i128::from(rollup.count) + i128::from(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::Amount;

    fn entry() -> impl Strategy<Value = Entry> {
        let tick = prop_oneof![0_i64..20_000_000, any::<i64>()];
        let raw = prop_oneof![-50_i64..50, any::<i64>()];
        (tick, raw, 0..COLUMNS_MAX).prop_map(|(tick, raw, column)| Entry {
            amount: Amount::Steps(raw),
            tick,
            ordinal: 0,
            run: 0,
            column: if column > 3 && column < 64 { 2 } else { column },
        })
    }

    /// By the book: every bucket by itself.
    fn naive(entries: &[Entry], tick_ms: i64, offset_ms: i64, width_ms: i64) -> Vec<Rollup> {
        let at = |entry: &Entry| entry.tick.saturating_mul(tick_ms).saturating_add(offset_ms);
        let key = |entry: &Entry| (entry.column, at(entry).div_euclid(width_ms));
        let mut keys: Vec<_> = entries.iter().filter(|e| e.column < 64).map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        let one = |(column, bucket)| {
            let all: Vec<&Entry> = entries.iter().filter(|e| key(e) == (column, bucket)).collect();
            let first = all.iter().min_by_key(|e| at(e)).unwrap();
            let last = all.iter().max_by_key(|e| at(e)).unwrap();
            Rollup {
                column,
                bucket,
                count: u32::try_from(all.len()).unwrap(),
                min: all.iter().map(|e| e.amount.steps().unwrap()).min().unwrap(),
                max: all.iter().map(|e| e.amount.steps().unwrap()).max().unwrap(),
                sum: all.iter().map(|e| i128::from(e.amount.steps().unwrap())).sum(),
                first: first.amount.steps().unwrap(),
                last: last.amount.steps().unwrap(),
                first_ms: at(first),
                last_ms: at(last),
            }
        };
        keys.into_iter().map(one).collect()
    }

    proptest! {
        #[test]
        fn rolled_up_as_by_the_book_and_packed_and_back(
            entries in prop::collection::vec(entry(), 0..200),
            tick_ms in prop_oneof![Just(1_i64), Just(1000)],
            offset_ms in prop_oneof![Just(0_i64), any::<i32>().prop_map(i64::from)],
            width_ms in prop_oneof![Just(HOUR_MS), Just(MINUTE_MS)],
        ) {
            let rollups = roll_up(&entries, tick_ms, offset_ms, width_ms);
            prop_assert_eq!(&rollups, &naive(&entries, tick_ms, offset_ms, width_ms));
            prop_assert_eq!(unpack(&pack(&rollups, width_ms), width_ms).unwrap(), rollups);
        }

        #[test]
        fn hostile_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(rollups) = unpack(&bytes, HOUR_MS) {
                prop_assert!(rollups.len() <= 65_535);
            }
        }
    }
}
