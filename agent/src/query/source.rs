//! The store, as the virtual tables see it: devices, signals, the choice of blocks, blocks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::{Catalogue, CatalogueId, Signal, SignalIndex, Step};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::LeftOut;
use super::limit::Stop;
use super::selection::{NameTerm, Selection};
use super::value::Scale;
use crate::document::{SignalThinning, rfc3339, thinning};
use crate::privacy::{Lens, Policy, Seat};
use crate::store::StoreError;
use crate::store::block::Block;
use crate::store::read::{BlockRow, StoreReader};
use crate::store::schema::{FLAG_RETIRED, SPAN_MS_MAX};
use crate::store::seat;

/// The column that is no signal of a catalogue but the coarse place, and its path.
pub(super) const CELL: u8 = Lens::CELL;
pub(super) const CELL_PATH: &str = Policy::CELL_PATH;

/// A mask of columns: a bit per signal of a catalogue, and one for the coarse place.
pub(super) type Columns = u128;

/// One signal of a catalogue.
#[derive(Debug)]
pub(super) struct SignalView {
    pub path: Arc<str>,
    /// None for the empty one.
    pub unit: Option<Arc<str>>,
    pub step: Step,
    pub scale: Scale,
    /// What was left out of it on purpose, as documents say it.
    pub thinning: Option<SignalThinning>,
}

/// A catalogue, its coarse place included.
#[derive(Debug)]
pub(super) struct Signals(Vec<SignalView>);

impl Signals {
    pub fn get(&self, column: u8) -> Option<&SignalView> {
        // The coarse place stands last, whatever its number.
        let at = if column == CELL { self.0.len().checked_sub(1)? } else { usize::from(column) };
        self.0.get(at)
    }

    /// All, in the order of their columns; the coarse place last.
    pub fn all(&self) -> impl Iterator<Item = &SignalView> {
        self.0.iter()
    }

    /// The columns of these paths; all for none.
    pub fn columns(&self, paths: Option<&HashSet<String>>) -> Columns {
        let last = self.0.len().saturating_sub(1);
        let number = |at: usize| if at == last { usize::from(CELL) } else { at };
        self.0
            .iter()
            .enumerate()
            .filter(|(_, signal)| paths.is_none_or(|paths| paths.contains(&*signal.path)))
            .fold(0, |columns, (at, _)| columns | 1 << number(at))
    }
}

/// A device asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Device {
    pub id: i64,
    pub name: Arc<str>,
}

/// A store, shared by the tables of one connection.
#[derive(Debug)]
pub(super) struct Source {
    reader: Mutex<StoreReader>,
    catalogues: Mutex<HashMap<CatalogueId, Arc<Signals>>>,
    seats: Mutex<HashMap<i64, Option<Arc<Seat>>>>,
    pub stop: Stop,
    blocks_read: AtomicU64,
    damage: Mutex<Damage>,
}

/// Blocks that cannot be read.
#[derive(Debug, Default)]
struct Damage {
    /// They are left out; otherwise the first of them fails the query.
    is_skipped: bool,
    /// What failed the query.
    failed: Option<String>,
    /// How many samples each of those has that were left out.
    left_out: BTreeMap<i64, u32>,
    /// What is said of the first of these.
    first: Option<String>,
}

impl Source {
    pub fn open(dir: &Path, stop: Stop) -> Result<Self, StoreError> {
        Ok(Self {
            reader: Mutex::new(StoreReader::open(dir)?),
            catalogues: Mutex::default(),
            seats: Mutex::default(),
            stop,
            blocks_read: AtomicU64::new(0),
            damage: Mutex::default(),
        })
    }

    /// Leaves out, from the next query on, what cannot be read, instead of failing.
    pub fn skip_damaged(&self) {
        self.damage().is_skipped = true;
    }

    /// Whether it does.
    pub fn skips_damaged(&self) -> bool {
        self.damage().is_skipped
    }

