//! A log in numbered files that is only appended to, and whose end is kept elsewhere.
//!
//! `DIR/STEM-000001.SUFFIX`, `DIR/STEM-000002.SUFFIX` and so on. What stands behind the committed
//! end counts for nothing: an append overwrites it, an open cuts it off. So an append and whatever
//! else stands in the cursor that holds the end come true together or not at all.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::storage::{File, SharedStorage};

/// Where a log ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LogEnd {
    /// Number of its last file, from 1.
    pub file: u32,
    /// Bytes of it.
    pub len: u64,
}

impl Default for LogEnd {
    fn default() -> Self {
        Self { file: 1, len: 0 }
    }
}

/// Where a log is and what its files are called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Naming {
    /// In which directory.
    pub dir: PathBuf,
    /// Before the number.
    pub stem: String,
    /// Behind it, without the dot.
    pub suffix: &'static str,
}

impl Naming {
    /// The file of this number.
    pub fn path(&self, file: u32) -> PathBuf {
        self.dir.join(format!("{}-{file:06}.{}", self.stem, self.suffix))
    }

    /// The numbers of the files there are, ascending.
    pub fn numbers(&self, storage: &SharedStorage) -> io::Result<Vec<u32>> {
        let mut numbers: Vec<u32> =
            storage.list(&self.dir)?.iter().filter_map(|path| self.number(path)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn number(&self, path: &Path) -> Option<u32> {
        let name = path.file_name()?.to_str()?;
        let digits = name.strip_prefix(&self.stem)?.strip_prefix('-')?;
        let number = digits.strip_suffix(self.suffix)?.strip_suffix('.')?.parse().ok()?;
        (self.path(number) == path).then_some(number)
    }
}

/// The log.
#[derive(Debug)]
pub struct NumberedLog {
    storage: SharedStorage,
    naming: Naming,
    end: LogEnd,
    /// The file of `end`, once it was opened.
    file: Option<Box<dyn File>>,
    /// A sync failed since the last commit: nothing is known of what stands behind the end.
    unsure: bool,
    /// An append did not come through: there may be something behind the end.
    partial: bool,
}

impl NumberedLog {
    /// Opens a log that ends at `end`; what stands behind is cut off, the next file removed. A
    /// file that ends before `end` is an error of kind `InvalidData`.
    pub fn open(storage: SharedStorage, naming: Naming, end: LogEnd) -> io::Result<Self> {
        storage.create_dir_all(&naming.dir)?;
        let mut log = Self { storage, naming, end, file: None, unsure: false, partial: false };
        log.remove(end.file.saturating_add(1))?;
        if end.len == 0 {
            log.remove(end.file)?;
            return Ok(log);
        }
        let short = || io::Error::new(io::ErrorKind::InvalidData, "shorter than its cursor says");
        let file = log.storage.open(&log.naming.path(end.file), false).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound { short() } else { error }
        })?;
        match file.len()?.cmp(&end.len) {
            std::cmp::Ordering::Less => return Err(short()),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => {
                file.set_len(end.len)?;
                file.sync()?;
            }
        }
        log.file = Some(file);
        Ok(log)
    }

    /// Where it is.
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// What it stands on.
    pub fn storage(&self) -> &SharedStorage {
        &self.storage
    }

    /// The committed end.
    pub fn end(&self) -> LogEnd {
        self.end
    }

    /// Writes `bytes` behind the committed end, in the next file if this one would exceed
    /// `rotate_bytes`; durable when it returns. Where it then ends is for [`NumberedLog::commit`];
    /// until that is called, the next append overwrites this one.
    pub fn append(&mut self, bytes: &[u8], rotate_bytes: u64) -> io::Result<LogEnd> {
        if bytes.is_empty() {
            return Ok(self.end);
        }
        let at_least = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.append_parts(at_least, rotate_bytes, |write| write(bytes))
    }

