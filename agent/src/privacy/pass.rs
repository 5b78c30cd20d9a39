//! One frame's samples on their way through the rules.

use protocol::codec::CodecError;
use protocol::{Sample, Value};

use super::cleared::{Cleared, ClearedSample};
use super::lens::{Act, Lens, Place};
use crate::document::Decimal;
use crate::value::{Amount, Exact};

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

    /// Takes a sample, and what stands beside its value.
    pub(super) fn sample(&mut self, sample: Sample, content: &[u8]) -> Result<(), CodecError> {
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
                let amount = match sample.value {
                    Value::Steps(steps) => Amount::Steps(steps),
                    value => {
                        self.into.hold(Exact::of(value, content).ok_or(CodecError::Malformed)?)
                    }
                };
                self.pass(sample.signal.0, amount);
                self.passed += 1;
            }
            Act::Drop { rule } => self.take(rule, 1),
            // What is no number is no place, and says too much to pass.
            Act::Latitude | Act::Longitude => match degrees(sample.value, &view.decimal) {
                None => self.take(self.taken.len().saturating_sub(1), 1),
                degrees if view.act == Act::Latitude => self.instant.place.latitude = degrees,
                degrees => self.instant.place.longitude = degrees,
            },
        }
        Ok(())
    }

    /// Ends the instant: the cell in place of the pair.
    fn close(&mut self) {
        let place = self.instant.place;
        if let Some(resolution) = self.location {
            match place.cell(resolution) {
                Some(cell) => {
                    self.pass(Lens::CELL, Amount::Steps(u64::from(cell).cast_signed()));
                    self.passed += 2;
                }
                None => self.take(self.taken.len().saturating_sub(1), place.halves()),
            }
        }
        self.instants += u64::from(self.instant.begun);
        self.instant.begun = false;
        self.instant.place = Place::default();
    }

    fn pass(&mut self, column: u8, amount: Amount) {
        self.instant.begun = true;
        let Instant { tick, ordinal, .. } = self.instant;
        self.into.push(ClearedSample { tick: tick.unwrap_or_default(), amount, ordinal, column });
    }

    fn take(&mut self, rule: usize, samples: u64) {
        if let Some(taken) = self.taken.get_mut(rule) {
            *taken += samples;
        }
    }
}

/// Half of a place.
fn degrees(value: Value, decimal: &Decimal) -> Option<f64> {
    match value {
        Value::Steps(steps) => Some(decimal.approximate(steps)),
        value => Exact::of(value, &[])?.number(),
    }
}
