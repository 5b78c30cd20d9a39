//! Why the registry of vehicles did not do as asked, by who has to act.

use protocol::DeviceId;

use super::{Assignment, Timeline, VehicleId};
use crate::document::rfc3339;
use crate::state::StateError;

/// That a device is somewhere else in that time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("device {device} sits in vehicle {vehicle} {span}: a device is in one vehicle at a time")]
pub struct Conflict {
    /// Which device.
    pub device: DeviceId,
    /// Where it sits.
    pub vehicle: VehicleId,
    /// When, in words.
    pub span: String,
}

impl Conflict {
    pub(super) fn of(span: &Assignment) -> Self {
        Self { device: span.device, vehicle: span.vehicle.clone(), span: span.span() }
    }
}

/// Why the registry of vehicles did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum VehicleError {
    /// Caller: no such vehicle.
    #[error("no vehicle {0}")]
    Unknown(VehicleId),
    /// Caller: the device is elsewhere then.
    #[error("{0}; end that first (`milepost vehicles release`), or swap")]
    Conflict(#[from] Conflict),
    /// Caller: it ends before it begins.
    #[error("an assignment ends after it begins")]
    Backwards,
    /// Caller: more than is cached of one device.
    #[error("device {0} has {max} assignments, the most that are kept", max = Timeline::SPANS_MAX)]
    TooMany(DeviceId),
    /// Caller: there is nothing to end.
    #[error("device {device} does not sit in vehicle {vehicle} at {}", rfc3339::shown(*at_ms))]
    NotThere {
        /// Which device.
        device: DeviceId,
        /// Which vehicle.
        vehicle: VehicleId,
        /// When.
        at_ms: i64,
    },
    /// Caller: a device is not swapped for itself.
    #[error("device {0} is swapped for itself")]
    Same(DeviceId),
    /// Caller: the vehicle is out of use.
    #[error(
        "vehicle {vehicle} was decommissioned at {}: end the assignment before, or remove the vehicle and begin anew",
        rfc3339::shown(*at_ms)
    )]
    Decommissioned {
        /// Which.
        vehicle: VehicleId,
        /// Since when.
        at_ms: i64,
    },
    /// Caller: the device is out of use.
    #[error(
        "device {device} was decommissioned at {}: `milepost devices recommission {device}` brings it back",
        rfc3339::shown(*at_ms)
    )]
    DeviceDecommissioned {
        /// Which.
        device: DeviceId,
        /// Since when.
        at_ms: i64,
    },
    /// Caller: its history would go too.
    #[error(
        "vehicle {vehicle} has {assignments} assignments that would be forgotten: decommission it instead, or \
         remove it with --force"
    )]
    InUse {
        /// Which.
        vehicle: VehicleId,
        /// How many.
        assignments: usize,
    },
    /// Caller: the parts of an import do not come in order.
    #[error("another import came in between: begin again")]
    Interleaved,
    /// Resource: a record is damaged.
    #[error("the record of {0} is damaged: restore a backup, or remove it and begin anew")]
    Damaged(String),
    /// Resource: the state database.
    #[error(transparent)]
    State(#[from] StateError),
}

macro_rules! from_database_errors {
    ($($error:ty)*) => {$(
        impl From<$error> for VehicleError {
            fn from(error: $error) -> Self {
                Self::State(error.into())
            }
        }
    )*};
}

from_database_errors! { redb::TransactionError redb::TableError redb::StorageError redb::CommitError }
