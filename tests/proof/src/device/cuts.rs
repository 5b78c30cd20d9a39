//! Every cut of a history, and every second cut of what follows it or another fault.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use firmware::ring::flash_model::Left;
use protocol::Lane;
use sha2::{Digest as _, Sha256};

use super::flash::{Step, StepKind, cuts};
use super::history::{History, Operation};
use super::planted::Planted;
use super::report::{Found, Report};
use super::rot::Rot;
use super::shrink::shrink;
use super::truth::Violation;
use super::world::{Stop, Trait, World};
use crate::chance::Chance;

/// How many second cuts an operation of a history that is not thorough gets, about.
const SECOND_CUTS: usize = 1500;

/// What to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replay {
    /// Everything is drawn from this.
    pub seed: u64,
    /// Histories are tried until so many distinct states were.
    pub states: u64,
    /// This history alone.
    pub history: Option<u64>,
    /// A fault to be found.
    pub planted: Option<Planted>,
}

/// Tries histories until there are enough states, or something is found. `progress` sees the
/// figures after each history.
pub fn prove(replay: &Replay, mut progress: impl FnMut(&Report)) -> Report {
    let mut prover = Prover { planted: replay.planted, ..Prover::default() };
    prover.report.seed = replay.seed;
    let mut number = replay.history.unwrap_or(0);
    loop {
        let history = History::draw(replay.seed, number);
        if let Err(failure) = prover.run(&history) {
            prover.report.histories += 1;
            let shrunk = shrink(&history, &failure, replay.planted);
            prover.report.found = Some(Found::new(&history, &failure, &shrunk, replay.planted));
            return prover.report;
        }
        progress(&prover.report);
        if replay.history.is_some() || prover.report.states_distinct >= replay.states {
            return prover.report;
        }
        number += 1;
    }
}

/// Lives through so many histories without a fault, to count what they are made of.
pub fn survey(seed: u64, histories: u64) -> Report {
    let mut prover = Prover { only_surveys: true, ..Prover::default() };
    prover.report.seed = seed;
    for number in 0..histories {
        let history = History::draw(seed, number);
        if let Err(failure) = prover.run(&history) {
            prover.report.found = Some(Found::new(&history, &failure, &history, None));
            break;
        }
    }
    prover.report
}

/// What does not hold, and where.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub violation: String,
    pub at: Box<Place>,
}

/// Where in a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    /// Which operation.
    pub operation: usize,
    /// The fault in it.
    pub first: Option<Cut>,
    /// It was no cut: the flash said that it failed, once or for good.
    pub failure: Option<Lasting>,
    /// A bit flipped then.
    pub rot: Option<Rot>,
    /// The cut in what followed.
    pub second: Option<Cut>,
}

/// How long a flash fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lasting {
    Once,
    ForGood,
}

/// One cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    pub number: u32,
    pub step: Option<Step>,
    pub left: Left,
}

impl Cut {
    pub(super) fn of(steps: &[Step], (number, left): (u32, Left)) -> Self {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        Self { number, step: steps.get(index).copied(), left }
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = self.number;
        match self.step {
            Some(Step { at, kind: StepKind::Erase }) => {
                write!(f, "step {number}, the erase of the sector at {at:#x}")?;
            }
            Some(Step { at, kind: StepKind::Unit { index, of } }) => {
                write!(f, "step {number}, unit {} of {of} at {at:#x}", index + 1)?;
            }
            None => write!(f, "step {number}")?,
        }
        write!(f, ", left {:?}", self.left)
    }
}

/// What was tried so far.
#[derive(Debug, Default)]
pub(super) struct Prover {
    pub report: Report,
    pub planted: Option<Planted>,
    only_surveys: bool,
    seen: HashSet<u128>,
}

impl Prover {
    /// One that only looks for a violation.
    pub(super) fn seeking(planted: Option<Planted>) -> Self {
        Self { planted, ..Self::default() }
    }

    /// Tries a history.
    pub(super) fn run(&mut self, history: &History) -> Result<(), Failure> {
        match (history.unit, history.sector) {
            (1, 512) => self.run_on::<1, 512>(history),
            (2, 512) => self.run_on::<2, 512>(history),
            (4, 512) => self.run_on::<4, 512>(history),
            (8, 512) => self.run_on::<8, 512>(history),
            (1, _) => self.run_on::<1, 1024>(history),
            (4, _) => self.run_on::<4, 1024>(history),
            _ => self.run_on::<8, 1024>(history),
        }
    }

    fn run_on<const U: usize, const S: usize>(&mut self, history: &History) -> Result<(), Failure> {
        let mut world = World::<U, S>::new(history.sectors, self.planted);
        held(Place::default(), || world.begin(history.boots))?;
        let mut traits = Vec::new();
        for (index, operation) in history.operations.iter().enumerate() {
            let place = Place { operation: index, ..Place::default() };
            if index >= history.cut_from {
                traits.extend(world.traits(operation.lane));
                if !self.only_surveys {
                    self.try_operation(&world, history, operation, place)?;
                }
            }
            held(place, || {
                world.apply(operation)?;
                world.check()
            })?;
        }
        self.report.count_history(history, &traits);
        Ok(())
    }

