//! Backups of a data directory: made while the agent runs or while it does not, checked, restored.
//!
//! Constraints first. A backup holds together: what its cursors stand on is in its journal, what its
//! journal needs to be read is in its registry. It is whole or it is not there: it is written under
//! another name, synced, and renamed. Every byte of it is covered by a checksum. It does not hold
//! the wrapping key unless that is asked for, so that it opens nothing on its own. While it is made,
//! devices and sinks are served as ever; only the pruning of the journal waits.
//!
//! The order makes it hold together, with no stop anywhere. First the watermarks, as the database
//! has them at one moment; then the cursors and the local store; then what stands beside them; then
//! the journal, up to where it is durable by then; last the devices and catalogues. So each part is
//! no older than those that refer to it. Nothing is pruned from the first step on. In the watermarks'
//! case that matters most: a checkpoint beyond the journal would make them worthless.
//!
//! A restored journal begins a new life at its next start, with a nonce that no sink has ever seen:
//! the cursors of newer sinks do not hold in it, and those sinks are asked what they have, ring by
//! ring, as after any other old copy. So nothing is doubled. What devices still hold they send
//! again. What they had freed since and at most the sinks have is written into the journal as gone,
//! with its range and exact counts, as soon as its device says hello; a sink that has it passes over
//! that, and one that has not is told.
//!
//! A sink's own files are no part of a backup: they are the sink's.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use crate::lock::LockError;
use crate::state::StateError;

mod archive;
mod manifest;
mod places;
mod restore;
mod store;
mod tables;
mod take;
mod tar;
#[cfg(feature = "model")]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;

pub use archive::verify;
pub use manifest::{FileEntry, LeftOut, MANIFEST_NAME, Manifest};
pub use restore::{MARKER_NAME, Restored, finish_move, mark_started, not_started, restore};
pub use take::{Origin, Plan, Report, take};

/// How far a backup or a restore has come.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, as far as is known.
    pub total: u64,
}

/// Hears of progress; an error ends the work.
pub type Watcher<'a> = dyn FnMut(Progress) -> io::Result<()> + 'a;

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Caller: what is named cannot be used.
    #[error("{0}")]
    Place(String),
    /// Config: made by a newer milepost.
    #[error(
        "{} is a backup of format {found}, made by milepost {agent}; this one knows up to {}: restore \
         it with that milepost", path.display(), manifest::FORMAT
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Who made it.
        agent: String,
    },
    /// Resource: it is not what it was when it was made.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Resource: a file.
    #[error("cannot {doing} {}: {error}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// Config: somebody uses the directory.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// Resource: the state database.
    #[error(transparent)]
    State(#[from] StateError),
    /// Program: a table of a kind that this module does not copy yet.
    #[error("the state database has a table `{0}` of a kind that a backup cannot take")]
    Table(String),
    /// Resource: the local store's index.
    #[error("cannot copy the store's index: {0}")]
    Store(#[from] rusqlite::Error),
    /// Caller: gave up on it.
    #[error("the backup was cancelled; nothing is left of it")]
    Cancelled,
}

impl BackupError {
    fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::File { doing, path, error }
    }

    fn damaged(path: &Path, why: impl Display) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_string() }
    }
}

/// The parent of a path; `.` for a mere name.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name a thing has until it is whole, beside the one it will have.
fn provisional(path: &Path) -> Result<PathBuf, BackupError> {
    let name = path.file_name().ok_or_else(|| {
        BackupError::Place(format!(
            "{} has no name of its own: give the backup one",
            path.display()
        ))
    })?;
    Ok(parent(path).join(format!(".{}.milepost-partial", name.to_string_lossy())))
}

/// Removes a file or a tree that may not be there.
fn clear(path: &Path) -> io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes the names in a directory durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}
