//! Calendar dates and RFC 3339 time stamps as milliseconds since 1970-01-01 UTC, and back.
//!
//! Proleptic Gregorian calendar, no leap seconds (as POSIX time has none).

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970 at midnight UTC of a date; nothing if there is no such day.
pub fn day_start_ms(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) || !(0..=9999).contains(&year) {
        return None;
    }
    // Years begin in March, so that the leap day is a year's last.
    let from_march = (month + 9) % 12;
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
    Some((era * 146_097 + day_of_era - 719_468) * DAY_MS)
}

/// Reads `2008-05-18T07:00:08.000Z`: UTC, exactly three decimals.
pub fn parse_rfc3339_ms(text: &[u8]) -> Option<i64> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    if marks.iter().any(|(at, mark)| text.get(*at) != Some(mark)) {
        return None;
    }
    let number = |from: usize, len: usize| {
        text.get(from..from + len)?.iter().try_fold(0_i64, |sum, byte| {
            byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
        })
    };
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let day_ms = day_start_ms(number(0, 4)?, number(5, 2)?, number(8, 2)?)?;
    Some(day_ms + ((hour * 60 + minute) * 60 + second) * 1000 + number(20, 3)?)
}

/// Writes a time as [`parse_rfc3339_ms`] reads it; years 0 to 9999.
pub fn rfc3339_ms(unix_ms: i64) -> String {
    let (days, ms) = (unix_ms.div_euclid(DAY_MS), unix_ms.rem_euclid(DAY_MS));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * of_era + of_era / 4 - of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = of_era + era * 400 + i64::from(month <= 2);
    let (second, milli) = (ms / 1000, ms % 1000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{milli:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        assert_eq!(day_start_ms(1970, 1, 1), Some(0));
        assert_eq!(day_start_ms(2008, 5, 18), Some(1_211_068_800_000));
        assert_eq!(day_start_ms(2000, 2, 29), Some(951_782_400_000));
        for (year, month, day) in [
            (2001, 2, 29),
            (1900, 2, 29),
            (2003, 29, 0),
            (2021, 4, 31),
            (2021, 0, 1),
            (2021, 13, 1),
        ] {
            assert_eq!(day_start_ms(year, month, day), None, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn stamps_round_trip() {
        for text in [
            "1970-01-01T00:00:00.000Z",
            "2008-05-18T07:00:08.000Z",
            "2024-02-29T23:59:59.999Z",
            "1969-12-31T23:59:59.001Z",
            "0000-01-01T00:00:00.000Z",
            "9999-12-31T23:59:59.999Z",
        ] {
            let ms = parse_rfc3339_ms(text.as_bytes()).unwrap();
            assert_eq!(rfc3339_ms(ms), text);
        }
        assert_eq!(parse_rfc3339_ms(b"2008-05-18T07:00:08.000Z"), Some(1_211_094_008_000));
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            "2008-05-18T07:00:08Z",
            "2008-05-18 07:00:08.000Z",
            "2008-05-18T24:00:08.000Z",
            "2008-05-1xT07:00:08.000Z",
            "2008-02-30T07:00:08.000Z",
            "",
        ] {
            assert_eq!(parse_rfc3339_ms(text.as_bytes()), None, "{text}");
        }
    }
}
