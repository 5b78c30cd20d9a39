//! Samples and records to the body of a frame, in the buffer in which the frame is then sealed.
//!
//! A buffer is laid out so that nothing moves: room for the frame's header and the number of samples, the
//! columns as they are coded, and behind them room for the tag and for [`Origin`], so that every
//! frame can be sealed anew in another ring (see [`crate::ring`]) without growing past `FRAME`.

use core::ops::Range;

use protocol::codec::{
    Encoder, Hints, Learning, Odds, SAMPLE_BYTES_MAX, SamplesContext, SamplesHeader, Still,
};
use protocol::frame::{HEADER_LEN_MAX, Origin, TAG_LEN};
use protocol::record::Record;
use protocol::sample::CONTENT_LEN_MAX;
use protocol::{CatalogueId, Clock, Counts, Lane};

use crate::ports::Reading;

/// Bytes of a frame's buffer that are not the body's.
pub const FRAME_OVERHEAD: usize = HEADER_LEN_MAX + TAG_LEN + Origin::LEN_MAX;

const COLUMNS_AT: usize = HEADER_LEN_MAX + SamplesHeader::COUNT_LEN_MAX;

/// The least size of a frame's buffer: one sample, or one hello, must fit.
pub const FRAME_MIN: usize = protocol::hello::HELLO_LEN_MAX;

/// A buffer for the lanes of which a frame holds a few samples: the critical one, whose frames are
/// closed after a second, and that of the latest values.
pub const SMALL: usize = 328;

/// Room for one sample, whatever stands beside it.
const LEAST: usize = COLUMNS_AT + SAMPLE_MAX + TAG_LEN + Origin::LEN_MAX;
const SAMPLE_MAX: usize = SAMPLE_BYTES_MAX + CONTENT_LEN_MAX;
const _: () = assert!(FRAME_MIN >= LEAST && SMALL >= LEAST + SAMPLE_BYTES_MAX);

/// When a batch is closed, besides a change of clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchConfig {
    /// The longest sealed frame, in bytes; at most the app's `FRAME` less [`Origin::LEN_MAX`],
    /// which is what it is cut to.
    pub frame_len_max: usize,
    /// By lane number: the greatest age of an open batch, in uptime milliseconds since its first
    /// sample.
    pub frame_age_ms_max: [u32; 3],
    /// By lane number: the most samples in an open batch, which is what a power cut can take.
    pub open_samples_max: [u16; 3],
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            frame_len_max: usize::MAX,
            frame_age_ms_max: [1_000, 60_000, 5_000],
            open_samples_max: [256, 2_048, 256],
        }
    }
}

/// The limits of one lane's batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest sealed frame, in bytes.
    pub frame_len_max: usize,
    /// The most samples.
    pub samples_max: u16,
}

/// The reading does not go into this batch: close it and push again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the batch must be closed first")]
pub struct MustClose;

/// A body that stands in its buffer, ready to be sealed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closed {
    /// What it adds to the ledger.
    pub counts: Counts,
    /// Where it stands.
    pub body: Range<usize>,
    /// What it is of, if it is one of samples.
    pub samples: Option<SamplesContext>,
}

/// One lane's open batch of samples.
#[derive(Clone, Debug)]
pub struct Batch<'a, const SIGNALS: usize, const FRAME: usize, O = Learning<SIGNALS>> {
    encoder: Encoder<'a, SIGNALS, O>,
    buffer: [u8; FRAME],
    limits: Limits,
    /// Clock of every sample in it, and the uptime of the first.
    opened: Option<(Clock, u64)>,
}

impl<'a, const SIGNALS: usize, const FRAME: usize, O: Odds + Default> Batch<'a, SIGNALS, FRAME, O> {
    /// An empty batch for a catalogue of `signals` signals, of which these are the hints.
    pub fn new(hints: Hints<'a>, signals: u8, limits: Limits) -> Self {
        const { assert!(FRAME >= LEAST, "a frame's buffer holds a sample at least") };
        let encoder = Encoder::new(hints, signals);
        Self { encoder, buffer: [0; FRAME], limits, opened: None }
    }