    fn try_operation<const U: usize, const S: usize>(
        &mut self,
        before: &World<U, S>,
        history: &History,
        operation: &Operation,
        place: Place,
    ) -> Result<(), Failure> {
        let part = (history.number << 16) ^ place.operation as u64;
        let mut chance = Chance::new(history.seed, part);
        let mut whole = before.clone();
        whole.bench.flash.watch();
        held(place, || whole.apply(operation))?;
        let steps = whole.bench.flash.steps();
        self.report.operations += u64::from(!steps.is_empty());
        self.cut_operation(before, history, (operation, &steps), place, &mut chance)?;
        if history.has_rot {
            self.rot_operation(before, (operation, &steps), place, &mut chance)?;
        }
        if history.has_failures {
            self.fail_operation(before, (operation, &steps), place, &mut chance)?;
        }
        Ok(())
    }

    fn cut_operation<const U: usize, const S: usize>(
        &mut self,
        before: &World<U, S>,
        history: &History,
        (operation, steps): (&Operation, &[Step]),
        mut place: Place,
        chance: &mut Chance,
    ) -> Result<(), Failure> {
        let traits = before.traits(operation.lane);
        let firsts = cuts(steps, chance);
        let mut is_exhaustive = !steps.is_empty();
        for &first in &firsts {
            place.first = Some(Cut::of(steps, first));
            place.second = None;
            let mut world = before.clone();
            world.bench.flash.model.cut_at(first.0, first.1);
            let outcome = guarded(|| world.apply(operation));
            if !self.cut(&outcome, &world, &traits, place)? {
                continue;
            }
            self.report.first_cuts += 1;
            self.report.system_cuts += u64::from(world.bench.system.is_under_way());
            world.bench.flash.power_on();
            let off = world.clone();
            world.bench.flash.watch();
            held(place, || world.recover(operation.lane))?;
            let steps = world.bench.flash.steps();
            let traits = world.traits(operation.lane);
            held(place, || world.carry_on(operation.lane))?;
            let seconds = cuts(&steps, chance);
            let stride = if history.is_thorough {
                1
            } else {
                (seconds.len() * firsts.len()).div_ceil(SECOND_CUTS).max(1)
            };
            is_exhaustive &= stride == 1;
            let from = chance.index(stride);
            for &second in seconds.iter().skip(from).step_by(stride) {
                place.second = Some(Cut::of(&steps, second));
                let follow = |world: &mut World<U, S>| world.recover(operation.lane);
                self.cut_again(&off, &traits, (operation.lane, follow), second, place)?;
            }
        }
        self.report.operations_exhausted += u64::from(is_exhaustive);
        Ok(())
    }

    /// Cuts what follows a fault.
    pub(super) fn cut_again<const U: usize, const S: usize>(
        &mut self,
        from: &World<U, S>,
        traits: &[Trait],
        (lane, follow): (Lane, impl FnOnce(&mut World<U, S>) -> Result<(), Stop>),
        (step, left): (u32, Left),
        place: Place,
    ) -> Result<(), Failure> {
        let mut world = from.clone();
        world.bench.flash.model.cut_at(step, left);
        let outcome = guarded(|| follow(&mut world));
        if !self.cut(&outcome, &world, traits, place)? {
            return Ok(());
        }
        self.report.second_cuts += 1;
        self.report.system_cuts += u64::from(world.bench.system.is_under_way());
        held(place, || {
            world.recover(lane)?;
            world.carry_on(lane)
        })
    }

    /// Counts the state that a cut left. Whether there was a cut: a planted fault may leave out
    /// the step it was to be in.
    pub(super) fn cut<const U: usize, const S: usize>(
        &mut self,
        outcome: &Result<(), Stop>,
        world: &World<U, S>,
        traits: &[Trait],
        at: Place,
    ) -> Result<bool, Failure> {
        match outcome {
            Err(Stop::Cut) => {}
            Err(Stop::Violation(Violation(violation))) => {
                return Err(failure(violation.clone(), at));
            }
            Err(Stop::Failed) => {
                return Err(failure("the flash failed by itself".to_owned(), at));
            }
            Ok(()) if self.planted.is_some() => return Ok(false),
            Ok(()) => return Err(failure("the power stayed".to_owned(), at)),
        }
        let report = &mut self.report;
        report.states += 1;
        if self.seen.insert(image_hash(world.bench.flash.model.bytes())) {
            report.states_distinct += 1;
            for one in traits {
                *report.having(*one) += 1;
            }
        }
        Ok(true)
    }
}

/// What must be done without a cut.
pub(super) fn held(at: Place, act: impl FnOnce() -> Result<(), Stop>) -> Result<(), Failure> {
    let violation = match guarded(act) {
        Ok(()) => return Ok(()),
        Err(Stop::Cut) => "the power went by itself".to_owned(),
        Err(Stop::Failed) => "the flash failed by itself".to_owned(),
        Err(Stop::Violation(Violation(violation))) => violation,
    };
    Err(failure(violation, at))
}

pub(super) fn failure(violation: String, at: Place) -> Failure {
    Failure { violation, at: Box::new(at) }
}

/// A panic, of the ring or of a flash that is misused, is a violation like any other.
pub(super) fn guarded(act: impl FnOnce() -> Result<(), Stop>) -> Result<(), Stop> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|payload| {
        let told = payload.downcast_ref::<String>().map(String::as_str);
        let told = told.or_else(|| payload.downcast_ref::<&str>().copied());
        Err(Violation(format!("panic: {}", told.unwrap_or("of no word"))).into())
    })
}

/// The first half of SHA-256: of the whole flash, and of nothing else.
fn image_hash(image: &[u8]) -> u128 {
    let hash = Sha256::digest(image);
    hash.first_chunk::<16>().map_or(0, |half| u128::from_be_bytes(*half))
}
