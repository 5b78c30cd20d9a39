//! Points in time as RFC 3339 text, UTC, milliseconds.

/// 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z, in milliseconds since 1970.
const RANGE_MS: core::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Writes times; keeps the last second's text, because the next sample is mostly in it too.
#[derive(Clone, Debug)]
pub struct Rfc3339 {
    day: i64,
    date: [u8; 11],
    second: i64,
    time: [u8; 9],
}

impl Default for Rfc3339 {
    fn default() -> Self {
        Self { day: 0, date: *b"1970-01-01T", second: 0, time: *b"00:00:00." }
    }
}

impl Rfc3339 {
    /// Appends the time `unix_ms` milliseconds after 1970, unless its year has not four digits.
    /// Whether it did.
    pub fn write(&mut self, out: &mut Vec<u8>, unix_ms: i64) -> bool {
        if !RANGE_MS.contains(&unix_ms) {
            return false;
        }
        let second = unix_ms.div_euclid(1000);
        if second != self.second {
            self.turn_to(second);
        }
        let [hundreds, tens, ones] = three(unix_ms.rem_euclid(1000));
        out.extend_from_slice(&self.date);
        out.extend_from_slice(&self.time);
        out.extend_from_slice(&[hundreds, tens, ones, b'Z']);
        true
    }

    fn turn_to(&mut self, second: i64) {
        self.second = second;
        let day = second.div_euclid(86_400);
        if day != self.day {
            self.day = day;
            self.date = date_of(day);
        }
        let in_day = second.rem_euclid(86_400);
        let [_, h, hh] = three(in_day / 3600);
        let [_, m, mm] = three(in_day / 60 % 60);
        let [_, s, ss] = three(in_day % 60);
        self.time = [h, hh, b':', m, mm, b':', s, ss, b'.'];
    }
}

/// A time for a sentence or a table: RFC 3339, or milliseconds since 1970 where its year has not
/// four digits.
pub fn shown(unix_ms: i64) -> String {
    let mut text = Vec::new();
    let written = Rfc3339::default().write(&mut text, unix_ms);
    let text = String::from_utf8(text).ok().filter(|_| written);
    text.unwrap_or_else(|| format!("{unix_ms} ms"))
}

/// Milliseconds since 1970 of a time as people write it: `2026-11-22T07:30:00Z`, with a fraction or
/// without, with an offset like `+01:00`, with a blank instead of the `T`, without seconds; or a day
/// alone, which is its first moment in UTC.
pub fn parse(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let day = parse_date(date)?;
    if rest.is_empty() {
        return day.checked_mul(86_400_000);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset_minutes) = if let Some(clock) = rest.strip_suffix(['Z', 'z']) {
        (clock, 0)
    } else {
        let (clock, offset) = rest.split_at_checked(rest.rfind(['+', '-'])?)?;
        let minutes = parse_hours_minutes(offset.get(1..)?)?;
        (clock, if offset.starts_with('-') { -minutes } else { minutes })
    };
    let (hours_minutes, seconds) = clock.split_at_checked(5)?;
    let minutes = parse_hours_minutes(hours_minutes)?;
    let in_minute_ms = parse_seconds(seconds)?;
    Some(day * 86_400_000 + (minutes - offset_minutes) * 60_000 + in_minute_ms)
}

/// Days since 1970 of `YYYY-MM-DD`.
fn parse_date(text: &str) -> Option<i64> {
    let [year, month, day] = fields(text, '-', [4, 2, 2])?;
    let month_from_march = (month + 9) % 12;
    let years = year - i64::from(month <= 2);
    let in_era = years.rem_euclid(400);
    let in_year = (153 * month_from_march + 2) / 5 + day - 1;
    let days = years.div_euclid(400) * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year
        - 719_468;
    // A day that is none, the 30th of February, comes back as another.
    date_of(days).strip_suffix(b"T").filter(|shown| *shown == text.as_bytes()).map(|_| days)
}

