//! Raw values as decimals, in integer arithmetic only.
//!
//! A value is `raw * numerator / denominator + offset`. If the denominator, in lowest terms, has no
//! prime factors but 2 and 5, that is a finite decimal and is written exactly. Otherwise it is
//! rounded to so many places that the error is below a thousandth of a step, from which the raw
//! value can be recovered. Never an exponent, never a trailing zero.

use protocol::Step;
use protocol::event::Value;

use super::text;
use crate::value::{Amount, Exact};

/// The most decimal places of a scaled value that is computed in 64 bits.
const FAST_PLACES_MAX: u32 = 18;
const ZEROS: &[u8; 32] = b"00000000000000000000000000000000";

/// How the raw values of one signal become text.
#[derive(Clone, Debug)]
pub struct Decimal {
    fast: Option<Scaled>,
    numerator: i128,
    denominator: u128,
    /// `offset * denominator`.
    offset: i128,
    /// Places to round to; none where the decimal is finite.
    rounded: Option<u32>,
}

/// The common case: value = (raw * multiplier + addend) / 10^places, exactly.
#[derive(Clone, Copy, Debug)]
struct Scaled {
    multiplier: i64,
    addend: i64,
    places: usize,
}

impl Decimal {
    /// Prepares a step. A step with a zero in it, which no catalogue holds, counts as one.
    pub fn new(step: Step) -> Self {
        let numerator = u64::from(step.numerator.max(1));
        let denominator = u64::from(step.denominator.max(1));
        let shared = greatest_common_divisor(numerator, denominator);
        let (numerator, denominator) = (numerator / shared, denominator / shared);
        let twos = denominator.trailing_zeros();
        let (fives, rest) = strip_fives(denominator >> twos);
        let places = twos.max(fives);
        let finite = rest == 1;
        Self {
            fast: finite
                .then(|| Scaled::new(numerator, denominator, step.offset, places))
                .flatten(),
            numerator: i128::from(numerator),
            denominator: u128::from(denominator),
            offset: i128::from(step.offset) * i128::from(denominator),
            rounded: (!finite).then(|| places_for(numerator, denominator)),
        }
    }

    /// Appends the value.
    pub fn write(&self, out: &mut Vec<u8>, raw: i64) {
        let scaled = self.fast.and_then(|fast| {
            Some((raw.checked_mul(fast.multiplier)?.checked_add(fast.addend)?, fast.places))
        });
        match scaled {
            Some((value, places)) => point(out, value < 0, value.unsigned_abs(), places),
            None => self.write_wide(out, raw),
        }
    }

    /// Appends an amount: steps as the value that they are, anything else as it is.
    pub fn write_amount(&self, out: &mut Vec<u8>, amount: Amount, exacts: &[Exact]) {
        match (amount, amount.exact(exacts)) {
            (Amount::Steps(raw), _) => self.write(out, raw),
            (Amount::Exact(_), exact) => exact.unwrap_or(&Exact::Missing).write(out),
        }
    }

    /// The value, nearly: for computing with it, as a place on the earth.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a double's 53 bits are what the cell index takes"
    )]
    pub fn approximate(&self, raw: i64) -> f64 {
        (i128::from(raw) * self.numerator + self.offset) as f64 / self.denominator as f64
    }

    /// Long division; cannot overflow: the product is below 2^96, a remainder below 2^32.
    fn write_wide(&self, out: &mut Vec<u8>, raw: i64) {
        let total = i128::from(raw) * self.numerator + self.offset;
        let magnitude = total.unsigned_abs();
        let mut whole = magnitude / self.denominator;
        let mut rest = magnitude % self.denominator;
        let Some(places) = self.rounded else {
            sign(out, total < 0);
            text::integer(out, whole);
            if rest > 0 {
                out.push(b'.');
            }
            while rest > 0 {
                rest *= 10;
                text::integer(out, rest / self.denominator);
                rest %= self.denominator;
            }
            return;
        };
        let power = 10_u128.pow(places);
        let mut fraction = (rest * power + self.denominator / 2) / self.denominator;
        if fraction >= power {
            fraction -= power;
            whole += 1;
        }
        sign(out, total < 0 && (whole, fraction) != (0, 0));
        text::integer(out, whole);
        let mut digits = itoa::Buffer::new();
        fraction_part(
            out,
            digits.format(fraction).as_bytes(),
            usize::try_from(places).unwrap_or(0),
        );
    }
}

