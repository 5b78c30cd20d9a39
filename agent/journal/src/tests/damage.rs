//! Bytes that decay, files that vanish, tails that are torn.

use super::*;

/// A small journal: two lives, three lanes, several segments. Nothing is open.
fn small() -> Faulty {
    let disk = Faulty::default();
    for life in 0..2 {
        let (mut journal, ..) = open(&disk, life);
        let from = 1 + life * 6;
        commit_numbers(&mut journal, Lane::Bulk, from..from + 6);
        commit_numbers(&mut journal, Lane::Critical, from..from + 2);
    }
    disk
}

/// Lane and offset in the log of a byte of a segment's file; none in its header.
fn place(path: &Path, offset: usize) -> Option<(Lane, Position)> {
    let lane = Lane::ALL.into_iter().find(|lane| path.starts_with(format!("journal/{lane}")))?;
    let base: u64 = path.file_stem()?.to_str()?.parse().ok()?;
    let offset = u64::try_from(offset).ok()?.checked_sub(segment::HEADER_LEN)?;
    Some((lane, Position(base + offset)))
}

/// Whether the position is this segment's, or beyond its end: the next one's.
fn is_in(path: &Path, at: Position, disk: &Faulty) -> bool {
    let own: Vec<PathBuf> =
        segments(disk).into_iter().filter(|other| other.parent() == path.parent()).collect();
    let next = own.iter().find(|other| other.as_path() > path);
    next.and_then(|next| place(next, 1024)).is_none_or(|(_, base)| at < base)
}

fn check_flip(disk: &Faulty, path: &Path, byte: usize, whole: &PerLane<Read>) {
    let (journal, report, replayed) = open(disk, 9);
    let tail = journal.tail();
    for lane in Lane::ALL {
        let whole = whole.get(lane);
        let counts = |(of, at): &(Lane, Position)| *of == lane && is_in(path, *at, disk);
        let touched = place(path, byte).filter(counts).and_then(|(_, at)| {
            let holds = |(from, to): &(Position, Position)| (*from..*to).contains(&at);
            whole.ranges.iter().position(holds)
        });
        let mut left = whole.numbers.clone();
        let lost = touched.map(|index| left.remove(index));
        let read = read_all(&tail, lane);
        assert_eq!(read.numbers, left, "{} byte {byte}", path.display());
        assert_eq!(*replayed.get(lane), left);
        assert_eq!(read.lost, total(lost));
        assert_eq!(read.totals, whole.totals);
        let reported = report.damages.iter().filter(|(of, _)| *of == lane);
        assert!(reported.map(|(_, damage)| damage).eq(&read.damages));
    }
}

#[test]
fn any_flipped_bit_costs_the_entry_it_touches_and_no_other() {
    let disk = small();
    let (whole, ..) = open(&disk.copy(), 9);
    let whole = PerLane::new(|lane| read_all(&whole.tail(), lane));
    assert_eq!(whole.get(Lane::Bulk).numbers, (1..13).collect::<Vec<_>>());
    for (path, content) in disk.files() {
        // The rest of the table is zero, and as long as it is nobody looks at it.
        for byte in 0..content.len().min(4000) {
            for bit in 0..8 {
                let disk = disk.copy();
                disk.edit(&path, |content| content[byte] ^= 1 << bit);
                check_flip(&disk, &path, byte, &whole);
            }
        }
    }
}

#[test]
fn flipped_length_does_not_lose_the_rest() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..6);
    let whole = read_all(&journal.tail(), Lane::Bulk);
    let path = &segments(&disk)[0];
    let at = usize::try_from(segment::HEADER_LEN + whole.ranges[1].0.0).unwrap() + 4;
    for len in [0, 1, 9, 12, 4000, 1 << 20, u32::MAX] {
        disk.edit(path, |content| content[at..at + 4].copy_from_slice(&u32::to_le_bytes(len)));
        // While it is open, too.
        let read = read_all(&journal.tail(), Lane::Bulk);
        assert_eq!(read.numbers, [1, 3, 4, 5]);
        let damage =
            Damage { from: whole.ranges[1].0, to: whole.ranges[1].1, totals: total([1, 2]) };
        assert_eq!(read.damages, [damage]);
    }
}

#[test]
fn torn_tail_is_cut_off_durably() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..7);
    let whole = read_all(&journal.tail(), Lane::Bulk);
    let path = segments(&disk)[0].clone();
    let len = disk.files().iter().find(|(of, _)| *of == path).unwrap().1.len();
    for cut in usize::try_from(segment::HEADER_LEN).unwrap()..len {
        let disk = disk.copy();
        disk.edit(&path, |content| content.truncate(cut));
        let (journal, report, replayed) = open(&disk, 2);
        let (_, end) = place(&path, cut).unwrap();
        let kept = whole.ranges.iter().filter(|(_, to)| *to <= end).count();
        assert_eq!(*replayed.get(Lane::Bulk), whole.numbers[..kept], "cut at {cut}");
        assert_eq!(report.damage_count, 0);
        let end = journal.ends();
        disk.power_cycle(Leaves::Nothing);
        let (journal, report, again) = open(&disk, 3);
        assert_eq!((again, journal.ends()), (replayed, end));
        assert_eq!(report.torn_bytes, [0; 3], "cut at {cut}");
        assert_eq!(report.rewritten_bytes, [0; 3], "cut at {cut}");
    }
}

