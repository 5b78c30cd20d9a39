//! Everything at once, for when a person asks.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::{Compacted, Compaction};
use crate::storage::SharedStorage;
use crate::store::engine::Engine;
use crate::store::error::StoreError;
use crate::store::{files, schema};

/// What compacting everything came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Upkeep {
    /// Blocks that went into others.
    pub merged: u64,
    /// Blocks made.
    pub made: u64,
    /// Blocks that could not be read.
    pub damaged: u64,
    /// Samples in the store.
    pub samples: u64,
    /// Bytes of block files and index before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
}

/// Compacts all there is, as small as it gets. Nobody else may write to the store meanwhile.
pub fn compact_all(
    storage: &SharedStorage,
    dir: &Path,
    file_bytes: u64,
    stop: &AtomicBool,
) -> Result<Upkeep, StoreError> {
    if !dir.join(schema::FILE).exists() {
        return Err(StoreError::Missing(dir.to_owned()));
    }
    let bytes_before = bytes_of(storage, dir)?;
    let (engine, _) = Engine::open(storage, dir, file_bytes)?;
    let mut compaction = Compaction::open(storage, dir, file_bytes, &engine.numbers())?;
    drop(engine);
    compaction.thorough = true;
    // The second one rewrites what the first has left half empty.
    for _ in 0..2 {
        compaction.appender.seal();
        compaction.round(0, stop)?;
    }
    let samples = "SELECT coalesce(sum(samples), 0) FROM blocks WHERE len > 0";
    let samples: i64 = compaction.db.query_row(samples, [], |row| row.get(0))?;
    let Compacted { merged, made, damaged, .. } = compaction.done;
    compaction.db.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
    drop(compaction);
    let bytes_after = bytes_of(storage, dir)?;
    let samples = samples.cast_unsigned();
    Ok(Upkeep { merged, made, damaged, samples, bytes_before, bytes_after })
}

fn bytes_of(storage: &SharedStorage, dir: &Path) -> Result<u64, StoreError> {
    let failed = || StoreError::io(format!("cannot look into {}", dir.display()));
    let files = files::list(storage, dir).map_err(failed())?;
    let index = [schema::FILE.to_owned(), format!("{}-wal", schema::FILE)];
    let paths = files
        .into_iter()
        .map(|id| files::path(dir, id))
        .chain(index.iter().map(|name| dir.join(name)));
    Ok(paths.map(|path| std::fs::metadata(path).map_or(0, |file| file.len())).sum())
}
