//! One trip of an electric car, a row a second.
//!
//! Seven columns come from the car and make a sample each, at one instant; the other columns come
//! from a weather and map service and are left out. Rows without a valid date are left out. Source:
//! Y. `NaitMalek` et al., `RSK_Twizy_EV_Dataset`; date M/D/Y and time are taken as UTC.

use protocol::{Sample, SignalIndex};

use crate::civil::day_start_ms;
use crate::decimal::{Excess, scaled, whole};
use crate::lines::Lines;
use crate::{FileReport, ReadError, Recording, Track};

// What the car says of itself. `GNSSSpeed` is private to Milepost, the rest is VSS 6.
include!("../signals/ev_twizy.rs");

/// The columns of the signals, in the catalogue's order, with the decimals of their step.
const COLUMNS: [(&str, u8); 7] =
    [("Soc", 2), ("Speed", 2), ("Mode", 0), ("LAT", 6), ("LON", 6), ("ALT", 0), ("GpsSpeed", 2)];

pub(super) fn is_header(header: &[u8]) -> bool {
    header.starts_with(b"Date,Time,") && Layout::of_header(header).is_some()
}

pub(super) fn read(
    lines: &mut Lines,
    header: &[u8],
    stem: &str,
    report: &mut FileReport,
) -> Result<Vec<Track>, ReadError> {
    let mut recording = Recording::new(&CATALOGUE);
    let layout = Layout::of_header(header).unwrap_or_default();
    while let Some((number, line)) = lines.read_line()? {
        if line.is_empty() {
            continue;
        }
        report.rows += 1;
        let cells: Vec<&[u8]> = line.split(|byte| *byte == b',').collect();
        let [date, time, ..] = cells.as_slice() else {
            report.note_malformed(number, || "no date and time".to_owned());
            continue;
        };
        let Some(tick) = unix_s(date, time) else {
            report.note_malformed(number, || {
                let stamp = [*date, *time].map(|cell| String::from_utf8_lossy(cell).into_owned());
                format!("no such date and time: {}", stamp.join(" "))
            });
            continue;
        };
        for ((signal, (name, places)), at) in (0..).zip(COLUMNS).zip(layout.columns) {
            let cell = cells.get(at).copied().unwrap_or_default();
            if cell.is_empty() {
                continue;
            }
            let Some(raw) = raw_of(name, cell, places) else {
                report.note_malformed(number, || format!("column {name}: no value"));
                continue;
            };
            let sample = Sample::new(tick, SignalIndex(signal), raw);
            if let Err(unknown) = recording.push(sample) {
                report.note_malformed(number, || unknown.to_string());
            }
        }
    }
    Ok(vec![Track { name: stem.to_owned(), recording }])
}

/// Where the columns are.
#[derive(Default)]
struct Layout {
    columns: [usize; COLUMNS.len()],
}

impl Layout {
    fn of_header(header: &[u8]) -> Option<Self> {
        let mut layout = Self::default();
        for (slot, (name, _)) in layout.columns.iter_mut().zip(COLUMNS) {
            *slot = header.split(|byte| *byte == b',').position(|cell| cell == name.as_bytes())?;
        }
        Some(layout)
    }
}

fn raw_of(column: &str, cell: &[u8], places: u8) -> Option<i64> {
    if column != "Mode" {
        return scaled(cell, places, Excess::Round);
    }
    // VSS: 0 neutral, positive forward, negative reverse.
    match cell {
        b"N" => Some(0),
        b"D" => Some(1),
        b"R" => Some(-1),
        _ => None,
    }
}

fn unix_s(date: &[u8], time: &[u8]) -> Option<i64> {
    let [month, day, year] = three(date, b'/')?;
    let [hour, minute, second] = three(time, b':')?;
    let day_ms = day_start_ms(whole(year, 4)?, whole(month, 2)?, whole(day, 2)?)?;
    let (hour, minute, second) = (whole(hour, 2)?, whole(minute, 2)?, whole(second, 2)?);
    let in_range = hour < 24 && minute < 60 && second < 60;
    in_range.then_some(day_ms / 1000 + (hour * 60 + minute) * 60 + second)
}

fn three(text: &[u8], mark: u8) -> Option<[&[u8]; 3]> {
    let mut parts = text.split(|byte| *byte == mark);
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}
