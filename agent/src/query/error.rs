//! Why a question got no answer.

use std::fmt;
use std::io;

use super::limit::Stopped;
use crate::store::{StoreError, index_advice};

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The question is not understood, or not answerable: whoever asked must ask otherwise.
    #[error("{0}")]
    Sql(SqlError),
    /// It would do more than read.
    #[error("{what}: a query only reads. {instead}")]
    Refused {
        /// What it would do.
        what: String,
        /// What can be done instead.
        instead: &'static str,
    },
    /// It was stopped.
    #[error("{}", match .0 {
        Stopped::Timeout => "the query took longer than it may (--timeout) and was stopped",
        Stopped::Asked => "the query was stopped",
    })]
    Stopped(Stopped),
    /// It needs more memory than it may have.
    #[error(
        "the query needs more memory than it may have (--max-memory): narrow it, by device, signal \
         or time, or allow more"
    )]
    Memory,
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQLite failed at something that is not the question's fault.
    #[error("the store's index cannot be read: {error}{advice}", error = .0, advice = index_advice(.0))]
    Index(rusqlite::Error),
    /// A block or a catalogue is not what it should be.
    #[error("{0}")]
    Damaged(String),
    /// The answer could not be handed over.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
}

impl QueryError {
    /// What went wrong between a table and the store.
    pub(super) fn of_table(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::ModuleError(what) => Self::Damaged(what),
            other => Self::Index(other),
        }
    }
}

/// What SQLite says about a question, and where in it.
#[derive(Debug, PartialEq, Eq)]
pub struct SqlError {
    what: String,
    /// The line it is about, its number from 1 if there are several, and the column from 0.
    place: Option<(Option<usize>, String, usize)>,
}

impl SqlError {
    /// About the question as a whole.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), place: None }
    }

    /// About the byte at `offset`.
    pub(super) fn at(what: impl Into<String>, sql: &str, offset: usize) -> Self {
        let what = what.into();
        let Some(before) = sql.get(..offset) else { return Self { what, place: None } };
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = sql.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let number = sql.trim_end().contains('\n').then(|| before.matches('\n').count() + 1);
        let column = sql.get(start..offset).unwrap_or_default().chars().count();
        // One cell a character, so that the mark stands under what it means.
        let shown = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { what, place: Some((number, shown, column)) }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let Some((number, line, column)) = &self.place else { return Ok(()) };
        if let Some(number) = number {
            write!(f, ", in line {number}")?;
        }
        write!(f, "\n  {line}\n  {:column$}^", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_under_the_place() {
        let error = SqlError::at("no such column: x", "SELECT x", 7);
        assert_eq!(error.to_string(), "no such column: x\n  SELECT x\n         ^");
        let error = SqlError::at("no such column: x", "SELECT\n\té, x\nFROM y", 12);
        assert_eq!(error.to_string(), "no such column: x, in line 2\n   é, x\n      ^");
        assert_eq!(SqlError::at("odd", "é", 1).to_string(), "odd");
    }
}
