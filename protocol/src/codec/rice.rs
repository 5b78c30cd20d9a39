//! What devices of release 0.1.0 send, and old journals hold: read, and no longer written.
//!
//! Per sample: one bit, 0 if the signal is the one that followed last time, else 1 and its number; the
//! difference of its interval from the one this signal had last time; the difference of its value from its
//! last one. Differences are zigzagged and Rice coded with a parameter that follows each source's recent
//! magnitude.

use super::CodecError;
use super::bits::BitReader;
use super::model::INDEX_BITS;
use crate::sample::Sample;
use crate::signal::SignalIndex;
use crate::varint::unzigzag;

/// Unary part of a Rice code beyond which the number is written out instead.
const ESCAPE: u32 = 24;

/// One integer source's recent magnitude, which sets its Rice parameter.
#[derive(Clone, Copy, Debug)]
struct Adaptive {
    /// Sixteen times the running mean of the zigzagged differences.
    mean16: u32,
}

impl Adaptive {
    const START: Self = Self { mean16: 64 };

    fn parameter(self) -> u32 {
        32 - (self.mean16 / 24).leading_zeros()
    }

    fn learn(&mut self, magnitude: u64) {
        // One outlier (a batch's first value, a gap) must not blunt the next hundred codes.
        let most = self.mean16.saturating_mul(2).saturating_add(256).min(1 << 26);
        let capped = u32::try_from(magnitude).unwrap_or(most).min(most);
        self.mean16 = self.mean16 - (self.mean16 >> 4) + capped;
    }

    fn take(&mut self, bits: &mut BitReader<'_>) -> Result<u64, CodecError> {
        let k = self.parameter();
        let ones = bits.ones(ESCAPE)?;
        let value = if ones < ESCAPE {
            (u64::from(ones) << k) | u64::from(bits.take(k)?)
        } else {
            (u64::from(bits.take(32)?) << 32) | u64::from(bits.take(32)?)
        };
        self.learn(value);
        Ok(value)
    }
}

#[derive(Clone, Copy, Debug)]
struct Column {
    last_raw: i64,
    last_interval: i64,
    /// The signal that came after this one last time.
    follower: u8,
    raw: Adaptive,
    interval: Adaptive,
}

const COLUMN_START: Column = Column {
    last_raw: 0,
    last_interval: 0,
    follower: 0,
    raw: Adaptive::START,
    interval: Adaptive::START,
};

/// What encoder and decoder knew alike, for up to `N` signals.
#[derive(Clone, Debug)]
pub struct RiceModel<const N: usize> {
    columns: [Column; N],
    last_tick: i64,
    last_signal: u8,
    signals: u8,
}

impl<const N: usize> RiceModel<N> {
    /// Nothing has come of a catalogue with so many signals.
    pub fn new(signals: u8) -> Self {
        let mut columns = [COLUMN_START; N];
        // Until seen otherwise, signals follow each other by number, in turn.
        for (at, column) in (1_u8..).zip(columns.iter_mut()) {
            column.follower = if at < signals { at } else { 0 };
        }
        Self { columns, last_tick: 0, last_signal: 0, signals }
    }

    fn expected(&self) -> u8 {
        self.columns.get(usize::from(self.last_signal)).map_or(0, |column| column.follower)
    }

    fn follow(&mut self, signal: u8) {
        if let Some(column) = self.columns.get_mut(usize::from(self.last_signal)) {
            column.follower = signal;
        }
        self.last_signal = signal;
    }

    /// The next sample of a batch.
    pub fn sample(
        &mut self,
        bits: &mut BitReader<'_>,
        is_first: bool,
    ) -> Result<Sample, CodecError> {
        let signal = if bits.take(1)? == 0 {
            self.expected()
        } else {
            u8::try_from(bits.take(INDEX_BITS)?).map_err(|_| CodecError::Malformed)?
        };
        if signal >= self.signals {
            return Err(CodecError::UnknownSignal);
        }
        self.follow(signal);
        let column = self.columns.get_mut(usize::from(signal)).ok_or(CodecError::UnknownSignal)?;
        let interval = column.last_interval.wrapping_add(unzigzag(column.interval.take(bits)?));
        column.last_interval = if is_first { 0 } else { interval };
        self.last_tick = self.last_tick.wrapping_add(interval);
        column.last_raw = column.last_raw.wrapping_add(unzigzag(column.raw.take(bits)?));
        Ok(Sample::new(self.last_tick, SignalIndex(signal), column.last_raw))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::varint::zigzag;

    /// Bits in bytes, the highest first, filled up with zeros.
    fn bytes(bits: &[(u64, u32)]) -> Vec<u8> {
        let all: Vec<u8> = bits
            .iter()
            .flat_map(|(number, len)| {
                (0..*len).rev().map(move |at| u8::from(number >> at & 1 == 1))
            })
            .collect();
        let byte = |bits: &[u8]| (0..8).fold(0, |byte, at| byte << 1 | bits.get(at).unwrap_or(&0));
        all.chunks(8).map(byte).collect()
    }

    #[test]
    fn a_number_too_large_for_its_code_is_written_out_behind_24_ones() {
        let ones = (0xff_ffff, 24);
        for (tick, steps) in [(1_211_094_008_000, -5), (i64::MIN, i64::MAX), (0x1234_5678, 1 << 33)]
        {
            let bits = [(0, 1), ones, (zigzag(tick), 64), ones, (zigzag(steps), 64)];
            let bytes = bytes(&bits);
            let sample = RiceModel::<1>::new(1).sample(&mut BitReader::new(&bytes), true);
            assert_eq!(sample, Ok(Sample::new(tick, SignalIndex(0), steps)));
        }
    }

    #[test]
    fn a_small_number_is_as_many_ones_as_it_has_fours_and_two_bits() {
        let code = |ones: u32, low: u64| [((1 << (ones + 1)) - 2, ones + 1), (low, 2)];
        let [tick, steps] = [code(2, 2), code(3, 1)];
        let bytes = bytes(&[&[(0, 1)], &tick[..], &steps].concat());
        let sample = RiceModel::<1>::new(1).sample(&mut BitReader::new(&bytes), true);
        assert_eq!(sample, Ok(Sample::new(5, SignalIndex(0), -7)));
    }
}
