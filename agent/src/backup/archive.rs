//! Where a backup is written to and read from: a directory, or a tar file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use super::manifest::{FORMAT, FileEntry, MANIFEST_NAME, Manifest, Preface, digits};
use super::{BackupError, Progress, Watcher, clear, parent, provisional, sync_dir, tar};

/// Bytes copied at once.
const CHUNK: usize = 256 * 1024;
/// Longest manifest read.
const MANIFEST_LEN_MAX: u64 = 64 * 1024 * 1024;

/// A backup being written, under another name until it is whole; given up when dropped before.
pub(super) struct Target<'w> {
    path: PathBuf,
    partial: PathBuf,
    out: Out,
    time_s: u64,
    pub files: Vec<FileEntry>,
    progress: Progress,
    watcher: &'w mut Watcher<'w>,
    finished: bool,
}

enum Out {
    Dir,
    Tar(BufWriter<fs::File>),
}

impl<'w> Target<'w> {
    /// Begins one at `path`, which must not be there: a tar file if the name ends so.
    pub fn begin(
        path: &Path,
        time_s: u64,
        total: u64,
        watcher: &'w mut Watcher<'w>,
    ) -> Result<Self, BackupError> {
        if fs::symlink_metadata(path).is_ok() {
            let said = format!("{} is there already: give the backup a new name", path.display());
            return Err(BackupError::Place(said));
        }
        let partial = provisional(path)?;
        // What an interrupted one left.
        clear(&partial).map_err(BackupError::file("remove", &partial))?;
        let failed = || BackupError::file("write", &partial);
        let out = if path.extension().is_some_and(|extension| extension == "tar") {
            Out::Tar(BufWriter::with_capacity(CHUNK, create(&partial).map_err(failed())?))
        } else {
            fs::DirBuilder::new().mode(0o700).create(&partial).map_err(failed())?;
            Out::Dir
        };
        let progress = Progress { done: 0, total };
        let (path, files) = (path.to_owned(), Vec::new());
        Ok(Self { path, partial, out, time_s, files, progress, watcher, finished: false })
    }

    /// A place for files on their way into the backup, beside it.
    pub fn workshop(&self) -> Result<Workshop, BackupError> {
        let mut name = self.partial.clone().into_os_string();
        name.push("-work");
        let dir = PathBuf::from(name);
        clear(&dir).map_err(BackupError::file("remove", &dir))?;
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(BackupError::file("make", &dir))?;
        Ok(Workshop(dir))
    }

    /// Writes a file of so many bytes, which `read` delivers from its front to its end.
    pub fn put(
        &mut self,
        name: &str,
        bytes: u64,
        read: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<usize>,
    ) -> Result<(), BackupError> {
        let at = self.partial.join(name);
        let mut file = match &mut self.out {
            Out::Dir => {
                let dir = parent(&at);
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
                made.map_err(BackupError::file("make", dir))?;
                Some(create(&at).map_err(BackupError::file("write", &at))?)
            }
            Out::Tar(out) => {
                let header = tar::header(name, bytes, self.time_s);
                let written = header.and_then(|header| out.write_all(&header));
                written.map_err(BackupError::file("write", &self.partial))?;
                None
            }
        };
        let mut chunk = vec![0; CHUNK];
        let mut done = 0;
        let mut crc = 0;
        while done < bytes {
            let wanted = usize::try_from(bytes - done).unwrap_or(CHUNK).min(CHUNK);
            let part = chunk.get_mut(..wanted).unwrap_or_default();
            let got = read(done, part).map_err(BackupError::file("read", Path::new(name)))?;
            if got == 0 {
                let short = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(BackupError::file("read", Path::new(name))(short));
            }
            let part = part.get(..got).unwrap_or_default();
            crc = crc32c::crc32c_append(crc, part);
            let written = match (&mut file, &mut self.out) {
                (Some(file), _) => file.write_all(part),
                (None, Out::Tar(out)) => out.write_all(part),
                (None, Out::Dir) => Ok(()),
            };
            written.map_err(BackupError::file("write", &at))?;
            done += u64::try_from(got).unwrap_or(0);
            self.progress.done += u64::try_from(got).unwrap_or(0);
            self.progress.total = self.progress.total.max(self.progress.done);
            (self.watcher)(self.progress.clone()).map_err(|_| BackupError::Cancelled)?;
        }
        match (file, &mut self.out) {
            (Some(file), _) => file.sync_all().map_err(BackupError::file("sync", &at))?,
            (None, Out::Tar(out)) => {
                let filled = out.write_all(&vec![0; tar::padding(bytes)]);
                filled.map_err(BackupError::file("write", &self.partial))?;
            }
            (None, Out::Dir) => {}
        }
        self.files.push(FileEntry { path: name.to_owned(), bytes, crc32c: digits(crc) });
        Ok(())
    }

