//! One file of a lane's log: its header, its name, how it comes into being.

use std::io;
use std::path::{Path, PathBuf};

use protocol::Lane;

use super::cursor::{Epoch, Identity, Point, Position};
use super::fields::{Fields, put_counts};
use super::flaws::first_difference;
use storage::{File, SharedStorage, Storage};

const MAGIC: [u8; 8] = *b"MPJSEG\r\n";
/// The format this version writes, and the only one it reads.
pub(super) const FORMAT_VERSION: u16 = 1;
/// More than there will ever be: a greater number is damage.
const FORMAT_VERSIONS_MAX: u16 = 255;
/// The header stands twice, each copy in a sector of its own.
const COPY_LEN: usize = 512;
/// What the copies take; records follow.
pub(super) const HEADER_LEN: u64 = 2 * COPY_LEN as u64;
/// What a copy is made of, without its checksum.
const FIELDS_LEN: usize = 64;
/// The name of a file that is not yet a segment.
const UNFINISHED: &str = "new";

/// What a segment says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) identity: Identity,
    pub(super) lane: Lane,
    /// Where its first record stands, and the totals there.
    pub(super) base: Point,
}

/// What the first bytes of a file turn out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeaderRead {
    Valid(Header),
    /// Written by another version of the agent.
    Version(u16),
    /// Neither copy is whole.
    Damaged,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 * COPY_LEN);
        for copy in 1..=2 {
            let start = bytes.len();
            bytes.extend_from_slice(&MAGIC);
            bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
            bytes.extend_from_slice(&[self.lane as u8, 0]);
            bytes.extend_from_slice(&self.identity.epoch.number.to_le_bytes());
            bytes.extend_from_slice(&self.identity.epoch.nonce.to_le_bytes());
            bytes.extend_from_slice(&self.identity.journal);
            bytes.extend_from_slice(&self.base.at.0.to_le_bytes());
            put_counts(&mut bytes, self.base.totals);
            let checksum = crc32c::crc32c(bytes.get(start..).unwrap_or_default());
            bytes.extend_from_slice(&checksum.to_le_bytes());
            bytes.resize(copy * COPY_LEN, 0);
        }
        bytes
    }

    fn decode(copy: &[u8]) -> Option<HeaderRead> {
        let (said, rest) = copy.split_at_checked(FIELDS_LEN)?;
        if Fields(rest).u32()? != crc32c::crc32c(said) {
            return None;
        }
        let mut fields = Fields(said);
        if fields.array()? != MAGIC {
            return None;
        }
        let version = fields.u16()?;
        if version != FORMAT_VERSION {
            return Some(HeaderRead::Version(version));
        }
        let [lane, _] = fields.array()?;
        let lane = Lane::from_index(lane)?;
        let epoch = Epoch { number: fields.u32()?, nonce: fields.u64()? };
        let identity = Identity { journal: fields.array()?, epoch };
        let base = Point { at: Position(fields.u64()?), totals: fields.counts()? };
        Some(HeaderRead::Valid(Self { identity, lane, base }))
    }

    /// Reads the header of the segment at `base` of `lane`. One that belongs elsewhere counts as
    /// damaged.
    pub(super) fn read(file: &dyn File, lane: Lane, base: Position) -> io::Result<HeaderRead> {
        let mut bytes = [0; 2 * COPY_LEN];
        let len = file.read_at(0, &mut bytes)?;
        let copies = bytes.get(..len).unwrap_or_default().chunks_exact(COPY_LEN);
        let read = copies.filter_map(Self::decode).find(|read| match read {
            HeaderRead::Valid(header) => header.lane == lane && header.base.at == base,
            HeaderRead::Version(_) | HeaderRead::Damaged => true,
        });
        let start = bytes.get(..len).unwrap_or_default();
        Ok(read.or_else(|| newer(start)).unwrap_or(HeaderRead::Damaged))
    }

    /// The first byte of a header that is not as it was written, if one is not.
    pub(super) fn flaw(file: &dyn File, lane: Lane, base: Position) -> io::Result<Option<u64>> {
        let HeaderRead::Valid(header) = Self::read(file, lane, base)? else { return Ok(Some(0)) };
        let mut bytes = [0; 2 * COPY_LEN];
        let len = file.read_at(0, &mut bytes)?;
        let found = bytes.get(..len).unwrap_or_default();
        let at = first_difference(found, &header.encode());
        Ok(at.and_then(|at| u64::try_from(at).ok()))
    }
}

