//! The table `samples`: one row per sample, decoded as it is asked for.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, c_int};
use std::sync::Arc;

use h3o::CellIndex;
use rusqlite::Connection;
use rusqlite::types::Null;
use rusqlite::vtab::{
    Context, Filters, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor,
    sqlite3_vtab, sqlite3_vtab_cursor,
};

use self::slice::Hit;
use self::walk::{Here, Walk};
use super::plan::{Order, Plan};
use super::selection::{SeatColumn, Selection, Subject};
use super::source::{CELL, Signals, Source};
use crate::document::Rfc3339;
use crate::store::read::BlockRow;
use crate::value::{Amount, Exact};

mod slice;
mod walk;

const SCHEMA: &CStr = c"CREATE TABLE samples(
    device TEXT, signal TEXT, time TEXT, value, unit TEXT, raw INTEGER, time_ms INTEGER, clock TEXT,
    placed INTEGER, boot INTEGER, uptime_ms INTEGER, lane TEXT, ring TEXT, seq INTEGER,
    ordinal INTEGER, received TEXT, vehicle TEXT, vehiclegroup TEXT, tenant TEXT, region TEXT,
    exact TEXT HIDDEN, thinning TEXT HIDDEN)";

const DEVICE: c_int = 0;
const SIGNAL: c_int = 1;
const TIME: c_int = 2;
const VALUE: c_int = 3;
const UNIT: c_int = 4;
const RAW: c_int = 5;
const TIME_MS: c_int = 6;
const CLOCK: c_int = 7;
const PLACED: c_int = 8;
const BOOT: c_int = 9;
const UPTIME_MS: c_int = 10;
const LANE: c_int = 11;
const RING: c_int = 12;
const SEQ: c_int = 13;
const ORDINAL: c_int = 14;
const RECEIVED: c_int = 15;
/// The first of four about where the device sat.
const SEAT: c_int = 16;
const EXACT: c_int = 20;
const THINNING: c_int = 21;

/// The columns that can be told without decoding anything.
const KNOWN_UNDECODED: u64 = 1 << DEVICE | 1 << PLACED | 0b1111 << SEAT;
/// In the plan's number: samples are decoded.
const DECODED: c_int = Order::FREE;
/// What a scan of everything is taken to give.
const ROWS: f64 = 1e8;

/// Makes the table known to a connection.
pub(super) fn register(connection: &Connection, source: Arc<Source>) -> rusqlite::Result<()> {
    const MODULE: Module<'_, SamplesTable> = Module::eponymous_only_module();
    connection.create_module(c"samples", &MODULE, Some(source))
}

#[repr(C)]
struct SamplesTable {
    /// Must be first: SQLite knows the table by it.
    base: sqlite3_vtab,
    source: Arc<Source>,
}

