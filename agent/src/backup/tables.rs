//! The state database, table by table, into a new file.
//!
//! Not the file as it is: a copy of the tables has no free pages, and so nothing of the secrets that
//! were destroyed. The kinds of keys and values are those that any table of the agent has; a test
//! opens every stage's tables and copies them.

use std::path::Path;

use redb::{
    Database, Key, ReadOnlyTable, ReadTransaction, ReadableTable as _, TableDefinition, TableError,
    TableHandle as _, Value,
};

use super::BackupError;
use crate::state::StateError;

/// Rows per transaction of the copy: bounds what is held in memory.
const ROWS: usize = 20_000;
const CACHE_BYTES: usize = 1024 * 1024;

/// Copies each table of `rest`, but those that are in `first` too as they are there.
pub(super) fn copy(
    first: (&ReadTransaction, &[&str]),
    rest: &ReadTransaction,
    to: &Path,
) -> Result<(), BackupError> {
    let into =
        Database::builder().set_cache_size(CACHE_BYTES).create(to).map_err(StateError::from)?;
    if let Some(table) = rest.list_multimap_tables().map_err(StateError::from)?.next() {
        return Err(BackupError::Table(redb::MultimapTableHandle::name(&table).to_owned()));
    }
    let (early, names) = first;
    for table in rest.list_tables().map_err(StateError::from)? {
        let name = table.name();
        let from = if names.contains(&name) { early } else { rest };
        copy_table(from, &into, name)?;
    }
    Ok(())
}

fn copy_table(from: &ReadTransaction, into: &Database, name: &str) -> Result<(), BackupError> {
    macro_rules! kinds {
        ($($key:ty => [$($value:ty),*];)*) => {$($(
            match from.open_table(TableDefinition::<$key, $value>::new(name)) {
                Ok(table) => return copy_rows(&table, into, name),
                // The early transaction may be from before the table was made.
                Err(TableError::TableDoesNotExist(_)) => return Ok(()),
                Err(TableError::TableTypeMismatch { .. }) => {}
                Err(error) => return Err(StateError::from(error).into()),
            }
        )*)*};
    }
    kinds! {
        &str => [&[u8], &str, u32, u64, i64, ()];
        u32 => [&[u8], &str, u32, u64, i64, ()];
        u64 => [&[u8], &str, u32, u64, i64, ()];
        [u8; 16] => [&[u8], &str, u32, u64, i64, ()];
        &[u8] => [&[u8], &str, u32, u64, i64, ()];
        () => [&[u8], &str, u32, u64, i64];
        (&str, u64) => [&[u8], &str, u64, i64, ()];
        (&str, i64) => [&[u8], &str, u64, i64, ()];
        (&str, &str) => [&[u8], &str, u64, i64, ()];
        (&str, &str, i64) => [&[u8], &str, u64, i64, ()];
    }
    Err(BackupError::Table(name.to_owned()))
}

fn copy_rows<K: Key + 'static, V: Value + 'static>(
    from: &ReadOnlyTable<K, V>,
    into: &Database,
    name: &str,
) -> Result<(), BackupError> {
    let copied = || -> Result<(), redb::Error> {
        let mut rows = from.iter()?.peekable();
        // At least once: an empty table is a table, too.
        loop {
            let write = into.begin_write()?;
            {
                let mut table = write.open_table(TableDefinition::<K, V>::new(name))?;
                for row in rows.by_ref().take(ROWS) {
                    let (key, value) = row?;
                    table.insert(key.value(), value.value())?;
                }
            }
            write.commit()?;
            if rows.peek().is_none() {
                return Ok(());
            }
        }
    };
    copied().map_err(|error| StateError::Database(error).into())
}