    /// The same for something of at least `at_least` bytes that is handed over part by part.
    pub fn append_parts(
        &mut self,
        at_least: u64,
        rotate_bytes: u64,
        parts: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<LogEnd> {
        let start = self.start(at_least, rotate_bytes)?;
        let file = match self.file.take() {
            Some(file) if start == self.end => file,
            _ => {
                self.storage.create_dir_all(&self.naming.dir)?;
                self.storage.open(&self.naming.path(start.file), true)?
            }
        };
        if std::mem::replace(&mut self.partial, true) {
            file.set_len(start.len)?;
        }
        let mut len = start.len;
        let written = parts(&mut |part| {
            file.write_at(len, part)?;
            len = len.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
            Ok(())
        });
        if let Err(error) = written {
            // Gives the room back at once: others need it too.
            if let Err(again) = file.set_len(start.len) {
                tracing::debug!(error = %again, "cannot cut what did not fit");
            }
            return Err(error);
        }
        self.unsure = true;
        file.sync()?;
        if start.len == 0 {
            self.storage.sync_dir(&self.naming.dir)?;
        }
        self.unsure = false;
        if !file.is_linked()? {
            // Somebody removed it, and what it held: that is theirs. What is written from now on
            // must not go the same way.
            let path = self.naming.path(start.file);
            self.end = LogEnd { file: start.file.saturating_add(1), len: 0 };
            self.partial = false;
            let gone = format!("{} was removed while it was written", path.display());
            return Err(io::Error::other(gone));
        }
        if start == self.end {
            self.file = Some(file);
        }
        Ok(LogEnd { file: start.file, len })
    }

    /// What was appended is kept from now on.
    pub fn commit(&mut self, end: LogEnd) {
        if end.file != self.end.file {
            self.file = None;
        }
        self.end = end;
        self.unsure = false;
        self.partial = false;
    }

    /// Removes the file of this number, if there is one.
    pub fn remove(&self, number: u32) -> io::Result<()> {
        match self.storage.remove(&self.naming.path(number)) {
            Ok(()) => self.storage.sync_dir(&self.naming.dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where the next append begins. An empty file is always a new one: the old one's pages may be
    /// those of a failed sync.
    fn start(&mut self, written: u64, rotate_bytes: u64) -> io::Result<LogEnd> {
        let full = self.end.len.saturating_add(written) > rotate_bytes;
        if self.end.len > 0 && !self.unsure && !full {
            return Ok(self.end);
        }
        let mut start = self.end;
        if self.end.len > 0 {
            if self.unsure {
                self.file = None;
                let file = self.storage.open(&self.naming.path(self.end.file), false)?;
                file.set_len(self.end.len)?;
                file.sync()?;
            }
            start = LogEnd { file: self.end.file.saturating_add(1), len: 0 };
        }
        self.file = None;
        self.remove(start.file)?;
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{Disk, Storage as _};

    #[test]
    fn what_is_removed_under_way_is_written_again_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        let mut log = open(&sub, LogEnd { file: 1, len: 0 }).unwrap();
        let end = log.append(b"one\n", 100).unwrap();
        log.commit(end);
        std::fs::remove_dir_all(&sub).unwrap();
        assert!(log.append(b"two\n", 100).is_err(), "nobody would ever see it");
        let end = log.append(b"two\n", 100).unwrap();
        log.commit(end);
        assert_eq!(std::fs::read(log.naming().path(2)).unwrap(), b"two\n");
    }

    fn open(dir: &Path, end: LogEnd) -> io::Result<NumberedLog> {
        let naming = Naming { dir: dir.to_owned(), stem: "log".to_owned(), suffix: "txt" };
        NumberedLog::open(Arc::new(Disk), naming, end)
    }

    fn content(dir: &Path) -> Vec<String> {
        let paths = Disk.list(dir).unwrap();
        paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn what_was_not_committed_is_overwritten_or_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), LogEnd::default()).unwrap();
        let end = log.append(b"one", 100).unwrap();
        log.commit(end);
        log.append(b"lost and gone", 100).unwrap();
        let end = log.append(b"two", 100).unwrap();
        assert_eq!(end, LogEnd { file: 1, len: 6 });
        assert_eq!(content(dir.path()), ["onetwo"]);
        log.commit(end);
        log.append(b"never", 100).unwrap();
        drop(log);
        let log = open(dir.path(), end).unwrap();
        assert_eq!((log.end(), content(dir.path())), (end, vec!["onetwo".to_owned()]));
    }

    #[test]
    fn a_full_file_is_followed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), LogEnd::default()).unwrap();
        for text in ["aaaa", "bbbb", "cc"] {
            let end = log.append(text.as_bytes(), 6).unwrap();
            log.commit(end);
        }
        assert_eq!(content(dir.path()), ["aaaa", "bbbbcc"]);
        // Uncommitted rotation: the file is gone at the next open.
        log.append(b"dddd", 6).unwrap();
        let end = log.end();
        drop(log);
        assert_eq!(content(dir.path()).len(), 3);
        let log = open(dir.path(), end).unwrap();
        assert_eq!(content(dir.path()), ["aaaa", "bbbbcc"]);
        assert_eq!(log.naming().numbers(&log.storage).unwrap(), [1, 2]);
    }

    #[test]
    fn a_file_shorter_than_its_cursor_is_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("log-000003.txt"), "abc").unwrap();
        for end in [LogEnd { file: 3, len: 4 }, LogEnd { file: 4, len: 1 }] {
            assert_eq!(open(dir.path(), end).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        open(dir.path(), LogEnd { file: 3, len: 3 }).unwrap();
    }
}
