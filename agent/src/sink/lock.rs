//! One process to a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Held on a directory as long as this lives; the kernel lets go of it if the process dies.
///
/// A lock is not content: it goes past [`crate::storage::Storage`], whose files no other process
/// sees.
#[derive(Debug)]
pub struct DirLock {
    _file: fs::File,
}

/// Why a directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Config: two agents, or two sinks, write to one place.
    #[error("{0} is in use by another process or sink")]
    Held(PathBuf),
    /// Resource: the lock's file cannot be had.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DirLock {
    /// Locks a directory, which is made if it is not there.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let path = dir.join(".milepost-lock");
        let mut options = fs::OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Held(dir.to_owned())),
            Err(error) => Err(failed(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("out");
        let held = DirLock::take(&place).unwrap();
        assert!(matches!(DirLock::take(&place), Err(LockError::Held(_))));
        drop(held);
        DirLock::take(&place).unwrap();
    }
}
