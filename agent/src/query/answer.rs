//! Answers as text: a table for people, CSV, JSON.
//!
//! Rows go out as they come; only the table holds a first part back, to see how wide it is.

use std::io::{self, Write};

use rusqlite::types::ValueRef;

mod csv;
mod json;
mod table;

pub use csv::Csv;
pub use json::{Json, Layout};
pub use table::Table;

/// Takes the rows of an answer.
pub trait Rows {
    /// The names of the columns, once, before any row.
    fn begin(&mut self, columns: &[&str]) -> io::Result<()>;
    /// One row, as wide as the columns.
    fn row(&mut self, row: &[ValueRef<'_>]) -> io::Result<()>;
    /// After the last row; also after the last of an answer that was cut short.
    fn end(&mut self) -> io::Result<()>;
}

/// How an answer is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Columns that line up.
    Table,
    /// RFC 4180, with a heading.
    Csv,
    /// One JSON object a line.
    Json,
    /// One JSON array of objects.
    JsonArray,
}

impl Format {
    /// A writer of it.
    pub fn writer<'a>(self, out: &'a mut (dyn Write + 'a)) -> Box<dyn Rows + 'a> {
        match self {
            Self::Table => Box::new(Table::new(out)),
            Self::Csv => Box::new(Csv::new(out)),
            Self::Json => Box::new(Json::new(out, Layout::Lines)),
            Self::JsonArray => Box::new(Json::new(out, Layout::Array)),
        }
    }
}

/// A double as the shortest decimal that reads back as it, with a point or an exponent: a REAL is
/// never mistaken for an INTEGER.
fn real(real: f64) -> String {
    let text = format!("{real:?}");
    if real.is_finite() { text } else { text.to_lowercase() }
}

fn hexadecimal(blob: &[u8]) -> String {
    let mut text = Vec::new();
    crate::document::hexadecimal(&mut text, blob);
    String::from_utf8_lossy(&text).into_owned()
}
