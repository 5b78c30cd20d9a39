//! What may leave. Only the privacy stage can write into it: the fields are its own.
//!
//! Structured, so that each sink converts it at its own edge: samples as the columns of a catalogue,
//! every other record as the JSON document that it is, with what a sink may want to file it under.

use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;

use protocol::frame::Origin;
use protocol::{Clock, DeviceId, DeviceTime, Lane, RingId, Seq};

use super::lens::Lens;
use super::seats::{Seat, Stays};
use crate::document::Envelope;
use crate::value::{Amount, Exact};

/// A batch that went through a policy, in the order in which it came.
#[derive(Debug, Default)]
pub struct Cleared {
    entries: Vec<Entry>,
    samples: Vec<ClearedSample>,
    /// Values that are no number of steps.
    exacts: Vec<Exact>,
    /// The records' documents.
    pub(super) lines: Vec<u8>,
    documents: u64,
}

/// A piece of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Samples of one frame, in its order; at least one.
    Samples(&'a ClearedFrame, &'a [ClearedSample]),
    /// Any other record, and its JSON document without a line feed.
    Record(&'a ClearedRecord, &'a [u8]),
}

/// Where samples or a record come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provenance {
    /// The device, under the name that may leave.
    pub device: DeviceId,
    /// Its ring.
    pub ring: RingId,
    /// The frame in it.
    pub seq: Seq,
    /// The ring's lane.
    pub lane: Lane,
    /// When the agent received the frame, in milliseconds since 1970.
    pub received_ms: i64,
    /// Where the frame was sealed first, if it was sealed anew.
    pub origin: Option<Origin>,
    /// The vehicle in which the device sat then, if that is known.
    pub seat: Option<Arc<Seat>>,
}

/// The frame of some samples.
#[derive(Clone, Debug)]
pub struct ClearedFrame {
    /// Where it comes from.
    pub from: Provenance,
    /// What the ticks count from: the epoch, or the boot.
    pub clock: Clock,
    /// The boot in which the samples were taken.
    pub boot: u32,
    /// What the columns mean.
    pub lens: Arc<Lens>,
}

/// One sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClearedSample {
    /// When, in ticks of the catalogue.
    pub tick: i64,
    /// The value, among those of [`Cleared::exacts`] if it is no number of steps; a coarse place's cell
    /// as it is.
    pub amount: Amount,
    /// Which instant of the frame, from 0: a run of samples of one tick in which no path repeats.
    pub ordinal: u32,
    /// The signal's index in the catalogue, or [`Lens::CELL`].
    pub column: u8,
}

/// Any other record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClearedRecord {
    /// Where it comes from.
    pub from: Provenance,
    /// Its place in the frame, from 0; none if the agent itself says it.
    pub ordinal: Option<u32>,
    /// What it is.
    pub kind: RecordKind,
    /// The device's time; none if the agent itself says it.
    pub time: Option<DeviceTime>,
}

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RecordKind {
    /// Actor, action, object.
    Event,
    /// A line of log.
    Log,
    /// A heartbeat.
    Health,
    /// A boot.
    Boot,
    /// A ring that was left for a new one.
    Fork,
    /// What a crash left behind.
    Crash,
    /// A loss.
    Loss,
}

impl RecordKind {
    /// The name in documents' types, behind `milepost.`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Log => "log",
            Self::Health => "health",
            Self::Boot => "boot",
            Self::Fork => "fork",
            Self::Crash => "crash",
            Self::Loss => "loss",
        }
    }
}

impl Provenance {
    /// The same, for a document's writer.
    pub fn envelope(&self) -> Envelope<'_> {
        Envelope {
            device: &self.device,
            ring: self.ring,
            seq: self.seq,
            lane: self.lane,
            received_ms: self.received_ms,
            origin: self.origin.as_ref(),
            seat: self.seat.as_deref(),
        }
    }
}

/// A piece, with where its content stands.
#[derive(Debug)]
enum Entry {
    Samples(ClearedFrame, Range<usize>),
    Record(ClearedRecord, Range<usize>),
}

/// A point in [`Cleared`] to go back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    entries: usize,
    samples: usize,
    exacts: usize,
    lines: usize,
    documents: u64,
}

