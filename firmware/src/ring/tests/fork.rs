//! Forks: nothing of the old ring is lost untold, nothing is copied twice, wherever the power goes.

use std::collections::BTreeMap;

use protocol::{Counts, Lane, Seq};

use super::store::{ADDS, Content, Cut, Oracle, Store, meta, parse};
use crate::ring::layout::Commit;
use crate::ring::{OldFrame, Reserved, RingError, RingMeta};

/// An old ring of so many frames, and what of it has to arrive.
struct Case<const U: usize, const S: usize> {
    store: Store<U, S>,
    old: Oracle,
    old_first: Seq,
    /// What the old ring retained.
    owed: Counts,
    /// The latest ring asked for.
    format: u32,
    /// The ring that the store's oracle speaks of.
    begun: u32,
}

impl<const U: usize, const S: usize> Case<U, S> {
    fn new(sectors: u32, frames: u64, seed: u64) -> Self {
        let mut store = Store::<U, S>::new(sectors, seed);
        for round in 0..frames {
            let adds = Counts { samples: 3 + round, events: round % 3 };
            let len = usize::try_from(40 + round * 31 % 120).unwrap();
            store.push(len, adds, round).unwrap();
        }
        let old = store.oracle.clone();
        // Nobody acknowledged anything: what is gone has to be said, too.
        let owed = store.ring.before_next();
        let old_first = store.ring.first_retained();
        Self { store, old, old_first, owed, format: 1, begun: 1 }
    }

    fn begin(&mut self) -> Result<(), Cut> {
        self.format += 1;
        self.store.ring.begin_fork(&mut self.store.flash, meta(self.format))?;
        self.begun = self.format;
        self.store.oracle = Oracle::new();
        Ok(())
    }

    /// Copies all, with some new frames in between; what those add.
    fn copy_all(&mut self, pushes: &mut u64) -> Result<(), Cut> {
        while let Some(fork) = self.store.ring.fork() {
            self.store.copy_next()?;
            if fork.next.0.is_multiple_of(4) && *pushes > 0 {
                *pushes -= 1;
                self.store.push(50, Counts { samples: 1000, events: 0 }, 77)?;
            }
        }
        Ok(())
    }

    /// Boots; whether it is still the old ring.
    fn boot(&mut self) -> Result<bool, Cut> {
        let recovery = self.store.boot();
        if self.store.ring.meta() == meta(1) {
            assert_eq!(self.store.ring.next(), self.old.next().0);
            assert_eq!(self.store.ring.before_next(), self.old.next().1);
            return Ok(true);
        }
        assert_eq!(self.store.ring.meta(), meta(self.format));
        if self.begun != self.format {
            // The header that the power cut was whole.
            self.begun = self.format;
            self.store.oracle = Oracle::new();
        }
        self.store.settle(&recovery);
        self.store.check();
        self.store.recover(&recovery)?;
        Ok(false)
    }

    /// Forks with the power cut after so many operations, and again after so many more.
    fn run(&mut self, cut: Option<u32>, mut again: Option<u32>) -> BTreeMap<Seq, Content> {
        let mut pushes = 3;
        if let Some(operations) = cut {
            self.store.flash.cut_after(operations);
        }
        let mut outcome = self.begin().and_then(|()| self.copy_all(&mut pushes));
        while let Err(error) = outcome {
            assert!(matches!(error, RingError::Flash(_)), "{error}");
            self.store.flash.power_on();
            if let Some(operations) = again.take() {
                self.store.flash.cut_after(operations);
            }
            outcome = self.resume(&mut pushes);
        }
        self.store.flash.power_on();
        let recovery = self.store.reopen();
        self.store.recover(&recovery).unwrap();
        self.store.deliver()
    }

    fn resume(&mut self, pushes: &mut u64) -> Result<(), Cut> {
        if self.boot()? {
            self.begin()?;
        }
        self.copy_all(pushes)
    }

    /// Every old frame arrives once, or its counts are told as lost; returns how many are lost.
    fn judge(&mut self, delivered: &BTreeMap<Seq, Content>) -> usize {
        let mut copies = BTreeMap::new();
        let mut own = self.store.oracle.half_reserved;
        for (seq, assigned) in &self.store.oracle.assigned {
            match delivered.get(seq) {
                Some(Content::Copy { origin }) => {
                    let twice = copies.insert(*origin, *seq);
                    assert_eq!(twice, None, "{origin} arrived twice");
                    assert_eq!(assigned.adds, self.old.assigned[origin].adds);
                    assert_eq!(parse(&assigned.bytes).2, parse(&self.old.assigned[origin].bytes).2);
                }
                _ if assigned.bytes[0] == 0 => own += assigned.adds,
                _ => {}
            }
        }
        let data = |seq: &Seq| self.old.assigned[seq].bytes[0] == 0;
        let expected = self.old.assigned.range(self.old_first..).filter(|(seq, _)| data(seq));
        let missing = expected.filter(|(seq, _)| !copies.contains_key(seq)).count();
        // All that was owed is in the new ring's counts: delivered, or covered by a loss.
        assert_eq!(self.store.ring.before_next(), self.owed + own);
        missing
    }
}

fn torture<const U: usize, const S: usize>(sectors: u32, frames: u64, lossless: bool) {
    let mut whole = Case::<U, S>::new(sectors, frames, 1);
    let begun = whole.store.flash.operations;
    let delivered = whole.run(None, None);
    let missing = whole.judge(&delivered);
    assert_eq!(missing == 0, lossless, "{missing} frames had no room");
    for cut in 0..whole.store.flash.operations - begun {
        for again in [None, Some(0), Some(1), Some(2), Some(5)] {
            let seed = u64::from(cut) * 7 + u64::from(again.unwrap_or(9));
            let mut case = Case::<U, S>::new(sectors, frames, seed);
            let delivered = case.run(Some(cut), again);
            let missing = case.judge(&delivered);
            assert!(missing == 0 || !lossless, "cut {cut}, {again:?}: {missing} missing");
        }
    }
}

