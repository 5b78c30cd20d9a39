//! A journal, its disk and a sink, and what is done with them.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use agent::journal::{AppendError, CommitError, EntryKind, Journal, JournalError, Positions};
use agent::storage::SharedStorage;
use protocol::{Counts, Lane, RingId, Seq};

use super::bench::{Bench, Opened, cannot_open};
use super::content::Content;
use super::disk::{Disk, Failing, Version};
use super::entries::{frame, gap, walk};
use super::history::{Act, History};
use super::holding::Holding;
use super::planted::Planted;
use super::sink;
use super::truth::{Kept, Told, Truth, Violation, must};
use crate::chance::Chance;

/// No group of entries is longer.
const LONG: u64 = 16_000;
/// Rings of each lane.
const RINGS: u64 = 2;

/// What was done, and what there was on the way.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) versions: Vec<Version>,
    /// What must hold on the way.
    pub(super) truth: Truth,
}

/// What a copy holds.
#[derive(Debug)]
struct Copied {
    files: Vec<(Arc<Path>, Content)>,
    truth: Truth,
    floor: Positions,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) bench: Bench,
    pub(super) disk: Disk,
    pub(super) journal: Option<Journal>,
    pub(super) truth: Truth,
    pub(super) nonce: u64,
    /// What the sink holds in memory.
    kept: Option<Kept>,
    number: u64,
    chance: Chance,
    copied: Option<Copied>,
    /// What devices were told is durable, and a restored journal does not hold.
    ahead: Vec<(RingId, Seq, Counts)>,
    /// What stands before these may be gone.
    floor: Positions,
    /// How a call was told to go wrong last.
    pub(super) failing: Option<Failing>,
    /// How often something said that it could not be done.
    pub(super) told: u64,
}

impl World {
    pub(super) fn new(history: &History, planted: Option<Planted>) -> Self {
        Self {
            bench: Bench::new(history, planted),
            disk: Disk::new(Holding::default(), None, planted),
            journal: None,
            truth: Truth { kept: vec![None], ..Truth::default() },
            nonce: 0,
            kept: None,
            number: 0,
            chance: Chance::new(history.seed ^ 0x6a6f_7572, history.number),
            copied: None,
            ahead: Vec::new(),
            floor: Positions::ZERO,
            failing: None,
            told: 0,
        }
    }

    /// A world that goes on from a crash, with what was found.
    pub(super) fn after(&self, disk: Disk, truth: &Truth, opened: Opened) -> Self {
        let mut truth = truth.clone();
        truth.found(&opened.journal, opened.counts);
        Self {
            bench: self.bench.clone(),
            disk,
            journal: Some(opened.journal),
            truth,
            nonce: self.nonce + 2000,
            kept: None,
            number: self.number,
            chance: self.chance.clone(),
            copied: None,
            ahead: self.ahead.clone(),
            floor: self.floor,
            failing: None,
            told: 0,
        }
    }

    /// What the sink finds after a crash, and all that it gets then.
    pub(super) fn sink(&mut self) -> Result<(), Violation> {
        self.kept = sink::read(&self.truth, Arc::new(self.disk.clone()))?;
        self.truth.kept = vec![self.kept.clone()];
        let Some(journal) = &self.journal else { return Ok(()) };
        sink::deliver(&self.truth, journal, self.kept.as_ref(), usize::MAX, self.bench.planted)?;
        Ok(())
    }

    /// Whether all that was appended is durable.
    pub(super) fn is_committed(&self) -> bool {
        self.truth.committed.iter().zip(&self.truth.lanes).all(|(count, told)| *count == told.len())
    }

    /// The journal goes on: it takes entries, delivers, and is opened again.
    pub(super) fn carry_on(&mut self) -> Result<(), Violation> {
        self.disk.set_capacity(None);
        let lanes = Lane::ALL.map(|lane| Act::Append { lane, count: 1, len: 40 });
        for act in lanes.into_iter().chain([Act::Commit, Act::Deliver { count: usize::MAX }]) {
            self.perform(&act)?;
        }
        self.start()?;
        self.sink()
    }

