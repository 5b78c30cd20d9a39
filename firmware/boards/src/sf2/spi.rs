//! The SPI master with the flash on its first select line (UG0331, chapter 12).

use core::convert::Infallible;

use embedded_hal::spi::{ErrorType, Operation, SpiDevice};

use crate::register::Register;

const SPI0: usize = 0x4000_1000;
const CONTROL: Register = Register(SPI0);
const FRAME_SIZE: Register = Register(SPI0 + 0x04);
const STATUS: Register = Register(SPI0 + 0x08);
const RECEIVED: Register = Register(SPI0 + 0x10);
const TRANSMIT: Register = Register(SPI0 + 0x14);
const CLOCK_RATE: Register = Register(SPI0 + 0x18);
const SELECT: Register = Register(SPI0 + 0x1C);

const ENABLE: u32 = 1;
const MASTER: u32 = 1 << 1;
/// How many frames a transaction has, from here on.
const COUNT_SHIFT: u32 = 8;
const COUNT_MAX: usize = 0xffff;
/// The select line stays low over all frames of a transaction.
const KEEP_SELECTED: u32 = 1 << 26;
/// The clock is divided by twice one more than the rate.
const CLOCK_DIVIDES: u32 = 1 << 28;
/// FIFOs of 32 frames of a byte.
const BIG_FIFO: u32 = 1 << 29;
const RECEIVE_EMPTY: u32 = 1 << 6;
const TRANSMIT_FULL: u32 = 1 << 8;

/// The master, and what is on its first select line. It waits for every byte.
#[derive(Debug)]
pub struct Spi(());

impl Spi {
    /// Switches it on: frames of a byte, mode 0, 71 MHz / 4.
    pub fn new() -> Self {
        CONTROL.write(MASTER);
        FRAME_SIZE.write(8);
        CLOCK_RATE.write(1);
        SELECT.write(1);
        Self(())
    }

    fn begin(frames: usize) {
        let count = u32::try_from(frames.min(COUNT_MAX)).unwrap_or(0) << COUNT_SHIFT;
        let mode = MASTER | KEEP_SELECTED | CLOCK_DIVIDES | BIG_FIFO | count;
        // The count is taken over while the master is switched off.
        CONTROL.write(mode);
        CONTROL.write(mode | ENABLE);
    }

    fn exchange(byte: u8) -> u8 {
        while STATUS.read() & TRANSMIT_FULL != 0 {}
        TRANSMIT.write(u32::from(byte));
        while STATUS.read() & RECEIVE_EMPTY != 0 {}
        let [byte, ..] = RECEIVED.read().to_le_bytes();
        byte
    }
}

impl Default for Spi {
    fn default() -> Self {
        Self::new()
    }
}

impl ErrorType for Spi {
    type Error = Infallible;
}

impl SpiDevice for Spi {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        let len = |operation: &Operation<'_, u8>| match operation {
            Operation::Read(bytes) | Operation::TransferInPlace(bytes) => bytes.len(),
            Operation::Write(bytes) => bytes.len(),
            Operation::Transfer(read, write) => read.len().max(write.len()),
            Operation::DelayNs(_) => 0,
        };
        // More than the master counts would be cut in two: no flash command here is so long.
        Self::begin(operations.iter().map(len).sum());
        for operation in operations {
            match operation {
                Operation::Read(bytes) => bytes.fill_with(|| Self::exchange(0)),
                Operation::Write(bytes) => bytes.iter().for_each(|byte| {
                    Self::exchange(*byte);
                }),
                Operation::TransferInPlace(bytes) => {
                    bytes.iter_mut().for_each(|byte| *byte = Self::exchange(*byte));
                }
                Operation::Transfer(read, write) => {
                    let sent = write.iter().copied().chain(core::iter::repeat(0));
                    let frames = read.len().max(write.len());
                    let mut received = read.iter_mut();
                    for byte in sent.take(frames) {
                        let byte = Self::exchange(byte);
                        if let Some(slot) = received.next() {
                            *slot = byte;
                        }
                    }
                }
                // The clock stands still between frames as it is: nothing here asks for more.
                Operation::DelayNs(_) => {}
            }
        }
        Ok(())
    }
}
