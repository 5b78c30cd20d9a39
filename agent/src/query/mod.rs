//! Asking the local store in SQL.
//!
//! SQLite is the query engine. What it knows as tables is made here: `samples` decodes blocks as
//! rows are asked for (`samples.rs`), the roll-ups add up what the store keeps ready (`rollups.rs`),
//! records come from the index (`records.rs`). Device, signal and time go down into the choice of
//! blocks and columns; the order of time is delivered where it is asked for.
//!
//! # Constraints
//!
//! - Nothing is written, whatever is asked (`guard.rs`).
//! - Memory is bounded by the blocks open at once, and by what SQLite is allowed.
//! - Everything that can take long looks at [`Stop`] as it goes.
//! - It runs beside a writing agent and holds it up in nothing: it reads snapshots of the index, and
//!   files that are only ever appended to.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode};

use crate::store::schema;

pub mod answer;
pub mod export;
pub mod limit;
#[doc(hidden)]
pub mod made;
pub mod value;
mod error;
mod guard;
#[cfg(feature = "model")]
pub(crate) mod fuzzing;
mod instant;
mod plan;
mod records;
mod rollups;
mod samples;
mod show;
mod selection;
mod source;

pub use answer::{Format, Rows};
pub use error::{QueryError, SqlError};
pub use instant::parse as parse_time;
pub use limit::{Limits, Stop, Stopped};

use guard::Guard;
use source::Source;

/// A store that can be asked. One query at a time; open another one beside it for more.
#[derive(Debug)]
pub struct Query {
    connection: Connection,
    source: Arc<Source>,
    guard: Guard,
}

/// How an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    /// The rows given.
    pub rows: u64,
    /// Whether there were more than [`Limits::rows_max`].
    pub is_cut: bool,
}

/// What a query left out because it cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeftOut {
    /// How many blocks.
    pub blocks: usize,
    /// How many samples are in them, whether asked for or not.
    pub samples: u64,
    /// Which the first is, and what is wrong with it.
    pub first: Option<String>,
}

impl Query {
    /// Opens the store in a directory, whether an agent writes to it or not.
    pub fn open(dir: &Path) -> Result<Self, QueryError> {
        let stop = Stop::default();
        let source = Arc::new(Source::open(dir, stop.clone())?);
        let mut connection = schema::open_to_read(&dir.join(schema::FILE))?;
        samples::register(&connection, Arc::clone(&source))
            .and_then(|()| rollups::register(&connection, &source))
            .and_then(|()| records::register(&connection, &source))
            .and_then(|()| show::register(&connection))
            .map_err(QueryError::Index)?;
        let guard = Guard::set_up(&mut connection).map_err(QueryError::Index)?;
        connection
            .progress_handler(1000, Some(move || stop.why().is_some()))
            .map_err(QueryError::Index)?;
        Ok(Self { connection, source, guard })
    }

    /// Stops what runs, from another thread.
    pub fn stop(&self) -> Stop {
        self.source.stop.clone()
    }

