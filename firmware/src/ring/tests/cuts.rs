//! The power goes at every write and every erase, once and then once more in what follows.

use protocol::{Counts, Seq};

use super::store::{Cut, Store};
use crate::ring::RingError;

/// A device's day, the same for the same seed: appends of all sizes, acknowledgements, clean boots.
struct Script {
    random: u64,
    steps: u32,
    full: bool,
}

impl Script {
    fn new(seed: u64, steps: u32, full: bool) -> Self {
        Self { random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, steps, full }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 8) % below
    }

    /// One step less to do.
    fn step<const U: usize, const S: usize>(&mut self, store: &mut Store<U, S>) -> Result<(), Cut> {
        self.steps -= 1;
        match self.random(12) {
            0 if !self.full => {
                let through = Seq(store.ring.next().0.saturating_sub(self.random(8)));
                store.ring.release(through);
                store.oracle.released = store.oracle.released.max(store.ring.released());
            }
            1 => {
                let recovery = store.reopen();
                store.recover(&recovery)?;
            }
            _ => {
                let len = self.random(store.ring.frame_len_max() as u64 + 1);
                let len = if self.random(2) == 0 { len / 5 } else { len };
                let adds = Counts { samples: self.random(50), events: self.random(3) };
                let seed = self.random(u64::MAX);
                store.push(usize::try_from(len).unwrap(), adds, seed)?;
            }
        }
        Ok(())
    }
}

/// Runs the script; after a cut, boots, with the power cut again after `again` more operations.
fn run<const U: usize, const S: usize>(
    store: &mut Store<U, S>,
    script: &mut Script,
    mut again: Option<u32>,
) {
    while script.steps > 0 {
        let mut outcome = script.step(store);
        while let Err(error) = outcome {
            assert!(matches!(error, RingError::Flash(_)), "{error}");
            assert!(!store.flash.is_powered());
            let recovery = store.reopen();
            if let Some(operations) = again.take() {
                store.flash.cut_after(operations);
            }
            outcome = store.recover(&recovery);
        }
    }
    store.flash.power_on();
    let recovery = store.reopen();
    store.recover(&recovery).unwrap();
    store.check();
    store.deliver();
}

fn torture<const U: usize, const S: usize>(sectors: u32, steps: u32, full: bool) {
    for seed in 0..3 {
        let mut whole = Store::<U, S>::new(sectors, seed);
        run(&mut whole, &mut Script::new(seed, steps, full), None);
        for cut in 0..whole.flash.operations {
            for again in [None, Some(0), Some(1), Some(2), Some(3), Some(6)] {
                let mut store = Store::<U, S>::new(sectors, seed * 1_000_000 + u64::from(cut));
                store.flash.cut_after(cut);
                run(&mut store, &mut Script::new(seed, steps, full), again);
            }
        }
    }
}

#[test]
fn i3_appends_survive_a_cut_anywhere() {
    torture::<1, 2048>(4, 12, false);
    torture::<4, 2048>(4, 12, false);
    torture::<8, 2048>(4, 12, false);
}

#[test]
fn i3_going_round_survives_a_cut_anywhere() {
    torture::<1, 512>(3, 40, false);
    torture::<4, 512>(4, 40, false);
    torture::<8, 512>(5, 40, false);
}

#[test]
fn i3_drops_of_a_full_ring_are_told_in_spite_of_a_cut_anywhere() {
    torture::<1, 1024>(3, 40, true);
    torture::<4, 512>(3, 40, true);
    torture::<8, 512>(4, 40, true);
}

#[test]
fn a_cut_at_every_byte_of_every_write() {
    // Many ways to tear the same few operations.
    for seed in 0..3000 {
        let mut store = Store::<1, 512>::new(3, seed);
        store.flash.cut_after(u32::try_from(seed % 23).unwrap());
        run(
            &mut store,
            &mut Script::new(seed / 23, 12, true),
            Some(u32::try_from(seed % 5).unwrap()),
        );
    }
}

#[test]
fn a_flash_that_fails_and_comes_back_burns_no_more_than_the_number_under_way() {
    for seed in 0..400 {
        let mut store = Store::<4, 512>::new(4, seed);
        store.flash.cut_after(u32::try_from(seed % 57).unwrap());
        for round in 0..25 {
            let adds = Counts { samples: 10 + round, events: 0 };
            let Err(error) = store.push(100, adds, round) else { continue };
            assert!(matches!(error, RingError::Flash(_)), "{error}");
            store.flash.power_on();
            // No boot in between.
            store.oracle.forget_reservation();
            let (next, before) = store.oracle.next();
            assert!(store.ring.next() == next || store.ring.next() == next.next());
            assert_eq!(store.ring.before_next(), before);
            store.oracle.through.insert(store.ring.next().prev(), before);
            if let Some(burnt) = store.ring.burnt() {
                store.tell(burnt).unwrap();
            }
        }
        store.check();
        let recovery = store.reopen();
        store.recover(&recovery).unwrap();
        store.deliver();
    }
}
