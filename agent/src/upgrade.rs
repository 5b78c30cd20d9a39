//! The format of a data directory, and its way from an older one to this one.
//!
//! `format.json` in the data directory says which format the directory and each of its parts has,
//! and which version made it so. It is written at the first start. A directory without one is what
//! release 0.1.0 wrote: format 1.
//!
//! An older directory is upgraded where it stands, before anything in it is opened: a chain of
//! plain functions, one from each format to the next. Each can be interrupted at any point and
//! begun again, destroys nothing before what takes its place is durable, and says what it does. The
//! number in `format.json` goes up after each. A newer directory, or a newer part, is refused:
//! nothing is opened, nothing is changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::owner::refused;
use crate::state;
use crate::storage::{Disk, SharedStorage};

/// The file, in the data directory.
pub const FILE_NAME: &str = "format.json";

/// The format that this version writes.
pub const FORMAT: u32 = 2;

/// The parts and the formats that this version writes and reads.
const PARTS: [(&str, u32); 5] =
    [("journal", 1), ("state", state::FORMAT), ("cursors", 1), ("parked", 1), ("store", 1)];

/// What `format.json` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Formats {
    /// The version that wrote it last.
    pub milepost: String,
    /// Format of the directory as a whole.
    pub format: u32,
    /// Format of each part.
    pub parts: BTreeMap<String, u32>,
}

/// Why a directory cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// Config: a newer version wrote it.
    #[error(
        "{} was written by milepost {by}: its {part} has format {found}, and this milepost ({}) knows up to {known}. \
         Run milepost {by} or later, or restore a backup made before the upgrade",
        dir.display(), env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Which version.
        by: String,
        /// Which part.
        part: String,
        /// Its format.
        found: u32,
        /// What we know.
        known: u32,
    },
    /// Resource: the file says nothing.
    #[error(
        "{} is damaged: {why}. If everything else is as milepost {} left it, remove the file and \
         start again", path.display(), env!("CARGO_PKG_VERSION")
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Resource: the file system.
    #[error("cannot {doing} {}: {error}{}", path.display(), refused(.error))]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
}

/// A step from one format to the next.
type Step = fn(&Path) -> io::Result<()>;

/// The chain: what leads from each format to the next.
const STEPS: [(u32, Step, &str); 1] = [(1, from_1, "marking the directory with its format")];

impl Formats {
    fn current() -> Self {
        Self {
            milepost: env!("CARGO_PKG_VERSION").to_owned(),
            format: FORMAT,
            parts: PARTS.map(|(part, format)| (part.to_owned(), format)).into(),
        }
    }

    /// All numbers in one list, the directory's as `directory`.
    pub fn numbers(self) -> BTreeMap<String, u32> {
        let mut numbers = self.parts;
        numbers.insert("directory".to_owned(), self.format);
        numbers
    }

    /// Whether this version knows all of it.
    fn check(&self, dir: &Path) -> Result<(), UpgradeError> {
        let newer = |part: &str, found, known| UpgradeError::Newer {
            dir: dir.to_owned(),
            by: self.milepost.clone(),
            part: part.to_owned(),
            found,
            known,
        };
        if self.format > FORMAT {
            return Err(newer("data directory", self.format, FORMAT));
        }
        for (part, found) in &self.parts {
            let known = PARTS.iter().find(|(name, _)| name == part).map_or(0, |(_, known)| *known);
            if *found > known {
                return Err(newer(part, *found, known));
            }
        }
        Ok(())
    }
}

/// The numbers of a directory without the file: those of release 0.1.0.
pub fn unmarked() -> BTreeMap<String, u32> {
    let mut numbers: BTreeMap<String, u32> =
        ["journal", "state", "cursors", "parked"].map(|part| (part.to_owned(), 1)).into();
    numbers.insert("directory".to_owned(), 1);
    numbers
}

/// What the directory's file says; none if it has none. Refuses what is newer.
pub fn read(dir: &Path) -> Result<Option<Formats>, UpgradeError> {
    let path = dir.join(FILE_NAME);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(UpgradeError::File { doing: "read", path, error }),
    };
    let formats: Formats = serde_json::from_slice(&text)
        .map_err(|error| UpgradeError::Damaged { path, why: error.to_string() })?;
    formats.check(dir)?;
    Ok(Some(formats))
}

