//! One owner to a directory: the agent to its data directory, a sink to its own.
//!
//! A lock is not content: it goes past [`crate::storage`], whose files no other process sees.

use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Who owns a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The agent, or a command in its place: nobody else may look inside.
    Agent,
    /// A sink, whose files others read.
    Sink,
}

impl Owner {
    /// The lock's file.
    const fn file_name(self) -> &'static str {
        match self {
            Self::Agent => "lock",
            Self::Sink => ".milepost-lock",
        }
    }

    /// The directory's mode, less the umask, if it has to be made.
    const fn dir_mode(self) -> u32 {
        match self {
            Self::Agent => 0o700,
            Self::Sink => 0o777,
        }
    }
}

/// Ownership of a directory, given up when dropped, or by the kernel when the process ends.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "held, not used: closing it unlocks")] fs::File);

/// Why a directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Config: two agents, or two sinks, have one directory.
    #[error(
        "{} is in use by another milepost process or sink{}", dir.display(),
        by.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The owner's process id, if it said so.
        by: Option<u32>,
    },
    /// Resource: the directory or the lock's file cannot be had.
    #[error("cannot lock {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl DirLock {
    /// Takes a directory, making it if it is not there; does not wait.
    pub fn take(dir: &Path, owner: Owner) -> Result<Self, LockError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| LockError::File { path, error }
        };
        let mut maker = fs::DirBuilder::new();
        maker.recursive(true).mode(owner.dir_mode()).create(dir).map_err(failed(dir))?;
        let path = dir.join(owner.file_name());
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut said = String::new();
                let read = file.read_to_string(&mut said).is_ok();
                let by = if read { said.trim().parse().ok() } else { None };
                return Err(LockError::Held { dir: dir.to_owned(), by });
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(&path)(error)),
        }
        // Who has it is a courtesy to the reader of the error message; the lock is the kernel's.
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = written {
            tracing::debug!(%error, path = %path.display(), "process id not written");
        }
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        for owner in [Owner::Agent, Owner::Sink] {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path().join("new");
            let lock = DirLock::take(&dir, owner).unwrap();
            let error = DirLock::take(&dir, owner).unwrap_err();
            let own = std::process::id();
            assert!(matches!(error, LockError::Held { by: Some(pid), .. } if pid == own));
            drop(lock);
            DirLock::take(&dir, owner).unwrap();
        }
    }
}
