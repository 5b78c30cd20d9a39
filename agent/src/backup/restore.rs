//! Putting a backup back, and what a start does with the mark that leaves.
//!
//! The new directory is made beside the old one, whole and checked and synced; then two renames
//! exchange them. What the backup does not have and the old directory does - sinks' own files, the
//! wrapping key - moves over after that, as the mark says; a start finishes what was interrupted.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::archive::{Found, read, sync_tree};
use super::manifest::JournalMark;
use super::places::{Kind, places};
use super::take::KEY_NAME;
use super::{BackupError, Manifest, Progress, Watcher, clear, parent, sync_dir};
use crate::lock::{DirLock, Owner};
use crate::owner::give_to_owner_of;
use crate::registry::{Erasure, RegistryError, erasures_in};
use crate::state;
use crate::storage::{Disk, SharedStorage};

/// The mark that a restore leaves in the data directory.
pub const MARKER_NAME: &str = "restored.json";

/// What was restored: the mark's content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// When the backup was made, in milliseconds since 1970 UTC.
    pub made_ms: i64,
    /// When it was put back.
    pub restored_ms: i64,
    /// When an agent first ran on it; none before.
    pub started_ms: Option<i64>,
    /// The journal of the backup.
    pub journal: Option<JournalMark>,
    /// Where the directory is that was there before.
    pub aside: Option<PathBuf>,
    /// What moves from there.
    pub moved: Vec<String>,
    /// The wrapping key came with the backup, or was there.
    pub has_key: bool,
    /// What was erased by then, as the directory knew that was there before. Until an agent ran on
    /// it: that erases again what the backup brought back.
    #[serde(default)]
    pub erasures: Vec<Erasure>,
}

/// Puts the backup at `from` back as the data directory `to`. With `replace`, one that is there is
/// moved aside first.
pub fn restore(
    from: &Path,
    to: &Path,
    replace: bool,
    now_ms: i64,
    watcher: &mut Watcher<'_>,
) -> Result<(Restored, Manifest), BackupError> {
    let to = &real(to);
    let lock = if to.exists() { Some(claim(to, replace)?) } else { None };
    let fresh = beside(to, "restoring")?;
    clear(&fresh).map_err(BackupError::file("remove", &fresh))?;
    let unpacked = unpack(from, &fresh, watcher);
    let manifest = match unpacked {
        Ok(manifest) => manifest,
        Err(error) => {
            clear(&fresh).map_err(BackupError::file("remove", &fresh))?;
            return Err(error);
        }
    };
    let aside = match &lock {
        Some(_) => Some(free_name(to, now_ms)?),
        None => None,
    };
    let moved = match &lock {
        Some(_) => to_move(to, &fresh)?,
        None => Vec::new(),
    };
    let restored = Restored {
        made_ms: manifest.made_ms,
        restored_ms: now_ms,
        started_ms: None,
        journal: manifest.journal.clone(),
        aside: aside.clone(),
        has_key: manifest.with_key || moved.iter().any(|name| name == KEY_NAME),
        moved,
        erasures: lock.as_ref().map(|_| erasures_of(to)).unwrap_or_default(),
    };
    make_way(to, &fresh, &restored.moved).map_err(BackupError::file("make", &fresh))?;
    write_mark(&fresh, &restored).map_err(BackupError::file("write", &fresh))?;
    if lock.is_some() {
        // Root restores for the user that the agent runs as.
        give_to_owner_of(to, &fresh).map_err(BackupError::file("hand over", &fresh))?;
    }
    sync_tree(&fresh).map_err(BackupError::file("sync", &fresh))?;
    if let Some(aside) = &aside {
        fs::rename(to, aside).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
                BackupError::Place(format!(
                    "{} is a mount point and cannot be moved aside: empty it, then restore without \
                         --replace",
                    to.display()
                ))
            }
            _ => BackupError::file("move aside", to)(error),
        })?;
    }
    put_in_place(&fresh, to)?;
    finish_move(to).map_err(BackupError::file("finish", to))?;
    drop(lock);
    Ok((restored, manifest))
}

/// What was erased, by the directory that is to be replaced. If that is damaged, nothing is known.
fn erasures_of(old: &Path) -> Vec<Erasure> {
    let path = old.join(state::FILE_NAME);
    if !path.exists() {
        return Vec::new();
    }
    let disk: SharedStorage = Arc::new(Disk);
    let read = state::open_existing(&disk, &path)
        .map_err(RegistryError::from)
        .and_then(|database| erasures_in(&database));
    read.unwrap_or_else(|error| {
        tracing::warn!(
            %error,
            "cannot read what was erased since the backup: whoever was must be erased again"
        );
        Vec::new()
    })
}

/// The directory itself, where a link to it is given.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Takes a directory that is there; refuses one that holds something, unless it may be moved aside.
fn claim(to: &Path, replace: bool) -> Result<DirLock, BackupError> {
    if !to.is_dir() {
        return Err(BackupError::Place(format!("{} is not a directory", to.display())));
    }
    let lock = DirLock::take(to, Owner::Agent)?;
    let entries = fs::read_dir(to).map_err(BackupError::file("list", to))?;
    let holds = entries.flatten().any(|entry| entry.file_name() != "lock");
    if holds && !replace {
        let said = format!(
            "{} is not empty: name another directory with --to, or move this one aside with --replace",
            to.display()
        );
        return Err(BackupError::Place(said));
    }
    Ok(lock)
}