impl Scaled {
    fn new(numerator: u64, denominator: u64, offset: i32, places: u32) -> Option<Self> {
        if places > FAST_PLACES_MAX {
            return None;
        }
        let power = 10_u64.pow(places);
        let multiplier = numerator.checked_mul(power / denominator)?;
        Some(Self {
            multiplier: i64::try_from(multiplier).ok()?,
            addend: i64::try_from(power).ok()?.checked_mul(i64::from(offset))?,
            places: usize::try_from(places).ok()?,
        })
    }
}

/// Appends the value of an event's attribute, as JSON.
pub fn attribute(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Text(value) => text::string(out, value),
        Value::Int(value) => text::integer(out, *value),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Decimal { number, places } => {
            point(out, *number < 0, number.unsigned_abs(), usize::from(*places));
        }
    }
}

fn sign(out: &mut Vec<u8>, negative: bool) {
    if negative {
        out.push(b'-');
    }
}

/// Appends `magnitude / 10^places`.
fn point(out: &mut Vec<u8>, negative: bool, magnitude: u64, places: usize) {
    sign(out, negative);
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(magnitude).as_bytes();
    let whole_len = digits.len().saturating_sub(places);
    if let Some((whole @ [_, ..], fraction)) = digits.split_at_checked(whole_len) {
        out.extend_from_slice(whole);
        fraction_part(out, fraction, places);
    } else {
        out.push(b'0');
        if magnitude > 0 {
            fraction_part(out, digits, places);
        }
    }
}

