//! A whole fleet at once: rows in, every fault named, all or nothing.
//!
//! Rows come in parts, because a request has a limit; the parts wait in a table of their own, so
//! that memory is bounded by one part. What is applied is one transaction; a dry run is the same,
//! and then given up.

use std::collections::HashMap;

use protocol::DeviceId;
use redb::ReadableTable as _;
use serde::{Deserialize, Serialize};

use super::names::Name;
use super::orders::may_sit;
use super::record::{self, VehicleRecord};
use super::tables::{IMPORT, Tables};
use super::timeline::{Assignment, Belonging, Timeline};
use super::{Standings, VehicleError, VehicleId, Vehicles};

/// Most rows in one part.
pub const ROWS_MAX: usize = 10_000;
/// Faults named before it is enough.
const FAULTS_MAX: usize = 1000;

/// A row: an assignment, or with no device a vehicle alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRow {
    /// Where it stands, from 1.
    pub line: u64,
    /// Which vehicle.
    pub vehicle: VehicleId,
    /// What people call it.
    pub label: Option<Name>,
    /// Which device, if any.
    pub device: Option<DeviceId>,
    /// Since when; none: since ever.
    pub from_ms: Option<i64>,
    /// Until when; none: it still does.
    pub to_ms: Option<i64>,
    /// What the vehicle belongs to in that time.
    pub belonging: Belonging,
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// Its line.
    pub line: u64,
    /// In which column.
    pub column: String,
    /// A sentence.
    pub reason: String,
}

/// What an import comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Rows read.
    pub rows: u64,
    /// Vehicles that were not known.
    pub vehicles: u64,
    /// Assignments that were not there.
    pub added: u64,
    /// Assignments that had another end or belonged elsewhere.
    pub changed: u64,
    /// Rows that said what was known.
    pub unchanged: u64,
    /// Rows whose device is not registered.
    pub unregistered: u64,
    /// The first of them.
    pub first_unregistered: Option<DeviceId>,
    /// What is wrong; if anything is, nothing was done.
    pub faults: Vec<Fault>,
    /// More faults than those.
    pub more_faults: u64,
    /// Whether it was done.
    pub applied: bool,
}

impl Vehicles {
    /// Takes a part of an import, from 0; the first forgets what another import left. `import`
    /// tells this import from any other.
    pub fn import_part(
        &self,
        import: u64,
        part: u32,
        rows: &[ImportRow],
    ) -> Result<(), VehicleError> {
        let transaction = self.database.begin_write()?;
        if part == 0 {
            transaction.delete_table(IMPORT)?;
        }
        {
            let mut parts = transaction.open_table(IMPORT)?;
            let last = parts.last()?.map(|(last, found)| (last.value(), import_of(found.value())));
            if last.map_or((0, Some(import)), |(last, of)| (last + 1, of)) != (part, Some(import)) {
                return Err(VehicleError::Interleaved);
            }
            parts.insert(part, record::encode(&(import, rows)).as_slice())?;
        }
        Ok(transaction.commit()?)
    }

    /// Applies what came in parts, or, if `dry_run`, says what that would come to.
    pub fn import(
        &self,
        import: u64,
        parts: u32,
        dry_run: bool,
        now_ms: i64,
        devices: Standings<'_>,
    ) -> Result<Imported, VehicleError> {
        let mut imported = Imported::default();
        let transaction = self.database.begin_write()?;
        {
            let tables = Tables::open(&transaction)?;
            let lines = HashMap::new();
            let mut rows_of = Import { tables, lines, now_ms, devices, imported: &mut imported };
            let rows = transaction.open_table(IMPORT)?;
            if rows.last()?.map_or(0, |(last, _)| last.value().saturating_add(1)) != parts {
                return Err(VehicleError::Interleaved);
            }
            for part in rows.iter()? {
                let (number, part) = part?;
                let damaged = || VehicleError::Damaged(format!("import part {}", number.value()));
                let (of, rows): (u64, Vec<ImportRow>) =
                    record::decode(part.value()).ok_or_else(damaged)?;
                if of != import {
                    return Err(VehicleError::Interleaved);
                }
                for row in rows {
                    rows_of.row(row)?;
                }
            }
        }
        if dry_run || !imported.faults.is_empty() {
            transaction.abort()?;
            let transaction = self.database.begin_write()?;
            transaction.delete_table(IMPORT)?;
            transaction.commit()?;
            return Ok(imported);
        }
        transaction.delete_table(IMPORT)?;
        transaction.commit()?;
        self.moved();
        imported.applied = true;
        Ok(imported)
    }
}

