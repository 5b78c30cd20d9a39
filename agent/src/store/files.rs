//! The files of a store's directory: appending to block files, removing them, keeping readers' open.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;
use super::piece::{self, HEAD_LEN, PieceKind};
use super::preface::Preface;
use crate::owner::give_to_owner_of;
use crate::storage::{File, SharedStorage};

/// Bytes of the piece that stands at the front of each append: how long the rest is, and the level.
const STAMP_LEN: u64 = HEAD_LEN as u64 + 9;

/// Where block file `id` is.
pub fn path(dir: &Path, id: u32) -> PathBuf {
    dir.join("blocks").join(format!("{id:06}.blk"))
}

/// The number in a block file's name.
pub fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_suffix(".blk")?.parse().ok()
}

/// The block files there are.
pub fn list(storage: &SharedStorage, dir: &Path) -> io::Result<Vec<u32>> {
    let mut ids: Vec<u32> =
        storage.list(&dir.join("blocks"))?.iter().filter_map(|path| number(path)).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Which file each writer appends to; handed out once each.
#[derive(Debug)]
pub struct Numbers {
    next: AtomicU32,
    /// The file that commits go to; 0 for none.
    current: AtomicU32,
}

impl Numbers {
    /// Numbers above all that were used.
    pub fn after(last: u32) -> Arc<Self> {
        Arc::new(Self { next: AtomicU32::new(last + 1), current: AtomicU32::new(0) })
    }

    /// The file that commits go to: compaction leaves it alone.
    pub fn current(&self) -> u32 {
        self.current.load(Ordering::SeqCst)
    }
}

/// Appends to block files, one after the other.
#[derive(Debug)]
pub struct Appender {
    storage: SharedStorage,
    dir: PathBuf,
    level: u8,
    /// A new file is begun at this size.
    file_bytes: u64,
    numbers: Arc<Numbers>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    id: u32,
    file: Box<dyn File>,
    /// Where the committed part ends.
    len: u64,
    /// What stands in the committed part for blocks to refer to.
    prefaces: HashSet<Preface>,
}

/// What was appended, before it is committed.
#[derive(Debug)]
pub struct Appended {
    /// To which file.
    pub file: u32,
    /// Where the pieces begin.
    pub offset: u64,
    /// Where the file ends now.
    pub end: u64,
}

impl Appender {
    pub fn new(
        storage: &SharedStorage,
        dir: &Path,
        (level, file_bytes): (u8, u64),
        numbers: &Arc<Numbers>,
    ) -> Self {
        let (storage, numbers) = (Arc::clone(storage), Arc::clone(numbers));
        Self { storage, dir: dir.to_owned(), level, file_bytes, numbers, open: None }
    }

    pub fn level(&self) -> u8 {
        self.level
    }

    /// The file that is written to, if one is open.
    pub fn file(&self) -> Option<u32> {
        self.open.as_ref().map(|open| open.id)
    }

    /// Whether the file that comes next has this already.
    pub fn has(&self, preface: Preface) -> bool {
        self.open.as_ref().is_some_and(|open| open.prefaces.contains(&preface))
    }

    /// Appends pieces, durably. They count for nothing until [`Appender::commit`]; after an error
    /// another file is begun, for nothing is known of this one.
    pub fn append(&mut self, pieces: &[u8]) -> Result<Appended, StoreError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.begin().map_err(StoreError::io("cannot begin a block file"))?,
        };
        let mut stamp = Vec::new();
        let len = pieces.len() as u64;
        piece::append(&mut stamp, PieceKind::Commit, |out| {
            out.extend_from_slice(&len.to_le_bytes());
            out.push(self.level);
        })?;
        let offset = open.len + STAMP_LEN;
        let written = open
            .file
            .write_at(open.len, &stamp)
            .and_then(|()| open.file.write_at(offset, pieces))
            .and_then(|()| open.file.sync());
        if let Err(error) = written {
            self.give_up(&open);
            return Err(StoreError::io("cannot write a block file")(error));
        }
        let appended = Appended { file: open.id, offset, end: offset + len };
        self.open = Some(open);
        Ok(appended)
    }

    /// What was appended counts now.
    pub fn commit(&mut self, appended: &Appended, prefaces: &[Preface]) {
        if let Some(open) = &mut self.open {
            open.len = appended.end;
            open.prefaces.extend(prefaces);
        }
        if appended.end >= self.file_bytes {
            self.seal();
        }
    }

    /// What comes next goes to another file.
    pub fn seal(&mut self) {
        self.open = None;
        if self.level == 0 {
            self.numbers.current.store(0, Ordering::SeqCst);
        }
    }

    fn begin(&self) -> io::Result<Open> {
        let id = self.numbers.next.fetch_add(1, Ordering::SeqCst);
        let path = path(&self.dir, id);
        if self.level == 0 {
            self.numbers.current.store(id, Ordering::SeqCst);
        }
        let opened = self.storage.open(&path, true).and_then(|file| {
            file.set_len(0)?;
            self.storage.sync_dir(&self.dir.join("blocks"))?;
            Ok(file)
        });
        match opened {
            Ok(file) => Ok(Open { id, file, len: 0, prefaces: HashSet::new() }),
            Err(error) => {
                // Nothing of it counts; if it stays, the next start removes it.
                drop(self.storage.remove(&path));
                Err(error)
            }
        }
    }

    /// Of a file that cannot be written, what was committed stays.
    fn give_up(&mut self, open: &Open) {
        if open.len == 0 {
            drop(self.storage.remove(&path(&self.dir, open.id)));
        }
        self.seal();
    }
}

