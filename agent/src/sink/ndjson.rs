//! A batch as NDJSON: one CloudEvents document a line.

use protocol::Clock;

use crate::document::Writer;
use crate::privacy::{Cleared, ClearedFrame, ClearedSample, Piece};
use crate::value::Exact;

/// Bytes that are put together before they are handed on.
const PART: usize = 64 * 1024;

/// Renders batches, in bounded memory: one part and one document.
#[derive(Debug, Default)]
pub struct Ndjson {
    writer: Writer,
    part: Vec<u8>,
}

impl Ndjson {
    /// Hands on a batch's lines, part by part; the same batch gives the same bytes.
    pub fn render<E>(
        &mut self,
        batch: &Cleared,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.part.clear();
        for piece in batch.pieces() {
            match piece {
                Piece::Samples(frame, samples) => {
                    self.samples(frame, samples, batch.exacts(), &mut take)?;
                }
                Piece::Record(_, document) => {
                    self.part.extend_from_slice(document);
                    self.part.push(b'\n');
                    self.hand_on(PART, &mut take)?;
                }
            }
        }
        self.hand_on(1, &mut take)
    }

    fn samples<E>(
        &mut self,
        frame: &ClearedFrame,
        samples: &[ClearedSample],
        exacts: &[Exact],
        take: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (envelope, lens) = (frame.from.envelope(), &frame.lens);
        self.writer.start_samples(&envelope, frame.clock, frame.boot);
        for instant in samples.chunk_by(|one, next| one.ordinal == next.ordinal) {
            let Some(first) = instant.first() else { continue };
            let at_ms = first.tick.saturating_mul(lens.tick_ms());
            let is_uptime = frame.clock == Clock::Uptime;
            self.writer.begin_instant(&mut self.part, first.ordinal, at_ms, is_uptime);
            let members = self.part.len();
            for sample in instant {
                lens.write_member(&mut self.part, sample.column, sample.amount, exacts);
                if let Some(thinning) = lens.thinning(sample.column, frame.from.lane) {
                    self.writer.thinned(thinning);
                }
            }
            // The first member has no comma in front.
            if self.part.get(members) == Some(&b',') {
                self.part.remove(members);
            }
            self.writer.end_instant(&mut self.part);
            self.hand_on(PART, take)?;
        }
        Ok(())
    }

    fn hand_on<E>(
        &mut self,
        at_least: usize,
        take: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.part.len() < at_least {
            return Ok(());
        }
        take(&self.part)?;
        self.part.clear();
        Ok(())
    }
}
