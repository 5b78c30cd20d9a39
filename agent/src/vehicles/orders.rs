//! What an operator asks of the registry of vehicles, and what it answers.

use protocol::DeviceId;
use serde::{Deserialize, Serialize};

use super::import::{ImportRow, Imported, ROWS_MAX};
use super::{
    Assignment, Belonging, Change, Standing, Standings, VehicleEntry, VehicleError, VehicleId,
    Vehicles,
};

/// Most vehicles in one answer; one may have many assignments.
pub const VEHICLES_MAX: usize = 1000;

/// A question or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum VehicleOrder {
    /// The vehicles after this one, by key; at most [`VEHICLES_MAX`].
    List {
        /// The last one of the page before.
        after: Option<VehicleId>,
    },
    /// One vehicle.
    Show {
        /// Which.
        vehicle: VehicleId,
    },
    /// Put a device into a vehicle.
    Assign {
        /// Which device.
        device: DeviceId,
        /// Into which vehicle.
        vehicle: VehicleId,
        /// Since when; none: now, the least number: since ever.
        from_ms: Option<i64>,
        /// Until when, if it is over.
        to_ms: Option<i64>,
        /// What the vehicle is called and belongs to, where that is said anew.
        change: Change,
    },
    /// End a device's time in a vehicle.
    Release {
        /// Which device.
        device: DeviceId,
        /// In which vehicle.
        vehicle: VehicleId,
        /// When; none: now.
        at_ms: Option<i64>,
    },
    /// One device out, another in its place.
    Swap {
        /// In which vehicle.
        vehicle: VehicleId,
        /// Which device goes.
        out: DeviceId,
        /// Which comes.
        new: DeviceId,
        /// When; none: now.
        at_ms: Option<i64>,
    },
    /// Say what a vehicle is called and belongs to.
    Set {
        /// Which.
        vehicle: VehicleId,
        /// What is different.
        change: Change,
        /// Since when; none: now.
        at_ms: Option<i64>,
    },
    /// Take a vehicle out of use.
    Decommission {
        /// Which.
        vehicle: VehicleId,
        /// When; none: now.
        at_ms: Option<i64>,
    },
    /// Forget a vehicle.
    Remove {
        /// Which.
        vehicle: VehicleId,
        /// With all its assignments.
        force: bool,
    },
    /// A part of an import; at most [`ROWS_MAX`] rows.
    ImportPart {
        /// Tells this import from any other.
        import: u64,
        /// Which, from 0.
        part: u32,
        /// The rows.
        rows: Vec<ImportRow>,
    },
    /// All parts are there.
    Import {
        /// Of which import.
        import: u64,
        /// How many.
        parts: u32,
        /// Only say what it would come to.
        dry_run: bool,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum VehicleAnswer {
    /// These; fewer than [`VEHICLES_MAX`] if there are no more.
    Vehicles {
        /// In the order of their keys.
        vehicles: Vec<VehicleEntry>,
    },
    /// It is done.
    Done {
        /// What the operator should know, in a sentence.
        note: Option<String>,
    },
    /// It is done, and these devices are in no vehicle now.
    Released {
        /// By name.
        devices: Vec<DeviceId>,
    },
    /// It is forgotten, with so many assignments.
    Removed {
        /// How many.
        assignments: usize,
    },
    /// What the import came to.
    Imported {
        /// Counts and faults.
        imported: Imported,
    },
    /// No, and why.
    Refused {
        /// A sentence.
        reason: String,
    },
}

impl Vehicles {
    /// Does as asked. Blocks for reads and syncs of the disk.
    pub fn obey(&self, order: VehicleOrder, now_ms: i64, devices: Standings<'_>) -> VehicleAnswer {
        let answer = self.try_obey(order, now_ms, devices);
        answer.unwrap_or_else(|error| VehicleAnswer::Refused { reason: error.to_string() })
    }

    fn try_obey(
        &self,
        order: VehicleOrder,
        now_ms: i64,
        devices: Standings<'_>,
    ) -> Result<VehicleAnswer, VehicleError> {
        let at = |at_ms: Option<i64>| at_ms.unwrap_or(now_ms);
        Ok(match order {
            VehicleOrder::List { after } => {
                VehicleAnswer::Vehicles { vehicles: self.list(after.as_ref(), VEHICLES_MAX)? }
            }
            VehicleOrder::Show { vehicle } => {
                VehicleAnswer::Vehicles { vehicles: vec![self.show(&vehicle)?] }
            }
            VehicleOrder::Assign { device, vehicle, from_ms, to_ms, change } => {
                let note = may_sit(device, to_ms, devices)?;
                let from_ms = Some(at(from_ms)).filter(|from_ms| *from_ms != i64::MIN);
                let belonging = Belonging::default();
                let new = Assignment { device, vehicle, from_ms, to_ms, belonging };
                self.assign(&new, &change, now_ms)?;
                tracing::info!(%device, vehicle = %new.vehicle, "device assigned");
                VehicleAnswer::Done { note }
            }
            VehicleOrder::Release { device, vehicle, at_ms } => {
                self.release(&vehicle, device, at(at_ms))?;
                tracing::info!(%device, %vehicle, "device released");
                VehicleAnswer::Done { note: None }
            }
            VehicleOrder::Swap { vehicle, out, new, at_ms } => {
                let note = may_sit(new, None, devices)?;
                self.swap(&vehicle, (out, new), at(at_ms))?;
                tracing::info!(%vehicle, %out, %new, "device swapped");
                VehicleAnswer::Done { note }
            }
            VehicleOrder::Set { vehicle, change, at_ms } => {
                self.set(&vehicle, &change, at(at_ms), now_ms)?;
                VehicleAnswer::Done { note: None }
            }
            VehicleOrder::Decommission { vehicle, at_ms } => {
                let devices = self.decommission(&vehicle, at(at_ms))?;
                tracing::info!(%vehicle, "vehicle decommissioned");
                VehicleAnswer::Released { devices }
            }
            VehicleOrder::Remove { vehicle, force } => {
                let assignments = self.remove(&vehicle, force)?;
                tracing::info!(%vehicle, assignments, "vehicle removed");
                VehicleAnswer::Removed { assignments }
            }
            VehicleOrder::ImportPart { rows, .. } if rows.len() > ROWS_MAX => {
                VehicleAnswer::Refused { reason: format!("at most {ROWS_MAX} rows in a part") }
            }
            VehicleOrder::ImportPart { import, part, rows } => {
                self.import_part(import, part, &rows)?;
                VehicleAnswer::Done { note: None }
            }
            VehicleOrder::Import { import, parts, dry_run } => {
                let imported = self.import(import, parts, dry_run, now_ms, devices)?;
                if imported.applied {
                    tracing::info!(rows = imported.rows, "vehicles imported");
                }
                VehicleAnswer::Imported { imported }
            }
        })
    }
}

/// Whether a device may sit somewhere until then; what there is to say about that.
pub(super) fn may_sit(
    device: DeviceId,
    to_ms: Option<i64>,
    devices: Standings<'_>,
) -> Result<Option<String>, VehicleError> {
    match devices(device)? {
        Standing::InUse => Ok(None),
        Standing::Decommissioned(at_ms) if to_ms.is_some_and(|to_ms| to_ms <= at_ms) => Ok(None),
        Standing::Decommissioned(at_ms) => {
            Err(VehicleError::DeviceDecommissioned { device, at_ms })
        }
        Standing::Unknown => Ok(Some(format!(
            "device {device} is not registered: it cannot send before `milepost devices add {device}`"
        ))),
    }
}
