//! What is usual of any signals: the levels from which chances begin where a catalogue says nothing.

use super::model::{OWN, SHARED};

include!("usual.in");

/// Reads a start table, or what is usual.
#[derive(Debug)]
pub struct Levels<'a> {
    table: &'a [u8],
    at: usize,
}

/// The levels of so many signals; what does not fit them is not looked at.
pub fn levels(table: &[u8], signals: usize) -> Levels<'_> {
    let fits = table.len() == (SHARED + signals * OWN).div_ceil(2);
    Levels { table: if fits { table } else { &[] }, at: 0 }
}

fn level(table: &[u8], at: usize) -> u8 {
    let pair = table.get(at / 2).copied().unwrap_or(0x77);
    if at.is_multiple_of(2) { pair & 15 } else { pair >> 4 }
}

impl Levels<'_> {
    /// The next shared one.
    pub fn shared(&mut self) -> u8 {
        let table = if self.table.is_empty() { &USUAL[..] } else { self.table };
        self.at += 1;
        level(table, self.at - 1)
    }

    /// A signal's.
    pub fn own(&self, signal: usize, at: usize) -> u8 {
        if self.table.is_empty() {
            return level(&USUAL, SHARED + at);
        }
        level(self.table, SHARED + signal * OWN + at)
    }
}
