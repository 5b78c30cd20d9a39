//! Points in time and lengths of time as people write them in a query.

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// What a text says: an instant in milliseconds since 1970.
///
/// `2026-11-22`, `2026-11-22T07`, `2026-11-22T07:30`, `2026-11-22 07:30:00.125`, each with or
/// without `Z` or an offset like `+01:00`; UTC where none is named. More than milliseconds is cut
/// off. Also a plain whole number of five digits or more, lest it be a year: milliseconds since 1970.
///
/// Source: RFC 3339 section 5.6, and what SQLite's own date functions give.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(unix_ms) = text.parse() {
        return Some(unix_ms).filter(|_| text.len() > 4);
    }
    let mut rest = Rest(text.as_bytes());
    let year = rest.digits(4)?;
    rest.expect(b'-')?;
    let month = rest.digits(2)?;
    rest.expect(b'-')?;
    let day = rest.digits(2)?;
    let day_ms = days_since_1970(year, month, day)?.checked_mul(DAY_MS)?;
    if rest.0.is_empty() {
        return Some(day_ms);
    }
    if rest.expect(b'T').or_else(|| rest.expect(b't')).is_none() {
        rest.expect(b' ')?;
    }
    let hour = rest.digits(2).filter(|hour| *hour < 24)?;
    let mut in_day_ms = hour * 3_600_000;
    if rest.expect(b':').is_some() {
        in_day_ms += rest.digits(2).filter(|minute| *minute < 60)? * 60_000;
        if rest.expect(b':').is_some() {
            // A leap second counts as the first of the next minute.
            in_day_ms += rest.digits(2).filter(|second| *second <= 60)? * 1000;
            if rest.expect(b'.').is_some() {
                in_day_ms += rest.fraction_ms()?;
            }
        }
    }
    let offset_ms = rest.offset_ms()?;
    rest.0.is_empty().then(|| day_ms + in_day_ms - offset_ms)
}

/// A length of time in milliseconds: `250ms`, `90s`, `15m`, `1h`, `7d`.
pub fn parse_length(text: &str) -> Option<i64> {
    let length = crate::config::parse_duration(text.trim())?;
    i64::try_from(length.as_millis()).ok().filter(|ms| *ms > 0)
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        (*first == byte).then(|| self.0 = rest)
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.iter().try_fold(0, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
        })
    }

    fn fraction_ms(&mut self) -> Option<i64> {
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at_checked(length).filter(|_| length > 0)?;
        self.0 = rest;
        let digits = digits.iter().copied().chain(std::iter::repeat(b'0'));
        Some(digits.take(3).fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    /// `Z`, an offset or nothing.
    fn offset_ms(&mut self) -> Option<i64> {
        let sign = match self.0.first() {
            None => return Some(0),
            Some(b'Z' | b'z') => {
                self.0 = self.0.get(1..)?;
                return Some(0);
            }
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return None,
        };
        self.0 = self.0.get(1..)?;
        let hours = self.digits(2).filter(|hours| *hours < 24)?;
        self.expect(b':')?;
        let minutes = self.digits(2).filter(|minutes| *minutes < 60)?;
        Some(sign * (hours * 60 + minutes) * 60_000)
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar; none for a day that is none. Years are
/// counted from March, so that the leap day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let (year, month_from_march) =
        if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let in_year = (153 * month_from_march + 2) / 5 + day - 1;
    Some(
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + in_year - 719_468,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::Rfc3339;

    #[test]
    fn times_as_people_write_them() {
        for (text, want) in [
            ("1970-01-01", Some(0)),
            ("2008-05-18T07:00:08Z", Some(1_211_094_008_000)),
            ("2008-05-18 07:00:08", Some(1_211_094_008_000)),
            ("2008-05-18T07:00:08.5", Some(1_211_094_008_500)),
            ("2008-05-18T07:00:08.123999Z", Some(1_211_094_008_123)),
            ("2008-05-18T09:00:08+02:00", Some(1_211_094_008_000)),
            ("2008-05-18T02:30:08-04:30", Some(1_211_094_008_000)),
            ("2008-05-18T07:00", Some(1_211_094_000_000)),
            ("2008-05-18T07", Some(1_211_094_000_000)),
            (" 1211094008000 ", Some(1_211_094_008_000)),
            ("-5000", Some(-5000)),
            ("2008", None),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800_000)),
            ("2008-02-30", None),
            ("2008-13-01", None),
            ("2008-05-18T24:00", None),
            ("2008-05-18T07:60", None),
            ("2008-05-18T07:00:08.", None),
            ("2008-05-18T07:00:08+2", None),
            ("2008-05-18x", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    #[test]
    fn lengths_are_not_zero() {
        assert_eq!(parse_length("15m"), Some(900_000));
        assert_eq!(parse_length("1d"), Some(DAY_MS));
        assert_eq!(parse_length("0s"), None);
        assert_eq!(parse_length("15"), None);
    }

    proptest! {
        #[test]
        fn what_documents_say_reads_back(unix_ms in -62_167_219_200_000..253_402_300_799_999_i64) {
            let mut text = Vec::new();
            prop_assert!(Rfc3339::default().write(&mut text, unix_ms));
            prop_assert_eq!(parse(std::str::from_utf8(&text).unwrap()), Some(unix_ms));
        }
    }
}
