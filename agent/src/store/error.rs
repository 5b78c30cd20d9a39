//! Why the store cannot do what it should, by who must act.

use std::io;
use std::path::PathBuf;

use protocol::codec::CodecError;
use rusqlite::ErrorCode;

use super::schema;
use crate::owner::refused;

/// What goes wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Resource: a file cannot be read or written.
    #[error("{doing}: {source}{}", refused(.source))]
    Io {
        /// What was tried.
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// Resource: the index cannot be read or written; operator, where it is damaged.
    #[error("the store's index: {error}{advice}", error = .0, advice = index_advice(.0))]
    Index(#[from] rusqlite::Error),
    /// Operator: there is no store at that place.
    #[error("there is no store in {0}")]
    Missing(PathBuf),
    /// Operator: there are block files and no index.
    #[error(
        "the index of the store in {0} is missing, its block files are there: stop the agent, and \
         `milepost store rebuild` makes the index anew"
    )]
    IndexMissing(PathBuf),
    /// Config: a later version wrote the index.
    #[error(
        "{path}: written by a later version of milepost (format {found}; this one knows {known})",
        known = schema::VERSION
    )]
    Newer {
        /// The index's file.
        path: PathBuf,
        /// Its version.
        found: i32,
    },
    /// Operator: it is another program's file, or of no version that can be read.
    #[error("{path}: {what}")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// Operator: what is on disk is damaged; `milepost store rebuild` mends what can be mended.
    #[error("{what}; stop the agent and run `milepost store rebuild`")]
    Damaged {
        /// What is wrong, and where.
        what: String,
    },
    /// Bug, or damage that a checksum does not see: a block does not decode.
    #[error("a block does not decode: {0}")]
    Codec(#[from] CodecError),
    /// Operator: somebody else has it.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
}

impl StoreError {
    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::Index(error) => error.sqlite_error_code() == Some(ErrorCode::DiskFull),
            _ => false,
        }
    }

    /// Whether somebody may not read what there is: no damage.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// For `map_err`: an I/O error and what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

/// What to do about a damaged index; nothing where it is not damaged.
pub(crate) fn index_advice(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "; stop the agent and run `milepost store rebuild`"
        }
        _ => "",
    }
}
