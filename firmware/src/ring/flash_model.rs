//! A NOR flash in RAM that forgives nothing and can lose its power, for the tests of this crate.
//!
//! It panics where a real one would corrupt: a write unit programmed twice between erases, a bit
//! set from 0 to 1, an access off its alignment. A cut leaves the units under way in any state.

use core::fmt;
use std::vec;
use std::vec::Vec;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

/// A flash with the given units, in bytes.
#[derive(Clone)]
pub(crate) struct FlashModel<const READ: usize, const WRITE: usize, const ERASE: usize> {
    bytes: Vec<u8>,
    /// Per write unit: programmed since the last erase.
    programmed: Vec<bool>,
    /// How many more writes and erases go through before the power goes; never, if absent.
    fuse: Option<u32>,
    powered: bool,
    random: u64,
    /// Writes and erases so far.
    pub(crate) operations: u32,
    /// Bytes read so far.
    pub(crate) bytes_read: usize,
    /// Erases so far, per sector.
    pub(crate) erases: Vec<u32>,
}

/// The power is gone, until [`FlashModel::power_on`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PowerCut;

impl NorFlashError for PowerCut {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> fmt::Debug
    for FlashModel<READ, WRITE, ERASE>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlashModel({} bytes)", self.bytes.len())
    }
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> FlashModel<READ, WRITE, ERASE> {
    /// A flash of so many sectors, as new; `seed` decides what cuts leave behind.
    pub(crate) fn new(sectors: usize, seed: u64) -> Self {
        Self {
            bytes: vec![0xFF; sectors * ERASE],
            programmed: vec![false; sectors * ERASE / WRITE],
            fuse: None,
            powered: true,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            operations: 0,
            bytes_read: 0,
            erases: vec![0; sectors],
        }
    }

    /// Cuts the power in the write or erase after the next `operations` ones.
    pub(crate) fn cut_after(&mut self, operations: u32) {
        self.fuse = Some(operations);
    }

    /// The power is back, and stays.
    pub(crate) fn power_on(&mut self) {
        self.powered = true;
        self.fuse = None;
    }

    /// Whether the power is there.
    pub(crate) fn is_powered(&self) -> bool {
        self.powered
    }

    /// The content, to be damaged at will.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn random(&mut self) -> u64 {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn random_byte(&mut self) -> u8 {
        self.random().to_be_bytes()[0]
    }

    /// Whether this write or erase is the one that the cut hits.
    fn blows(&mut self) -> bool {
        self.operations += 1;
        match &mut self.fuse {
            Some(0) => {
                self.powered = false;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn program(&mut self, unit: usize, bytes: &[u8]) {
        assert!(!self.programmed[unit], "unit {unit} programmed twice");
        self.programmed[unit] = true;
        for (cell, byte) in self.bytes[unit * WRITE..].iter_mut().zip(bytes) {
            *cell &= byte;
        }
    }

    /// Programs a random part of the bits.
    fn tear(&mut self, unit: usize, bytes: &[u8]) {
        assert!(!self.programmed[unit], "unit {unit} programmed twice");
        for (at, byte) in bytes.iter().enumerate() {
            let reached = self.random_byte() | byte;
            self.bytes[unit * WRITE + at] &= reached;
        }
        self.programmed[unit] = self.bytes[unit * WRITE..][..WRITE].iter().any(|b| *b != 0xFF);
    }

    fn torn_write(&mut self, first: usize, bytes: &[u8]) {
        let units = bytes.len() / WRITE;
        let scattered = self.random().is_multiple_of(3);
        let until = usize::try_from(self.random()).unwrap() % (units + 1);
        for (at, part) in bytes.chunks(WRITE).enumerate() {
            if scattered {
                match self.random() % 3 {
                    0 => {}
                    1 => self.tear(first + at, part),
                    _ => self.program(first + at, part),
                }
            } else if at < until {
                self.program(first + at, part);
            } else if at == until {
                self.tear(first + at, part);
            }
        }
        // If anything happened at all, every bit on the way may be half programmed.
        let range = first..first + units;
        let touched = self.programmed[range.clone()].contains(&true);
        self.programmed[range].fill(touched);
    }

    fn torn_erase(&mut self, from: usize, to: usize) {
        let how = self.random() % 5;
        let until = from + usize::try_from(self.random()).unwrap() % (to - from + 1);
        for at in from..to {
            let random = self.random_byte();
            self.bytes[at] = match how {
                0 => self.bytes[at],
                1 => 0xFF,
                2 => self.bytes[at] | random,
                3 => random,
                _ if at < until => 0xFF,
                _ => self.bytes[at],
            };
        }
        // However blank it looks.
        self.programmed[from / WRITE..to / WRITE].fill(true);
    }
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> ErrorType
    for FlashModel<READ, WRITE, ERASE>
{
    type Error = PowerCut;
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> ReadNorFlash
    for FlashModel<READ, WRITE, ERASE>
{
    const READ_SIZE: usize = READ;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), PowerCut> {
        check_read(self, offset, bytes.len()).expect("a read on units of the flash");
        if !self.powered {
            return Err(PowerCut);
        }
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        self.bytes_read += bytes.len();
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> NorFlash
    for FlashModel<READ, WRITE, ERASE>
{
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), PowerCut> {
        check_erase(self, from, to).expect("an erase of whole sectors");
        if !self.powered {
            return Err(PowerCut);
        }
        let (from, to) = (from as usize, to as usize);
        if self.blows() {
            self.torn_erase(from, to);
            return Err(PowerCut);
        }
        self.bytes[from..to].fill(0xFF);
        self.programmed[from / WRITE..to / WRITE].fill(false);
        self.erases[from / ERASE..to / ERASE].iter_mut().for_each(|count| *count += 1);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), PowerCut> {
        check_write(self, offset, bytes.len()).expect("a write of whole units");
        if !self.powered {
            return Err(PowerCut);
        }
        let first = offset as usize / WRITE;
        if self.blows() {
            self.torn_write(first, bytes);
            return Err(PowerCut);
        }
        for (at, part) in bytes.chunks(WRITE).enumerate() {
            self.program(first + at, part);
        }
        Ok(())
    }
}
