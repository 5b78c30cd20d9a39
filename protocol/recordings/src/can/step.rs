//! A DBC's factor and offset as an exact rational step of the catalogue.
//!
//! The catalogue's step is a positive fraction with a whole offset. A negative factor turns the raw
//! value round, an offset that is not whole moves into it, with a finer step where it must:
//! `0.5 * raw + 0.25` becomes `(2 * raw + 1) / 4`.

use protocol::Step;

/// How a signal's bits become the raw value of its catalogue entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    /// The catalogue's step.
    pub step: Step,
    /// Whether the step is the factor to the last digit. One with more digits than 32 bits hold is the
    /// nearest such fraction.
    pub is_exact: bool,
    multiplier: i128,
    addend: i128,
}

/// Why a signal's bits are no steps of a catalogue.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub enum NoSteps {
    /// Its bits are no whole number.
    #[error("an IEEE float, which has no steps")]
    Float,
    /// Not a number that is read.
    #[error("{0} bits, where 1 to 64 can be read")]
    Length(u32),
    /// Whatever the bits, the value is the offset.
    #[error("a factor of 0: it says nothing")]
    Zero,
    /// No step of two whole numbers of 32 bits is near its factor, and its offset a whole number of them.
    #[error(
        "no step is like its factor {factor} and offset {offset}: one is a fraction of 32 bits"
    )]
    Factor {
        /// The factor as the file has it.
        factor: f64,
        /// The offset as the file has it.
        offset: f64,
    },
}

impl Scale {
    /// From the numbers of a DBC. An error if the factor is 0 or no step of 32 bits comes close.
    pub fn new(factor: f64, offset: f64) -> Result<Self, NoSteps> {
        let refused = NoSteps::Factor { factor, offset };
        let factor = Ratio::of_decimal(factor).ok_or(refused)?;
        let offset = Ratio::of_decimal(offset).ok_or(refused)?;
        if factor.numerator == 0 {
            return Err(NoSteps::Zero);
        }
        Self::of(factor, offset).ok_or(refused)
    }

    fn of(factor: Ratio, offset: Ratio) -> Option<Self> {
        let sign = factor.numerator.signum();
        let factor = Ratio { numerator: factor.numerator.abs(), ..factor };
        let whole = i32::try_from(offset.numerator).ok().filter(|_| offset.denominator == 1);
        if let Some(whole) = whole {
            // A factor with more digits than 32 bits hold comes as close as a double does.
            let fitted = factor.fitted()?;
            let step = Step { offset: whole, ..fitted.step()? };
            let is_exact = fitted == factor;
            return Some(Self { step, is_exact, multiplier: sign, addend: 0 });
        }
        let grid = factor.common_divisor(offset)?;
        let step = grid.step()?;
        let multiplier = sign.checked_mul(factor.steps_of(grid)?)?;
        Some(Self { step, is_exact: true, multiplier, addend: offset.steps_of(grid)? })
    }

    /// By what the bits' number is multiplied for the catalogue's raw value, and what is added then;
    /// nothing if it is that number itself.
    pub fn turned(&self) -> Option<(i128, i128)> {
        let turned = (self.multiplier, self.addend);
        (turned != (1, 0)).then_some(turned)
    }

    /// The raw value of the catalogue.
    pub fn raw(&self, number: i128) -> Option<i64> {
        let raw = number.checked_mul(self.multiplier)?.checked_add(self.addend)?;
        i64::try_from(raw).ok()
    }

    /// The raw value nearest to a physical one, for a range.
    pub fn raw_of_physical(&self, physical: f64) -> Option<i64> {
        let physical = Ratio::of_decimal(physical)?;
        let denominator = i128::from(self.step.denominator);
        let numerator = i128::from(self.step.numerator);
        let above = physical
            .numerator
            .checked_sub(i128::from(self.step.offset).checked_mul(physical.denominator)?)?;
        let raw = above
            .checked_mul(denominator)?
            .checked_div_euclid(numerator.checked_mul(physical.denominator)?)?;
        i64::try_from(raw).ok()
    }
}

/// A fraction in lowest terms; the denominator is positive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ratio {
    numerator: i128,
    denominator: i128,
}

impl Ratio {
    fn new(numerator: i128, denominator: i128) -> Option<Self> {
        let divisor = gcd(numerator, denominator);
        Some(Self {
            numerator: numerator.checked_div(divisor)?,
            denominator: denominator.checked_div(divisor)?,
        })
    }

    /// The shortest decimal that reads as this double, which is what the file said.
    fn of_decimal(value: f64) -> Option<Self> {
        let text = value.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let places = u32::try_from(fraction.len()).ok().filter(|places| *places <= 18)?;
        let numerator: i128 = format!("{whole}{fraction}").parse().ok()?;
        Self::new(numerator, 10_i128.checked_pow(places)?)
    }

