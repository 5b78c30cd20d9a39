//! What a sink's files hold, by identity: per ring the highest sequence number.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use protocol::{DeviceId, RingId, Seq};

use super::numbered::Naming;
use crate::document;
use crate::storage::SharedStorage;

const CHUNK: usize = 64 * 1024;
/// What every line begins with, up to the device in the id.
const OPENING: &[u8] = b"{\"specversion\":\"1.0\",\"id\":\"";
/// Longer than any id, so that what is kept of a line is bounded.
const KEPT: usize = OPENING.len() + 128;
/// Longer than all that stands before a document's data: names of vehicles and what they belong to,
/// all of them escaped, and the rest.
const ENVELOPE_KEPT: usize = 4096;

/// Per ring, the highest sequence number of which there is a document.
///
/// With `ends_anywhere` nobody vouches for the end of the last file: the frame of its last line may
/// lack documents, so it counts as not delivered.
pub fn delivered(
    storage: &SharedStorage,
    naming: &Naming,
    ends_anywhere: bool,
) -> io::Result<HashMap<RingId, Seq>> {
    let mut delivered = HashMap::new();
    let mut last = None;
    for number in naming.numbers(storage)? {
        let path = naming.path(number);
        each_line(storage, &path, KEPT, |line| note(line, &mut delivered, &mut last))?;
    }
    if let Some((ring, seq, before)) = last
        && ends_anywhere
    {
        debug_assert!(before <= seq, "order holds within a ring");
        delivered.insert(ring, before);
    }
    Ok(delivered)
}

/// The files that have documents of a device, and how many each.
pub fn documents_of(
    storage: &SharedStorage,
    naming: &Naming,
    device: &DeviceId,
) -> io::Result<Vec<(PathBuf, u64)>> {
    let opening = [OPENING, device.as_bytes(), b"/"].concat();
    count(storage, naming, KEPT, |line| line.starts_with(&opening))
}

/// The files that have documents which name a vehicle, and how many each.
pub fn documents_in(
    storage: &SharedStorage,
    naming: &Naming,
    vehicle: &str,
) -> io::Result<Vec<(PathBuf, u64)>> {
    let member = document::vehicle_member(vehicle);
    count(storage, naming, ENVELOPE_KEPT, |line| {
        let line = String::from_utf8_lossy(line);
        line.starts_with('{') && document::without_member(&line, &member).is_some()
    })
}

/// The files with lines of a kind, and how many each.
fn count(
    storage: &SharedStorage,
    naming: &Naming,
    kept: usize,
    is_one: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for number in naming.numbers(storage)? {
        let path = naming.path(number);
        let mut documents = 0;
        each_line(storage, &path, kept, |line| documents += u64::from(is_one(line)))?;
        if documents > 0 {
            found.push((path, documents));
        }
    }
    Ok(found)
}

/// Hands on the beginning of each whole line of a file: so many bytes, or as many as it has.
fn each_line(
    storage: &SharedStorage,
    path: &Path,
    kept: usize,
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    let file = storage.open(path, false)?;
    let mut chunk = vec![0; CHUNK];
    let mut line: Vec<u8> = Vec::with_capacity(kept);
    let mut at = 0;
    loop {
        let read = file.read_at(at, &mut chunk)?;
        at += u64::try_from(read).unwrap_or(0);
        for part in chunk.get(..read).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            let room = kept.saturating_sub(line.len());
            line.extend_from_slice(part.get(..room).unwrap_or(part));
            if part.ends_with(b"\n") {
                take(&line);
                line.clear();
            }
        }
        if read < CHUNK {
            return Ok(());
        }
    }
}

/// Takes note of a line; `last` is its frame, and what its ring was at before that frame.
fn note(line: &[u8], delivered: &mut HashMap<RingId, Seq>, last: &mut Option<(RingId, Seq, Seq)>) {
    let Some((ring, seq)) = identity(line) else { return };
    let highest = delivered.entry(ring).or_default();
    let before = (*highest).min(seq.prev());
    if last.is_none_or(|(of, frame, _)| (of, frame) != (ring, seq)) {
        *last = Some((ring, seq, before));
    }
    *highest = (*highest).max(seq);
}

/// Ring and sequence number from the id that a line begins with.
fn identity(line: &[u8]) -> Option<(RingId, Seq)> {
    let id = std::str::from_utf8(line.strip_prefix(OPENING)?.split(|byte| *byte == b'"').next()?);
    let mut parts = id.ok()?.split('/').skip(1);
    let ring = parts.next()?.parse().ok()?;
    let seq = parts.next()?.parse().ok()?;
    Some((ring, Seq(seq)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::Disk;

    #[test]
    fn ids_are_read_back_over_files_and_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let naming = Naming { dir: dir.path().to_owned(), stem: "m".to_owned(), suffix: "ndjson" };
        let ring = |byte| RingId([byte; 16]);
        let line = |byte, seq, index: &str, filler: usize| {
            let tail = "x".repeat(filler);
            format!(
                "{{\"specversion\":\"1.0\",\"id\":\"d/{}/{seq}/{index}\",\"x\":\"{tail}\"}}\n",
                ring(byte)
            )
        };
        let mut text = String::new();
        for seq in 1..3000 {
            text += &line(1, seq, "0", seq % 97);
        }
        std::fs::write(naming.path(1), text).unwrap();
        let torn = line(3, 5, "0", 0);
        let text = [
            line(2, 7, "0", CHUNK * 2),
            "no document\n".to_owned(),
            line(2, 9, "loss", 0),
            line(2, 9, "0", 0),
            torn[..torn.len() - 1].to_owned(),
        ]
        .concat();
        std::fs::write(naming.path(2), text).unwrap();
        let storage: SharedStorage = Arc::new(Disk);
        let found = delivered(&storage, &naming, false).unwrap();
        assert_eq!(found, HashMap::from([(ring(1), Seq(2999)), (ring(2), Seq(9))]));
        let found = delivered(&storage, &naming, true).unwrap();
        assert_eq!(found[&ring(2)], Seq(7), "the last frame may lack documents");
        let found =
            |device: &str| documents_of(&storage, &naming, &device.parse().unwrap()).unwrap();
        assert_eq!(found("d"), [(naming.path(1), 2999), (naming.path(2), 3)]);
        assert_eq!(found("dd"), []);
    }

    #[test]
    fn documents_that_name_a_vehicle_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let naming = Naming { dir: dir.path().to_owned(), stem: "m".to_owned(), suffix: "ndjson" };
        let named = r#"{"id":"d/1","lane":"bulk","vehicle":"bus \"7\"","data":{"a":1}}"#;
        let inside = r#"{"id":"d/1","lane":"bulk","data":{"vehicle":"bus \"7\"","a":1}}"#;
        let other = r#"{"id":"d/1","lane":"bulk","vehicle":"bus 70","data":{"a":1}}"#;
        std::fs::write(naming.path(1), [named, inside, other, named, ""].join("\n")).unwrap();
        std::fs::write(naming.path(2), [inside, other, ""].join("\n")).unwrap();
        let storage: SharedStorage = Arc::new(Disk);
        let found = documents_in(&storage, &naming, "bus \"7\"").unwrap();
        assert_eq!(found, [(naming.path(1), 2)]);
    }
}
