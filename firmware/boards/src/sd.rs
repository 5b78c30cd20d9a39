//! An SD card over SPI (SD Association, Physical Layer Simplified Specification 9.10, chapter 7), behind
//! `embedded_storage`'s traits as if it were a NOR flash: the store's ring on it is the same as on one.
//!
//! A card takes whole blocks of 512 bytes. One that tears the block that it writes when the power goes
//! takes what stood in it already along: frames of the store among it are then said to be lost, as damaged
//! ones are.
//!
//! Of our own, because embedded-sdmmc 0.10 lets go of the select line between a command and its answer, and
//! does not take QEMU's card, which says in its answer to CMD58 that it is idle.

use crc::{CRC_7_MMC, CRC_16_XMODEM, Crc, NoTable};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiBus;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

/// Bytes of a sector: as [`crate::layout`] has it.
const SECTOR_LEN: usize = 64 * 1024;
/// Bytes of the part of the card that is used, from its beginning.
const CAPACITY: u32 = 16 * 1024 * 1024;
const BLOCK: u32 = 512;
/// The same.
pub const BLOCK_LEN: usize = 512;
/// What an erased byte is, and one that says nothing.
const BLANK: u8 = 0xFF;

/// Commands (table 7-3), and one that follows CMD55.
const GO_IDLE: u8 = 0;
const CONDITION: u8 = 8;
const STATUS: u8 = 13;
const BLOCK_LENGTH: u8 = 16;
const READ: u8 = 17;
const WRITE: u8 = 24;
const APPLICATION: u8 = 55;
const OPERATE: u8 = 41;
const VOLTAGES: u8 = 58;
const CHECKSUMS: u8 = 59;

/// 2.7 to 3.6 V, and a pattern to be said again.
const CONDITION_3V: u32 = 0x1AA;
/// The host knows cards that count in blocks.
const KNOWS_BLOCKS: u32 = 1 << 30;
/// Of the voltages: it is one.
const COUNTS_BLOCKS: u32 = 1 << 30;

/// Of an answer: it is none; the card is idle; it does not know the command.
const NONE: u8 = 1 << 7;
const IDLE: u8 = 1;
const UNKNOWN: u8 = 1 << 2;
/// Data begin. The card took them.
const DATA: u8 = 0xFE;
const DATA_TAKEN: (u8, u8) = (0b1_1111, 0b0_0101);

/// Bytes within which a card answers.
const ANSWER_WITHIN: usize = 8;
/// How long it is waited between two looks, and how often it is looked: a second for a card that wakes,
/// 100 ms for one that reads and 500 ms for one that writes (4.6.2).
const LOOK_US: u32 = 10;
const WAKES: u32 = 100_000;
const READS: u32 = 10_000;
const WRITES: u32 = 50_000;
/// Bytes of clock, unselected, that a card wants before it is spoken to: 74 bits at least.
const WAKING_LEN: usize = 10;
/// How often a card that does not answer is called.
const CALLS: usize = 10;

/// Why it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdError {
    /// Config: no card, or one that does not answer.
    #[error("no SD card answers")]
    Card,
    /// Config: a card of less than the 16 MiB that are used.
    #[error("the SD card has less than 16 MiB")]
    Small,
    /// Config: not on the sectors' boundaries, or beyond the end.
    #[error("outside the flash, or off its boundaries")]
    Bounds(NorFlashErrorKind),
    /// Resource: the bus, or the select line.
    #[error("the SPI bus failed")]
    Bus,
    /// Resource: the card refused a command, or what came of it was garbled.
    #[error("the SD card failed to read or to write")]
    Failed,
    /// Resource: the card takes longer than it may.
    #[error("the SD card does not become ready")]
    Busy,
}

impl NorFlashError for SdError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Bounds(kind) => *kind,
            _ => NorFlashErrorKind::Other,
        }
    }
}

/// The card on its bus.
#[derive(Debug)]
struct Card<B, P, D> {
    bus: B,
    select: P,
    delay: D,
    /// What a block's number is multiplied by to be its address.
    scale: u32,
}

