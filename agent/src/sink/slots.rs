//! A small record that is replaced again and again: two slots in turn, so that a torn write never
//! costs the older one.
//!
//! | slot | bytes | |
//! |---|---|---|
//! | magic | 4 | `MPc1` |
//! | CRC32C | 4 | over the rest |
//! | number | 8 | little endian, raised by each write; the higher one counts |
//! | length | 4 | little endian, of what follows |
//! | record | | |

use std::io;
use std::path::{Path, PathBuf};

use crate::storage::{File, SharedStorage};

const MAGIC: [u8; 4] = *b"MPc1";
/// What every version's magic begins with; the last byte is the version.
const FAMILY: [u8; 3] = *b"MPc";
const HEAD_LEN: usize = 20;
const SLOT_LEN: usize = 16 * 1024;
const SLOT_STRIDE: u64 = 16 * 1024;

/// The two slots of one file.
#[derive(Debug)]
pub struct Slots {
    storage: SharedStorage,
    path: PathBuf,
    /// None before the first write, and after a failed one: then the file is replaced as a whole.
    /// What is read at a start may be the pages of a failed sync: they are not built upon.
    file: Option<Box<dyn File>>,
    number: u64,
}

impl Slots {
    /// The longest record, in bytes.
    pub const RECORD_LEN_MAX: usize = SLOT_LEN - HEAD_LEN;

    /// Opens the file, which need not be there; with the record it holds.
    ///
    /// Errors: a newer version wrote it (`Unsupported`): taken for damage, it would be replaced.
    pub fn open(storage: SharedStorage, path: &Path) -> io::Result<(Self, Option<Vec<u8>>)> {
        let file = match storage.open(path, false) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut latest = None;
        for at in [0, SLOT_STRIDE] {
            let Some(file) = &file else { break };
            if let Some(found) = read(&**file, at).map_err(|error| with_path(path, error))?
                && latest.as_ref().is_none_or(|(number, _)| *number < found.0)
            {
                latest = Some(found);
            }
        }
        let (number, record) = latest.map_or((0, None), |(number, record)| (number, Some(record)));
        Ok((Self { storage, path: path.to_owned(), file: None, number }, record))
    }

    /// Replaces the record, durably. After an error either the old or the new one is there.
    pub fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let number = self.number + 1;
        let slot = encode(number, record)?;
        let at = if number.is_multiple_of(2) { 0 } else { SLOT_STRIDE };
        match self.file.take() {
            Some(file) => {
                file.write_at(at, &slot)?;
                file.sync()?;
                // Removed by somebody: the next start would not find it.
                let kept = if file.is_linked()? { file } else { self.replace(at, slot)? };
                self.file = Some(kept);
            }
            None => self.file = Some(self.replace(at, slot)?),
        }
        self.number = number;
        Ok(())
    }

    /// Writes a whole new file in place of what there is: nothing is known of a file whose sync
    /// failed.
    fn replace(&self, at: u64, mut slot: Vec<u8>) -> io::Result<Box<dyn File>> {
        let dir = self.path.parent().unwrap_or(Path::new(""));
        self.storage.create_dir_all(dir)?;
        let new = self.path.with_extension("new");
        match self.storage.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.storage.open(&new, true)?;
        // Both slots have their room from the beginning: a full disk stops no cursor.
        slot.resize(SLOT_LEN, 0);
        file.write_at(SLOT_STRIDE - at, &[0; SLOT_LEN])?;
        file.write_at(at, &slot)?;
        file.sync()?;
        self.storage.rename(&new, &self.path)?;
        self.storage.sync_dir(dir)?;
        Ok(file)
    }
}

fn encode(number: u64, record: &[u8]) -> io::Result<Vec<u8>> {
    if record.len() > Slots::RECORD_LEN_MAX {
        return Err(io::Error::other("the cursor is too large for its slot"));
    }
    let len = u32::try_from(record.len()).map_err(io::Error::other)?;
    let mut checked = Vec::with_capacity(HEAD_LEN + record.len());
    checked.extend_from_slice(&number.to_le_bytes());
    checked.extend_from_slice(&len.to_le_bytes());
    checked.extend_from_slice(record);
    let checksum = crc32c::crc32c(&checked).to_le_bytes();
    Ok([&MAGIC[..], &checksum, &checked].concat())
}

