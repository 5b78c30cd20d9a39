//! Columns that line up, for people.

use std::io::{self, Write};

use rusqlite::types::ValueRef;

use super::{Rows, hexadecimal, real};

/// Rows looked at before the widths are settled.
const ROWS_HELD_MAX: usize = 500;
/// And bytes: whichever comes first.
const BYTES_HELD_MAX: usize = 256 * 1024;

/// Writes a table. Widths are settled by the first rows; what is wider later pushes its row's rest
/// to the right. Control characters are shown escaped: what a device sent commands no terminal.
pub struct Table<'a> {
    out: &'a mut dyn Write,
    /// The heading and the rows held back; empty once the widths are settled.
    held: Vec<Vec<Cell>>,
    bytes_held: usize,
    widths: Vec<usize>,
    settled: bool,
}

struct Cell {
    text: String,
    is_number: bool,
}

impl<'a> Table<'a> {
    /// Into this.
    pub fn new(out: &'a mut (dyn Write + 'a)) -> Self {
        Self { out, held: Vec::new(), bytes_held: 0, widths: Vec::new(), settled: false }
    }

    fn take(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        if self.settled {
            return self.write(&cells);
        }
        self.widths.resize(cells.len(), 0);
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = cell.text.chars().count().max(*width);
            self.bytes_held += cell.text.len();
        }
        self.held.push(cells);
        if self.held.len() > ROWS_HELD_MAX || self.bytes_held > BYTES_HELD_MAX {
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        self.settled = true;
        for cells in std::mem::take(&mut self.held) {
            self.write(&cells)?;
        }
        Ok(())
    }

    fn write(&mut self, cells: &[Cell]) -> io::Result<()> {
        let mut line = String::new();
        for (at, (width, cell)) in self.widths.iter().zip(cells).enumerate() {
            if at > 0 {
                line.push_str("  ");
            }
            let missing = width.saturating_sub(cell.text.chars().count());
            let padding = std::iter::repeat_n(' ', missing);
            if cell.is_number {
                line.extend(padding);
                line.push_str(&cell.text);
            } else {
                line.push_str(&cell.text);
                line.extend(padding);
            }
        }
        writeln!(self.out, "{}", line.trim_end_matches(' '))
    }
}

impl Rows for Table<'_> {
    fn begin(&mut self, columns: &[&str]) -> io::Result<()> {
        let cell = |name: &&str| Cell { text: visible(name), is_number: false };
        self.take(columns.iter().map(cell).collect())
    }

    fn row(&mut self, row: &[ValueRef<'_>]) -> io::Result<()> {
        let cells = row.iter().map(|value| match value {
            ValueRef::Null => Cell { text: "NULL".to_owned(), is_number: false },
            ValueRef::Integer(whole) => Cell { text: whole.to_string(), is_number: true },
            ValueRef::Real(number) => Cell { text: real(*number), is_number: true },
            ValueRef::Text(text) => {
                Cell { text: visible(&String::from_utf8_lossy(text)), is_number: false }
            }
            ValueRef::Blob(blob) => {
                Cell { text: format!("x'{}'", hexadecimal(blob)), is_number: false }
            }
        });
        let cells = cells.collect();
        self.take(cells)
    }

    fn end(&mut self) -> io::Result<()> {
        self.settle()?;
        self.out.flush()
    }
}

/// A text with everything escaped that would move the cursor, colour the terminal or turn the
/// reading direction.
fn visible(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(is_odd) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_odd(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_to_the_right() {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out);
        table.begin(&["name", "value"]).unwrap();
        table.row(&[ValueRef::Text(b"a"), ValueRef::Integer(5)]).unwrap();
        table.row(&[ValueRef::Text("longer é".as_bytes()), ValueRef::Real(-1234.5)]).unwrap();
        table.row(&[ValueRef::Null, ValueRef::Blob(&[0xab])]).unwrap();
        table.end().unwrap();
        drop(table);
        let want = "\
name      value
a               5
longer é  -1234.5
NULL      x'ab'
";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn what_a_device_sent_commands_no_terminal() {
        assert_eq!(visible("a\x1b[31m\r\n\u{202e}b"), "a\\u{1b}[31m\\r\\n\\u{202e}b");
        assert_eq!(visible("plain é"), "plain é");
    }

    #[test]
    fn a_long_answer_is_not_held_back() {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out);
        table.begin(&["n"]).unwrap();
        for row in 0..2000 {
            table.row(&[ValueRef::Integer(row)]).unwrap();
        }
        assert!(table.held.is_empty());
        table.end().unwrap();
        drop(table);
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2001);
    }
}