impl<B: SpiBus, P: OutputPin, D: DelayNs> Card<B, P, D> {
    /// Wakes the card (figure 7-2).
    fn wake(&mut self) -> Result<(), SdError> {
        self.select.set_high().map_err(|_| SdError::Bus)?;
        self.bus.write(&[BLANK; WAKING_LEN]).map_err(|_| SdError::Bus)?;
        let mut calls = 0..CALLS;
        let is_idle = |card: &mut Self| card.selected(|card| card.command(GO_IDLE, 0));
        if !calls.any(|_| is_idle(self) == Ok(IDLE)) {
            return Err(SdError::Card);
        }
        self.selected(|card| {
            if card.command(CHECKSUMS, 1)? != IDLE {
                return Err(SdError::Card);
            }
            let version = card.command(CONDITION, CONDITION_3V)?;
            let mut pattern = [0; 4];
            if version & UNKNOWN == 0 {
                card.take(&mut pattern)?;
            }
            let [.., condition] = CONDITION_3V.to_be_bytes();
            let is_second = pattern.ends_with(&[condition]);
            let knows = if is_second { KNOWS_BLOCKS } else { 0 };
            card.until(WAKES, SdError::Card, |card| {
                card.command(APPLICATION, 0)?;
                Ok(card.command(OPERATE, knows)? == 0)
            })?;
            // Whether it is idle still has just been said, and QEMU's model says so here for ever.
            card.command(VOLTAGES, 0)?;
            let mut voltages = [0; 4];
            card.take(&mut voltages)?;
            if is_second && u32::from_be_bytes(voltages) & COUNTS_BLOCKS != 0 {
                return Ok(());
            }
            card.scale = BLOCK;
            card.ask(BLOCK_LENGTH, BLOCK)
        })
    }

    /// Does something while the card is selected.
    fn selected<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, SdError>,
    ) -> Result<T, SdError> {
        self.select.set_low().map_err(|_| SdError::Bus)?;
        let done = work(self);
        self.bus.flush().map_err(|_| SdError::Bus)?;
        self.select.set_high().map_err(|_| SdError::Bus)?;
        // The card lets go of its line at the next clock.
        self.byte()?;
        done
    }

    /// Reads bytes, while nothing is said to the card.
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), SdError> {
        bytes.fill(BLANK);
        self.bus.transfer_in_place(bytes).map_err(|_| SdError::Bus)
    }

    fn byte(&mut self) -> Result<u8, SdError> {
        let mut byte = [0];
        self.take(&mut byte)?;
        let [byte] = byte;
        Ok(byte)
    }

    /// Looks until it is so, at most so often.
    fn until(
        &mut self,
        looks: u32,
        otherwise: SdError,
        mut is_so: impl FnMut(&mut Self) -> Result<bool, SdError>,
    ) -> Result<(), SdError> {
        for _ in 0..looks {
            if is_so(self)? {
                return Ok(());
            }
            self.delay.delay_us(LOOK_US);
        }
        Err(otherwise)
    }

    /// Gives a command; the first byte of the answer.
    fn command(&mut self, command: u8, argument: u32) -> Result<u8, SdError> {
        const CHECKSUM: Crc<u8, NoTable> = Crc::<u8, NoTable>::new(&CRC_7_MMC);
        if command != GO_IDLE {
            self.until(WRITES, SdError::Busy, |card| Ok(card.byte()? == BLANK))?;
        }
        let [a, b, c, d] = argument.to_be_bytes();
        let said = [command | 1 << 6, a, b, c, d];
        self.bus.write(&said).map_err(|_| SdError::Bus)?;
        self.bus.write(&[CHECKSUM.checksum(&said) << 1 | 1]).map_err(|_| SdError::Bus)?;
        for _ in 0..ANSWER_WITHIN {
            let answer = self.byte()?;
            if answer & NONE == 0 {
                return Ok(answer);
            }
        }
        Err(SdError::Failed)
    }

    /// Gives a command that has to be taken.
    fn ask(&mut self, command: u8, argument: u32) -> Result<(), SdError> {
        if self.command(command, argument)? == 0 { Ok(()) } else { Err(SdError::Failed) }
    }

    fn read(&mut self, number: u32, block: &mut [u8; BLOCK_LEN]) -> Result<(), SdError> {
        let address = number.saturating_mul(self.scale);
        self.selected(|card| {
            card.ask(READ, address)?;
            card.until(READS, SdError::Failed, |card| Ok(card.byte()? == DATA))?;
            let mut checksum = [0; 2];
            card.take(block)?;
            card.take(&mut checksum)?;
            let is_whole = u16::from_be_bytes(checksum) == checksum_of(block);
            if is_whole { Ok(()) } else { Err(SdError::Failed) }
        })
    }

    fn write(&mut self, number: u32, block: &[u8; BLOCK_LEN]) -> Result<(), SdError> {
        let address = number.saturating_mul(self.scale);
        self.selected(|card| {
            card.ask(WRITE, address)?;
            card.bus.write(&[BLANK, DATA]).map_err(|_| SdError::Bus)?;
            card.bus.write(block).map_err(|_| SdError::Bus)?;
            card.bus.write(&checksum_of(block).to_be_bytes()).map_err(|_| SdError::Bus)?;
            let (mask, taken) = DATA_TAKEN;
            if card.byte()? & mask != taken {
                return Err(SdError::Failed);
            }
            // Whether it is written is only known once the card is done with it.
            card.ask(STATUS, 0)?;
            if card.byte()? == 0 { Ok(()) } else { Err(SdError::Failed) }
        })
    }
}

