//! The local store as of one commit of its own: the index as SQLite copies it, and exactly the block
//! files and lengths that it names.
//!
//! Block files are only appended to, so what the index names is immutable; a compaction may remove
//! one that the copy names, so all of them are opened before the first is read, and if one is gone
//! already the index is copied anew.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::archive::Target;
use super::{BackupError, sync_dir};

/// Its index.
const INDEX: &str = "store.db";
/// Compactions that may get in the way.
const ATTEMPTS: u32 = 16;
/// Pages copied at once.
const PAGES: i32 = 1024;

/// A block file as far as the index names it.
struct Block {
    name: String,
    bytes: u64,
    file: fs::File,
}

/// Whether a folder is a store's.
pub(super) fn is_store(dir: &Path) -> bool {
    dir.join(INDEX).is_file()
}

/// Copies the store in `dir`, by way of `workshop`, as `name`.
pub(super) fn copy(
    name: &str,
    dir: &Path,
    workshop: &Path,
    into: &mut Target<'_>,
) -> Result<(), BackupError> {
    let index = workshop.join(INDEX);
    for _ in 0..ATTEMPTS {
        copy_index(&dir.join(INDEX), &index)?;
        let Some(blocks) = open_blocks(dir, &index)? else { continue };
        for Block { name: block, bytes, file } in blocks {
            into.put(&format!("{name}/{block}"), bytes, &mut |at, part| file.read_at(part, at))?;
        }
        into.put_file(&format!("{name}/{INDEX}"), &index)?;
        return Ok(());
    }
    let said = format!("the block files that {} names are missing", dir.join(INDEX).display());
    Err(BackupError::Place(format!("{said}: see `milepost store check`")))
}

fn copy_index(from: &Path, to: &Path) -> Result<(), BackupError> {
    super::clear(to).map_err(BackupError::file("remove", to))?;
    // Read and write, because a log that a crash left is taken in by whoever opens it next.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let from = Connection::open_with_flags(from, flags)?;
    from.busy_timeout(std::time::Duration::from_secs(30))?;
    let mut copy = Connection::open(to)?;
    // One transaction: a backup that lets the writer in between its steps would begin anew with
    // each of the writer's commits.
    from.execute_batch("BEGIN")?;
    from.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    {
        let backup = Backup::new(&from, &mut copy)?;
        while backup.step(PAGES)? != StepResult::Done {}
    }
    from.execute_batch("COMMIT")?;
    // A file on its own, without a log beside it.
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    drop(copy);
    sync_dir(super::parent(to)).map_err(BackupError::file("sync", to))
}

/// The files that the copied index names, all open; none if one is gone.
fn open_blocks(dir: &Path, index: &Path) -> Result<Option<Vec<Block>>, BackupError> {
    let connection = Connection::open_with_flags(index, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut query = connection.prepare("SELECT id, len FROM files ORDER BY id")?;
    let mut rows = query.query([])?;
    let mut blocks = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, len): (i64, i64) = (row.get(0)?, row.get(1)?);
        let name = format!("blocks/{id:06}.blk");
        let path = dir.join(&name);
        match fs::File::open(&path) {
            Ok(file) => blocks.push(Block { name, bytes: u64::try_from(len).unwrap_or(0), file }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BackupError::file("read", &path)(error)),
        }
    }
    Ok(Some(blocks))
}
