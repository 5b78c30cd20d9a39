//! Full disks, full journals, full buffers; pruning; many threads.

use super::*;
use storage::Disk;

#[test]
fn full_disk_loses_nothing_and_heals() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..5);
    let used: usize = disk.files().iter().map(|(_, content)| content.len()).sum();
    // Room for some of the group, not all: within the segment, at its end, beyond its header.
    for room in [0, 10, 300, 900, 1500, 2500] {
        let disk = disk.copy();
        disk.set_capacity(Some(used + room));
        let (mut journal, ..) = open(&disk, 2);
        let ends = journal.ends();
        let numbers: Vec<u64> = (5..25).collect();
        let mut committed = 4;
        for number in &numbers {
            append(&mut journal, Lane::Bulk, *number).unwrap();
            match journal.commit() {
                Ok(_) => committed = *number,
                Err(error) => assert!(matches!(error, CommitError::NoSpace { .. }), "{error}"),
            }
        }
        assert!(committed < 24 && (room < 2000 || journal.ends() != ends), "{room}");
        let read = read_all(&journal.tail(), Lane::Bulk);
        assert_eq!(read.numbers, (1..=committed).collect::<Vec<_>>());

        // A start needs no room.
        let killed = disk.copy();
        killed.power_cycle(Leaves::All);
        assert_eq!(*open(&killed, 3).2.get(Lane::Bulk), read.numbers);

        disk.set_capacity(None);
        journal.commit().unwrap();
        disk.power_cycle(Leaves::Nothing);
        assert_eq!(*open(&disk, 3).2.get(Lane::Bulk), (1..25).collect::<Vec<_>>());
    }
}

#[test]
fn full_journal_takes_more_once_it_is_pruned() {
    let disk = Faulty::default();
    let config = JournalConfig { bytes_max: epochs::FILE_LEN + 20_000, ..config() };
    let opened =
        Journal::open(shared(&disk), config, [7; 16], 1, &Positions::ZERO, &mut |_, _, _| {});
    let (mut journal, _) = opened.unwrap();
    let mut number = 0;
    for _ in 0..5 {
        loop {
            match append(&mut journal, Lane::Bulk, number + 1) {
                Ok(()) => number += 1,
                Err(error) => {
                    assert_eq!(error, AppendError::Full);
                    break;
                }
            }
            journal.commit().unwrap();
        }
        assert!(journal.usage_bytes() <= epochs::FILE_LEN + 20_000);
        let files: usize = disk.files().iter().map(|(_, content)| content.len()).sum();
        assert!(journal.usage_bytes().abs_diff(files.try_into().unwrap()) < 400, "marks at most");
        let before = journal.usage_bytes();
        journal.prune(&journal.ends().positions).unwrap();
        assert!(journal.usage_bytes() < before);
        assert_eq!(segments(&disk).len(), 1, "the last one stays");
    }
    assert!(number > 200, "{number}");
    assert_eq!(journal.ends().get(Lane::Bulk).totals, total(1..=number));
}

#[test]
fn a_full_disk_leaves_room_for_the_sinks() {
    let disk = Faulty::default();
    let fixed = usize::try_from(epochs::FILE_LEN).unwrap();
    let capacity = 10 * fixed;
    disk.set_capacity(Some(capacity));
    let config = JournalConfig { reserve_bytes: u64::MAX, ..config() };
    let opened =
        Journal::open(shared(&disk), config, [7; 16], 1, &Positions::ZERO, &mut |_, _, _| {});
    let (mut journal, _) = opened.unwrap();
    let used = || disk.files().iter().map(|(_, content)| content.len()).sum::<usize>();
    let mut number = 0;
    let mut fill = |journal: &mut Journal| loop {
        match append(journal, Lane::Bulk, number + 1) {
            Ok(()) => number += 1,
            Err(AppendError::NoSpace) => break number,
            Err(error) => panic!("{error}"),
        }
        journal.commit().unwrap();
    };
    let first = fill(&mut journal);
    // Within what is looked at again, and headers.
    let free = capacity - used();
    assert!((capacity / 10..capacity / 8).contains(&free), "{free} of {capacity}, {first} frames");
    // Others write: it is less.
    journal.prune(&journal.ends().positions).unwrap();
    let capacity = 5 * fixed;
    disk.set_capacity(Some(capacity));
    let second = fill(&mut journal);
    assert!(second > first && used() < capacity, "{} of {capacity}", used());
    // No room at all: nothing is taken, and nothing is lost.
    disk.set_capacity(Some(used() + 10));
    assert_eq!(fill(&mut journal), second);
    disk.set_capacity(None);
    assert!(append(&mut journal, Lane::Bulk, second + 1).is_ok());
}

