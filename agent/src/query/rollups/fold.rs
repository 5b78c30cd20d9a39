//! Device by device, bucket by bucket: from what blocks keep ready wherever that is enough, from
//! their samples where it is not.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::super::selection::Selection;
use super::super::source::{CELL, Columns, Device, Signals, Source, failed};
use super::tally::{Tally, take};
use crate::privacy::Seat;
use crate::store::read::BlockRow;
use crate::store::rollup::{self, HOUR_MS, MINUTE_MS, Rollup};
use crate::store::schema::FLAG_RETIRED;

/// One signal of one device in one bucket, as long as it sat in one place.
#[derive(Debug)]
pub(super) struct Bucket {
    pub start_ms: i64,
    pub signal: Arc<str>,
    /// `seats.id`
    pub seat_id: Option<i64>,
    pub seat: Option<Arc<Seat>>,
    pub unit: Option<Arc<str>>,
    pub tally: Tally,
}

/// Where the device sat: by number, and what that stands for.
type Sat = (Option<i64>, Option<Arc<Seat>>);
/// A bucket's number, its signal, and where the device sat.
type Key = (i64, Arc<str>, Option<i64>);
/// A unit, and what was added up.
type Added = (Option<Arc<str>>, Option<Arc<Seat>>, Tally);

/// Goes through the buckets asked for, by device's name, then time, then signal.
#[derive(Debug)]
pub(super) struct Fold {
    source: Arc<Source>,
    selection: Selection,
    paths: Option<HashSet<String>>,
    width_ms: i64,
    devices: VecDeque<Device>,
    device: Option<Device>,
    blocks: VecDeque<(BlockRow, Option<Vec<u8>>)>,
    /// Buckets that a later block may still add to.
    open: BTreeMap<Key, Added>,
    /// Buckets that none can.
    closed: VecDeque<Bucket>,
}

impl Fold {
    /// Goes to the first bucket.
    pub fn start(
        source: Arc<Source>,
        mut selection: Selection,
        width_ms: i64,
        descending: bool,
    ) -> rusqlite::Result<Self> {
        // What has no place in time is in no bucket.
        selection.is_timed = true;
        let mut devices = VecDeque::new();
        let mut paths = None;
        if !selection.is_empty() {
            paths = source.paths(&selection.signals)?;
            source.find_seats(&mut selection)?;
            devices = source.devices(&selection, descending)?.into();
        }
        let mut fold = Self {
            source,
            selection,
            paths,
            width_ms,
            devices,
            device: None,
            blocks: VecDeque::new(),
            open: BTreeMap::new(),
            closed: VecDeque::new(),
        };
        fold.settle()?;
        Ok(fold)
    }

    /// The bucket at hand; none behind the last.
    pub fn here(&self) -> Option<(&Device, &Bucket)> {
        self.device.as_ref().zip(self.closed.front())
    }

    /// Goes on to the next bucket.
    pub fn advance(&mut self) -> rusqlite::Result<()> {
        self.closed.pop_front();
        self.settle()
    }

    fn settle(&mut self) -> rusqlite::Result<()> {
        while self.closed.is_empty() {
            let Some((row, packed)) = self.blocks.pop_front() else {
                self.close_before(None);
                if !self.closed.is_empty() {
                    return Ok(());
                }
                let Some(device) = self.devices.pop_front() else { return Ok(()) };
                let grain = if self.width_ms % HOUR_MS == 0 { "hourly" } else { "minutely" };
                self.blocks =
                    self.source.choose_rolled_up(device.id, &self.selection, grain)?.into();
                self.device = Some(device);
                continue;
            };
            self.close_before(row.from_ms.map(|from| self.number(from)));
            self.add(&row, packed.as_deref())?;
        }
        Ok(())
    }

    /// A bucket's number since 1970.
    fn number(&self, unix_ms: i64) -> i64 {
        unix_ms.div_euclid(self.width_ms)
    }