    /// Appends a reading, or says that the batch must be closed first. An empty batch takes any
    /// reading of a signal in the catalogue.
    pub fn push(
        &mut self,
        now_ms: u64,
        reading: &Reading,
        content: &[u8],
    ) -> Result<(), MustClose> {
        let other_clock = self.opened.is_some_and(|(clock, _)| clock != reading.clock);
        if other_clock || self.encoder.count() >= self.limits.samples_max {
            return Err(MustClose);
        }
        let columns = columns(&mut self.buffer, self.limits.frame_len_max);
        self.encoder.push_with(columns, reading.sample, content).map_err(|_| MustClose)?;
        self.opened.get_or_insert((reading.clock, now_ms));
        Ok(())
    }

    /// Samples in it.
    pub fn len(&self) -> u16 {
        self.encoder.count()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.encoder.is_empty()
    }

    /// Whether one more sample would certainly be refused.
    pub fn is_full(&self) -> bool {
        self.encoder.count() >= self.limits.samples_max
    }

    /// When its first sample came, in uptime milliseconds.
    pub fn opened_ms(&self) -> Option<u64> {
        self.opened.map(|(_, at)| at)
    }

    /// Ends the batch: its body stands in [`Batch::buffer`] and the next one may be pushed into
    /// only after it was sealed and stored. Nothing if it is empty.
    pub fn close(&mut self, catalogue: CatalogueId, boot: u32) -> Option<Closed> {
        let (clock, _) = self.opened.take()?;
        let context = SamplesContext { catalogue, clock, coding: O::CODING, boot };
        let header = SamplesHeader { context, count: self.encoder.count() };
        let columns = columns(&mut self.buffer, self.limits.frame_len_max);
        // Cannot fail: a push leaves room for the last byte.
        let len = self.encoder.finish(columns).unwrap_or_default();
        let count = header.count_bytes();
        let start = COLUMNS_AT.saturating_sub(count.len());
        for (slot, byte) in self.buffer.iter_mut().skip(start).zip(count) {
            *slot = byte;
        }
        let body = start..COLUMNS_AT.saturating_add(len);
        Some(Closed { counts: header.counts(), body, samples: Some(context) })
    }

    /// The buffer in which to seal.
    pub fn buffer(&mut self) -> &mut [u8; FRAME] {
        &mut self.buffer
    }
}

/// The open batches of all lanes. The bulk lane's learns; the others hold few samples, and have a
/// sixth of its memory.
#[derive(Clone, Debug)]
pub struct Batches<'a, const SIGNALS: usize, const FRAME: usize> {
    bulk: Batch<'a, SIGNALS, FRAME>,
    critical: SmallBatch<'a, SIGNALS>,
    latest: SmallBatch<'a, SIGNALS>,
}

type SmallBatch<'a, const SIGNALS: usize> = Batch<'a, SIGNALS, SMALL, Still>;

impl<'a, const SIGNALS: usize, const FRAME: usize> Batches<'a, SIGNALS, FRAME> {
    /// Empty ones.
    pub fn new(hints: Hints<'a>, signals: u8, config: &BatchConfig) -> Self {
        let [critical, bulk, latest] = config.open_samples_max.map(|samples_max| {
            let frame_len_max = config.frame_len_max;
            Limits { frame_len_max, samples_max }
        });
        Self {
            bulk: Batch::new(hints, signals, bulk),
            critical: Batch::new(hints, signals, critical),
            latest: Batch::new(hints, signals, latest),
        }
    }

    /// [`Batch::push`].
    pub fn push(
        &mut self,
        lane: Lane,
        now_ms: u64,
        reading: &Reading,
        content: &[u8],
    ) -> Result<(), MustClose> {
        match lane {
            Lane::Critical => self.critical.push(now_ms, reading, content),
            Lane::Bulk => self.bulk.push(now_ms, reading, content),
            Lane::Latest => self.latest.push(now_ms, reading, content),
        }
    }

