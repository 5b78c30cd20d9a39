//! What a start makes of headers that are gone, of marks that are missing, and of what a life left
//! unfinished.

use super::*;

/// One lane in several segments, and what it holds.
fn long() -> (Faulty, Vec<PathBuf>, Read) {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..60);
    let read = read_all(&journal.tail(), Lane::Bulk);
    let paths = segments(&disk);
    assert!(paths.len() > 3);
    (disk, paths, read)
}

fn base_of(path: &Path) -> Position {
    Position(path.file_stem().unwrap().to_str().unwrap().parse().unwrap())
}

/// Where in a segment's file something stands.
fn offset(path: &Path, at: Position) -> usize {
    usize::try_from(segment::offset_of(base_of(path), at)).unwrap()
}

fn header_len() -> usize {
    usize::try_from(segment::HEADER_LEN).unwrap()
}

#[test]
fn what_a_header_no_longer_tells_its_first_record_does() {
    let (disk, paths, whole) = long();
    for pair in paths.windows(2) {
        let [before, path] = pair else { panic!("two") };
        let disk = disk.copy();
        disk.edit(path, |content| content[..header_len()].fill(0));
        // The last entry in front of it is damaged: its counts are known by what comes then.
        let last = whole.ranges.iter().rposition(|(at, _)| *at < base_of(path)).unwrap();
        disk.edit(before, |content| content[offset(before, whole.ranges[last].0)] ^= 1);
        let read = read_all(&open(&disk, 2).0.tail(), Lane::Bulk);
        assert_eq!(read.lost, adds(whole.numbers[last]));
        assert_eq!((read.numbers.len(), read.totals), (whole.numbers.len() - 1, whole.totals));
    }
}

#[test]
fn what_neither_header_nor_records_tell_the_next_segment_does() {
    let (disk, paths, whole) = long();
    disk.edit(&paths[1], |content| content.fill(0));
    let read = read_all(&open(&disk, 2).0.tail(), Lane::Bulk);
    let range = base_of(&paths[1])..base_of(&paths[2]);
    let lost = whole.ranges.iter().zip(&whole.numbers).filter(|((at, _), _)| range.contains(at));
    assert_eq!(read.lost, total(lost.map(|(_, number)| *number)));
    assert_eq!(read.totals, whole.totals);
}

#[test]
fn what_no_mark_vouches_for_is_written_again_in_its_place() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..4);
    let end = journal.ends().positions.get(Lane::Bulk);
    let path = &segments(&disk)[0];
    disk.edit(path, |content| content.truncate(offset(path, end)));
    let (journal, report, _) = open(&disk, 2);
    assert_eq!((report.rewritten_bytes, report.torn_bytes), ([0, end.0, 0], [0; 3]));
    assert_eq!(read_all(&journal.tail(), Lane::Bulk).numbers, [1, 2, 3]);
    let (segments, bytes, begin) = journal.tail().extent(Lane::Bulk);
    let files: usize = disk.files().iter().map(|(_, content)| content.len()).sum();
    assert_eq!((segments, begin), (1, Position::ZERO));
    assert_eq!(bytes + epochs::FILE_LEN, u64::try_from(files).unwrap());
    assert_eq!(journal.usage_bytes(), u64::try_from(files).unwrap());
}

#[test]
fn what_no_mark_vouches_for_behind_one_is_written_again_in_a_segment_of_its_own() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..7);
    let ends = journal.ends();
    let path = segments(&disk)[0].clone();
    let whole = read_all(&journal.tail(), Lane::Bulk);
    let end = ends.positions.get(Lane::Bulk);
    disk.edit(&path, |content| content.truncate(offset(&path, end)));
    let (journal, report, _) = open(&disk, 2);
    let [first, second] = &segments(&disk)[..] else { panic!("two segments") };
    // It begins at the mark between the groups.
    let marked = base_of(second);
    assert!(whole.ranges[2].1 <= marked && marked < whole.ranges[3].0);
    assert_eq!(report.rewritten_bytes, [0, end.0 - marked.0, 0]);
    let len = |path: &Path| disk.files().iter().find(|(of, _)| of == path).unwrap().1.len();
    assert_eq!(len(first), offset(first, marked), "and the old one ends there");
    assert_eq!(read_all(&journal.tail(), Lane::Bulk).numbers, whole.numbers);
    let files: usize = disk.files().iter().map(|(_, content)| content.len()).sum();
    assert_eq!(journal.usage_bytes(), u64::try_from(files).unwrap());
}

#[test]
fn torn_bytes_are_cut_off_and_no_longer_counted() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..4);
    let path = &segments(&disk)[0];
    disk.edit(path, |content| content.extend_from_slice(&[7; 99]));
    let (journal, report, _) = open(&disk, 2);
    assert_eq!((report.torn_bytes, report.rewritten_bytes), ([0, 99, 0], [0; 3]));
    let files: usize = disk.files().iter().map(|(_, content)| content.len()).sum();
    assert_eq!(journal.usage_bytes(), u64::try_from(files).unwrap());
}

#[test]
fn an_idle_start_leaves_the_segments_as_they_are() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..4);
    for life in 2..5 {
        let report = open(&disk, life).1;
        assert_eq!((report.torn_bytes, report.rewritten_bytes), ([0; 3], [0; 3]), "life {life}");
    }
}

#[test]
fn what_a_life_began_and_did_not_finish_is_taken_away() {
    let disk = Faulty::default();
    let paths = ["journal/epochs.new", "journal/bulk/00000000000000000000.new"];
    for path in paths {
        shared(&disk).open(Path::new(path), true).unwrap();
    }
    open(&disk, 1);
    let files = disk.files();
    assert!(paths.iter().all(|path| files.iter().all(|(of, _)| of.as_path() != Path::new(path))));
}

#[test]
fn a_journal_has_segments_once_anything_was_committed() {
    let disk = Faulty::default();
    let has = || has_segments(&disk, Path::new("journal")).unwrap();
    assert!(!has());
    let (mut journal, ..) = open(&disk, 1);
    assert!(!has());
    commit_numbers(&mut journal, Lane::Latest, 1..2);
    assert!(has());
}
