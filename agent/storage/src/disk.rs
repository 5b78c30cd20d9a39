//! The real disk.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{File, Room, Storage};

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let holding = holding_new_names(dir);
        fs::create_dir_all(dir)?;
        holding.into_iter().try_for_each(|holding| self.sync_dir(holding))
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(create).truncate(false).open(path)?;
        Ok(Box::new(DiskFile(file)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn room(&self, path: &Path) -> io::Result<Room> {
        let stat = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Room { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }
}

/// The directories in which a name is new once `dir` and all above it are made: that of each one that
/// is missing, and in any case that of `dir`, which an earlier life may have made and not synced.
fn holding_new_names(dir: &Path) -> Vec<&Path> {
    let is_named = |path: &&Path| !path.as_os_str().is_empty();
    let made =
        dir.ancestors().take_while(is_named).take_while(|path| *path == dir || !path.exists());
    made.filter_map(Path::parent)
        .map(|parent| if is_named(&parent) { parent } else { Path::new(".") })
        .collect()
}

#[derive(Debug)]
struct DiskFile(fs::File);

impl File for DiskFile {
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..)
            && !rest.is_empty()
        {
            let from = at.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            match self.0.read_at(rest, from) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.nlink() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_durably_all_the_way_up() {
        let temporary = tempfile::tempdir().unwrap();
        let base = temporary.path();
        let dir = base.join("data/journal/bulk");
        let holding = [base.join("data/journal"), base.join("data"), base.to_owned()];
        assert_eq!(holding_new_names(&dir), holding);
        Disk.create_dir_all(&dir).unwrap();
        assert_eq!(holding_new_names(&dir), holding[..1]);
        Disk.create_dir_all(&dir).unwrap();
        assert_eq!(
            holding_new_names(Path::new("not-there/at-all")),
            [Path::new("not-there"), Path::new(".")]
        );
        assert!(holding_new_names(Path::new("/")).is_empty());
    }
}