/// Minutes of `HH:MM`.
fn parse_hours_minutes(text: &str) -> Option<i64> {
    let [hours, minutes] = fields(text, ':', [2, 2])?;
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// Milliseconds of `:SS`, `:SS.fff` or nothing.
fn parse_seconds(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let (whole, fraction) = text.strip_prefix(':')?.split_at_checked(2)?;
    let [seconds] = fields(whole, ':', [2])?;
    let digits = if fraction.is_empty() { "000" } else { fraction.strip_prefix('.')? };
    if seconds >= 60 || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ms = digits.chars().chain("00".chars()).take(3).collect::<String>().parse::<i64>().ok()?;
    Some(seconds * 1000 + ms)
}

/// Numbers of so many digits each, between separators.
fn fields<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        *number = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

/// `YYYY-MM-DDT` of a day since 1970, in the proleptic Gregorian calendar. Years are counted from
/// March, so that the leap day is the last of its year.
fn date_of(day: i64) -> [u8; 11] {
    const DAYS_0000_03_01_TO_1970: i64 = 719_468;
    const DAYS_400_YEARS: i64 = 146_097;
    let day = day + DAYS_0000_03_01_TO_1970;
    let era = day.div_euclid(DAYS_400_YEARS);
    let in_era = day.rem_euclid(DAYS_400_YEARS);
    let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * in_year + 2) / 153;
    let day_of_month = in_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let [_, y, yy] = three(year / 100);
    let [_, yyy, yyyy] = three(year % 100);
    let [_, m, mm] = three(month);
    let [_, d, dd] = three(day_of_month);
    [y, yy, yyy, yyyy, b'-', m, mm, b'-', d, dd, b'T']
}

/// The last three digits.
fn three(number: i64) -> [u8; 3] {
    let digit = |value: i64| b'0' + u8::try_from(value % 10).unwrap_or_default();
    [digit(number / 100), digit(number / 10), digit(number)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(unix_ms: i64) -> Option<String> {
        let mut out = Vec::new();
        Rfc3339::default().write(&mut out, unix_ms).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn known_times() {
        for (unix_ms, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_211_094_008_000, "2008-05-18T07:00:08.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (*RANGE_MS.start(), "0000-01-01T00:00:00.000Z"),
            (*RANGE_MS.end(), "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(written(unix_ms).as_deref(), Some(want));
        }
        assert_eq!(written(RANGE_MS.start() - 1), None);
        assert_eq!(written(RANGE_MS.end() + 1), None);
        assert_eq!(written(i64::MIN), None);
    }

    #[test]
    fn what_people_write_is_read() {
        for (text, want) in [
            ("1970-01-01", 0),
            ("2008-05-18T07:00:08.000Z", 1_211_094_008_000),
            ("2008-05-18T07:00:08.12345Z", 1_211_094_008_123),
            ("2008-05-18 07:00:08.5z", 1_211_094_008_500),
            ("2008-05-18T09:30:08+02:30", 1_211_094_008_000),
            ("2008-05-17T23:00-08:00", 1_211_094_000_000),
            ("0000-02-29", -62_162_121_600_000),
        ] {
            assert_eq!(parse(text), Some(want), "{text}");
        }
        for text in [
            "",
            "2008",
            "2008-5-18",
            "2008-02-30",
            "2008-13-01",
            "2008-00-01",
            "2008-01-00",
            "2008-05-18T",
            "2008-05-18T07:00",
            "2008-05-18T24:00Z",
            "2008-05-18T07:60Z",
            "2008-05-18T07:00:60Z",
            "2008-05-18T07:00:08.Z",
            "2008-05-18T07:00:08.xZ",
            "2008-05-18T07:00:08+2",
            "2008-05-18T07:00Zjunk",
            "é008-05-18",
            "2008-05-1é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        for unix_ms in [RANGE_MS.start(), &-1, &0, &1_211_094_008_123, RANGE_MS.end()] {
            assert_eq!(parse(&shown(*unix_ms)), Some(*unix_ms));
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut day = 0;
        for year in 1970..2402 {
            days[1] = if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 29 } else { 28 };
            for (month, length) in (1..).zip(days) {
                for of_month in 1..=length {
                    let want = format!("{year:04}-{month:02}-{of_month:02}T");
                    assert_eq!(String::from_utf8_lossy(&date_of(day)), want);
                    assert_eq!(parse_date(&want[..10]), Some(day));
                    day += 1;
                }
            }
        }
    }

    #[test]
    fn the_cache_is_not_seen() {
        let mut cached = Rfc3339::default();
        for unix_ms in [1_211_094_008_000, 1_211_094_008_999, 1_211_094_009_000, 0, 86_400_000, 999]
        {
            let mut out = Vec::new();
            assert!(cached.write(&mut out, unix_ms));
            assert_eq!(Some(String::from_utf8(out).unwrap()), written(unix_ms));
        }
    }
}
