//! The agent's data directory: who may use it, and the small database in it.
//!
//! Constraints first. One process at a time owns a data directory ([`DirLock`]). The database
//! (devices, cursors, manifests: everything small that is not the journal) lies on [`crate::storage`], so
//! that the torture's forgetful disk covers it. Its memory is bounded by a cache of
//! [`CACHE_BYTES`]. A file of a newer format is refused, never guessed at.

use std::fs;
use std::io;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, StorageError, TableDefinition,
    TransactionError, WriteTransaction,
};

use crate::storage::{File, SharedStorage};

/// Most memory the database caches pages in.
pub const CACHE_BYTES: usize = 1024 * 1024;

/// The database's file in a data directory.
pub const FILE_NAME: &str = "state.redb";

/// The version of the database as a whole; components have versions of their own, see [`claim`].
const FORMAT: u32 = 1;

/// Component -> version of its tables. Every version of the agent can read this one.
const FORMATS: TableDefinition<'static, &str, u32> = TableDefinition::new("formats");

/// Why the state can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Config: another process owns the directory.
    #[error("{dir} is in use by another milepost process{}", by.map(|pid| format!(" ({pid})")).unwrap_or_default())]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// The owner's process id, if it said so.
        by: Option<u32>,
    },
    /// Config: written by a newer agent.
    #[error(
        "the {component} tables in this data directory have format {found}, this milepost knows up to {known}: \
         run the newer milepost that wrote it, or restore a copy made before the upgrade"
    )]
    Newer {
        /// Whose tables.
        component: &'static str,
        /// The version found.
        found: u32,
        /// The newest version this program knows.
        known: u32,
    },
    /// Resource: a file or directory can't be used.
    #[error("cannot use {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Resource: the database can't be used.
    #[error("the state database failed: {0}")]
    Database(#[from] redb::Error),
}

macro_rules! from_database_errors {
    ($($error:ty)*) => {$(
        impl From<$error> for StateError {
            fn from(error: $error) -> Self {
                Self::Database(error.into())
            }
        }
    )*};
}

from_database_errors! {
    redb::DatabaseError redb::TransactionError redb::TableError redb::StorageError redb::CommitError
}

/// The database; handed around by clone.
///
/// After an I/O error redb refuses everything until it is opened anew. That is done here, at the
/// next use: a disk that was full and has room again costs no restart.
#[derive(Clone, Debug)]
pub struct State(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    storage: SharedStorage,
    path: PathBuf,
    current: RwLock<Opened>,
}

#[derive(Debug)]
struct Opened {
    database: Database,
    /// Cleared when it is replaced: what it still wants to write is refused.
    alive: Arc<AtomicBool>,
}

/// Opens the database at `path`, or makes it, durably.
pub fn open(storage: &SharedStorage, path: &Path) -> Result<State, StateError> {
    let failed = |error| StateError::File { path: path.to_owned(), error };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    storage.create_dir_all(dir).map_err(failed)?;
    let opened = Opened::new(storage, path)?;
    storage.sync_dir(dir).map_err(failed)?;
    let shared = Shared {
        storage: Arc::clone(storage),
        path: path.to_owned(),
        current: RwLock::new(opened),
    };
    let state = State(Arc::new(shared));
    claim(&state, "state", FORMAT)?;
    Ok(state)
}

impl Opened {
    fn new(storage: &SharedStorage, path: &Path) -> Result<Self, StateError> {
        let failed = |error| StateError::File { path: path.to_owned(), error };
        let file = storage.open(path, true).map_err(failed)?;
        let alive = Arc::new(AtomicBool::new(true));
        let backend = Backend { file, alive: Arc::clone(&alive) };
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
        Ok(Self { database, alive })
    }
}

impl State {
    /// Begins to read.
    pub fn begin_read(&self) -> Result<ReadTransaction, TransactionError> {
        self.with(Database::begin_read)
    }

    /// Begins to write; waits for whoever writes now.
    pub fn begin_write(&self) -> Result<WriteTransaction, TransactionError> {
        self.with(|database| {
            let transaction = database.begin_write()?;
            // redb finds out that an earlier write failed only at the first use of a table.
            let works = transaction.list_tables().map(drop);
            works.map(|()| transaction).map_err(TransactionError::from)
        })
    }