    /// [`Batch::opened_ms`], and [`Batch::is_full`].
    pub fn opened_ms(&self, lane: Lane) -> Option<(u64, bool)> {
        let (opened_ms, is_full) = match lane {
            Lane::Critical => (self.critical.opened_ms(), self.critical.is_full()),
            Lane::Bulk => (self.bulk.opened_ms(), self.bulk.is_full()),
            Lane::Latest => (self.latest.opened_ms(), self.latest.is_full()),
        };
        Some((opened_ms?, is_full))
    }

    /// Whether all of them are.
    pub fn is_empty(&self) -> bool {
        self.critical.is_empty() && self.bulk.is_empty() && self.latest.is_empty()
    }

    /// [`Batch::close`], and the buffer in which to seal.
    pub fn close(
        &mut self,
        lane: Lane,
        catalogue: CatalogueId,
        boot: u32,
    ) -> Option<(Closed, &mut [u8])> {
        Some(match lane {
            Lane::Critical => {
                (self.critical.close(catalogue, boot)?, &mut self.critical.buffer()[..])
            }
            Lane::Bulk => (self.bulk.close(catalogue, boot)?, &mut self.bulk.buffer()[..]),
            Lane::Latest => (self.latest.close(catalogue, boot)?, &mut self.latest.buffer()[..]),
        })
    }
}

fn columns<const FRAME: usize>(buffer: &mut [u8; FRAME], frame_len_max: usize) -> &mut [u8] {
    let end = frame_len_max.min(FRAME.saturating_sub(Origin::LEN_MAX)).saturating_sub(TAG_LEN);
    // One sample always fits, however low the limit is set.
    let end = end.max(COLUMNS_AT + SAMPLE_MAX);
    buffer.get_mut(COLUMNS_AT..end).unwrap_or_default()
}

/// The records that wait to be sealed together: those of one poll.
#[derive(Clone, Debug)]
pub struct RecordBatch<const FRAME: usize> {
    buffer: [u8; FRAME],
    end: usize,
    counts: Counts,
}

/// A record was not taken: there is no room for it before the next poll, or ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for the record")]
pub struct NoRoom;

impl<const FRAME: usize> RecordBatch<FRAME> {
    /// The most events one batch takes: what a power cut between two polls can take.
    pub const EVENTS_MAX: u32 = 32;

    /// An empty batch.
    pub fn new() -> Self {
        const { assert!(FRAME >= FRAME_MIN, "a frame's buffer holds a hello at least") };
        Self { buffer: [0; FRAME], end: HEADER_LEN_MAX, counts: Counts::ZERO }
    }

    /// Appends a record.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), NoRoom> {
        if self.counts.events >= u64::from(Self::EVENTS_MAX) {
            return Err(NoRoom);
        }
        let end = FRAME.saturating_sub(TAG_LEN + Origin::LEN_MAX);
        let room = self.buffer.get_mut(..end).ok_or(NoRoom)?;
        self.end = record.append(room, self.end).ok_or(NoRoom)?;
        self.counts += record.counts();
        Ok(())
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.end == HEADER_LEN_MAX
    }

    /// Ends the batch, as [`Batch::close`] does.
    pub fn close(&mut self) -> Option<Closed> {
        if self.is_empty() {
            return None;
        }
        let body = HEADER_LEN_MAX..core::mem::replace(&mut self.end, HEADER_LEN_MAX);
        Some(Closed { counts: core::mem::take(&mut self.counts), body, samples: None })
    }

    /// The buffer in which to seal.
    pub fn buffer(&mut self) -> &mut [u8; FRAME] {
        &mut self.buffer
    }
}

