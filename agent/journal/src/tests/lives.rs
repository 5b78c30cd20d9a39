//! Which cursors hold in which life, and what a thousand lives leave behind.

use super::*;

fn cursor(journal: &Journal) -> JournalCursor {
    let ends = journal.ends();
    JournalCursor {
        journal: journal.id(),
        epoch: journal.epoch(),
        positions: ends.positions,
        totals: ends.totals,
    }
}

fn later(mut cursor: JournalCursor, lane: Lane) -> JournalCursor {
    let position = cursor.positions.get(lane);
    cursor.positions.set(lane, position.plus(1));
    cursor
}

#[test]
fn cursor_holds_in_later_lives_of_the_same_journal() {
    let disk = Faulty::default();
    let mut cursors = vec![];
    for life in 1..6 {
        let (mut journal, ..) = open(&disk, life * 1000);
        assert_eq!(
            journal.epoch(),
            Epoch { number: u32::try_from(life).unwrap(), nonce: life * 1000 }
        );
        cursors.push(cursor(&journal));
        if life % 2 == 0 {
            commit_numbers(&mut journal, Lane::Bulk, life * 10..life * 10 + 5);
            cursors.push(cursor(&journal));
        }
        let tail = journal.tail();
        assert!(cursors.iter().all(|cursor| tail.validates(cursor)));
        assert!(!tail.validates(&later(cursor(&journal), Lane::Latest)), "beyond the end");
    }
}

#[test]
fn cursor_of_another_life_or_journal_does_not_hold() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..5);
    let first = cursor(&journal);
    let (mut journal, ..) = open(&disk, 2);
    commit_numbers(&mut journal, Lane::Bulk, 5..9);
    let tail = journal.tail();
    assert!(tail.validates(&first));
    assert!(!tail.validates(&later(first, Lane::Critical)), "beyond the end of its life");
    let mut wrong = first;
    wrong.epoch.nonce += 1;
    assert!(!tail.validates(&wrong), "same number, another life");
    let mut wrong = first;
    wrong.epoch.number = 3;
    assert!(!tail.validates(&wrong), "a life to come");
    let mut wrong = first;
    wrong.journal[0] ^= 1;
    assert!(!tail.validates(&wrong), "another journal");
    assert_ne!(open(&disk, 3).0.instance(), journal.instance());
}

#[test]
fn journal_restored_from_an_old_copy_is_noticed() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..5);
    let before = cursor(&journal);
    // The copy is taken while the first life goes on.
    let restored = disk.copy();
    commit_numbers(&mut journal, Lane::Bulk, 5..9);
    let same_life = cursor(&journal);
    let (mut journal, ..) = open(&disk, 2);
    let next_life = cursor(&journal);
    commit_numbers(&mut journal, Lane::Bulk, 9..12);
    let far = cursor(&journal);
    assert!(
        [before, same_life, next_life, far].iter().all(|cursor| journal.tail().validates(cursor))
    );

    let (mut journal, ..) = open(&restored, 3);
    for _ in 0..2 {
        let tail = journal.tail();
        assert!(tail.validates(&before));
        assert!([same_life, next_life, far].iter().all(|cursor| !tail.validates(cursor)));
        // Nor when it has grown as long as the other.
        commit_numbers(&mut journal, Lane::Bulk, 100..140);
    }
    let report = Journal::open(
        shared(&restored),
        config(),
        [7; 16],
        4,
        &later(cursor(&journal), Lane::Latest).positions,
        &mut |_, _, _| {},
    )
    .unwrap()
    .1;
    assert!(report.is_behind);
}

#[test]
fn life_that_was_begun_is_not_forgotten_by_a_power_cut() {
    let disk = Faulty::default();
    let cursors = [1, 2].map(|life| cursor(&open(&disk, life).0));
    disk.power_cycle(Leaves::Nothing);
    let (journal, ..) = open(&disk, 3);
    assert_eq!(journal.epoch().number, 3);
    assert!(cursors.iter().all(|cursor| journal.tail().validates(cursor)));
}

