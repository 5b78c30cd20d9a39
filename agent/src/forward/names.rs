//! What files are called that were set aside for a sink: by its name. If it is given another one, they
//! go with it.

use std::io;
use std::path::Path;

use super::ForwarderConfig;
use crate::sink::{CursorState, LogEnd, Naming};
use crate::storage::SharedStorage;

/// A sink's dead letters, and what waits for catalogues.
pub(super) fn logs(data_dir: &Path, sink: &str) -> [Naming; 2] {
    [("dead-letters", "ndjson"), ("parked", "log")].map(|(dir, suffix)| Naming {
        dir: data_dir.join(dir),
        stem: sink.to_owned(),
        suffix,
    })
}

/// What the sink was called when the cursor was written, if it was another name. Then its dead letters
/// and what waits for catalogues bear the new name from here on, and the cursor tells where they end.
///
/// Errors: files of that name are another sink's (`AlreadyExists`).
pub(super) fn follow(
    storage: &SharedStorage,
    config: &ForwarderConfig,
    cursor: &mut CursorState,
) -> io::Result<Option<String>> {
    if cursor.name.is_empty() || cursor.name == config.name {
        return Ok(None);
    }
    tracing::info!(sink = %config.name, was = %cursor.name, "the sink has another name");
    let (was, is) = (logs(&config.data_dir, &cursor.name), logs(&config.data_dir, &config.name));
    let ends = [&mut cursor.dead_letters, &mut cursor.parked];
    for ((was, is), end) in was.iter().zip(&is).zip(ends) {
        *end = take_along(storage, was, is, *end)?;
    }
    Ok(Some(cursor.name.clone()))
}

/// Renames the files up to `end`; where they end under the new name. Goes on where it was cut off.
fn take_along(
    storage: &SharedStorage,
    was: &Naming,
    is: &Naming,
    end: LogEnd,
) -> io::Result<LogEnd> {
    let others = is.numbers(storage)?;
    // The last one may have been begun by another sink that took the old name.
    let are_its = |file: &u32| *file < end.file || (*file == end.file && end.len > 0);
    let mut moved = false;
    for file in was.numbers(storage)?.into_iter().filter(are_its) {
        if others.contains(&file) {
            let (was, is) = (was.path(file), is.path(file));
            let why = format!(
                "{} cannot become {}, which is another sink's: give the sink a name that no sink \
                 had, or move that file away",
                was.display(),
                is.display()
            );
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        storage.rename(&was.path(file), &is.path(file))?;
        moved = true;
    }
    if moved {
        storage.sync_dir(&is.dir)?;
    }
    let next = others.last().map_or(1, |last| last.saturating_add(1));
    // Nothing of it is in a file that is not begun: not to begin one that is another's.
    Ok(if end.len == 0 { LogEnd { file: end.file.max(next), len: 0 } } else { end })
}
