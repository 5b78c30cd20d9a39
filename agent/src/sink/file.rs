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

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use protocol::{DeviceId, Lane, RingId, Seq};
use serde::{Deserialize, Serialize};

use super::ndjson::Ndjson;
use super::numbered::{LogEnd, Naming, NumberedLog};
use super::slots::Slots;
use super::{CursorState, Erased, Reconcile, Remains, Resume, Sink, SinkError, room, scan};
use crate::journal::{JournalTail, Position};
use crate::lock::DirLock;
use crate::privacy::Cleared;
use crate::storage::SharedStorage;

/// Where the files are and how large they get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSinkConfig {
    /// The directory; nothing else is in it.
    pub dir: PathBuf,
    /// Size of a file, in bytes, before the next one is begun.
    pub rotate_bytes: u64,
}

/// The cursor as it is kept beside the files.
#[derive(Debug, Serialize, Deserialize)]
struct FileCursor {
    /// Where the files end.
    end: LogEnd,
    standing: Standing,
}

/// What the files hold up to their end.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Standing {
    /// Nothing.
    Fresh,
    /// All that stands before this.
    At(Box<CursorState>),
    /// What they say themselves.
    ByIdentity {
        /// The last cursor that held, if there was one.
        last: Option<Box<CursorState>>,
        /// Nobody vouches for the last frame before the end.
        ends_anywhere: bool,
        why: String,
    },
}

/// The sink.
#[derive(Debug)]
pub struct FileSink {
    log: NumberedLog,
    slots: Slots,
    rotate_bytes: u64,
    ndjson: Ndjson,
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
        let cursor = record.and_then(|record| super::decode_cursor::<FileCursor>(&record).ok());
        let numbers = naming.numbers(storage).map_err(failed)?;
        let after_last = LogEnd { file: numbers.last().map_or(1, |last| last + 1), len: 0 };
        let unvouched = |last: Option<Box<CursorState>>, why: &str| FileCursor {
            end: after_last,
            standing: Standing::ByIdentity { last, ends_anywhere: true, why: why.to_owned() },
        };
        let FileCursor { end, standing } = match cursor {
            None if numbers.is_empty() => FileCursor { end: after_last, standing: Standing::Fresh },
            None => unvouched(None, "there is no cursor, or it is damaged"),
            Some(FileCursor { end, standing }) => {
                let is_whole = accounts(storage, &naming, after_last, end).map_err(failed)?;
                match standing {
                    Standing::At(state) if !is_whole => {
                        unvouched(Some(state), "the cursor is older than the files, or not of them")
                    }
                    _ if !is_whole => unvouched(None, "the cursor is not of these files"),
                    Standing::At(state) => match holds(&state, journal) {
                        Holds::Yes => FileCursor { end, standing: Standing::At(state) },
                        // What nobody vouches for behind the cursor is cut off either way: of that the
                        // journal still has, or what is missing is counted from the cursor.
                        holds => {
                            let why = if holds == Holds::Behind {
                                "the journal has pruned what follows the cursor"
                            } else {
                                "the journal was replaced or restored from an old copy"
                            };
                            let (last, why) = (Some(state), why.to_owned());
                            let standing = Standing::ByIdentity { last, ends_anywhere: false, why };
                            FileCursor { end, standing }
                        }
                    },
                    standing => FileCursor { end, standing },
                }
            }
        };
        let log = NumberedLog::open(storage.clone(), naming.clone(), end).map_err(failed)?;
        // The cursor comes first: from here on it tells where the files end, whatever happens.
        let mut slots = slots;
        if !matches!(standing, Standing::At(_)) {
            put(&mut slots, &FileCursor { end, standing: standing.clone() })?;
        }
        let resume = match standing {
            Standing::Fresh => Resume::Fresh,
            Standing::At(state) => Resume::At(state),
            Standing::ByIdentity { last, ends_anywhere, why } => {
                let delivered = scan::delivered(storage, &naming, ends_anywhere)
                    .map_err(|error| SinkError::retry("cannot read the sink's files", &error))?;
                let cursor = last.map(|last| *last);
                let is_behind = cursor
                    .as_ref()
                    .is_some_and(|last| matches!(holds(last, journal), Holds::Behind));
                Resume::Reconcile(Box::new(Reconcile { why, cursor, is_behind, delivered }))
            }
        };
        let rotate_bytes = config.rotate_bytes;
        Ok((Self { log, slots, rotate_bytes, ndjson: Ndjson::default(), _lock: lock }, resume))
    }
}

