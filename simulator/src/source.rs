//! What a vehicle reports: a recording or a seeded drive, read from the front.

use std::sync::Arc;

use protocol::{Catalogue, Lane, Sample};

use crate::synthetic::{Drive, DriveCursor, Occurrence};
use crate::trace::{Recording, RecordingCursor};

/// Where a vehicle's readings come from. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Source {
    /// A trace.
    Recorded(Arc<Recording>),
    /// A drive made up from a seed.
    Synthetic(Drive),
}

/// One thing that a source says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// A sample, and the lane it is meant for.
    Sample(Lane, Sample),
    /// Something happened.
    Event(Occurrence),
}

impl Reading {
    /// The lane it travels in.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Sample(lane, _) => *lane,
            Self::Event(_) => Lane::Critical,
        }
    }

    /// When it was taken, in milliseconds since 1970 UTC by the source's own clock.
    pub fn unix_ms(&self, catalogue: &Catalogue<'_>) -> i64 {
        match self {
            Self::Sample(_, sample) => sample.tick.saturating_mul(i64::from(catalogue.tick_ms)),
            Self::Event(occurrence) => occurrence.unix_ms,
        }
    }
}

impl Source {
    /// The catalogue of its samples.
    pub fn catalogue(&self) -> &'static Catalogue<'static> {
        match self {
            Self::Recorded(recording) => recording.catalogue(),
            Self::Synthetic(_) => &crate::synthetic::CATALOGUE,
        }
    }

    /// Whether anything it says can be meant for this lane.
    pub fn has_lane(&self, lane: Lane) -> bool {
        match self {
            Self::Recorded(_) => lane == Lane::Bulk,
            Self::Synthetic(_) => true,
        }
    }

    /// Reads it from the front.
    pub fn cursor(&self) -> SourceCursor {
        let reader = match self {
            Self::Recorded(recording) => Reader::Recorded(recording.cursor()),
            Self::Synthetic(drive) => Reader::Synthetic(drive.cursor()),
        };
        SourceCursor { position: 0, reader }
    }
}

/// A place in a [`Source`], which is handed in at each step.
#[derive(Clone, Debug)]
pub struct SourceCursor {
    position: u64,
    reader: Reader,
}

#[derive(Clone, Debug)]
enum Reader {
    Recorded(RecordingCursor),
    Synthetic(DriveCursor),
}

impl SourceCursor {
    /// How many readings were taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next reading of the source the cursor was made by; nothing at its end.
    pub fn next(&mut self, source: &Source) -> Option<Reading> {
        let reading = match (&mut self.reader, source) {
            (Reader::Recorded(cursor), Source::Recorded(recording)) => {
                cursor.next(recording).map(|sample| Reading::Sample(Lane::Bulk, sample))
            }
            (Reader::Synthetic(cursor), Source::Synthetic(drive)) => cursor.next(drive),
            _ => None,
        }?;
        self.position += 1;
        Some(reading)
    }

    /// Goes on until `position` readings were taken, or the source ends.
    pub fn skip_to(&mut self, source: &Source, position: u64) {
        while self.position < position && self.next(source).is_some() {}
    }
}
