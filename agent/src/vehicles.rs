//! Which device sat in which vehicle, from when to when, and what the vehicle belonged to then.
//!
//! Constraints first. A device is not a vehicle: units are swapped, and what a device recorded
//! before the swap stays the old vehicle's. So a vehicle has no device; it has *assignments*, each
//! of one device for a time, with the group, tenant and region of that time. A device is in at most
//! one vehicle at an instant; a vehicle may have several devices. Every change is one transaction:
//! all or nothing.
//!
//! Nothing is cached here: a look-up is a read of the state database, and whoever asks often keeps
//! what it got until [`Vehicles::version`] moves.
//!
//! Writing calls sync the disk and so block: call them where blocking is allowed.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::DeviceId;
use redb::{ReadableTableMetadata as _, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::state::{self, State, StateError};

mod error;
mod import;
mod names;
mod orders;
mod record;
mod tables;
#[cfg(test)]
mod tests;
mod timeline;

pub use error::{Conflict, VehicleError};
pub use import::{Fault, ImportRow, Imported, ROWS_MAX};
pub use names::{Name, NameError, Said, VehicleId};
pub use orders::{VEHICLES_MAX, VehicleAnswer, VehicleOrder};
pub use timeline::{Assignment, Belonging, Timeline};

use record::VehicleRecord;
use tables::{BY_VEHICLE, IMPORT, SPANS, Tables, VEHICLES};

/// Format of this module's tables; see [`state::claim`].
const FORMAT: u32 = 1;

/// The vehicles. Cheap to clone; a clone is the same registry.
#[derive(Clone, Debug)]
pub struct Vehicles {
    database: State,
    version: Arc<AtomicU64>,
}

/// All vehicles, and when each was added.
pub fn all_in(transaction: &WriteTransaction) -> Result<Vec<(VehicleId, i64)>, VehicleError> {
    Tables::open(transaction)?.all()
}

/// How a device stands in the registry of devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is not there; it may come.
    Unknown,
    /// It is in use.
    InUse,
    /// It is out of use since then, Unix milliseconds.
    Decommissioned(i64),
}

/// Who knows how devices stand.
pub type Standings<'a> = &'a dyn Fn(DeviceId) -> Result<Standing, VehicleError>;

/// A vehicle and its assignments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VehicleEntry {
    /// Its key.
    pub vehicle: VehicleId,
    /// What people call it.
    pub label: Option<Name>,
    /// What it belongs to: what a new assignment begins with.
    #[serde(flatten)]
    pub belonging: Belonging,
    /// When it was added, Unix milliseconds.
    pub added_ms: i64,
    /// Since when it is out of use, if it is.
    pub decommissioned_ms: Option<i64>,
    /// By device, each in order of time.
    pub assignments: Vec<Assignment>,
}

/// What to change of a vehicle; what is none stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its label.
    pub label: Option<Said>,
    /// Its group.
    pub group: Option<Said>,
    /// Its tenant.
    pub tenant: Option<Said>,
    /// Its region.
    pub region: Option<Said>,
}

impl Change {
    fn apply(&self, row: &mut VehicleRecord) {
        set(&mut row.label, self.label.as_ref());
        self.belong(&mut row.belonging);
    }

    fn belong(&self, belonging: &mut Belonging) {
        set(&mut belonging.group, self.group.as_ref());
        set(&mut belonging.tenant, self.tenant.as_ref());
        set(&mut belonging.region, self.region.as_ref());
    }
}

fn set(name: &mut Option<Name>, said: Option<&Said>) {
    if let Some(Said(said)) = said {
        name.clone_from(said);
    }
}

impl Vehicles {
    /// The vehicles in this database.
    pub fn open(database: State) -> Result<Self, StateError> {
        state::claim(&database, "vehicles", FORMAT)?;
        let transaction = database.begin_write()?;
        // Made here, so that no read meets a table that is not there.
        transaction.open_table(VEHICLES)?;
        transaction.open_table(SPANS)?;
        transaction.open_table(BY_VEHICLE)?;
        // What an import left that was not finished.
        transaction.delete_table(IMPORT)?;
        transaction.commit()?;
        Ok(Self { database, version: Arc::default() })
    }

    /// Moves with every change: who keeps timelines reads them anew then.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Where a device sat, and when.
    pub fn timeline(&self, device: DeviceId) -> Result<Timeline, VehicleError> {
        tables::timeline(&self.database.begin_read()?.open_table(SPANS)?, device)
    }

    /// How many vehicles there are.
    pub fn count(&self) -> Result<u64, VehicleError> {
        Ok(self.database.begin_read()?.open_table(VEHICLES)?.len()?)
    }

