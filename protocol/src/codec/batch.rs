//! Batches: samples in, bytes out, and back.

use super::chance::Chance;
use super::clock::Follower;
use super::exact::Content;
use super::hints::Hints;
use super::model::{INDEX_BITS, Model};
use super::odds::{Learning, Odds, Still};
use super::range::{Interval, Reader};
use super::rice::RiceDecoder;
use super::{CodecError, Coding, Full, SAMPLE_BYTES_MAX, SamplesHeader};
use crate::sample::Sample;
use crate::signal::SignalIndex;

/// So many samples of a batch tell which clock the next one follows.
const FOLLOWED: u16 = 128;
const NOTHING: Sample = Sample::new(0, SignalIndex(0), 0);

/// Codes samples as they come, for a catalogue of up to `N` signals (at most 64).
///
/// The buffer is handed in at each call and must be the same one all through.
#[derive(Clone, Debug)]
pub struct Encoder<'a, const N: usize, O = Learning<N>> {
    hints: Hints<'a>,
    model: Model<O, N>,
    at: Interval,
    follower: Follower,
    count: u16,
    signals: u8,
}

/// An encoder whose odds stay where they began: a sixth of the memory, for batches of a few samples.
pub type StillEncoder<'a, const N: usize> = Encoder<'a, N, Still>;

impl<'a, const N: usize, O: Odds + Default> Encoder<'a, N, O> {
    /// An empty batch for a catalogue with `signals` signals, at most `N`.
    pub fn new(hints: Hints<'a>, signals: u8) -> Self {
        const { assert!(N > 0 && N <= 1 << INDEX_BITS, "an encoder takes 1 to 64 signals") };
        let model = Model::new(O::default(), &hints, signals);
        let (at, follower) = (Interval::START, Follower::default());
        Self { hints, model, at, follower, count: 0, signals }
    }

    /// Samples pushed.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Bytes that the batch takes at most if it is finished now.
    pub fn len(&self) -> usize {
        if self.count == 0 { 0 } else { self.at.len() + 1 }
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a sample that has nothing beside it; see [`Encoder::push_with`].
    pub fn push(&mut self, into: &mut [u8], sample: Sample) -> Result<(), Full> {
        if sample.steps().is_none() {
            return self.push_with(into, sample, &[]);
        }
        self.code(into, sample, None)
    }

    /// Appends a sample, and what stands beside its value. Refuses, with nothing changed, one whose
    /// worst case might not fit, whose signal the catalogue does not have, or that is the 65,536th; and
    /// one that has beside it what its value does not say.
    pub fn push_with(
        &mut self,
        into: &mut [u8],
        sample: Sample,
        content: &[u8],
    ) -> Result<(), Full> {
        if sample.steps().is_some() && content.is_empty() {
            return self.code(into, sample, None);
        }
        let mut content = Content::of(sample.value, content).ok_or(Full)?;
        self.code(into, sample, Some(&mut content))
    }

    fn code(
        &mut self,
        into: &mut [u8],
        sample: Sample,
        content: Option<&mut Content>,
    ) -> Result<(), Full> {
        let beside = content.as_ref().map_or(0, |content| content.bytes().len());
        let most = SAMPLE_BYTES_MAX + beside;
        if sample.signal.0 >= self.signals
            || self.count == u16::MAX
            || into.len() < self.at.len() + most
        {
            return Err(Full);
        }
        let mut writer = self.at.writer(into);
        if self.count == 0 {
            self.model.choose(&mut writer, self.hints.timing, self.follower.best());
        }
        self.model.sample(&mut writer, &self.hints, sample, content).map_err(|_| Full)?;
        if self.count < FOLLOWED {
            self.follower.came(self.hints.timing, sample.tick);
        }
        self.count += 1;
        Ok(())
    }

    /// Ends the batch; its length in the buffer. What is pushed then begins the next one.
    pub fn finish(&mut self, into: &mut [u8]) -> Result<usize, Full> {
        let len = self.end(into)?;
        self.model.begin(&self.hints);
        Ok(len)
    }

    /// Ends the batch, as [`Encoder::finish`] does, and the next one goes on from all that this one
    /// knew: it can only be read behind it.
    pub fn finish_chained(&mut self, into: &mut [u8]) -> Result<usize, Full> {
        self.end(into)
    }

    fn end(&mut self, into: &mut [u8]) -> Result<usize, Full> {
        let len = if self.count == 0 { 0 } else { self.at.finish(into)? };
        (self.at, self.count) = (Interval::START, 0);
        Ok(len)
    }
}

impl<const N: usize> Encoder<'_, N> {
    /// All chances as they are now, in the order of a start table: what one is made of.
    pub fn chances(&self) -> impl Iterator<Item = Chance> {
        let (odds, signals) = self.model.odds();
        odds.all(signals)
    }
}