/// A header that does not read as ours, of a version that may have another shape: the magic and
/// what follows it never change. Taken for damage, its segment would be cut off.
fn newer(start: &[u8]) -> Option<HeaderRead> {
    let mut fields = Fields(start);
    let is_ours = fields.array()? == MAGIC;
    let version = fields.u16()?;
    let is_version = version > FORMAT_VERSION && version <= FORMAT_VERSIONS_MAX;
    (is_ours && is_version).then_some(HeaderRead::Version(version))
}

/// A segment as the list of its lane knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    /// Where its first record stands, and the totals there.
    pub(super) base: Point,
    /// Length of the file, in bytes, as far as it is durable.
    pub(super) bytes: u64,
}

/// The directory of a lane.
pub(super) fn lane_dir(journal: &Path, lane: Lane) -> PathBuf {
    journal.join(lane.name())
}

/// The file of the segment at `base`.
pub(super) fn path_of(lane_dir: &Path, base: Position) -> PathBuf {
    lane_dir.join(format!("{:020}.seg", base.0))
}

/// Where in the file the record at `at` stands.
pub(super) fn offset_of(base: Position, at: Position) -> u64 {
    HEADER_LEN.saturating_add(at.since(base))
}

/// The bases of the segments in a lane's directory, in order. Files with other names are nobody's.
pub(super) fn list(storage: &dyn Storage, lane_dir: &Path) -> io::Result<Vec<Position>> {
    let mut bases: Vec<Position> = storage
        .list(lane_dir)?
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .filter_map(|path| path.file_stem()?.to_str())
        .filter(|stem| stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|stem| stem.parse().ok().map(Position))
        .collect();
    bases.sort_unstable();
    Ok(bases)
}

/// Removes what an earlier life began and did not finish.
pub(super) fn remove_unfinished(storage: &dyn Storage, dir: &Path) -> io::Result<()> {
    for path in storage.list(dir)? {
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            storage.remove(&path)?;
        }
    }
    Ok(())
}

/// A file that is written whole before it gets its name: whoever finds the name finds all of it.
#[derive(Debug)]
pub(super) struct Unfinished<'a> {
    storage: &'a SharedStorage,
    dir: &'a Path,
    path: PathBuf,
    provisional: PathBuf,
    file: Box<dyn File>,
}

impl<'a> Unfinished<'a> {
    /// Begins a file that will be `path`, in `dir`.
    pub(super) fn begin(
        storage: &'a SharedStorage,
        dir: &'a Path,
        path: PathBuf,
    ) -> io::Result<Self> {
        let provisional = path.with_extension(UNFINISHED);
        // What a failed attempt left is never written to again.
        remove_if_there(&**storage, &provisional)?;
        let file = storage.open(&provisional, true)?;
        Ok(Self { storage, dir, path, provisional, file })
    }

    /// Begins a segment, with its header.
    pub(super) fn segment(
        storage: &'a SharedStorage,
        dir: &'a Path,
        header: &Header,
    ) -> io::Result<Self> {
        let begun = Self::begin(storage, dir, path_of(dir, header.base.at))?;
        match begun.file.write_at(0, &header.encode()) {
            Ok(()) => Ok(begun),
            Err(error) => Err(begun.give_up(error)),
        }
    }

    /// Writes bytes that nobody relies on yet.
    pub(super) fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(at, bytes)
    }

    /// Makes it durable and gives it its name, replacing a file of that name.
    pub(super) fn finish(self) -> io::Result<Box<dyn File>> {
        let named = self
            .file
            .sync()
            .and_then(|()| self.storage.rename(&self.provisional, &self.path))
            .and_then(|()| self.storage.sync_dir(self.dir));
        match named {
            Ok(()) => Ok(self.file),
            Err(error) => Err(self.give_up(error)),
        }
    }

    /// Takes away what was begun, as far as the storage lets us: the next attempt begins anew.
    pub(super) fn give_up(self, error: io::Error) -> io::Error {
        if let Err(again) = remove_if_there(&**self.storage, &self.provisional) {
            tracing::debug!(path = %self.provisional.display(), %again, "left behind");
        }
        error
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove_if_there(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    match storage.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
