//! The tables of vehicles in one write transaction: whole timelines in, whole timelines out.

use protocol::DeviceId;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::record::{self, SpanRecord, VehicleRecord, start_key};
use super::timeline::{Assignment, Timeline};
use super::{VehicleError, VehicleId};

/// Vehicle -> [`VehicleRecord`].
pub(super) const VEHICLES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("vehicles");
/// Device and beginning -> [`SpanRecord`].
pub(super) const SPANS: TableDefinition<'static, (&str, i64), &[u8]> =
    TableDefinition::new("vehicles.spans");
/// Vehicle, device, beginning: the other way round.
pub(super) const BY_VEHICLE: TableDefinition<'static, (&str, &str, i64), ()> =
    TableDefinition::new("vehicles.by_vehicle");
/// Number of a part -> rows of an import that is not complete yet.
pub(super) const IMPORT: TableDefinition<'static, u32, &[u8]> =
    TableDefinition::new("vehicles.import");

/// The tables, opened to write.
pub(super) struct Tables<'t> {
    vehicles: Table<'t, &'static str, &'static [u8]>,
    spans: Table<'t, (&'static str, i64), &'static [u8]>,
    by_vehicle: Table<'t, (&'static str, &'static str, i64), ()>,
}

impl<'t> Tables<'t> {
    pub fn open(transaction: &'t WriteTransaction) -> Result<Self, VehicleError> {
        Ok(Self {
            vehicles: transaction.open_table(VEHICLES)?,
            spans: transaction.open_table(SPANS)?,
            by_vehicle: transaction.open_table(BY_VEHICLE)?,
        })
    }

    pub fn vehicle(&self, vehicle: &VehicleId) -> Result<Option<VehicleRecord>, VehicleError> {
        let found = self.vehicles.get(vehicle.as_str())?;
        let damaged = || VehicleError::Damaged(vehicle.to_string());
        found.map(|row| record::decode(row.value()).ok_or_else(damaged)).transpose()
    }

    /// All vehicles, and when each was added.
    pub fn all(&self) -> Result<Vec<(VehicleId, i64)>, VehicleError> {
        let mut all = Vec::new();
        for row in self.vehicles.iter()? {
            let (name, row) = row?;
            let damaged = || VehicleError::Damaged(name.value().to_owned());
            let vehicle = name.value().parse().map_err(|_| damaged())?;
            let row: VehicleRecord = record::decode(row.value()).ok_or_else(damaged)?;
            all.push((vehicle, row.added_ms));
        }
        Ok(all)
    }

    pub fn put_vehicle(
        &mut self,
        vehicle: &VehicleId,
        row: &VehicleRecord,
    ) -> Result<(), VehicleError> {
        self.vehicles.insert(vehicle.as_str(), record::encode(row).as_slice())?;
        Ok(())
    }

    /// Whether it was there.
    pub fn remove_vehicle(&mut self, vehicle: &VehicleId) -> Result<bool, VehicleError> {
        Ok(self.vehicles.remove(vehicle.as_str())?.is_some())
    }

    pub fn timeline(&self, device: DeviceId) -> Result<Timeline, VehicleError> {
        timeline(&self.spans, device)
    }

    /// Writes what differs between the timeline as it was and as it is now.
    pub fn put_timeline(
        &mut self,
        device: DeviceId,
        was: &Timeline,
        is: &Timeline,
    ) -> Result<(), VehicleError> {
        for gone in was.spans().iter().filter(|span| !is.spans().contains(span)) {
            let start = start_key(gone.from_ms);
            self.spans.remove((device.as_str(), start))?;
            self.by_vehicle.remove((gone.vehicle.as_str(), device.as_str(), start))?;
        }
        for new in is.spans().iter().filter(|span| !was.spans().contains(span)) {
            let start = start_key(new.from_ms);
            let row = record::encode(&SpanRecord::new(new));
            self.spans.insert((device.as_str(), start), row.as_slice())?;
            self.by_vehicle.insert((new.vehicle.as_str(), device.as_str(), start), ())?;
        }
        Ok(())
    }

    /// The devices that ever sat in a vehicle.
    pub fn devices_of(&self, vehicle: &VehicleId) -> Result<Vec<DeviceId>, VehicleError> {
        devices_of(&self.by_vehicle, vehicle)
    }
}

/// A device's timeline.
pub(super) fn timeline(
    spans: &impl ReadableTable<(&'static str, i64), &'static [u8]>,
    device: DeviceId,
) -> Result<Timeline, VehicleError> {
    let name = device.as_str();
    let mut found = Vec::new();
    for row in spans.range((name, i64::MIN)..=(name, i64::MAX))? {
        let (key, row) = row?;
        found.push(span(device, key.value().1, row.value())?);
    }
    Ok(Timeline::new(found))
}

/// One assignment.
pub(super) fn span(device: DeviceId, start: i64, row: &[u8]) -> Result<Assignment, VehicleError> {
    let row: Option<SpanRecord> = record::decode(row);
    let row = row.ok_or_else(|| VehicleError::Damaged(device.to_string()))?;
    Ok(row.into_assignment(device, start))
}

/// The devices that ever sat in a vehicle, by name.
pub(super) fn devices_of(
    by_vehicle: &impl ReadableTable<(&'static str, &'static str, i64), ()>,
    vehicle: &VehicleId,
) -> Result<Vec<DeviceId>, VehicleError> {
    let mut devices: Vec<DeviceId> = Vec::new();
    for row in by_vehicle.range((vehicle.as_str(), "", i64::MIN)..)? {
        let (key, _) = row?;
        let (of, device, _) = key.value();
        if of != vehicle.as_str() {
            break;
        }
        let Ok(device) = device.parse() else { continue };
        if devices.last() != Some(&device) {
            devices.push(device);
        }
    }
    Ok(devices)
}