    /// Writes a file that is there already.
    pub fn put_file(&mut self, name: &str, path: &Path) -> Result<(), BackupError> {
        let failed = || BackupError::file("read", path);
        let mut file = fs::File::open(path).map_err(failed())?;
        let bytes = file.metadata().map_err(failed())?.len();
        self.put(name, bytes, &mut |_, into| file.read(into))
    }

    /// Writes the manifest, makes everything durable and gives it its name.
    pub fn finish(mut self, manifest: &Manifest) -> Result<(), BackupError> {
        let text = manifest.encode().map_err(io::Error::from);
        let text = text.map_err(BackupError::file("write", &self.partial))?;
        let mut rest = text.as_slice();
        let bytes = u64::try_from(text.len()).unwrap_or(0);
        self.put(MANIFEST_NAME, bytes, &mut |_, into| rest.read(into))?;
        let durable = match &mut self.out {
            Out::Tar(out) => {
                tar::finish(out).and_then(|()| out.flush()).and_then(|()| out.get_ref().sync_all())
            }
            Out::Dir => sync_tree(&self.partial),
        };
        let named = durable
            .and_then(|()| fs::rename(&self.partial, &self.path))
            .and_then(|()| sync_dir(parent(&self.path)));
        named.map_err(BackupError::file("finish", &self.path))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = clear(&self.partial)
        {
            tracing::warn!(path = %self.partial.display(), %error, "left behind");
        }
    }
}

/// A directory for a moment.
pub(super) struct Workshop(pub PathBuf);

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "left behind");
        }
    }
}

fn create(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes all names in a tree durable; the files are.
pub(super) fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    sync_dir(dir)
}

/// Takes a file of a backup: its name, its size, its content.
type Each<'a> = dyn FnMut(&str, u64, &mut dyn Read) -> Result<(), BackupError> + 'a;

/// Hands on each file of a backup but the manifest: name, size, content. What it names is checked
/// to stay below wherever it is put.
pub(super) fn read(path: &Path, each: &mut Each<'_>) -> Result<Manifest, BackupError> {
    let failed = || BackupError::file("read", path);
    if fs::metadata(path).map_err(failed())?.is_dir() {
        read_dir(path, each)
    } else {
        read_tar(path, each)
    }
}

fn read_dir(path: &Path, each: &mut Each<'_>) -> Result<Manifest, BackupError> {
    let manifest = path.join(MANIFEST_NAME);
    let text = match fs::read(&manifest) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let said = format!("{} is no backup: it has no {MANIFEST_NAME}", path.display());
            return Err(BackupError::Place(said));
        }
        text => text.map_err(BackupError::file("read", &manifest))?,
    };
    let manifest = understand(path, &text)?;
    for entry in &manifest.files {
        let at = path.join(proper(path, &entry.path)?);
        let mut file = match fs::File::open(&at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::damaged(path, format!("{} is missing", entry.path)));
            }
            file => file.map_err(BackupError::file("read", &at))?,
        };
        let bytes = file.metadata().map_err(BackupError::file("read", &at))?.len();
        each(&entry.path, bytes, &mut file)?;
    }
    Ok(manifest)
}