    fn with<T>(
        &self,
        begin: impl Fn(&Database) -> Result<T, TransactionError>,
    ) -> Result<T, TransactionError> {
        let begun = begin(&self.read().database);
        match begun {
            Err(TransactionError::Storage(StorageError::PreviousIo)) => {}
            begun => return begun,
        }
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been faster.
        match begin(&current.database) {
            Err(TransactionError::Storage(StorageError::PreviousIo)) => {}
            begun => return begun,
        }
        current.alive.store(false, Ordering::Release);
        match Opened::new(&self.0.storage, &self.0.path) {
            Ok(opened) => *current = opened,
            Err(error) => {
                tracing::warn!(%error, "the state database cannot be opened again yet");
                return Err(TransactionError::Storage(StorageError::PreviousIo));
            }
        }
        tracing::info!("opened the state database again after an error of the disk");
        begin(&current.database)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Opened> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that this program uses `component`'s tables in format `version`, and returns the version
/// they have, which is older if somebody has to migrate them (and then call [`migrated`]). A newer
/// one is refused. Claimed for the first time, they have `version`.
pub fn claim(database: &State, component: &'static str, version: u32) -> Result<u32, StateError> {
    if let Some(found) = format_of(database, component)? {
        return if found > version {
            Err(StateError::Newer { component, found, known: version })
        } else {
            Ok(found)
        };
    }
    migrated(database, component, version)?;
    Ok(version)
}

/// Writes down that `component`'s tables now have format `version`.
pub fn migrated(database: &State, component: &'static str, version: u32) -> Result<(), StateError> {
    let transaction = database.begin_write()?;
    transaction.open_table(FORMATS)?.insert(component, version)?;
    transaction.commit()?;
    Ok(())
}

fn format_of(database: &State, component: &str) -> Result<Option<u32>, StateError> {
    match database.begin_read()?.open_table(FORMATS) {
        Ok(formats) => Ok(formats.get(component)?.map(|version| version.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// redb's file, on our storage. One process per directory is [`DirLock`]'s business.
#[derive(Debug)]
struct Backend {
    file: Box<dyn File>,
    alive: Arc<AtomicBool>,
}

impl Backend {
    fn file(&self) -> io::Result<&dyn File> {
        if self.alive.load(Ordering::Acquire) {
            Ok(&*self.file)
        } else {
            Err(io::Error::other("the database was opened anew"))
        }
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let wanted = out.len();
        match self.file()?.read_at(offset, out)? {
            read if read == wanted => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file()?.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file()?.write_at(offset, data)
    }
}

/// Ownership of a data directory, given up when dropped, or by the kernel when the process ends.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "held, not used: closing it unlocks")] fs::File);

impl DirLock {
    /// Takes the directory, making it (mode 0700) if it is not there.
    ///
    /// Errors: [`StateError::Locked`] if another process has it; does not wait.
    pub fn take(dir: &Path) -> Result<Self, StateError> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| StateError::File { path, error }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
        let path = dir.join("lock");
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let read = file.read_to_string(&mut owner).is_ok();
                let by = if read { owner.trim().parse().ok() } else { None };
                return Err(StateError::Locked { dir: dir.to_owned(), by });
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
    use crate::storage::Disk;

    fn storage() -> SharedStorage {
        Arc::new(Disk)
    }

    const TABLE: TableDefinition<'static, &str, u32> = TableDefinition::new("test");

    #[test]
    fn what_was_committed_is_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/state.redb");
        {
            let database = open(&storage(), &path).unwrap();
            let transaction = database.begin_write().unwrap();
            transaction.open_table(TABLE).unwrap().insert("a", 7).unwrap();
            transaction.commit().unwrap();
        }
        let database = open(&storage(), &path).unwrap();
        let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
        assert_eq!(table.get("a").unwrap().unwrap().value(), 7);
    }

    #[test]
    fn a_newer_format_is_refused_in_a_clear_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        migrated(&open(&storage(), &path).unwrap(), "state", FORMAT + 1).unwrap();
        let error = open(&storage(), &path).unwrap_err();
        assert!(matches!(error, StateError::Newer { found: 2, known: 1, .. }));
        assert!(error.to_string().contains("run the newer milepost"), "{error}");
    }

    #[test]
    fn an_older_format_is_told_so_that_it_can_be_migrated() {
        let dir = tempfile::tempdir().unwrap();
        let database = open(&storage(), &dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(claim(&database, "cursors", 3).unwrap(), 3);
        assert_eq!(claim(&database, "cursors", 4).unwrap(), 3);
        migrated(&database, "cursors", 4).unwrap();
        assert_eq!(claim(&database, "cursors", 4).unwrap(), 4);
        assert!(claim(&database, "cursors", 3).is_err());
    }

    #[test]
    fn a_file_that_is_no_database_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, [7; 10_000]).unwrap();
        assert!(matches!(open(&storage(), &path), Err(StateError::Database(_))));
    }

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("data");
        let lock = DirLock::take(&dir).unwrap();
        let error = DirLock::take(&dir).unwrap_err();
        assert!(
            matches!(error, StateError::Locked { by: Some(pid), .. } if pid == std::process::id())
        );
        drop(lock);
        DirLock::take(&dir).unwrap();
    }
}
