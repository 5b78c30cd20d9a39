//! Frames that nobody can read: kept sealed, counted, and never in the way.
//!
//! `DATA/dead-letters/SINK-000001.ndjson`, one line each, bounded: of the files, each half the
//! bound, the last two are kept. Their end is committed with the sink's cursor, so that a frame
//! stands there once.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use protocol::Counts;

use crate::journal::Entry;
use crate::sink::{LogEnd, Naming, NumberedLog};
use crate::storage::SharedStorage;

/// No line is longer: a frame in two digits a byte, and what stands around it.
pub(super) const LINE_LEN_MAX: usize = 2 * protocol::frame::FRAME_LEN_MAX + 1024;

/// The dead letters of one sink.
#[derive(Debug)]
pub struct DeadLetters {
    log: NumberedLog,
    storage: SharedStorage,
    pending: String,
    file_bytes: u64,
}

impl DeadLetters {
    /// Opens those of the sink `name`, which end at `end`.
    pub fn open(
        storage: &SharedStorage,
        data_dir: &Path,
        name: &str,
        end: LogEnd,
        bytes_max: u64,
    ) -> io::Result<Self> {
        let dir = data_dir.join("dead-letters");
        let naming = Naming { dir, stem: name.to_owned(), suffix: "ndjson" };
        let log = NumberedLog::open(storage.clone(), naming, end)?;
        Ok(Self {
            log,
            storage: storage.clone(),
            pending: String::new(),
            file_bytes: bytes_max.div_ceil(2),
        })
    }

    /// Adds a frame of which `unread` could not be read.
    pub fn add(&mut self, lane: protocol::Lane, entry: &Entry<'_>, unread: Counts, reason: &str) {
        let mut text = serde_json::json!({
            "device": entry.device.as_str(),
            "ring": entry.ring.to_string(),
            "seq": entry.seq.0,
            "lane": lane.name(),
            "receivedms": entry.received_ms,
            "samples": unread.samples,
            "events": unread.events,
            "reason": reason,
        })
        .to_string();
        text.pop();
        text.push_str(",\"frame\":\"");
        for byte in entry.payload {
            let written = write!(text, "{byte:02x}");
            debug_assert!(written.is_ok(), "a string takes every write");
        }
        text.push_str("\"}\n");
        self.pending.push_str(&text);
    }

    /// Bytes that wait for a commit.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Makes what was added durable; where the log then ends, for the cursor.
    pub fn flush(&mut self) -> io::Result<LogEnd> {
        self.log.append(self.pending.as_bytes(), self.file_bytes)
    }

    /// The cursor with this end is durable.
    pub fn commit(&mut self, end: LogEnd) {
        let begun = end.file != self.log.end().file;
        self.log.commit(end);
        self.pending.clear();
        self.pending.shrink_to(64 * 1024);
        if begun && let Err(error) = self.remove_old(end.file) {
            tracing::warn!(%error, "cannot remove old dead letters");
        }
    }

    fn remove_old(&self, current: u32) -> io::Result<()> {
        for number in self.log.naming().numbers(&self.storage)? {
            if number.saturating_add(1) < current {
                self.log.remove(number)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::frame::FRAME_LEN_MAX;
    use protocol::{DeviceId, Lane, RingId, Seq};

    use super::*;
    use crate::journal::EntryKind;
    use crate::storage::faulty::Faulty;

    fn add(letters: &mut DeadLetters, count: usize, frame: &[u8]) {
        let entry = Entry {
            kind: EntryKind::Frame,
            received_ms: 1,
            device: "c".repeat(DeviceId::LEN_MAX).parse().unwrap(),
            ring: RingId([1; 16]),
            seq: Seq(1),
            adds: Counts::ZERO,
            through: Counts::ZERO,
            payload: frame,
        };
        for _ in 0..count {
            letters.add(Lane::Bulk, &entry, Counts::ZERO, "because");
        }
    }

    fn commit(letters: &mut DeadLetters) {
        let end = letters.flush().unwrap();
        letters.commit(end);
    }

    fn open(disk: &Faulty, bytes_max: u64) -> DeadLetters {
        let storage: SharedStorage = Arc::new(disk.clone());
        DeadLetters::open(&storage, Path::new("/data"), "s", LogEnd::default(), bytes_max).unwrap()
    }

    #[test]
    fn the_last_two_files_are_kept_and_an_older_one_goes_when_the_next_is_begun() {
        // Each letter takes a file.
        let mut letters = open(&Faulty::default(), 2);
        let kept = [1, 2, 3, 4].map(|_| {
            add(&mut letters, 1, &[0xee; 1000]);
            commit(&mut letters);
            letters.log.naming().numbers(&letters.storage).unwrap()
        });
        assert_eq!(kept, [vec![1], vec![1, 2], vec![2, 3], vec![3, 4]]);
    }

    #[test]
    fn a_flood_of_letters_keeps_no_more_memory_than_a_few_need() {
        let mut letters = open(&Faulty::default(), 1 << 30);
        add(&mut letters, 1000, &[0xee; 1000]);
        assert!(letters.pending.capacity() > 2 << 20);
        commit(&mut letters);
        let room = letters.pending.capacity();
        assert!((64 << 10..128 << 10).contains(&room), "{room}");
    }

    #[test]
    fn the_longest_frame_fits_into_the_longest_line() {
        let mut letters = open(&Faulty::default(), 1 << 30);
        add(&mut letters, 1, &[0xee; FRAME_LEN_MAX]);
        let len = letters.pending_bytes();
        assert!(len > 2 * FRAME_LEN_MAX && len <= LINE_LEN_MAX, "{len}");
    }
}
