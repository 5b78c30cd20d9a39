//! The first codec: integer prediction and adaptive Rice codes, one pass, each batch by itself.
//!
//! A poller asks signal after signal in the same turn, so each sample costs: one bit if its signal
//! is the one that followed last time; the difference of its interval from the one this signal had
//! last time; the difference of its value from its last one. Differences are zigzagged and Rice
//! coded with a parameter that follows each source's recent magnitude.

use super::bits::{BitReader, BitWriter};
use super::{CodecError, Full, SAMPLE_BYTES_MAX};
use crate::sample::Sample;
use crate::signal::SignalIndex;
use crate::varint::{unzigzag, zigzag};

/// Unary part of a Rice code beyond which the number is written out instead.
const ESCAPE: u32 = 24;
/// Bits of a signal index that was not the expected one.
const INDEX_BITS: u32 = 6;

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

    fn put(&mut self, bits: &mut BitWriter, into: &mut [u8], value: u64) -> Result<(), Full> {
        let k = self.parameter();
        let quotient = value >> k;
        if let Ok(ones) = u32::try_from(quotient)
            && ones < ESCAPE
        {
            // `ones` one bits and a zero.
            bits.put(into, ((1 << ones) - 1) << 1, ones + 1)?;
            bits.put(into, low_u32(value), k)?;
        } else {
            bits.put(into, (1 << ESCAPE) - 1, ESCAPE)?;
            bits.put(into, low_u32(value >> 32), 32)?;
            bits.put(into, low_u32(value), 32)?;
        }
        self.learn(value);
        Ok(())
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

fn low_u32(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
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

/// Codes samples as they come, for a catalogue of up to `N` signals (at most 64).
///
/// The buffer is handed in at each call and must be the same one all through.
#[derive(Clone, Debug)]
pub struct Encoder<const N: usize> {
    model: Model<N>,
    bits: BitWriter,
    count: u16,
    signals: u8,
}

impl<const N: usize> Encoder<N> {
    /// An empty batch for a catalogue with `signals` signals, at most `N`.
    pub fn new(signals: u8) -> Self {
        const { assert!(N > 0 && N <= 1 << INDEX_BITS, "an encoder takes 1 to 64 signals") };
        Self { model: Model::new(signals), bits: BitWriter::default(), count: 0, signals }
    }

    /// Samples pushed.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Bytes that the batch takes if it is finished now.
    pub fn len(&self) -> usize {
        self.bits.len()
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a sample. Refuses, with nothing changed, one whose worst case might not fit, whose
    /// signal the catalogue does not have, or that is the 65,536th.
    pub fn push(&mut self, into: &mut [u8], sample: Sample) -> Result<(), Full> {
        let signal = sample.signal.0;
        if signal >= self.signals
            || self.count == u16::MAX
            || into.len() < self.bits.len() + SAMPLE_BYTES_MAX
        {
            return Err(Full);
        }
        if signal == self.model.expected() {
            self.bits.put(into, 0, 1)?;
        } else {
            self.bits.put(into, 1, 1)?;
            self.bits.put(into, u32::from(signal), INDEX_BITS)?;
        }
        self.model.follow(signal);
        let column = self.model.columns.get_mut(usize::from(signal)).ok_or(Full)?;
        let interval = sample.tick.wrapping_sub(self.model.last_tick);
        let surprise = zigzag(interval.wrapping_sub(column.last_interval));
        column.interval.put(&mut self.bits, into, surprise)?;
        column.last_interval = if self.count == 0 { 0 } else { interval };
        self.model.last_tick = sample.tick;
        let change = zigzag(sample.raw.wrapping_sub(column.last_raw));
        column.raw.put(&mut self.bits, into, change)?;
        column.last_raw = sample.raw;
        self.count += 1;
        Ok(())
    }

    /// Ends the batch; its length in the buffer.
    pub fn finish(mut self, into: &mut [u8]) -> Result<usize, Full> {
        self.bits.finish(into)
    }
}

/// Reads a batch of samples of a catalogue of up to `N` signals.
///
/// An iterator; after an error it ends.
#[derive(Clone, Debug)]
pub struct Decoder<'a, const N: usize> {
    model: Model<N>,
    bits: BitReader<'a>,
    count: u16,
    left: u16,
    signals: u8,
}

impl<'a, const N: usize> Decoder<'a, N> {
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
        Ok(Sample { tick: self.model.last_tick, signal: SignalIndex(signal), raw: column.last_raw })
    }
}

impl<const N: usize> Iterator for Decoder<'_, N> {
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
