//! I2C 0 as a master, at 100 kHz (data sheet, chapter 15). It waits for every byte.

use embedded_hal::i2c::{
    Error, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation, SevenBitAddress,
};

use crate::register::Register;

const I2C: usize = 0x4002_0000;
const ADDRESS: Register = Register(I2C);
const CONTROL: Register = Register(I2C + 0x04);
const DATA: Register = Register(I2C + 0x08);
const PERIOD: Register = Register(I2C + 0x0C);
const CONFIG: Register = Register(I2C + 0x20);

const MASTER: u32 = 1 << 4;
/// 50 MHz by twice ten by 25.
const AT_100_KHZ: u32 = 24;
/// What to do: a byte; a start before it; a stop after it; acknowledge what is read.
const RUN: u32 = 1;
const START: u32 = 1 << 1;
const STOP: u32 = 1 << 2;
const ACKNOWLEDGE: u32 = 1 << 3;
/// How it went: at work; failed; nobody has the address; nobody took the byte; another master was first.
const BUSY: u32 = 1;
const FAILED: u32 = 1 << 1;
const NO_ADDRESS: u32 = 1 << 2;
const NO_DATA: u32 = 1 << 3;
const LOST: u32 = 1 << 4;

/// Why it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct I2cError(ErrorKind);

impl Error for I2cError {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

/// The master.
#[derive(Debug)]
pub struct Master(());

impl Master {
    /// Switches it on.
    pub fn new() -> Self {
        CONFIG.write(MASTER);
        PERIOD.write(AT_100_KHZ);
        Self(())
    }

    fn step(what: u32) -> Result<(), I2cError> {
        CONTROL.write(what);
        let status = loop {
            let status = CONTROL.read();
            if status & BUSY == 0 {
                break status;
            }
        };
        if status & (FAILED | LOST) == 0 {
            return Ok(());
        }
        if what & STOP == 0 && status & LOST == 0 {
            CONTROL.write(STOP);
        }
        Err(I2cError(match status {
            _ if status & LOST != 0 => ErrorKind::ArbitrationLoss,
            _ if status & NO_ADDRESS != 0 => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            _ if status & NO_DATA != 0 => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data),
            _ => ErrorKind::Other,
        }))
    }
}

impl Default for Master {
    fn default() -> Self {
        Self::new()
    }
}

impl ErrorType for Master {
    type Error = I2cError;
}

impl I2c<SevenBitAddress> for Master {
    fn transaction(
        &mut self,
        address: SevenBitAddress,
        operations: &mut [Operation<'_>],
    ) -> Result<(), I2cError> {
        let count = operations.len();
        for (at, operation) in operations.iter_mut().enumerate() {
            let is_last = at + 1 == count;
            let is_read = matches!(operation, Operation::Read(_));
            ADDRESS.write(u32::from(address) << 1 | u32::from(is_read));
            let mut start = START;
            let mut step = |is_end: bool| {
                let stop = if is_end && is_last { STOP } else { 0 };
                let more = if is_read && !is_end { ACKNOWLEDGE } else { 0 };
                Self::step(RUN | core::mem::take(&mut start) | stop | more)
            };
            match operation {
                Operation::Read(bytes) => {
                    let len = bytes.len();
                    for (at, byte) in bytes.iter_mut().enumerate() {
                        step(at + 1 == len)?;
                        [*byte, ..] = DATA.read().to_le_bytes();
                    }
                }
                Operation::Write(bytes) => {
                    for (at, byte) in bytes.iter().enumerate() {
                        DATA.write(u32::from(*byte));
                        step(at + 1 == bytes.len())?;
                    }
                }
            }
        }
        Ok(())
    }
}