/// Appends a fraction of `places` digits, of which leading zeros are not in `digits`; nothing if it
/// is zero.
fn fraction_part(out: &mut Vec<u8>, digits: &[u8], places: usize) {
    let mut significant = digits;
    while let [head @ .., b'0'] = significant {
        significant = head;
    }
    if significant.is_empty() {
        return;
    }
    out.push(b'.');
    let mut missing = places.saturating_sub(digits.len());
    while missing > 0 {
        let zeros = ZEROS.get(..missing).unwrap_or(ZEROS);
        out.extend_from_slice(zeros);
        missing -= zeros.len();
    }
    out.extend_from_slice(significant);
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn strip_fives(mut number: u64) -> (u32, u64) {
    let mut fives = 0;
    while number.is_multiple_of(5) {
        number /= 5;
        fives += 1;
    }
    (fives, number)
}

/// The fewest places whose last is at most a thousandth of a step.
fn places_for(numerator: u64, denominator: u64) -> u32 {
    let mut places = 0;
    let mut fine = u128::from(numerator);
    while fine < u128::from(denominator) * 1000 {
        fine *= 10;
        places += 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(step: Step, raw: i64) -> String {
        let mut out = Vec::new();
        Decimal::new(step).write(&mut out, raw);
        String::from_utf8(out).unwrap()
    }

    /// Reads a decimal as (digits, places).
    fn read(text: &str) -> (i128, u32) {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}").parse().unwrap();
        (digits, u32::try_from(fraction.len()).unwrap())
    }

    #[test]
    fn values_are_as_people_write_them() {
        let offset = |numerator, denominator, offset| Step { numerator, denominator, offset };
        for (step, raw, want) in [
            (Step::new(1, 10), 149, "14.9"),
            (Step::new(1, 100_000), 3_777_833, "37.77833"),
            (Step::new(1, 100_000), -12_241_942, "-122.41942"),
            (Step::new(1, 10), -1, "-0.1"),
            (Step::new(1, 10), 0, "0"),
            (Step::new(1, 10), 150, "15"),
            (Step::new(1, 1000), 1, "0.001"),
            (Step::ONE, i64::MIN, "-9223372036854775808"),
            (Step::new(1, 128), 1, "0.0078125"),
            (Step::new(3, 6), 3, "1.5"),
            (offset(1, 2, -40), 81, "0.5"),
            (offset(1, 2, -40), 79, "-0.5"),
            (offset(1, 1, -40), 40, "0"),
            (Step::new(1, 3), 1, "0.3333"),
            (Step::new(1, 3), 3, "1"),
            (Step::new(2, 3), -1, "-0.6667"),
            (Step::new(100, 255), 255, "100"),
            (offset(4_000_000_000, 3, -1_333_333_333), 1, "0"),
            (Step::new(1, 1 << 31), 1, "0.0000000004656612873077392578125"),
        ] {
            assert_eq!(written(step, raw), want, "{step:?} {raw}");
        }
    }

    #[test]
    fn attributes_are_json() {
        for (value, want) in [
            (Value::Decimal { number: -5, places: 3 }, "-0.005"),
            (Value::Decimal { number: 0, places: 200 }, "0"),
            (Value::Decimal { number: 1200, places: 2 }, "12"),
            (Value::Int(i64::MIN), "-9223372036854775808"),
            (Value::Bool(true), "true"),
            (Value::Text("a\"b"), r#""a\"b""#),
        ] {
            let mut out = Vec::new();
            attribute(&mut out, &value);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
        let mut out = Vec::new();
        attribute(&mut out, &Value::Decimal { number: 7, places: 255 });
        assert_eq!(out.len(), 2 + 255);
    }

    proptest! {
        #[test]
        fn finite_decimals_are_exact(raw in prop_oneof![any::<i64>(), -100_000..100_000_i64],
                                     numerator in 1..u32::MAX, twos in 0..12_u32, fives in 0..5_u32,
                                     offset in any::<i32>()) {
            let denominator = 2_u32.pow(twos) * 5_u32.pow(fives.min((31 - twos) / 3));
            let text = written(Step { numerator, denominator, offset }, raw);
            let parsed = read(&text);
            prop_assert!(!text.contains('.') || !text.ends_with('0'));
            // digits / 10^places == raw * numerator / denominator + offset, cross-multiplied in 128
            // bits, which wrap alike on both sides.
            let left = parsed.0.wrapping_mul(i128::from(denominator));
            let value = i128::from(raw) * i128::from(numerator)
                + i128::from(offset) * i128::from(denominator);
            prop_assert_eq!(left, value.wrapping_mul(10_i128.pow(parsed.1)));
            serde_json::from_str::<serde_json::Number>(&text).unwrap();
        }

        #[test]
        fn fast_and_wide_agree(raw in any::<i64>(), numerator in 1..u32::MAX, twos in 0..31_u32, offset in any::<i32>()) {
            let decimal = Decimal::new(Step { numerator, denominator: 1 << twos, offset });
            let (mut one, mut other) = (Vec::new(), Vec::new());
            decimal.write(&mut one, raw);
            decimal.write_wide(&mut other, raw);
            prop_assert_eq!(one, other);
        }

        #[test]
        fn rounded_decimals_give_the_raw_value_back(raw in -1_000_000_000_000..1_000_000_000_000_i64,
                                                    numerator in 1..u32::MAX, denominator in 1..u32::MAX) {
            let text = written(Step::new(numerator, denominator), raw);
            let (digits, places) = read(&text);
            // |digits / 10^places - raw * n / d| <= n / d / 1000
            let power = 10_i128.pow(places);
            let error = (digits * i128::from(denominator) - i128::from(raw) * i128::from(numerator) * power).abs();
            prop_assert!(error * 1000 <= i128::from(numerator) * power, "{}", text);
        }
    }
}
