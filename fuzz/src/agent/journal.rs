//! The agent's journal, found damaged: files with any bytes changed, cut or put in their place.
//!
//! What is read back after that is what was appended, in order, some of it maybe gone; and a journal
//! that opens goes on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use agent::fuzzing::{HEAD_LEN, written};
use agent::journal::{Entry, EntryKind, Journal, JournalConfig, JournalError, Position, Positions};
use agent::storage::faulty::Faulty;
use protocol::{Counts, Lane, RingId, Seq};

use crate::bound::bounded;
use crate::input::Input;

/// The windows of the readers and of the copying, of 64 KiB each and twice that while they grow, for
/// each lane; and the files, which are in memory here.
pub const MEMORY_MAX: usize = 2 * 1024 * 1024;
/// Entries of each lane before the damage.
const ENTRIES: u64 = 6;

fn config() -> JournalConfig {
    JournalConfig {
        dir: PathBuf::from("/journal"),
        segment_bytes: 600,
        bytes_max: 1 << 20,
        reserve_bytes: 0,
    }
}

fn entry(number: u64, payload: &[u8]) -> Entry<'_> {
    Entry {
        kind: if number % 5 == 4 { EntryKind::Gap } else { EntryKind::Frame },
        received_ms: 1_700_000_000_000 + number.cast_signed(),
        device: "van-7".parse().unwrap(),
        ring: RingId([7; 16]),
        seq: Seq(number),
        adds: Counts { samples: 3, events: 0 },
        through: Counts { samples: 3 * number, events: 0 },
        payload,
    }
}

fn payload(number: u64) -> Vec<u8> {
    let len = usize::try_from(20 + number * 37 % 61).unwrap();
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// Opens the journal on a disk; the numbers of the entries of each lane.
fn open(disk: &Faulty) -> Result<(Journal, [Vec<u64>; 3]), JournalError> {
    let mut numbers = [const { Vec::new() }; 3];
    let mut on_entry = |lane: Lane, found: &Entry<'_>, _: Position| {
        let number = found.seq.0;
        assert_eq!(*found, entry(number, &payload(number)), "an entry that was never appended");
        let numbers: &mut Vec<u64> = &mut numbers[lane as usize];
        assert!(numbers.last().is_none_or(|last| *last < number), "out of order, or twice");
        numbers.push(number);
    };
    let shared = Arc::new(disk.clone());
    let since = Positions::default();
    let (journal, _) = Journal::open(shared, config(), [3; 16], 5, &since, &mut on_entry)?;
    Ok((journal, numbers))
}

fn append(journal: &mut Journal, lane: Lane, number: u64) {
    let appended = journal.append(lane, &entry(number, &payload(number)));
    assert!(appended.is_ok(), "{appended:?}");
}

/// A journal of two lives.
static SOUND: LazyLock<Faulty> = LazyLock::new(|| {
    let disk = Faulty::default();
    for life in 0..2 {
        let (mut journal, _) = open(&disk).expect("a disk without faults");
        for number in 1 + life * ENTRIES / 2..=(life + 1) * ENTRIES / 2 {
            for lane in Lane::ALL {
                append(&mut journal, lane, number);
            }
            journal.commit().expect("a disk without faults");
        }
    }
    disk
});

pub fn files(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let disk = SOUND.copy();
    let mut paths: Vec<PathBuf> = disk.files().into_iter().map(|(path, _)| path).collect();
    while !input.is_empty() && !paths.is_empty() {
        let file = usize::from(input.byte()) % paths.len();
        let how = input.byte();
        if how.is_multiple_of(6) {
            disk.lose(&paths.remove(file));
        } else {
            damage(&disk, &paths[file], how, &mut input);
        }
    }
    let Ok((mut journal, before)) = bounded(MEMORY_MAX, || open(&disk)) else { return };
    for lane in Lane::ALL {
        append(&mut journal, lane, 1000);
    }
    bounded(MEMORY_MAX, || journal.commit()).expect("a disk without faults");
    drop(journal);
    let (_, after) = bounded(MEMORY_MAX, || open(&disk)).expect("it opened before");
    let wanted = before.map(|numbers| [&numbers[..], &[1000]].concat());
    assert_eq!(after, wanted, "opened again, it is another");
}

/// Changes one file in one way.
fn damage(disk: &Faulty, path: &Path, how: u8, input: &mut Input<'_>) {
    let at = usize::from(input.short());
    match how % 6 {
        1 => disk.edit(path, |file| file.truncate(at % (file.len() + 1))),
        2 => disk.edit(path, |file| {
            if let Some(byte) = (!file.is_empty()).then(|| at % file.len()) {
                file[byte] ^= input.byte();
            }
        }),
        3 => {
            let with = input.piece();
            disk.edit(path, |file| {
                let at = at % (file.len() + 1);
                let end = (at + with.len()).min(file.len());
                file.splice(at..end, with.iter().copied());
            });
        }
        4 => disk.edit(path, |file| file.extend_from_slice(input.piece())),
        _ => disk.edit(path, |file| {
            let (from, len) = (at % (file.len() + 1), usize::from(input.byte()));
            let part = file[from..(from + len).min(file.len())].to_vec();
            let to = usize::from(input.short()) % (file.len() + 1);
            file.splice(to..to, part);
        }),
    }
}

pub fn files_seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 0, 0, 0],
        vec![1, 1, 90, 0, 2, 0, 0, 0],
        vec![2, 2, 140, 0, 8, 3, 2, 200, 1, 1],
        vec![3, 3, 0, 1, 4, 1, 2, 3, 4],
        vec![4, 4, 0, 0, 3, 0xa7, b'M', b'r', 5, 5, 128, 0, 90, 44, 1],
    ]
}

/// A record's body behind its checksum: bytes of our own, by a version that may be another.
pub fn record(bytes: &[u8]) {
    let padded = [&[0; HEAD_LEN][..], bytes].concat();
    let Some((before, Some(entry))) = bounded(0, || agent::fuzzing::record(&padded)) else {
        return;
    };
    let again = written(before, &entry);
    assert_eq!(agent::fuzzing::record(&again), Some((before, Some(entry))));
}

pub fn record_seeds() -> Vec<Vec<u8>> {
    let record = |number: u64, before| {
        let payload = payload(number);
        written(before, &entry(number, &payload))[HEAD_LEN..].to_vec()
    };
    let most = Counts { samples: u64::MAX, events: u64::MAX };
    vec![record(1, Counts::ZERO), record(4, most), vec![2, 0, 0]]
}