/// Which import a part belongs to.
fn import_of(part: &[u8]) -> Option<u64> {
    record::decode::<(u64, Vec<ImportRow>)>(part).map(|(import, _)| import)
}

/// An import under way.
struct Import<'t, 'i> {
    tables: Tables<'t>,
    /// Per assignment of this import, the line it stands in: to tell who is in the way.
    lines: HashMap<(DeviceId, i64), u64>,
    now_ms: i64,
    devices: Standings<'i>,
    imported: &'i mut Imported,
}

impl Import<'_, '_> {
    fn row(&mut self, row: ImportRow) -> Result<(), VehicleError> {
        self.imported.rows += 1;
        let known = self.tables.vehicle(&row.vehicle)?;
        let mut vehicle = known.clone().unwrap_or_else(|| {
            self.imported.vehicles += 1;
            VehicleRecord { added_ms: self.now_ms, ..VehicleRecord::default() }
        });
        if row.label.is_some() {
            vehicle.label.clone_from(&row.label);
        }
        if row.to_ms.is_none() {
            vehicle.belonging = row.belonging.clone();
        }
        if known.as_ref() != Some(&vehicle) {
            self.tables.put_vehicle(&row.vehicle, &vehicle)?;
        } else if row.device.is_none() {
            self.imported.unchanged += 1;
        }
        let Some(device) = row.device else { return Ok(()) };
        let ends = row.to_ms.unwrap_or(i64::MAX);
        if let Some(since_ms) = vehicle.decommissioned_ms.filter(|since_ms| ends > *since_ms) {
            let vehicle = row.vehicle.clone();
            let error = VehicleError::Decommissioned { vehicle, at_ms: since_ms };
            self.fault(row.line, "vehicle", error.to_string());
            return Ok(());
        }
        match may_sit(device, row.to_ms, self.devices) {
            Ok(None) => {}
            Ok(Some(_)) => {
                self.imported.unregistered += 1;
                self.imported.first_unregistered.get_or_insert(device);
            }
            Err(error @ VehicleError::DeviceDecommissioned { .. }) => {
                self.fault(row.line, "device", error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.assignment(device, row)
    }

    fn assignment(&mut self, device: DeviceId, row: ImportRow) -> Result<(), VehicleError> {
        let ImportRow { line, vehicle, from_ms, to_ms, belonging, .. } = row;
        let new = Assignment { device, vehicle, from_ms, to_ms, belonging };
        let was = self.tables.timeline(device)?;
        let mut is = was.clone();
        let start = new.start();
        // The same beginning in the same vehicle is the same assignment, told better.
        let known = was.spans().iter().find(|span| span.start() == start);
        let known = known.filter(|span| span.vehicle == new.vehicle);
        if let Some(known) = known {
            if let Some(first) = self.lines.get(&(device, start)) {
                let reason = format!("line {first} has the same assignment");
                self.fault(line, "from", reason);
                return Ok(());
            }
            if *known == new {
                self.lines.insert((device, start), line);
                self.imported.unchanged += 1;
                return Ok(());
            }
            is.take(start);
        }
        let is_known = known.is_some();
        if let Err(error) = is.insert(new.clone()) {
            self.refuse(line, &error, &is, &new);
            return Ok(());
        }
        self.tables.put_timeline(device, &was, &is)?;
        self.lines.insert((device, start), line);
        if is_known {
            self.imported.changed += 1;
        } else {
            self.imported.added += 1;
        }
        Ok(())
    }

    /// Names the column that is to blame, and the line that is in the way.
    fn refuse(&mut self, line: u64, error: &VehicleError, others: &Timeline, new: &Assignment) {
        match error {
            VehicleError::Conflict(conflict) => {
                let overlaps =
                    |span: &&Assignment| span.start() < new.end() && new.start() < span.end();
                let other = others.spans().iter().find(overlaps).map(Assignment::start);
                let other = other.and_then(|start| self.lines.get(&(new.device, start)));
                let place = other.map_or_else(String::new, |line| format!(" (line {line})"));
                self.fault(line, "from", format!("{conflict}{place}"));
            }
            VehicleError::Backwards => {
                self.fault(line, "to", "not after `from`".to_owned());
            }
            error => self.fault(line, "device", error.to_string()),
        }
    }

    fn fault(&mut self, line: u64, column: &str, reason: String) {
        if self.imported.faults.len() < FAULTS_MAX {
            self.imported.faults.push(Fault { line, column: column.to_owned(), reason });
        } else {
            self.imported.more_faults += 1;
        }
    }
}
