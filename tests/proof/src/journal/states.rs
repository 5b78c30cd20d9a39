//! Every state that a crash can leave of a history, and of the recovery from one.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bench::Opened;
use super::crash::{Cut, Image};
use super::disk::{Disk, Version};
use super::history::{Act, History};
use super::holding::Holding;
use super::planted::Planted;
use super::report::{Found, Report};
use super::shrink::shrink;
use super::torn;
use super::truth::{Truth, Violation};
use super::world::World;
use crate::chance::Chance;

/// One in so many states is recovered from under watch, and the power cut again in that.
const SECOND: u64 = 16;
/// One in so many goes on to take more.
const CARRIES_ON: u64 = 4;
/// One in so many versions is that of a process that was killed, with a kernel that lived on.
const KILLED: u64 = 4;
/// Of a recovery: all up to so many choices; beyond, so many drawn.
const SECOND_BITS: usize = 3;
const SECOND_DRAWS: usize = 8;

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
        prover.report.histories += 1;
        if let Err(failure) = prover.run(&history) {
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

/// What does not hold, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) violation: String,
    /// Which act.
    pub(super) act: usize,
    /// Where in it.
    pub(super) place: Vec<String>,
}

/// What was tried so far.
#[derive(Debug, Default)]
pub(super) struct Prover {
    pub(super) report: Report,
    planted: Option<Planted>,
    distinct: HashSet<u128>,
    /// Of the same truth: what holds in one holds in the other.
    tried: HashSet<u128>,
    place: Vec<String>,
}

/// How much is chosen.
#[derive(Clone, Copy, Debug)]
struct Depth {
    bits: usize,
    draws: usize,
    is_second: bool,
}

impl Prover {
    /// One that only looks for a violation.
    pub(super) fn seeking(planted: Option<Planted>) -> Self {
        Self { planted, ..Self::default() }
    }

    /// Tries a history.
    pub(super) fn run(&mut self, history: &History) -> Result<(), Failure> {
        let mut world = World::new(history, self.planted);
        let start = [Act::Kill];
        for (index, act) in start.iter().chain(&history.acts).enumerate() {
            self.place.clear();
            let outcome =
                catch_unwind(AssertUnwindSafe(|| self.act(&mut world, history, act, index)));
            let outcome = outcome.unwrap_or_else(|payload| {
                let told = payload.downcast_ref::<String>().map(String::as_str);
                let told = told.or_else(|| payload.downcast_ref::<&str>().copied());
                Err(Violation(format!("panic: {}", told.unwrap_or("of no word"))))
            });
            if let Err(Violation(violation)) = outcome {
                let place = std::mem::take(&mut self.place);
                return Err(Failure { violation, act: index.saturating_sub(1), place });
            }
        }
        Ok(())
    }

    /// All that a power cut can leave of it as it is.
    pub(super) fn rest(&mut self, world: &World, history: &History) -> Result<(), Violation> {
        let mut chance = Chance::new(history.seed, history.number);
        let depth = Depth { bits: history.bits, draws: history.draws, is_second: false };
        self.tried.clear();
        let (holding, truth) = (world.disk.holding(), world.truth.clone());
        self.holding(world, &holding, world.disk.capacity(), &truth, depth, &mut chance)?;
        let disk = Disk::new(holding, world.disk.capacity(), self.planted);
        self.recover(world, disk, &truth, false, &mut chance).map(drop)
    }

    fn act(
        &mut self,
        world: &mut World,
        history: &History,
        act: &Act,
        index: usize,
    ) -> Result<(), Violation> {
        let mut chance = Chance::new(history.seed, (history.number << 16) ^ index as u64);
        let done = world.perform(act)?;
        self.report.acts += 1;
        let depth = Depth { bits: history.bits, draws: history.draws, is_second: false };
        self.tried.clear();
        self.versions(world, &done.versions, &done.truth, depth, &mut chance)?;
        // What is known after it is more than what was on the way.
        if !done.versions.is_empty() {
            self.tried.clear();
            self.place = vec!["after it".to_owned()];
            let holding = world.disk.holding();
            let truth = world.truth.clone();
            self.holding(world, &holding, world.disk.capacity(), &truth, depth, &mut chance)?;
        }
        Ok(())
    }

