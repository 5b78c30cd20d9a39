//! Where devices sat, under the names that may leave.
//!
//! Asked for each frame, so what is known of a device is kept until the registry of vehicles moves;
//! of a bounded number of devices, the ones met last: the others are read again, which takes
//! microseconds.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use protocol::DeviceId;

use super::pseudonym::Names;
use crate::vehicles::{Assignment, Belonging, VehicleError, Vehicles};

/// Devices in each of the two maps: a few MiB with an assignment each.
const DEVICES_MAX: usize = 8192;

/// A vehicle in which a device sat, and what it belonged to then: as it may leave.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Seat {
    /// The vehicle's key or pseudonym; none if it may not leave.
    pub vehicle: Option<Box<str>>,
    /// Its group, tenant and region.
    pub belonging: Belonging,
}

/// A device's seats, in order of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Stays(Option<Arc<[Stay]>>);

#[derive(Debug)]
struct Stay {
    from_ms: i64,
    /// Included.
    last_ms: i64,
    seat: Arc<Seat>,
}

impl Stays {
    /// The seat at a time, and how far around it that is the same.
    pub fn around(&self, at_ms: i64) -> (Option<Arc<Seat>>, RangeInclusive<i64>) {
        let stays = self.0.as_deref().unwrap_or_default();
        let after = stays.partition_point(|stay| stay.from_ms <= at_ms);
        let before = after.checked_sub(1).and_then(|before| stays.get(before));
        if let Some(stay) = before.filter(|stay| at_ms <= stay.last_ms) {
            return (Some(Arc::clone(&stay.seat)), stay.from_ms..=stay.last_ms);
        }
        let from = before.map_or(i64::MIN, |stay| stay.last_ms.saturating_add(1));
        let last = stays.get(after).map_or(i64::MAX, |stay| stay.from_ms.saturating_sub(1));
        (None, from..=last)
    }

    /// The seat at a time.
    pub fn at(&self, at_ms: i64) -> Option<Arc<Seat>> {
        self.around(at_ms).0
    }
}

/// The registry of vehicles, as one policy sees it.
#[derive(Debug)]
pub(super) struct Seats {
    vehicles: Vehicles,
    /// Whether a vehicle's key may leave.
    shows_vehicle: bool,
    version: u64,
    young: HashMap<DeviceId, Stays>,
    old: HashMap<DeviceId, Stays>,
}

impl Seats {
    pub fn new(vehicles: Vehicles, shows_vehicle: bool) -> Self {
        let version = vehicles.version();
        Self { vehicles, shows_vehicle, version, young: HashMap::new(), old: HashMap::new() }
    }

    /// A device's seats.
    pub fn of(&mut self, device: DeviceId, names: Option<&Names>) -> Result<Stays, VehicleError> {
        // Read before what it vouches for: a change in between is seen at the next look.
        let version = self.vehicles.version();
        if std::mem::replace(&mut self.version, version) != version {
            self.young.clear();
            self.old.clear();
        }
        if let Some(stays) = self.young.get(&device) {
            return Ok(stays.clone());
        }
        let stays = match self.old.remove(&device) {
            Some(stays) => stays,
            None => self.read(device, names)?,
        };
        if self.young.len() >= DEVICES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(device, stays.clone());
        Ok(stays)
    }

    fn read(&self, device: DeviceId, names: Option<&Names>) -> Result<Stays, VehicleError> {
        let timeline = self.vehicles.timeline(device)?;
        let stay = |span: &Assignment| Stay {
            from_ms: span.start(),
            last_ms: span.to_ms.map_or(i64::MAX, |to_ms| to_ms.saturating_sub(1)),
            seat: Arc::new(Seat {
                vehicle: self.shows_vehicle.then(|| match names {
                    Some(names) => names.vehicle(span.vehicle.as_str()).into(),
                    None => span.vehicle.as_str().into(),
                }),
                belonging: span.belonging.clone(),
            }),
        };
        let stays: Arc<[Stay]> = timeline.spans().iter().map(stay).collect();
        Ok(Stays((!stays.is_empty()).then_some(stays)))
    }
}