    /// What the last query left out.
    pub fn left_out(&self) -> LeftOut {
        let damage = self.damage();
        LeftOut {
            blocks: damage.left_out.len(),
            samples: damage.left_out.values().map(|samples| u64::from(*samples)).sum(),
            first: damage.first.clone(),
        }
    }

    /// The block that failed the last query, if one did.
    pub fn failed_at(&self) -> Option<String> {
        self.damage().failed.take()
    }

    /// How many blocks were read so far.
    pub fn blocks_read(&self) -> u64 {
        self.blocks_read.load(Ordering::Relaxed)
    }

    /// Holds on to one moment of the index until [`Source::let_go`].
    pub fn hold(&self) -> rusqlite::Result<()> {
        // What a seat stands for may have been taken out since.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let is_skipped = self.skips_damaged();
        *self.damage() = Damage { is_skipped, ..Damage::default() };
        self.index(|index| index.execute_batch("BEGIN"))
    }

    /// Lets the index move on. Nothing was written, so nothing can be lost by a failure.
    pub fn let_go(&self) {
        self.reader().connection().execute_batch("ROLLBACK").ok();
    }

    /// Asks the index something.
    pub fn index<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.check()?;
        ask(self.reader().connection())
    }

    /// The devices asked for, by name; those that sat where it is asked for.
    pub fn devices(
        &self,
        selection: &Selection,
        descending: bool,
    ) -> rusqlite::Result<Vec<Device>> {
        let (mut condition, mut parameters) = conditions("device", &selection.devices);
        if let Some(seats) = &selection.seat_ids {
            condition.push_str(
                " AND id IN (SELECT device FROM seated WHERE seat IN (SELECT value FROM json_each(?)))",
            );
            parameters.push(Value::Text(seats.clone()));
        }
        let direction = if descending { "DESC" } else { "ASC" };
        let sql =
            format!("SELECT id, device FROM devices WHERE {condition} ORDER BY device {direction}");
        self.index(|index| {
            let mut statement = index.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(parameters), |row| {
                Ok(Device { id: row.get(0)?, name: row.get::<_, String>(1)?.into() })
            })?;
            rows.collect()
        })
    }

    /// The paths asked for; none for all.
    pub fn paths(&self, terms: &[NameTerm]) -> rusqlite::Result<Option<HashSet<String>>> {
        if terms.is_empty() {
            return Ok(None);
        }
        let (condition, parameters) = conditions("path", terms);
        let sql = format!("SELECT path FROM signals WHERE {condition}");
        self.index(|index| {
            let mut statement = index.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(parameters), |row| row.get(0))?;
            rows.collect::<rusqlite::Result<_>>().map(Some)
        })
    }

    /// Finds the seats asked for; from here on `selection` knows them.
    pub fn find_seats(&self, selection: &mut Selection) -> rusqlite::Result<()> {
        if selection.seats.is_empty() {
            return Ok(());
        }
        let mut parameters = Vec::new();
        let mut sql = "SELECT id FROM seats WHERE TRUE".to_owned();
        for (column, term) in &selection.seats {
            sql.push_str(" AND ");
            sql.push_str(&term.sql(column.name(), &mut parameters));
        }
        let ids: Vec<i64> = self.index(|index| {
            let mut statement = index.prepare_cached(&sql)?;
            statement.query_map(params_from_iter(parameters), |row| row.get(0))?.collect()
        })?;
        selection.seat_ids = Some(serde_json::Value::from(ids).to_string());
        Ok(())
    }

    /// The blocks of a device that may hold something of the time asked for: by time, those
    /// without any first. Not those of which only the roll-ups are left.
    pub fn choose(&self, device: i64, selection: &Selection) -> rusqlite::Result<Vec<BlockRow>> {
        let mut rows =
            self.chosen(BlockRow::COLUMNS, "blocks AS b", device, selection, BlockRow::read)?;
        rows.retain(|row| row.flags & FLAG_RETIRED == 0);
        Ok(rows)
    }

    /// The same, with what is kept ready of each block: its `hourly` or `minutely` roll-ups.
    pub fn choose_rolled_up(
        &self,
        device: i64,
        selection: &Selection,
        grain: &str,
    ) -> rusqlite::Result<Vec<(BlockRow, Option<Vec<u8>>)>> {
        let columns = format!("{}, r.{grain}", BlockRow::COLUMNS);
        let tables = "blocks AS b LEFT JOIN rollups AS r ON r.block = b.id";
        self.chosen(&columns, tables, device, selection, |row| {
            Ok((BlockRow::read(row)?, row.get(BlockRow::COLUMNS.split(',').count())?))
        })
    }

    fn chosen<T>(
        &self,
        columns: &str,
        tables: &str,
        device: i64,
        selection: &Selection,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        if selection.is_empty() {
            return Ok(Vec::new());
        }
        let sat = "(?2 IS NULL OR b.seat IN (SELECT value FROM json_each(?2)))";
        let seats = &selection.seat_ids;
        if !selection.is_timed {
            let sql = format!(
                "SELECT {columns} FROM {tables} WHERE b.device = ?1 AND {sat} ORDER BY b.from_ms, b.id"
            );
            return self.index(|index| {
                index.prepare_cached(&sql)?.query_map(params![device, seats], read)?.collect()
            });
        }
        // A block of level 1 is short, so an index range finds it. The few others are looked at
        // one by one.
        let sql = format!(
            "SELECT {columns} FROM {tables} WHERE b.device = ?1 AND {sat} AND b.level > 0 \
               AND b.from_ms BETWEEN ?5 AND ?4 AND b.from_ms + b.span_ms >= ?3 \
             UNION ALL \
             SELECT {columns} FROM {tables} WHERE b.device = ?1 AND {sat} AND b.level = 0 \
               AND b.from_ms <= ?4 AND b.from_ms + b.span_ms >= ?3 \
             ORDER BY 9, 1"
        );
        let (from, to) = (selection.from_ms, selection.to_ms);
        let parameters = params![device, seats, from, to, from.saturating_sub(SPAN_MS_MAX)];
        self.index(|index| index.prepare_cached(&sql)?.query_map(parameters, read)?.collect())
    }

    /// Reads a block; none if it cannot be read and such blocks are left out.
    pub fn block(&self, row: &BlockRow) -> rusqlite::Result<Option<Block>> {
        self.check()?;
        self.blocks_read.fetch_add(1, Ordering::Relaxed);
        let read = self.reader().block(row);
        match read {
            Ok(block) => Ok(Some(block)),
            Err(why) => self.cannot_read(row, why).map(|()| None),
        }
    }

    /// Leaves a block out that cannot be read, if that is wanted. Fails otherwise, and says which
    /// block it is, what would be missing, and what to do.
    pub fn cannot_read(&self, row: &BlockRow, why: impl Into<StoreError>) -> rusqlite::Result<()> {
        let why = match why.into() {
            StoreError::Index(error) => return Err(error),
            StoreError::Damaged { what } => what,
            other => other.to_string(),
        };
        let device: Option<String> = self.index(|index| {
            let sql = "SELECT device FROM devices WHERE id = ?1";
            index.query_row(sql, [row.device], |row| row.get(0)).optional()
        })?;
        let device = device.unwrap_or_else(|| "nobody".to_owned());
        let when = match (row.from_ms.zip(row.to_ms()), row.boot) {
            (Some((from, to)), _) => {
                format!("from {} to {}", rfc3339::shown(from), rfc3339::shown(to))
            }
            (None, boot) => format!("of boot {}, without a time", boot.unwrap_or_default()),
        };
        let BlockRow { id, file, offset, samples, .. } = row;
        let said = format!(
            "block {id} (file {file}, byte {offset}), {samples} samples of device {device} {when}: {why}"
        );
        let mut damage = self.damage();
        if damage.is_skipped {
            damage.left_out.insert(*id, *samples);
            damage.first.get_or_insert(said);
            return Ok(());
        }
        let said = format!(
            "cannot read {said}. See with `milepost store check` what else is damaged; stop the agent \
             and run `milepost store rebuild` to make the store anew from what can be read"
        );
        damage.failed = Some(said.clone());
        Err(rusqlite::Error::ModuleError(said))
    }

    /// A catalogue by its id.
    pub fn signals(&self, id: CatalogueId) -> rusqlite::Result<Arc<Signals>> {
        let mut known = self.catalogues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signals) = known.get(&id) {
            return Ok(Arc::clone(signals));
        }
        let sql = "SELECT encoded FROM catalogues WHERE id = ?1";
        let encoded: Option<Vec<u8>> =
            self.index(|index| index.query_row(sql, [id.0], |row| row.get(0)).optional())?;
        let encoded = encoded.unwrap_or_default();
        let decoded = Catalogue::decode::<{ Catalogue::SIGNALS_MAX }>(&encoded)
            .map_err(|error| rusqlite::Error::ModuleError(format!("catalogue {id}: {error}")))?;
        let cell = SignalView {
            path: CELL_PATH.into(),
            unit: None,
            step: Step::ONE,
            scale: Scale::new(Step::ONE),
            thinning: None,
        };
        let catalogue = decoded.catalogue();
        let signals = (0..).map(SignalIndex).zip(catalogue.signals);
        let views =
            signals.map(|(at, signal)| view(&catalogue, at, signal)).chain([cell]).collect();
        let signals = Arc::new(Signals(views));
        known.insert(id, Arc::clone(&signals));
        Ok(signals)
    }

    /// What a block's seat stands for; none if there is none.
    pub fn seat(&self, id: Option<i64>) -> rusqlite::Result<Option<Arc<Seat>>> {
        let Some(id) = id else { return Ok(None) };
        let mut known = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = known.get(&id) {
            return Ok(seat.clone());
        }
        let sql = format!("SELECT {} FROM seats WHERE id = ?1", seat::COLUMNS);
        let seat = self.index(|index| {
            index.prepare_cached(&sql)?.query_row([id], seat::read_row).optional()
        })?;
        let seat = seat.map(Arc::new);
        known.insert(id, seat.clone());
        Ok(seat)
    }

    /// Fails once the query is to stop: a table must ask this itself, in every loop of its own.
    pub fn check(&self) -> rusqlite::Result<()> {
        if self.stop.why().is_none() {
            return Ok(());
        }
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_INTERRUPT);
        Err(rusqlite::Error::SqliteFailure(code, None))
    }

    fn damage(&self) -> MutexGuard<'_, Damage> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, StoreReader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What went wrong in a table, for SQLite to hand on.
pub(super) fn failed(error: impl Into<StoreError>) -> rusqlite::Error {
    match error.into() {
        StoreError::Index(error) => error,
        other => rusqlite::Error::ModuleError(other.to_string()),
    }
}

fn view(catalogue: &Catalogue<'_>, at: SignalIndex, signal: &Signal<'_>) -> SignalView {
    SignalView {
        path: signal.path.into(),
        unit: (!signal.unit.is_empty()).then(|| signal.unit.into()),
        step: signal.step,
        scale: Scale::new(signal.step),
        thinning: thinning(catalogue, at),
    }
}

fn conditions(column: &str, terms: &[NameTerm]) -> (String, Vec<Value>) {
    let mut parameters = Vec::new();
    let mut condition = "TRUE".to_owned();
    for term in terms {
        condition.push_str(" AND ");
        condition.push_str(&term.sql(column, &mut parameters));
    }
    (condition, parameters)
}
