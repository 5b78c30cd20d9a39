//! Batches: samples in, bytes out, and back.

use super::bits::BitReader;
use super::chance::Chance;
use super::clock::Follower;
use super::exact::Content;
use super::hints::Hints;
use super::model::{INDEX_BITS, Model};
use super::odds::{Learning, Odds, Still};
use super::range::{Interval, Reader};
use super::rice::RiceModel;
use super::{CodecError, Coding, Full, SAMPLE_BYTES_MAX, SamplesHeader};
use crate::sample::Sample;
use crate::signal::SignalIndex;

/// So many samples of a batch tell which clock the next one follows.
const FOLLOWED: u16 = 128;
/// What a decoder gives the model, which does not look at it.
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
        self.model.begin(&self.hints, self.signals);
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

/// Reads batches of samples of catalogues of up to `N` signals.
///
/// It is large (17 KiB for 64 signals) and any batch can be read with it: keep one for many.
#[derive(Clone, Debug)]
pub struct Decoder<const N: usize> {
    learning: Model<Learning<N>, N>,
    still: Model<Still, N>,
    rice: RiceModel<N>,
    /// Of the batch that is read.
    coding: Coding,
}

impl<const N: usize> Default for Decoder<N> {
    fn default() -> Self {
        Self {
            learning: Model::new(Learning::default(), &Hints::NONE, 0),
            still: Model::new(Still, &Hints::NONE, 0),
            rice: RiceModel::new(0),
            coding: Coding::Learning,
        }
    }
}

impl<const N: usize> Decoder<N> {
    /// The `count` samples in `columns`, of a catalogue with `signals` signals, from an [`Encoder`].
    pub fn batch<'d>(
        &'d mut self,
        hints: Hints<'d>,
        columns: &'d [u8],
        count: u16,
        signals: u8,
    ) -> Samples<'d, N> {
        self.begin(Coding::Learning, hints, columns, count, signals)
    }

    /// The samples that stand behind a header.
    pub fn behind<'d>(
        &'d mut self,
        header: &SamplesHeader,
        hints: Hints<'d>,
        columns: &'d [u8],
        signals: u8,
    ) -> Samples<'d, N> {
        self.begin(header.context.coding, hints, columns, header.count, signals)
    }

    /// Those of the batch that was chained to the one read last, which must have been read to its end;
    /// of release 0.1.0, which chained none, there are none.
    pub fn next_batch<'d>(
        &'d mut self,
        hints: Hints<'d>,
        columns: &'d [u8],
        count: u16,
    ) -> Samples<'d, N> {
        let count = if self.coding == Coding::Rice { 0 } else { count };
        Samples::new(self, hints, columns, count)
    }

    fn begin<'d>(
        &'d mut self,
        coding: Coding,
        hints: Hints<'d>,
        columns: &'d [u8],
        count: u16,
        signals: u8,
    ) -> Samples<'d, N> {
        self.coding = coding;
        match coding {
            Coding::Rice => self.rice = RiceModel::new(signals),
            Coding::Learning => self.learning.begin(&hints, signals),
            Coding::Still => self.still.begin(&hints, signals),
        }
        Samples::new(self, hints, columns, count)
    }
}

/// The samples of a batch.
///
/// An iterator; after an error it ends.
#[derive(Debug)]
pub struct Samples<'d, const N: usize> {
    decoder: &'d mut Decoder<N>,
    hints: Hints<'d>,
    from: Columns<'d>,
    content: Content,
    count: u16,
    left: u16,
}

/// Where a batch is read.
#[derive(Debug)]
enum Columns<'d> {
    Bits(BitReader<'d>),
    Range(Reader<'d>),
}

impl<'d, const N: usize> Samples<'d, N> {
    fn new(decoder: &'d mut Decoder<N>, hints: Hints<'d>, columns: &'d [u8], count: u16) -> Self {
        let from = match decoder.coding {
            Coding::Rice => Columns::Bits(BitReader::new(columns)),
            Coding::Learning | Coding::Still => Columns::Range(Reader::new(columns)),
        };
        Self { decoder, hints, from, content: Content::EMPTY, count, left: count }
    }

    /// What stands beside the sample that came last.
    pub fn content(&self) -> &[u8] {
        self.content.bytes()
    }

    fn read(&mut self) -> Result<Sample, CodecError> {
        let Self { decoder, hints, from, content, count, left } = self;
        let is_first = left == count;
        let learns = decoder.coding == Coding::Learning;
        match from {
            Columns::Bits(bits) => decoder.rice.sample(bits, is_first),
            Columns::Range(reader) if learns => {
                range_coded(&mut decoder.learning, reader, hints, is_first, content)
            }
            Columns::Range(reader) => {
                range_coded(&mut decoder.still, reader, hints, is_first, content)
            }
        }
    }
}

impl<const N: usize> Iterator for Samples<'_, N> {
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

/// The next sample of a batch from an [`Encoder`].
fn range_coded<O: Odds, const N: usize>(
    model: &mut Model<O, N>,
    reader: &mut Reader<'_>,
    hints: &Hints<'_>,
    is_first: bool,
    content: &mut Content,
) -> Result<Sample, CodecError> {
    if is_first {
        model.choose(reader, hints.timing, 0);
    }
    content.clear();
    model.sample(reader, hints, NOTHING, Some(content))
}
