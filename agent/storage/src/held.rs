//! A disk that forgets: what was not synced lives in this process only, and a `kill -9` loses it as
//! a power cut would. The torture runs the agent on it, so that a missing fsync shows.
//!
//! Content: pages written since the last sync are held in memory over the file; a sync writes them
//! through. Names: a new file stands under a hidden one, and names created, changed and removed are
//! only remembered; syncing the directory brings the disk in line. What an earlier life left under
//! hidden names is removed when a directory is first touched: nobody ever synced it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;
use super::{File, Room, Storage};

/// Bytes of a page.
const PAGE_LEN: u64 = 4096;
/// What hidden names begin with.
const HIDDEN: &str = ".held-";

/// The file system of this machine, less what was not synced. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Held(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    dirs: BTreeMap<PathBuf, Dir>,
    /// For hidden names.
    hidden: u64,
}

/// What stands in a directory: as this process sees it, and where the disk has it.
#[derive(Debug, Default)]
struct Dir {
    seen: BTreeMap<PathBuf, Arc<Inode>>,
    on_disk: BTreeMap<PathBuf, Arc<Inode>>,
}

/// A file, whatever its names.
#[derive(Debug, Default)]
struct Inode(Mutex<Unsynced>);

#[derive(Debug, Default)]
struct Unsynced {
    /// Where the disk has the file.
    path: PathBuf,
    /// Whole pages, by number, that take the place of the disk's.
    pages: BTreeMap<u64, Vec<u8>>,
    /// How long the file is.
    len: u64,
    /// How much of the disk's file still counts: beyond that, what no page holds is zero.
    len_on_disk: u64,
}

impl Held {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inode {
    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// The directory of a file.
    fn dir_of(&mut self, path: &Path) -> io::Result<&mut Dir> {
        self.dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
    }

    /// A directory, as the disk has it when it is first asked for.
    fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        if !self.dirs.contains_key(path) {
            let dir = Dir::load(path)?;
            self.dirs.insert(path.to_owned(), dir);
        }
        self.dirs.get_mut(path).ok_or(io::ErrorKind::NotFound.into())
    }

    fn hidden_in(&mut self, dir: &Path) -> PathBuf {
        self.hidden += 1;
        dir.join(format!("{HIDDEN}{}", self.hidden))
    }
}

impl Dir {
    fn load(path: &Path) -> io::Result<Self> {
        let mut dir = Self::default();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(HIDDEN.as_bytes()) {
                fs::remove_file(path)?;
            } else if entry.file_type()?.is_file() {
                let len = entry.metadata()?.len();
                let unsynced =
                    Unsynced { path: path.clone(), len, len_on_disk: len, ..Unsynced::default() };
                let inode = Arc::new(Inode(Mutex::new(unsynced)));
                dir.seen.insert(path.clone(), Arc::clone(&inode));
                dir.on_disk.insert(path, inode);
            }
        }
        Ok(dir)
    }

    fn is_seen(&self, inode: &Arc<Inode>) -> bool {
        self.seen.values().any(|seen| Arc::ptr_eq(seen, inode))
    }

    /// A name that the disk does not have right, if there is one: first those whose place on the
    /// disk is free, or taken by what is gone.
    fn misplaced(&self) -> Option<(PathBuf, Arc<Inode>, bool)> {
        let misplaced = self.seen.iter().filter(|(path, inode)| inode.unsynced().path != **path);
        let found = misplaced.map(|(path, inode)| {
            let is_taken = self.on_disk.get(path).is_some_and(|taker| self.is_seen(taker));
            (path.clone(), Arc::clone(inode), is_taken)
        });
        found.min_by_key(|(_, _, is_taken)| *is_taken)
    }

    fn rename_on_disk(&mut self, inode: &Arc<Inode>, to: PathBuf) -> io::Result<()> {
        let mut unsynced = inode.unsynced();
        fs::rename(&unsynced.path, &to)?;
        self.on_disk.remove(&unsynced.path);
        self.on_disk.insert(to.clone(), Arc::clone(inode));
        unsynced.path = to;
        Ok(())
    }
}

