//! Raw steps as the numbers that SQL computes with.

use protocol::Step;
use rusqlite::types::{ToSql, ToSqlOutput, Value};

/// The largest whole number of which a double has every one below.
const EXACT_MAX: u128 = 1 << 53;

/// A number as SQLite keeps it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Number {
    /// INTEGER.
    Whole(i64),
    /// REAL.
    Real(f64),
}

impl Number {
    /// As a double.
    #[allow(clippy::cast_precision_loss, reason = "means and sums are doubles, as SQLite's are")]
    pub fn real(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }

    /// The smaller of two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if other.real() < self.real() { other } else { self }
    }

    /// The greater of two.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if other.real() > self.real() { other } else { self }
    }
}

impl ToSql for Number {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(match *self {
            Self::Whole(whole) => Value::Integer(whole),
            Self::Real(real) => Value::Real(real),
        }))
    }
}

/// How the raw values of one signal become numbers.
///
/// Settled by the signal, not by the value: a signal whose step is whole gives INTEGERs, every
/// other one REALs, so that `value / 2` means the same in every row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Scale {
    numerator: i64,
    denominator: i64,
    offset: i64,
}

impl Scale {
    /// Of a step. A step with a zero in it, which no catalogue holds, counts as one.
    pub fn new(step: Step) -> Self {
        let (numerator, denominator) = (step.numerator.max(1), step.denominator.max(1));
        let shared = shared_divisor(numerator, denominator);
        Self {
            numerator: i64::from(numerator / shared),
            denominator: i64::from(denominator / shared),
            offset: i64::from(step.offset),
        }
    }

    /// Whether every value is a whole number.
    pub const fn is_whole(&self) -> bool {
        self.denominator == 1
    }

    /// The value; a REAL is the double nearest to it, if numerator and denominator fit 53 bits.
    pub fn number(&self, raw: i64) -> Number {
        if self.is_whole() {
            let whole = raw.checked_mul(self.numerator).and_then(|n| n.checked_add(self.offset));
            if let Some(whole) = whole {
                return Number::Whole(whole);
            }
        }
        Number::Real(self.ratio(i128::from(raw) * i128::from(self.numerator), 1))
    }

    /// The sum of the values of `count` raw values that add up to `sum`.
    pub fn sum(&self, sum: i128, count: u64) -> f64 {
        self.ratio(sum.saturating_mul(i128::from(self.numerator)), count)
    }

    /// `numerator / denominator + count * offset`, rounded once where that is possible.
    #[allow(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
    fn ratio(&self, numerator: i128, count: u64) -> f64 {
        let offsets = i128::from(self.offset)
            .saturating_mul(i128::from(self.denominator))
            .saturating_mul(i128::from(count));
        let total = numerator.saturating_add(offsets);
        if total.unsigned_abs() <= EXACT_MAX {
            return total as f64 / self.denominator as f64;
        }
        // Whole and rest apart: the whole alone is beyond what a double tells apart.
        let denominator = i128::from(self.denominator);
        let (whole, rest) = (total / denominator, total % denominator);
        whole as f64 + rest as f64 / self.denominator as f64
    }
}

fn shared_divisor(mut a: u32, mut b: u32) -> u32 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::Decimal;

    #[test]
    fn the_type_is_the_signals() {
        let tenth = Scale::new(Step::new(1, 10));
        assert_eq!(tenth.number(149), Number::Real(14.9));
        assert_eq!(tenth.number(150), Number::Real(15.0));
        assert_eq!(Scale::new(Step::ONE).number(i64::MIN), Number::Whole(i64::MIN));
        let fives = Scale::new(Step { numerator: 10, denominator: 2, offset: -40 });
        assert_eq!(fives.number(9), Number::Whole(5));
        assert_eq!(fives.number(i64::MAX), Number::Real(5.0 * 2_f64.powi(63)));
    }

    #[test]
    fn sums_count_the_offset_for_each() {
        let half = Scale::new(Step { numerator: 1, denominator: 2, offset: -40 });
        assert_eq!(half.sum(81 + 79, 2).to_bits(), 0_f64.to_bits());
        assert_eq!(half.number(81), Number::Real(0.5));
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_documents(raw in -1_000_000_000..1_000_000_000_i64,
                                              numerator in 1..1000_u32, places in 0..6_u32,
                                              offset in -1000..1000_i32) {
            let step = Step { numerator, denominator: 10_u32.pow(places), offset };
            let mut text = Vec::new();
            Decimal::new(step).write(&mut text, raw);
            let written: f64 = std::str::from_utf8(&text).unwrap().parse().unwrap();
            prop_assert_eq!(Scale::new(step).number(raw).real().to_bits(), (written + 0.0).to_bits());
        }
    }
}
