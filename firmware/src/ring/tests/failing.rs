//! A flash that says that it failed, and did what it was asked to.

use protocol::{Counts, Lane, Seq};

use super::store::{Store, meta};
use crate::ring::flash_model::Left;
use crate::ring::{Opened, Ring};

const ADDS: Counts = Counts { samples: 7, events: 1 };

fn filled() -> Store<4, 512> {
    let mut store = Store::new(4, 5);
    for round in 0..6 {
        store.push(60, ADDS, round).unwrap();
    }
    store
}

fn reopened(store: &mut Store<4, 512>) -> Ring {
    match Ring::open(&mut store.flash, store.region, Lane::Bulk).unwrap() {
        Opened::Existing(ring, _) => ring,
        Opened::Blank => panic!("a ring"),
    }
}

#[test]
fn what_a_boot_would_find_is_written_whatever_the_flash_says() {
    let mut store = filled();
    // The last unit of a header of eight, and of a commit of two behind a body of sixteen.
    store.flash.fail_at(7, Left::Complete);
    let reserved = store.ring.reserve(&mut store.flash, 60, ADDS).unwrap();
    store.flash.fail_at(17, Left::Complete);
    assert_eq!(store.ring.write(&mut store.flash, reserved, &[9; 60]).unwrap(), Seq(7));
    let mut ring = reopened(&mut store);
    assert_eq!((ring.next(), ring.before_next()), (Seq(8), store.ring.before_next()));
    assert_eq!(ring.read(&mut store.flash, Seq(7), &mut [0; 60]).unwrap().adds, ADDS);
}

#[test]
fn a_fork_that_a_boot_would_find_has_begun() {
    let mut store = filled();
    // The erase, and the last unit of a header of 152 bytes.
    store.flash.fail_at(38, Left::Complete);
    store.ring.begin_fork(&mut store.flash, meta(2)).unwrap();
    let ring = reopened(&mut store);
    assert_eq!((ring.meta(), ring.fork()), (meta(2), store.ring.fork()));
}

#[test]
fn what_a_boot_would_not_find_is_refused_and_never_comes_back() {
    for left in [Left::Untouched, Left::Torn(3), Left::Garbage(3)] {
        let mut store = filled();
        let reserved = store.ring.reserve(&mut store.flash, 60, ADDS).unwrap();
        store.flash.fail_at(17, left);
        let refused = store.ring.write(&mut store.flash, reserved, &[9; 60]);
        assert!(refused.is_err(), "{left:?}");
        let burnt = store.ring.burnt();
        assert_eq!(burnt.map(|gone| (gone.first, gone.last)), Some((Seq(7), Seq(7))), "{left:?}");
        let mut ring = reopened(&mut store);
        assert_eq!(ring.burnt(), burnt, "{left:?}");
        assert!(ring.read(&mut store.flash, Seq(7), &mut [0; 60]).is_err(), "{left:?}");
    }
}