fn read(file: &dyn File, at: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut bytes = vec![0; SLOT_LEN];
    let len = file.read_at(at, &mut bytes)?;
    let slot = bytes.get(..len).unwrap_or_default();
    refuse_newer(slot, FAMILY, MAGIC)?;
    Ok(decode(slot))
}

/// An error if these bytes begin with a magic of the same family and a later version.
pub(crate) fn refuse_newer(bytes: &[u8], family: [u8; 3], magic: [u8; 4]) -> io::Result<()> {
    let [_, _, _, known] = magic;
    match bytes.split_first_chunk::<4>() {
        Some(([a, b, c, found], _))
            if [*a, *b, *c] == family && found.is_ascii_digit() && *found > known =>
        {
            let (found, known) = (char::from(*found), char::from(known));
            Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "format {found}, and this milepost ({}) knows {known}: run the newer milepost \
                     that wrote it",
                    env!("CARGO_PKG_VERSION")
                ),
            ))
        }
        _ => Ok(()),
    }
}

fn with_path(path: &Path, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Unsupported => {
            io::Error::new(error.kind(), format!("{} has {error}", path.display()))
        }
        _ => error,
    }
}

fn decode(slot: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (magic, rest) = slot.split_first_chunk::<4>()?;
    let (checksum, checked) = rest.split_first_chunk::<4>()?;
    let (number, rest) = checked.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let record = rest.get(..usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    let checked = checked.get(..HEAD_LEN - 8 + record.len())?;
    let whole = *magic == MAGIC && crc32c::crc32c(checked) == u32::from_le_bytes(*checksum);
    whole.then(|| (u64::from_le_bytes(*number), record.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::Disk;

    #[test]
    fn the_latest_whole_record_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/.cursor");
        let storage: SharedStorage = Arc::new(Disk);
        let (mut slots, none) = Slots::open(storage.clone(), &path).unwrap();
        assert_eq!(none, None);
        for number in 1..=5_u8 {
            slots.write(&[number; 9]).unwrap();
            let (_, found) = Slots::open(storage.clone(), &path).unwrap();
            assert_eq!(found, Some(vec![number; 9]));
        }
        // Any byte of the latest slot torn: the one before it counts, and the next write lives.
        let file = storage.open(&path, false).unwrap();
        file.write_at(SLOT_STRIDE + 22, b"x").unwrap();
        let (mut slots, found) = Slots::open(storage.clone(), &path).unwrap();
        assert_eq!(found, Some(vec![4; 9]));
        slots.write(b"six").unwrap();
        assert_eq!(Slots::open(storage.clone(), &path).unwrap().1, Some(b"six".to_vec()));
        // Both torn: no record rather than a wrong one.
        let file = storage.open(&path, false).unwrap();
        file.write_at(0, b"x").unwrap();
        file.write_at(SLOT_STRIDE, b"x").unwrap();
        assert_eq!(Slots::open(storage, &path).unwrap().1, None);
    }

    #[test]
    fn a_newer_version_is_refused_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        let storage: SharedStorage = Arc::new(Disk);
        let (mut slots, _) = Slots::open(storage.clone(), &path).unwrap();
        slots.write(b"one").unwrap();
        storage.open(&path, false).unwrap().write_at(SLOT_STRIDE, b"MPc2").unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = Slots::open(storage, &path).unwrap_err().to_string();
        assert!(error.contains("cursor has format 2, and this milepost"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_record_that_does_not_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mut slots, _) = Slots::open(Arc::new(Disk), &dir.path().join("c")).unwrap();
        slots.write(&vec![7; Slots::RECORD_LEN_MAX]).unwrap();
        slots.write(&vec![7; Slots::RECORD_LEN_MAX + 1]).unwrap_err();
    }
}
