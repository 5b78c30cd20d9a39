//! Whole numbers in adaptive bits: how long a number is, in the light of the last ones; then its
//! digits.

use super::range::{Bit, Decoder, Encoder};

/// Kinds of recent past that are told apart.
const PASTS: usize = 12;
/// Lengths: 0 for zero, 64 for the greatest.
const LENGTHS: usize = 65;

/// Differences of one source, small around zero as a rule.
#[derive(Clone, Debug)]
pub struct Number {
    /// Per past: is it longer than this?
    longer: [[Bit; LENGTHS]; PASTS],
    negative: [Bit; 3],
    /// Per length: the two digits behind the first.
    digits: [[Bit; 3]; LENGTHS],
    /// Sixteen times the running mean of the lengths.
    mean16: u32,
    /// The last sign: none, negative, positive.
    sign: usize,
}

impl Number {
    pub fn new() -> Self {
        Self {
            longer: [[Bit::EVEN; LENGTHS]; PASTS],
            negative: [Bit::EVEN; 3],
            digits: [[Bit::EVEN; 3]; LENGTHS],
            mean16: 64,
            sign: 0,
        }
    }

    fn past(&self) -> usize {
        usize::try_from(self.mean16 / 12).unwrap_or(PASTS).min(PASTS - 1)
    }

    fn learn(&mut self, length: u32) {
        self.mean16 = self.mean16 - self.mean16 / 4 + length * 4;
    }

    pub fn put(&mut self, to: &mut Encoder, out: &mut Vec<u8>, value: i64) {
        let magnitude = value.unsigned_abs();
        let length = 64 - magnitude.leading_zeros();
        let past = self.past();
        if let Some(longer) = self.longer.get_mut(past) {
            for (at, bit) in (0..=length.min(63)).zip(longer.iter_mut()) {
                to.bit(out, bit, at < length);
            }
        }
        self.learn(length);
        if length == 0 {
            self.sign = 0;
            return;
        }
        if let Some(negative) = self.negative.get_mut(self.sign) {
            to.bit(out, negative, value < 0);
        }
        self.sign = 1 + usize::from(value > 0);
        let mut left = length - 1;
        if left > 0
            && let Some([first, second @ ..]) = self.digits.get_mut(length as usize)
        {
            left -= 1;
            let digit = magnitude >> left & 1 == 1;
            to.bit(out, first, digit);
            if left > 0
                && let Some(bit) = second.get_mut(usize::from(digit))
            {
                left -= 1;
                to.bit(out, bit, magnitude >> left & 1 == 1);
            }
        }
        to.flat(out, magnitude, left);
    }

    pub fn take(&mut self, from: &mut Decoder<'_>) -> i64 {
        let past = self.past();
        let mut length = 0_u32;
        if let Some(longer) = self.longer.get_mut(past) {
            for bit in longer.iter_mut().take(64) {
                if !from.bit(bit) {
                    break;
                }
                length += 1;
            }
        }
        self.learn(length);
        if length == 0 {
            self.sign = 0;
            return 0;
        }
        let negative = self.negative.get_mut(self.sign).is_some_and(|bit| from.bit(bit));
        self.sign = 1 + usize::from(!negative);
        let mut left = length - 1;
        let mut magnitude = 1_u64;
        if left > 0
            && let Some([first, second @ ..]) = self.digits.get_mut(length as usize)
        {
            left -= 1;
            let digit = from.bit(first);
            magnitude = magnitude << 1 | u64::from(digit);
            if left > 0
                && let Some(bit) = second.get_mut(usize::from(digit))
            {
                left -= 1;
                magnitude = magnitude << 1 | u64::from(from.bit(bit));
            }
        }
        magnitude = magnitude << left | from.flat(left);
        let value = magnitude.cast_signed();
        if negative { value.wrapping_neg() } else { value }
    }
}
