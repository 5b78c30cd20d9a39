//! What is not a cut: bits that flip, alone and with a cut, and a flash that says that it failed.

use super::cuts::{Cut, Failure, Lasting, Place, Prover, failure, guarded, held};
use super::flash::{Step, cuts};
use super::history::{Action, Operation};
use super::truth::Violation;
use super::world::{Stop, World};
use crate::chance::Chance;

/// How many single bits an operation's state has flipped, and with how many of its cuts.
const ROTS: usize = 24;
const ROT_CUTS: usize = 96;
/// How many second cuts what follows a failure gets, about.
const CUTS_AFTER: usize = 2;
/// One in so many failures stays.
const LASTING: usize = 5;
/// How often a device asks a flash that fails.
const ATTEMPTS: u32 = 3;

impl Prover {
    /// Flips a bit before an operation, with a boot and without; and then with cuts in it.
    pub(super) fn rot_operation<const U: usize, const S: usize>(
        &mut self,
        before: &World<U, S>,
        (operation, steps): (&Operation, &[Step]),
        mut place: Place,
        chance: &mut Chance,
    ) -> Result<(), Failure> {
        let lane = operation.lane;
        for _ in 0..ROTS {
            let mut world = before.clone();
            place.rot = world.rot(chance);
            self.report.rots += u64::from(place.rot.is_some());
            let reboots = chance.one_in(2);
            held(place, || {
                if reboots {
                    world.boot()?;
                } else {
                    world.check()?;
                }
                world.go_on(lane)?;
                world.check()?;
                world.carry_on(lane)
            })?;
        }
        let traits = before.traits(lane);
        let firsts = cuts(steps, chance);
        let stride = firsts.len().div_ceil(ROT_CUTS).max(1);
        let from = chance.index(stride);
        for &first in firsts.iter().skip(from).step_by(stride) {
            place.first = Some(Cut::of(steps, first));
            (place.second, place.rot) = (None, None);
            let mut world = before.clone();
            world.bench.flash.model.cut_at(first.0, first.1);
            let outcome = guarded(|| world.apply(operation));
            if !self.cut(&outcome, &world, &traits, place)? {
                continue;
            }
            self.report.first_cuts += 1;
            world.bench.flash.power_on();
            place.rot = world.rot(chance);
            self.report.rot_cuts += u64::from(place.rot.is_some());
            let off = world.clone();
            world.bench.flash.watch();
            held(place, || world.recover(lane))?;
            let steps = world.bench.flash.steps();
            held(place, || world.carry_on(lane))?;
            let seconds = cuts(&steps, chance);
            let Some(second) = chance.pick(&seconds) else { continue };
            place.second = Some(Cut::of(&steps, second));
            let follow = |world: &mut World<U, S>| world.recover(lane);
            self.cut_again(&off, &traits, (lane, follow), second, place)?;
        }
        Ok(())
    }

    /// Lets every step of an operation fail, and cuts what follows.
    pub(super) fn fail_operation<const U: usize, const S: usize>(
        &mut self,
        before: &World<U, S>,
        (operation, steps): (&Operation, &[Step]),
        mut place: Place,
        chance: &mut Chance,
    ) -> Result<(), Failure> {
        let lane = operation.lane;
        let traits = before.traits(lane);
        for first in cuts(steps, chance) {
            place.first = Some(Cut::of(steps, first));
            place.second = None;
            let stays = chance.index(LASTING) == 0;
            place.failure = Some(if stays { Lasting::ForGood } else { Lasting::Once });
            let mut world = before.clone();
            world.bench.flash.fail_at(first.0, first.1, stays);
            self.report.failures += 1;
            match guarded(|| world.apply(operation)) {
                // What was written after all is written; or a planted fault left the step out.
                Ok(()) => {}
                Err(Stop::Failed) if stays => {
                    self.report.failures_lasting += 1;
                    held(place, || world.go_on_beside(operation))?;
                    continue;
                }
                Err(Stop::Failed) => held(place, || world.endure(operation.action))?,
                Err(Stop::Cut) => return Err(failure("the power went by itself".into(), place)),
                Err(Stop::Violation(Violation(found))) => return Err(failure(found, place)),
            }
            if stays {
                held(place, || world.go_on_beside(operation))?;
                continue;
            }
            world.bench.flash.model.power_on();
            let after = world.clone();
            world.bench.flash.watch();
            held(place, || {
                world.check()?;
                world.go_on(lane)
            })?;
            let steps = world.bench.flash.steps();
            held(place, || {
                world.check()?;
                world.carry_on(lane)
            })?;
            let seconds = cuts(&steps, chance);
            for _ in 0..CUTS_AFTER {
                let Some(second) = chance.pick(&seconds) else { break };
                place.second = Some(Cut::of(&steps, second));
                let follow = |world: &mut World<U, S>| world.go_on(lane);
                self.cut_again(&after, &traits, (lane, follow), second, place)?;
            }
        }
        Ok(())
    }
}

impl<const U: usize, const S: usize> World<U, S> {
    /// With a sector that takes nothing any more: what is stored stays, what is refused is said to
    /// be, and the other lanes go on.
    fn go_on_beside(&mut self, operation: &Operation) -> Result<(), Stop> {
        self.insist(operation.action)?;
        for _ in 0..ATTEMPTS {
            let outcome = self.go_on(operation.lane);
            self.tolerate(outcome)?;
        }
        if !self.is_started() {
            // It does not start with a system area that takes nothing.
            return Ok(());
        }
        self.check()?;
        let lanes: Vec<_> = self.lanes_beside_bad().collect();
        for lane in lanes {
            self.go_on_in(lane)?;
        }
        self.check()?;
        let rebooted = self.boot();
        self.insist_after(rebooted)?;
        if self.is_started() { self.check() } else { Ok(()) }
    }

    fn insist(&mut self, action: Action) -> Result<(), Stop> {
        let outcome = self.endure(action);
        self.insist_after(outcome)
    }

    fn insist_after(&mut self, mut outcome: Result<(), Stop>) -> Result<(), Stop> {
        for _ in 0..ATTEMPTS {
            if !matches!(outcome, Err(Stop::Failed)) {
                return outcome;
            }
            outcome = self.boot();
        }
        match outcome {
            Err(Stop::Failed) => Ok(()),
            other => other,
        }
    }

    fn tolerate(&mut self, outcome: Result<(), Stop>) -> Result<(), Stop> {
        match outcome {
            Err(Stop::Failed) if self.is_started() => {
                self.insist(Action::Read { back: 0, frames: 0 })
            }
            Err(Stop::Failed) => Ok(()),
            other => other,
        }
    }
}