/// Reads a piece of a block file.
pub fn read_piece(
    storage: &SharedStorage,
    dir: &Path,
    file: u32,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, StoreError> {
    let path = path(dir, file);
    let failed = |what: &str| StoreError::io(format!("cannot {what} {}", path.display()));
    if len > piece::CONTENT_MAX + HEAD_LEN {
        return Err(StoreError::damaged("the index names a piece that is longer than any"));
    }
    let mut bytes = vec![0; len];
    let opened: Box<dyn File> = storage.open(&path, false).map_err(failed("open"))?;
    let read = opened.read_at(offset, &mut bytes).map_err(failed("read"))?;
    if read < len {
        return Err(StoreError::damaged(format!("{} ends too early", path.display())));
    }
    Ok(bytes)
}

/// Whole appends that stand in a file from `at` on: where each begins and ends.
pub fn appends(file: &dyn File, at: u64) -> io::Result<Vec<(u64, u64)>> {
    let end = file.len()?;
    let (mut at, mut found) = (at, Vec::new());
    let stamp_len = usize::try_from(STAMP_LEN).unwrap_or_default();
    while at < end {
        let mut stamp = vec![0; stamp_len];
        let read = file.read_at(at, &mut stamp)?;
        let content =
            stamp.get(..read).and_then(|read| piece::content(read, PieceKind::Commit).ok());
        let Some((len, _)) = content.and_then(read_stamp) else { break };
        let next = (at + STAMP_LEN).saturating_add(len);
        if next > end {
            break;
        }
        found.push((at + STAMP_LEN, next));
        at = next;
    }
    Ok(found)
}

/// What the content of an append's first piece says: how long the append is behind it, its level.
pub fn read_stamp(content: &[u8]) -> Option<(u64, u8)> {
    let (len, rest) = content.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*len), *rest.first()?))
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
        let is_new = !path.exists();
        let opened = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .or_else(|_| fs::File::open(&path));
        if is_new && let Err(error) = give_to_owner_of(dir, &path) {
            tracing::debug!(%error, "the readers' lock stays root's, which does no harm");
        }
        opened.map_err(StoreError::io(format!("cannot open {}", path.display())))
    }
}
