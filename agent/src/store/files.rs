//! The files of a store's directory.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;

/// Where block file `id` is.
pub fn path(dir: &Path, id: u32) -> PathBuf {
    dir.join("blocks").join(format!("{id:06}.blk"))
}

/// Held by every reader as long as it lives; keeps what was merged from being removed.
#[derive(Debug)]
pub struct ReaderLock {
    _file: fs::File,
}

impl ReaderLock {
    const FILE: &str = ".milepost-readers";

    /// A reader's share of it.
    pub fn shared(dir: &Path) -> Result<Self, StoreError> {
        let file = Self::open(dir)?;
        flock(&file, FlockOperation::LockShared)
            .map_err(|error| StoreError::io("cannot lock the store to read")(error.into()))?;
        Ok(Self { _file: file })
    }

    /// All of it, if there is no reader at the moment.
    pub fn exclusive(dir: &Path) -> Result<Option<Self>, StoreError> {
        let file = Self::open(dir)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(StoreError::io("cannot lock the store's readers out")(error.into())),
        }
    }

    fn open(dir: &Path) -> Result<fs::File, StoreError> {
        let mut options = fs::OpenOptions::new();
        let path = dir.join(Self::FILE);
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .or_else(|_| fs::File::open(&path))
            .map_err(StoreError::io(format!("cannot open {}", path.display())))
    }
}
