//! SPI NOR flash of the Cypress S25FL-S family (S25FL128S datasheet 001-98283: command set in
//! chapter 9, times in chapter 11), behind `embedded_storage`'s traits.

use embedded_hal::spi::{Operation, SpiDevice};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

/// Bytes of a sector: of the uniform ones.
const SECTOR_LEN: usize = 64 * 1024;
/// Bytes that one program command takes, and does not go beyond the end of.
const PAGE_LEN: u32 = 256;
/// Bytes of a 128 Mbit part.
const CAPACITY: usize = 16 * 1024 * 1024;
/// Manufacturer, type and capacity, as the part says them.
const JEDEC_ID: [u8; 3] = [0x01, 0x20, 0x18];

const WRITE_ENABLE: u8 = 0x06;
const READ_STATUS: u8 = 0x05;
const CLEAR_STATUS: u8 = 0x30;
const READ: u8 = 0x03;
const PROGRAM_PAGE: u8 = 0x02;
const ERASE_SECTOR: u8 = 0xD8;
const READ_ID: u8 = 0x9F;

/// Write in progress.
const STATUS_BUSY: u8 = 1;
/// The erase, or the program, failed.
const STATUS_FAILED: u8 = 0b110_0000;

/// Why it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NorError {
    /// Config: another part, or none.
    #[error("no S25FL128S answers")]
    Part,
    /// Config: not on the part's boundaries, or beyond its end.
    #[error("outside the flash, or off its boundaries")]
    Bounds(NorFlashErrorKind),
    /// Resource: the bus.
    #[error("the SPI bus failed")]
    Bus,
    /// Resource: the part says that a program or an erase failed.
    #[error("the part refused a program or an erase")]
    Failed,
}

impl NorFlashError for NorError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Bounds(kind) => *kind,
            _ => NorFlashErrorKind::Other,
        }
    }
}

/// The part, on its bus.
#[derive(Debug)]
pub struct S25fl<S> {
    spi: S,
}

impl<S: SpiDevice> S25fl<S> {
    /// Asks the part who it is.
    pub fn open(spi: S) -> Result<Self, NorError> {
        let mut part = Self { spi };
        let mut id = [0; 3];
        part.transfer(&mut [Operation::Write(&[READ_ID]), Operation::Read(&mut id)])?;
        if id == JEDEC_ID { Ok(part) } else { Err(NorError::Part) }
    }

    fn transfer(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), NorError> {
        self.spi.transaction(operations).map_err(|_| NorError::Bus)
    }

    fn command(&mut self, command: &[u8]) -> Result<(), NorError> {
        self.transfer(&mut [Operation::Write(command)])
    }

    /// Waits until the part is done; at most as long as its erase takes.
    fn finish(&mut self) -> Result<(), NorError> {
        loop {
            let mut status = [0];
            self.transfer(&mut [Operation::Write(&[READ_STATUS]), Operation::Read(&mut status)])?;
            let [status] = status;
            if status & STATUS_FAILED != 0 {
                self.command(&[CLEAR_STATUS])?;
                return Err(NorError::Failed);
            }
            if status & STATUS_BUSY == 0 {
                return Ok(());
            }
        }
    }
}

/// A command and an address of three bytes.
fn addressed(command: u8, address: u32) -> [u8; 4] {
    let [_, high, middle, low] = address.to_be_bytes();
    [command, high, middle, low]
}

impl<S> ErrorType for S25fl<S> {
    type Error = NorError;
}

impl<S: SpiDevice> ReadNorFlash for S25fl<S> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorError> {
        check_read(self, offset, bytes.len()).map_err(NorError::Bounds)?;
        let command = addressed(READ, offset);
        self.transfer(&mut [Operation::Write(&command), Operation::Read(bytes)])
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl<S: SpiDevice> NorFlash for S25fl<S> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = SECTOR_LEN;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorError> {
        check_erase(self, from, to).map_err(NorError::Bounds)?;
        for sector in (from..to).step_by(SECTOR_LEN) {
            self.command(&[WRITE_ENABLE])?;
            self.command(&addressed(ERASE_SECTOR, sector))?;
            self.finish()?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorError> {
        check_write(self, offset, bytes.len()).map_err(NorError::Bounds)?;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let room = PAGE_LEN - at % PAGE_LEN;
            let len = rest.len().min(usize::try_from(room).unwrap_or(1));
            let (page, behind) = rest.split_at(len);
            self.command(&[WRITE_ENABLE])?;
            let command = addressed(PROGRAM_PAGE, at);
            self.transfer(&mut [Operation::Write(&command), Operation::Write(page)])?;
            self.finish()?;
            (at, rest) = (at.saturating_add(room), behind);
        }
        Ok(())
    }
}