    /// Does it: what there was on the way, and what had to hold there. Afterwards [`Self::truth`]
    /// does.
    pub(super) fn perform(&mut self, act: &Act) -> Result<Done, Violation> {
        self.disk.watch();
        let mut truth = self.truth.clone();
        match *act {
            Act::Append { lane, count, len } => {
                for _ in 0..count {
                    self.append(lane, len)?;
                }
            }
            Act::Commit => self.commit()?,
            Act::Deliver { count } => truth = self.deliver(count)?,
            Act::Prune => truth = self.prune()?,
            Act::Kill => self.start()?,
            Act::PowerCut => {
                self.cut();
                // Any other state it could leave was tried before.
                self.disk.watch();
                self.start()?;
            }
            Act::Fail { nth, failing } => {
                self.disk.fail(nth, 0, failing);
                self.failing = Some(failing);
            }
            Act::Fill { left } => self.disk.set_capacity(Some(self.disk.used() + left)),
            Act::Empty => self.disk.set_capacity(None),
            Act::Copy => self.copy(),
            Act::Restore => {
                self.restore()?;
                self.disk.versions();
                truth = self.truth.clone();
            }
        }
        self.truth.may_return |= self.disk.has_doubtful_names();
        truth.may_return = self.truth.may_return;
        Ok(Done { versions: self.disk.versions(), truth })
    }

    /// Opens the journal, as a process does at its start; if a call fails, again.
    pub(super) fn start(&mut self) -> Result<(), Violation> {
        self.journal = None;
        self.nonce += 1;
        self.truth.may_return |= self.disk.has_doubtful_names();
        let opened = match self.bench.open(&self.disk, self.nonce, &self.truth)? {
            Ok(opened) => opened,
            Err(error) => {
                must(self.is_excused(&error), || cannot_open(&error).0)?;
                self.told += 1;
                if !self.disk.heal() {
                    self.disk.set_capacity(None);
                }
                self.bench.recover(&self.disk, self.nonce, &self.truth)?
            }
        };
        self.truth.found(&opened.journal, opened.counts);
        self.journal = Some(opened.journal);
        self.kept = self.read_kept()?;
        let Some(kept) = self.kept.clone() else {
            self.truth.kept = vec![None];
            return Ok(());
        };
        // What the kernel shows may not be durable: as a forwarder does, it is written again.
        self.keep(kept)
    }

    /// Makes the sink's cursor durable.
    fn keep(&mut self, kept: Kept) -> Result<(), Violation> {
        let storage: SharedStorage = Arc::new(self.disk.clone());
        match sink::snapshots(storage).write(
            "sink",
            &kept.continuity,
            &kept.cursor,
            (&kept.cursor, 0),
        ) {
            Ok(()) => {
                if self.bench.planted == Some(Planted::CursorAfterUnlink) {
                    self.truth.pruned = kept.through;
                }
                self.truth.kept = vec![Some(kept)];
            }
            Err(error) => {
                let is_excused = self.disk.has_struck() || self.disk.capacity().is_some();
                must(is_excused, || format!("the cursor is not written: {error}"))?;
                self.told += 1;
                self.disk.heal();
            }
        }
        Ok(())
    }

    /// Whether an open may fail so: for what the disk was told to do, and under its own name.
    fn is_excused(&self, error: &JournalError) -> bool {
        let has_struck = self.disk.has_struck();
        match error {
            JournalError::NoSpace { .. } => {
                has_struck && self.failing == Some(Failing::NoSpace)
                    || self.disk.capacity().is_some()
            }
            JournalError::Io { .. } => has_struck && self.failing == Some(Failing::Io),
            _ => false,
        }
    }

    fn read_kept(&self) -> Result<Option<Kept>, Violation> {
        match sink::read(&self.truth, Arc::new(self.disk.clone())) {
            Err(_) if self.disk.heal() => sink::read(&self.truth, Arc::new(self.disk.clone())),
            read => read,
        }
    }

