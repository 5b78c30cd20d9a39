//! Tables for people.

use std::io::{self, Write};

use crate::document::Rfc3339;

/// A table of text, as wide as its widest cells.
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// With these headings.
    pub fn new(headings: [&str; COLUMNS]) -> Self {
        Self { rows: vec![headings.map(str::to_owned)] }
    }

    /// One row more.
    pub fn row(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }

    /// Writes it out.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut widths = [0; COLUMNS];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Text of a device's for a terminal: what would move its cursor does not.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A time to the second, UTC: `2026-11-22T07:30:00Z`.
pub(super) fn time(unix_ms: i64) -> String {
    let mut text = Vec::new();
    let written = Rfc3339::default().write(&mut text, unix_ms);
    let text = if written { String::from_utf8(text).ok() } else { None };
    let second = text.as_deref().and_then(|text| text.get(..19));
    second.map_or_else(|| "-".to_owned(), |second| format!("{second}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_moves_no_cursor() {
        assert_eq!(printable("\u{1b}[2Jä\n"), "\u{fffd}[2Jä\u{fffd}");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["A", "LONGER"]);
        table.row(["xyz".to_owned(), "1".to_owned()]);
        table.row(["é".to_owned(), "2".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A    LONGER\nxyz  1\né    2\n");
    }

    #[test]
    fn times_are_to_the_second() {
        assert_eq!(time(1_211_094_008_999), "2008-05-18T07:00:08Z");
        assert_eq!(time(i64::MAX), "-");
    }
}
