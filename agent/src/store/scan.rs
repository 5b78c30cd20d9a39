//! Reading through block files in which something may be damaged, or not be legible at all.

use super::piece::{self, HEAD_LEN, Head};
use crate::storage::File;

/// Bytes that are looked at at a time for the next sound piece behind a damaged one.
const SEARCH: usize = 1 << 16;
/// What a disk cannot read as a rule: one of its sectors.
const SECTOR: usize = 4096;

/// Reads what can be read; how many bytes the file has there. A sector that cannot be read is zeros:
/// whatever it was a part of does not match its checksum then.
pub fn read(file: &dyn File, at: u64, bytes: &mut [u8]) -> usize {
    if let Ok(read) = file.read_at(at, bytes) {
        return read;
    }
    let mut end = 0;
    for (sector, part) in bytes.chunks_mut(SECTOR).enumerate() {
        let from = sector * SECTOR;
        match file.read_at(at + from as u64, part) {
            Ok(0) => break,
            Ok(read) => end = from + read,
            Err(_) => {
                part.fill(0);
                end = from + part.len();
            }
        }
    }
    let there =
        file.len().map_or(end, |len| usize::try_from(len.saturating_sub(at)).unwrap_or(end));
    end.min(there)
}

/// Where the next sound piece begins behind damage at `at`, or where the file ends.
pub fn next_sound(file: &dyn File, at: u64, len: u64) -> u64 {
    let mut from = at + 1;
    while from < len {
        let mut window = vec![0; SEARCH + HEAD_LEN];
        let there = read(file, from, &mut window);
        window.truncate(there);
        for (offset, bytes) in window.windows(HEAD_LEN).enumerate().take(SEARCH) {
            let Some(head) = Head::read(bytes) else { continue };
            let place = from + offset as u64;
            if place + (HEAD_LEN + head.len) as u64 > len {
                continue;
            }
            let mut whole = vec![0; HEAD_LEN + head.len];
            let there = read(file, place, &mut whole);
            whole.truncate(there);
            if piece::content(&whole, head.kind).is_ok() {
                return place;
            }
        }
        from += SEARCH as u64;
    }
    len
}