    /// The next entry of one of the lane's rings.
    fn next(&mut self, lane: Lane, len: u64) -> Result<Told, Violation> {
        self.number += 1;
        let number = self.number;
        let index = self.chance.below(RINGS);
        let mark = u8::try_from(10 * lane.index() as u64 + index).unwrap_or(0);
        let ring = RingId([mark; 16]);
        let (last, taken) = self.truth.ring(ring);
        let ahead = self.ahead.iter().find(|(of, seq, _)| *of == ring && *seq > last);
        let zero = number.is_multiple_of(5);
        let adds = Counts {
            samples: if zero { 0 } else { 1 + number % 50 },
            events: u64::from(number.is_multiple_of(3)),
        };
        let skip = number % 3;
        let (kind, seq, adds) = match ahead {
            Some((_, seq, through)) => (EntryKind::Gap, *seq, through.since(taken)),
            None if number.is_multiple_of(6) => (EntryKind::Gap, Seq(last.0 + 1 + skip), adds),
            None => (EntryKind::Frame, last.next(), adds),
        };
        let first = if kind == EntryKind::Gap { last.next() } else { seq };
        let through = taken + adds;
        let payload = match kind {
            EntryKind::Frame => frame(number, len),
            EntryKind::Gap => gap(first, seq, through),
        };
        let device = format!("van-{mark}").parse();
        let device = device.map_err(|error| Violation(format!("a bad name: {error}")))?;
        let is_elsewhere = ahead.is_some();
        let end = OnceLock::new();
        Ok(Told { number, kind, device, ring, seq, adds, through, payload, is_elsewhere, end })
    }

    fn append(&mut self, lane: Lane, len: u64) -> Result<(), Violation> {
        let told = self.next(lane, len)?;
        let Some(journal) = &mut self.journal else { return Ok(()) };
        match journal.append(lane, &told.entry()) {
            Ok(()) => {
                if let Some(lane) = self.truth.lanes.get_mut(lane.index()) {
                    lane.push(Arc::new(told));
                }
                Ok(())
            }
            Err(AppendError::NoSpace) if self.disk.capacity().is_some() => Ok(()),
            Err(AppendError::Full)
                if journal.usage_bytes().saturating_add(LONG) > self.bench.config.bytes_max =>
            {
                Ok(())
            }
            Err(error) => Err(Violation(format!("entry {} is not taken: {error}", told.number))),
        }
    }

