//! Frames that wait: how much fits, where each stands, and what becomes of their files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::frame::FRAME_LEN_MAX;
use protocol::{CatalogueId, Lane, RingId, Seq};

use super::super::ParkedBounds;
use super::super::aside::{Aside, erase};
use super::super::dead_letters::DeadLetters;
use super::super::parked::{Parked, ParkedFrame};
use super::log::logged;
use super::world::samples;
use crate::sink::LogEnd;
use crate::storage::SharedStorage;
use crate::storage::faulty::{Faulty, Leaves};

const DATA: &str = "/data";
const AMPLE: ParkedBounds = ParkedBounds { ring_bytes: u64::MAX, bytes: u64::MAX };
const ONE: RingId = RingId([1; 16]);
const TWO: RingId = RingId([2; 16]);
/// What stands before a frame's bytes counts as well.
const HEAD_LEN: u64 = 8;

fn frame_of(ring: RingId, seq: u64, len: usize) -> ParkedFrame {
    ParkedFrame {
        device: format!("cab-{}", ring.0[0]).parse().unwrap(),
        ring,
        lane: Lane::Bulk,
        seq: Seq(seq),
        received_ms: 1,
        adds: samples(seq),
        awaits: Some(CatalogueId(9)),
        payload: vec![0xee; len],
    }
}

fn frame(ring: RingId, seq: u64) -> ParkedFrame {
    frame_of(ring, seq, 100)
}

fn open(disk: &Faulty, end: LogEnd, bounds: ParkedBounds) -> Parked {
    let storage: SharedStorage = Arc::new(disk.clone());
    Parked::open(&storage, Path::new(DATA), "s", end, bounds).unwrap()
}

fn commit(parked: &mut Parked) -> LogEnd {
    let end = parked.flush().unwrap();
    parked.commit(end);
    end
}

fn first(parked: &Parked, ring: RingId) -> Option<ParkedFrame> {
    parked.first(&ring, |_| true).unwrap()
}

fn files(disk: &Faulty) -> Vec<PathBuf> {
    disk.files().into_iter().map(|(path, _)| path).collect()
}

#[test]
fn what_waits_is_known_by_its_ring_and_number() {
    let mut parked = open(&Faulty::default(), LogEnd::default(), AMPLE);
    assert_eq!((parked.frame_count(), parked.pending_bytes()), (0, 0));
    for frame in [frame(ONE, 1), frame(ONE, 3), frame(TWO, 2)] {
        assert!(parked.park(frame));
    }
    let held = |ring| [1, 2, 3].map(|seq| parked.holds_frame(&ring, Seq(seq)));
    assert_eq!((held(ONE), held(TWO)), ([true, false, true], [false, true, false]));
    assert_eq!(parked.frame_count(), 3);
    assert!(parked.pending_bytes() > 300, "it counts for the batch that parks it");
}

#[test]
fn a_ring_has_room_up_to_its_bound_also_after_a_start() {
    let disk = Faulty::default();
    let bounds = ParkedBounds { ring_bytes: 2 * (HEAD_LEN + 100), ..AMPLE };
    let mut parked = open(&disk, LogEnd::default(), bounds);
    let parks = |parked: &mut Parked, ring| {
        let seq = parked.rings().filter(|(of, _)| *of == ring).map(|(_, last)| last.0).sum::<u64>();
        parked.park(frame(ring, seq + 1))
    };
    assert_eq!([(); 3].map(|()| parks(&mut parked, ONE)), [true, true, false]);
    assert!(parks(&mut parked, TWO), "the bound is each ring's own");
    let end = commit(&mut parked);
    drop(parked);
    let mut parked = open(&disk, end, bounds);
    assert_eq!([(); 2].map(|()| parks(&mut parked, TWO)), [true, false]);
    assert!(!parks(&mut parked, ONE));
    parked.gone(&ONE);
    assert!(parks(&mut parked, ONE), "one that has gone on makes room");
}

#[test]
fn all_rings_together_have_room_up_to_what_the_disk_may_hold() {
    let disk = Faulty::default();
    let mut parked = open(&disk, LogEnd::default(), AMPLE);
    assert!(parked.park(frame(ONE, 1)));
    let end = commit(&mut parked);
    assert!(parked.park(frame(ONE, 2)));
    let pending = u64::try_from(parked.pending_bytes()).unwrap();
    drop(parked);
    for (short, fits) in [(0, true), (1, false)] {
        let bytes = end.len + pending + HEAD_LEN + 100 - short;
        let mut parked = open(&disk, end, ParkedBounds { bytes, ..AMPLE });
        assert!(parked.park(frame(ONE, 2)));
        assert_eq!(parked.park(frame(TWO, 1)), fits, "{short}");
    }
}

#[test]
fn each_frame_of_a_batch_is_found_where_it_stands() {
    let mut parked = open(&Faulty::default(), LogEnd::default(), AMPLE);
    // The second batch begins behind the first.
    for seq in 1..=2 {
        for ring in [ONE, TWO] {
            assert!(parked.park(frame_of(ring, seq, 100 * usize::from(ring.0[0]))));
        }
        commit(&mut parked);
    }
    for seq in 1..=2 {
        for ring in [ONE, TWO] {
            assert_eq!(first(&parked, ring).unwrap().seq, Seq(seq));
            assert_eq!(first(&parked, ring).unwrap().ring, ring);
            parked.gone(&ring);
        }
    }
}

