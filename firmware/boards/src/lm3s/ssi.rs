//! SSI 0 as a bus (data sheet, chapter 14), and the line that selects the card on it (board: PD0).

use core::convert::Infallible;

use embedded_hal::digital::{self, OutputPin};
use embedded_hal::spi::{ErrorType, SpiBus};

use super::select_card;
use crate::register::Register;

const SSI: usize = 0x4000_8000;
const CONTROL: Register = Register(SSI);
const ENABLE: Register = Register(SSI + 0x04);
const DATA: Register = Register(SSI + 0x08);
const STATUS: Register = Register(SSI + 0x0C);
const PRESCALER: Register = Register(SSI + 0x10);

/// Frames of a byte, mode 0.
const BYTES: u32 = 7;
const ON: u32 = 1 << 1;
/// Of the status: the transmitter takes a frame; the receiver has one.
const TAKES: u32 = 1 << 1;
const IS_THERE: u32 = 1 << 2;
/// 50 MHz by 126: no more than the 400 kHz at which a card is woken.
const WAKING: u32 = 126;
/// 50 MHz by 4: half of what any card takes.
const AT_WORK: u32 = 4;

/// The bus. It waits for every byte.
#[derive(Debug)]
pub struct Ssi(());

impl Ssi {
    /// Switches it on, as slow as a card wants it at first.
    pub fn new() -> Self {
        Self::set_clock(WAKING);
        Self(())
    }

    /// The card is awake: as fast as it goes.
    pub fn hurry(&mut self) {
        Self::set_clock(AT_WORK);
    }

    fn set_clock(divider: u32) {
        ENABLE.write(0);
        CONTROL.write(BYTES);
        PRESCALER.write(divider);
        ENABLE.write(ON);
    }
}

impl Default for Ssi {
    fn default() -> Self {
        Self::new()
    }
}

fn exchange(byte: u8) -> u8 {
    while STATUS.read() & TAKES == 0 {}
    DATA.write(u32::from(byte));
    while STATUS.read() & IS_THERE == 0 {}
    let [byte, ..] = DATA.read().to_le_bytes();
    byte
}

impl ErrorType for Ssi {
    type Error = Infallible;
}

impl SpiBus for Ssi {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill_with(|| exchange(0));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        for byte in bytes {
            exchange(*byte);
        }
        Ok(())
    }

    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Infallible> {
        let frames = read.len().max(write.len());
        let mut received = read.iter_mut();
        for byte in write.iter().copied().chain(core::iter::repeat(0)).take(frames) {
            let byte = exchange(byte);
            if let Some(slot) = received.next() {
                *slot = byte;
            }
        }
        Ok(())
    }

    fn transfer_in_place(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = exchange(*byte);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The line that selects the card.
#[derive(Debug)]
pub struct CardSelect;

impl digital::ErrorType for CardSelect {
    type Error = Infallible;
}

impl OutputPin for CardSelect {
    fn set_low(&mut self) -> Result<(), Infallible> {
        select_card(true);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        select_card(false);
        Ok(())
    }
}
