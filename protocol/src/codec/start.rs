//! Where chances begin: at the levels of a start table, or at what is usual of any signals.

use super::chance::Chance;
use super::odds::{Row, own, shared};

include!("usual.in");

/// The table that stands where a catalogue has none.
#[cfg(test)]
pub fn usual() -> &'static [u8] {
    &USUAL
}

/// Bytes of a table for so many signals.
pub const fn table_len(signals: usize) -> usize {
    (shared::COUNT + signals * own::COUNT).div_ceil(2)
}

/// A start table.
#[derive(Clone, Copy, Debug)]
pub struct Levels<'a> {
    table: &'a [u8],
    /// Levels from one signal's to the next one's: 0 if all have the same.
    stride: usize,
}

impl<'a> Levels<'a> {
    /// The levels of so many signals; if the table is not of so many, what is usual.
    pub fn new(table: &'a [u8], signals: u8) -> Self {
        if table.len() == table_len(usize::from(signals)) {
            Self { table, stride: own::COUNT }
        } else {
            Self { table: &USUAL, stride: 0 }
        }
    }

    /// A level of a row, 0 to 15.
    #[inline]
    pub fn level(self, row: Row, at: usize) -> u8 {
        let at = self.begin(row) + at;
        let pair = self.table.get(at / 2).copied().unwrap_or(0x77);
        if at.is_multiple_of(2) { pair & 15 } else { pair >> 4 }
    }

    /// A row of chances begins, two by two.
    pub fn start(self, row: Row, chances: &mut [Chance]) {
        let begin = self.begin(row);
        let mut pairs = self.table.get(begin / 2..).unwrap_or_default().iter();
        let (half, whole) = chances.split_at_mut_checked(begin % 2).unwrap_or_default();
        for chance in half {
            *chance = Chance::of_level(pairs.next().map_or(7, |pair| pair >> 4));
        }
        for (two, pair) in whole.chunks_mut(2).zip(pairs) {
            for (chance, level) in two.iter_mut().zip([pair & 15, pair >> 4]) {
                *chance = Chance::of_level(level);
            }
        }
    }

    /// Where a row's levels begin.
    fn begin(self, row: Row) -> usize {
        if row == Row::SHARED { 0 } else { shared::COUNT + usize::from(row.0) * self.stride }
    }
}
