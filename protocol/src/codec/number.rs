//! A signed number: whether it is zero, its sign, how many bits it has, and these.
//!
//! The number of bits is counted up, a bit for each: "more than one? more than two?" The first two
//! bits below the top one have chances of their own; what is below them is as good as random.

use super::odds::{Odds, Row, RowOdds as _, Talk, shared};
use super::range::Coder;

/// Beyond so many bits their number is written out.
const COUNTED_MAX: usize = 20;
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

/// Codes a number.
#[inline]
pub fn number<C: Coder, O: Odds>(
    talk: &mut Talk<'_, C, O>,
    row: Row,
    places: &Places,
    value: i64,
) -> i64 {
    let magnitude = value.unsigned_abs();
    let top = 63_u32.saturating_sub(magnitude.leading_zeros());
    let (is_negative, step) = {
        let (coder, mut odds) = talk.row(row);
        let [a, b] = places.zero;
        if !odds.bit(coder, a, b, value != 0) {
            return 0;
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
        let more = talk.flat(u64::from(top.saturating_sub(below)), 6);
        // 63 at most in what was encoded; whatever is decoded, no more.
        below = (below + u32::try_from(more).unwrap_or(0)).min(63);
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
        return value;
    }
    // `i64::MIN` has a magnitude of 2^63: both ways round it is itself.
    if is_negative { coded.cast_signed().wrapping_neg() } else { coded.cast_signed() }
}