    fn commit(&mut self) -> Result<(), Violation> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        match journal.commit() {
            Ok(ends) => {
                must(ends == journal.ends().positions, || "the ends differ".to_owned())?;
                for (committed, told) in self.truth.committed.iter_mut().zip(&self.truth.lanes) {
                    *committed = told.len();
                }
            }
            Err(error) => {
                let (has_struck, failing) = (self.disk.has_struck(), self.failing);
                let is_excused = match error {
                    CommitError::NoSpace { .. } => {
                        has_struck && failing == Some(Failing::NoSpace)
                            || self.disk.capacity().is_some()
                    }
                    CommitError::Io { .. } => has_struck && failing == Some(Failing::Io),
                };
                must(is_excused, || format!("a commit fails: {error}"))?;
                self.told += 1;
                // It may be tried again and again while the cause lasts.
                for _ in 0..self.chance.below(3) {
                    drop(journal.commit());
                }
                self.disk.heal();
                for lane in Lane::ALL {
                    let floor = self.floor.get(lane);
                    let last = walk(&self.truth, &self.disk, journal, lane, floor)?;
                    let told = self.truth.lane(lane);
                    let reached = told.partition_point(|told| Some(told.number) <= last);
                    if let Some(committed) = self.truth.committed.get_mut(lane.index()) {
                        // What was pruned is not read.
                        *committed = reached.max(*committed);
                    }
                }
            }
        }
        self.truth.note(journal);
        Ok(())
    }

    fn deliver(&mut self, count: usize) -> Result<Truth, Violation> {
        let Some(journal) = &self.journal else { return Ok(self.truth.clone()) };
        let planted = self.bench.planted;
        let new = match sink::deliver(&self.truth, journal, self.kept.as_ref(), count, planted) {
            Err(_) if self.disk.has_struck() => {
                self.told += 1;
                self.disk.heal();
                sink::deliver(&self.truth, journal, self.kept.as_ref(), count, planted)?
            }
            delivered => delivered?,
        };
        for lane in Lane::ALL {
            walk(&self.truth, &self.disk, journal, lane, self.floor.get(lane))?;
        }
        self.truth.kept.push(Some(new.clone()));
        self.kept = Some(new.clone());
        let on_the_way = self.truth.clone();
        if planted == Some(Planted::CursorAfterUnlink) {
            self.remove(&new)?;
        }
        self.keep(new)?;
        Ok(on_the_way)
    }

    fn prune(&mut self) -> Result<Truth, Violation> {
        // Only what every cursor that may be found is done with.
        let [Some(kept)] = &self.truth.kept[..] else { return Ok(self.truth.clone()) };
        if kept.is_stale {
            return Ok(self.truth.clone());
        }
        let kept = kept.clone();
        self.truth.pruned = kept.through;
        let on_the_way = self.truth.clone();
        self.remove(&kept)?;
        Ok(on_the_way)
    }

    fn remove(&mut self, kept: &Kept) -> Result<(), Violation> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        self.floor = kept.cursor.positions;
        if let Err(error) = journal.prune(&kept.cursor.positions) {
            must(self.disk.heal(), || format!("a prune fails: {error}"))?;
            self.told += 1;
        }
        Ok(())
    }

    /// The power goes, and comes back.
    fn cut(&mut self) {
        self.journal = None;
        let holding = self.disk.holding();
        let cut = super::crash::Cut::of(&holding);
        let chosen = cut.chosen(0, 8, &mut self.chance);
        let Some(chosen) = chosen.get(self.chance.index(chosen.len())) else { return };
        let left = Holding::at_rest(cut.image(chosen).0);
        self.disk.replace(left);
    }

    fn copy(&mut self) {
        let holding = self.disk.holding();
        let of_journal = |(path, _): &(&Arc<Path>, &Content)| path.starts_with("journal");
        let files = holding.files().filter(of_journal);
        let files = files.map(|(path, content)| (Arc::clone(path), content.clone())).collect();
        self.copied = Some(Copied { files, truth: self.truth.clone(), floor: self.floor });
    }

    /// The copy comes back; what devices and the sink know stays.
    fn restore(&mut self) -> Result<(), Violation> {
        let Some(copied) = &self.copied else { return Ok(()) };
        self.journal = None;
        self.disk.heal();
        let holding = self.disk.holding();
        let others = holding.files().filter(|(path, _)| !path.starts_with("journal"));
        let others = others.map(|(path, content)| (Arc::clone(path), content.clone()));
        let files = copied.files.iter().cloned().chain(others);
        let left = Holding::at_rest(files);
        self.disk.replace(left);
        for (told, committed) in self.truth.lanes.iter().zip(self.truth.committed) {
            for told in told.iter().take(committed) {
                self.ahead.retain(|(ring, seq, _)| *ring != told.ring || *seq > told.seq);
                if !self.ahead.iter().any(|(ring, ..)| *ring == told.ring) {
                    self.ahead.push((told.ring, told.seq, told.through));
                }
            }
        }
        let before = std::mem::replace(&mut self.truth, copied.truth.clone());
        self.floor = copied.floor;
        self.truth.kept.clone_from(&before.kept);
        let epoch = copied.truth.epoch;
        self.nonce += 1;
        let opened = self.bench.recover(&self.disk, self.nonce, &self.truth)?;
        let ends = opened.journal.ends().positions;
        let is_gone = |at: &agent::journal::JournalCursor| {
            at.epoch.number > epoch || !at.positions.within(&ends)
        };
        let gone = before.hold.iter().chain(&before.stale).filter(|cursor| is_gone(cursor));
        self.truth.stale.extend(gone.copied());
        for kept in self.truth.kept.iter_mut().flatten() {
            kept.is_stale |= is_gone(&kept.cursor);
        }
        self.truth.found(&opened.journal, opened.counts);
        self.journal = Some(opened.journal);
        self.kept = sink::read(&self.truth, Arc::new(self.disk.clone()))?;
        self.truth.kept = vec![self.kept.clone()];
        Ok(())
    }
}
