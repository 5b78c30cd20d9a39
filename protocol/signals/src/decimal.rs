//! Physical values as they are written, to raw ones and back, exactly.

use protocol::Step;

/// A number as written: digits, and how many of them stand behind the point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimal {
    digits: i128,
    places: u32,
}

/// More places than a binary double has.
const PLACES_MAX: u32 = 20;

impl Decimal {
    /// The shortest one that is this number; nothing if it is not finite, or beyond 2^80.
    pub fn of(number: f64) -> Option<Self> {
        if !number.is_finite() || number.abs() > 1e24 {
            return None;
        }
        let text = format!("{number}");
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let places = u32::try_from(fraction.len()).ok().filter(|places| *places <= PLACES_MAX)?;
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { digits, places })
    }

    /// In steps: rounded down, and whether there is nothing left over.
    pub fn in_steps(self, step: &Step) -> Option<(i64, bool)> {
        let scale = 10_i128.checked_pow(self.places)?;
        let above = self.digits.checked_sub(i128::from(step.offset).checked_mul(scale)?)?;
        let numerator = above.checked_mul(i128::from(step.denominator))?;
        let denominator = scale.checked_mul(i128::from(step.numerator))?;
        let raw = i64::try_from(numerator.div_euclid(denominator)).ok()?;
        Some((raw, numerator.rem_euclid(denominator) == 0))
    }
}

/// The physical value of a raw one, as it is written; nothing if it has no end.
pub fn physical(raw: i64, step: &Step) -> Option<String> {
    let denominator = i128::from(step.denominator);
    let numerator = i128::from(raw) * i128::from(step.numerator);
    let numerator = numerator + i128::from(step.offset) * denominator;
    let (mut scaled, mut places) = (numerator, 0);
    while scaled % denominator != 0 {
        scaled = scaled.checked_mul(10)?;
        places += 1;
        if places > 12 {
            return None;
        }
    }
    let digits = scaled / denominator;
    let sign = if digits < 0 { "-" } else { "" };
    let text = format!("{:0width$}", digits.unsigned_abs(), width = places + 1);
    let (whole, fraction) = text.split_at(text.len() - places);
    Some(if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        let tenth = Step::new(1, 10);
        assert_eq!(Decimal::of(0.3).unwrap().in_steps(&tenth), Some((3, true)));
        assert_eq!(Decimal::of(0.35).unwrap().in_steps(&tenth), Some((3, false)));
        assert_eq!(Decimal::of(-0.35).unwrap().in_steps(&tenth), Some((-4, false)));
        let celsius = Step { offset: -40, ..Step::ONE };
        assert_eq!(Decimal::of(-40.0).unwrap().in_steps(&celsius), Some((0, true)));
        assert_eq!(Decimal::of(f64::NAN), None);
        assert_eq!(Decimal::of(1e25), None);
    }

    #[test]
    fn what_has_an_end_is_written_to_it() {
        assert_eq!(physical(-3, &Step::new(1, 4)).as_deref(), Some("-0.75"));
        assert_eq!(physical(2550, &Step::new(1, 10)).as_deref(), Some("255"));
        assert_eq!(physical(1, &Step::new(100, 255)), None);
        assert_eq!(physical(0, &Step { offset: -40, ..Step::new(1, 2) }).as_deref(), Some("-40"));
    }

    proptest! {
        #[test]
        fn a_raw_value_comes_back(raw in -(1_i64 << 40)..1_i64 << 40, places in 0_u32..5, offset in -500..500) {
            let step = Step { offset, ..Step::new(1, 10_u32.pow(places)) };
            let text = physical(raw, &step).unwrap();
            let decimal = Decimal::of(text.parse().unwrap()).unwrap();
            prop_assert_eq!(decimal.in_steps(&step), Some((raw, true)));
        }
    }
}