#[test]
fn what_the_sink_holds_already_waits_no_longer() {
    let disk = Faulty::default();
    let mut parked = open(&disk, LogEnd::default(), AMPLE);
    for seq in 1..=3 {
        assert!(parked.park(frame(ONE, seq)) && parked.park(frame(TWO, seq)));
    }
    commit(&mut parked);
    parked.forget_through(&ONE, Seq(2));
    let end = commit(&mut parked);
    assert_eq!(end.file, 1, "there is room for more in it");
    drop(parked);
    let parked = open(&disk, end, AMPLE);
    assert_eq!(parked.counts(), samples(3 + 1 + 2 + 3));
    assert_eq!(first(&parked, ONE).unwrap().seq, Seq(3));
    assert_eq!(first(&parked, TWO).unwrap().seq, Seq(1));
}

#[test]
fn a_file_goes_once_nothing_in_it_waits() {
    let disk = Faulty::default();
    let mut parked = open(&disk, LogEnd::default(), AMPLE);
    assert!(parked.park(frame(ONE, 1)));
    commit(&mut parked);
    // More than the rest of a file takes.
    for seq in 1..=600 {
        assert!(parked.park(frame_of(TWO, seq, 8000)));
    }
    let end = commit(&mut parked);
    assert_eq!((end.file, files(&disk).len()), (2, 2));
    parked.gone(&ONE);
    // That it is gone stands in a third file.
    assert_eq!(commit(&mut parked).file, 3);
    let left = [2, 3].map(|file| PathBuf::from(format!("/data/parked/s-00000{file}.log")));
    assert_eq!(files(&disk), left);
    // Nothing to look for after a batch that parked nothing and let nothing go on.
    let calls = disk.calls();
    commit(&mut parked);
    assert_eq!(disk.calls(), calls);
    assert_eq!(first(&parked, TWO).unwrap().seq, Seq(1));
}

#[test]
fn only_damage_is_complained_of() {
    let disk = Faulty::default();
    let mut parked = open(&disk, LogEnd::default(), AMPLE);
    for seq in 1..=3 {
        assert!(parked.park(frame(ONE, seq)));
    }
    let end = commit(&mut parked);
    drop(parked);
    let frames = || open(&disk, end, AMPLE).frame_count();
    assert_eq!(logged(|| assert_eq!(frames(), 3)), [""; 0]);
    let [path] = &files(&disk)[..] else { panic!("one file") };
    disk.edit(path, |content| *content.last_mut().unwrap() ^= 1);
    let lines = logged(|| assert_eq!(frames(), 2));
    assert!(lines.len() == 1 && lines[0].contains("parked frames are damaged"), "{lines:?}");
}

#[test]
fn what_stands_behind_damage_is_read_wherever_that_is() {
    let disk = Faulty::default();
    let mut parked = open(&disk, LogEnd::default(), AMPLE);
    for seq in 1..=5 {
        assert!(parked.park(frame(ONE, seq)));
    }
    let end = commit(&mut parked);
    drop(parked);
    let [path] = &files(&disk)[..] else { panic!("one file") };
    let len = disk.files()[0].1.len();
    assert!(!open(&disk, end, AMPLE).is_damaged());
    for at in 0..len {
        let hurt = disk.copy();
        hurt.edit(path, |content| content[at] ^= 0x40);
        let parked = open(&hurt, end, AMPLE);
        assert_eq!((parked.frame_count(), parked.is_damaged()), (4, true), "{at} of {len}");
    }
    // Two notes, their lengths too.
    let hurt = disk.copy();
    hurt.edit(path, |content| content[len / 5 - 3..len / 5 + 9].fill(0xff));
    assert_eq!(open(&hurt, end, AMPLE).frame_count(), 3);
}

#[test]
fn more_damage_than_one_frame_is_long_hides_none_behind_it() {
    const FRAMES: usize = 200;
    let disk = Faulty::default();
    let mut parked = open(&disk, LogEnd::default(), AMPLE);
    for seq in 1..=FRAMES as u64 {
        assert!(parked.park(frame(ONE, seq)));
    }
    let end = commit(&mut parked);
    drop(parked);
    let [path] = &files(&disk)[..] else { panic!("one file") };
    let each = disk.files()[0].1.len() / FRAMES;
    let damaged = FRAME_LEN_MAX + 256 + 8 + each / 2;
    disk.edit(path, |content| content[..damaged].fill(0xff));
    assert_eq!(open(&disk, end, AMPLE).frame_count(), FRAMES - damaged.div_ceil(each));
}

#[test]
fn what_was_set_aside_of_a_device_is_gone_for_good_and_for_another_nothing_is_written() {
    let disk = Faulty::default();
    let storage: SharedStorage = Arc::new(disk.clone());
    let mut parked = open(&disk, LogEnd::default(), AMPLE);
    let mut letters =
        DeadLetters::open(&storage, Path::new(DATA), "s", LogEnd::default(), 1 << 20).unwrap();
    let frame = frame(ONE, 1);
    letters.add(Lane::Bulk, &frame.entry(), frame.adds, "because");
    let letters_end = letters.flush().unwrap();
    letters.commit(letters_end);
    let device = frame.device;
    assert!(parked.park(frame));
    commit(&mut parked);
    drop((parked, letters));
    let erase_of = |device| {
        let calls = disk.calls();
        let aside = erase(&storage, Path::new(DATA), "s", device).unwrap();
        (aside, disk.calls() - calls)
    };
    let (nothing, reads) = erase_of("another".parse().unwrap());
    assert_eq!(nothing, Aside::default());
    let (aside, calls) = erase_of(device);
    assert_eq!(aside, Aside { dead_letters: 1, parked: 1 });
    assert_eq!(calls, reads + 2 * 2, "each is written over once, and made durable");
    disk.power_cycle(Leaves::Nothing);
    for (path, content) in disk.files() {
        let names_it = content.windows(device.as_str().len()).any(|it| it == device.as_bytes());
        assert!(!names_it && !content.is_empty(), "{}", path.display());
    }
}
