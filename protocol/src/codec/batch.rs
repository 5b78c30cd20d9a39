//! Batches: samples in, bytes out, and back.

use super::clock::Follower;
use super::hints::Hints;
use super::model::{INDEX_BITS, Model};
use super::range::{Interval, Reader};
use super::{CodecError, Full, SAMPLE_BYTES_MAX};
use crate::sample::Sample;
use crate::signal::SignalIndex;

const NOTHING: Sample = Sample { tick: 0, signal: SignalIndex(0), raw: 0 };

/// Codes samples as they come, for a catalogue of up to `N` signals (at most 64).
///
/// The buffer is handed in at each call and must be the same one all through; so must the hints.
#[derive(Clone, Debug)]
pub struct Encoder<const N: usize> {
    model: Model<N>,
    at: Interval,
    follower: Follower,
    count: u16,
    signals: u8,
}

impl<const N: usize> Encoder<N> {
    /// An empty batch for a catalogue with `signals` signals, at most `N`.
    pub fn new(hints: &Hints<'_>, signals: u8) -> Self {
        const { assert!(N > 0 && N <= 1 << INDEX_BITS, "an encoder takes 1 to 64 signals") };
        let (model, follower) = (Model::new(hints, signals), Follower::default());
        Self { model, at: Interval::START, follower, count: 0, signals }
    }

    /// Samples pushed.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Bytes that the batch takes if it is finished now, or one less.
    pub fn len(&self) -> usize {
        self.at.len() + 1
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a sample. Refuses, with nothing changed, one whose worst case might not fit, whose
    /// signal the catalogue does not have, or that is the 65,536th.
    pub fn push(&mut self, hints: &Hints<'_>, into: &mut [u8], sample: Sample) -> Result<(), Full> {
        if sample.signal.0 >= self.signals
            || self.count == u16::MAX
            || into.len() < self.at.len() + SAMPLE_BYTES_MAX
        {
            return Err(Full);
        }
        let mut writer = self.at.writer(into);
        if self.count == 0 {
            self.model.choose(&mut writer, hints, self.follower.best());
        }
        self.model.sample(&mut writer, hints, sample).map_err(|_| Full)?;
        self.follower.came(hints.timing, sample.tick);
        self.count += 1;
        Ok(())
    }

    /// Ends the batch; its length in the buffer. What is pushed then is the next batch, which goes on
    /// from nothing, or, `chained`, from all that this one knew.
    pub fn finish(
        &mut self,
        hints: &Hints<'_>,
        into: &mut [u8],
        chained: bool,
    ) -> Result<usize, Full> {
        let len = self.at.finish(into)?;
        self.at = Interval::START;
        self.count = 0;
        if !chained {
            self.model.begin(hints);
        }
        Ok(len)
    }

    /// The levels of all chances as they are now: what a start table is made of.
    pub fn chances(&mut self) -> impl Iterator<Item = super::chance::Chance> {
        self.model.chances()
    }
}

/// Reads a batch of samples of a catalogue of up to `N` signals.
///
/// An iterator; after an error it ends.
#[derive(Clone, Debug)]
pub struct Decoder<'a, const N: usize> {
    model: Model<N>,
    hints: &'a Hints<'a>,
    reader: Reader<'a>,
    count: u16,
    left: u16,
}

impl<'a, const N: usize> Decoder<'a, N> {
    /// A decoder for the `count` samples in `columns`, of a catalogue with `signals` signals.
    pub fn new(hints: &'a Hints<'a>, columns: &'a [u8], count: u16, signals: u8) -> Self {
        let (model, reader) = (Model::new(hints, signals), Reader::new(columns));
        Self { model, hints, reader, count, left: count }
    }

    /// Goes on with the batch that was chained to this one.
    pub fn next_batch(&mut self, columns: &'a [u8], count: u16) {
        self.reader = Reader::new(columns);
        (self.count, self.left) = (count, count);
    }
}

impl<const N: usize> Iterator for Decoder<'_, N> {
    type Item = Result<Sample, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        if self.left == self.count {
            self.model.choose(&mut self.reader, self.hints, 0);
        }
        let sample = self.model.sample(&mut self.reader, self.hints, NOTHING);
        self.left = if sample.is_ok() { self.left - 1 } else { 0 };
        Some(sample)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(usize::from(self.left)))
    }
}
