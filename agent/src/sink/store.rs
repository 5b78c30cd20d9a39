//! The local store as a sink: exactly once.
//!
//! The cursor is committed with the index, in one transaction, after the blocks were synced; see
//! [`crate::store`]. Where no cursor holds in this journal, the store says per ring what it was
//! given, which it knows even of what retention has taken since.
//!
//! Safe with one forwarder at a time; the directory is locked.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::{DeviceId, RingId, Seq};

use super::file::{Holds, holds};
use super::{CursorState, Erased, Reconcile, Resume, Sink, SinkError, room};
use crate::journal::JournalTail;
use crate::lock::DirLock;
use crate::privacy::Cleared;
use crate::storage::SharedStorage;
use crate::store::{CompactionHandle, Engine, Retention, Standing, StoreError, Taken};

/// Where the store is and what it keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreSinkConfig {
    /// The directory; nothing else is in it.
    pub dir: PathBuf,
    /// Size of a block file, in bytes, before the next one is begun.
    pub file_bytes: u64,
    /// What is kept for how long.
    pub retention: Retention,
}

/// The sink.
#[derive(Debug)]
pub struct StoreSink {
    storage: SharedStorage,
    dir: PathBuf,
    engine: Engine,
    compaction: Option<CompactionHandle>,
    /// What it was begun with, to begin it again.
    compacts: Option<(SharedStorage, StoreSinkConfig)>,
    _lock: Option<DirLock>,
}

impl StoreSink {
    /// Opens the store; with what it holds, in terms of the journal. `lock` is the lock on the
    /// directory; none only where no other process can reach the storage.
    pub fn open(
        storage: &SharedStorage,
        config: &StoreSinkConfig,
        lock: Option<DirLock>,
        journal: &JournalTail,
    ) -> Result<(Self, Resume), SinkError> {
        let (engine, standing) = Engine::open(storage, &config.dir, config.file_bytes)?;
        let resume = match standing {
            Standing::Empty => Resume::Fresh,
            Standing::NoCursor(why) => reconcile(&engine, why, None, false)?,
            Standing::Cursor(bytes) => match super::decode_cursor::<CursorState>(&bytes) {
                Err(_) => reconcile(&engine, "the cursor is unreadable".to_owned(), None, false)?,
                Ok(state) => match holds(&state, journal) {
                    Holds::Yes => Resume::At(Box::new(state)),
                    Holds::Behind => {
                        let why = "the journal has pruned what follows the cursor";
                        reconcile(&engine, why.to_owned(), Some(state), true)?
                    }
                    Holds::No => {
                        let why = "the journal was replaced or restored from an old copy";
                        reconcile(&engine, why.to_owned(), Some(state), false)?
                    }
                },
            },
        };
        let (storage, dir) = (Arc::clone(storage), config.dir.clone());
        Ok((Self { storage, dir, engine, compaction: None, compacts: None, _lock: lock }, resume))
    }

    /// Compacts and retires in the background from now on, on a thread of its own.
    pub fn compact(
        &mut self,
        storage: &SharedStorage,
        config: &StoreSinkConfig,
    ) -> Result<(), SinkError> {
        let (dir, retention) = (config.dir.clone(), config.retention.clone());
        let numbers = self.engine.numbers();
        let handle = CompactionHandle::spawn(storage, dir, config.file_bytes, retention, numbers)?;
        self.compaction = Some(handle);
        self.compacts = Some((Arc::clone(storage), config.clone()));
        Ok(())
    }

    /// Takes something out. Compaction must not carry on with what it has read before.
    fn standing_still(
        &mut self,
        take: impl FnOnce(&mut Engine) -> Result<Taken, StoreError>,
    ) -> Result<Erased, SinkError> {
        drop(self.compaction.take());
        let taken = take(&mut self.engine);
        if let Some((storage, config)) = self.compacts.take() {
            self.compact(&storage, &config)?;
        }
        let Taken { samples, records, bytes } = taken?;
        Ok(Erased { samples, records, bytes, remains: Vec::new() })
    }
}

impl Sink for StoreSink {
    fn write(&mut self, batch: &Cleared, cursor: &CursorState) -> Result<(), SinkError> {
        room::left_after(batch, &*self.storage, &self.dir)?;
        let record = postcard::to_extend(cursor, Vec::new())
            .map_err(|error| SinkError::Stop(format!("cannot encode the cursor: {error}")))?;
        if self.compaction.as_ref().is_some_and(CompactionHandle::wants_seal) {
            self.engine.seal();
        }
        Ok(self.engine.commit(batch, &record)?)
    }

    fn erase(&mut self, device: &DeviceId) -> Result<Erased, SinkError> {
        self.standing_still(|engine| engine.erase(*device))
    }

    fn erase_vehicle(&mut self, vehicle: &str) -> Result<Erased, SinkError> {
        self.standing_still(|engine| engine.erase_vehicle(vehicle))
    }

    /// The last frame that it was given anything of.
    fn delivered(&self) -> io::Result<HashMap<RingId, Seq>> {
        self.engine.delivered().map_err(io::Error::other)
    }
}

fn reconcile(
    engine: &Engine,
    why: String,
    cursor: Option<CursorState>,
    is_behind: bool,
) -> Result<Resume, SinkError> {
    let delivered = engine.delivered()?;
    Ok(Resume::Reconcile(Box::new(Reconcile { why, cursor, is_behind, delivered })))
}

impl From<StoreError> for SinkError {
    /// All of it may be mended while the agent runs, or shows in health until it is.
    fn from(error: StoreError) -> Self {
        if error.is_disk_full() {
            return Self::Retry(format!("{error}: the disk is full"));
        }
        Self::Retry(error.to_string())
    }
}
