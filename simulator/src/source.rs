//! What a vehicle reports: a recording or a seeded drive, read from the front.

use std::sync::Arc;

use protocol::{Catalogue, Lane, Sample, SignalIndex};
use recordings::{Entry, Recording, RecordingCursor};

use crate::scenario::drive::{MadeUp, MadeUpCursor};
use crate::scenario::signals;
use crate::synthetic::{self, Drive, DriveCursor, Occurrence, What};

/// Where a vehicle's readings come from. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Source {
    /// A trace.
    Recorded(Arc<Recording>),
    /// A drive made up from a seed.
    Synthetic(Drive),
    /// A vehicle of a scenario.
    Scenario(MadeUp),
}

/// One thing that a source says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// A sample, and the lane it is meant for.
    Sample(Lane, Sample),
    /// Something happened.
    Event(Occurrence),
    /// Nothing the device could report: it came within reach of the network, or left it.
    Link {
        /// Within reach.
        up: bool,
        /// When, in milliseconds since 1970.
        unix_ms: i64,
    },
    /// Nor this: its supply browned out.
    Reboot {
        /// When, in milliseconds since 1970.
        unix_ms: i64,
    },
}

impl Reading {
    /// What a recording with this catalogue says.
    pub fn recorded(entry: Entry, catalogue: &Catalogue<'_>) -> Self {
        match entry {
            Entry::Sample(lane, sample) => Self::Sample(lane, sample),
            Entry::Event { tick, number, event } => {
                let unix_ms = tick.saturating_mul(i64::from(catalogue.tick_ms));
                Self::Event(Occurrence { unix_ms, number, what: What::Recorded(event) })
            }
        }
    }

    /// The lane it travels in, if it travels.
    pub fn lane(&self) -> Option<Lane> {
        match self {
            Self::Sample(lane, _) => Some(*lane),
            Self::Event(_) => Some(Lane::Critical),
            Self::Link { .. } | Self::Reboot { .. } => None,
        }
    }

    /// When it was taken, in milliseconds since 1970 UTC by the source's own clock.
    pub fn unix_ms(&self, catalogue: &Catalogue<'_>) -> i64 {
        match self {
            Self::Sample(_, sample) => sample.tick.saturating_mul(i64::from(catalogue.tick_ms)),
            Self::Event(occurrence) => occurrence.unix_ms,
            Self::Link { unix_ms, .. } | Self::Reboot { unix_ms } => *unix_ms,
        }
    }
}

impl Source {
    /// The catalogue of its samples.
    pub fn catalogue(&self) -> &'static Catalogue<'static> {
        match self {
            Self::Recorded(recording) => recording.catalogue(),
            Self::Synthetic(_) => &synthetic::CATALOGUE,
            Self::Scenario(_) => &signals::CATALOGUE,
        }
    }

    /// The lane that samples of a signal are meant for.
    pub fn lane_of(&self, signal: SignalIndex) -> Lane {
        match self {
            Self::Recorded(recording) => recording.lane_of(signal),
            Self::Synthetic(_) if signal == synthetic::CHARGE => Lane::Latest,
            Self::Synthetic(_) => Lane::Bulk,
            Self::Scenario(_) => signals::lane_of(signal),
        }
    }

    /// Whether anything it says can be meant for this lane.
    pub fn has_lane(&self, lane: Lane) -> bool {
        match self {
            Self::Recorded(recording) => recording.has_lane(lane),
            Self::Synthetic(_) | Self::Scenario(_) => true,
        }
    }

    /// Reads it from the front.
    pub fn cursor(&self) -> SourceCursor {
        let reader = match self {
            Self::Recorded(recording) => Reader::Recorded(recording.cursor()),
            Self::Synthetic(drive) => Reader::Synthetic(drive.cursor()),
            Self::Scenario(made) => Reader::Scenario(Box::new(made.cursor())),
        };
        SourceCursor { position: 0, reader, link_up: true }
    }
}

/// A place in a [`Source`], which is handed in at each step.
#[derive(Clone, Debug)]
pub struct SourceCursor {
    position: u64,
    reader: Reader,
    link_up: bool,
}

#[derive(Clone, Debug)]
enum Reader {
    Recorded(RecordingCursor),
    Synthetic(DriveCursor),
    Scenario(Box<MadeUpCursor>),
}

impl SourceCursor {
    /// How many readings were taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the vehicle was within reach of the network at the last reading.
    pub fn link_up(&self) -> bool {
        self.link_up
    }

    /// When the last reading was taken, where its own stamp does not tell, in milliseconds since
    /// 1970: a device's clock may jump, the world's does not.
    pub fn true_ms(&self) -> Option<i64> {
        match &self.reader {
            Reader::Scenario(cursor) => Some(cursor.true_ms()),
            Reader::Recorded(_) | Reader::Synthetic(_) => None,
        }
    }

    /// The next reading of the source the cursor was made by; nothing at its end.
    pub fn next(&mut self, source: &Source) -> Option<Reading> {
        let reading = match (&mut self.reader, source) {
            (Reader::Recorded(cursor), Source::Recorded(recording)) => {
                let entry = cursor.next(recording);
                entry.map(|entry| Reading::recorded(entry, recording.catalogue()))
            }
            (Reader::Synthetic(cursor), Source::Synthetic(drive)) => cursor.next(drive),
            (Reader::Scenario(cursor), Source::Scenario(made)) => cursor.next(made),
            _ => None,
        }?;
        if let Reading::Link { up, .. } = reading {
            self.link_up = up;
        }
        self.position += 1;
        Some(reading)
    }

    /// Goes on until `position` readings were taken, or the source ends.
    pub fn skip_to(&mut self, source: &Source, position: u64) {
        while self.position < position && self.next(source).is_some() {}
    }
}
