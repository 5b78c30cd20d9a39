//! The journal against disks that fail, forget and decay. Every entry has a number, from which all
//! of it follows: an entry that was not appended, or not so, shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::{Counts, Lane, RingId, Seq};

use super::*;
use storage::faulty::{Fault, Faulty, Leaves};

mod damage;
mod faults;
mod lives;
mod limits;
mod model;
mod recovery;
mod scanning;
mod shrinking;
mod table;
mod views;

/// Small, so that a few entries need several.
const SEGMENT_BYTES: u64 = 3000;

fn config() -> JournalConfig {
    JournalConfig {
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 0,
        ..JournalConfig::new("journal".into())
    }
}

fn shared(disk: &Faulty) -> SharedStorage {
    Arc::new(disk.clone())
}

/// The bytes of entry `number`: of many lengths, and not without markers.
fn payload(number: u64) -> Vec<u8> {
    let len = usize::try_from(number * 37 % 301).unwrap();
    let mut bytes = vec![];
    while bytes.len() < len {
        bytes.extend_from_slice(&[0xa7, b'M', b'r', 0x1e]);
        bytes.extend_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn adds(number: u64) -> Counts {
    Counts { samples: 1 + number % 50, events: u64::from(number.is_multiple_of(3)) }
}

fn total(numbers: impl IntoIterator<Item = u64>) -> Counts {
    numbers.into_iter().fold(Counts::ZERO, |sum, number| sum + adds(number))
}

fn entry(number: u64, payload: &[u8]) -> Entry<'_> {
    Entry {
        kind: if number.is_multiple_of(7) { EntryKind::Gap } else { EntryKind::Frame },
        received_ms: 1_700_000_000_000 + i64::try_from(number).unwrap(),
        device: format!("device-{}", number % 5).parse().unwrap(),
        ring: RingId([u8::try_from(number % 5).unwrap(); 16]),
        seq: Seq(number),
        adds: adds(number),
        through: Counts { samples: number * 50, events: number },
        payload,
    }
}

/// The number of an entry, which must be that entry.
fn number_of(found: &Entry<'_>) -> u64 {
    let number = found.seq.0;
    assert_eq!(*found, entry(number, &payload(number)), "an entry that nobody appended");
    number
}

fn append(journal: &mut Journal, lane: Lane, number: u64) -> Result<(), AppendError> {
    journal.append(lane, &entry(number, &payload(number)))
}

/// What an open handed on, by lane.
type Replayed = PerLane<Vec<u64>>;

fn try_open(
    disk: &Faulty,
    nonce: u64,
) -> Result<(Journal, RecoveryReport, Replayed), JournalError> {
    let mut replayed = Replayed::default();
    let mut ends = Positions::ZERO;
    let (journal, report) = Journal::open(
        shared(disk),
        config(),
        [7; 16],
        nonce,
        &Positions::ZERO,
        &mut |lane, entry, end| {
            assert!(end > ends.get(lane), "positions grow");
            ends.set(lane, end);
            replayed.get_mut(lane).push(number_of(entry));
        },
    )?;
    Ok((journal, report, replayed))
}

fn open(disk: &Faulty, nonce: u64) -> (Journal, RecoveryReport, Replayed) {
    try_open(disk, nonce).unwrap()
}

/// What a reader gives from a position on.
#[derive(Debug, Default)]
struct Read {
    numbers: Vec<u64>,
    ranges: Vec<(Position, Position)>,
    damages: Vec<Damage>,
    /// What the damages cost, by the totals before and after.
    lost: Counts,
    totals: Counts,
}

fn read(tail: &JournalTail, lane: Lane, from: Point) -> Read {
    let mut read = Read { totals: from.totals, ..Read::default() };
    let mut reader = tail.reader(lane, from.at);
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Entry { entry, at, end, totals } => {
                let number = number_of(&entry);
                assert_eq!(totals, read.totals + adds(number), "totals of {number}");
                read.numbers.push(number);
                read.ranges.push((at, end));
                read.totals = totals;
            }
            Item::Damage(damage) => {
                assert!(damage.from < damage.to);
                read.lost += damage.totals.since(read.totals);
                read.totals = damage.totals;
                read.damages.push(damage);
            }
        }
    }
    assert_eq!(read.totals, tail.ends().get(lane).totals, "totals at the end");
    read
}

fn read_all(tail: &JournalTail, lane: Lane) -> Read {
    read(tail, lane, Point::default())
}

/// The segments' files.
fn segments(disk: &Faulty) -> Vec<PathBuf> {
    let paths = disk.files().into_iter().map(|(path, _)| path);
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

/// Appends numbers to a lane and commits them, in groups of three.
fn commit_numbers(journal: &mut Journal, lane: Lane, numbers: std::ops::Range<u64>) {
    let numbers: Vec<u64> = numbers.collect();
    for group in numbers.chunks(3) {
        for number in group {
            append(journal, lane, *number).unwrap();
        }
        journal.commit().unwrap();
    }
}
