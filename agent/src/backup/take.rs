//! Making a backup: what goes into it, in which order. See [`super`] for why in this order.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use protocol::Lane;
use redb::ReadTransaction;
use serde::{Deserialize, Serialize};

use super::archive::{Target, Workshop};
use super::manifest::{FORMAT, JournalMark, LeftOut, MANIFEST_NAME, Manifest};
use super::places::{Kind, kind_of, places};
use super::{BackupError, Watcher, parent, store, tables};
use crate::journal::{self, JournalTail, SnapshotFile};
use crate::state::{self, State, StateError};
use crate::storage::{File, SharedStorage};
use crate::{rings, upgrade};

/// The wrapping key's place in a backup.
pub(super) const KEY_NAME: &str = "registry.key";
/// What sinks keep in the data directory: copied after everything that refers to it, and held open
/// from before that.
const BESIDE: [&str; 2] = ["dead-letters", "parked"];
/// What a start makes anew.
const PASSING: [&str; 3] = ["lock", "admin.sock", super::MARKER_NAME];

/// Why that is not in it.
const NO_KEY: &str = "the wrapping key: keep it elsewhere, without it the backup opens nothing";

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Where to: a directory to be made, or a tar file.
    pub to: PathBuf,
    /// With the wrapping key.
    pub with_key: bool,
}

/// What a backup is made of.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The files.
    pub storage: &'a SharedStorage,
    /// The data directory.
    pub data_dir: &'a Path,
    /// The wrapping key's file.
    pub key_file: &'a Path,
    /// The database, open.
    pub state: &'a State,
    /// The journal of an agent that runs; its pruning is held off.
    pub journal: Option<&'a JournalTail>,
}

/// What was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where.
    pub path: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
}

/// Makes a backup.
pub fn take<'w>(
    origin: &Origin<'_>,
    plan: &Plan,
    now_ms: i64,
    watcher: &'w mut Watcher<'w>,
) -> Result<Report, BackupError> {
    outside(&plan.to, origin.data_dir)?;
    let time_s = u64::try_from(now_ms / 1000).unwrap_or(0);
    let mut target = Target::begin(&plan.to, time_s, size_of(origin.data_dir), watcher)?;
    let workshop = target.workshop()?;
    let early = read_state(origin.state)?;
    let beside = hold_open(origin)?;
    copy_dir(origin, &mut target, "cursors")?;
    for found in places(origin.data_dir)?.iter().filter(|found| found.kind == Kind::Store) {
        store::copy(&found.name, &found.path, &workshop.0, &mut target)?;
    }
    for name in BESIDE {
        copy_dir_and(origin, &mut target, name, &beside)?;
    }
    let journal = copy_journal(origin, &mut target)?;
    copy_state(origin.state, &early, &workshop, &mut target)?;
    for name in [upgrade::FILE_NAME, "ledger.json"] {
        copy_if_there(origin, &mut target, name)?;
    }
    if plan.with_key {
        target.put_file(KEY_NAME, origin.key_file)?;
    }
    drop(workshop);
    let left_out = left_out(origin, plan.with_key)?;
    let manifest = Manifest {
        backup: FORMAT,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        made_ms: now_ms,
        running: origin.journal.is_some(),
        with_key: plan.with_key,
        formats: formats(origin.data_dir)?,
        journal,
        files: target.files.clone(),
        left_out,
    };
    target.finish(&manifest)?;
    Ok(Report { path: plan.to.clone(), manifest })
}

fn read_state(state: &State) -> Result<ReadTransaction, BackupError> {
    Ok(state.begin_read().map_err(StateError::from)?)
}

fn formats(data_dir: &Path) -> Result<BTreeMap<String, u32>, BackupError> {
    let formats = upgrade::read(data_dir).map_err(|error| BackupError::Place(error.to_string()))?;
    Ok(formats.map_or_else(upgrade::unmarked, upgrade::Formats::numbers))
}

/// A backup within what it is a backup of would be part of the next one.
fn outside(to: &Path, data_dir: &Path) -> Result<(), BackupError> {
    let dir = parent(to);
    let dir = fs::canonicalize(dir).map_err(BackupError::file("write to", dir))?;
    let data_dir = fs::canonicalize(data_dir).map_err(BackupError::file("read", data_dir))?;
    if dir.starts_with(&data_dir) {
        let said = format!("{} lies in the data directory: choose a place outside", to.display());
        return Err(BackupError::Place(said));
    }
    Ok(())
}

/// Bytes in the data directory: about what will be copied.
fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() && kind_of(&entry.path()) == Kind::Sink => 0,
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

type Open = BTreeMap<PathBuf, Box<dyn File>>;

fn hold_open(origin: &Origin<'_>) -> Result<Open, BackupError> {
    let mut open = Open::new();
    for name in BESIDE {
        let dir = origin.data_dir.join(name);
        for path in origin.storage.list(&dir).map_err(BackupError::file("list", &dir))? {
            if let Some(file) = open_if_there(origin.storage, &path)? {
                open.insert(path, file);
            }
        }
    }
    Ok(open)
}

fn open_if_there(
    storage: &SharedStorage,
    path: &Path,
) -> Result<Option<Box<dyn File>>, BackupError> {
    match storage.open(path, false) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BackupError::file("read", path)(error)),
    }
}