#[test]
fn table_whose_name_failed_to_become_durable_is_made_anew() {
    let calls = {
        let disk = Faulty::default();
        open(&disk, 1);
        disk.calls()
    };
    for nth in 1..=calls {
        for more in 0..2 {
            let disk = Faulty::default();
            (nth..=nth + more).for_each(|nth| disk.fail(nth, Fault::Io));
            let failed = try_open(&disk, 1).is_err();
            disk.restart();
            let (mut journal, ..) = open(&disk, 2);
            let begun = cursor(&journal);
            disk.power_cycle(Leaves::Nothing);
            let again = open(&disk, 3).0;
            assert!(again.epoch().number > begun.epoch.number, "{nth} {failed}");
            assert!(again.tail().validates(&begun), "{nth} {failed}");
            disk.restart();
            journal = open(&disk, 4).0;
            commit_numbers(&mut journal, Lane::Bulk, 1..4);
            disk.power_cycle(Leaves::Nothing);
            assert!(open(&disk, 5).0.tail().validates(&begun), "{nth} {failed}");
        }
    }
}

#[test]
fn life_that_died_at_its_beginning_does_not_cost_the_cursors_before_it() {
    for life in 1..9 {
        let disk = Faulty::default();
        let cursors: Vec<JournalCursor> =
            (1..=life).map(|life| cursor(&open(&disk, life).0)).collect();
        // The last call is the sync of the slot, whose page stays as it is in memory.
        let before = disk.copy();
        open(&before, 20);
        let calls = before.calls() - disk.calls();
        for fault in [Fault::Io, Fault::CutBefore] {
            for (nth, seed) in (1..=calls).flat_map(|nth| [(nth, nth), (nth, !nth)]) {
                let disk = disk.copy();
                disk.fail(calls, fault);
                drop(try_open(&disk, 20));
                disk.restart();
                disk.fail(nth, Fault::CutBefore);
                drop(try_open(&disk, 21));
                disk.power_cycle(Leaves::Some(seed));
                let tail = open(&disk, 22).0.tail();
                assert!(cursors.iter().all(|cursor| tail.validates(cursor)), "{life} {nth}");
            }
        }
    }
}

#[test]
fn cursor_of_a_life_whose_end_is_not_known_does_not_hold() {
    let disk = Faulty::default();
    let first = cursor(&open(&disk, 1).0);
    let second = cursor(&open(&disk, 2).0);
    let third = cursor(&open(&disk, 3).0);
    // The second life's slot.
    disk.edit(Path::new("journal/epochs"), |content| content[2 * 128 + 40] ^= 1);
    let tail = open(&disk, 4).0.tail();
    assert_eq!([first, second, third].map(|cursor| tail.validates(&cursor)), [false, false, true]);
}

#[test]
fn thousands_of_idle_starts_leave_nothing_behind() {
    let disk = Faulty::default();
    let (mut journal, report, _) = open(&disk, 1);
    assert!(report.created);
    commit_numbers(&mut journal, Lane::Bulk, 1..5);
    let oldest = cursor(&journal);
    let files = disk.files().len();
    let usage = journal.usage_bytes();
    let mut recent = oldest;
    for life in 2..3000 {
        let (journal, report, replayed) = open(&disk, life);
        assert!(!report.created && report.damage_count == 0);
        assert_eq!(replayed.get(Lane::Bulk).len(), 4);
        assert!(journal.usage_bytes() - usage < 100, "a mark");
        if life == 1000 {
            recent = cursor(&journal);
            assert!(journal.tail().validates(&oldest));
        }
    }
    assert_eq!(disk.files().len(), files);
    let tail = open(&disk, 3000).0.tail();
    assert!(tail.validates(&recent));
    assert!(!tail.validates(&oldest), "forgotten: reconciled by identity");
}

#[test]
fn replay_begins_where_it_is_asked_to() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..30);
    let since = journal.ends().positions;
    commit_numbers(&mut journal, Lane::Bulk, 30..50);
    let mut numbers = vec![];
    let opened =
        Journal::open(shared(&disk), config(), [7; 16], 2, &since, &mut |lane, entry, _| {
            assert_eq!(lane, Lane::Bulk);
            numbers.push(number_of(entry));
        });
    let (_, report) = opened.unwrap();
    assert_eq!(numbers, (30..50).collect::<Vec<_>>());
    assert_eq!((report.entries, report.damage_count, report.is_behind), (20, 0, false));
}
