//! Finds the records in a segment, through a window of bounded size, past whatever is damaged.

use std::io;

use protocol::Counts;

use super::Position;
use super::record::{self, RECORD_LEN_MAX, Record, Seed};
use super::segment::offset_of;
use storage::File;

/// Bytes a scan holds. At least one record and one block.
const WINDOW_LEN: usize = 64 * 1024;
/// What is given up at once where a disk cannot read.
const BLOCK_LEN: u64 = 4096;

/// The part of a lane's log that one segment's file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) base: Position,
    pub(super) end: Position,
}

/// What stands next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A whole record of this many bytes, mark or entry.
    Record(usize),
    /// No valid record up to here: there stands the next one, or the span ends.
    Damage(Position),
    /// The span ends here.
    End,
}

/// A window over one segment at a time.
#[derive(Debug)]
pub(super) struct Scan {
    seed: Seed,
    window: Vec<u8>,
    /// Where the window's first byte stands.
    window_at: Position,
    /// Take blocks that cannot be read for damaged ones.
    pass_unreadable: bool,
}

impl Scan {
    pub(super) fn new(seed: Seed) -> Self {
        let window = Vec::with_capacity(WINDOW_LEN);
        Self { seed, window, window_at: Position::ZERO, pass_unreadable: false }
    }

    /// Forgets what it holds: another file comes next.
    pub(super) fn reset(&mut self) {
        self.window.clear();
    }

    /// From here to the next whole record, treats a block that cannot be read as a damaged one.
    pub(super) fn pass_unreadable(&mut self) {
        self.pass_unreadable = true;
    }

    /// What stands at `at`.
    pub(super) fn step(&mut self, file: &dyn File, span: Span, at: Position) -> io::Result<Step> {
        if at >= span.end {
            return Ok(Step::End);
        }
        self.fill(file, span, at)?;
        if let Some(len) = self.valid_at(at) {
            self.pass_unreadable = false;
            return Ok(Step::Record(len));
        }
        self.resynchronise(file, span, at.plus(1)).map(Step::Damage)
    }

    /// The record of `len` bytes that [`Self::step`] found at `at`.
    pub(super) fn record(&self, at: Position, len: usize) -> Option<Record<'_>> {
        record::read(self.view(at).get(..len)?)
    }

    /// The lane's totals before the record that stands at `at`, if the window holds it.
    pub(super) fn totals_at(&self, at: Position) -> Option<Counts> {
        let len = record::check(self.seed, at, self.view(at))?;
        self.record(at, len).map(|record| record.before)
    }

    /// The next whole record from `at` on, or the end of the span.
    fn resynchronise(
        &mut self,
        file: &dyn File,
        span: Span,
        mut at: Position,
    ) -> io::Result<Position> {
        while at < span.end {
            self.fill(file, span, at)?;
            // A record that begins in the first `searched` bytes is in view as a whole; if less
            // than the longest record is in view, the file or the span ends with it.
            let in_view = self.view(at).len();
            let beyond = in_view.checked_sub(RECORD_LEN_MAX);
            let searched = beyond.map_or(in_view, |beyond| beyond + 1);
            let stop = at.plus(searched);
            if searched == 0 {
                break;
            }
            while let Some(skipped) = record::find_marker(self.view(at)) {
                at = at.plus(skipped);
                if at >= stop {
                    break;
                }
                if self.valid_at(at).is_some() {
                    return Ok(at);
                }
                at = at.plus(1);
            }
            at = stop;
        }
        Ok(span.end)
    }

    fn valid_at(&self, at: Position) -> Option<usize> {
        let len = record::check(self.seed, at, self.view(at))?;
        // Of a kind that this version does not know: as good as damaged.
        self.record(at, len).map(|_| len)
    }

    /// What the window holds from `at` on.
    fn view(&self, at: Position) -> &[u8] {
        usize::try_from(at.since(self.window_at))
            .ok()
            .and_then(|skipped| self.window.get(skipped..))
            .unwrap_or_default()
    }

    /// Sees to it that the window holds the longest record from `at` on, or all there is.
    fn fill(&mut self, file: &dyn File, span: Span, at: Position) -> io::Result<()> {
        if at < self.window_at {
            self.window.clear();
        }
        if self.window.is_empty() {
            self.window_at = at;
        }
        let window_end = self.window_at.plus(self.window.len());
        if self.view(at).len() >= RECORD_LEN_MAX || window_end >= span.end {
            return Ok(());
        }
        let passed = usize::try_from(at.since(self.window_at)).unwrap_or(usize::MAX);
        self.window.drain(..passed.min(self.window.len()));
        self.window_at = at;
        while self.window.len() < RECORD_LEN_MAX {
            let from = self.window_at.plus(self.window.len());
            let room = u64::try_from(WINDOW_LEN.saturating_sub(self.window.len())).unwrap_or(0);
            let wanted = room.min(span.end.since(from));
            if wanted == 0 || self.read(file, offset_of(span.base, from), wanted)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Appends up to `wanted` bytes of the file to the window; how many.
    fn read(&mut self, file: &dyn File, offset: u64, wanted: u64) -> io::Result<usize> {
        let block_end = (offset / BLOCK_LEN).saturating_add(1).saturating_mul(BLOCK_LEN);
        let wanted = if self.pass_unreadable { wanted.min(block_end - offset) } else { wanted };
        let held = self.window.len();
        self.window.resize(held.saturating_add(usize::try_from(wanted).unwrap_or(0)), 0);
        let into = self.window.get_mut(held..).unwrap_or_default();
        match file.read_at(offset, into) {
            Ok(read) => {
                self.window.truncate(held.saturating_add(read));
                Ok(read)
            }
            Err(error) if self.pass_unreadable => {
                tracing::warn!(offset, %error, "passing over a block that cannot be read");
                let into = self.window.get_mut(held..).unwrap_or_default();
                into.fill(0);
                Ok(into.len())
            }
            Err(error) => {
                self.window.truncate(held);
                Err(error)
            }
        }
    }
}
