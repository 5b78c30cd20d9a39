//! A NOR flash: real erase to FF and AND-only program, in RAM or written through to a file.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use super::state::PositionFile;

/// Bytes of a sector: what a serial NOR flash erases at once.
pub const SECTOR_LEN: u32 = 4096;

/// The flash of one vehicle.
#[derive(Debug)]
pub struct Nor {
    bytes: Vec<u8>,
    backing: Option<Backing>,
}

/// The file that a flash is written through to, and the position that must never be behind it: what
/// is in flash was given to the device, so it must not be given again after a restart.
#[derive(Debug)]
pub struct Backing {
    /// The flash's bytes.
    pub file: File,
    /// Where the position is kept.
    pub position_file: PositionFile,
    /// The position now.
    pub position: Rc<Cell<u64>>,
}

/// Why the flash refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NorError {
    /// Outside the flash.
    #[error("outside the flash")]
    Bounds,
    /// Not on a boundary of sectors, or of write units.
    #[error("not on a boundary")]
    Alignment,
    /// The file behind it.
    #[error("{0}")]
    File(io::ErrorKind),
}

impl From<io::Error> for NorError {
    fn from(error: io::Error) -> Self {
        Self::File(error.kind())
    }
}

impl NorFlashError for NorError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Bounds => NorFlashErrorKind::OutOfBounds,
            Self::Alignment => NorFlashErrorKind::NotAligned,
            Self::File(_) => NorFlashErrorKind::Other,
        }
    }
}

impl Nor {
    /// An erased flash of this many sectors, in RAM.
    pub fn in_ram(sectors: u32) -> Self {
        Self { bytes: vec![0xff; size(sectors)], backing: None }
    }

    /// A flash of this many sectors in a file; what the file holds already is in it.
    pub fn in_file(sectors: u32, backing: Backing) -> io::Result<Self> {
        let mut bytes = vec![0xff; size(sectors)];
        let wanted = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let len = backing.file.metadata()?.len();
        if len == wanted {
            backing.file.read_exact_at(&mut bytes, 0)?;
        } else if len < wanted && is_erased(&backing.file, len)? {
            // New, or killed while it was new.
            backing.file.write_all_at(&bytes, 0)?;
        } else {
            let text =
                format!("a flash of {len} bytes, wanted are {wanted}: keep --flash-kib as it was");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Self { bytes, backing: Some(backing) })
    }

    /// Notes the position now, as [`Backing`] has it.
    pub fn note_position(&mut self) -> Result<(), NorError> {
        if let Some(Backing { position_file, position, .. }) = &mut self.backing {
            position_file.note(position.get())?;
        }
        Ok(())
    }

    fn range(&mut self, offset: u32, len: usize) -> Result<&mut [u8], NorError> {
        let start = usize::try_from(offset).map_err(|_| NorError::Bounds)?;
        let end = start.checked_add(len).ok_or(NorError::Bounds)?;
        self.bytes.get_mut(start..end).ok_or(NorError::Bounds)
    }

    /// Writes a range of RAM through.
    fn write_through(&mut self, offset: u32, len: usize) -> Result<(), NorError> {
        self.note_position()?;
        let start = usize::try_from(offset).map_err(|_| NorError::Bounds)?;
        if let (Some(backing), Some(bytes)) = (&self.backing, self.bytes.get(start..start + len)) {
            backing.file.write_all_at(bytes, u64::from(offset))?;
        }
        Ok(())
    }
}

fn is_erased(file: &File, len: u64) -> io::Result<bool> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.iter().all(|byte| *byte == 0xff))
}

fn size(sectors: u32) -> usize {
    usize::try_from(sectors.saturating_mul(SECTOR_LEN)).unwrap_or_default()
}

impl ErrorType for Nor {
    type Error = NorError;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorError> {
        let from = self.range(offset, bytes.len())?;
        bytes.copy_from_slice(from);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Nor {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorError> {
        if !from.is_multiple_of(SECTOR_LEN) || !to.is_multiple_of(SECTOR_LEN) {
            return Err(NorError::Alignment);
        }
        let len = to.checked_sub(from).ok_or(NorError::Bounds)?;
        let len = usize::try_from(len).map_err(|_| NorError::Bounds)?;
        self.range(from, len)?.fill(0xff);
        self.write_through(from, len)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorError> {
        let aligned = usize::try_from(offset).is_ok_and(|at| at.is_multiple_of(Self::WRITE_SIZE));
        if !aligned || !bytes.len().is_multiple_of(Self::WRITE_SIZE) {
            return Err(NorError::Alignment);
        }
        for (cell, byte) in self.range(offset, bytes.len())?.iter_mut().zip(bytes) {
            *cell &= byte;
        }
        self.write_through(offset, bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::StateDir;
    use super::*;

    #[test]
    fn it_programs_and_erases_like_nor() {
        let mut nor = Nor::in_ram(2);
        let mut read = [0; 4];
        nor.write(4, &[0xf0, 0x0f, 0xff, 0]).unwrap();
        nor.write(4, &[0x3c, 0xff, 0xff, 0xff]).unwrap();
        nor.read(4, &mut read).unwrap();
        assert_eq!(read, [0x30, 0x0f, 0xff, 0]);
        nor.erase(0, 4096).unwrap();
        nor.read(4, &mut read).unwrap();
        assert_eq!(read, [0xff; 4]);
        assert_eq!(nor.write(1, &[0; 4]), Err(NorError::Alignment));
        assert_eq!(nor.write(0, &[0; 3]), Err(NorError::Alignment));
        assert_eq!(nor.write(8192, &[0; 4]), Err(NorError::Bounds));
        assert_eq!(nor.erase(0, 4097), Err(NorError::Alignment));
        assert_eq!(nor.erase(4096, 0), Err(NorError::Bounds));
        assert_eq!(nor.read(8190, &mut read), Err(NorError::Bounds));
    }

    #[test]
    fn what_was_written_to_a_file_is_there_again_and_the_position_is_never_behind() {
        let folder = tempfile::tempdir().unwrap();
        let device = "a".parse().unwrap();
        let open = |sectors| {
            let state = StateDir::open(folder.path()).unwrap();
            let (position_file, position) = state.position_file(&device).unwrap();
            let position = Rc::new(Cell::new(position));
            let file = state.flash_file(&device).unwrap();
            let backing = Backing { file, position_file, position: position.clone() };
            (position, Nor::in_file(sectors, backing))
        };
        let (position, nor) = open(2);
        let mut nor = nor.unwrap();
        position.set(5);
        nor.write(4096, &[1, 2, 3, 4]).unwrap();
        position.set(9);
        drop(nor);
        let (position, nor) = open(2);
        assert_eq!(position.get(), 5, "noted with the write, not later");
        let mut read = [0; 4];
        nor.unwrap().read(4096, &mut read).unwrap();
        assert_eq!(read, [1, 2, 3, 4]);
        assert!(open(3).1.is_err());
    }
}