impl Cleared {
    /// What is in it, in the order in which it came.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        self.entries.iter().map(|entry| match entry {
            Entry::Samples(frame, range) => {
                Piece::Samples(frame, self.samples.get(range.clone()).unwrap_or_default())
            }
            Entry::Record(record, range) => {
                Piece::Record(record, self.lines.get(range.clone()).unwrap_or_default())
            }
        })
    }

    /// How many documents it makes: instants and records.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// How many samples are in it.
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// Values that are no number of steps: what [`Amount::Exact`] of its samples stands for.
    pub fn exacts(&self) -> &[Exact] {
        &self.exacts
    }

    /// The memory it holds, in bytes.
    pub fn bytes(&self) -> usize {
        let exact = |exact: &Exact| size_of::<Exact>() + exact.beside();
        self.samples.len() * size_of::<ClearedSample>()
            + self.exacts.iter().map(exact).sum::<usize>()
            + self.entries.len() * size_of::<Entry>()
            + self.lines.len()
    }

    /// The memory it keeps, used or not, in bytes.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.samples.capacity() * size_of::<ClearedSample>()
            + self.exacts.capacity() * size_of::<Exact>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.lines.capacity()
    }

    /// Where it ends now.
    pub fn mark(&self) -> Mark {
        Mark {
            entries: self.entries.len(),
            samples: self.samples.len(),
            exacts: self.exacts.len(),
            lines: self.lines.len(),
            documents: self.documents,
        }
    }

    /// Takes back what came after a mark.
    pub fn cut_back(&mut self, mark: Mark) {
        self.entries.truncate(mark.entries);
        self.samples.truncate(mark.samples);
        self.exacts.truncate(mark.exacts);
        self.lines.truncate(mark.lines);
        self.documents = mark.documents;
    }

    /// Empties it and gives back what it holds beyond `room` bytes.
    pub fn clear(&mut self, room: usize) {
        self.entries.clear();
        self.entries.shrink_to(room / size_of::<Entry>() / 8);
        self.samples.clear();
        self.samples.shrink_to(room / size_of::<ClearedSample>());
        self.exacts.clear();
        self.exacts.shrink_to(room / size_of::<Exact>() / 8);
        self.lines.clear();
        self.lines.shrink_to(room / 8);
        self.documents = 0;
    }

    /// Takes a value that is no number of steps.
    pub(super) fn hold(&mut self, exact: Exact) -> Amount {
        exact.appended(&mut self.exacts)
    }

    /// One more sample of the frame that [`Cleared::end_frame`] will name.
    pub(super) fn push(&mut self, sample: ClearedSample) {
        self.samples.push(sample);
    }

    /// The samples since `mark` are this frame's, with `instants` documents in all: in one piece, or
    /// in as many as the device has seats in that time.
    pub(super) fn end_frame(
        &mut self,
        mark: Mark,
        frame: &ClearedFrame,
        instants: u64,
        stays: &Stays,
    ) {
        let (tick_ms, received_ms) = (frame.lens.tick_ms(), frame.from.received_ms);
        let at_ms = |sample: &ClearedSample| match frame.clock {
            Clock::Uptime => received_ms,
            _ => sample.tick.saturating_mul(tick_ms),
        };
        let mut start = mark.samples;
        while let Some(rest) = self.samples.get(start..)
            && let Some(first) = rest.first()
        {
            let (seat, range) = stays.around(at_ms(first));
            let is_whole = range == (i64::MIN..=i64::MAX);
            let beyond = |sample: &ClearedSample| !range.contains(&at_ms(sample));
            let len = if is_whole { None } else { rest.iter().position(beyond) };
            let end = start + len.unwrap_or(rest.len());
            let mut frame = frame.clone();
            frame.from.seat = seat;
            self.entries.push(Entry::Samples(frame, start..end));
            start = end;
        }
        self.documents += instants;
    }

    /// The line since `mark` is this record's document.
    pub(super) fn end_record(&mut self, mark: Mark, record: ClearedRecord) {
        if self.lines.last() == Some(&b'\n') {
            self.lines.pop();
        }
        self.entries.push(Entry::Record(record, mark.lines..self.lines.len()));
        self.documents += 1;
    }
}
