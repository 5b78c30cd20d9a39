//! A file that becomes shorter under a start's hands.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use storage::{File, Room};

/// A disk on which one read of a segment finds only half of what was asked for.
#[derive(Debug)]
struct Shrinking {
    disk: Faulty,
    reads: Arc<AtomicU64>,
    nth: u64,
}

#[derive(Debug)]
struct ShrinkingFile {
    file: Box<dyn File>,
    reads: Arc<AtomicU64>,
    nth: u64,
}

impl Storage for Shrinking {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        let file = self.disk.open(path, create)?;
        if path.extension().is_none_or(|extension| extension != "seg") {
            return Ok(file);
        }
        Ok(Box::new(ShrinkingFile { file, reads: Arc::clone(&self.reads), nth: self.nth }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn room(&self, path: &Path) -> io::Result<Room> {
        self.disk.room(path)
    }
}

impl File for ShrinkingFile {
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(at, bytes)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(at, into)?;
        let is_it = self.reads.fetch_add(1, Ordering::Relaxed) + 1 == self.nth;
        Ok(if is_it { read / 2 } else { read })
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

#[test]
fn a_start_writes_nothing_again_that_it_could_not_read_again() {
    let whole = Faulty::default();
    let (mut journal, ..) = open(&whole, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..4);
    let end = journal.ends().positions.get(Lane::Bulk);
    // No mark vouches for the group.
    let len = usize::try_from(segment::offset_of(Position::ZERO, end)).unwrap();
    whole.edit(&segments(&whole)[0], |content| content.truncate(len));
    let mut refused = 0;
    for nth in 1.. {
        let disk = whole.copy();
        let reads = Arc::new(AtomicU64::new(0));
        let storage = Arc::new(Shrinking { disk: disk.clone(), reads: Arc::clone(&reads), nth });
        let since = &Positions::ZERO;
        let opened = Journal::open(storage, config(), [7; 16], 2, since, &mut |_, _, _| {});
        refused += u32::from(opened.is_err());
        assert_eq!(open(&disk, 3).2.get(Lane::Bulk), &[1, 2, 3], "read {nth}");
        if reads.load(Ordering::Relaxed) < nth {
            break;
        }
    }
    assert_eq!(refused, 1, "the copy");
}
