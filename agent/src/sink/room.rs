//! The last of a disk, which sinks leave to the agent.
//!
//! Segments of the journal go only after the watermarks' checkpoint and the cursors were written. A
//! sink that took the disk's last bytes would leave nothing for those, and so nothing would go.

use std::path::Path;

use super::SinkError;
use crate::privacy::Cleared;
use crate::storage::{Room, Storage};

/// Bytes of its file system that a sink leaves; a fortieth, if that is less. The journal leaves more
/// than that to the sinks.
const KEPT_BYTES: u64 = 16 << 20;

/// Whether a sink in this directory may write a batch.
pub fn left_after(batch: &Cleared, storage: &dyn Storage, dir: &Path) -> Result<(), SinkError> {
    let room = Room::at(storage, dir);
    // In memory a batch is larger than most sinks write it.
    let batch = u64::try_from(batch.bytes()).unwrap_or(u64::MAX);
    if room.free >= KEPT_BYTES.min(room.total / 40).saturating_add(batch) {
        return Ok(());
    }
    let dir = dir.display();
    Err(SinkError::Retry(format!(
        "{dir}: the disk is full but for what the agent keeps for itself"
    )))
}
