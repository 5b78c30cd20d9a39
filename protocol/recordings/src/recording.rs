//! A vehicle's samples in memory: about five bytes each, read from the front.

use protocol::event::Event;
use protocol::varint::{self, unzigzag, zigzag};
use protocol::{Catalogue, Lane, Sample, SignalIndex};

/// In the place of a signal: an event, whose number follows the difference of the tick.
const EVENT: u8 = 0xff;

/// The samples of one vehicle in the order of their source, and the catalogue they belong to.
///
/// Per sample: signal (1 byte), difference of the tick to the sample before, difference of the raw
/// value to the signal's last one (zigzag varints). Differences wrap, so every `i64` is kept. Events
/// stand among them and are kept apart.
#[derive(Clone, Debug)]
pub struct Recording {
    catalogue: &'static Catalogue<'static>,
    bytes: Vec<u8>,
    samples: u64,
    events: Vec<&'static Event<'static>>,
    /// By signal, from the lowest bit: those of which only the latest value counts.
    latest: u64,
    end: Deltas,
    rounds: Rounds,
}

/// How often a recording is read, and by how much its clock has gone on each time.
#[derive(Clone, Copy, Debug)]
struct Rounds {
    count: u32,
    ticks: i64,
}

/// What differences are taken against.
#[derive(Clone, Debug)]
struct Deltas {
    tick: i64,
    raws: Box<[i64]>,
}

impl Deltas {
    fn new(catalogue: &Catalogue<'_>) -> Self {
        Self { tick: 0, raws: vec![0; catalogue.signals.len()].into_boxed_slice() }
    }
}

/// A sample's signal is outside the recording's catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signal {} is not in the catalogue", .0.0)]
pub struct UnknownSignal(pub SignalIndex);

impl Recording {
    /// An empty recording.
    pub fn new(catalogue: &'static Catalogue<'static>) -> Self {
        let rounds = Rounds { count: 1, ticks: 0 };
        Self {
            catalogue,
            bytes: Vec::new(),
            samples: 0,
            events: Vec::new(),
            latest: 0,
            end: Deltas::new(catalogue),
            rounds,
        }
    }

    /// Sends a signal's samples by the latest-value lane.
    pub fn set_latest(&mut self, signal: SignalIndex) {
        self.latest |= 1_u64.checked_shl(u32::from(signal.0)).unwrap_or_default();
    }

    /// The lane of a signal's samples.
    pub fn lane_of(&self, signal: SignalIndex) -> Lane {
        let bit = 1_u64.checked_shl(u32::from(signal.0)).unwrap_or_default();
        if self.latest & bit == 0 { Lane::Bulk } else { Lane::Latest }
    }

    /// Whether anything in it can be meant for a lane.
    pub fn has_lane(&self, lane: Lane) -> bool {
        match lane {
            Lane::Bulk => true,
            Lane::Latest => self.latest != 0,
            Lane::Critical => !self.events.is_empty(),
        }
    }

    /// Appends an event, which lives as long as the process.
    pub fn push_event(&mut self, tick: i64, event: &'static Event<'static>) {
        self.bytes.push(EVENT);
        self.push_difference(tick.wrapping_sub(self.end.tick));
        self.end.tick = tick;
        self.events.push(event);
    }

    /// The catalogue its samples belong to.
    pub fn catalogue(&self) -> &'static Catalogue<'static> {
        self.catalogue
    }

    /// How many samples it holds.
    pub fn len(&self) -> u64 {
        self.samples
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends a sample; of a value that is no whole number of steps nothing is kept.
    pub fn push(&mut self, sample: Sample) -> Result<(), UnknownSignal> {
        let raw = self.end.raws.get_mut(usize::from(sample.signal.0));
        let raw = raw.ok_or(UnknownSignal(sample.signal))?;
        let Some(steps) = sample.steps() else { return Ok(()) };
        self.bytes.push(sample.signal.0);
        let difference = steps.wrapping_sub(*raw);
        *raw = steps;
        self.push_difference(sample.tick.wrapping_sub(self.end.tick));
        self.push_difference(difference);
        self.end.tick = sample.tick;
        self.samples += 1;
        Ok(())
    }

    fn push_difference(&mut self, difference: i64) {
        let mut number = [0; varint::LEN_MAX];
        let len = varint::write(zigzag(difference), &mut number).unwrap_or_default();
        self.bytes.extend(number.iter().take(len));
    }

    /// From now on it is read `count` times in a row (at least once), as if the vehicle did it all
    /// again one tick after its latest sample.
    pub fn repeat(&mut self, count: u32) {
        self.rounds = Rounds { count: 1, ticks: 0 };
        let mut cursor = self.cursor();
        let ticks = std::iter::from_fn(|| cursor.next(self).map(|entry| entry.tick()));
        let reach = ticks.fold(None, |reach: Option<(i64, i64)>, tick| {
            let (least, most) = reach.unwrap_or((tick, tick));
            Some((least.min(tick), most.max(tick)))
        });
        let ticks = reach.map_or(0, |(least, most)| most.wrapping_sub(least).wrapping_add(1));
        self.rounds = Rounds { count: count.max(1), ticks };
    }

    /// Releases memory that [`Self::push`] reserved ahead.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Bytes of memory its samples take.
    pub fn size(&self) -> usize {
        self.bytes.capacity()
    }

    /// Its samples, in order, without the events.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        let mut cursor = self.cursor();
        std::iter::from_fn(move || cursor.next(self)).filter_map(|entry| match entry {
            Entry::Sample(_, sample) => Some(sample),
            Entry::Event { .. } => None,
        })
    }

