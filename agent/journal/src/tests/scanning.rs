//! Finding records past what is damaged, through a window.

use super::*;
use crate::record::Seed;
use crate::scan::{Scan, Span, Step};
use storage::File;

const SEGMENT: &str = "journal/bulk/00000000000000000000.seg";

/// One long segment of entries with payloads of this length, or of their usual ones.
fn one_segment(numbers: std::ops::Range<u64>, payload_len: Option<usize>) -> (Faulty, Journal) {
    let disk = Faulty::default();
    let config = JournalConfig { segment_bytes: 1 << 20, ..config() };
    let since = &Positions::ZERO;
    let opened = Journal::open(shared(&disk), config, [7; 16], 1, since, &mut |_, _, _| {});
    let mut journal = opened.unwrap().0;
    for number in numbers {
        let payload = payload_len.map_or_else(|| payload(number), |len| vec![0x55; len]);
        journal.append(Lane::Bulk, &entry(number, &payload)).unwrap();
    }
    journal.commit().unwrap();
    assert_eq!(segments(&disk).len(), 1);
    (disk, journal)
}

/// Where each entry begins and ends, and its number.
fn entries(journal: &Journal) -> Vec<(Position, Position, u64)> {
    let mut reader = journal.tail().reader(Lane::Bulk, Position::ZERO);
    let mut entries = vec![];
    while let Some(item) = reader.next().unwrap() {
        if let Item::Entry { entry, at, end, .. } = item {
            entries.push((at, end, entry.seq.0));
        }
    }
    entries
}

fn offset(at: Position) -> usize {
    usize::try_from(segment::offset_of(Position::ZERO, at)).unwrap()
}

#[test]
fn damage_longer_than_the_window_ends_at_the_next_whole_record() {
    let (disk, journal) = one_segment(1..31, Some(FRAME_LEN_MAX));
    let whole = entries(&journal);
    disk.edit(Path::new(SEGMENT), |content| {
        for (at, _, number) in &whole {
            if (2..30).contains(number) {
                content[offset(*at)] ^= 1;
            }
        }
    });
    let left: Vec<u64> = entries(&journal).into_iter().map(|(_, _, number)| number).collect();
    assert_eq!(left, [1, 30]);
}

#[test]
fn a_long_record_that_is_damaged_costs_none_of_what_follows_near_the_end() {
    let disk = Faulty::default();
    let config = JournalConfig { segment_bytes: 1 << 20, ..config() };
    let since = &Positions::ZERO;
    let opened = Journal::open(shared(&disk), config, [7; 16], 1, since, &mut |_, _, _| {});
    let mut journal = opened.unwrap().0;
    journal.append(Lane::Bulk, &entry(1, &[0x55; FRAME_LEN_MAX])).unwrap();
    commit_numbers(&mut journal, Lane::Bulk, 2..12);
    let at = offset(Position::ZERO);
    disk.edit(Path::new(SEGMENT), |content| content[at] ^= 1);
    // While it is open, and at a start, which cuts off what it does not find.
    assert_eq!(read_all(&journal.tail(), Lane::Bulk).numbers, (2..12).collect::<Vec<u64>>());
    assert_eq!(open(&disk, 2).2.get(Lane::Bulk), &(2..12).collect::<Vec<u64>>());
}

#[test]
fn a_block_that_cannot_be_read_costs_what_begins_in_it_and_no_more() {
    let (disk, journal) = one_segment(1..60, None);
    let whole = entries(&journal);
    let mut reader = journal.tail().reader(Lane::Bulk, Position::ZERO);
    // The segment is opened; the read fails.
    disk.fail(2, Fault::Io);
    assert!(reader.next().is_err());
    reader.pass_unreadable();
    disk.fail(1, Fault::Io);
    let Ok(Some(Item::Damage(damage))) = reader.next() else { panic!("damage") };
    let (behind, ..) = whole.iter().find(|(at, ..)| offset(*at) >= 4096).unwrap();
    assert_eq!((damage.from, damage.to), (Position::ZERO, *behind));
}

/// A scan of the one segment, and how often the disk was asked.
struct Scanned {
    disk: Faulty,
    file: Box<dyn File>,
    scan: Scan,
    span: Span,
}

impl Scanned {
    fn new(disk: Faulty, end: Position) -> Self {
        let file = disk.open(Path::new(SEGMENT), false).unwrap();
        let scan = Scan::new(Seed::new([7; 16], Lane::Bulk));
        Self { disk, file, scan, span: Span { base: Position::ZERO, end } }
    }

