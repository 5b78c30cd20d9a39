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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::Storage as _;
    use crate::storage::faulty::Faulty;

    /// Dead letters of the sink `was`, in these files; and of the sink `is`.
    fn disk_with(was: &[u32], is: &[u32]) -> Faulty {
        let disk = Faulty::default();
        for (sink, files) in [("was", was), ("is", is)] {
            let [letters, _] = logs(Path::new("/data"), sink);
            for file in files {
                disk.open(&letters.path(*file), true).unwrap().write_at(0, b"a letter\n").unwrap();
            }
        }
        disk
    }

    /// Where the letters end, and the files of either name.
    type Followed = ((u32, u64), [Vec<u32>; 2]);

    /// What a start under the new name makes of it.
    fn followed(disk: &Faulty, end: (u32, u64)) -> io::Result<Followed> {
        let storage: SharedStorage = Arc::new(disk.clone());
        let config = ForwarderConfig::new("is", "/data".into());
        let dead_letters = LogEnd { file: end.0, len: end.1 };
        let name = "was".to_owned();
        let mut cursor = CursorState { dead_letters, name, ..CursorState::default() };
        let was = follow(&storage, &config, &mut cursor)?;
        assert_eq!(was.as_deref(), Some("was"));
        let LogEnd { file, len } = cursor.dead_letters;
        let files = ["was", "is"].map(|sink| {
            let [letters, _] = logs(Path::new("/data"), sink);
            letters.numbers(&storage).unwrap()
        });
        Ok(((file, len), files))
    }

    #[test]
    fn a_sinks_files_up_to_their_end_go_along_and_the_next_ones_stay() {
        for (was, end, left, taken) in [
            (&[1, 2, 3][..], (2, 9), vec![3], vec![1, 2]),
            (&[1, 2, 3], (3, 0), vec![3], vec![1, 2]),
            (&[2], (2, 9), vec![], vec![2]),
            // Begun by another sink, that took the old name.
            (&[1], (1, 0), vec![1], vec![]),
            (&[2], (1, 9), vec![2], vec![]),
        ] {
            let found = followed(&disk_with(was, &[]), end).unwrap();
            assert_eq!(found, (end, [left, taken]), "{was:?}");
        }
    }

    #[test]
    fn what_is_not_begun_begins_behind_another_sinks_files() {
        let (end, [_, files]) = followed(&disk_with(&[], &[1, 2, 7]), (1, 0)).unwrap();
        assert_eq!((end, files), ((8, 0), vec![1, 2, 7]));
    }

    #[test]
    fn another_sinks_files_are_not_written_over() {
        let disk = disk_with(&[1, 2], &[2]);
        assert_eq!(followed(&disk, (2, 9)).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(followed(&disk, (1, 9)).is_ok(), "the second is none of its own");
    }
}
