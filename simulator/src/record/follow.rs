//! Follows the folder of a file sink: the lines of its files, one file after the other, as they grow.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::oracle::sink;

/// How much of a file is read at once.
const CHUNK: usize = 1024 * 1024;
/// The longest line that is one.
const LINE_LEN_MAX: usize = 16 * 1024 * 1024;

/// A place in a folder of NDJSON files.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    /// The file being read, how far whole lines of it were read, and what follows them.
    current: Option<(PathBuf, u64)>,
    chunk: Vec<u8>,
}

impl Follower {
    /// From the folder's first line on.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), current: None, chunk: vec![0; CHUNK] }
    }

    /// Gives away the whole lines that are there and were not given; whether there were any.
    ///
    /// A file that has become shorter is read on from its end: the sink cut off what did not count,
    /// and writes it again.
    pub fn read(&mut self, mut give: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        let mut any = false;
        loop {
            let Some((path, at)) = self.current.clone().or_else(|| self.next_file(None)) else {
                return Ok(any);
            };
            let end = self.read_file(&path, at, &mut give)?;
            any |= end != at;
            self.current = Some((path.clone(), end));
            match self.next_file(Some(&path)) {
                // Whatever is still there belongs to the file that has ended.
                Some(next) if self.read_file(&path, end, &mut give)? == end => {
                    self.current = Some(next);
                }
                Some(_) => self.current = Some((path, end)),
                None => return Ok(any),
            }
        }
    }

    fn next_file(&self, after: Option<&Path>) -> Option<(PathBuf, u64)> {
        let files = sink::files(std::slice::from_ref(&self.dir)).ok()?;
        let next = files.into_iter().find(|file| after.is_none_or(|after| file.as_path() > after));
        next.map(|file| (file, 0))
    }

    /// Reads whole lines from a place on; the place behind the last of them.
    fn read_file(
        &mut self,
        path: &Path,
        from: u64,
        give: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<u64> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            // Removed: nothing more comes of it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(from),
            Err(error) => return Err(error),
        };
        let mut at = from.min(file.metadata()?.len());
        file.seek(SeekFrom::Start(at))?;
        let mut rest: Vec<u8> = Vec::new();
        loop {
            let len = file.read(&mut self.chunk)?;
            let Some(read) = self.chunk.get(..len).filter(|read| !read.is_empty()) else {
                return Ok(at);
            };
            rest.extend_from_slice(read);
            let mut given = 0;
            while let Some(line) = rest.get(given..).and_then(first_line) {
                give(line)?;
                given += line.len() + 1;
            }
            at += u64::try_from(given).unwrap_or_default();
            rest.drain(..given);
            if rest.len() > LINE_LEN_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a line of more than 16 MiB",
                ));
            }
        }
    }
}

fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..bytes.iter().position(|byte| *byte == b'\n')?)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn append(path: &Path, text: &str) {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn read(follower: &mut Follower) -> Vec<String> {
        let mut lines = Vec::new();
        follower
            .read(|line| {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
                Ok(())
            })
            .unwrap();
        lines
    }

    #[test]
    fn files_are_followed_as_they_grow_and_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = |number: u8| folder.path().join(format!("milepost-{number}.ndjson"));
        let mut follower = Follower::new(folder.path());
        assert!(read(&mut follower).is_empty());
        append(&file(1), "a\nb\nhal");
        assert_eq!(read(&mut follower), ["a", "b"]);
        append(&file(1), "f\n");
        append(&file(2), "c\n");
        assert_eq!(read(&mut follower), ["half", "c"]);
        append(&folder.path().join("other.txt"), "x\n");
        append(&file(2), "d\n");
        append(&file(3), "");
        assert_eq!(read(&mut follower), ["d"]);
        append(&file(3), "e\n");
        assert_eq!(read(&mut follower), ["e"]);
    }

    #[test]
    fn what_was_cut_off_and_written_again_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("milepost-1.ndjson");
        let mut follower = Follower::new(folder.path());
        append(&path, "a\nb\nc\n");
        assert_eq!(read(&mut follower).len(), 3);
        File::options().write(true).open(&path).unwrap().set_len(2).unwrap();
        assert!(read(&mut follower).is_empty());
        append(&path, "b\nc\nd\n");
        assert_eq!(read(&mut follower), ["b", "c", "d"]);
    }
}