    /// The greatest fraction that both are whole multiples of.
    fn common_divisor(self, other: Self) -> Option<Self> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Self::new(gcd(left, right), self.denominator.checked_mul(other.denominator)?)
    }

    /// How many times `grid` it is, if a whole number.
    fn steps_of(self, grid: Self) -> Option<i128> {
        let top = self.numerator.checked_mul(grid.denominator)?;
        let bottom = self.denominator.checked_mul(grid.numerator)?;
        (top.checked_rem(bottom)? == 0).then(|| top.checked_div(bottom)).flatten()
    }

    fn step(self) -> Option<Step> {
        let numerator = u32::try_from(self.numerator).ok()?;
        let denominator = u32::try_from(self.denominator).ok()?;
        (numerator > 0).then(|| Step::new(numerator, denominator))
    }

    /// Itself where both parts have 32 bits, else the last such convergent of its continued
    /// fraction: off by less than the square of its denominator's reciprocal.
    fn fitted(self) -> Option<Self> {
        if self.step().is_some() {
            return Some(self);
        }
        let (mut before, mut last) = ((0_i128, 1_i128), (1_i128, 0_i128));
        let (mut top, mut bottom) = (self.numerator, self.denominator);
        let limit = i128::from(u32::MAX);
        while bottom != 0 {
            let quotient = top.checked_div_euclid(bottom)?;
            let next = (
                quotient.checked_mul(last.0)?.checked_add(before.0)?,
                quotient.checked_mul(last.1)?.checked_add(before.1)?,
            );
            if next.0 > limit || next.1 > limit {
                break;
            }
            (before, last) = (last, next);
            (top, bottom) = (bottom, top.checked_rem_euclid(bottom)?);
        }
        let fitted = Self { numerator: last.0, denominator: last.1 };
        fitted.step().map(|_| fitted)
    }
}

fn gcd(left: i128, right: i128) -> i128 {
    let (mut left, mut right) = (left.abs(), right.abs());
    while right != 0 {
        (left, right) = (right, left.checked_rem(right).unwrap_or(0));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(numerator: u32, denominator: u32, offset: i32) -> Step {
        Step { numerator, denominator, offset }
    }

    #[test]
    fn factors_are_fractions_and_whole_offsets_stay() {
        for (factor, offset, want) in [
            (1.0, 0.0, step(1, 1, 0)),
            (0.125, -64.0, step(1, 8, -64)),
            (1e-06, -180.0, step(1, 1_000_000, -180)),
            (0.001, 1_577_840_400.0, step(1, 1000, 1_577_840_400)),
            (0.003_906_25, 0.0, step(1, 256, 0)),
            (1.5, 0.0, step(3, 2, 0)),
            (100.0, 5.0, step(100, 1, 5)),
        ] {
            let scale = Scale::new(factor, offset).unwrap();
            assert_eq!((scale.step, scale.raw(7)), (want, Some(7)), "{factor} {offset}");
        }
    }

    #[test]
    fn a_negative_factor_turns_round_and_a_broken_offset_makes_the_step_finer() {
        let turned = Scale::new(-0.1, 5.0).unwrap();
        assert_eq!((turned.step, turned.raw(7)), (step(1, 10, 5), Some(-7)));
        let finer = Scale::new(0.5, 0.25).unwrap();
        assert_eq!((finer.step, finer.raw(3)), (step(1, 4, 0), Some(7)));
        // 0.159375 * 100 - 75.555 = -59.6175
        let pedal = Scale::new(0.159_375, -75.555).unwrap();
        let raw = i128::from(pedal.raw(100).unwrap());
        let (top, bottom) = (i128::from(pedal.step.numerator), i128::from(pedal.step.denominator));
        assert_eq!(raw * top * 10_000, -596_175 * bottom);
    }

    #[test]
    fn what_no_step_holds_is_nearest_or_refused() {
        let fine = Scale::new(0.004_901_594_652, 0.0).unwrap();
        let close = f64::from(fine.step.numerator) / f64::from(fine.step.denominator);
        assert!((close - 0.004_901_594_652).abs() < 1e-18, "{:?}", fine.step);
        assert!(!fine.is_exact && Scale::new(0.1, 0.0).unwrap().is_exact);
        assert_eq!(Scale::new(0.0, 1.0), Err(NoSteps::Zero));
        for (factor, offset) in [(f64::NAN, 0.0), (1e-12, 0.0), (1.0, 0.000_000_000_001)] {
            let refused = Scale::new(factor, offset);
            assert!(matches!(refused, Err(NoSteps::Factor { .. })), "{factor} {offset}");
        }
    }

    #[test]
    fn ranges_are_in_steps() {
        let scale = Scale::new(0.125, -64.0).unwrap();
        assert_eq!(scale.raw_of_physical(63.875), Some(1023));
        assert_eq!(scale.raw_of_physical(-64.0), Some(0));
    }
}