    /// Lets all of SQLite in this process, whoever uses it, have no more memory than this many bytes.
    pub fn limit_memory(&self, bytes: u64) -> Result<(), QueryError> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let limit = |index: &Connection| {
            index.pragma_update_and_check(None, "hard_heap_limit", bytes, |_| Ok(()))
        };
        self.source.index(limit).map_err(QueryError::Index)
    }

    /// Leaves out what cannot be read, from now on; otherwise that fails a query.
    pub fn skip_damaged(&self) {
        self.source.skip_damaged();
    }

    /// What the last query left out.
    pub fn left_out(&self) -> LeftOut {
        self.source.left_out()
    }

    /// How many blocks were read so far: what a query costs, for tests and benches.
    pub fn blocks_read(&self) -> u64 {
        self.source.blocks_read()
    }

    /// Answers one statement, row by row.
    pub fn run(
        &mut self,
        sql: &str,
        limits: &Limits,
        rows: &mut dyn Rows,
    ) -> Result<Answered, QueryError> {
        Guard::limit(&self.connection, limits)
            .and_then(|()| self.source.hold())
            .map_err(|error| self.explain(error, sql))?;
        let answered = self.answer(sql, limits, rows);
        self.source.let_go();
        answered
    }

    fn answer(
        &self,
        sql: &str,
        limits: &Limits,
        rows: &mut dyn Rows,
    ) -> Result<Answered, QueryError> {
        let failed = |error| self.explain(error, sql);
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        if !statement.readonly() {
            return Err(QueryError::Refused {
                what: "this would change something".to_owned(),
                instead: "Ask with SELECT.",
            });
        }
        if statement.column_count() == 0 {
            return Err(QueryError::Sql(SqlError::new(
                "there is no question in it: a query is one SELECT; see milepost query --help",
            )));
        }
        let names: Vec<&str> = statement.column_names().collect();
        rows.begin(&names)?;
        let width = statement.column_count();
        let mut found = statement.raw_query();
        let mut answered = Answered { rows: 0, is_cut: false };
        let ended = loop {
            let row = match found.next() {
                Ok(Some(row)) => row,
                Ok(None) => break Ok(()),
                Err(error) => break Err(failed(error)),
            };
            if limits.rows_max == Some(answered.rows) {
                answered.is_cut = true;
                break Ok(());
            }
            let values: Vec<ValueRef<'_>> =
                (0..width).map(|column| row.get_ref(column).unwrap_or(ValueRef::Null)).collect();
            rows.row(&values)?;
            answered.rows += 1;
        };
        // What was found before it ended is shown, however it ended.
        rows.end()?;
        ended.map(|()| answered)
    }

    /// What an error of SQLite's means to whoever asked.
    fn explain(&self, error: rusqlite::Error, sql: &str) -> QueryError {
        if let Some(refused) = self.guard.take() {
            return refused;
        }
        if let Some(said) = self.source.failed_at() {
            return QueryError::Damaged(said);
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => {
                return QueryError::Stopped(self.source.stop.why().unwrap_or(Stopped::Asked));
            }
            Some(ErrorCode::OutOfMemory) => return QueryError::Memory,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                return QueryError::Index(without_sql(error));
            }
            _ => {}
        }
        match error {
            rusqlite::Error::SqlInputError { msg, offset, .. } => {
                let offset = usize::try_from(offset).ok();
                QueryError::Sql(match offset {
                    Some(offset) => SqlError::at(msg, sql, offset),
                    None => SqlError::new(msg),
                })
            }
            rusqlite::Error::MultipleStatement => QueryError::Sql(SqlError::new(
                "there is more than one statement: a query is one SELECT",
            )),
            rusqlite::Error::SqliteFailure(failure, message) => match failure.code {
                ErrorCode::Unknown | ErrorCode::TooBig | ErrorCode::TypeMismatch => {
                    QueryError::Sql(SqlError::new(message.unwrap_or_else(|| failure.to_string())))
                }
                _ => QueryError::Index(rusqlite::Error::SqliteFailure(failure, message)),
            },
            other => QueryError::Sql(SqlError::new(other.to_string())),
        }
    }
}

/// What is wrong with the index is not wrong with the question.
fn without_sql(error: rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqlInputError { error, msg, .. } => {
            rusqlite::Error::SqliteFailure(error, Some(msg))
        }
        other => other,
    }
}

/// What a table was registered with.
fn connected(source: Option<&Arc<Source>>) -> rusqlite::Result<Arc<Source>> {
    let missing = || rusqlite::Error::ModuleError("a table without a store".to_owned());
    source.map(Arc::clone).ok_or_else(missing)
}

/// A row's number, from what it is: SQLite tells rows apart by it when it goes over a table several
/// times for one OR. What a row is takes more than 64 bits; two of one query hardly ever meet.
fn row_id(what: &impl Hash) -> i64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish().cast_signed()
}

/// An estimate as a whole number.
#[allow(clippy::cast_possible_truncation, reason = "an estimate, far below the limit")]
fn whole(estimate: f64) -> i64 {
    estimate as i64
}

#[cfg(test)]
mod tests;
