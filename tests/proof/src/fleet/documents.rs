//! What the product's file sink has written, read back as whoever follows its files does.

use std::path::PathBuf;

use protocol::{DeviceId, Lane, Seq};
use serde_json::Value;

use super::life::sinks_dir;
use super::slot::Slot;
use super::source::{PATHS, Said};
use super::truth::{From, Measured, Truth, Violation};

/// Takes all that the files hold into what is known of the sink; of one that was removed, what comes
/// before its end, behind which there may be anything.
pub(super) fn read(slot: &Slot, is_removed: bool) -> Result<(), Violation> {
    let mut upstream = slot.model.upstream();
    let mut erased = slot.erased.iter().peekable();
    let mut before = 0;
    for (path, bytes) in logs(slot) {
        for line in bytes.split(|byte| *byte == b'\n') {
            while let Some(erased) = erased.next_if(|erased| erased.behind <= before) {
                upstream.truth.erased(erased.of, erased.next);
            }
            before += line.len() + 1;
            if line.is_empty() {
                continue;
            }
            if take(&mut upstream.truth, line).is_none() {
                if is_removed {
                    return Ok(());
                }
                let line = String::from_utf8_lossy(line);
                let what = format!("{}: no document: {line}", path.display());
                return Err(Violation::new("I2", what));
            }
        }
        // Behind the last line is no line.
        before -= 1;
    }
    for erased in erased {
        upstream.truth.erased(erased.of, erased.next);
    }
    Ok(())
}

/// The files, in the order of their numbers.
pub(super) fn logs(slot: &Slot) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = sinks_dir(&slot.home);
    let is_log = |path: &PathBuf| {
        path.parent() == Some(&dir) && path.extension().is_some_and(|end| end == "ndjson")
    };
    slot.disk.files().into_iter().filter(|(path, _)| is_log(path)).collect()
}

fn take(truth: &mut Truth, line: &[u8]) -> Option<()> {
    let document: Value = serde_json::from_slice(line).ok()?;
    let mut id = document.get("id")?.as_str()?.split('/');
    let device: DeviceId = id.next()?.parse().ok()?;
    let (ring, seq, ordinal) = (id.next()?.parse().ok()?, id.next()?.parse().ok()?, id.next()?);
    let name = document.get("lane")?.as_str()?;
    let lane = Lane::ALL.into_iter().find(|lane| lane.name() == name)?;
    let origin = match document.get("origin") {
        Some(origin) => Some(origin.as_str()?.split('/').next()?.parse().ok()?),
        None => None,
    };
    let from = From { device, ring, seq: Seq(seq), lane, origin };
    let ordinal: Option<u32> = ordinal.parse().ok();
    match document.get("type")?.as_str()? {
        "milepost.samples" => {
            let second = second_of(document.get("time")?.as_str()?)?;
            let data = document.get("data")?.as_object()?;
            // In the order in which they are measured.
            let measured = (0..).zip(PATHS).filter_map(|(signal, path)| {
                let value = said(data.get(path)?);
                Some(Measured { ordinal: ordinal?, second, signal, value })
            });
            truth.samples(from, measured);
        }
        kind => truth.record(from, ordinal, (kind == "milepost.loss").then_some(line)),
    }
    Some(())
}

/// A value as documents have it.
fn said(value: &Value) -> Option<Said> {
    match value {
        Value::Null => Some(Said::Missing),
        Value::String(text) => Some(Said::Text(text.clone())),
        Value::Number(number) => {
            let number = number.as_f64()?;
            let whole = format!("{number}").parse().ok();
            Some(whole.map_or(Said::number(number), Said::Whole))
        }
        Value::Object(object) => match (object.get("hex"), object.get("float")) {
            (Some(hex), None) => bytes_of(hex.as_str()?).map(Said::Bytes),
            (None, Some(float)) => float.as_str()?.parse().ok().map(Said::number),
            _ => None,
        },
        Value::Bool(_) | Value::Array(_) => None,
    }
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Seconds since 1970 of `2026-11-21T07:00:00.000Z`.
fn second_of(time: &str) -> Option<i64> {
    let mut parts = time.trim_end_matches('Z').split(['-', 'T', ':', '.']);
    let mut part = || parts.next()?.parse::<i64>().ok();
    let (year, month, day) = (part()?, part()?, part()?);
    let (hour, minute, second) = (part()?, part()?, part()?);
    // Days since 1970, by Hinnant's `days_from_civil`.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_the_second_that_it_is() {
        assert_eq!(second_of("1970-01-01T00:00:00.000Z"), Some(0));
        assert_eq!(second_of("2026-11-21T07:00:01.000Z"), Some(1_795_244_401));
        assert_eq!(second_of("2571-04-21T23:59:59.000Z"), Some(18_975_340_799));
    }
}
