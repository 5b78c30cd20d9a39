//! The tables `rollup_1h` and `rollup_1m`, and the function `buckets(signal, width, from, to, device)`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, c_int};
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::{Null, Value};
use rusqlite::vtab::{
    Context, Filters, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor,
    sqlite3_vtab, sqlite3_vtab_cursor,
};

use self::fold::Fold;
use super::instant;
use super::plan::{Order, Plan};
use super::selection::{Comparison, NameTerm, SeatColumn, Selection, Subject};
use super::source::Source;
use crate::document::Rfc3339;

mod fold;
mod tally;

const ROLLUP_SCHEMA: &CStr = c"CREATE TABLE rollup(
    device TEXT, signal TEXT, time TEXT, count INTEGER, min, max, mean REAL, first, last, unit TEXT,
    sum REAL, time_ms INTEGER, vehicle TEXT, vehiclegroup TEXT, tenant TEXT, region TEXT)";
const BUCKETS_SCHEMA: &CStr = c"CREATE TABLE buckets(
    device TEXT, signal TEXT, bucket TEXT, count INTEGER, min, max, mean REAL, first, last,
    unit TEXT, sum REAL, bucket_ms INTEGER, vehicle TEXT, vehiclegroup TEXT, tenant TEXT, region TEXT,
    of_signal HIDDEN, width HIDDEN, from_time HIDDEN, to_time HIDDEN, of_device HIDDEN)";

const DEVICE: c_int = 0;
const SIGNAL: c_int = 1;
const TIME: c_int = 2;
const TIME_MS: c_int = 11;
/// The first of four about where the device sat.
const SEAT: c_int = 12;
/// The first of the function's arguments.
const ARGUMENT: c_int = 16;
/// What a scan of everything is taken to give.
const ROWS: f64 = 1e6;

/// What is rolled up to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Width {
    /// Always this, in milliseconds.
    Fixed(i64),
    /// What an argument says.
    Argument,
}

/// Makes the tables known to a connection.
pub(super) fn register(connection: &Connection, source: &Arc<Source>) -> rusqlite::Result<()> {
    const MODULE: Module<'_, RollupTable> = Module::eponymous_only_module();
    for (name, width) in [
        (c"rollup_1h", Width::Fixed(3_600_000)),
        (c"rollup_1m", Width::Fixed(60_000)),
        (c"buckets", Width::Argument),
    ] {
        connection.create_module(name, &MODULE, Some((Arc::clone(source), width)))?;
    }
    Ok(())
}

type Registered = (Arc<Source>, Width);

#[repr(C)]
struct RollupTable {
    /// Must be first: SQLite knows the table by it.
    base: sqlite3_vtab,
    source: Arc<Source>,
    width: Width,
}

