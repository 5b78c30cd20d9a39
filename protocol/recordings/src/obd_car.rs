//! One drive of a car: its OBD-II poller asks ten PIDs in turn and writes a row per reply, the
//! other nine columns repeated.
//!
//! So **one row is one fresh sample**, of the column after the last row's. Now and then a reply is
//! lost and the turn slips; that shows at the next row that changes another column than its turn
//! says, and the turn goes on from there. Source: M. Weber, Automotive OBD-II Dataset, KIT, 2023;
//! `Time` is the local wall clock, taken here as if it were UTC; the date is in the file's name and
//! goes on to the next day when the clock falls by more than twelve hours.

use protocol::{Sample, SignalIndex};

use crate::civil::day_start_ms;
use crate::decimal::{Excess, scaled, whole};
use crate::lines::Lines;
use crate::{FileReport, ReadError, Recording, Track};

const DAY_MS: i64 = 86_400_000;
const COLUMNS: usize = 10;

// The ten PIDs in the order of the poller. Ranges: SAE J1979 (2002), table B.
include!("../signals/obd_car.rs");

/// How a column is printed.
#[derive(Clone, Copy, Debug)]
enum Printed {
    /// With so many decimals, which are its steps.
    Decimals(u8),
    /// One byte's share of 100, with one decimal: its steps are the byte's.
    Percent,
}

const PRINTED: [Printed; COLUMNS] = {
    use Printed::{Decimals, Percent};
    let whole = Decimals(0);
    [whole, whole, whole, whole, whole, Decimals(2), Percent, whole, Percent, Percent]
};

/// How the columns' names begin; what follows is a unit, whose degree sign is mangled in places.
const HEADINGS: [&str; COLUMNS + 1] = [
    "Time",
    "Engine Coolant Temperature",
    "Intake Manifold Absolute Pressure",
    "Engine RPM",
    "Vehicle Speed Sensor",
    "Intake Air Temperature",
    "Air Flow Rate from Mass Flow Sensor",
    "Absolute Throttle Position",
    "Ambient Air Temperature",
    "Accelerator Pedal Position D",
    "Accelerator Pedal Position E",
];

pub(super) fn is_header(header: &[u8]) -> bool {
    let mut cells = header.split(|byte| *byte == b',');
    HEADINGS
        .iter()
        .all(|heading| cells.next().is_some_and(|cell| cell.starts_with(heading.as_bytes())))
        && cells.next().is_none()
}

pub(super) fn read(
    lines: &mut Lines,
    stem: &str,
    report: &mut FileReport,
) -> Result<Vec<Track>, ReadError> {
    let day_ms = date_of(stem).ok_or_else(|| ReadError::NoDate { path: report.path.clone() })?;
    let mut recording = Recording::new(&CATALOGUE);
    let mut clock = DayClock { day_ms, last_ms: None };
    let mut turn = Turn::default();
    while let Some((number, line)) = lines.read_line()? {
        if line.is_empty() {
            continue;
        }
        report.rows += 1;
        let Some((time, cells)) = split(line) else {
            report.note_malformed(number, || format!("not {} columns", COLUMNS + 1));
            continue;
        };
        let Some(of_day_ms) = time_of_day_ms(time) else {
            report.note_malformed(number, || "no time HH:MM:SS.mmm".to_owned());
            continue;
        };
        let tick = clock.unix_ms(of_day_ms);
        let column = turn.column(&cells);
        let (Some(cell), Some(printed)) = (cells.get(column), PRINTED.get(column)) else {
            continue;
        };
        if cell.is_empty() {
            continue; // No reply to this PID yet.
        }
        let Some(raw) = printed.raw(cell) else {
            report.note_malformed(number, || format!("column {}: no number", column + 2));
            continue;
        };
        let signal = SignalIndex(u8::try_from(column).unwrap_or(u8::MAX));
        if let Err(unknown) = recording.push(Sample::new(tick, signal, raw)) {
            report.note_malformed(number, || unknown.to_string());
        }
    }
    // The car's own name is in every file's name and tells nothing apart.
    let name = stem.replacen("_Seat_Leon", "", 1);
    Ok(vec![Track { name, recording }])
}

