//! The tables of records: `events`, `logs`, `health`, `losses`, `restarts`, `forks`, `crashes`.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int};
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::{Null, Value};
use rusqlite::vtab::{
    Context, Filters, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor,
    sqlite3_vtab, sqlite3_vtab_cursor,
};

use self::pages::Pages;
use super::plan::{Order, Plan};
use super::selection::{Selection, Subject};
use super::source::Source;

mod pages;

/// One table.
#[derive(Debug)]
struct Definition {
    name: &'static CStr,
    /// `records.kind`
    kind: u8,
    /// What it has beside what all have.
    own: &'static [Column],
    /// Whether its texts can be searched.
    is_searched: bool,
}

#[derive(Debug)]
struct Column {
    name: &'static str,
    /// In terms of `records AS r`, `devices AS d` and `rings AS g`.
    sql: &'static str,
}

impl Definition {
    /// All columns, in order; not the hidden one.
    fn columns(&self) -> impl Iterator<Item = &'static Column> {
        BEFORE.iter().chain(self.own).chain(AFTER)
    }

    fn position(&self, name: &str) -> Option<c_int> {
        let at = self.columns().position(|column| column.name == name)?;
        c_int::try_from(at).ok()
    }
}

macro_rules! member {
    ($name:literal) => {
        Column { name: $name, sql: concat!("r.document ->> '$.data.", $name, "'") }
    };
}

/// A member whose name means something else in SQL.
macro_rules! renamed {
    ($name:literal, $member:literal) => {
        Column { name: $name, sql: concat!("r.document ->> '$.data.", $member, "'") }
    };
}

const BEFORE: &[Column] =
    &[Column { name: "device", sql: "d.device" }, Column { name: "time", sql: "iso(r.time_ms)" }];

const AFTER: &[Column] = &[
    Column { name: "time_ms", sql: "r.time_ms" },
    Column { name: "clock", sql: "r.document ->> '$.clock'" },
    Column { name: "boot", sql: "r.boot" },
    Column { name: "uptime_ms", sql: "r.uptime_ms" },
    Column { name: "lane", sql: "r.document ->> '$.lane'" },
    Column { name: "ring", sql: "lower(hex(g.ring))" },
    Column { name: "seq", sql: "r.seq" },
    Column { name: "ordinal", sql: "nullif(r.ordinal, -1)" },
    Column { name: "received", sql: "iso(r.received_ms)" },
    Column { name: "vehicle", sql: "r.document ->> '$.vehicle'" },
    Column { name: "vehiclegroup", sql: "r.document ->> '$.vehiclegroup'" },
    Column { name: "tenant", sql: "r.document ->> '$.tenant'" },
    Column { name: "region", sql: "r.document ->> '$.region'" },
    Column { name: "document", sql: "r.document" },
];

static DEFINITIONS: [Definition; 7] = [
    Definition {
        name: c"events",
        kind: 0,
        own: &[
            member!("actor"),
            member!("action"),
            member!("object"),
            member!("context"),
            member!("resource"),
            member!("attributes"),
        ],
        is_searched: false,
    },
    Definition {
        name: c"logs",
        kind: 1,
        own: &[member!("level"), member!("target"), member!("message")],
        is_searched: true,
    },
    Definition {
        name: c"health",
        kind: 2,
        own: &[
            member!("ring_used"),
            member!("link_up"),
            member!("rejected"),
            member!("refused"),
            member!("stack_free"),
            member!("supply_mv"),
        ],
        is_searched: false,
    },
    Definition {
        name: c"restarts",
        kind: 3,
        own: &[
            member!("reset"),
            member!("unsealed_samples_max"),
            member!("unsealed_events_max"),
            member!("next"),
        ],
        is_searched: false,
    },
    Definition {
        name: c"forks",
        kind: 4,
        own: &[
            renamed!("forked_lane", "lane"),
            renamed!("from_ring", "from"),
            renamed!("to_ring", "to"),
            member!("acknowledged"),
            member!("next"),
            member!("reason"),
        ],
        is_searched: false,
    },
    Definition {
        name: c"crashes",
        kind: 5,
        own: &[
            renamed!("crashed_boot", "boot"),
            member!("image"),
            member!("registers"),
            member!("reason"),
            member!("stack"),
        ],
        is_searched: false,
    },
    Definition {
        name: c"losses",
        kind: 6,
        own: &[
            member!("first"),
            member!("last"),
            member!("samples"),
            member!("events"),
            member!("reason"),
            member!("by"),
        ],
        is_searched: false,
    },
];

/// What a scan of everything is taken to give.
const ROWS: f64 = 1e6;

