//! Source: RFC 4180, with a line feed at the end of a line.

use std::io::{self, Write};

use rusqlite::types::ValueRef;

use super::{Rows, hexadecimal, real};

/// Writes CSV: NULL is an empty field, a blob hexadecimal; texts are exact, so that what reads it
/// gets what is stored.
pub struct Csv<'a>(::csv::Writer<&'a mut dyn Write>);

impl<'a> Csv<'a> {
    /// Into this.
    pub fn new(out: &'a mut (dyn Write + 'a)) -> Self {
        Self(::csv::Writer::from_writer(out))
    }
}

impl Rows for Csv<'_> {
    fn begin(&mut self, columns: &[&str]) -> io::Result<()> {
        self.0.write_record(columns).map_err(into_io)
    }

    fn row(&mut self, row: &[ValueRef<'_>]) -> io::Result<()> {
        for cell in row {
            match cell {
                ValueRef::Null => self.0.write_field(""),
                ValueRef::Integer(whole) => self.0.write_field(itoa::Buffer::new().format(*whole)),
                ValueRef::Real(number) => self.0.write_field(real(*number)),
                ValueRef::Text(text) => self.0.write_field(text),
                ValueRef::Blob(blob) => self.0.write_field(hexadecimal(blob)),
            }
            .map_err(into_io)?;
        }
        self.0.write_record(None::<&[u8]>).map_err(into_io)
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Keeps a broken pipe a broken pipe.
fn into_io(error: ::csv::Error) -> io::Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_out() {
        let mut out = Vec::new();
        let mut csv = Csv::new(&mut out);
        csv.begin(&["a", "b,c"]).unwrap();
        csv.row(&[ValueRef::Null, ValueRef::Text(b"say \"hi\"\nthere")]).unwrap();
        csv.row(&[ValueRef::Real(15.0), ValueRef::Blob(&[0, 255])]).unwrap();
        csv.row(&[ValueRef::Integer(i64::MIN), ValueRef::Real(1e300)]).unwrap();
        csv.end().unwrap();
        drop(csv);
        let want = "a,\"b,c\"\n,\"say \"\"hi\"\"\nthere\"\n15.0,00ff\n-9223372036854775808,1e300\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn one_empty_field_is_still_a_line() {
        let mut out = Vec::new();
        let mut csv = Csv::new(&mut out);
        csv.begin(&["a"]).unwrap();
        csv.row(&[ValueRef::Null]).unwrap();
        csv.end().unwrap();
        drop(csv);
        assert_eq!(String::from_utf8(out).unwrap(), "a\n\"\"\n");
    }
}