#[test]
fn damage_before_a_mark_does_not_cost_what_follows_without_one() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..7);
    let whole = read_all(&journal.tail(), Lane::Bulk);
    let offset = |at| usize::try_from(segment::offset_of(Position::ZERO, at)).unwrap();
    disk.edit(&segments(&disk)[0], |content| {
        content.truncate(offset(whole.ranges[5].1));
        content[offset(whole.ranges[1].0)] ^= 1;
    });
    assert_eq!(open(&disk, 2).2.get(Lane::Bulk), &[1, 3, 4, 5, 6]);
}

/// A journal of one lane in several segments of one life, and where they begin.
fn long() -> (Faulty, Vec<PathBuf>, Read) {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    commit_numbers(&mut journal, Lane::Bulk, 1..60);
    let read = read_all(&journal.tail(), Lane::Bulk);
    let paths = segments(&disk);
    assert!(paths.len() > 3);
    (disk, paths, read)
}

#[test]
fn missing_segment_is_told_with_what_it_held() {
    let (disk, paths, whole) = long();
    let begin = |index: usize| place(&paths[index], 1024).unwrap().1;
    for (missing, path) in paths.iter().enumerate().take(paths.len() - 1) {
        let disk = disk.copy();
        disk.lose(path);
        let (journal, report, replayed) = open(&disk, 2);
        let range = begin(missing)..begin(missing + 1);
        let is_left = |index: &usize| !range.contains(&whole.ranges[*index].0);
        let left: Vec<u64> =
            (0..whole.numbers.len()).filter(is_left).map(|index| whole.numbers[index]).collect();
        assert_eq!(*replayed.get(Lane::Bulk), left);
        let read = read_all(&journal.tail(), Lane::Bulk);
        assert_eq!(read.numbers, left);
        assert_eq!(read.totals, whole.totals);
        let [damage] = read.damages[..] else { panic!("one damage: {:?}", read.damages) };
        assert_eq!(damage.to, range.end);
        assert_eq!(report.damages, [(Lane::Bulk, damage)]);
        let gone = whole.numbers.iter().filter(|number| !left.contains(number));
        assert_eq!(read.lost, total(gone.copied()));
    }
}

#[test]
fn segments_missing_at_the_end_of_an_earlier_life_are_noticed() {
    let (disk, paths, whole) = long();
    // The next life's beginning says how far this one got.
    let ends = open(&disk, 2).0.ends();
    for lost in [&paths[paths.len() - 1..], &paths[..]] {
        let disk = disk.copy();
        for path in lost {
            disk.lose(path);
        }
        let (mut journal, report, replayed) = open(&disk, 3);
        assert_eq!(journal.ends(), ends, "no position is used twice");
        let [(Lane::Bulk, damage)] = report.damages[..] else { panic!("{report:?}") };
        assert_eq!(damage.totals, whole.totals);
        append(&mut journal, Lane::Bulk, 60).unwrap();
        journal.commit().unwrap();
        let read = read_all(&journal.tail(), Lane::Bulk);
        assert_eq!(read.numbers, [replayed.get(Lane::Bulk).as_slice(), &[60]].concat());
    }
}

#[test]
fn segment_that_vanishes_under_a_reader_is_damage() {
    let (disk, paths, whole) = long();
    let (journal, ..) = open(&disk, 2);
    disk.lose(&paths[1]);
    let read = read_all(&journal.tail(), Lane::Bulk);
    assert_eq!(read.damages.len(), 1);
    assert_eq!(read.totals, whole.totals);
}

#[test]
fn block_that_cannot_be_read_is_passed_over_on_request_only() {
    let (disk, ..) = long();
    let (journal, ..) = open(&disk, 2);
    let mut reader = journal.tail().reader(Lane::Bulk, Position::ZERO);
    // Opening it, reading it, reading it again.
    for nth in [1, 2, 1] {
        disk.fail(nth, Fault::Io);
        let error = reader.next().unwrap_err();
        assert_eq!((error.lane, error.at), (Lane::Bulk, Position::ZERO));
    }
    reader.pass_unreadable();
    disk.fail(1, Fault::Io);
    let Ok(Some(Item::Damage(damage))) = reader.next() else { panic!("damage") };
    assert_eq!(damage.from, Position::ZERO);
    let Ok(Some(Item::Entry { entry, totals, .. })) = reader.next() else { panic!("an entry") };
    assert_eq!(totals, damage.totals + entry.adds);
}