fn copy_dir(origin: &Origin<'_>, target: &mut Target<'_>, name: &str) -> Result<(), BackupError> {
    copy_dir_and(origin, target, name, &Open::new())
}

/// Copies a directory's files, also those that are gone by now, if they are still open.
fn copy_dir_and(
    origin: &Origin<'_>,
    target: &mut Target<'_>,
    name: &str,
    held: &Open,
) -> Result<(), BackupError> {
    let dir = origin.data_dir.join(name);
    let mut paths = origin.storage.list(&dir).map_err(BackupError::file("list", &dir))?;
    paths.extend(held.keys().filter(|path| path.starts_with(&dir)).cloned());
    paths.sort();
    paths.dedup();
    for path in paths.iter().filter(|path| !is_unfinished(path)) {
        let opened = open_if_there(origin.storage, path)?;
        let Some(file) = opened.as_deref().or_else(|| held.get(path).map(|file| &**file)) else {
            continue;
        };
        let bytes = file.len().map_err(BackupError::file("read", path))?;
        target.put(&named(name, path), bytes, &mut |at, into| file.read_at(at, into))?;
    }
    Ok(())
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(".held-") || path.extension().is_some_and(|e| e == "new" || e == "rings-new")
}

fn named(dir: &str, path: &Path) -> String {
    format!("{dir}/{}", path.file_name().unwrap_or_default().to_string_lossy())
}

fn copy_if_there(
    origin: &Origin<'_>,
    target: &mut Target<'_>,
    name: &str,
) -> Result<(), BackupError> {
    let path = origin.data_dir.join(name);
    if path.exists() { target.put_file(name, &path) } else { Ok(()) }
}

/// The journal up to where it is durable now, or, if no agent runs, all of its files.
fn copy_journal(
    origin: &Origin<'_>,
    target: &mut Target<'_>,
) -> Result<Option<JournalMark>, BackupError> {
    let dir = origin.data_dir.join("journal");
    if let Some(tail) = origin.journal {
        let snapshot = tail.snapshot();
        // What was being pruned when that was held off is needed by nobody.
        let mut begun = [false; 3];
        for SnapshotFile { path, lane, bytes } in snapshot.files {
            let index = lane.map_or(usize::MAX, Lane::index);
            let Some(file) = open_if_there(origin.storage, &path)? else {
                if begun.get(index).copied().unwrap_or(true) {
                    let gone = io::Error::from(io::ErrorKind::NotFound);
                    return Err(BackupError::file("read", &path)(gone));
                }
                continue;
            };
            if let Some(begun) = begun.get_mut(index) {
                *begun = true;
            }
            // A damaged journal may have a file that ends before the next one begins.
            let there = file.len().map_err(BackupError::file("read", &path))?;
            let name = journal_name(&dir, &path);
            target.put(&name, bytes.min(there), &mut |at, into| file.read_at(at, into))?;
        }
        return Ok(Some(JournalMark::new(tail.id(), tail.epoch(), &snapshot.ends)));
    }
    let lanes = Lane::ALL.map(|lane| dir.join(lane.name()));
    for dir_of_files in std::iter::once(dir.clone()).chain(lanes) {
        let listed = origin.storage.list(&dir_of_files);
        for path in listed.map_err(BackupError::file("list", &dir_of_files))? {
            if !path.is_dir() && !is_unfinished(&path) {
                target.put_file(&journal_name(&dir, &path), &path)?;
            }
        }
    }
    let found = journal::peek(origin.storage, &dir)
        .map_err(|error| BackupError::Place(error.to_string()))?;
    Ok(found.map(|(id, epoch, ends)| JournalMark::new(id, epoch, &ends)))
}

fn journal_name(dir: &Path, path: &Path) -> String {
    format!("journal/{}", path.strip_prefix(dir).unwrap_or(path).display())
}

fn copy_state(
    state: &State,
    early: &ReadTransaction,
    workshop: &Workshop,
    target: &mut Target<'_>,
) -> Result<(), BackupError> {
    let copy = workshop.0.join(state::FILE_NAME);
    let late = read_state(state)?;
    tables::copy((early, &rings::TABLES), &late, &copy)?;
    target.put_file(state::FILE_NAME, &copy)
}

/// What lies in the data directory and is not copied, and why.
fn left_out(origin: &Origin<'_>, with_key: bool) -> Result<Vec<LeftOut>, BackupError> {
    let copied = [state::FILE_NAME, upgrade::FILE_NAME, "ledger.json", MANIFEST_NAME];
    let mut left_out = Vec::new();
    for found in places(origin.data_dir)? {
        let name = found.name.as_str();
        if copied.contains(&name) || PASSING.contains(&name) {
            continue;
        }
        let why = match (name, found.kind) {
            (_, Kind::Store) => continue,
            (KEY_NAME, _) if with_key => continue,
            (KEY_NAME, _) => NO_KEY,
            (_, Kind::Sink) => "a sink's own files",
            (_, Kind::Link) => "a link: what it leads to lies elsewhere",
            (_, Kind::Other) => "not the agent's",
        };
        left_out.push(LeftOut { path: found.name, why: why.to_owned() });
    }
    if !with_key && origin.key_file != origin.data_dir.join(KEY_NAME) {
        let path = origin.key_file.display().to_string();
        left_out.push(LeftOut { path, why: NO_KEY.to_owned() });
    }
    left_out.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(left_out)
}
