//! The table of lives: damaged, cut short, unreadable, on a disk that is full.

use super::*;
use crate::epochs::Epochs;

const TABLE: &str = "journal/epochs";
const SLOT_LEN: usize = 128;

fn edit(disk: &Faulty, edit: impl FnOnce(&mut Vec<u8>)) {
    disk.edit(Path::new(TABLE), edit);
}

/// A journal with something in it, after so many lives.
fn after(lives: u64) -> Faulty {
    let disk = Faulty::default();
    for life in 1..=lives {
        let (mut journal, ..) = open(&disk, life);
        commit_numbers(&mut journal, Lane::Bulk, life..life + 1);
    }
    disk
}

fn verified(disk: &Faulty) -> Result<Option<Report>, JournalError> {
    verify(&shared(disk), Path::new("journal"))
}

#[test]
fn what_stands_behind_the_table_is_no_part_of_it() {
    let (disk, longer) = (after(2), after(5));
    let (_, content) =
        longer.files().into_iter().find(|(path, _)| path.as_path() == Path::new(TABLE)).unwrap();
    edit(&disk, |table| table.extend_from_slice(&content[5 * SLOT_LEN..6 * SLOT_LEN]));
    assert_eq!(open(&disk, 9).0.epoch().number, 3);
}

#[test]
fn the_life_whose_slot_is_taken_is_forgotten_and_no_other() {
    let (disk, dir) = (Faulty::default(), Path::new("journal"));
    let epoch = |number| Epoch { number, nonce: 5 };
    let mut lives = Epochs::default();
    for number in [1, 2, 3, 2048 + 2] {
        let identity = Identity { journal: [7; 16], epoch: epoch(number) };
        lives.begin(&shared(&disk), dir, &identity, Ends::default(), false).unwrap();
    }
    assert_eq!([1, 2, 3].map(|number| lives.end_of(epoch(number))), [None; 3]);
    assert_eq!(Epochs::read(&disk, dir).unwrap(), (Some([7; 16]), lives));
}

#[test]
fn a_table_that_lacks_empty_slots_is_told_where_it_ends() {
    let disk = after(1);
    let len = usize::try_from(epochs::FILE_LEN).unwrap() - SLOT_LEN;
    edit(&disk, |table| table.truncate(len));
    let flaw = Flaw { path: TABLE.into(), at: u64::try_from(len).unwrap() };
    assert_eq!(verified(&disk).unwrap().unwrap().flaws, [flaw]);
}

#[test]
fn a_journal_without_its_table_has_no_flaw_for_that() {
    let disk = after(2);
    disk.lose(Path::new(TABLE));
    assert!(verified(&disk).unwrap().unwrap().is_whole());
}

#[test]
fn whoever_looks_through_a_journal_overlooks_nothing_that_cannot_be_read() {
    let disk = after(2);
    let calls = {
        let disk = disk.copy();
        let before = disk.calls();
        verified(&disk).unwrap();
        disk.calls() - before
    };
    for nth in 1..=calls {
        let disk = disk.copy();
        disk.fail(nth, Fault::Io);
        assert!(verified(&disk).is_err(), "call {nth} of {calls}");
    }
}

#[test]
fn a_start_fails_with_every_call_but_the_one_that_asks_for_room() {
    let disk = after(2);
    let calls = {
        let disk = disk.copy();
        let before = disk.calls();
        open(&disk, 3);
        disk.calls() - before
    };
    let passed = |nth: &u64| {
        let disk = disk.copy();
        disk.fail(*nth, Fault::Io);
        try_open(&disk, 3).is_ok()
    };
    assert_eq!((1..=calls).filter(passed).count(), 1);
}

#[test]
fn a_journal_that_was_never_used_starts_on_a_full_disk_and_none_is_made_there() {
    let disk = Faulty::default();
    open(&disk, 1);
    disk.set_capacity(Some(disk.used()));
    assert_eq!(open(&disk, 2).0.epoch().number, 2);
    let disk = Faulty::default();
    disk.set_capacity(Some(10));
    assert!(matches!(try_open(&disk, 1), Err(JournalError::NoSpace { .. })));
}

#[test]
fn a_segment_in_which_nothing_was_whole_gives_way_to_the_one_that_begins_there() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..2);
    let header = usize::try_from(segment::HEADER_LEN).unwrap();
    disk.edit(&segments(&disk)[0], |content| content.truncate(header));
    let (mut journal, ..) = open(&disk, 2);
    commit_numbers(&mut journal, Lane::Bulk, 2..4);
    assert_eq!(journal.tail().extent(Lane::Bulk).0, 1);
    journal.prune(&journal.ends().positions).unwrap();
    assert_eq!(read_all(&journal.tail(), Lane::Bulk).numbers, [2, 3]);
}

#[test]
fn a_segment_is_filled_to_its_last_byte() {
    let count = |segment_bytes| {
        let disk = Faulty::default();
        let config = JournalConfig { segment_bytes, ..config() };
        let since = &Positions::ZERO;
        let opened = Journal::open(shared(&disk), config, [7; 16], 1, since, &mut |_, _, _| {});
        let mut journal = opened.unwrap().0;
        commit_numbers(&mut journal, Lane::Bulk, 1..4);
        commit_numbers(&mut journal, Lane::Bulk, 4..7);
        (segments(&disk).len(), journal.ends().positions.get(Lane::Bulk))
    };
    let (_, end) = count(u64::MAX);
    let full = segment::offset_of(Position::ZERO, end);
    assert_eq!((count(full).0, count(full - 1).0), (1, 2));
}

#[test]
fn positions_of_lanes_are_compared_lane_by_lane() {
    let positions = |all: [u64; 3]| Positions(all.map(Position));
    let (one, other) = (positions([1, 5, 3]), positions([4, 2, 3]));
    assert_eq!(one.min(&other), positions([1, 2, 3]));
    assert!(positions([1, 2, 3]).within(&one) && !one.within(&other) && !other.within(&one));
}

#[test]
fn damages_are_counted_beyond_those_that_are_listed() {
    let disk = Faulty::default();
    let config = JournalConfig { segment_bytes: 1 << 20, ..config() };
    let since = &Positions::ZERO;
    let opened = Journal::open(shared(&disk), config, [7; 16], 1, since, &mut |_, _, _| {});
    let mut journal = opened.unwrap().0;
    commit_numbers(&mut journal, Lane::Bulk, 1..200);
    let whole = read_all(&journal.tail(), Lane::Bulk);
    disk.edit(&segments(&disk)[0], |content| {
        // Of every second one.
        for (at, _) in whole.ranges.iter().step_by(2) {
            content[usize::try_from(segment::offset_of(Position::ZERO, *at)).unwrap()] ^= 1;
        }
    });
    let report = verified(&disk).unwrap().unwrap();
    let lane = &report.lanes[Lane::Bulk.index()];
    assert_eq!((lane.damages.len(), lane.damage_count, lane.entries), (64, 100, 99));
    assert_eq!(lane.damages[0].totals, adds(1));
    let (_, report, _) = open(&disk, 2);
    assert_eq!((report.damages.len(), report.damage_count, report.entries), (64, 100, 99));
}