#[test]
fn buffer_is_bounded_and_large_payloads_are_refused() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    let payload = vec![1; FRAME_LEN_MAX + 1];
    assert_eq!(journal.append(Lane::Bulk, &entry(1, &payload)), Err(AppendError::TooLarge));
    let payload = &payload[1..];
    let mut taken = 0;
    let refused = loop {
        match journal.append(Lane::ALL[taken % 3], &entry(1, payload)) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::Pending);
    assert!(taken > 500 && journal.pending_bytes() <= PENDING_BYTES_MAX);
    journal.commit().unwrap();
    assert_eq!(journal.pending_bytes(), 0);
    journal.append(Lane::Bulk, &entry(1, payload)).unwrap();
}

#[test]
fn reader_below_what_is_pruned_finds_damage_and_goes_on() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..40);
    let tail = journal.tail();
    let mut inside = tail.reader(Lane::Bulk, Position::ZERO);
    assert!(matches!(inside.next(), Ok(Some(Item::Entry { .. }))));
    journal.prune(&journal.ends().positions).unwrap();
    let kept = disk.copy();
    kept.power_cycle(Leaves::Nothing);
    assert_eq!((segments(&kept), segments(&disk).len()), (segments(&disk), 1), "durably");
    let read = read_all(&tail, Lane::Bulk);
    let [damage] = read.damages[..] else { panic!("one damage") };
    let first = read.numbers[0];
    assert_eq!((damage.from, damage.totals), (Position::ZERO, total(1..first)));
    assert_eq!(read.numbers, (first..40).collect::<Vec<_>>());
    // One that stands in a pruned segment has it open, and misses only the ones between.
    let (mut numbers, mut totals) = (vec![1], total([1]));
    let mut lost = Counts::ZERO;
    while let Some(item) = inside.next().unwrap() {
        totals = match item {
            Item::Entry { entry, totals, .. } => {
                numbers.push(number_of(&entry));
                totals
            }
            Item::Damage(damage) => {
                lost += damage.totals.since(totals);
                damage.totals
            }
        };
    }
    assert!(numbers.is_sorted());
    assert_eq!((totals, lost + total(numbers)), (total(1..40), total(1..40)));
}

#[test]
fn readers_in_other_threads_see_all_and_only_what_is_durable() {
    let temp = tempfile::tempdir().unwrap();
    let storage: SharedStorage = Arc::new(Disk);
    let config =
        JournalConfig { segment_bytes: 20_000, ..JournalConfig::new(temp.path().join("journal")) };
    let opened = Journal::open(storage, config, [1; 16], 1, &Positions::ZERO, &mut |_, _, _| {});
    let (mut journal, _) = opened.unwrap();
    let readers = Lane::ALL.map(|lane| {
        let tail = journal.tail();
        std::thread::spawn(move || {
            let mut ends = tail.watch();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut reader = tail.reader(lane, Position::ZERO);
            let mut numbers = vec![];
            loop {
                while let Some(item) = reader.next().unwrap() {
                    let Item::Entry { entry, end, .. } = item else { panic!("damage") };
                    assert!(end <= tail.ends().positions.get(lane));
                    numbers.push(number_of(&entry));
                }
                if runtime.block_on(ends.changed()).is_err() {
                    return numbers;
                }
            }
        })
    });
    for round in 0..300 {
        for number in round * 5..round * 5 + 5 {
            append(&mut journal, Lane::ALL[usize::try_from(number % 3).unwrap()], number).unwrap();
        }
        journal.commit().unwrap();
    }
    drop(journal);
    for (index, reader) in (0..).zip(readers) {
        let numbers = reader.join().unwrap();
        assert_eq!(numbers, (0..1500).filter(|number| number % 3 == index).collect::<Vec<u64>>());
    }
}

#[test]
fn the_defaults_are_what_the_example_configuration_says() {
    let config = JournalConfig::new("journal".into());
    assert_eq!(config.segment_bytes, 67_108_864);
    assert_eq!(config.bytes_max, 8_589_934_592);
    assert_eq!(config.reserve_bytes, 268_435_456);
}

#[test]
fn a_large_group_is_let_go_of_and_room_for_a_usual_one_is_kept() {
    let disk = Faulty::default();
    let (mut journal, _, _) = open(&disk, 1);
    let payload = vec![9; 1000];
    for number in 0..600 {
        journal.append(Lane::Bulk, &entry(number, &payload)).unwrap();
    }
    journal.commit().unwrap();
    let kept = journal.lanes.get(Lane::Bulk).room();
    assert!((256 * 1024..600_000).contains(&kept), "{kept}");
}
