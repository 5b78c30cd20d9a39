//! Which frames the journal holds under a number, for those that were sealed anew.

use protocol::frame::{Kind, Origin, tag_of};
use protocol::{FrameTag, Lane, Seq};

use super::super::origins::{Origins, RINGS_MAX, TAGS_MAX};
use super::world::{Ring, World, samples};
use crate::journal::Position;

/// What a frame of this number holds; `more` makes it another one.
fn payload(seq: u64, more: u64) -> Vec<u8> {
    [seq << 8 | more, 0].iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn tag(seq: u64, more: u64) -> FrameTag {
    tag_of(&payload(seq, more))
}

struct Asked {
    world: World,
    origins: Origins,
}

impl Asked {
    fn new() -> Self {
        Self { world: World::new(), origins: Origins::default() }
    }

    fn append(&mut self, ring: &mut Ring, frames: u64) {
        for _ in 0..frames {
            let payload = payload(ring.next, 0);
            self.world.append(ring, samples(1), &payload);
        }
        self.world.commit();
    }

    fn end(&self) -> Position {
        self.world.journal.ends().positions.get(Lane::Bulk)
    }

    fn is_held_before(&mut self, until: Position, ring: &Ring, seq: u64, tag: FrameTag) -> bool {
        let origin = Origin { ring: ring.id, tag, seq: Seq(seq), kind: Kind::Samples };
        let tail = self.world.journal.tail();
        self.origins.is_held(&tail, Lane::Bulk, until, &origin).unwrap()
    }

    fn is_held(&mut self, ring: &Ring, seq: u64) -> bool {
        self.is_held_before(self.end(), ring, seq, tag(seq, 0))
    }

    /// Whether the journal had to be read to tell.
    fn reads(&mut self, ring: &Ring, seq: u64) -> bool {
        let before = self.world.journal_disk.calls();
        assert!(self.is_held(ring, seq));
        self.world.journal_disk.calls() > before
    }
}

#[test]
fn a_frame_is_held_under_its_ring_number_and_tag_alone() {
    let mut asked = Asked::new();
    let (mut ring, mut other) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    asked.append(&mut ring, 4);
    asked.append(&mut other, 1);
    for seq in [2, 4, 1] {
        assert!(asked.is_held(&ring, seq), "{seq}");
        let end = asked.end();
        assert!(!asked.is_held_before(end, &ring, seq, tag(seq, 1)), "{seq}");
    }
    assert!(!asked.is_held(&ring, 5) && !asked.is_held(&other, 2));
}

#[test]
fn what_came_later_is_not_held_yet() {
    let mut asked = Asked::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    asked.append(&mut ring, 2);
    let until = asked.end();
    asked.append(&mut ring, 1);
    assert!(asked.is_held_before(until, &ring, 2, tag(2, 0)));
    assert!(!asked.is_held_before(until, &ring, 3, tag(3, 0)));
}

#[test]
fn the_agents_word_for_a_gap_is_no_frame() {
    let mut asked = Asked::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    asked.append(&mut ring, 1);
    asked.world.gap(&mut ring, 1, samples(7));
    asked.append(&mut ring, 1);
    let mut reader = asked.world.journal.tail().reader(Lane::Bulk, Position::ZERO);
    let mut said = FrameTag::default();
    while let Some(crate::journal::Item::Entry { entry, .. }) = reader.next().unwrap() {
        said = if entry.seq == Seq(2) { tag_of(entry.payload) } else { said };
    }
    let end = asked.end();
    assert!(!asked.is_held_before(end, &ring, 2, said));
    assert!(asked.is_held(&ring, 3));
}

#[test]
fn of_frames_under_one_number_the_first_counts() {
    let mut asked = Asked::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    for more in 0..3 {
        ring.next = 1;
        asked.world.append(&mut ring, samples(1), &payload(1, more));
    }
    asked.world.commit();
    let end = asked.end();
    let held = [0, 1, 2].map(|more| asked.is_held_before(end, &ring, 1, tag(1, more)));
    assert_eq!(held, [true, false, false]);
}

#[test]
fn a_ring_of_more_frames_than_are_remembered_is_read_on() {
    let mut asked = Asked::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    let most = u64::try_from(TAGS_MAX).unwrap();
    asked.append(&mut ring, most + 2);
    assert!(asked.reads(&ring, 1));
    assert!(!asked.reads(&ring, most));
    assert!(asked.reads(&ring, most + 1));
    assert!(!asked.reads(&ring, most + 2));
}

#[test]
fn the_rings_of_a_fork_are_each_read_once() {
    let mut asked = Asked::new();
    let number = |at: usize| u8::try_from(at).unwrap();
    let mut rings: Vec<Ring> =
        (0..=RINGS_MAX).map(|at| Ring::new(number(at), Lane::Bulk)).collect();
    for ring in &mut rings {
        asked.append(ring, 2);
    }
    let (most, one_more) = rings.split_at(RINGS_MAX);
    for seq in [1, 2] {
        for ring in most {
            assert_eq!(asked.reads(ring, seq), seq == 1);
        }
    }
    // The one that was read longest ago makes room.
    assert!(asked.reads(&one_more[0], 1));
    assert!(!asked.reads(&most[1], 1));
    assert!(asked.reads(&most[0], 1));
}
