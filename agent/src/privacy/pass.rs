//! One frame's samples on their way through the rules.

use protocol::Sample;
use protocol::codec::CodecError;

use super::cleared::{Cleared, ClearedSample};
use super::lens::{Act, Lens, Place};

/// The instant at hand. What is dropped still belongs to it, so that no rule changes an ordinal.
#[derive(Debug, Default)]
struct Instant {
    /// None before the first sample.
    tick: Option<i64>,
    ordinal: u32,
    /// A bit per path that occurred.
    seen: u64,
    /// Whether anything of it passed.
    begun: bool,
    place: Place,
}

/// One frame's samples on their way through.
pub(super) struct Pass<'a> {
    taken: &'a mut [u64],
    location: Option<h3o::Resolution>,
    lens: &'a Lens,
    into: &'a mut Cleared,
    instant: Instant,
    passed: u64,
    instants: u64,
}

/// What came of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    /// Samples that passed; the two halves of a place count as two.
    pub samples: u64,
    /// Instants with anything in them.
    pub instants: u64,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        taken: &'a mut [u64],
        location: Option<h3o::Resolution>,
        lens: &'a Lens,
        into: &'a mut Cleared,
    ) -> Self {
        let instant = Instant::default();
        Self { taken, location, lens, into, instant, passed: 0, instants: 0 }
    }

    /// Ends the frame.
    pub(super) fn finish(mut self) -> Passed {
        self.close();
        Passed { samples: self.passed, instants: self.instants }
    }

    pub(super) fn sample(&mut self, sample: Sample) -> Result<(), CodecError> {
        let lens = self.lens;
        let view = lens.view(sample.signal).ok_or(CodecError::UnknownSignal)?;
        if self.instant.tick != Some(sample.tick) || self.instant.seen & view.path_bit != 0 {
            self.close();
            let ordinal = self.instant.ordinal + u32::from(self.instant.tick.is_some());
            self.instant = Instant { tick: Some(sample.tick), ordinal, ..Instant::default() };
        }
        self.instant.seen |= view.path_bit;
        match view.act {
            Act::Keep => {
                self.pass(sample.signal.0, sample.raw);
                self.passed += 1;
            }
            Act::Drop { rule } => self.take(rule, 1),
            Act::Latitude => {
                self.instant.place.latitude = Some(view.decimal.approximate(sample.raw));
            }
            Act::Longitude => {
                self.instant.place.longitude = Some(view.decimal.approximate(sample.raw));
            }
        }
        Ok(())
    }

    /// Ends the instant: the cell in place of the pair.
    fn close(&mut self) {
        let place = self.instant.place;
        if let Some(resolution) = self.location {
            match place.cell(resolution) {
                Some(cell) => {
                    self.pass(Lens::CELL, u64::from(cell).cast_signed());
                    self.passed += 2;
                }
                None => self.take(self.taken.len().saturating_sub(1), place.halves()),
            }
        }
        self.instants += u64::from(self.instant.begun);
        self.instant.begun = false;
        self.instant.place = Place::default();
    }

    fn pass(&mut self, column: u8, raw: i64) {
        self.instant.begun = true;
        let Instant { tick, ordinal, .. } = self.instant;
        self.into.push(ClearedSample { tick: tick.unwrap_or_default(), raw, ordinal, column });
    }

    fn take(&mut self, rule: usize, samples: u64) {
        if let Some(taken) = self.taken.get_mut(rule) {
            *taken += samples;
        }
    }
}
