//! A NOR flash in RAM that forgives nothing and can lose its power, for tests and proofs.
//!
//! It panics where a real one would corrupt: a write unit programmed twice between erases, a bit
//! set from 0 to 1, an access off its alignment. A cut leaves the units under way in any state.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "no part of a device: it stops at the first misuse"
)]

use core::fmt;
use std::vec;
use std::vec::Vec;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

/// A flash with the given units, in bytes.
#[derive(Clone)]
pub struct FlashModel<const READ: usize, const WRITE: usize, const ERASE: usize> {
    bytes: Vec<u8>,
    /// Per write unit: programmed since the last erase.
    programmed: Vec<bool>,
    /// When the power goes; never, if absent.
    fuse: Option<Fuse>,
    powered: bool,
    /// Where the power would go, a write or erase fails instead.
    failing: bool,
    random: u64,
    /// Writes and erases so far.
    pub operations: u32,
    /// Bytes read so far.
    pub bytes_read: usize,
    /// Erases so far, per sector.
    pub erases: Vec<u32>,
}

/// What a cut leaves of the write unit that was being programmed, or of the sector that was being
/// erased. The numbers decide which of many ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// As it was before.
    Untouched,
    /// As it was to be; whoever asked for it did not hear of it.
    Complete,
    /// Part of its bits are as they were to be, or part of a sector's.
    Torn(u64),
    /// Anything.
    Garbage(u64),
    /// The units of the whole write were programmed in no order, each as far as it came. The same
    /// as torn for a sector.
    Scattered(u64),
}

#[derive(Clone, Copy, Debug)]
enum Fuse {
    /// So many more writes and erases go through.
    Operations(u32),
    /// So many more write units or sectors go through.
    Steps(u32, Left),
}

/// Where in a write or an erase the power goes.
enum Hit {
    /// For the model to draw.
    Somewhere,
    /// At this unit or sector of it.
    At(usize, Left),
}