    /// Reads it from the front.
    pub fn cursor(&self) -> RecordingCursor {
        RecordingCursor { at: 0, round: 0, events: 0, last: Deltas::new(self.catalogue) }
    }
}

/// A place in a [`Recording`], which is handed in at each step: a cursor owns no reference.
#[derive(Clone, Debug)]
pub struct RecordingCursor {
    at: usize,
    round: u32,
    events: usize,
    last: Deltas,
}

/// One thing that was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A sample, and the lane it is meant for.
    Sample(Lane, Sample),
    /// Something happened.
    Event {
        /// When, in ticks of the catalogue.
        tick: i64,
        /// Counts the recording's events, from 1.
        number: u32,
        /// What; its own time means nothing.
        event: &'static Event<'static>,
    },
}

impl Entry {
    fn tick(&self) -> i64 {
        match self {
            Self::Sample(_, sample) => sample.tick,
            Self::Event { tick, .. } => *tick,
        }
    }
}

impl RecordingCursor {
    /// The next entry of the recording that the cursor was made by; nothing at its end.
    pub fn next(&mut self, recording: &Recording) -> Option<Entry> {
        if self.at == recording.bytes.len() && self.round + 1 < recording.rounds.count {
            *self = Self { round: self.round + 1, ..recording.cursor() };
        }
        let whole = recording.bytes.get(self.at..)?;
        let (signal, rest) = whole.split_first()?;
        let (tick, rest) = varint::read(rest)?;
        self.last.tick = self.last.tick.wrapping_add(unzigzag(tick));
        let later = recording.rounds.ticks.wrapping_mul(i64::from(self.round));
        let tick = self.last.tick.wrapping_add(later);
        if *signal == EVENT {
            let event = recording.events.get(self.events)?;
            self.events += 1;
            self.at += whole.len() - rest.len();
            let number = u32::try_from(self.events).unwrap_or(u32::MAX);
            return Some(Entry::Event { tick, number, event });
        }
        let (raw, rest) = varint::read(rest)?;
        let last = self.last.raws.get_mut(usize::from(*signal))?;
        *last = last.wrapping_add(unzigzag(raw));
        self.at += whole.len() - rest.len();
        let signal = SignalIndex(*signal);
        let sample = Sample::new(tick, signal, *last);
        Some(Entry::Sample(recording.lane_of(signal), sample))
    }
}

/// The samples of a recording, for tests.
#[cfg(test)]
pub fn samples(recording: &Recording) -> Vec<Sample> {
    recording.samples().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::taxi;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_pushed_is_read(samples in proptest::collection::vec((any::<i64>(), 0_u8..3, any::<i64>()), 0..200)) {
            let mut recording = Recording::new(&taxi::CATALOGUE);
            let samples: Vec<_> = samples
                .into_iter()
                .map(|(tick, signal, raw)| Sample::new(tick, SignalIndex(signal), raw))
                .collect();
            for sample in &samples {
                recording.push(*sample).unwrap();
            }
            prop_assert_eq!(super::samples(&recording), samples);
        }
    }

    #[test]
    fn a_repeated_one_goes_on_where_it_ended() {
        let mut recording = Recording::new(&taxi::CATALOGUE);
        for tick in [10, 15, 12] {
            recording.push(Sample::new(tick, SignalIndex(0), tick)).unwrap();
        }
        recording.repeat(3);
        let read: Vec<_> = super::samples(&recording)
            .iter()
            .map(|sample| (sample.tick, sample.steps().unwrap()))
            .collect();
        let expected = [
            (10, 10),
            (15, 15),
            (12, 12),
            (16, 10),
            (21, 15),
            (18, 12),
            (22, 10),
            (27, 15),
            (24, 12),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_foreign_signal_is_refused() {
        let mut recording = Recording::new(&taxi::CATALOGUE);
        let sample = Sample::new(0, SignalIndex(3), 0);
        assert_eq!(recording.push(sample), Err(UnknownSignal(SignalIndex(3))));
        assert!(recording.is_empty() && recording.cursor().next(&recording).is_none());
    }
}