fn checksum_of(block: &[u8; BLOCK_LEN]) -> u16 {
    const CHECKSUM: Crc<u16, NoTable> = Crc::<u16, NoTable>::new(&CRC_16_XMODEM);
    CHECKSUM.checksum(block)
}

/// The card, and the block that was used last.
#[derive(Debug)]
pub struct SdNor<B, P, D> {
    card: Card<B, P, D>,
    block: &'static mut [u8; BLOCK_LEN],
    /// Which one it is.
    held: Option<u32>,
}

impl<B: SpiBus, P: OutputPin, D: DelayNs> SdNor<B, P, D> {
    /// Wakes the card; `hurry` sets the bus from at most 400 kHz to the speed at which it is used. `block` is
    /// the room for one: what is moved about while the board starts has to be small.
    pub fn open(
        (bus, select, delay): (B, P, D),
        hurry: fn(&mut B),
        block: &'static mut [u8; BLOCK_LEN],
    ) -> Result<Self, SdError> {
        let mut card = Card { bus, select, delay, scale: 1 };
        card.wake()?;
        hurry(&mut card.bus);
        let mut part = Self { card, block, held: None };
        part.hold(CAPACITY - BLOCK).map_err(|_| SdError::Small)?;
        Ok(part)
    }

    /// The block with this byte, and where in it that is.
    fn hold(&mut self, offset: u32) -> Result<usize, SdError> {
        let number = offset / BLOCK;
        if self.held != Some(number) {
            self.held = None;
            self.card.read(number, self.block)?;
            self.held = Some(number);
        }
        Ok(usize::try_from(offset % BLOCK).unwrap_or(0))
    }

    /// Writes the block as this number.
    fn put(&mut self, number: u32) -> Result<(), SdError> {
        // Until it is written, nobody knows what the card has.
        self.held = None;
        self.card.write(number, self.block)?;
        self.held = Some(number);
        Ok(())
    }
}

impl<B, P, D> ErrorType for SdNor<B, P, D> {
    type Error = SdError;
}

impl<B: SpiBus, P: OutputPin, D: DelayNs> ReadNorFlash for SdNor<B, P, D> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), SdError> {
        check_read(self, offset, bytes.len()).map_err(SdError::Bounds)?;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let from = self.hold(at)?;
            let held = self.block.get(from..).unwrap_or_default();
            let len = held.len().min(rest.len());
            let (now, behind) = rest.split_at_mut(len);
            now.iter_mut().zip(held).for_each(|(byte, stored)| *byte = *stored);
            (at, rest) = (next_block(at), behind);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        usize::try_from(CAPACITY).unwrap_or(usize::MAX)
    }
}

impl<B: SpiBus, P: OutputPin, D: DelayNs> NorFlash for SdNor<B, P, D> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = SECTOR_LEN;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), SdError> {
        check_erase(self, from, to).map_err(SdError::Bounds)?;
        self.held = None;
        self.block.fill(BLANK);
        (from / BLOCK..to / BLOCK).try_for_each(|number| self.put(number))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), SdError> {
        check_write(self, offset, bytes.len()).map_err(SdError::Bounds)?;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let from = self.hold(at)?;
            let held = self.block.get_mut(from..).unwrap_or_default();
            let len = held.len().min(rest.len());
            let (now, behind) = rest.split_at(len);
            held.iter_mut().zip(now).for_each(|(stored, byte)| *stored = *byte);
            self.put(at / BLOCK)?;
            (at, rest) = (next_block(at), behind);
        }
        Ok(())
    }
}

/// Where the block after the one with this byte begins.
fn next_block(offset: u32) -> u32 {
    (offset / BLOCK + 1).saturating_mul(BLOCK)
}