// SAFETY: the struct is `repr(C)` and begins with `sqlite3_vtab`, which is all the trait asks.
#[allow(unsafe_code, reason = "a virtual table is an unsafe trait to rusqlite")]
unsafe impl VTab<'_> for SamplesTable {
    type Aux = Arc<Source>;
    type Cursor = SamplesCursor;

    fn connect(
        connection: &mut VTabConnection,
        source: Option<&Arc<Source>>,
        _module: &[u8],
        _database: &[u8],
        _table: &[u8],
        _arguments: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        connection.config(VTabConfig::Innocuous)?;
        let source = super::connected(source)?;
        Ok((Cow::Borrowed(SCHEMA), Self { base: sqlite3_vtab::default(), source }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        let subject = |column| match column {
            DEVICE => Some(Subject::Device),
            SIGNAL => Some(Subject::Signal),
            TIME | TIME_MS => Some(Subject::Time),
            _ => SeatColumn::at(column, SEAT).map(Subject::Seat),
        };
        let plan = Plan::make(info, subject, |_, _| true)?;
        let is_decoded = info.col_used() & !KNOWN_UNDECODED != 0;
        let rows = (ROWS * plan.share()).max(1.0);
        info.set_idx_num(plan.order.number() | if is_decoded { DECODED } else { 0 });
        info.set_idx_str(&plan.text());
        info.set_estimated_rows(super::whole(rows));
        info.set_estimated_cost(100.0 + rows * if is_decoded { 1.0 } else { 0.2 });
        Ok(true)
    }

    fn open(&mut self) -> rusqlite::Result<SamplesCursor> {
        Ok(SamplesCursor {
            base: sqlite3_vtab_cursor::default(),
            source: Arc::clone(&self.source),
            walk: None,
            shown: RefCell::default(),
        })
    }
}

#[repr(C)]
struct SamplesCursor {
    /// Must be first: SQLite knows the cursor by it.
    base: sqlite3_vtab_cursor,
    source: Arc<Source>,
    walk: Option<Walk>,
    shown: RefCell<Shown>,
}

/// What was shown last, because the next row mostly shows it too.
#[derive(Default)]
struct Shown {
    time: Rfc3339,
    text: Vec<u8>,
    catalogue: Option<(protocol::CatalogueId, Arc<Signals>)>,
}

// SAFETY: the struct is `repr(C)` and begins with `sqlite3_vtab_cursor`, which is all the trait asks.
#[allow(unsafe_code, reason = "a virtual table's cursor is an unsafe trait to rusqlite")]
unsafe impl VTabCursor for SamplesCursor {
    fn filter(
        &mut self,
        number: c_int,
        plan: Option<&str>,
        values: &Filters<'_>,
    ) -> rusqlite::Result<()> {
        let selection = Selection::read(plan.unwrap_or_default(), values)?;
        let order = Order::from_number(number);
        let source = Arc::clone(&self.source);
        self.walk = None;
        self.walk = Some(Walk::start(source, selection, order, number & DECODED != 0)?);
        Ok(())
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.walk.as_mut().map_or(Ok(()), Walk::advance)
    }

    fn eof(&self) -> bool {
        self.here().is_none()
    }

    fn column(&self, context: &mut Context, column: c_int) -> rusqlite::Result<()> {
        let Some(here) = self.here() else { return context.set_result(Null) };
        match column {
            DEVICE => return context.set_result(&**here.device),
            PLACED => return context.set_result(is_placed(here.slice.row())),
            _ => {}
        }
        if let Some(column) = SeatColumn::at(column, SEAT) {
            let seat = here.slice.seat.as_deref();
            return context.set_result(seat.and_then(|seat| column.of(seat)));
        }
        let Some(hit) = here.slice.hit() else { return context.set_result(Null) };
        match column {
            SIGNAL | VALUE | UNIT | THINNING => self.of_signal(context, column, here, hit),
            TIME => self.time(context, here.slice.time_ms()),
            TIME_MS => context.set_result(here.slice.time_ms()),
            EXACT => match here.slice.exact(hit) {
                None => context.set_result(Null),
                Some(exact) => {
                    let mut json = Vec::new();
                    exact.write(&mut json);
                    context.set_result(str::from_utf8(&json).unwrap_or_default())
                }
            },
            RAW => context.set_result(hit.amount.steps()),
            ORDINAL => context.set_result(hit.ordinal),
            UPTIME_MS => context.set_result(here.slice.row().boot.map(|_| hit.own_ms)),
            LANE => context.set_result(here.slice.lane.name()),
            RING => context.set_result(here.slice.ring.to_string()),
            _ => {
                let Some(run) = here.slice.run(hit) else { return context.set_result(Null) };
                match column {
                    CLOCK => context.set_result(run.clock.name()),
                    BOOT => context.set_result(run.boot),
                    SEQ => context.set_result(run.seq.0.cast_signed()),
                    RECEIVED => self.time(context, Some(run.received_ms)),
                    _ => context.set_result(Null),
                }
            }
        }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(self.here().map_or(0, row_id))
    }
}

impl SamplesCursor {
    fn here(&self) -> Option<Here<'_>> {
        self.walk.as_ref()?.here()
    }

    fn of_signal(
        &self,
        context: &mut Context,
        column: c_int,
        here: Here<'_>,
        hit: &Hit,
    ) -> rusqlite::Result<()> {
        let catalogue = here.slice.row().catalogue;
        let mut shown = self.shown.borrow_mut();
        if shown.catalogue.as_ref().is_none_or(|(id, _)| *id != catalogue) {
            shown.catalogue = Some((catalogue, self.source.signals(catalogue)?));
        }
        let signals = shown.catalogue.as_ref().map(|(_, signals)| signals);
        let Some(signal) = signals.and_then(|signals| signals.get(hit.column)) else {
            return context.set_result(Null);
        };
        match column {
            SIGNAL => context.set_result(&*signal.path),
            UNIT => context.set_result(signal.unit.as_deref()),
            THINNING => {
                let thinning = signal.thinning.as_ref();
                context.set_result(thinning.and_then(|thinning| thinning.of(here.slice.lane)))
            }
            _ => match (hit.amount, here.slice.exact(hit)) {
                (Amount::Steps(bits), _) if hit.column == CELL => context.set_result(cell(bits)),
                (Amount::Steps(raw), _) => context.set_result(signal.scale.number(raw)),
                (Amount::Exact(_), exact) => exact_value(context, exact),
            },
        }
    }

    fn time(&self, context: &mut Context, unix_ms: Option<i64>) -> rusqlite::Result<()> {
        let shown = &mut *self.shown.borrow_mut();
        shown.text.clear();
        match unix_ms {
            Some(unix_ms) if shown.time.write(&mut shown.text, unix_ms) => {
                context.set_result(std::str::from_utf8(&shown.text).unwrap_or_default())
            }
            _ => context.set_result(Null),
        }
    }
}

/// A value that is no number of steps, as SQL has it: it has no word for a number that is none.
fn exact_value(context: &mut Context, exact: Option<&Exact>) -> rusqlite::Result<()> {
    match exact {
        None | Some(Exact::Missing) => context.set_result(Null),
        Some(Exact::Bytes(bytes)) => context.set_result(&**bytes),
        Some(Exact::Text(text)) => context.set_result(&**text),
        Some(number) => context.set_result(number.number()),
    }
}

/// Whether a block counted from its boot and got its place in time later.
fn is_placed(row: &BlockRow) -> bool {
    row.boot.is_some() && row.from_ms.is_some()
}

/// An H3 cell's name.
fn cell(raw: i64) -> String {
    let bits = raw.cast_unsigned();
    CellIndex::try_from(bits).map_or_else(|_| format!("{bits:x}"), |cell| cell.to_string())
}

/// Where a sample is, in whatever way it was come upon.
fn row_id(here: Here<'_>) -> i64 {
    let block = here.slice.row().id;
    match here.slice.hit().and_then(|hit| Some((hit, here.slice.run(hit)?))) {
        Some((hit, run)) => super::row_id(&(block, run.seq, hit.ordinal, hit.column)),
        None => super::row_id(&(block, here.slice.uncounted())),
    }
}
