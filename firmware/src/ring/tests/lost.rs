//! What is gone and not acknowledged: from where on it counts, and why it is gone.

use protocol::{Counts, Seq};

use super::store::{ADDS, Store};
use crate::ring::{Cause, Gone, Lost};

/// Three of [`LEN`] to a sector, and two sectors retained.
type Small = Store<4, 512>;

const LEN: usize = 96;

fn filled(frames: u32) -> Small {
    let mut store = Small::new(3, 1);
    for _ in 0..frames {
        store.put(LEN);
    }
    store
}

fn adds(frames: u64) -> Counts {
    Counts { samples: ADDS.samples * frames, events: ADDS.events * frames }
}

fn run(first: u64, cause: Cause) -> Lost {
    Lost { first: Seq(first), before: adds(first - 1), cause }
}

fn gone(first: u64, last: u64) -> Gone {
    Gone { first: Seq(first), last: Seq(last), through: adds(last) }
}

#[test]
fn a_run_begins_behind_what_was_acknowledged() {
    let mut store = filled(6);
    store.ring.release(Seq(2));
    store.put(LEN);
    assert_eq!(store.ring.first_retained(), Seq(4));
    assert_eq!(store.ring.lost(), Some(run(3, Cause::Dropped)));
}

#[test]
fn a_run_whose_first_header_is_destroyed_counts_from_the_frame_before() {
    let mut store = filled(6);
    store.ring.release(Seq(1));
    store.sector(0)[88 + 40 + LEN..][..32].fill(0);
    store.put(LEN);
    assert_eq!(store.ring.lost(), Some(run(2, Cause::Dropped)));
}

#[test]
fn a_run_is_over_once_its_last_frame_is_acknowledged() {
    let mut store = filled(7);
    store.ring.release(Seq(2));
    assert_eq!(store.ring.lost(), Some(run(1, Cause::Dropped)));
    store.ring.release(Seq(3));
    assert_eq!(store.ring.lost(), None);
}

#[test]
fn what_was_dropped_stays_lost_whatever_else_is_accounted_for() {
    let mut store = filled(7);
    store.ring.account_for(Some(run(5, Cause::Superseded)));
    assert_eq!(store.ring.lost(), Some(run(1, Cause::Dropped)));
}

#[test]
fn nothing_is_lost_of_an_account_whose_frames_are_all_there() {
    let mut store = filled(2);
    store.ring.account_for(Some(run(1, Cause::Superseded)));
    assert_eq!(store.ring.lost(), None);
}

#[test]
fn of_what_was_dropped_and_an_account_the_earlier_beginning_counts_and_is_told() {
    for (account, begins) in [(1, 1), (3, 2)] {
        let mut store = filled(6);
        store.ring.release(Seq(1));
        store.ring.account_for(Some(run(account, Cause::Superseded)));
        store.put(LEN);
        store.boot();
        assert_eq!(store.ring.lost(), Some(run(begins, Cause::Dropped)), "account from {account}");
        assert_eq!(store.ring.take_dropped(), Some(gone(begins, 3)), "account from {account}");
    }
}

#[test]
fn an_account_is_known_although_the_sector_that_it_begins_in_is_gone() {
    let mut store = filled(2);
    store.ring.account_for(Some(run(1, Cause::Superseded)));
    store.put(LEN);
    store.put(LEN);
    store.sector(0)[..88].fill(0);
    store.boot();
    assert_eq!(store.ring.first_retained(), Seq(4));
    assert_eq!(store.ring.lost(), Some(run(1, Cause::Superseded)));
    assert_eq!(store.ring.take_dropped(), None);
}

#[test]
fn only_what_is_retained_is_given_up() {
    let mut store = filled(7);
    for outside in [gone(2, 3), gone(7, 8)] {
        store.ring.give_up(&mut store.flash, &outside).unwrap();
        assert_eq!(store.ring.first_retained(), Seq(4), "{outside:?}");
    }
    store.ring.give_up(&mut store.flash, &gone(7, 7)).unwrap();
    assert_eq!(store.ring.first_retained(), Seq(8));
}

#[test]
fn what_was_given_up_is_retained_after_a_boot_while_its_sector_is_there() {
    let mut store = filled(3);
    store.ring.give_up(&mut store.flash, &gone(1, 1)).unwrap();
    store.put(LEN);
    store.boot();
    assert_eq!(store.ring.first_retained(), Seq(1));
    assert_eq!((store.ring.lost(), store.ring.take_dropped()), (None, None));
}

#[test]
fn a_sector_that_cannot_be_read_is_not_dropped_before_its_turn() {
    let mut store = filled(3);
    store.sector(0)[..88].fill(0);
    store.put(LEN);
    assert_eq!(store.ring.first_retained(), Seq(1));
    assert_eq!((store.ring.lost(), store.ring.take_dropped()), (None, None));
}
