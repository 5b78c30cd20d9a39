//! What readers see: where it begins and ends, what a copy of it consists of, whom it belongs to.

use super::*;

fn several_segments() -> (Faulty, Journal) {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..60);
    commit_numbers(&mut journal, Lane::Critical, 1..4);
    (disk, journal)
}

#[test]
fn a_tail_names_the_life_that_it_is_of() {
    let (_disk, journal) = several_segments();
    let tail = journal.tail();
    assert_eq!((tail.id(), tail.epoch()), (journal.id(), journal.epoch()));
    assert_eq!(tail.instance(), journal.instance());
    assert_ne!(tail.instance(), JournalInstance::default());
}

#[test]
fn only_segments_that_lie_wholly_below_are_pruned() {
    let (disk, mut journal) = several_segments();
    let bases = journal.tail().bases(Lane::Bulk);
    assert!(bases.len() > 3 && bases.is_sorted() && bases[0] == Position::ZERO);
    assert_eq!(segments(&disk).len(), bases.len() + 1, "and one of the other lane");
    let mut below = Positions::ZERO;
    for (at, oldest) in [(bases[2].0 - 1, bases[1]), (bases[2].0, bases[2])] {
        below.set(Lane::Bulk, Position(at));
        journal.prune(&below).unwrap();
        assert_eq!(journal.tail().oldest(Lane::Bulk), oldest);
        assert_eq!(journal.tail().bases(Lane::Critical), [Position::ZERO]);
    }
}

#[test]
fn a_lane_without_segments_begins_where_it_ends() {
    let (_disk, journal) = several_segments();
    assert_eq!(journal.tail().extent(Lane::Latest), (0, 0, Position::ZERO));
}

#[test]
fn a_reader_stands_behind_what_it_gave() {
    let (_disk, journal) = several_segments();
    let mut reader = journal.tail().reader(Lane::Bulk, Position::ZERO);
    assert_eq!(reader.position(), Position::ZERO);
    let Ok(Some(Item::Entry { end, .. })) = reader.next() else { panic!("an entry") };
    assert_eq!(reader.position(), end);
}

#[test]
fn only_a_commit_of_something_is_told() {
    let (_disk, mut journal) = several_segments();
    let ends = journal.tail().watch();
    journal.commit().unwrap();
    assert!(!ends.has_changed().unwrap());
    commit_numbers(&mut journal, Lane::Bulk, 60..61);
    assert!(ends.has_changed().unwrap());
}

#[test]
fn a_snapshot_restored_is_the_journal_of_that_moment() {
    let (disk, mut journal) = several_segments();
    let tail = journal.tail();
    let snapshot = tail.snapshot();
    let expected = PerLane::new(|lane| read_all(&tail, lane).numbers);
    assert_eq!(snapshot.ends, journal.ends());
    // What comes later is no part of it.
    commit_numbers(&mut journal, Lane::Bulk, 60..80);
    let restored = Faulty::default();
    for SnapshotFile { path, bytes, .. } in &snapshot.files {
        let (_, content) = disk.files().into_iter().find(|(of, _)| of == path).unwrap();
        let content = &content[..usize::try_from(*bytes).unwrap()];
        shared(&restored).open(path, true).unwrap().write_at(0, content).unwrap();
    }
    let lanes: Vec<Option<Lane>> = snapshot.files.iter().map(|file| file.lane).collect();
    let of = |lane| lanes.iter().filter(|of| **of == lane).count();
    assert_eq!((of(None), of(Some(Lane::Critical)), of(Some(Lane::Latest))), (1, 1, 0));
    let (journal, _, replayed) = open(&restored, 2);
    assert_eq!((replayed, journal.ends()), (expected, snapshot.ends));
}

#[test]
fn a_segment_in_which_nothing_is_whole_is_no_part_of_a_snapshot() {
    let disk = Faulty::default();
    commit_numbers(&mut open(&disk, 1).0, Lane::Bulk, 1..2);
    let header = usize::try_from(segment::HEADER_LEN).unwrap();
    disk.edit(&segments(&disk)[0], |content| content.truncate(header));
    let snapshot = open(&disk, 2).0.tail().snapshot();
    assert!(snapshot.files.iter().all(|file| file.lane.is_none()), "{:?}", snapshot.files);
}

#[test]
fn a_journal_is_filled_to_its_last_byte() {
    let payload = [7; 50];
    // As an append reckons: the fields at their longest.
    let with = record::RECORD_LEN_MAX - FRAME_LEN_MAX + payload.len();
    let appended = |room: usize| {
        let bytes_max = epochs::FILE_LEN + u64::try_from(room).unwrap();
        let config = JournalConfig { bytes_max, ..config() };
        let (disk, since) = (Faulty::default(), &Positions::ZERO);
        let opened = Journal::open(shared(&disk), config, [7; 16], 1, since, &mut |_, _, _| {});
        opened.unwrap().0.append(Lane::Bulk, &entry(1, &payload))
    };
    assert_eq!((appended(with), appended(with - 1)), (Ok(()), Err(AppendError::Full)));
}

#[test]
fn the_buffer_is_filled_to_its_last_byte() {
    let (mut journal, ..) = open(&Faulty::default(), 1);
    let payload = [7; FRAME_LEN_MAX];
    while journal.pending_bytes() + 2 * record::RECORD_LEN_MAX <= PENDING_BYTES_MAX {
        journal.append(Lane::Bulk, &entry(1, &payload)).unwrap();
    }
    let fields = record::RECORD_LEN_MAX - FRAME_LEN_MAX;
    journal.append(Lane::Bulk, &entry(1, &payload[..FRAME_LEN_MAX - 100])).unwrap();
    let left = PENDING_BYTES_MAX - journal.pending_bytes() - fields;
    let long = vec![7; left + 1];
    assert!(left < FRAME_LEN_MAX, "{left}");
    let refused = journal.append(Lane::Bulk, &entry(1, &long));
    assert_eq!(refused, Err(AppendError::Pending));
    assert_eq!(journal.append(Lane::Bulk, &entry(1, &long[1..])), Ok(()));
}

#[test]
fn a_tenth_of_a_small_disk_is_left_to_others() {
    let disk = Faulty::default();
    disk.set_capacity(Some(1000));
    let mut room = Reserve::of(&disk, Path::new("journal"), u64::MAX);
    assert!(room.has(&disk, Path::new("journal"), 900));
    assert!(!room.has(&disk, Path::new("journal"), 901));
    let mut room = Reserve::of(&disk, Path::new("journal"), 30);
    assert!(room.has(&disk, Path::new("journal"), 970));
    assert!(!room.has(&disk, Path::new("journal"), 971));
}

#[test]
fn how_much_room_there_is_is_asked_again_after_a_quarter_of_the_reserve() {
    let disk = Faulty::default();
    disk.set_capacity(Some(1000));
    let mut room = Reserve::of(&disk, Path::new("journal"), u64::MAX);
    let mut asks = |bytes| {
        let before = disk.calls();
        room.used(bytes);
        assert!(room.has(&disk, Path::new("journal"), 1));
        disk.calls() > before
    };
    assert_eq!([25, 1, 25, 1].map(&mut asks), [false, true, false, true]);
}

#[test]
fn a_segment_is_a_share_of_a_small_disk_and_never_tiny() {
    let longest = |capacity| {
        let disk = Faulty::default();
        disk.set_capacity(Some(capacity));
        Reserve::of(&disk, Path::new("journal"), 0).segment_bytes_max
    };
    assert_eq!((longest(32 * 100_000), longest(1000)), (100_000, 64 << 10));
}
