//! Why something cannot be done, and whose turn it is.

use std::io;
use std::path::{Path, PathBuf};

use protocol::Lane;

/// Why a journal cannot be opened. Damage is no reason; see [`RecoveryReport`](super::RecoveryReport).
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk is full, and what a crash left has to be written again. Make room, start again.
    #[error("no room to recover the journal at {}", path.display())]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// What the storage says.
        source: io::Error,
    },
    /// The storage fails.
    #[error("cannot open the journal at {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the storage says.
        source: io::Error,
    },
    /// Written by another version of the agent.
    #[error(
        "{} has format {found}, and this milepost ({}) knows {known}: run the newer milepost that \
         wrote it; nothing was changed", path.display(), env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// Which segment.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// There are segments, and no header or epoch that is whole: without the journal's id none of
    /// their records can be read. Nothing was changed; move them away to begin anew.
    #[error("nothing tells which journal the segments in {} are of", path.display())]
    Unrecognisable {
        /// The journal's directory.
        path: PathBuf,
    },
}

impl JournalError {
    pub(super) fn at(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_no_space(&source) {
            Self::NoSpace { path, source }
        } else {
            Self::Io { path, source }
        }
    }
}

/// Why an entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// [`PENDING_BYTES_MAX`](super::PENDING_BYTES_MAX) wait already: commit first.
    #[error("too much waits for a commit")]
    Pending,
    /// The journal has [`JournalConfig::bytes_max`](super::JournalConfig::bytes_max) already: prune first.
    #[error("the journal is full")]
    Full,
    /// The disk has no more than [`JournalConfig::reserve_bytes`](super::JournalConfig::reserve_bytes) left: make room.
    #[error("No space left on the journal's disk but what is kept for the sinks")]
    NoSpace,
    /// The payload has more than [`FRAME_LEN_MAX`](protocol::frame::FRAME_LEN_MAX) bytes.
    #[error("the payload is too large")]
    TooLarge,
}

/// Why something is still pending. Nothing is lost: what is durable is in [`Journal::ends`](super::Journal::ends), the
/// rest waits for the next commit.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk is full.
    #[error("no room for the {lane} lane of the journal")]
    NoSpace {
        /// The first lane that failed.
        lane: Lane,
        /// What the storage says.
        source: io::Error,
    },
    /// The disk fails, the old file as well as a new one.
    #[error("cannot write the {lane} lane of the journal")]
    Io {
        /// The first lane that failed.
        lane: Lane,
        /// What the storage says.
        source: io::Error,
    },
}

/// Whether the disk, or our share of it, is full.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
