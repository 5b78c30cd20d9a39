//! Only reading: what SQLite asks before it prepares a statement, and what it is told.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

use super::error::QueryError;
use super::limit::Limits;

/// PRAGMAs that only tell something, in SQLite's lower case.
const TELLING_PRAGMAS: &[&str] = &[
    "collation_list",
    "compile_options",
    "data_version",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "module_list",
    "pragma_list",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// What was refused last, said by the authorizer.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard(Arc<Mutex<Option<QueryError>>>);

impl Guard {
    /// Lets a connection do nothing but read, whatever it is asked, from now on.
    pub fn set_up(connection: &mut Connection) -> rusqlite::Result<Self> {
        // A misspelt name in double quotes is an error, not a text.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 20)?;
        connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
        connection.execute_batch("PRAGMA query_only = ON")?;
        let guard = Self::default();
        let said = guard.clone();
        connection.authorizer(Some(move |asked: AuthContext<'_>| match judge(asked.action) {
            Ok(()) => Authorization::Allow,
            Err(refused) => {
                *said.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
                Authorization::Deny
            }
        }))?;
        Ok(guard)
    }

    /// Applies what may differ from query to query.
    pub fn limit(connection: &Connection, limits: &Limits) -> rusqlite::Result<()> {
        let bytes = i32::try_from(limits.value_bytes_max).unwrap_or(i32::MAX);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, bytes).map(drop)
    }

    /// What was refused, if anything was since this was last asked.
    pub fn take(&self) -> Option<QueryError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn judge(action: AuthAction<'_>) -> Result<(), QueryError> {
    use AuthAction as A;
    const SELECT: &str = "Ask with SELECT; the store itself is written by the agent alone.";
    let (what, instead) = match action {
        A::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => {
            ("load_extension() would run foreign code".to_owned(), "Extensions are not loaded.")
        }
        A::Select | A::Read { .. } | A::Recursive | A::Function { .. } => return Ok(()),
        A::Pragma { pragma_name, .. } if TELLING_PRAGMAS.contains(&pragma_name) => return Ok(()),
        A::Pragma { pragma_name, .. } => (
            format!("PRAGMA {pragma_name} could change something"),
            "Timeout, rows and memory are options of the command.",
        ),
        A::Attach { .. } | A::Detach { .. } => (
            "ATTACH would open another database".to_owned(),
            "Export what is to be joined (--format csv) and join it elsewhere.",
        ),
        A::Insert { table_name } => (format!("INSERT would write into {table_name}"), SELECT),
        A::Update { table_name, .. } => (format!("UPDATE would change {table_name}"), SELECT),
        A::Delete { table_name } => (format!("DELETE would delete from {table_name}"), SELECT),
        A::Transaction { .. } | A::Savepoint { .. } => {
            ("a transaction is of no use here".to_owned(), "Every query sees one moment by itself.")
        }
        A::CreateVtable { table_name, .. }
        | A::CreateTable { table_name }
        | A::CreateTempTable { table_name } => {
            (format!("CREATE TABLE would make {table_name}"), "WITH names what a query needs.")
        }
        A::CreateView { view_name } | A::CreateTempView { view_name } => {
            (format!("CREATE VIEW would make {view_name}"), "WITH names what a query needs.")
        }
        _ => ("this would change the store".to_owned(), SELECT),
    };
    Err(QueryError::Refused { what, instead })
}
