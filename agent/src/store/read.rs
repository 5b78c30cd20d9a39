//! Reading beside a running agent: the index read-only, blocks as they are asked for.
//!
//! Block files are only appended to, and what the index points at does not change. Compaction takes
//! files out of the index and removes them once no reader is there any more, or ten minutes later:
//! a reader holds a shared lock as long as it lives, so whatever a query's snapshot of the index
//! points at can be opened.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::{CatalogueId, Seq};
use rusqlite::{Connection, Row};

use super::block::Block;
use super::error::StoreError;
use super::files::{self, ReaderLock};
use super::schema::{self, FLAG_CELLS, FLAG_SORTED};
use crate::storage::{Disk, SharedStorage};

/// A store, opened to read.
#[derive(Debug)]
pub struct StoreReader {
    connection: Connection,
    dir: PathBuf,
    /// The file read last.
    file: RefCell<Option<(u32, fs::File)>>,
    _lock: ReaderLock,
}

/// A row of `blocks`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRow {
    /// `blocks.id`
    pub id: i64,
    /// Which block file.
    pub file: u32,
    /// Where in it the piece begins.
    pub offset: u64,
    /// How long the piece is.
    pub len: u32,
    /// `devices.id`
    pub device: i64,
    /// `rings.id`
    pub ring: i64,
    /// Which catalogue the columns are of.
    pub catalogue: CatalogueId,
    /// The boot, if times count from it.
    pub boot: Option<u32>,
    /// The earliest sample; none without a place in time.
    pub from_ms: Option<i64>,
    /// From the earliest to the latest sample.
    pub span_ms: i64,
    /// The earliest sample's uptime, if times count from the boot.
    pub uptime_ms: Option<i64>,
    /// The first frame with samples in it.
    pub seq_first: Seq,
    /// The last.
    pub seq_last: Seq,
    /// How many samples.
    pub samples: u32,
    /// A bit per column that occurs; coarse places are in `flags`.
    pub columns: u64,
    /// [`super::schema::FLAG_SORTED`] and [`super::schema::FLAG_CELLS`].
    pub flags: i64,
    /// 0 as committed, 1 compacted.
    pub level: u8,
    /// `seats.id`, where a vehicle is known.
    pub seat: Option<i64>,
}

impl BlockRow {
    /// The columns that [`BlockRow::read`] takes, in its order, from `blocks AS b`.
    pub const COLUMNS: &str = "b.id, b.file, b.offset, b.len, b.device, b.ring, b.catalogue, b.boot, \
        b.from_ms, b.span_ms, b.uptime_ms, b.seq_first, b.seq_last, b.samples, b.columns, b.flags, \
        b.level, b.seat";

    /// Reads a row of a query for [`BlockRow::COLUMNS`].
    pub fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            file: row.get(1)?,
            offset: row.get::<_, i64>(2)?.cast_unsigned(),
            len: row.get(3)?,
            device: row.get(4)?,
            ring: row.get(5)?,
            catalogue: CatalogueId(row.get(6)?),
            boot: row.get(7)?,
            from_ms: row.get(8)?,
            span_ms: row.get(9)?,
            uptime_ms: row.get(10)?,
            seq_first: Seq(row.get::<_, i64>(11)?.cast_unsigned()),
            seq_last: Seq(row.get::<_, i64>(12)?.cast_unsigned()),
            samples: row.get(13)?,
            columns: row.get::<_, i64>(14)?.cast_unsigned(),
            flags: row.get(15)?,
            level: row.get(16)?,
            seat: row.get(17)?,
        })
    }

    /// The latest sample; none without a place in time.
    pub fn to_ms(&self) -> Option<i64> {
        self.from_ms.map(|from| from.saturating_add(self.span_ms))
    }

    /// What is to be added to the samples' own times: 0 on a wall clock; none while the boot's place
    /// in time is not known.
    pub fn offset_ms(&self) -> Option<i64> {
        match self.uptime_ms {
            None => Some(0),
            Some(uptime) => self.from_ms.map(|from| from.saturating_sub(uptime)),
        }
    }

    /// Whether there are samples of this column.
    pub fn has(&self, column: u8) -> bool {
        match column {
            0..64 => self.columns >> column & 1 == 1,
            _ => self.flags & FLAG_CELLS != 0,
        }
    }

    /// Whether its samples stand in the order of their time.
    pub fn is_sorted(&self) -> bool {
        self.flags & FLAG_SORTED != 0
    }
}

impl StoreReader {
    /// Opens the store in a directory, whether an agent writes to it or not.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = index_of(dir)?;
        let lock = ReaderLock::shared(dir)?;
        let connection = schema::open_to_read(&path)?;
        Ok(Self { connection, dir: dir.to_owned(), file: RefCell::new(None), _lock: lock })
    }

    /// The index. Nothing can be written through it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads a block.
    pub fn block(&self, row: &BlockRow) -> Result<Block, StoreError> {
        Block::open(self.piece(row.file, row.offset, row.len)?)
    }

    /// Reads a piece of a block file.
    pub fn piece(&self, id: u32, offset: u64, len: u32) -> Result<Vec<u8>, StoreError> {
        let path = files::path(&self.dir, id);
        let failed = |what: &str| StoreError::io(format!("cannot {what} {}", path.display()));
        let mut kept = self.file.borrow_mut();
        let file = match kept.take() {
            Some((kept, file)) if kept == id => file,
            _ => fs::File::open(&path).map_err(failed("open"))?,
        };
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        file.read_exact_at(&mut bytes, offset).map_err(failed("read"))?;
        *kept = Some((id, file));
        Ok(bytes)
    }
}

/// The index of the store in a directory, if there is one to be read.
pub fn index_of(dir: &Path) -> Result<PathBuf, StoreError> {
    let path = dir.join(schema::FILE);
    // Not opened: closing it would end locks that this process has on it through SQLite.
    let found = fs::metadata(&path)
        .and_then(|_| Ok(rustix::fs::access(&path, rustix::fs::Access::READ_OK)?));
    match found {
        Ok(()) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let disk: SharedStorage = Arc::new(Disk);
            let blocks = files::list(&disk, dir).map_err(cannot_read(dir))?;
            Err(match blocks.as_slice() {
                [] => StoreError::Missing(dir.to_owned()),
                _ => StoreError::IndexMissing(dir.to_owned()),
            })
        }
        Err(error) => Err(cannot_read(&path)(error)),
    }
}

fn cannot_read(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    StoreError::io(format!("cannot read {}", path.display()))
}