impl Sink for FileSink {
    fn write(&mut self, batch: &Cleared, cursor: &CursorState) -> Result<(), SinkError> {
        let Self { log, ndjson, rotate_bytes, .. } = self;
        let end = if batch.documents() == 0 {
            log.end()
        } else {
            room::left_after(batch, &**log.storage(), &log.naming().dir)?;
            log.append_parts(1, *rotate_bytes, |write| ndjson.render(batch, write))
                .map_err(|error| SinkError::retry("cannot write the sink's file", &error))?
        };
        put(
            &mut self.slots,
            &FileCursor { end, standing: Standing::At(Box::new(cursor.clone())) },
        )?;
        self.log.commit(end);
        Ok(())
    }

    /// What was written stays: whoever follows the files has read it, and reads on by position. It
    /// is for the operator to say what becomes of the files named.
    fn erase(&mut self, device: &DeviceId) -> Result<Erased, SinkError> {
        remaining(scan::documents_of(self.log.storage(), self.log.naming(), device))
    }

    fn erase_vehicle(&mut self, vehicle: &str) -> Result<Erased, SinkError> {
        remaining(scan::documents_in(self.log.storage(), self.log.naming(), vehicle))
    }

    /// Reads all files.
    fn delivered(&self) -> io::Result<HashMap<RingId, Seq>> {
        scan::delivered(self.log.storage(), self.log.naming(), false)
    }

    fn rotate_after(&mut self, bytes: u64) {
        self.rotate_bytes = bytes;
    }
}

/// Names what stays.
fn remaining(found: io::Result<Vec<(PathBuf, u64)>>) -> Result<Erased, SinkError> {
    let found = found.map_err(|error| SinkError::retry("cannot read the sink's files", &error))?;
    let remains = |(path, documents): (PathBuf, u64)| Remains {
        place: path.display().to_string(),
        documents: Some(documents),
    };
    Ok(Erased { remains: found.into_iter().map(remains).collect(), ..Erased::default() })
}

fn put(slots: &mut Slots, cursor: &FileCursor) -> Result<(), SinkError> {
    let record = postcard::to_extend(cursor, Vec::new())
        .map_err(|error| SinkError::Stop(format!("cannot encode the cursor: {error}")))?;
    slots.write(&record).map_err(|error| SinkError::retry("cannot write the sink's cursor", &error))
}

/// Whether an end accounts for the files as they are: the file it names is at least as long, and at
/// most one was begun after it, by an append that was not committed. Otherwise it is older than the
/// files, or they are not its files, and lines that are nowhere else might stand behind it.
fn accounts(
    storage: &SharedStorage,
    naming: &Naming,
    after_last: LogEnd,
    end: LogEnd,
) -> io::Result<bool> {
    let is_long_enough = match storage.open(&naming.path(end.file), false) {
        Ok(file) => file.len()? >= end.len,
        Err(error) if error.kind() == io::ErrorKind::NotFound => end.len == 0,
        Err(error) => return Err(error),
    };
    Ok(is_long_enough && after_last.file <= end.file.saturating_add(2))
}

/// What a cursor is worth in a journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// The journal has what follows it.
    Yes,
    /// It is the journal's, but the journal no longer has what follows it.
    Behind,
    /// It is another journal's, or of a life that this one knows nothing of.
    No,
}

/// Whether a journal has what follows a cursor.
pub fn holds(state: &CursorState, journal: &JournalTail) -> Holds {
    let Some(cursor) = &state.journal else { return Holds::Yes };
    if !journal.validates(cursor) {
        return Holds::No;
    }
    let is_behind = |lane| {
        let at = cursor.positions.get(lane);
        at > Position::ZERO && at < journal.oldest(lane)
    };
    if Lane::ALL.into_iter().any(is_behind) {
        return Holds::Behind;
    }
    Holds::Yes
}