/// Brings a directory that we own to this format, or refuses it. A new one gets its mark.
pub fn bring_up(dir: &Path) -> Result<(), UpgradeError> {
    let failed = |error| UpgradeError::File { doing: "write", path: dir.join(FILE_NAME), error };
    let found = read(dir)?;
    let current = Formats::current();
    let mut at = match &found {
        Some(formats) if *formats == current => return Ok(()),
        Some(formats) => formats.format,
        None if is_used(dir) => 1,
        None => FORMAT,
    };
    let from = at;
    for (number, step, doing) in STEPS {
        if number == at {
            tracing::info!(data_dir = %dir.display(), from = number, to = number + 1, doing, "upgrading");
            let path = || dir.to_owned();
            step(dir).map_err(|error| UpgradeError::File {
                doing: "upgrade",
                path: path(),
                error,
            })?;
            at = number + 1;
            write(dir, &Formats { format: at, ..current.clone() }).map_err(failed)?;
        }
    }
    write(dir, &current).map_err(failed)?;
    if from < FORMAT {
        tracing::info!(data_dir = %dir.display(), from, to = FORMAT, "upgraded");
    }
    Ok(())
}

/// Whether an agent ran on it, or devices were added.
fn is_used(dir: &Path) -> bool {
    ["journal", state::FILE_NAME].iter().any(|name| dir.join(name).exists())
}

/// From release 0.1.0, which cannot know this file: its number in the database goes up, so that it
/// refuses the directory from now on. Nothing else stands differently; what interrupted writes left
/// goes.
fn from_1(dir: &Path) -> io::Result<()> {
    let path = dir.join(state::FILE_NAME);
    if path.exists() {
        let storage: SharedStorage = Arc::new(Disk);
        let state = state::open(&storage, &path).map_err(io::Error::other)?;
        state::migrated(&state, state::COMPONENT, state::FORMAT).map_err(io::Error::other)?;
    }
    let mut cursors = match fs::read_dir(dir.join("cursors")) {
        Ok(cursors) => cursors,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    cursors.try_for_each(|entry| {
        let path = entry?.path();
        let is_left = path.extension().is_some_and(|end| end == "new" || end == "rings-new");
        if is_left { fs::remove_file(path) } else { Ok(()) }
    })
}

/// Replaces the file, durably.
fn write(dir: &Path, formats: &Formats) -> io::Result<()> {
    let new = dir.join("format.new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let mut text = serde_json::to_vec_pretty(formats)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, dir.join(FILE_NAME))?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path) -> Formats {
        read(dir).unwrap().unwrap()
    }

    #[test]
    fn a_new_directory_is_marked_and_a_second_start_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        bring_up(dir.path()).unwrap();
        assert_eq!(written(dir.path()), Formats::current());
        let text = fs::read(dir.path().join(FILE_NAME)).unwrap();
        bring_up(dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), text);
    }

    /// A database as release 0.1.0 left it.
    fn old_database(dir: &Path) -> PathBuf {
        let path = dir.join(state::FILE_NAME);
        let storage: SharedStorage = Arc::new(Disk);
        let state = state::open(&storage, &path).unwrap();
        state::migrated(&state, state::COMPONENT, 1).unwrap();
        path
    }

    #[test]
    fn an_unmarked_directory_is_brought_up_and_release_0_1_0_then_refuses_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = old_database(dir.path());
        fs::create_dir(dir.path().join("cursors")).unwrap();
        fs::write(dir.path().join("cursors/a.rings-new"), "half").unwrap();
        fs::write(dir.path().join("cursors/a.rings"), "whole").unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        // Interrupted between the step and the mark, and begun again.
        from_1(dir.path()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        bring_up(dir.path()).unwrap();
        assert_eq!(written(dir.path()).format, FORMAT);
        assert!(!dir.path().join("cursors/a.rings-new").exists());
        assert!(dir.path().join("cursors/a.rings").exists());
        let storage: SharedStorage = Arc::new(Disk);
        let state = state::open(&storage, &path).unwrap();
        // What 0.1.0 does when it starts.
        let refused = state::claim(&state, state::COMPONENT, 1).unwrap_err().to_string();
        assert!(refused.contains("run the newer milepost"), "{refused}");
    }

    #[test]
    fn a_newer_directory_or_part_is_refused_by_name_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let newer = Formats { milepost: "9.9.9".into(), format: FORMAT + 1, ..Formats::current() };
        let mut part = Formats { milepost: "9.9.9".into(), ..Formats::current() };
        part.parts.insert("journal".to_owned(), 2);
        let mut unknown = Formats { milepost: "9.9.9".into(), ..Formats::current() };
        unknown.parts.insert("index".to_owned(), 1);
        for (formats, what) in [(newer, "data directory"), (part, "journal"), (unknown, "index")] {
            let text = serde_json::to_vec(&formats).unwrap();
            fs::write(&path, &text).unwrap();
            let said = bring_up(dir.path()).unwrap_err().to_string();
            assert!(said.contains("milepost 9.9.9") && said.contains(what), "{said}");
            assert_eq!(fs::read(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_damaged_mark_is_no_reason_to_guess() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "{").unwrap();
        assert!(matches!(bring_up(dir.path()), Err(UpgradeError::Damaged { .. })));
    }
}
