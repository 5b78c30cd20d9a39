//! Decimal text to integers and back, exactly: no float ever touches a recorded value.

use protocol::Step;

/// What becomes of digits finer than the step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Excess {
    /// Cut off, towards zero.
    Cut,
    /// Rounded to the nearest step; from the middle to the even one.
    Round,
}

/// Reads a decimal such as `-6.72496` as an integer of `10^-places`.
///
/// Takes an optional sign, digits with at most one point among them, nothing else; nothing too if
/// the number leaves `i64`.
pub fn scaled(text: &[u8], places: u8, excess: Excess) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let mut value = 0_i64;
    let mut after_point: Option<u8> = None;
    let mut seen = false;
    let mut first_cut: Option<u8> = None;
    let mut rest_cut = false;
    for byte in digits {
        match (byte, after_point) {
            (b'.', None) => after_point = Some(0),
            (b'0'..=b'9', Some(count)) if count >= places => {
                seen = true;
                match first_cut {
                    None => first_cut = Some(byte - b'0'),
                    Some(_) => rest_cut |= *byte != b'0',
                }
            }
            (b'0'..=b'9', _) => {
                seen = true;
                value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
                after_point = after_point.map(|count| count + 1);
            }
            _ => return None,
        }
    }
    if !seen {
        return None;
    }
    for _ in after_point.unwrap_or(0)..places {
        value = value.checked_mul(10)?;
    }
    if excess == Excess::Round {
        let up = match first_cut {
            Some(6..) => true,
            Some(5) => rest_cut || value % 2 == 1,
            _ => false,
        };
        value = value.checked_add(i64::from(up))?;
    }
    Some(if negative { -value } else { value })
}

/// Reads an unsigned whole number of one to `digits_max` digits.
pub fn whole(text: &[u8], digits_max: usize) -> Option<i64> {
    if text.is_empty() || text.len() > digits_max || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    scaled(text, 0, Excess::Cut)
}

/// A raw value as a decimal where its step is a finite one, else as a fraction.
pub fn decimal_of(raw: i64, step: Step) -> String {
    let denominator = i128::from(step.denominator);
    let value =
        i128::from(raw) * i128::from(step.numerator) + i128::from(step.offset) * denominator;
    let unit = (0..=18)
        .filter_map(|places| 10_i128.checked_pow(places))
        .find(|unit| unit.checked_rem(denominator) == Some(0));
    let scaled = unit.and_then(|unit| {
        let scaled = value.checked_mul(unit.checked_div(denominator)?)?;
        Some((scaled.checked_div(unit)?, scaled.checked_rem(unit)?, unit))
    });
    let Some((whole, fraction, unit)) = scaled else {
        return format!("{value}/{denominator}");
    };
    let sign = if value < 0 { "-" } else { "" };
    let width = unit.to_string().len() - 1;
    let digits = format!("{:0width$}", fraction.abs());
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{digits}", whole.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_digit_the_step_has() {
        for (text, places, want) in [
            ("37.65273", 5, 3_765_273),
            ("-122.40682", 5, -12_240_682),
            ("37.6", 5, 3_760_000),
            ("37", 5, 3_700_000),
            ("-0.5", 1, -5),
            (".5", 1, 5),
            ("5.", 1, 50),
            ("99.0", 0, 99),
            ("-1", 0, -1),
            ("97.740000", 2, 9774),
            ("9223372036854775807", 0, i64::MAX),
        ] {
            assert_eq!(scaled(text.as_bytes(), places, Excess::Cut), Some(want), "{text}");
            assert_eq!(scaled(text.as_bytes(), places, Excess::Round), Some(want), "{text}");
        }
    }

    #[test]
    fn finer_digits_are_cut_or_rounded() {
        for (text, cut, round) in [
            ("0.037040", 3, 4),
            ("1.005", 100, 100),
            ("1.0050001", 100, 101),
            ("1.015", 101, 102),
            ("-1.019", -101, -102),
            ("-1.015", -101, -102),
            ("1.9949", 199, 199),
        ] {
            assert_eq!(scaled(text.as_bytes(), 2, Excess::Cut), Some(cut), "{text}");
            assert_eq!(scaled(text.as_bytes(), 2, Excess::Round), Some(round), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_number() {
        for text in [
            "",
            "-",
            ".",
            "+.",
            "1e5",
            "1.2.3",
            " 1",
            "1 ",
            "NaN",
            "0x1",
            "--1",
            "9223372036854775808",
        ] {
            assert_eq!(scaled(text.as_bytes(), 0, Excess::Cut), None, "{text}");
        }
        assert_eq!(scaled(b"9223372036854775807", 1, Excess::Cut), None);
        assert_eq!(whole(b"2021", 4), Some(2021));
        assert_eq!(whole(b"20210", 4), None);
        assert_eq!(whole(b"-1", 4), None);
    }

    #[test]
    fn raw_values_are_shown_as_the_sink_writes_them() {
        for (raw, step, want) in [
            (149, Step::new(1, 10), "14.9"),
            (-5, Step::new(1, 100), "-0.05"),
            (150, Step::new(1, 10), "15"),
            (7, Step::ONE, "7"),
            (1, Step { numerator: 1, denominator: 8, offset: -64 }, "-63.875"),
            (0, Step::new(1, 10), "0"),
            (38, Step::new(100, 255), "3800/255"),
        ] {
            assert_eq!(decimal_of(raw, step), want);
        }
    }
}
