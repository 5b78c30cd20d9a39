//! Taking a device out of what was set aside, when it is to be forgotten.
//!
//! Only while no forwarder has the files open. Their ends stand in the sinks' cursors, so nothing
//! changes its length: what goes is written over where it stands.

use std::io;
use std::path::Path;

use protocol::DeviceId;
use serde::Deserialize;

use super::dead_letters::LINE_LEN_MAX;
use super::{names, parked};
use crate::storage::SharedStorage;

const CHUNK: usize = 256 * 1024;
const _: () =
    assert!(CHUNK > 2 * LINE_LEN_MAX, "a chunk has room for a line and what is left of one");

/// What was set aside of a device for one sink.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Aside {
    /// Dead letters.
    pub dead_letters: u64,
    /// Frames that waited for a catalogue.
    pub parked: u64,
}

/// Writes over all that was set aside of a device for the sink `name`, durably.
pub fn erase(
    storage: &SharedStorage,
    data_dir: &Path,
    name: &str,
    device: DeviceId,
) -> io::Result<Aside> {
    let mut aside = Aside::default();
    let [letters, waiting] = names::logs(data_dir, name);
    for number in letters.numbers(storage)? {
        aside.dead_letters += erase_letters(storage, &letters.path(number), device)?;
    }
    for number in waiting.numbers(storage)? {
        aside.parked += parked::erase(storage, &waiting.path(number), device)?;
    }
    Ok(aside)
}

/// Blanks a device's lines in a file of dead letters; how many there were.
fn erase_letters(storage: &SharedStorage, path: &Path, device: DeviceId) -> io::Result<u64> {
    #[derive(Deserialize)]
    struct Letter<'a> {
        #[serde(borrow)]
        device: &'a str,
    }
    let is_its = |line: &[u8]| {
        serde_json::from_slice::<Letter<'_>>(line)
            .is_ok_and(|found| found.device == device.as_str())
    };
    let file = storage.open(path, false)?;
    let mut chunk = vec![0; CHUNK];
    let (mut at, mut erased) = (0_u64, 0);
    loop {
        let read = file.read_at(at, &mut chunk)?;
        let bytes = chunk.get(..read).unwrap_or_default();
        // Up to the last whole line; a chunk without one is no dead letter of ours.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(read, |last| last + 1);
        let mut begin = at;
        for line in bytes.get(..whole).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            if is_its(line) {
                file.write_at(begin, &blank(line.len()))?;
                erased += 1;
            }
            begin += u64::try_from(line.len()).unwrap_or_default();
        }
        if read == 0 {
            break;
        }
        at = begin;
    }
    if erased > 0 {
        file.sync()?;
    }
    Ok(erased)
}

/// A line of this length that says only that something was here.
fn blank(len: usize) -> Vec<u8> {
    let mut line = b"{\"erased\":true}".to_vec();
    line.resize(len.saturating_sub(1), b' ');
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::{CatalogueId, Counts, Lane, RingId, Seq};

    use super::super::dead_letters::DeadLetters;
    use super::super::parked::{Parked, ParkedBounds, ParkedFrame};
    use super::*;
    use crate::sink::LogEnd;
    use crate::storage::Disk;

    fn frame(device: &str, ring: u8, seq: u64) -> ParkedFrame {
        ParkedFrame {
            device: device.parse().unwrap(),
            ring: RingId([ring; 16]),
            lane: Lane::Bulk,
            seq: Seq(seq),
            received_ms: 1,
            adds: Counts { samples: 7, events: 0 },
            awaits: Some(CatalogueId(9)),
            payload: vec![0xee; 3000],
        }
    }

    #[test]
    fn a_devices_dead_letters_are_written_over_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let storage: SharedStorage = Arc::new(Disk);
        let mut letters =
            DeadLetters::open(&storage, dir.path(), "s", LogEnd::default(), 1 << 20).unwrap();
        for seq in 1..=200 {
            let device = ["gone", "gone-2"][usize::from(seq % 2 == 0)];
            let frame = frame(device, 1, seq);
            letters.add(Lane::Bulk, &frame.entry(), frame.adds, "because");
        }
        let end = letters.flush().unwrap();
        letters.commit(end);
        drop(letters);
        let path = dir.path().join("dead-letters/s-000001.ndjson");
        let before = std::fs::read_to_string(&path).unwrap();
        let aside = erase(&storage, dir.path(), "s", "gone".parse().unwrap()).unwrap();
        assert_eq!(aside, Aside { dead_letters: 100, parked: 0 });
        let after = std::fs::read_to_string(&path).unwrap();
        assert_eq!(after.len(), before.len());
        assert!(!after.contains("\"gone\""));
        for (one, other) in before.lines().zip(after.lines()) {
            let line: serde_json::Value = serde_json::from_str(other).unwrap();
            if one.contains("\"gone-2\"") {
                assert_eq!(one, other);
            } else {
                assert_eq!(line, serde_json::json!({"erased": true}));
            }
        }
        DeadLetters::open(&storage, dir.path(), "s", end, 1 << 20).unwrap();
        let again = erase(&storage, dir.path(), "s", "gone".parse().unwrap()).unwrap();
        assert_eq!(again, Aside::default());
    }

    #[test]
    fn parked_frames_of_a_device_are_written_over_and_their_counts_come_out() {
        let dir = tempfile::tempdir().unwrap();
        let storage: SharedStorage = Arc::new(Disk);
        let bounds = ParkedBounds { ring_bytes: 1 << 20, bytes: 1 << 20 };
        let open = |end| Parked::open(&storage, dir.path(), "s", end, bounds).unwrap();
        let mut parked = open(LogEnd::default());
        for seq in 1..=3 {
            assert!(parked.park(frame("gone", 1, seq)));
            assert!(parked.park(frame("stays", 2, seq)));
        }
        let end = parked.flush().unwrap();
        parked.commit(end);
        drop(parked);
        let aside = erase(&storage, dir.path(), "s", "gone".parse().unwrap()).unwrap();
        assert_eq!(aside, Aside { dead_letters: 0, parked: 3 });
        let bytes = std::fs::read(dir.path().join("parked/s-000001.log")).unwrap();
        assert!(!bytes.windows(4).any(|window| window == b"gone"));
        let mut parked = open(end);
        assert_eq!(parked.counts(), Counts { samples: 42, events: 0 }, "still to be told");
        assert_eq!(parked.ready(|_| false), None, "what is left waits for its catalogue");
        let mut out = Counts::ZERO;
        while let Some(adds) = parked.take_erased() {
            out += adds;
        }
        assert_eq!((out.samples, parked.counts().samples), (21, 21));
        let end = parked.flush().unwrap();
        parked.commit(end);
        drop(parked);
        let mut parked = open(end);
        assert_eq!(parked.take_erased(), None, "told once");
        let first = parked.first(&RingId([2; 16]), |_| true).unwrap().unwrap();
        assert_eq!(first, frame("stays", 2, 1));
    }
}