/// The power is gone, until [`FlashModel::power_on`]; or it stayed, and only this failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PowerCut;

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
    pub fn new(sectors: usize, seed: u64) -> Self {
        Self {
            bytes: vec![0xFF; sectors * ERASE],
            programmed: vec![false; sectors * ERASE / WRITE],
            fuse: None,
            powered: true,
            failing: false,
            random: scrambled(seed),
            operations: 0,
            bytes_read: 0,
            erases: vec![0; sectors],
        }
    }

    /// Cuts the power in the write or erase after the next `operations` ones.
    pub fn cut_after(&mut self, operations: u32) {
        self.fuse = Some(Fuse::Operations(operations));
    }

    /// Cuts the power at the write unit or sector after the next `steps` ones.
    pub fn cut_at(&mut self, steps: u32, left: Left) {
        self.fuse = Some(Fuse::Steps(steps, left));
    }

    /// As [`FlashModel::cut_at`], but the power stays: the write or erase says that it failed.
    pub fn fail_at(&mut self, steps: u32, left: Left) {
        self.cut_at(steps, left);
        self.failing = true;
    }

    /// The power is back, and stays.
    pub fn power_on(&mut self) {
        self.powered = true;
        self.failing = false;
        self.fuse = None;
    }

    /// Whether the power is there.
    pub fn is_powered(&self) -> bool {
        self.powered
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The content, to be damaged at will.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
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

    /// Whether this write or erase of so many steps is the one that the cut hits, and where.
    fn blows(&mut self, steps: usize) -> Option<Hit> {
        self.operations += 1;
        let hit = match &mut self.fuse {
            None => return None,
            Some(Fuse::Operations(0)) => Hit::Somewhere,
            Some(Fuse::Operations(more)) => {
                *more -= 1;
                return None;
            }
            Some(Fuse::Steps(more, left)) => {
                let steps = u32::try_from(steps).unwrap();
                if *more >= steps {
                    *more -= steps;
                    return None;
                }
                Hit::At(*more as usize, *left)
            }
        };
        self.powered = core::mem::take(&mut self.failing);
        self.fuse = None;
        Some(hit)
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

    fn cut_write(&mut self, first: usize, bytes: &[u8], step: usize, left: Left) {
        let unit = first + step;
        let done = step * WRITE;
        let whole = if let Left::Scattered(_) = left { 0 } else { step };
        for (at, part) in bytes.chunks(WRITE).take(whole).enumerate() {
            self.program(first + at, part);
        }
        match left {
            Left::Untouched => {}
            Left::Complete => self.program(unit, &bytes[done..][..WRITE]),
            Left::Torn(seed) => {
                self.random = scrambled(seed);
                self.tear(unit, &bytes[done..][..WRITE]);
            }
            Left::Garbage(seed) => {
                self.random = scrambled(seed);
                assert!(!self.programmed[unit], "unit {unit} programmed twice");
                for at in 0..WRITE {
                    self.bytes[unit * WRITE + at] = self.random_byte();
                }
                self.programmed[unit] = self.bytes[unit * WRITE..][..WRITE] != [0xFF; WRITE];
            }
            Left::Scattered(seed) => {
                self.random = scrambled(seed);
                self.scatter(first, bytes);
            }
        }
        self.touched(first, bytes);
    }

    fn torn_write(&mut self, first: usize, bytes: &[u8]) {
        let units = bytes.len() / WRITE;
        let scattered = self.random().is_multiple_of(3);
        let until = usize::try_from(self.random()).unwrap() % (units + 1);
        if scattered {
            self.scatter(first, bytes);
        } else {
            for (at, part) in bytes.chunks(WRITE).enumerate().take(until + 1) {
                if at < until {
                    self.program(first + at, part);
                } else {
                    self.tear(first + at, part);
                }
            }
        }
        self.touched(first, bytes);
    }

    fn scatter(&mut self, first: usize, bytes: &[u8]) {
        for (at, part) in bytes.chunks(WRITE).enumerate() {
            match self.random() % 3 {
                0 => {}
                1 => self.tear(first + at, part),
                _ => self.program(first + at, part),
            }
        }
    }

    /// If anything happened at all, every bit on the way may be half programmed.
    fn touched(&mut self, first: usize, bytes: &[u8]) {
        let range = first..first + bytes.len() / WRITE;
        let touched = self.programmed[range.clone()].contains(&true);
        self.programmed[range].fill(touched);
    }

    fn erase_whole(&mut self, from: usize, to: usize) {
        self.bytes[from..to].fill(0xFF);
        self.programmed[from / WRITE..to / WRITE].fill(false);
        self.erases[from / ERASE..to / ERASE].iter_mut().for_each(|count| *count += 1);
    }

    fn cut_erase(&mut self, from: usize, to: usize, left: Left) {
        match left {
            Left::Untouched => {}
            Left::Complete => self.half_erase(from, to, 1),
            Left::Torn(seed) | Left::Scattered(seed) => {
                self.random = scrambled(seed);
                let how = if seed.is_multiple_of(2) { 2 } else { 4 };
                self.half_erase(from, to, how);
            }
            Left::Garbage(seed) => {
                self.random = scrambled(seed);
                self.half_erase(from, to, 3);
            }
        }
    }

    fn torn_erase(&mut self, from: usize, to: usize) {
        let how = self.random() % 5;
        self.half_erase(from, to, how);
    }

    fn half_erase(&mut self, from: usize, to: usize, how: u64) {
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

/// A state of the generator that has bits everywhere, whatever the seed.
fn scrambled(seed: u64) -> u64 {
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
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
        let sectors = (to - from) / ERASE;
        if let Some(hit) = self.blows(sectors) {
            match hit {
                Hit::At(step, left) => {
                    let under_way = from + step * ERASE;
                    self.erase_whole(from, under_way);
                    self.cut_erase(under_way, under_way + ERASE, left);
                }
                Hit::Somewhere => self.torn_erase(from, to),
            }
            return Err(PowerCut);
        }
        self.erase_whole(from, to);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), PowerCut> {
        check_write(self, offset, bytes.len()).expect("a write of whole units");
        if !self.powered {
            return Err(PowerCut);
        }
        let first = offset as usize / WRITE;
        if let Some(hit) = self.blows(bytes.len() / WRITE) {
            match hit {
                Hit::At(step, left) => self.cut_write(first, bytes, step, left),
                Hit::Somewhere => self.torn_write(first, bytes),
            }
            return Err(PowerCut);
        }
        for (at, part) in bytes.chunks(WRITE).enumerate() {
            self.program(first + at, part);
        }
        Ok(())
    }
}
