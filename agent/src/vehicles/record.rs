//! Vehicles and assignments as the database keeps them: a version byte, then postcard. A new
//! version gets a new number, and every older one stays readable.

use protocol::DeviceId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::VehicleId;
use super::names::Name;
use super::timeline::{Assignment, Belonging};

const VERSION: u8 = 1;

/// A vehicle.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct VehicleRecord {
    pub label: Option<Name>,
    /// As of now: what a new assignment begins with.
    pub belonging: Belonging,
    pub added_ms: i64,
    pub decommissioned_ms: Option<i64>,
}

/// An assignment; device and beginning are its key.
#[derive(Serialize, Deserialize)]
pub(super) struct SpanRecord {
    vehicle: VehicleId,
    to_ms: Option<i64>,
    belonging: Belonging,
}

/// The key of an assignment's beginning.
pub(super) fn start_key(from_ms: Option<i64>) -> i64 {
    from_ms.unwrap_or(i64::MIN)
}

impl SpanRecord {
    pub fn new(assignment: &Assignment) -> Self {
        let Assignment { vehicle, to_ms, belonging, .. } = assignment.clone();
        Self { vehicle, to_ms, belonging }
    }

    pub fn into_assignment(self, device: DeviceId, start: i64) -> Assignment {
        let Self { vehicle, to_ms, belonging } = self;
        let from_ms = (start != i64::MIN).then_some(start);
        Assignment { device, vehicle, from_ms, to_ms, belonging }
    }
}

pub(super) fn encode(record: &impl Serialize) -> Vec<u8> {
    let encoded = postcard::to_extend(record, vec![VERSION]);
    debug_assert!(encoded.is_ok(), "plain fields into growing memory always encode");
    encoded.unwrap_or_default()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match bytes.split_first()? {
        (&VERSION, record) => postcard::from_bytes(record).ok(),
        _ => None,
    }
}