impl<const FRAME: usize> Default for RecordBatch<FRAME> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use protocol::event::{Level, Log};
    use protocol::frame::{self, Binding, Header};
    use protocol::{DeviceTime, Generation, Lane, RingId, Sample, Secret, Seq, SignalIndex, keys};

    use super::*;

    const FRAME: usize = 1024;

    fn reading(at: u32, clock: Clock) -> Reading {
        let (tick, raw) = (i64::from(at), i64::from(at.wrapping_mul(2_654_435_761)));
        Reading { sample: Sample::new(tick, SignalIndex(0), raw), clock }
    }

    fn batch(frame_len_max: usize, samples_max: u16) -> Batch<'static, 4, FRAME> {
        Batch::new(Hints::NONE, 2, Limits { frame_len_max, samples_max })
    }

    fn fill(batch: &mut Batch<'_, 4, FRAME>) -> u32 {
        let taken = (0..5_000)
            .take_while(|at| batch.push(5, &reading(*at, Clock::Rtc), &[]).is_ok())
            .count();
        u32::try_from(taken).unwrap()
    }

    #[test]
    fn a_full_batch_seals_within_its_limit_and_leaves_room_to_be_sealed_anew() {
        let device = "truck-1".parse().unwrap();
        let ring = RingId([1; 16]);
        let key = keys::frame_key(&Secret::new([1; 32]), &device, &ring, Generation::FIRST);
        let binding = Binding { device, ring, lane: Lane::Bulk };
        let seq = Seq(u64::MAX);
        for (limit, most) in [(300, 300), (usize::MAX, FRAME - Origin::LEN_MAX)] {
            let mut batch = batch(limit, u16::MAX);
            assert!(fill(&mut batch) > 10);
            let closed = batch.close(CatalogueId(1), u32::MAX).unwrap();
            let header = Header::of_samples(Generation::FIRST, seq, closed.samples.unwrap());
            let (at, _) =
                frame::seal(&key, &binding, &header, batch.buffer(), closed.body).unwrap();
            assert!(at.len() <= most && at.len() + 2 * SAMPLE_BYTES_MAX > most, "{at:?}");
        }
    }

    #[test]
    fn a_batch_ends_with_its_clock_and_with_its_samples() {
        let mut batch = batch(usize::MAX, 3);
        batch.push(5, &reading(1, Clock::Rtc), &[]).unwrap();
        assert_eq!(batch.push(6, &reading(2, Clock::Agent), &[]), Err(MustClose));
        batch.push(7, &reading(2, Clock::Rtc), &[]).unwrap();
        batch.push(8, &reading(3, Clock::Rtc), &[]).unwrap();
        assert!(batch.is_full());
        assert_eq!(batch.push(9, &reading(4, Clock::Rtc), &[]), Err(MustClose));
        assert_eq!(batch.opened_ms(), Some(5), "the age of the first");
        let closed = batch.close(CatalogueId(7), 2).unwrap();
        assert_eq!(closed.counts, Counts { samples: 3, events: 0 });
        let expected = SamplesContext {
            catalogue: CatalogueId(7),
            clock: Clock::Rtc,
            coding: protocol::codec::Coding::Learning,
            boot: 2,
        };
        assert_eq!(closed.samples, Some(expected));
        let (header, _) = expected.behind(&batch.buffer()[closed.body]).unwrap();
        assert_eq!(header.count, 3);
        assert!(batch.is_empty() && batch.close(CatalogueId(7), 2).is_none());
    }

    #[test]
    fn a_signal_outside_the_catalogue_is_never_taken() {
        let mut batch = batch(usize::MAX, 3);
        let sample = Sample::new(0, SignalIndex(2), 0);
        let reading = Reading { sample, clock: Clock::Rtc };
        assert_eq!(batch.push(0, &reading, &[]), Err(MustClose));
        assert!(batch.is_empty());
    }

    #[test]
    fn records_share_a_frame_and_do_not_overrun_it() {
        let mut records = RecordBatch::<FRAME>::new();
        let message = core::str::from_utf8(&[b'x'; 200]).unwrap();
        let time = DeviceTime::default();
        let log = Record::Log(Log { time, level: Level::Info, target: "test", message });
        let taken = (0..100).take_while(|_| records.push(&log).is_ok()).count();
        assert_eq!(taken, 4);
        let closed = records.close().unwrap();
        assert_eq!(closed.counts.events, 4);
        assert!(closed.body.end <= FRAME - TAG_LEN - Origin::LEN_MAX);
        assert!(records.is_empty());
    }
}