    fn versions(
        &mut self,
        world: &World,
        versions: &[Version],
        truth: &Truth,
        depth: Depth,
        chance: &mut Chance,
    ) -> Result<(), Violation> {
        let place = self.place.len();
        for version in versions {
            let Version { call, kind, path, holding, capacity } = version;
            self.place.truncate(place);
            self.place.push(format!("after call {call}, {kind:?} of {}", path.display()));
            self.report.calls += 1;
            self.holding(world, holding, *capacity, truth, depth, chance)?;
            if !depth.is_second && chance.one_in(KILLED) {
                self.place.push("killed".to_owned());
                self.report.killed += 1;
                let disk = Disk::new(holding.clone(), *capacity, self.planted);
                self.recover(world, disk, truth, true, chance)?;
                self.place.pop();
            }
        }
        self.place.truncate(place);
        Ok(())
    }

    /// All that the power can leave of this.
    fn holding(
        &mut self,
        world: &World,
        holding: &Holding,
        capacity: Option<usize>,
        truth: &Truth,
        depth: Depth,
        chance: &mut Chance,
    ) -> Result<(), Violation> {
        let cut = Cut::of(holding);
        self.report.cuts += 1;
        self.report.cuts_exhausted += u64::from(cut.choices() <= depth.bits);
        for chosen in cut.chosen(depth.bits, depth.draws, chance) {
            let mut image = cut.image(&chosen);
            let hash = image.hash();
            self.report.states += 1;
            if !self.tried.insert(hash) {
                continue;
            }
            let is_new = self.distinct.insert(hash);
            if self.planted == Some(Planted::TornTailAccepted) {
                torn::accept(&mut image);
            }
            self.place.push(format!("the power goes: {chosen}"));
            let is_again = !depth.is_second && chance.one_in(SECOND);
            let opened = self.image(world, image, capacity, truth, is_again, chance)?;
            self.place.pop();
            if is_new {
                self.count(opened, truth, depth);
            }
        }
        Ok(())
    }

    fn image(
        &mut self,
        world: &World,
        image: Image,
        capacity: Option<usize>,
        truth: &Truth,
        is_again: bool,
        chance: &mut Chance,
    ) -> Result<Traits, Violation> {
        let disk = Disk::new(Holding::at_rest(image.0), capacity, self.planted);
        self.recover(world, disk, truth, is_again, chance)
    }

    /// Starts again on this disk, and, if asked to, cuts the power in that.
    fn recover(
        &mut self,
        world: &World,
        disk: Disk,
        truth: &Truth,
        is_again: bool,
        chance: &mut Chance,
    ) -> Result<Traits, Violation> {
        if is_again {
            disk.watch();
        }
        let is_filled = disk.capacity().is_some();
        let opened = world.bench.recover(&disk, world.nonce + 1000, truth)?;
        self.report.recovered += 1;
        let versions = disk.versions();
        let traits = Traits::of(&opened, is_filled);
        let mut next = world.after(disk, truth, opened);
        next.sink()?;
        if is_again {
            let depth = Depth { bits: SECOND_BITS, draws: SECOND_DRAWS, is_second: true };
            self.versions(world, &versions, truth, depth, chance)?;
        }
        if chance.one_in(CARRIES_ON) {
            self.place.push("and goes on".to_owned());
            next.carry_on()?;
            self.report.carried_on += 1;
            self.place.pop();
        }
        Ok(traits)
    }

    fn count(&mut self, traits: Traits, truth: &Truth, depth: Depth) {
        let report = &mut self.report;
        report.states_distinct += 1;
        report.second += u64::from(depth.is_second);
        report.torn += u64::from(traits.is_torn);
        report.rewritten += u64::from(traits.is_rewritten);
        report.pruned += u64::from(truth.pruned.iter().any(|pruned| *pruned > 0));
        report.filled += u64::from(traits.is_filled);
    }
}

/// What was found where the power went.
#[derive(Clone, Copy, Debug)]
struct Traits {
    is_torn: bool,
    is_rewritten: bool,
    is_filled: bool,
}

impl Traits {
    fn of(opened: &Opened, is_filled: bool) -> Self {
        Self {
            is_torn: opened.report.torn_bytes.iter().any(|bytes| *bytes > 0),
            is_rewritten: opened.report.rewritten_bytes.iter().any(|bytes| *bytes > 0),
            is_filled,
        }
    }
}