fn beside(to: &Path, suffix: &str) -> Result<PathBuf, BackupError> {
    let name = to.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| {
        BackupError::Place(format!("{} cannot be a data directory", to.display()))
    })?;
    Ok(parent(to).join(format!("{name}.{suffix}")))
}

fn free_name(to: &Path, now_ms: i64) -> Result<PathBuf, BackupError> {
    let mut number = now_ms / 1000;
    loop {
        let name = beside(to, &format!("before-restore-{number}"))?;
        if fs::symlink_metadata(&name).is_err() {
            return Ok(name);
        }
        number = number.saturating_add(1);
    }
}

/// Writes the backup's files, checked, into a new directory.
fn unpack(from: &Path, to: &Path, watcher: &mut Watcher<'_>) -> Result<Manifest, BackupError> {
    let mut made = fs::DirBuilder::new();
    made.recursive(true).mode(0o700);
    made.create(to).map_err(BackupError::file("make", to))?;
    let mut found = Found::default();
    let mut progress = Progress::default();
    let manifest = read(from, &mut |name, _, content| {
        let path = to.join(name);
        let failed = || BackupError::file("write", &path);
        made.create(parent(&path)).map_err(failed())?;
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed())?;
        let mut write = |part: &[u8]| {
            progress.done += u64::try_from(part.len()).unwrap_or(0);
            file.write_all(part)?;
            watcher(progress.clone())
        };
        found.take(name, content, &mut write).map_err(BackupError::file("read", from))?;
        file.sync_all().map_err(failed())
    })?;
    found.check(from, &manifest)?;
    Ok(manifest)
}

/// What the old directory has and the new one has not, and nobody else makes: the wrapping key and
/// what is sinks' own, with links to that as they are.
fn to_move(old: &Path, fresh: &Path) -> Result<Vec<String>, BackupError> {
    let mut names: Vec<String> = Vec::new();
    for found in places(old)? {
        let is_wanted = match found.kind {
            Kind::Sink | Kind::Link => true,
            Kind::Store => false,
            Kind::Other => found.name == KEY_NAME,
        };
        // With the folder it is in.
        let goes_along = names.iter().any(|name| Path::new(&found.name).starts_with(name));
        if !is_wanted || goes_along {
            continue;
        }
        if !is_there(&fresh.join(&found.name)) {
            names.push(found.name);
            continue;
        }
        if found.kind != Kind::Sink {
            continue;
        }
        // The backup has something within the sink's folder: the rest of that goes piece by piece.
        let listed = BackupError::file("list", &found.path);
        let entries = fs::read_dir(&found.path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in entries.map_err(listed)? {
            let name = format!("{}/{}", found.name, entry.file_name().to_string_lossy());
            if !is_there(&fresh.join(&name)) {
                names.push(name);
            }
        }
        names.sort();
    }
    names.sort();
    Ok(names)
}

/// Makes the folders that what is moved will lie in, like those that it lies in now.
fn make_way(old: &Path, fresh: &Path, moved: &[String]) -> io::Result<()> {
    for name in moved {
        let Some(dir) = Path::new(name).parent() else { continue };
        let mut made = PathBuf::new();
        for part in dir.components() {
            made.push(part);
            let (from, to) = (old.join(&made), fresh.join(&made));
            if !is_there(&to) {
                fs::create_dir(&to)?;
            }
            // Whoever reads a sink's files gets at them as before.
            fs::set_permissions(&to, fs::metadata(&from)?.permissions())?;
        }
    }
    Ok(())
}

/// Whether there is anything, be it a link to nowhere.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn write_mark(dir: &Path, restored: &Restored) -> io::Result<()> {
    let new = dir.join("restored.new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(restored)?)?;
    file.sync_all()?;
    fs::rename(&new, dir.join(MARKER_NAME))?;
    sync_dir(dir)
}

fn put_in_place(fresh: &Path, to: &Path) -> Result<(), BackupError> {
    let renamed = fs::rename(fresh, to).and_then(|()| sync_dir(parent(to)));
    renamed.map_err(BackupError::file("put in place", to))
}

/// Moves over what the mark says and is not moved yet. Does nothing without a mark.
pub fn finish_move(data_dir: &Path) -> io::Result<()> {
    let Some(Restored { aside: Some(aside), moved, .. }) = read_mark(data_dir)? else {
        return Ok(());
    };
    for name in moved {
        let (from, to) = (aside.join(&name), data_dir.join(&name));
        if is_there(&from) && !is_there(&to) {
            fs::rename(&from, &to)?;
        }
        if to.parent().is_some_and(Path::is_dir) {
            sync_dir(parent(&to))?;
        }
    }
    sync_dir(data_dir)
}

fn read_mark(data_dir: &Path) -> io::Result<Option<Restored>> {
    match fs::read(data_dir.join(MARKER_NAME)) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What was restored, if no agent ran on it yet.
pub fn not_started(data_dir: &Path) -> io::Result<Option<Restored>> {
    Ok(read_mark(data_dir)?.filter(|restored| restored.started_ms.is_none()))
}

/// Notes that an agent runs on it.
pub fn mark_started(data_dir: &Path, now_ms: i64) -> io::Result<()> {
    let Some(restored) = not_started(data_dir)? else { return Ok(()) };
    let started_ms = Some(now_ms);
    write_mark(data_dir, &Restored { started_ms, erasures: Vec::new(), ..restored })
}