fn read_tar(path: &Path, each: &mut Each<'_>) -> Result<Manifest, BackupError> {
    let file = fs::File::open(path).map_err(BackupError::file("read", path))?;
    let mut file = BufReader::with_capacity(CHUNK, file);
    let head = file.fill_buf().map_err(BackupError::file("read", path))?;
    if !head.is_empty() && !tar::may_begin_with(head) {
        let said = format!("{} is no backup: neither a directory nor a tar file", path.display());
        return Err(BackupError::Place(said));
    }
    let torn = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::damaged(path, "it is cut off"),
        io::ErrorKind::InvalidData => BackupError::damaged(path, error),
        _ => BackupError::file("read", path)(error),
    };
    while let Some((name, bytes)) = tar::next(&mut file).map_err(torn)? {
        if name == MANIFEST_NAME {
            let mut text = Vec::new();
            file.take(bytes.min(MANIFEST_LEN_MAX)).read_to_end(&mut text).map_err(torn)?;
            return understand(path, &text);
        }
        proper(path, &name)?;
        let mut member = (&mut file).take(bytes);
        each(&name, bytes, &mut member)?;
        io::copy(&mut member, &mut io::sink()).map_err(torn)?;
        let padding = u64::try_from(tar::padding(bytes)).unwrap_or(0);
        io::copy(&mut (&mut file).take(padding), &mut io::sink()).map_err(torn)?;
    }
    Err(BackupError::damaged(path, format!("it has no {MANIFEST_NAME}")))
}

fn understand(path: &Path, text: &[u8]) -> Result<Manifest, BackupError> {
    if let Some(Preface { backup, agent }) = Preface::decode(text)
        && backup > FORMAT
    {
        return Err(BackupError::Newer { path: path.to_owned(), found: backup, agent });
    }
    Manifest::decode(text).map_err(|why| BackupError::damaged(path, why))
}

/// A name that leads nowhere else.
fn proper<'a>(backup: &Path, name: &'a str) -> Result<&'a Path, BackupError> {
    let path = Path::new(name);
    let plain = |part| matches!(part, Component::Normal(_));
    if name.is_empty() || !path.components().all(plain) {
        return Err(BackupError::damaged(
            backup,
            format!("`{name}` is no name of a backup's file"),
        ));
    }
    Ok(path)
}

/// What became of each file as it was read, to be held against the manifest.
#[derive(Default)]
pub(super) struct Found(BTreeMap<String, (u64, u32)>);

impl Found {
    /// Reads a file to its end, and hands on what it reads.
    pub fn take(
        &mut self,
        name: &str,
        content: &mut dyn Read,
        write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let (mut bytes, mut crc) = (0, 0);
        loop {
            let read = content.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            let part = chunk.get(..read).unwrap_or_default();
            write(part)?;
            crc = crc32c::crc32c_append(crc, part);
            bytes += u64::try_from(read).unwrap_or(0);
        }
        self.0.insert(name.to_owned(), (bytes, crc));
        Ok(())
    }

    /// Whether it is exactly what the manifest says.
    pub fn check(&self, path: &Path, manifest: &Manifest) -> Result<(), BackupError> {
        for entry in &manifest.files {
            let name = &entry.path;
            let Some((bytes, crc)) = self.0.get(name) else {
                return Err(BackupError::damaged(path, format!("{name} is missing")));
            };
            if *bytes != entry.bytes {
                let why = format!("{name} has {bytes} bytes instead of {}", entry.bytes);
                return Err(BackupError::damaged(path, why));
            }
            if digits(*crc) != entry.crc32c {
                return Err(BackupError::damaged(
                    path,
                    format!("{name} does not match its checksum"),
                ));
            }
        }
        let known = |name: &String| manifest.files.iter().any(|entry| entry.path == *name);
        match self.0.keys().find(|name| !known(name)) {
            Some(name) => {
                Err(BackupError::damaged(path, format!("{name} is not in its {MANIFEST_NAME}")))
            }
            None => Ok(()),
        }
    }
}

/// Reads all of a backup and holds it against its manifest.
pub fn verify(path: &Path, watcher: &mut Watcher<'_>) -> Result<Manifest, BackupError> {
    let mut found = Found::default();
    let mut progress = Progress::default();
    let manifest = read(path, &mut |name, _, content| {
        let mut watch = |part: &[u8]| {
            progress.done += u64::try_from(part.len()).unwrap_or(0);
            watcher(progress.clone())
        };
        found.take(name, content, &mut watch).map_err(BackupError::file("read", path))
    })?;
    found.check(path, &manifest)?;
    Ok(manifest)
}
