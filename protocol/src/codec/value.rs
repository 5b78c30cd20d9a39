//! What a sample's value is, from what its signal and the related one did before.

use super::hints::{Guess, SignalHint};
use super::number::{Escape, Ladder, NEAR, Places, number_or_escape};
use super::odds::{Odds, Row, Talk, own, shared};
use super::range::Coder;

/// Sizes and directions of a change.
const CHANGES: usize = 5;
/// Steps of the ladder by the size of the last surprise.
const STEPS: usize = 6;

const ZERO_HABIT: usize = own::VALUE;
const ZERO_CHANGE: usize = ZERO_HABIT + 3 * 2 * 3;
const SIGN: usize = ZERO_CHANGE + CHANGES * 3;
const MORE_LAST: usize = SIGN + CHANGES * 3;
const MORE_USUAL: usize = MORE_LAST + 3 * STEPS;

/// Chances of one signal's values.
pub const VALUE_CHANCES: usize = MORE_USUAL + NEAR - ZERO_HABIT;
/// Chances of first values.
pub const FIRST_CHANCES: usize = 2 + NEAR;

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
    surprises: Surprises,
}

/// The last surprise and the one before it, in one byte: 64 signals have one each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Surprises(u8);

impl Surprises {
    /// Nothing has come.
    const NONE: Self = Self(u8::MAX);

    /// A surprise after these.
    fn then(self, surprise: i64) -> Self {
        let size = match surprise.unsigned_abs() {
            0 => 0,
            1..=2 => 1,
            _ => 2,
        };
        Self(size | u8::from(self.size().is_some_and(|size| size > 0)) << 2 | sign(surprise) << 3)
    }

    /// Of the last one: none, small, large. Nothing before the first.
    const fn size(self) -> Option<u8> {
        if self.0 == Self::NONE.0 { None } else { Some(self.0 & 3) }
    }

    /// Whether there was one before it.
    const fn before(self) -> bool {
        self.size().is_some() && self.0 >> 2 & 1 == 1
    }

    /// Direction of the last one: down, none, up.
    const fn sign(self) -> u8 {
        if self.size().is_some() { self.0 >> 3 } else { 1 }
    }
}

const fn sign(number: i64) -> u8 {
    match number {
        ..=-1 => 0,
        0 => 1,
        _ => 2,
    }
}

impl Values {
    pub const START: Self =
        Self { last: [0; 8], change: 0, to_mean: 0, usual: 0, surprises: Surprises::NONE };

    const fn last(&self) -> i64 {
        i64::from_le_bytes(self.last)
    }

    /// Whether the last value was not as guessed.
    pub const fn surprised(&self) -> bool {
        matches!(self.surprises.size(), Some(1..))
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

    /// Codes the next value, or that it is none; of that nothing is learnt. `stir`: how many of the
    /// latest samples of all signals were surprises, none, few or many.
    pub fn next<C: Coder, O: Odds>(
        &mut self,
        talk: &mut Talk<'_, C, O>,
        row: Row,
        hint: &SignalHint,
        related: &Self,
        stir: usize,
        (value, escape): (i64, &mut Escape),
    ) -> i64 {
        let Some(size) = self.surprises.size() else {
            let (zero, sign, more) = (shared::FIRST, shared::FIRST + 1, shared::FIRST + 2);
            let ladder = Ladder::Near { from: more, usual: usize::from(hint.spread) };
            let places = Places { zero: [zero; 2], sign: [sign; 2], more: [ladder; 2] };
            let off = value.wrapping_sub(hint.expected);
            let off = number_or_escape(talk, Row::SHARED, &places, off, escape);
            if *escape != Escape::NONE {
                return 0;
            }
            let value = hint.expected.wrapping_add(off);
            self.last = value.to_le_bytes();
            self.surprises = self.surprises.then(0);
            return value;
        };
        let guess = self.guess(hint.guess, related);
        let places = self.places(usize::from(size), related, stir);
        let surprise = value.wrapping_sub(guess);
        let surprise = number_or_escape(talk, row, &places, surprise, escape);
        if *escape != Escape::NONE {
            return 0;
        }
        let value = guess.wrapping_add(surprise);
        self.learn(value, surprise);
        value
    }

    fn places(&self, size: usize, related: &Self, stir: usize) -> Places {
        let before = usize::from(self.surprises.before());
        let change = 3 * of_change(self.change) + usize::from(related.surprises.sign());
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
        let from_value = self.to_mean.wrapping_sub(moved << 8);
        // Three quarters of the way stay.
        self.to_mean = from_value.wrapping_sub(from_value >> 2).clamp(-(1 << 30), 1 << 30);
        self.change = moved;
        self.last = value.to_le_bytes();
        let magnitude = u16::try_from(surprise.unsigned_abs().min(4095)).unwrap_or(0);
        self.surprises = self.surprises.then(surprise);
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