    /// Closes the buckets before this number, or all.
    fn close_before(&mut self, number: Option<i64>) {
        while let Some(entry) = self.open.first_entry() {
            if number.is_some_and(|number| entry.key().0 >= number) {
                return;
            }
            let ((number, signal, seat_id), (unit, seat, tally)) = entry.remove_entry();
            let start_ms = number.saturating_mul(self.width_ms);
            self.closed.push_back(Bucket { start_ms, signal, seat_id, seat, unit, tally });
        }
    }

    fn add(&mut self, row: &BlockRow, packed: Option<&[u8]>) -> rusqlite::Result<()> {
        let signals = self.source.signals(row.catalogue)?;
        let sat = (row.seat, self.source.seat(row.seat)?);
        let columns = signals.columns(self.paths.as_ref()) & Columns::from(row.columns);
        if columns == 0 {
            return Ok(());
        }
        let grain_ms = match self.width_ms {
            width if width % HOUR_MS == 0 => HOUR_MS,
            width if width % MINUTE_MS == 0 => MINUTE_MS,
            _ => 0,
        };
        let Some(packed) = packed.filter(|_| grain_ms > 0) else {
            return self.add_samples((row, &sat), columns, &signals, |_, _| true);
        };
        // What lies on an edge of the time asked for has to be looked at more closely.
        let mut cut = HashSet::new();
        let mut cut_columns = 0;
        for rollup in rollup::unpack(packed, grain_ms).map_err(failed)? {
            if columns >> rollup.column & 1 == 0 {
                continue;
            }
            let (from_ms, to_ms) = (rollup.first_ms, rollup.last_ms);
            if self.selection.holds(from_ms) && self.selection.holds(to_ms) {
                let number = self.number(rollup.bucket.saturating_mul(grain_ms));
                self.add_rollup(number, &rollup, &signals, &sat);
            } else if from_ms <= self.selection.to_ms && to_ms >= self.selection.from_ms {
                cut.insert((rollup.bucket, rollup.column));
                cut_columns |= 1 << rollup.column;
            }
        }
        if cut.is_empty() {
            return Ok(());
        }
        self.add_samples((row, &sat), cut_columns, &signals, |unix_ms, column| {
            cut.contains(&(unix_ms.div_euclid(grain_ms), column))
        })
    }

    /// Adds a block's samples that are asked for; none if only its roll-ups are left.
    fn add_samples(
        &mut self,
        (row, sat): (&BlockRow, &Sat),
        columns: Columns,
        signals: &Signals,
        asked: impl Fn(i64, u8) -> bool,
    ) -> rusqlite::Result<()> {
        let Some(offset) = row.offset_ms().filter(|_| row.flags & FLAG_RETIRED == 0) else {
            return Ok(());
        };
        let Some(block) = self.source.block(row)? else { return Ok(()) };
        let mut rollups: HashMap<(i64, u8), Option<Rollup>> = HashMap::new();
        for sample in block.samples_of(columns & !(1 << CELL)) {
            let sample = match sample {
                Ok(sample) => sample,
                Err(error) => return self.source.cannot_read(row, error),
            };
            let unix_ms = sample.time_ms.saturating_add(offset);
            // What is no number of steps is not summed up.
            if let Some(raw) = sample.amount.steps()
                && self.selection.holds(unix_ms)
                && asked(unix_ms, sample.column)
            {
                let number = self.number(unix_ms);
                let rollup = rollups.entry((number, sample.column)).or_default();
                take(rollup, number, sample.column, raw, unix_ms);
            }
        }
        for rollup in rollups.into_values().flatten() {
            self.add_rollup(rollup.bucket, &rollup, signals, sat);
        }
        Ok(())
    }

    fn add_rollup(
        &mut self,
        number: i64,
        rollup: &Rollup,
        signals: &Signals,
        (seat_id, seat): &Sat,
    ) {
        let Some(signal) = signals.get(rollup.column) else { return };
        let tally = Tally::new(rollup, signal.scale);
        let key = (number, Arc::clone(&signal.path), *seat_id);
        self.open
            .entry(key)
            .and_modify(|(.., known)| known.add(&tally))
            .or_insert_with(|| (signal.unit.clone(), seat.clone(), tally));
    }
}
