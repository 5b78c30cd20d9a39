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

/// What encoder and decoder know alike, for up to `N` signals.
#[derive(Clone, Debug)]
struct Model<const N: usize> {
    columns: [Column; N],
    last_tick: i64,
    last_signal: u8,
}

impl<const N: usize> Model<N> {
    fn new(signals: u8) -> Self {
        let mut columns = [COLUMN_START; N];
        // Until seen otherwise, signals follow each other by number, in turn.
        for (at, column) in (1_u8..).zip(columns.iter_mut()) {
            column.follower = if at < signals { at } else { 0 };
        }
        Self { columns, last_tick: 0, last_signal: 0 }
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
}

/// Reads such a batch, of a catalogue of up to `N` signals. An iterator; after an error it ends.
#[derive(Clone, Debug)]
pub struct RiceDecoder<'a, const N: usize> {
    model: Model<N>,
    bits: BitReader<'a>,
    count: u16,
    left: u16,
    signals: u8,
}

impl<'a, const N: usize> RiceDecoder<'a, N> {
    /// A decoder for the `count` samples in `columns`, of a catalogue with `signals` signals.
    pub fn new(columns: &'a [u8], count: u16, signals: u8) -> Self {
        Self {
            model: Model::new(signals),
            bits: BitReader::new(columns),
            count,
            left: count,
            signals,
        }
    }

    fn read(&mut self) -> Result<Sample, CodecError> {
        let signal = if self.bits.take(1)? == 0 {
            self.model.expected()
        } else {
            u8::try_from(self.bits.take(INDEX_BITS)?).map_err(|_| CodecError::Malformed)?
        };
        if signal >= self.signals {
            return Err(CodecError::UnknownSignal);
        }
        self.model.follow(signal);
        let column =
            self.model.columns.get_mut(usize::from(signal)).ok_or(CodecError::UnknownSignal)?;
        let surprise = unzigzag(column.interval.take(&mut self.bits)?);
        let interval = column.last_interval.wrapping_add(surprise);
        column.last_interval = if self.left == self.count { 0 } else { interval };
        self.model.last_tick = self.model.last_tick.wrapping_add(interval);
        column.last_raw = column.last_raw.wrapping_add(unzigzag(column.raw.take(&mut self.bits)?));
        Ok(Sample::new(self.model.last_tick, SignalIndex(signal), column.last_raw))
    }
}

impl<const N: usize> Iterator for RiceDecoder<'_, N> {
    type Item = Result<Sample, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let sample = self.read();
        self.left = if sample.is_ok() { self.left - 1 } else { 0 };
        Some(sample)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(usize::from(self.left)))
    }
}
