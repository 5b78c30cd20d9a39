//! The small database in the agent's data directory.
//!
//! Constraints first. One process at a time uses it ([`crate::lock`]). The database (devices, cursors, manifests: everything small that is not the journal) lies on [`crate::storage`], so
//! that the torture's forgetful disk covers it. Its memory is bounded by a cache of
//! [`CACHE_BYTES`]. A file of a newer format is refused, never guessed at.

use std::io;
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
/// It is 2 since the data directory tells its format: release 0.1.0 knows 1, and says so.
pub const FORMAT: u32 = 2;
/// The component's name in [`claim`] for the database as a whole.
pub const COMPONENT: &str = "state";

/// Component -> version of its tables. Every version of the agent can read this one.
const FORMATS: TableDefinition<'static, &str, u32> = TableDefinition::new("formats");

/// Why the state can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
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
    /// Resource: it is gone, and the journal is not.
    #[error(
        "{path} is {what}, and the journal beside it has frames, which nobody can read without the \
         devices' secrets: bring it back from a backup (`milepost restore`); or move {} away to \
         give up what it holds and begin anew", journal.display()
    )]
    Gone {
        /// The database's file.
        path: PathBuf,
        /// Missing or empty.
        what: &'static str,
        /// The journal's directory.
        journal: PathBuf,
    },
    /// Resource: it is not what was written.
    #[error(
        "{path} is damaged ({why}): bring it back from a backup (`milepost restore`); the journal \
         beside it is not touched"
    )]
    Damaged {
        /// The database's file.
        path: PathBuf,
        /// What is wrong.
        why: String,
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
    refuse_gone(storage, path, dir)?;
    let opened = Opened::new(storage, path)?;
    storage.sync_dir(dir).map_err(failed)?;
    let shared = Shared {
        storage: Arc::clone(storage),
        path: path.to_owned(),
        current: RwLock::new(opened),
    };
    let state = State(Arc::new(shared));
    claim(&state, COMPONENT, FORMAT)?;
    Ok(state)
}

/// Opens the database at `path`, which must be there.
pub fn open_existing(storage: &SharedStorage, path: &Path) -> Result<State, StateError> {
    let found = storage.open(path, false).and_then(|file| file.len());
    found.map_err(|error| StateError::File { path: path.to_owned(), error })?;
    open(storage, path)
}

/// A new database beside a journal that has frames would make all of them unreadable.
fn refuse_gone(storage: &SharedStorage, path: &Path, dir: &Path) -> Result<(), StateError> {
    let failed = |error| StateError::File { path: path.to_owned(), error };
    let what = match storage.open(path, false).and_then(|file| file.len()) {
        Ok(0) => "empty",
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "missing",
        Err(error) => return Err(failed(error)),
    };
    let journal = dir.join("journal");
    if crate::journal::has_segments(&**storage, &journal).map_err(failed)? {
        return Err(StateError::Gone { path: path.to_owned(), what, journal });
    }
    Ok(())
}

impl Opened {
    fn new(storage: &SharedStorage, path: &Path) -> Result<Self, StateError> {
        let failed = |error| StateError::File { path: path.to_owned(), error };
        let file = storage.open(path, true).map_err(failed)?;
        let alive = Arc::new(AtomicBool::new(true));
        let backend = Backend { file, alive: Arc::clone(&alive) };
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        let database = opened.map_err(|error| damage_in(path, error))?;
        Ok(Self { database, alive })
    }
}

/// Tells a damaged file from one that cannot be used now.
fn damage_in(path: &Path, error: redb::DatabaseError) -> StateError {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    let path = path.to_owned();
    match error {
        redb::DatabaseError::Storage(StorageError::Corrupted(why)) => {
            StateError::Damaged { path, why }
        }
        redb::DatabaseError::Storage(StorageError::Io(error))
            if matches!(error.kind(), InvalidData | UnexpectedEof) =>
        {
            StateError::Damaged { path, why: error.to_string() }
        }
        redb::DatabaseError::RepairAborted => {
            StateError::Damaged { path, why: "it cannot be repaired".to_owned() }
        }
        error => error.into(),
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

/// redb's file, on our storage. One process per directory is [`crate::lock`]'s business.
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

#[cfg(test)]
mod tests {
    use std::fs;

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
        assert!(matches!(error, StateError::Newer { found: 3, known: 2, .. }));
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
        let error = open(&storage(), &path).unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("milepost restore"), "{error}");
    }

    #[test]
    fn a_damaged_database_is_said_to_be_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        drop(open(&storage(), &path).unwrap());
        let whole = fs::read(&path).unwrap();
        for len in [1, 100, 4096, whole.len() / 2] {
            fs::write(&path, &whole[..len]).unwrap();
            let error = open(&storage(), &path).unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. }), "{len} bytes: {error}");
        }
        fs::write(&path, vec![0; whole.len()]).unwrap();
        let error = open(&storage(), &path).unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "zeros: {error}");
    }

    #[test]
    fn a_database_that_is_gone_is_not_made_anew_beside_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let lane = dir.path().join("journal/bulk");
        fs::create_dir_all(&lane).unwrap();
        drop(open(&storage(), &path).unwrap());
        fs::write(lane.join("00000000000000000000.seg"), "frames").unwrap();
        drop(open(&storage(), &path).unwrap());
        fs::write(&path, "").unwrap();
        let error = open(&storage(), &path).unwrap_err().to_string();
        assert!(error.contains("state.redb is empty"), "{error}");
        fs::remove_file(&path).unwrap();
        let error = open(&storage(), &path).unwrap_err().to_string();
        assert!(error.contains("state.redb is missing") && error.contains("restore"), "{error}");
        assert!(!path.exists());
    }
}