#[test]
fn record_in_a_payload_is_never_taken_for_one() {
    let disk = Faulty::default();
    let (mut journal, ..) = open(&disk, 1);
    append(&mut journal, Lane::Bulk, 1).unwrap();
    journal.commit().unwrap();
    let (path, content) =
        disk.files().into_iter().find(|(path, _)| segments(&disk).contains(path)).unwrap();
    // A device sends what it has seen in a journal, many times over.
    let header = usize::try_from(segment::HEADER_LEN).unwrap();
    let planted = content[header..].repeat(10);
    let carrier = Entry { payload: &planted, ..entry(2, &[]) };
    journal.append(Lane::Bulk, &carrier).unwrap();
    journal.commit().unwrap();
    append(&mut journal, Lane::Bulk, 3).unwrap();
    journal.commit().unwrap();
    let at = content.len();
    disk.edit(&path, |content| content[at + 5] ^= 1);
    assert_eq!(read(&journal.tail(), Lane::Bulk, Point::default()).numbers, [1, 3]);
    assert_eq!(open(&disk, 2).2.get(Lane::Bulk), &[1, 3]);
}

#[test]
fn journal_of_which_nothing_tells_the_id_is_left_alone() {
    let disk = small();
    for (path, _) in disk.files() {
        disk.edit(&path, |content| content.truncate(700));
        disk.edit(&path, |content| content[..600].fill(0));
    }
    let before = disk.files();
    assert!(matches!(try_open(&disk, 9), Err(JournalError::Unrecognisable { .. })));
    assert_eq!(disk.files(), before);
    assert!(matches!(
        verify(&shared(&disk), Path::new("journal")),
        Err(JournalError::Unrecognisable { .. })
    ));
}

#[test]
fn newer_format_is_left_alone() {
    let disk = small();
    let path = &segments(&disk)[0];
    disk.edit(path, |content| {
        content[8] = 2;
        let checksum = crc32c::crc32c(&content[..64]).to_le_bytes();
        content[64..68].copy_from_slice(&checksum);
    });
    let before = disk.files();
    assert!(matches!(try_open(&disk, 9), Err(JournalError::Version { found: 2, known: 1, .. })));
    assert_eq!(disk.files(), before);
}

#[test]
fn newer_format_of_another_shape_is_no_torn_tail() {
    let disk = small();
    let last = segments(&disk).pop().unwrap();
    // Only the magic and the version are where we look for them.
    disk.edit(&last, |content| {
        content[10..].fill(0x5a);
        content[8..10].copy_from_slice(&2_u16.to_le_bytes());
    });
    let before = disk.files();
    let error = try_open(&disk, 9).unwrap_err();
    assert!(matches!(error, JournalError::Version { found: 2, known: 1, .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains(".seg has format 2, and this milepost"), "{said}");
    assert_eq!(disk.files(), before);
}

#[test]
fn verify_tells_and_changes_nothing() {
    assert_eq!(verify(&shared(&Faulty::default()), Path::new("journal")).unwrap(), None);
    let (disk, paths, whole) = long();
    disk.lose(&paths[1]);
    disk.edit(&paths[paths.len() - 1], |content| content.extend_from_slice(&[7; 99]));
    let before = disk.files();
    let report = verify(&shared(&disk), Path::new("journal")).unwrap().unwrap();
    assert_eq!(disk.files(), before);
    assert_eq!((report.journal, report.epoch), ([7; 16], Epoch { number: 1, nonce: 1 }));
    assert!(report.flaws.is_empty() && !report.is_whole());
    let lane = PerLane(report.lanes).get(Lane::Bulk).clone();
    assert_eq!((lane.segments, lane.damage_count, lane.torn_bytes), (paths.len() - 1, 1, 99));
    assert_eq!(lane.end.totals, whole.totals);
    assert!(lane.entries > 0 && lane.entries < 59);
}

#[test]
fn verify_tells_of_bits_that_nobody_relies_on() {
    let (disk, paths, _) = long();
    let look = || verify(&shared(&disk), Path::new("journal")).unwrap().unwrap();
    assert!(look().is_whole());
    let table = Path::new("journal/epochs");
    let (_, segment) = disk.files().into_iter().find(|(path, _)| *path == paths[0]).unwrap();
    // A copy of the header, padding of one, the mark behind the end, a slot in use, its padding, an
    // empty slot, the end of the table.
    let places = [
        (paths[0].as_path(), 20),
        (&paths[0], 400),
        (&paths[0], 512 + 20),
        (&paths[0], segment.len() - 1),
        (table, 128 + 20),
        (table, 128 + 120),
        (table, 4000),
        (table, 2048 * 128 - 1),
    ];
    for (path, at) in places {
        disk.edit(path, |content| content[at] ^= 4);
        let report = look();
        let [flaw] = &report.flaws[..] else { panic!("{at}: {report:?}") };
        assert!(flaw.path == path && flaw.at <= u64::try_from(at).unwrap(), "{at}: {flaw:?}");
        assert!(report.lanes.iter().all(|lane| lane.damage_count == 0), "{at}");
        disk.edit(path, |content| content[at] ^= 4);
    }
    disk.edit(table, |content| content.truncate(2048 * 128 - 1));
    assert_eq!(look().flaws, [Flaw { path: table.to_owned(), at: 2048 * 128 - 1 }]);
}
