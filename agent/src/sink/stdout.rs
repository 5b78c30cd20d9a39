//! NDJSON on standard output: at least once.
//!
//! Whoever reads the pipe takes a line for good when it has read it, and says nothing; so a crash
//! between the output and the cursor repeats the last batch. The ids are the same: a reader that
//! keys on them is exact. The cursor is in the agent's own directory.

use std::io::{self, Write};
use std::path::Path;

use super::ndjson::Ndjson;
use protocol::DeviceId;

use super::slots::Slots;
use super::{CursorState, Erased, Reconcile, Remains, Resume, Sink, SinkError};
use crate::journal::JournalTail;
use crate::privacy::Cleared;
use crate::storage::SharedStorage;

/// The sink.
pub struct StdoutSink {
    out: Box<dyn Write + Send>,
    slots: Slots,
    ndjson: Ndjson,
    /// Bytes of the batch at hand that are out already.
    written: usize,
}

impl std::fmt::Debug for StdoutSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StdoutSink").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl StdoutSink {
    /// Opens the cursor at `path`; `out` is standard output, or what stands for it in a test.
    pub fn open(
        storage: &SharedStorage,
        path: &Path,
        journal: &JournalTail,
        out: Box<dyn Write + Send>,
    ) -> Result<(Self, Resume), SinkError> {
        let (slots, record) = Slots::open(storage.clone(), path)
            .map_err(|error| SinkError::retry("cannot open the cursor", &error))?;
        let cursor = record.and_then(|record| super::decode_cursor::<CursorState>(&record).ok());
        let resume = match cursor {
            None => Resume::Fresh,
            Some(state) if state.journal.is_none_or(|at| journal.validates(&at)) => {
                Resume::At(Box::new(state))
            }
            Some(state) => Resume::Reconcile(Box::new(Reconcile {
                why: "the journal was replaced or restored from an old copy".to_owned(),
                cursor: Some(state),
                ..Reconcile::default()
            })),
        };
        Ok((Self { out, slots, ndjson: Ndjson::default(), written: 0 }, resume))
    }
}

impl Sink for StdoutSink {
    fn write(&mut self, batch: &Cleared, cursor: &CursorState) -> Result<(), SinkError> {
        let Self { out, ndjson, written, .. } = self;
        // What of the same batch is out already.
        let mut skip = *written;
        ndjson.render(batch, |part| {
            let (passed, mut rest) = part.split_at(skip.min(part.len()));
            skip -= passed.len();
            while !rest.is_empty() {
                match out.write(rest) {
                    Ok(0) => return Err(gone()),
                    Ok(count) => {
                        *written += count;
                        rest = rest.get(count..).unwrap_or_default();
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(&error)),
                }
            }
            Ok(())
        })?;
        self.out.flush().map_err(|error| failed(&error))?;
        let record = postcard::to_extend(cursor, Vec::new())
            .map_err(|error| SinkError::Stop(format!("cannot encode the cursor: {error}")))?;
        self.slots
            .write(&record)
            .map_err(|error| SinkError::retry("cannot write the cursor", &error))?;
        self.written = 0;
        Ok(())
    }

    fn erase(&mut self, _: &DeviceId) -> Result<Erased, SinkError> {
        Ok(nothing())
    }

    fn erase_vehicle(&mut self, _: &str) -> Result<Erased, SinkError> {
        Ok(nothing())
    }
}

/// What was written is out of reach.
fn nothing() -> Erased {
    let place = "whatever reads standard output".to_owned();
    Erased { remains: vec![Remains { place, documents: None }], ..Erased::default() }
}

fn failed(error: &io::Error) -> SinkError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => gone(),
        _ => SinkError::retry("cannot write to standard output", error),
    }
}

fn gone() -> SinkError {
    SinkError::Stop("nobody reads standard output any more".to_owned())
}
