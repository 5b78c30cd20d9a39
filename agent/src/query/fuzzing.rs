//! Statements of somebody else's, on an index in memory.

use rusqlite::Connection;

use super::QueryError;
use super::guard::Guard;

/// Instructions of SQLite's that a statement may take, in hundreds.
const HUNDREDS: u32 = 20;

/// A guarded connection, and what must not change.
pub struct Guarded {
    connection: Connection,
    guard: Guard,
}

impl Guarded {
    /// One with some tables, which is set up as the one that queries go through.
    pub fn new(tables: &str) -> rusqlite::Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        connection.execute_batch(tables)?;
        let guard = Guard::set_up(&mut connection)?;
        Ok(Self { connection, guard })
    }

    /// Runs a statement, for a moment; how many rows came, or what was refused, if anything was.
    pub fn run(&mut self, sql: &str) -> Result<usize, Option<QueryError>> {
        let mut left = HUNDREDS;
        let out_of_time = move || {
            left = left.saturating_sub(1);
            left == 0
        };
        let counted = self.connection.progress_handler(100, Some(out_of_time)).and_then(|()| {
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut count = 0;
            while rows.next()?.is_some() {
                count += 1;
            }
            Ok(count)
        });
        counted.map_err(|_| self.guard.take())
    }

    /// What the tables hold: SQLite's own counter of changes, and of the schema.
    pub fn state(&self) -> (u64, Option<i64>) {
        let version = self.connection.query_row("PRAGMA data_version", [], |row| row.get(0));
        (self.connection.total_changes(), version.ok())
    }
}