#[test]
fn a_fork_copies_everything_if_there_is_room() {
    torture::<1, 1024>(8, 12, true);
    torture::<4, 1024>(8, 16, true);
    torture::<8, 1024>(6, 8, true);
}

#[test]
fn a_fork_of_a_full_ring_tells_what_it_had_no_room_for() {
    torture::<1, 512>(3, 40, false);
    torture::<4, 512>(5, 60, false);
    torture::<8, 512>(8, 60, false);
}

#[test]
fn an_empty_ring_forks_at_once() {
    let mut case = Case::<4, 512>::new(3, 0, 1);
    case.begin().unwrap();
    assert_eq!(case.store.ring.fork(), None);
    assert_eq!(case.store.reopen().fork, None);
    case.store.push(40, Counts { samples: 1, events: 0 }, 1).unwrap();
}

#[test]
fn a_fork_loses_more_than_one_record_can_count() {
    let mut case = Case::<4, 512>::new(8, 0, 1);
    let most = u64::from(u32::MAX);
    for round in 0..5 {
        let adds = Counts { samples: most, events: round };
        case.store.push(100, adds, round).unwrap();
    }
    // The records of the first sector: three of five.
    case.store.flash.bytes_mut()[512 + 88..1024].fill(0xA5);
    case.begin().unwrap();
    let old = case.store.ring.fork().unwrap();
    assert_eq!((old.next, old.last), (Seq(1), Seq(5)));
    case.copy_all(&mut 0).unwrap();
    assert_eq!(case.store.ring.before_next(), Counts { samples: 5 * most, events: 10 });
    let recovery = case.store.reopen();
    assert_eq!((recovery.torn, recovery.fork), (None, None));
    case.store.deliver();
}

#[test]
fn a_fork_waits_for_the_one_before() {
    let mut case = Case::<4, 1024>::new(6, 8, 1);
    case.begin().unwrap();
    assert_eq!(case.begin(), Err(RingError::Order));
    case.copy_all(&mut 0).unwrap();
    case.begin().unwrap();
    let copied = case.store.ring.fork().unwrap();
    assert_eq!((copied.next, copied.last), (Seq(1), Seq(8)));
}

#[test]
fn a_fork_stays_in_its_lane() {
    let mut store = Store::<4, 512>::new(3, 1);
    let other = RingMeta { lane: Lane::Critical, ..meta(2) };
    store.ring.begin_fork(&mut store.flash, other).unwrap();
    assert_eq!(store.ring.lane(), Lane::Bulk);
}

#[test]
fn only_the_next_old_frame_is_left_out_and_only_if_it_adds_nothing() {
    let mut store = of_two();
    let old = store.ring.read_old(&mut store.flash, &mut [0; 512]).unwrap().unwrap();
    let fork = store.ring.fork();
    store.ring.skip_old(&old);
    assert_eq!(store.ring.fork(), fork, "it adds something");
    let nothing = OldFrame { adds: Counts::ZERO, ..old };
    store.ring.skip_old(&OldFrame { seq: old.seq.next(), ..nothing });
    assert_eq!(store.ring.fork(), fork, "another one is the next");
    store.ring.skip_old(&nothing);
    assert_eq!(store.ring.fork().map(|fork| fork.next), Some(old.seq.next()));
}

#[test]
fn a_copy_whose_commit_only_looks_whole_is_made_again() {
    let mut store = of_two();
    drop(begin_copy(&mut store));
    // Of a body that was never written, and a bit of it flipped.
    let mut commit = Commit { len: 96, checksum: 0x1234_5678 }.encode(Seq(1));
    commit[0] ^= 1;
    store.sector(1)[152 + 32..][..8].copy_from_slice(&commit);
    store.put(96);
    store.boot();
    assert_eq!(store.ring.fork().map(|fork| fork.next), Some(Seq(1)));
}

#[test]
fn what_is_gone_behind_a_copy_counts_from_it_only_if_it_was_finished() {
    for (is_finished, before) in [(false, Counts::ZERO), (true, ADDS)] {
        let mut store = of_two();
        let copy = begin_copy(&mut store);
        if is_finished {
            store.ring.write(&mut store.flash, copy, &[7; 96]).unwrap();
        }
        store.put(96);
        store.ring.release(Seq(1));
        store.sector(1)[152 + 40 + 96..][..32].fill(0);
        // Three to a sector.
        for _ in 0..4 {
            store.put(96);
        }
        let lost = store.ring.lost().unwrap();
        assert_eq!((lost.first, lost.before), (Seq(2), before), "finished: {is_finished}");
    }
}

/// Two frames in the first of three sectors, and a fork begun in the second.
fn of_two() -> Store<4, 512> {
    let mut store = Store::new(3, 1);
    store.put(96);
    store.put(96);
    store.ring.begin_fork(&mut store.flash, meta(2)).unwrap();
    store
}

/// Reserves a number for the old ring's next frame, and no more.
fn begin_copy(store: &mut Store<4, 512>) -> Reserved {
    let old = store.ring.read_old(&mut store.flash, &mut [0; 512]).unwrap().unwrap();
    assert_eq!(old.adds, ADDS);
    store.ring.reserve_copy(&mut store.flash, &old, 96).unwrap()
}
