//! What a sample's value is, from what its signal and the related one did before.

use super::chance::Chance;
use super::hints::{Guess, SignalHint};
use super::number::{DIGITS, Ladder, NEAR, Places, number};
use super::range::Coder;

/// Sizes and directions of a change.
const CHANGES: usize = 5;
/// Steps of the ladder by the size of the last surprise.
const STEPS: usize = 6;

const ZERO_HABIT: usize = 0;
const ZERO_CHANGE: usize = ZERO_HABIT + 3 * 2 * 3;
const SIGN: usize = ZERO_CHANGE + CHANGES * 3;
const MORE_LAST: usize = SIGN + CHANGES * 3;
const MORE_USUAL: usize = MORE_LAST + 3 * STEPS;
/// Nothing has come yet.
const NONE: u8 = 255;

/// Chances of one signal's values.
pub const VALUES: usize = MORE_USUAL + NEAR;
/// Chances of first values.
pub const FIRST: usize = 2 + NEAR;

/// What is known of one signal's values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Values {
    /// The last one, little endian: 64 of these take no more room than they need.
    last: [u8; 8],
    /// The last change.
    change: i32,
    /// From the last value to the running mean, in 256ths.
    to_mean: i32,
    /// Sixteen times the mean magnitude of surprises.
    usual: u16,
    /// Size of the last surprise, and of the one before it: none, small, large. 255 before the first.
    size: u8,
    size_before: u8,
    /// Direction of the last surprise.
    sign: i8,
}

impl Values {
    pub const START: Self =
        Self { last: [0; 8], change: 0, to_mean: 0, usual: 0, size: NONE, size_before: 0, sign: 0 };

    const fn last(&self) -> i64 {
        i64::from_le_bytes(self.last)
    }

    /// Whether the last value was not as guessed.
    pub const fn surprised(&self) -> bool {
        self.size != NONE && self.size > 0
    }

    fn guess(&self, guess: Guess, related: &Self) -> i64 {
        let by = match guess {
            Guess::Last => 0,
            Guess::Linear => self.change,
            Guess::Half => -(self.change >> 1),
            Guess::Mean => self.to_mean.wrapping_add(128) >> 8,
            Guess::Related => related.change,
        };
        self.last().wrapping_add(i64::from(by))
    }

    /// Codes the next value. `stir`: how many of the latest samples of all signals were surprises,
    /// none, few or many.
    pub fn next<C: Coder>(
        &mut self,
        coder: &mut C,
        hint: &SignalHint,
        related: &Self,
        stir: usize,
        (own, first, digits): (&mut [Chance], &mut [Chance; FIRST], &mut [Chance; DIGITS]),
        value: i64,
    ) -> i64 {
        let (guess, surprise) = if self.size == NONE {
            let ladder = Ladder::Near { from: 2, usual: usize::from(hint.spread) };
            let places = Places { zero: [0, 0], sign: [1, 1], more: [ladder, ladder] };
            let off = value.wrapping_sub(hint.expected);
            (hint.expected.wrapping_add(number(coder, first, digits, &places, off)), 0)
        } else {
            let guess = self.guess(hint.guess, related);
            let places = self.places(related, stir);
            (guess, number(coder, own, digits, &places, value.wrapping_sub(guess)))
        };
        let value = guess.wrapping_add(surprise);
        self.learn(value, surprise);
        value
    }

    fn places(&self, related: &Self, stir: usize) -> Places {
        let (size, before) = (usize::from(self.size), usize::from(self.size_before > 0));
        let change = 3 * of_change(self.change) + of_sign(related.sign);
        let sign = SIGN + change;
        let last = Ladder::Steps { from: MORE_LAST + STEPS * size, len: STEPS };
        let usual = usize::try_from(u16::BITS - self.usual.leading_zeros()).unwrap_or(0);
        Places {
            zero: [ZERO_HABIT + 3 * (2 * size + before) + stir, ZERO_CHANGE + change],
            sign: [sign, sign],
            more: [last, Ladder::Near { from: MORE_USUAL, usual }],
        }
    }

    fn learn(&mut self, value: i64, surprise: i64) {
        let moved = value.wrapping_sub(self.last());
        let moved = i32::try_from(moved.clamp(-(1 << 22), 1 << 22)).unwrap_or(0);
        if self.size != NONE {
            let from_value = self.to_mean.wrapping_sub(moved << 8);
            // Two thirds of the way stay.
            self.to_mean = from_value.wrapping_sub(from_value >> 2).clamp(-(1 << 30), 1 << 30);
            self.change = moved;
        }
        self.last = value.to_le_bytes();
        self.size_before = if self.size == NONE { 0 } else { self.size };
        let magnitude = u16::try_from(surprise.unsigned_abs().min(4095)).unwrap_or(0);
        self.size = match magnitude {
            0 => 0,
            1..=2 => 1,
            _ => 2,
        };
        self.sign = i8::try_from(surprise.signum()).unwrap_or(0);
        self.usual = self.usual - self.usual.div_ceil(4) + 4 * magnitude;
    }
}

const fn of_change(change: i32) -> usize {
    match change {
        ..=-4 => 0,
        -3..=-1 => 1,
        0 => 2,
        1..=3 => 3,
        _ => 4,
    }
}

const fn of_sign(sign: i8) -> usize {
    match sign {
        ..=-1 => 0,
        0 => 1,
        _ => 2,
    }
}
