//! Files, behind a seam: the real disk, a disk that forgets what was not synced (for the torture),
//! and, in tests, a disk that fails.
//!
//! Everything durable goes through here: journal, state, cursors, file sink. The contract is
//! POSIX's, at its weakest: what was written is durable after [`File::sync`], a name created,
//! renamed or removed after [`Storage::sync_dir`], and after a failed sync nothing is known about
//! the bytes it covered; never sync them again, write them anew elsewhere.
#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod disk;
mod held;
#[cfg(any(test, feature = "model"))]
pub mod faulty;

pub use disk::Disk;
pub use held::Held;

/// A directory tree of files.
pub trait Storage: Send + Sync + Debug {
    /// Makes a directory and those above it, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Opens a file to read and write; with `create`, makes it if it is not there. Never truncates.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>>;
    /// The files in a directory, sorted; empty if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, over another if need be.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// How much room there is on the file system of `path`.
    fn room(&self, path: &Path) -> io::Result<Room>;
}

/// A file system's size, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// What is free for us.
    pub free: u64,
    /// All there is.
    pub total: u64,
}

impl Room {
    /// Some frames' samples.
    const STRIDE_MIN: u64 = 64 << 10;

    /// On the file system of `path`; where it cannot be asked there is no end of it: writing will
    /// tell.
    pub fn at(storage: &dyn Storage, path: &Path) -> Self {
        storage.room(path).unwrap_or(Self { free: u64::MAX, total: u64::MAX })
    }

    /// The most bytes that may be written there before something is let go: little on a small disk.
    pub fn stride(&self) -> u64 {
        (self.total / 64).max(Self::STRIDE_MIN)
    }
}

/// An open file. Positions are absolute; there is no cursor.
pub trait File: Send + Sync + Debug {
    /// Writes all of `bytes` at `at`, growing the file if need be.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads at `at`; how much, which is less than asked for only at the end of the file.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
    /// The file's length.
    fn len(&self) -> io::Result<u64>;
    /// Whether it is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or grows the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the content and length durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// Whether the file still has a name; one that was removed goes with its last handle.
    fn is_linked(&self) -> io::Result<bool> {
        Ok(true)
    }
}

/// A storage that can be handed around.
pub type SharedStorage = Arc<dyn Storage>;
