//! A signed number: whether it is zero, its sign, how many bits it has, and these.
//!
//! The number of bits is counted up, a bit for each: "more than one? more than two?" The first two
//! bits below the top one have chances of their own; what is below them is as good as random.

use super::odds::{Odds, Row, RowOdds as _, Talk, shared};
use super::range::Coder;

/// Beyond so many bits their number is written out, in six bits.
const COUNTED_MAX: usize = 20;
const WRITTEN_BITS: u32 = 6;
/// What is written out above that is no number but an [`Escape`].
const BELOW_MAX: u32 = 63;
/// Chances for the bits of a number: for each count of bits, one for the bit below the top one, and
/// two for the next.
pub const DIGIT_CHANCES: usize = 3 * DIGITS_MAX;
/// What is larger shares those of the largest.
const DIGITS_MAX: usize = 12;

/// Which chances count the bits up.
#[derive(Clone, Copy, Debug)]
pub enum Ladder {
    /// From this chance on, one for each step, and the last of `len` for all that are beyond.
    Steps { from: usize, len: usize },
    /// By how far the count is from what is usual, given as the number of bits of sixteen times the
    /// mean magnitude.
    Near { from: usize, usual: usize },
}

/// Chances of [`Ladder::Near`].
pub const NEAR: usize = 28;

impl Ladder {
    #[inline]
    fn at(self, step: usize) -> usize {
        match self {
            Self::Steps { from, len } => from + step.min(len - 1),
            // Up to a mean of 4 each size has its own; beyond, they look alike.
            Self::Near { from, usual: usual @ ..=6 } => {
                from + 4 * usual.saturating_sub(2) + step.min(3)
            }
            Self::Near { from, usual } => from + 20 + (step + 8).saturating_sub(usual).min(7),
        }
    }
}

/// Where a number's chances are in its row: of each decision two, whose mean counts.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Whether it is not zero.
    pub zero: [usize; 2],
    /// Whether it is negative.
    pub sign: [usize; 2],
    /// Whether it has more bits.
    pub more: [Ladder; 2],
}

/// In the place of a number: something else follows. 0 to 19.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Escape(pub u8);

/// Codes a number.
#[inline]
pub fn number<C: Coder, O: Odds>(
    talk: &mut Talk<'_, C, O>,
    row: Row,
    places: &Places,
    value: Result<i64, Escape>,
) -> Result<i64, Escape> {
    // An escape begins as the largest numbers do.
    let (value, escape) = match value {
        Ok(value) => (value, None),
        Err(escape) => (i64::MAX, Some(escape)),
    };
    let magnitude = value.unsigned_abs();
    let top = 63_u32.saturating_sub(magnitude.leading_zeros());
    let (is_negative, step) = {
        let (coder, mut odds) = talk.row(row);
        let [a, b] = places.zero;
        if !odds.bit(coder, a, b, value != 0) {
            return Ok(0);
        }
        let [a, b] = places.sign;
        let is_negative = odds.bit(coder, a, b, value < 0);
        let [a, b] = places.more;
        let mut below = 0_usize;
        let more = |below: usize| u32::try_from(below).is_ok_and(|below| below < top);
        while below < COUNTED_MAX && odds.bit(coder, a.at(below), b.at(below), more(below)) {
            below += 1;
        }
        (is_negative, below)
    };
    let mut below = u32::try_from(step).unwrap_or(0);
    if step == COUNTED_MAX {
        let more = match escape {
            Some(escape) => BELOW_MAX - below + 1 + u32::from(escape.0),
            None => top.saturating_sub(below),
        };
        let more = u32::try_from(talk.flat(u64::from(more), WRITTEN_BITS)).unwrap_or(0);
        if let Some(escape) = (below + more).checked_sub(BELOW_MAX + 1) {
            return Err(Escape(u8::try_from(escape).unwrap_or(u8::MAX)));
        }
        below += more;
    }
    let mut coded = 1_u64;
    let mut left = below;
    let first = shared::DIGITS + 3 * step.min(DIGITS_MAX - 1);
    let mut place = first;
    for _ in 0..below.min(2) {
        left -= 1;
        let digit = talk.bit(Row::SHARED, place, place, magnitude >> left & 1 == 1);
        coded = coded << 1 | u64::from(digit);
        place = first + 1 + usize::from(digit);
    }
    coded = coded << left | talk.flat(magnitude, left);
    if C::ENCODES {
        return Ok(value);
    }
    // `i64::MIN` has a magnitude of 2^63: both ways round it is itself.
    Ok(if is_negative { coded.cast_signed().wrapping_neg() } else { coded.cast_signed() })
}
