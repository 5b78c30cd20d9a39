//! One frame's samples on their way through the rules.

use protocol::Sample;
use protocol::codec::CodecError;

use super::Cleared;
use super::lens::{self, Act, Lens, Place};
use crate::document::Writer;

/// The instant at hand. What is dropped still belongs to it, so that no rule changes an ordinal.
#[derive(Debug, Default)]
struct Instant {
    /// None before the first sample.
    tick: Option<i64>,
    ordinal: u32,
    /// A bit per path that occurred.
    seen: u64,
    /// Whether its document was begun.
    begun: bool,
    place: Place,
}

/// One frame's samples on their way through.
pub(super) struct Pass<'a> {
    writer: &'a mut Writer,
    taken: &'a mut [u64],
    location: Option<h3o::Resolution>,
    lens: &'a Lens,
    uptime: bool,
    into: &'a mut Cleared,
    instant: Instant,
    passed: u64,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        writer: &'a mut Writer,
        taken: &'a mut [u64],
        location: Option<h3o::Resolution>,
        lens: &'a Lens,
        uptime: bool,
        into: &'a mut Cleared,
    ) -> Self {
        let instant = Instant::default();
        Self { writer, taken, location, lens, uptime, into, instant, passed: 0 }
    }

    /// Ends the frame; how many samples passed.
    pub(super) fn finish(mut self) -> u64 {
        self.close();
        self.passed
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
                self.member(&view.member);
                view.decimal.write(&mut self.into.lines, sample.raw);
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

    /// Ends the instant: the cell in place of the pair, the line's end.
    fn close(&mut self) {
        let place = self.instant.place;
        if let Some(resolution) = self.location {
            match place.cell(resolution) {
                Some(cell) => {
                    self.member(self.lens.cell_member());
                    lens::write_cell(&mut self.into.lines, cell);
                    self.passed += 2;
                }
                None => self.take(self.taken.len().saturating_sub(1), place.halves()),
            }
        }
        if self.instant.begun {
            Writer::end(&mut self.into.lines);
            self.into.documents += 1;
            self.instant.begun = false;
        }
        self.instant.place = Place::default();
    }

    /// Appends a member's name, behind the beginning of the document if it is the first.
    fn member(&mut self, name: &[u8]) {
        if self.instant.begun {
            self.into.lines.extend_from_slice(name);
            return;
        }
        self.instant.begun = true;
        let tick = self.instant.tick.unwrap_or_default();
        let at_ms = tick.saturating_mul(self.lens.tick_ms());
        self.writer.begin_instant(&mut self.into.lines, self.instant.ordinal, at_ms, self.uptime);
        self.into.lines.extend_from_slice(name.get(1..).unwrap_or_default());
    }

    fn take(&mut self, rule: usize, samples: u64) {
        if let Some(taken) = self.taken.get_mut(rule) {
            *taken += samples;
        }
    }
}