    /// At most `limit` vehicles in the order of their keys, after `after` if given; fewer than
    /// `limit` if there are no more.
    pub fn list(
        &self,
        after: Option<&VehicleId>,
        limit: usize,
    ) -> Result<Vec<VehicleEntry>, VehicleError> {
        let transaction = self.database.begin_read()?;
        let vehicles = transaction.open_table(VEHICLES)?;
        let (spans, by_vehicle) =
            (transaction.open_table(SPANS)?, transaction.open_table(BY_VEHICLE)?);
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_str()));
        let mut entries = Vec::new();
        for row in vehicles.range::<&str>((from, Bound::Unbounded))?.take(limit) {
            let (name, row) = row?;
            let vehicle = name.value().parse::<VehicleId>();
            let vehicle = vehicle.map_err(|_| VehicleError::Damaged(name.value().to_owned()))?;
            entries.push(entry(vehicle, row.value(), &spans, &by_vehicle)?);
        }
        Ok(entries)
    }

    /// One vehicle.
    pub fn show(&self, vehicle: &VehicleId) -> Result<VehicleEntry, VehicleError> {
        let transaction = self.database.begin_read()?;
        let vehicles = transaction.open_table(VEHICLES)?;
        let row = vehicles.get(vehicle.as_str())?;
        let row = row.ok_or_else(|| VehicleError::Unknown(vehicle.clone()))?;
        let (spans, by_vehicle) =
            (transaction.open_table(SPANS)?, transaction.open_table(BY_VEHICLE)?);
        entry(vehicle.clone(), row.value(), &spans, &by_vehicle)
    }

    /// Puts a device into a vehicle for a time. A vehicle that is not there is made.
    pub fn assign(
        &self,
        new: &Assignment,
        change: &Change,
        now_ms: i64,
    ) -> Result<(), VehicleError> {
        self.write(|tables| {
            let known = tables.vehicle(&new.vehicle)?;
            let mut vehicle = known
                .unwrap_or_else(|| VehicleRecord { added_ms: now_ms, ..VehicleRecord::default() });
            if let Some(at_ms) = vehicle.decommissioned_ms.filter(|at_ms| new.end() > *at_ms) {
                return Err(VehicleError::Decommissioned { vehicle: new.vehicle.clone(), at_ms });
            }
            let before = vehicle.belonging.clone();
            change.apply(&mut vehicle);
            let belonging = vehicle.belonging.clone();
            if new.to_ms.is_some() {
                // It is over: it says nothing of now.
                vehicle.belonging = before;
            }
            let was = tables.timeline(new.device)?;
            let mut is = was.clone();
            is.insert(Assignment { belonging, ..new.clone() })?;
            tables.put_vehicle(&new.vehicle, &vehicle)?;
            tables.put_timeline(new.device, &was, &is)
        })
    }

    /// Ends a device's time in a vehicle; what would only begin later is dropped.
    pub fn release(
        &self,
        vehicle: &VehicleId,
        device: DeviceId,
        at_ms: i64,
    ) -> Result<(), VehicleError> {
        self.write(|tables| {
            let was = tables.timeline(device)?;
            let mut is = was.clone();
            if is.end(Some(vehicle), at_ms).is_nothing() {
                let vehicle = vehicle.clone();
                return Err(VehicleError::NotThere { device, vehicle, at_ms });
            }
            tables.put_timeline(device, &was, &is)
        })
    }

    /// One device out, another in its place: ends the one's time and begins the other's, which
    /// lasts as long as the one's would have and belongs to the same.
    pub fn swap(
        &self,
        vehicle: &VehicleId,
        (out, new): (DeviceId, DeviceId),
        at_ms: i64,
    ) -> Result<(), VehicleError> {
        if out == new {
            return Err(VehicleError::Same(out));
        }
        self.write(|tables| {
            if tables.vehicle(vehicle)?.is_none() {
                return Err(VehicleError::Unknown(vehicle.clone()));
            }
            let was = tables.timeline(out)?;
            let mut is = was.clone();
            let ended = is.end(Some(vehicle), at_ms).cut;
            let before = ended.ok_or_else(|| {
                let vehicle = vehicle.clone();
                VehicleError::NotThere { device: out, vehicle, at_ms }
            })?;
            tables.put_timeline(out, &was, &is)?;
            let was = tables.timeline(new)?;
            let mut is = was.clone();
            is.insert(Assignment { device: new, from_ms: Some(at_ms), ..before })?;
            tables.put_timeline(new, &was, &is)
        })
    }

    /// Changes what a vehicle is called and what it belongs to, from a time on; a vehicle that is
    /// not there is made.
    pub fn set(
        &self,
        vehicle: &VehicleId,
        change: &Change,
        at_ms: i64,
        now_ms: i64,
    ) -> Result<(), VehicleError> {
        self.write(|tables| {
            let known = tables.vehicle(vehicle)?;
            let mut row = known
                .unwrap_or_else(|| VehicleRecord { added_ms: now_ms, ..VehicleRecord::default() });
            change.apply(&mut row);
            tables.put_vehicle(vehicle, &row)?;
            for device in tables.devices_of(vehicle)? {
                let was = tables.timeline(device)?;
                let mut is = was.clone();
                is.belong(vehicle, at_ms, |belonging| change.belong(belonging))?;
                tables.put_timeline(device, &was, &is)?;
            }
            Ok(())
        })
    }

    /// Takes a vehicle out of use: ends all assignments. The devices that sat in it until then.
    pub fn decommission(
        &self,
        vehicle: &VehicleId,
        at_ms: i64,
    ) -> Result<Vec<DeviceId>, VehicleError> {
        self.write(|tables| {
            let known = tables.vehicle(vehicle)?;
            let mut row = known.ok_or_else(|| VehicleError::Unknown(vehicle.clone()))?;
            row.decommissioned_ms.get_or_insert(at_ms);
            tables.put_vehicle(vehicle, &row)?;
            let mut released = Vec::new();
            for device in tables.devices_of(vehicle)? {
                let was = tables.timeline(device)?;
                let mut is = was.clone();
                if is.end(Some(vehicle), at_ms).cut.is_some() {
                    released.push(device);
                }
                tables.put_timeline(device, &was, &is)?;
            }
            Ok(released)
        })
    }

    /// Forgets a vehicle and, if `force`, all its assignments; how many there were.
    pub fn remove(&self, vehicle: &VehicleId, force: bool) -> Result<usize, VehicleError> {
        self.write(|tables| {
            let mut assignments = 0;
            for device in tables.devices_of(vehicle)? {
                let was = tables.timeline(device)?;
                let other = was.spans().iter().filter(|span| span.vehicle != *vehicle);
                let is = Timeline::new(other.cloned().collect());
                assignments += was.spans().len() - is.spans().len();
                tables.put_timeline(device, &was, &is)?;
            }
            if assignments > 0 && !force {
                return Err(VehicleError::InUse { vehicle: vehicle.clone(), assignments });
            }
            if !tables.remove_vehicle(vehicle)? {
                return Err(VehicleError::Unknown(vehicle.clone()));
            }
            Ok(assignments)
        })
    }

    /// Changes the tables in one transaction; nothing is written on an error.
    fn write<T>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, VehicleError>,
    ) -> Result<T, VehicleError> {
        let transaction = self.database.begin_write()?;
        let changed = change(&mut Tables::open(&transaction)?)?;
        transaction.commit()?;
        self.moved();
        Ok(changed)
    }

    /// Says that something changed.
    pub(crate) fn moved(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// Ends a device's time wherever it sits, as part of a transaction; what it sat in. Call
/// [`Vehicles::moved`] after the commit.
pub(crate) fn end_in(
    transaction: &WriteTransaction,
    device: DeviceId,
    at_ms: i64,
) -> Result<Option<VehicleId>, VehicleError> {
    let mut tables = Tables::open(transaction)?;
    let was = tables.timeline(device)?;
    let mut is = was.clone();
    let ended = is.end(None, at_ms);
    tables.put_timeline(device, &was, &is)?;
    Ok(ended.cut.map(|span| span.vehicle))
}

/// Forgets where a device sat, as part of a transaction; how many assignments there were. Call
/// [`Vehicles::moved`] after the commit.
pub(crate) fn erase_in(
    transaction: &WriteTransaction,
    device: DeviceId,
) -> Result<usize, VehicleError> {
    let mut tables = Tables::open(transaction)?;
    let was = tables.timeline(device)?;
    tables.put_timeline(device, &was, &Timeline::default())?;
    Ok(was.spans().len())
}

fn entry(
    vehicle: VehicleId,
    row: &[u8],
    spans: &impl redb::ReadableTable<(&'static str, i64), &'static [u8]>,
    by_vehicle: &impl redb::ReadableTable<(&'static str, &'static str, i64), ()>,
) -> Result<VehicleEntry, VehicleError> {
    let row = record::decode(row).ok_or_else(|| VehicleError::Damaged(vehicle.to_string()))?;
    let VehicleRecord { label, belonging, added_ms, decommissioned_ms } = row;
    let mut assignments = Vec::new();
    for device in tables::devices_of(by_vehicle, &vehicle)? {
        let timeline = tables::timeline(spans, device)?;
        assignments.extend(timeline.spans().iter().filter(|span| span.vehicle == vehicle).cloned());
    }
    Ok(VehicleEntry { vehicle, label, belonging, added_ms, decommissioned_ms, assignments })
}
