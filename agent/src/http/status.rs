//! What the page is told, as JSON.

use protocol::{Counts, DeviceId};
use serde::Serialize;

use super::HealthReport;
use crate::activity::Doings;
use crate::ledger::Ledger;

/// The agent at one moment; the devices apart.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// When the agent started, likewise.
    pub started_ms: i64,
    /// What came in since then.
    pub totals: Totals,
    /// Connections of devices.
    pub connections: u64,
    /// Devices in the registry.
    pub devices: u64,
    /// The agent's memory, in bytes; none where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// The journal.
    pub journal: JournalStatus,
    /// How every part is doing.
    pub health: HealthReport,
    /// What became of everything, sink by sink.
    pub ledger: Ledger,
}

/// What came in since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Totals {
    /// Samples and events accepted.
    pub accepted: Counts,
    /// Frames accepted.
    pub frames: u64,
    /// Their sealed bytes.
    pub frame_bytes: u64,
    /// Frames held already.
    pub duplicates: u64,
    /// Frames turned away.
    pub rejected: u64,
}

/// The journal's room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct JournalStatus {
    /// Bytes of its files.
    pub bytes: u64,
    /// The most it may take.
    pub bytes_max: u64,
}

/// A device, and what it did lately.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct DeviceRow {
    /// Which.
    pub device: DeviceId,
    /// What it did.
    #[serde(flatten)]
    pub doings: Doings,
}
