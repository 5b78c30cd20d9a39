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

/// In the place of a number: something else follows, 1 to 20; 0 is none. Beside a number and not in
/// place of it: on a small processor both are in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Escape(pub u8);

impl Escape {
    /// There is a number.
    pub const NONE: Self = Self(0);
}

/// Codes a number. An escape, which no encoder writes here, counts as 0.
#[inline]
pub fn number<C: Coder, O: Odds>(
    talk: &mut Talk<'_, C, O>,
    row: Row,
    places: &Places,
    value: i64,
) -> i64 {
    coded::<_, _, false>(talk, row, places, value, &mut { Escape::NONE })
}

/// Codes a number or an escape.
#[inline]
pub fn number_or_escape<C: Coder, O: Odds>(
    talk: &mut Talk<'_, C, O>,
    row: Row,
    places: &Places,
    value: i64,
    escape: &mut Escape,
) -> i64 {
    coded::<_, _, true>(talk, row, places, value, escape)
}

#[inline]
fn coded<C: Coder, O: Odds, const ESCAPES: bool>(
    talk: &mut Talk<'_, C, O>,
    row: Row,
    places: &Places,
    value: i64,
    escape: &mut Escape,
) -> i64 {
    // An escape begins as the largest numbers do.
    let value = if ESCAPES && *escape != Escape::NONE { i64::MAX } else { value };
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
        let written = match escape.0 {
            escape if ESCAPES && escape > 0 => BELOW_MAX - below + u32::from(escape),
            _ => top.saturating_sub(below),
        };
        let more = u32::try_from(talk.flat(u64::from(written), WRITTEN_BITS)).unwrap_or(0);
        if let Some(beyond) = (below + more).checked_sub(BELOW_MAX).filter(|beyond| *beyond > 0) {
            *escape = Escape(u8::try_from(beyond).unwrap_or(u8::MAX));
            return 0;
        }
        below += more;
    }
    let mut coded = 1_u64;
    let mut left = below;
    // What is below the top bit, from the highest on.
    let mut rest = magnitude.rotate_right(below);
    let first = shared::DIGITS + 3 * step.min(DIGITS_MAX - 1);
    let mut place = first;
    for _ in 0..below.min(2) {
        left -= 1;
        let digit = talk.bit(Row::SHARED, place, place, rest >> 63 == 1);
        rest <<= 1;
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