impl Printed {
    fn raw(self, cell: &[u8]) -> Option<i64> {
        match self {
            Self::Decimals(places) => scaled(cell, places, Excess::Cut),
            Self::Percent => byte_of(scaled(cell, 1, Excess::Cut)?),
        }
    }
}

/// The byte whose share of 100 is printed so, in tenths; halves were rounded either way.
fn byte_of(tenths: i64) -> Option<i64> {
    let byte = tenths.checked_mul(255)?.checked_add(500)?.div_euclid(1000);
    let off = (byte * 1000 - tenths * 255).abs();
    (off * 2 <= 255 + 1).then_some(byte)
}

type Cells<'a> = [&'a [u8]; COLUMNS];

fn split(line: &[u8]) -> Option<(&[u8], Cells<'_>)> {
    let mut parts = line.split(|byte| *byte == b',');
    let time = parts.next()?;
    let mut cells: Cells<'_> = [&[]; COLUMNS];
    for cell in &mut cells {
        *cell = parts.next()?.trim_ascii();
    }
    parts.next().is_none().then_some((time, cells))
}

fn date_of(stem: &str) -> Option<i64> {
    let [year, month, day] = *stem.get(..10)?.split('-').collect::<Vec<_>>() else { return None };
    let number = |text: &str, digits| whole(text.as_bytes(), digits);
    day_start_ms(number(year, 4)?, number(month, 2)?, number(day, 2)?)
}

fn time_of_day_ms(text: &[u8]) -> Option<i64> {
    let mut parts = text.split(|byte| *byte == b':');
    let (hour, minute) = (whole(parts.next()?, 2)?, whole(parts.next()?, 2)?);
    let second_ms = scaled(parts.next()?, 3, Excess::Round)?;
    let in_range = hour < 24 && minute < 60 && (0..60_000).contains(&second_ms);
    (in_range && parts.next().is_none()).then_some((hour * 60 + minute) * 60_000 + second_ms)
}

/// Puts the date to a time of day.
struct DayClock {
    day_ms: i64,
    last_ms: Option<i64>,
}

impl DayClock {
    fn unix_ms(&mut self, of_day_ms: i64) -> i64 {
        if self.last_ms.is_some_and(|last_ms| of_day_ms < last_ms - DAY_MS / 2) {
            self.day_ms += DAY_MS;
        }
        self.last_ms = Some(of_day_ms);
        self.day_ms + of_day_ms
    }
}

/// Whose turn it is to be fresh.
#[derive(Default)]
struct Turn {
    /// The last row's cells, and which of them was fresh; none before the first row.
    last: Option<(Vec<Vec<u8>>, usize)>,
}

impl Turn {
    /// Which column of the next row is fresh.
    fn column(&mut self, cells: &Cells<'_>) -> usize {
        let Some((last_cells, last_column)) = &mut self.last else {
            self.last = Some((cells.iter().map(|cell| cell.to_vec()).collect(), 0));
            return 0;
        };
        let mut column = (*last_column + 1) % COLUMNS;
        let mut first_changed = None;
        let mut changed_in_turn = false;
        for (at, (cell, last_cell)) in cells.iter().zip(last_cells.iter_mut()).enumerate() {
            if *cell != last_cell.as_slice() {
                first_changed = first_changed.or(Some(at));
                changed_in_turn |= at == column;
                last_cell.clear();
                last_cell.extend_from_slice(cell);
            }
        }
        if let (Some(changed), false) = (first_changed, changed_in_turn) {
            column = changed; // A reply was lost: the turn slipped.
        }
        *last_column = column;
        column
    }
}