/// Reads a batch of samples of a catalogue of up to `N` signals.
///
/// An iterator; after an error it ends.
#[derive(Clone, Debug)]
pub struct Decoder<'a, const N: usize>(Inner<'a, N>);

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is no heap, and one of them at a time")]
enum Inner<'a, const N: usize> {
    Rice(RiceDecoder<'a, N>),
    Learning(RangeDecoder<'a, N, Learning<N>>),
    Still(RangeDecoder<'a, N, Still>),
}

#[derive(Clone, Debug)]
struct RangeDecoder<'a, const N: usize, O> {
    model: Model<O, N>,
    hints: Hints<'a>,
    reader: Reader<'a>,
    content: Content,
    count: u16,
    left: u16,
}

impl<'a, const N: usize> Decoder<'a, N> {
    /// A decoder for the `count` samples in `columns`, of a catalogue with `signals` signals, from an
    /// [`Encoder`].
    pub fn new(hints: Hints<'a>, columns: &'a [u8], count: u16, signals: u8) -> Self {
        Self(Inner::Learning(RangeDecoder::new(hints, columns, count, signals)))
    }

    /// A decoder for the samples that stand behind a header.
    pub fn behind(
        header: &SamplesHeader,
        hints: Hints<'a>,
        columns: &'a [u8],
        signals: u8,
    ) -> Self {
        let count = header.count;
        match header.context.coding {
            Coding::Rice => Self(Inner::Rice(RiceDecoder::new(columns, count, signals))),
            Coding::Learning => Self::new(hints, columns, count, signals),
            Coding::Still => Self(Inner::Still(RangeDecoder::new(hints, columns, count, signals))),
        }
    }

    /// What stands beside the sample that came last.
    pub fn content(&self) -> &[u8] {
        match &self.0 {
            Inner::Rice(_) => &[],
            Inner::Learning(range) => range.content.bytes(),
            Inner::Still(range) => range.content.bytes(),
        }
    }

    /// Goes on with the batch that was chained to this one; not from one of release 0.1.0, which
    /// chained none.
    pub fn next_batch(&mut self, columns: &'a [u8], count: u16) {
        match &mut self.0 {
            Inner::Rice(_) => {}
            Inner::Learning(range) => range.next_batch(columns, count),
            Inner::Still(range) => range.next_batch(columns, count),
        }
    }
}

impl<const N: usize> Iterator for Decoder<'_, N> {
    type Item = Result<Sample, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Rice(rice) => rice.next(),
            Inner::Learning(range) => range.next(),
            Inner::Still(range) => range.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Inner::Rice(rice) => rice.size_hint(),
            Inner::Learning(range) => (0, Some(usize::from(range.left))),
            Inner::Still(range) => (0, Some(usize::from(range.left))),
        }
    }
}

impl<'a, const N: usize, O: Odds + Default> RangeDecoder<'a, N, O> {
    fn new(hints: Hints<'a>, columns: &'a [u8], count: u16, signals: u8) -> Self {
        let model = Model::new(O::default(), &hints, signals);
        let (reader, content) = (Reader::new(columns), Content::EMPTY);
        Self { model, hints, reader, content, count, left: count }
    }

    fn next_batch(&mut self, columns: &'a [u8], count: u16) {
        self.reader = Reader::new(columns);
        (self.count, self.left) = (count, count);
    }

    fn next(&mut self) -> Option<Result<Sample, CodecError>> {
        if self.left == 0 {
            return None;
        }
        if self.left == self.count {
            self.model.choose(&mut self.reader, self.hints.timing, 0);
        }
        self.content.clear();
        let content = Some(&mut self.content);
        let sample = self.model.sample(&mut self.reader, &self.hints, NOTHING, content);
        self.left = if sample.is_ok() { self.left - 1 } else { 0 };
        Some(sample)
    }
}