    fn number_at(&mut self, at: Position) -> u64 {
        let Ok(Step::Record(len)) = self.scan.step(&*self.file, self.span, at) else {
            panic!("a record")
        };
        self.scan.record(at, len).unwrap().entry.unwrap().seq.0
    }
}

#[test]
fn a_scan_may_go_on_anywhere_and_back() {
    let (disk, journal) = one_segment(1..31, Some(FRAME_LEN_MAX));
    let whole = entries(&journal);
    let mut scanned = Scanned::new(disk, journal.ends().positions.get(Lane::Bulk));
    for index in [0, 1, 20, 29, 3, 2, 0] {
        let (at, _, number) = whole[index];
        assert_eq!(scanned.number_at(at), number);
    }
}

#[test]
fn what_is_in_the_window_is_not_read_again() {
    let (disk, journal) = one_segment(1..60, None);
    let whole = entries(&journal);
    let mut scanned = Scanned::new(disk, journal.ends().positions.get(Lane::Bulk));
    let calls: Vec<u64> = whole
        .iter()
        .flat_map(|(at, ..)| [*at; 2])
        .map(|at| {
            scanned.number_at(at);
            scanned.disk.calls()
        })
        .collect();
    assert!(calls.windows(2).all(|pair| pair[0] == pair[1]), "{calls:?}");
}

#[test]
fn a_header_that_belongs_elsewhere_is_a_flaw() {
    let (disk, mut journal) = one_segment(1..4, None);
    commit_numbers(&mut journal, Lane::Critical, 1..4);
    let path = Path::new("journal/critical/00000000000000000000.seg");
    let (_, other) = disk.files().into_iter().find(|(of, _)| of.ends_with(SEGMENT)).unwrap();
    disk.edit(path, |content| content[..1024].copy_from_slice(&other[..1024]));
    let report = verify(&shared(&disk), Path::new("journal")).unwrap().unwrap();
    assert_eq!(report.flaws, [Flaw { path: path.to_owned(), at: 0 }]);
    assert!(report.lanes.iter().all(|lane| lane.damage_count == 0 && lane.entries != 1));
}

#[test]
fn a_header_of_this_version_that_is_damaged_twice_is_not_taken_for_a_newer_one() {
    let (disk, _) = one_segment(1..4, None);
    disk.edit(Path::new(SEGMENT), |content| {
        content[20] ^= 1;
        content[512 + 20] ^= 1;
    });
    assert_eq!(open(&disk, 2).2.get(Lane::Bulk), &[1, 2, 3]);
}

#[test]
fn files_of_other_names_are_nobodys() {
    let (disk, _) = one_segment(1..4, None);
    for name in ["5.seg", "0000000000000000000x.seg", "notes"] {
        shared(&disk).open(&Path::new("journal/bulk").join(name), true).unwrap();
    }
    let (journal, report, replayed) = open(&disk, 2);
    assert_eq!((replayed.get(Lane::Bulk).as_slice(), report.damage_count), (&[1, 2, 3][..], 0));
    assert_eq!(journal.tail().extent(Lane::Bulk).0, 1);
}

#[test]
fn what_an_earlier_attempt_left_must_be_gone_before_a_segment_is_begun() {
    let (mut journal, disk) = {
        let disk = Faulty::default();
        (open(&disk, 1).0, disk)
    };
    append(&mut journal, Lane::Bulk, 1).unwrap();
    disk.fail(1, Fault::Io);
    assert!(matches!(journal.commit(), Err(CommitError::Io { lane: Lane::Bulk, .. })));
    journal.commit().unwrap();
}

#[test]
fn a_peek_tells_the_last_life_and_how_far_it_came() {
    let (disk, journal) = one_segment(1..4, None);
    let peeked = |disk: &Faulty| peek(&shared(disk), Path::new("journal")).unwrap();
    assert_eq!(peeked(&Faulty::default()), None);
    assert_eq!(peeked(&disk), Some((journal.id(), journal.epoch(), journal.ends())));
}

#[test]
fn a_lanes_report_says_where_it_begins_and_what_its_files_take() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..40);
    journal.prune(&journal.ends().positions).unwrap();
    let begin = journal.tail().oldest(Lane::Bulk);
    assert!(begin > Position::ZERO);
    let report = verify(&shared(&disk), Path::new("journal")).unwrap().unwrap();
    let lane = &report.lanes[Lane::Bulk.index()];
    let [path] = &segments(&disk)[..] else { panic!("one segment") };
    let (_, content) = disk.files().into_iter().find(|(of, _)| of == path).unwrap();
    assert_eq!((lane.begin, lane.bytes), (begin, u64::try_from(content.len()).unwrap()));
    assert_eq!(lane.end, journal.ends().get(Lane::Bulk));
}
