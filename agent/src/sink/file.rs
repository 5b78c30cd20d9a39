//! NDJSON files in a directory: exactly once in effect.
//!
//! `DIR/milepost-000001.ndjson`, appended to and synced batch by batch, followed by the next number
//! when full; then the cursor, in `DIR/.milepost-cursor`, which holds the length of what counts. A
//! crash in between leaves lines behind that length: the next start cuts them off and writes them
//! again. A reader that follows the files sees each line at least once; one that reads up to the
//! recorded length, exactly once.
//!
//! If no cursor holds in this journal (the journal was replaced or restored from an old copy, the
//! cursor is gone or older than the files), the files themselves say per ring what was delivered,
//! and the journal is read again from its oldest entry past what they hold. What no cursor accounts
//! for is never cut and never removed.
//!
//! Safe with one forwarder at a time; the directory is locked.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::lock::DirLock;
use super::numbered::{LogEnd, Naming, NumberedLog};
use super::slots::Slots;
use super::{CursorState, Reconcile, Resume, Sink, SinkError, scan};
use crate::journal::{Damage, Item, JournalTail};
use crate::privacy::Cleared;
use crate::storage::SharedStorage;

/// Where the files are and how large they get.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSinkConfig {
    /// The directory; nothing else is in it.
    pub dir: PathBuf,
    /// Size of a file, in MiB, before the next one is begun.
    #[serde(default = "FileSinkConfig::rotate_mib")]
    pub rotate_mib: u32,
}

impl FileSinkConfig {
    /// The default size of a file, in MiB.
    pub const fn rotate_mib() -> u32 {
        1024
    }
}

/// The cursor as it is kept beside the files.
#[derive(Debug, Serialize, Deserialize)]
struct FileCursor {
    state: CursorState,
    end: LogEnd,
}

/// The sink.
#[derive(Debug)]
pub struct FileSink {
    log: NumberedLog,
    slots: Slots,
    rotate_bytes: u64,
    _lock: Option<DirLock>,
}

impl FileSink {
    /// Opens the directory; with what it holds, in terms of the journal. `lock` is the lock on the
    /// directory; none only where no other process can reach the storage.
    pub fn open(
        storage: &SharedStorage,
        config: &FileSinkConfig,
        lock: Option<DirLock>,
        journal: &JournalTail,
    ) -> Result<(Self, Resume), SinkError> {
        let failed = |error| SinkError::retry("cannot open the sink's directory", &error);
        let naming =
            Naming { dir: config.dir.clone(), stem: "milepost".to_owned(), suffix: "ndjson" };
        storage.create_dir_all(&config.dir).map_err(failed)?;
        let path = config.dir.join(".milepost-cursor");
        let (slots, record) = Slots::open(storage.clone(), &path).map_err(failed)?;
        let cursor = record.and_then(|record| postcard::from_bytes::<FileCursor>(&record).ok());
        let numbers = naming.numbers(storage).map_err(failed)?;
        let last = numbers.last().copied().unwrap_or_default();
        let after_last = LogEnd { file: last.saturating_add(1), len: 0 };
        let (log, resume) = match cursor {
            None if numbers.is_empty() => (Self::log(storage, &naming, after_last)?, Resume::Fresh),
            None => {
                let why = "there is no cursor, or it is damaged";
                (
                    Self::log(storage, &naming, after_last)?,
                    reconcile(storage, &naming, why, true, None)?,
                )
            }
            Some(FileCursor { state, end })
                if !vouches(storage, &naming, last, end, &state, journal) =>
            {
                let why = "the cursor is not of these files, or older than what the journal keeps";
                (
                    Self::log(storage, &naming, after_last)?,
                    reconcile(storage, &naming, why, true, Some(state))?,
                )
            }
            Some(FileCursor { state, end }) => {
                let log = Self::log(storage, &naming, end)?;
                let holds = state.journal.is_none_or(|cursor| journal.validates(&cursor));
                let resume = if holds {
                    Resume::At(Box::new(state))
                } else {
                    let why = "the journal was replaced or restored from an old copy";
                    reconcile(storage, &naming, why, false, Some(state))?
                };
                (log, resume)
            }
        };
        let rotate_bytes = u64::from(config.rotate_mib.max(1)) << 20;
        Ok((Self { log, slots, rotate_bytes, _lock: lock }, resume))
    }

    /// Begins new files after so many bytes.
    #[cfg(test)]
    pub(crate) fn rotate_after(&mut self, bytes: u64) {
        self.rotate_bytes = bytes;
    }

    fn log(
        storage: &SharedStorage,
        naming: &Naming,
        end: LogEnd,
    ) -> Result<NumberedLog, SinkError> {
        NumberedLog::open(storage.clone(), naming.clone(), end)
            .map_err(|error| SinkError::retry("cannot open the sink's files", &error))
    }
}

impl Sink for FileSink {
    fn write(&mut self, batch: &Cleared, cursor: &CursorState) -> Result<(), SinkError> {
        let end = self
            .log
            .append(batch.lines(), self.rotate_bytes)
            .map_err(|error| SinkError::retry("cannot write the sink's file", &error))?;
        let record = postcard::to_extend(&FileCursor { state: cursor.clone(), end }, Vec::new())
            .map_err(|error| SinkError::Stop(format!("cannot encode the cursor: {error}")))?;
        self.slots
            .write(&record)
            .map_err(|error| SinkError::retry("cannot write the sink's cursor", &error))?;
        self.log.commit(end);
        Ok(())
    }
}

/// Whether a cursor accounts for the files as they are: the file it names is at least as long, at
/// most one was begun after it (by an append that was not committed), and the journal still has
/// what follows it. Otherwise it is older than the files, or they are not its files, and lines that
/// are nowhere else might stand behind its end.
fn vouches(
    storage: &SharedStorage,
    naming: &Naming,
    last: u32,
    end: LogEnd,
    state: &CursorState,
    journal: &JournalTail,
) -> bool {
    let len = storage.open(&naming.path(end.file), false).and_then(|file| file.len());
    let whole = end.len == 0 || len.is_ok_and(|len| len >= end.len);
    let Some(cursor) = state.journal.filter(|cursor| journal.validates(cursor)) else {
        return whole && last <= end.file.saturating_add(1);
    };
    let pruned = protocol::Lane::ALL.into_iter().any(|lane| {
        let from = cursor.positions.get(lane);
        let mut reader = journal.reader(lane, from);
        matches!(reader.next(), Ok(Some(Item::Damage(Damage { from: at, .. }))) if at == from)
    });
    whole && last <= end.file.saturating_add(1) && !pruned
}

fn reconcile(
    storage: &SharedStorage,
    naming: &Naming,
    why: &str,
    ends_anywhere: bool,
    cursor: Option<CursorState>,
) -> Result<Resume, SinkError> {
    let delivered = scan::delivered(storage, naming, ends_anywhere)
        .map_err(|error| SinkError::retry("cannot read the sink's files", &error))?;
    Ok(Resume::Reconcile(Box::new(Reconcile { why: why.to_owned(), cursor, delivered })))
}
