//! Source: RFC 8259.

use std::collections::HashMap;
use std::io::{self, Write};

use rusqlite::types::ValueRef;

use super::{Rows, hexadecimal, real};
use crate::document::string;

/// How the objects stand to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One a line.
    Lines,
    /// In one array.
    Array,
}

/// Writes an object for each row. A blob is hexadecimal text; a REAL that JSON has no number for
/// is null; bytes that are no UTF-8 become U+FFFD.
pub struct Json<'a> {
    out: &'a mut dyn Write,
    layout: Layout,
    /// `"name":` of each column.
    members: Vec<Vec<u8>>,
    rows: u64,
    line: Vec<u8>,
}

impl<'a> Json<'a> {
    /// Into this.
    pub fn new(out: &'a mut (dyn Write + 'a), layout: Layout) -> Self {
        Self { out, layout, members: Vec::new(), rows: 0, line: Vec::new() }
    }
}

impl Rows for Json<'_> {
    fn begin(&mut self, columns: &[&str]) -> io::Result<()> {
        let mut seen = HashMap::new();
        for column in columns {
            // An object keeps only one member of a name.
            let times = seen.entry(*column).and_modify(|times| *times += 1).or_insert(1_u32);
            let name = if *times > 1 { format!("{column}_{times}") } else { (*column).to_owned() };
            let mut member = Vec::new();
            string(&mut member, &name);
            member.push(b':');
            self.members.push(member);
        }
        Ok(())
    }

    fn row(&mut self, row: &[ValueRef<'_>]) -> io::Result<()> {
        let line = &mut self.line;
        line.clear();
        if self.layout == Layout::Array {
            line.extend_from_slice(if self.rows == 0 { b"[" } else { b",\n " });
        }
        line.push(b'{');
        for (at, (member, cell)) in self.members.iter().zip(row).enumerate() {
            if at > 0 {
                line.push(b',');
            }
            line.extend_from_slice(member);
            match cell {
                ValueRef::Integer(whole) => {
                    line.extend_from_slice(itoa::Buffer::new().format(*whole).as_bytes());
                }
                ValueRef::Real(number) if number.is_finite() => {
                    line.extend_from_slice(real(*number).as_bytes());
                }
                ValueRef::Null | ValueRef::Real(_) => line.extend_from_slice(b"null"),
                ValueRef::Text(text) => string(line, &String::from_utf8_lossy(text)),
                ValueRef::Blob(blob) => string(line, &hexadecimal(blob)),
            }
        }
        line.push(b'}');
        if self.layout == Layout::Lines {
            line.push(b'\n');
        }
        self.rows += 1;
        self.out.write_all(line)
    }

    fn end(&mut self) -> io::Result<()> {
        if self.layout == Layout::Array {
            self.out.write_all(if self.rows == 0 { b"[]\n" } else { b"]\n" })?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(layout: Layout, rows: &[&[ValueRef<'_>]]) -> String {
        let mut out = Vec::new();
        let mut json = Json::new(&mut out, layout);
        json.begin(&["a", "a", "\"b\""]).unwrap();
        for row in rows {
            json.row(row).unwrap();
        }
        json.end().unwrap();
        drop(json);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_value_has_its_json() {
        let row =
            [ValueRef::Text(b"x\x1b[31m\n"), ValueRef::Real(f64::INFINITY), ValueRef::Blob(&[1])];
        let line = written(Layout::Lines, &[&row]);
        assert_eq!(line, "{\"a\":\"x\\u001b[31m\\n\",\"a_2\":null,\"\\\"b\\\"\":\"01\"}\n");
        let row = [ValueRef::Text(&[0xff]), ValueRef::Real(2.0), ValueRef::Null];
        let line = written(Layout::Lines, &[&row]);
        assert_eq!(line, "{\"a\":\"\u{fffd}\",\"a_2\":2.0,\"\\\"b\\\"\":null}\n");
    }

    #[test]
    fn an_array_is_one_document() {
        assert_eq!(written(Layout::Array, &[]), "[]\n");
        let row = [ValueRef::Integer(1), ValueRef::Null, ValueRef::Null];
        let text = written(Layout::Array, &[&row, &row]);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed.as_array().unwrap().len(), 2);
    }
}
