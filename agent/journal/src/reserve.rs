//! The part of the file system that the journal leaves to the sinks.
//!
//! On a disk that is full and gets some room, a journal that took all of it would leave nothing to
//! the sinks, which must write before a segment can go: nothing would move any more.

use std::path::Path;

use storage::{Room, Storage};

/// How much is left to others, and how much there was when that was looked at last.
#[derive(Clone, Copy, Debug)]
pub struct Reserve {
    bytes: u64,
    /// Free, as far as is known; it is looked at again once so much was used.
    free: u64,
    look_after: u64,
    used: u64,
    /// The longest segment that makes sense there: the last one of a lane cannot be pruned.
    pub segment_bytes_max: u64,
}

/// No segment need be shorter than this.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Looked at again after so many bytes, at the latest: others write too.
const LOOK_AFTER: u64 = 4 << 20;

impl Reserve {
    /// So many bytes of the file system of `dir`, or a tenth of it, whichever is less.
    pub fn of(storage: &dyn Storage, dir: &Path, bytes: u64) -> Self {
        let room = Room::at(storage, dir);
        let bytes = bytes.min(room.total / 10);
        Self {
            bytes,
            free: room.free,
            look_after: LOOK_AFTER.min(bytes / 4),
            used: 0,
            segment_bytes_max: (room.total / 32).max(SEGMENT_BYTES_MIN),
        }
    }

    /// Whether so many bytes more leave others their part.
    pub fn has(&mut self, storage: &dyn Storage, dir: &Path, with: u64) -> bool {
        let fits = |free: u64| free >= self.bytes.saturating_add(with);
        if self.bytes == 0 || (self.used <= self.look_after && fits(self.free)) {
            return true;
        }
        (self.free, self.used) = (Room::at(storage, dir).free, 0);
        self.free >= self.bytes.saturating_add(with)
    }

    /// So many bytes were written.
    pub fn used(&mut self, bytes: u64) {
        self.free = self.free.saturating_sub(bytes);
        self.used = self.used.saturating_add(bytes);
    }
}