impl Storage for Held {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dir_all(dir)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        let mut names = self.names();
        let known = names.dir_of(path)?.seen.get(path).cloned();
        let inode = match known {
            Some(inode) => inode,
            None if create => {
                let hidden = names.hidden_in(path.parent().unwrap_or(Path::new("")));
                fs::File::create_new(&hidden)?;
                let unsynced = Unsynced { path: hidden.clone(), ..Unsynced::default() };
                let inode = Arc::new(Inode(Mutex::new(unsynced)));
                let dir = names.dir_of(path)?;
                dir.on_disk.insert(hidden, Arc::clone(&inode));
                dir.seen.insert(path.to_owned(), Arc::clone(&inode));
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let file = fs::OpenOptions::new().read(true).write(true).open(&inode.unsynced().path)?;
        Ok(Box::new(HeldFile { file, inode }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        match self.names().dir(dir) {
            Ok(dir) => Ok(dir.seen.keys().cloned().collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let gone = self.names().dir_of(path)?.seen.remove(path);
        gone.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if from.parent() != to.parent() {
            // Two directories would have to be synced as one; nobody needs it.
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut names = self.names();
        let dir = names.dir_of(from)?;
        let inode = dir.seen.remove(from).ok_or(io::ErrorKind::NotFound)?;
        dir.seen.insert(to.to_owned(), inode);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names();
        while let Some((to, inode, is_taken)) = names.dir(path)?.misplaced() {
            // All places are taken by what has to move too: they go round in a circle.
            let to = if is_taken { names.hidden_in(path) } else { to };
            names.dir(path)?.rename_on_disk(&inode, to)?;
        }
        let dir = names.dir(path)?;
        let gone: Vec<PathBuf> = dir
            .on_disk
            .iter()
            .filter(|(_, inode)| !dir.is_seen(inode))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            fs::remove_file(&path)?;
            dir.on_disk.remove(&path);
        }
        Disk.sync_dir(path)
    }

    fn room(&self, path: &Path) -> io::Result<Room> {
        Disk.room(path)
    }
}

#[derive(Debug)]
struct HeldFile {
    file: fs::File,
    inode: Arc<Inode>,
}

/// The pages that `len` bytes at `at` touch: number, where in the page, how many bytes.
fn pages(at: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    (at / PAGE_LEN..end.div_ceil(PAGE_LEN)).map(move |page| {
        let start = page.saturating_mul(PAGE_LEN);
        let from = at.max(start);
        let to = end.min(start.saturating_add(PAGE_LEN));
        let short = |bytes: u64| usize::try_from(bytes).unwrap_or(0);
        (page, short(from.saturating_sub(start)), short(to.saturating_sub(from)))
    })
}

impl Unsynced {
    /// A page as a reader sees it.
    fn page(&self, file: &fs::File, page: u64) -> io::Result<Vec<u8>> {
        if let Some(held) = self.pages.get(&page) {
            return Ok(held.clone());
        }
        let start = page.saturating_mul(PAGE_LEN);
        let mut bytes = vec![0; usize::try_from(PAGE_LEN).unwrap_or(0)];
        let counts = usize::try_from(self.len_on_disk.saturating_sub(start)).unwrap_or(usize::MAX);
        let counts = counts.min(bytes.len());
        std::os::unix::fs::FileExt::read_exact_at(
            file,
            bytes.get_mut(..counts).unwrap_or_default(),
            start,
        )?;
        Ok(bytes)
    }
}

impl File for HeldFile {
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut unsynced = self.inode.unsynced();
        let mut rest = bytes;
        for (page, from, len) in pages(at, bytes.len()) {
            let mut content = unsynced.page(&self.file, page)?;
            let (now, later) = rest.split_at_checked(len).unwrap_or_default();
            if let Some(slot) = content.get_mut(from..).and_then(|slot| slot.get_mut(..len)) {
                slot.copy_from_slice(now);
            }
            unsynced.pages.insert(page, content);
            rest = later;
        }
        let end = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if !bytes.is_empty() {
            unsynced.len = unsynced.len.max(end);
        }
        Ok(())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let unsynced = self.inode.unsynced();
        let there = usize::try_from(unsynced.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let read = into.len().min(there);
        let mut rest = into.get_mut(..read).unwrap_or_default();
        for (page, from, len) in pages(at, read) {
            let content = unsynced.page(&self.file, page)?;
            let (now, later) = rest.split_at_mut_checked(len).unwrap_or_default();
            now.copy_from_slice(content.get(from..).and_then(|c| c.get(..len)).unwrap_or_default());
            rest = later;
        }
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.unsynced().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut unsynced = self.inode.unsynced();
        if len < unsynced.len {
            unsynced.pages.split_off(&len.div_ceil(PAGE_LEN));
            let kept = usize::try_from(len % PAGE_LEN).unwrap_or(0);
            if let Some(last) = unsynced.pages.get_mut(&(len / PAGE_LEN)) {
                last.get_mut(kept..).unwrap_or_default().fill(0);
            }
            unsynced.len_on_disk = unsynced.len_on_disk.min(len);
        }
        unsynced.len = len;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut unsynced = self.inode.unsynced();
        // What was cut off and has grown again since is zero now.
        if unsynced.len_on_disk < self.file.metadata()?.len() {
            self.file.set_len(unsynced.len_on_disk)?;
        }
        for (page, content) in &unsynced.pages {
            let start = page.saturating_mul(PAGE_LEN);
            let len = usize::try_from(unsynced.len.saturating_sub(start)).unwrap_or(usize::MAX);
            let content = content.get(..len.min(content.len())).unwrap_or_default();
            std::os::unix::fs::FileExt::write_all_at(&self.file, content, start)?;
        }
        self.file.set_len(unsynced.len)?;
        self.file.sync_data()?;
        unsynced.pages.clear();
        unsynced.len_on_disk = unsynced.len;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