/// Makes the tables known to a connection.
pub(super) fn register(connection: &Connection, source: &Arc<Source>) -> rusqlite::Result<()> {
    const MODULE: Module<'_, RecordsTable> = Module::eponymous_only_module();
    source.index(super::show::write_times)?;
    for definition in &DEFINITIONS {
        connection.create_module(
            definition.name,
            &MODULE,
            Some((Arc::clone(source), definition)),
        )?;
    }
    Ok(())
}

type Registered = (Arc<Source>, &'static Definition);

#[repr(C)]
struct RecordsTable {
    /// Must be first: SQLite knows the table by it.
    base: sqlite3_vtab,
    source: Arc<Source>,
    definition: &'static Definition,
}

// SAFETY: the struct is `repr(C)` and begins with `sqlite3_vtab`, which is all the trait asks.
#[allow(unsafe_code, reason = "a virtual table is an unsafe trait to rusqlite")]
unsafe impl VTab<'_> for RecordsTable {
    type Aux = Registered;
    type Cursor = RecordsCursor;

    fn connect(
        connection: &mut VTabConnection,
        registered: Option<&Registered>,
        _module: &[u8],
        _database: &[u8],
        _table: &[u8],
        _arguments: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        connection.config(VTabConfig::Innocuous)?;
        let (source, definition) = registered.cloned().unzip();
        let source = super::connected(source.as_ref())?;
        let missing = || rusqlite::Error::ModuleError("a table without a definition".to_owned());
        let definition = definition.ok_or_else(missing)?;
        let mut names: Vec<&str> = definition.columns().map(|column| column.name).collect();
        if definition.is_searched {
            // `logs MATCH 'brake'` is about the hidden column that has the table's name.
            names.push("logs HIDDEN");
        }
        let schema = CString::new(format!("CREATE TABLE records({})", names.join(", ")))?;
        Ok((Cow::Owned(schema), Self { base: sqlite3_vtab::default(), source, definition }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        let hidden = c_int::try_from(self.definition.columns().count()).unwrap_or(c_int::MAX);
        let time_ms = self.definition.position("time_ms");
        let subject = |column| match column {
            0 => Some(Subject::Device),
            1 => Some(Subject::Time),
            _ if Some(column) == time_ms => Some(Subject::Time),
            _ if column == hidden => Some(Subject::Text),
            _ => None,
        };
        let plan = Plan::make(info, subject, |_, _| true)?;
        let rows = (ROWS * plan.share()).max(1.0);
        info.set_idx_num(plan.order.number());
        info.set_idx_str(&format!("columns {:x}; {}", info.col_used(), plan.text()));
        info.set_estimated_rows(super::whole(rows));
        info.set_estimated_cost(100.0 + rows * 3.0);
        Ok(true)
    }

    fn open(&mut self) -> rusqlite::Result<RecordsCursor> {
        Ok(RecordsCursor {
            base: sqlite3_vtab_cursor::default(),
            source: Arc::clone(&self.source),
            definition: self.definition,
            pages: None,
        })
    }
}

#[repr(C)]
struct RecordsCursor {
    /// Must be first: SQLite knows the cursor by it.
    base: sqlite3_vtab_cursor,
    source: Arc<Source>,
    definition: &'static Definition,
    pages: Option<Pages>,
}

// SAFETY: the struct is `repr(C)` and begins with `sqlite3_vtab_cursor`, which is all the trait asks.
#[allow(unsafe_code, reason = "a virtual table's cursor is an unsafe trait to rusqlite")]
unsafe impl VTabCursor for RecordsCursor {
    fn filter(
        &mut self,
        number: c_int,
        plan: Option<&str>,
        values: &Filters<'_>,
    ) -> rusqlite::Result<()> {
        let (columns, plan) = plan.unwrap_or_default().split_once("; ").unwrap_or_default();
        let columns = columns.strip_prefix("columns ").unwrap_or_default();
        let columns = u64::from_str_radix(columns, 16).unwrap_or(u64::MAX);
        let selection = Selection::read(plan, values)?;
        let order = Order::from_number(number);
        let source = Arc::clone(&self.source);
        self.pages = None;
        self.pages = Some(Pages::start(source, self.definition, selection, order, columns)?);
        Ok(())
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.pages.as_mut().map_or(Ok(()), Pages::advance)
    }

    fn eof(&self) -> bool {
        self.pages.as_ref().and_then(Pages::here).is_none()
    }

    fn column(&self, context: &mut Context, column: c_int) -> rusqlite::Result<()> {
        let here = self.pages.as_ref().and_then(Pages::here);
        let at = usize::try_from(column).ok().map(|column| column + 2);
        match here.zip(at).and_then(|(here, at)| here.get(at)) {
            Some(value) => context.set_result(value),
            None => context.set_result(Null),
        }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        let here = self.pages.as_ref().and_then(Pages::here);
        Ok(match here.and_then(<[Value]>::first) {
            Some(Value::Integer(number)) => *number,
            _ => 0,
        })
    }
}