// SAFETY: the struct is `repr(C)` and begins with `sqlite3_vtab`, which is all the trait asks.
#[allow(unsafe_code, reason = "a virtual table is an unsafe trait to rusqlite")]
unsafe impl VTab<'_> for RollupTable {
    type Aux = Registered;
    type Cursor = RollupCursor;

    fn connect(
        connection: &mut VTabConnection,
        registered: Option<&Registered>,
        _module: &[u8],
        _database: &[u8],
        _table: &[u8],
        _arguments: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        connection.config(VTabConfig::Innocuous)?;
        let (source, width) = registered.cloned().unzip();
        let source = super::connected(source.as_ref())?;
        let width = width.unwrap_or(Width::Argument);
        let schema = if width == Width::Argument { BUCKETS_SCHEMA } else { ROLLUP_SCHEMA };
        Ok((Cow::Borrowed(schema), Self { base: sqlite3_vtab::default(), source, width }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        // An argument that is not known yet: another order of the join has it.
        if info.constraints().any(|term| term.column() >= ARGUMENT && !term.is_usable()) {
            return Ok(false);
        }
        let subject = |column| match column {
            DEVICE => Some(Subject::Device),
            SIGNAL => Some(Subject::Signal),
            TIME | TIME_MS => Some(Subject::Time),
            _ => match SeatColumn::at(column, SEAT) {
                Some(seat) => Some(Subject::Seat(seat)),
                None => u8::try_from(column - ARGUMENT).ok().map(Subject::Argument),
            },
        };
        let plan = Plan::make(info, subject, |order, is_one_device| {
            !order.time_descends() && (order.by_device() || is_one_device)
        })?;
        let rows = (ROWS * plan.share()).max(1.0);
        info.set_idx_num(plan.order.number());
        info.set_idx_str(&plan.text());
        info.set_estimated_rows(super::whole(rows));
        info.set_estimated_cost(100.0 + rows * 2.0);
        Ok(true)
    }

    fn open(&mut self) -> rusqlite::Result<RollupCursor> {
        Ok(RollupCursor {
            base: sqlite3_vtab_cursor::default(),
            source: Arc::clone(&self.source),
            width: self.width,
            fold: None,
            time: RefCell::default(),
        })
    }
}

#[repr(C)]
struct RollupCursor {
    /// Must be first: SQLite knows the cursor by it.
    base: sqlite3_vtab_cursor,
    source: Arc<Source>,
    width: Width,
    fold: Option<Fold>,
    time: RefCell<Rfc3339>,
}

// SAFETY: the struct is `repr(C)` and begins with `sqlite3_vtab_cursor`, which is all the trait asks.
#[allow(unsafe_code, reason = "a virtual table's cursor is an unsafe trait to rusqlite")]
unsafe impl VTabCursor for RollupCursor {
    fn filter(
        &mut self,
        number: c_int,
        plan: Option<&str>,
        values: &Filters<'_>,
    ) -> rusqlite::Result<()> {
        let mut selection = Selection::read(plan.unwrap_or_default(), values)?;
        let width_ms = match self.width {
            Width::Fixed(width_ms) => {
                selection.widen(width_ms);
                width_ms
            }
            Width::Argument => take_arguments(&mut selection)?,
        };
        let descends = Order::from_number(number).device_descends();
        self.fold = None;
        self.fold = Some(Fold::start(Arc::clone(&self.source), selection, width_ms, descends)?);
        Ok(())
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.fold.as_mut().map_or(Ok(()), Fold::advance)
    }

    fn eof(&self) -> bool {
        self.fold.as_ref().and_then(Fold::here).is_none()
    }

    fn column(&self, context: &mut Context, column: c_int) -> rusqlite::Result<()> {
        let Some((device, bucket)) = self.fold.as_ref().and_then(Fold::here) else {
            return context.set_result(Null);
        };
        let tally = &bucket.tally;
        match column {
            DEVICE => context.set_result(&*device.name),
            SIGNAL => context.set_result(&*bucket.signal),
            TIME => {
                let mut text = Vec::new();
                self.time.borrow_mut().write(&mut text, bucket.start_ms);
                context.set_result(std::str::from_utf8(&text).ok().filter(|text| !text.is_empty()))
            }
            3 => context.set_result(tally.count.cast_signed()),
            4 => context.set_result(tally.min),
            5 => context.set_result(tally.max),
            6 => context.set_result(tally.mean()),
            7 => context.set_result(tally.first),
            8 => context.set_result(tally.last),
            9 => context.set_result(bucket.unit.as_deref()),
            10 => context.set_result(tally.sum()),
            TIME_MS => context.set_result(bucket.start_ms),
            _ => {
                let seat = bucket.seat.as_deref().zip(SeatColumn::at(column, SEAT));
                context.set_result(seat.and_then(|(seat, column)| column.of(seat)))
            }
        }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        let here = self.fold.as_ref().and_then(Fold::here);
        Ok(here.map_or(0, |(device, bucket)| {
            super::row_id(&(device.id, bucket.start_ms, &*bucket.signal, bucket.seat_id))
        }))
    }
}

/// The function's arguments as terms; gives the width.
fn take_arguments(selection: &mut Selection) -> rusqlite::Result<i64> {
    let [signal, width, from, to, device] =
        std::mem::take(&mut selection.arguments).map(|value| value.filter(|v| *v != Value::Null));
    let width_ms = width_ms(width)?;
    selection.widen(width_ms);
    let equal = |value| NameTerm { comparison: Comparison::Equal, values: vec![value] };
    let signal = signal.ok_or_else(|| wrong("which signal?"))?;
    selection.signals.push(equal(signal));
    selection.devices.extend(device.map(equal));
    if let Some(from) = from {
        selection.narrow(Comparison::GreaterOrEqual, &from)?;
    }
    if let Some(to) = to {
        selection.narrow(Comparison::Less, &to)?;
    }
    Ok(width_ms)
}

fn width_ms(width: Option<Value>) -> rusqlite::Result<i64> {
    match width.ok_or_else(|| wrong("how wide are the buckets?"))? {
        Value::Integer(width_ms) if width_ms > 0 => Ok(width_ms),
        Value::Text(text) => instant::parse_length(&text)
            .ok_or_else(|| wrong(&format!("'{text}' is no width like '15m', '1h' or '1d'"))),
        _ => Err(wrong("a width is a text like '15m', or milliseconds")),
    }
}

fn wrong(what: &str) -> rusqlite::Error {
    rusqlite::Error::ModuleError(format!("buckets(signal, width [, from, to [, device]]): {what}"))
}
