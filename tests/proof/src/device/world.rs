//! A device's three rings in one flash, each with what is known of it; and what a boot must find.

use std::rc::Rc;

use firmware::app::SystemError;
use firmware::ring::{Gone, Opened, Region, Ring, RingError, RingMeta};
use protocol::{Lane, RingId};

use super::flash::{Flash, FlashFault, sector_len};
use super::history::{Action, Operation};
use super::planted::Planted;
use super::rot::Hurt;
use super::system::SystemArea;
use super::truth::{Truth, Violation, must};

/// Why something was not done to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The power is gone.
    Cut,
    /// The flash failed, and the device goes on.
    Failed,
    Violation(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<FlashFault> for Stop {
    fn from(fault: FlashFault) -> Self {
        match fault {
            FlashFault::Cut => Self::Cut,
            FlashFault::Failed => Self::Failed,
        }
    }
}

impl From<RingError<FlashFault>> for Stop {
    fn from(error: RingError<FlashFault>) -> Self {
        match error {
            RingError::Flash(fault) => fault.into(),
            refused => Violation(format!("the ring refuses: {refused}")).into(),
        }
    }
}

impl From<SystemError<FlashFault>> for Stop {
    fn from(error: SystemError<FlashFault>) -> Self {
        match error {
            SystemError::Flash(fault) => fault.into(),
            SystemError::Layout => Violation("the system area is refused".to_owned()).into(),
        }
    }
}

/// A device and its flash.
#[derive(Clone, Debug)]
pub(super) struct World<const U: usize, const S: usize> {
    pub bench: Bench<U, S>,
    pub stores: [Store; 3],
    is_started: bool,
}

/// What all rings of a device share.
#[derive(Clone, Debug)]
pub(super) struct Bench<const U: usize, const S: usize> {
    pub flash: Flash<U, S>,
    pub planted: Option<Planted>,
    /// Frames made so far: no two are the same.
    frames: u64,
    pub system: SystemArea,
    /// Where a bit flipped.
    pub hurt: Option<Hurt>,
}

/// One lane's part.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub lane: Lane,
    pub region: Region,
    pub held: Option<Held>,
    /// The ring that was to take the place of this one.
    pub becoming: Option<Truth>,
    /// Dropped, and not said yet.
    pub untold: Option<Gone>,
    /// Found destroyed, and not passed yet.
    pub damaged: Option<Gone>,
}

/// A ring, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub ring: Ring,
    pub truth: Truth,
}

/// What a state can be one of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trait {
    /// The ring went round its region.
    Wrapped,
    /// All it has room for is retained and not acknowledged.
    Full,
    /// It retains a loss frame, or one is due.
    Loss,
    /// It is taking over another ring.
    Forking,
}

impl<const U: usize, const S: usize> World<U, S> {
    /// A new device with a blank flash.
    pub(super) fn new(sectors: [u32; 3], planted: Option<Planted>) -> Self {
        let mut start = 0;
        let mut lanes = Lane::ALL.into_iter();
        let stores = sectors.map(|count| {
            let region = Region { start, len: count * sector_len::<S>() };
            start += region.len;
            let lane = lanes.next().unwrap_or(Lane::Bulk);
            Store { lane, region, held: None, becoming: None, untold: None, damaged: None }
        });
        let system = SystemArea::new(start..start + 2 * sector_len::<S>());
        let all = sectors.iter().sum::<u32>() + 2;
        let flash = Flash::new(usize::try_from(all).unwrap_or(0), planted);
        Self {
            bench: Bench { flash, planted, frames: 0, system, hurt: None },
            stores,
            is_started: false,
        }
    }

    /// The first boot, after so many that did nothing else.
    pub(super) fn begin(&mut self, boots: u32) -> Result<(), Stop> {
        (0..=boots).try_for_each(|_| self.bench.system.boot(&mut self.bench.flash))?;
        self.is_started = true;
        Ok(())
    }

    /// Does it.
    pub(super) fn apply(&mut self, operation: &Operation) -> Result<(), Stop> {
        let Bench { flash, system, .. } = &mut self.bench;
        match operation.action {
            Action::Boot => {
                self.open()?;
                return self.settle_down();
            }
            Action::Stop => return system.mark_clean(flash, true),
            _ => system.mark_clean(flash, false)?,
        }
        match self.stores.get_mut(operation.lane.index()) {
            Some(store) => store.act(&mut self.bench, operation.action),
            None => Ok(()),
        }
    }

    /// After a failure of the flash: a device that was starting starts again, any other goes on.
    pub(super) fn endure(&mut self, action: Action) -> Result<(), Stop> {
        let is_begun = |store: &Store| store.held.is_some() || store.becoming.is_none();
        let starts = matches!(action, Action::Boot | Action::Format);
        if starts || !self.stores.iter().all(is_begun) {
            return self.boot();
        }
        self.bench.system.failed()?;
        self.stores.iter_mut().try_for_each(Store::failed)
    }

    /// The power comes back: all that is in RAM is gone, and what is found is checked.
    pub(super) fn boot(&mut self) -> Result<(), Stop> {
        if !self.bench.flash.model.is_powered() {
            self.bench.flash.power_on();
        }
        self.open()
    }

    fn open(&mut self) -> Result<(), Stop> {
        self.is_started = false;
        self.bench.system.boot(&mut self.bench.flash)?;
        for store in &mut self.stores {
            store.boot(&mut self.bench)?;
        }
        self.is_started = true;
        Ok(())
    }

    /// The power comes back, and all that a device does then, up to the next frame of a lane.
    pub(super) fn recover(&mut self, lane: Lane) -> Result<(), Stop> {
        self.boot()?;
        self.go_on(lane)
    }

    /// Says what is lost, and takes the next frame of a lane.
    pub(super) fn go_on(&mut self, lane: Lane) -> Result<(), Stop> {
        self.settle_down()?;
        match self.stores.get_mut(lane.index()) {
            Some(store) => store.go_on(&mut self.bench),
            None => Ok(()),
        }
    }

    /// Takes the next frame of this lane, whatever becomes of the others.
    pub(super) fn go_on_in(&mut self, lane: Lane) -> Result<(), Stop> {
        let Some(store) = self.stores.get_mut(lane.index()) else { return Ok(()) };
        store.settle_down(&mut self.bench)?;
        store.go_on(&mut self.bench)
    }

    /// Whether the last boot got to its end.
    pub(super) fn is_started(&self) -> bool {
        self.is_started
    }

    /// The lanes that have a ring, and no bad sector.
    pub(super) fn lanes_beside_bad(&self) -> impl Iterator<Item = Lane> {
        let bad = self.bench.flash.bad;
        let is_beside = move |region: &Region| {
            bad.is_none_or(|bad| bad < region.start || bad >= region.start + region.len)
        };
        let beside = self.stores.iter().filter(move |store| is_beside(&store.region));
        beside.filter(|store| store.held.is_some()).map(|store| store.lane)
    }

    /// And then: a release, more frames, another boot.
    pub(super) fn carry_on(&mut self, lane: Lane) -> Result<(), Stop> {
        if let Some(store) = self.stores.get_mut(lane.index()) {
            store.release(1, None)?;
            store.go_on(&mut self.bench)?;
        }
        self.recover(lane)?;
        self.check()
    }

    /// Reads everything.
    pub(super) fn check(&mut self) -> Result<(), Stop> {
        for store in &mut self.stores {
            store.check(&mut self.bench, false)?;
        }
        Ok(())
    }

    /// What the state of a lane is one of.
    pub(super) fn traits(&self, lane: Lane) -> Vec<Trait> {
        let Some(store) = self.stores.get(lane.index()) else { return Vec::new() };
        let Some(held) = &store.held else { return Vec::new() };
        let first = held.ring.first_retained();
        let went_round = store.erases(&self.bench).any(|count| count > 1);
        let has_loss = held.truth.holds_loss(first) || held.ring.burnt().is_some();
        let all = [
            (went_round, Trait::Wrapped),
            (held.ring.used() == 100, Trait::Full),
            (has_loss, Trait::Loss),
            (held.ring.fork().is_some(), Trait::Forking),
        ];
        all.into_iter().filter_map(|(is_one, what)| is_one.then_some(what)).collect()
    }

    fn settle_down(&mut self) -> Result<(), Stop> {
        for store in &mut self.stores {
            store.settle_down(&mut self.bench)?;
        }
        Ok(())
    }
}

impl<const U: usize, const S: usize> Bench<U, S> {
    /// A frame as no other.
    pub(super) fn frame(&mut self, len: usize) -> Rc<[u8]> {
        self.frames += 1;
        let mut chance = crate::chance::Chance::new(self.frames, 7);
        let mut bytes = Vec::with_capacity(len.next_multiple_of(8));
        while bytes.len() < len {
            bytes.extend(chance.draw().to_le_bytes());
        }
        bytes.truncate(len);
        bytes.into()
    }

    /// A ring's name as no other.
    pub(super) fn name_ring(&mut self, lane: Lane) -> Result<RingMeta, Stop> {
        let format = self.system.name(&mut self.flash)?;
        let mut ring = RingId([lane as u8; 16]);
        for (slot, byte) in ring.0.iter_mut().zip(format.to_le_bytes()) {
            *slot = byte;
        }
        Ok(RingMeta { ring, lane, format })
    }
}

impl Store {
    /// How often each sector was erased.
    pub(super) fn erases<const U: usize, const S: usize>(
        &self,
        bench: &Bench<U, S>,
    ) -> impl Iterator<Item = u32> {
        let range = |bytes: u32| usize::try_from(bytes).unwrap_or(0) / S;
        let (start, count) = (range(self.region.start), range(self.region.len));
        bench.flash.model.erases.iter().skip(start).take(count).copied()
    }

    fn boot<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
    ) -> Result<(), Stop> {
        let (becoming, held) = (self.becoming.take(), self.held.take());
        let (mut ring, recovery) = match Ring::open(&mut bench.flash, self.region, self.lane)? {
            Opened::Existing(ring, recovery) => (ring, recovery),
            Opened::Blank => {
                let was = held.map(|held| held.truth.meta);
                must(was.is_none(), || format!("{was:?} is gone"))?;
                return Ok(());
            }
        };
        let meta = ring.meta();
        let known = becoming.into_iter().chain(held.map(|held| held.truth));
        let Some(mut truth) = known.into_iter().find(|truth| truth.meta == meta) else {
            return Err(Violation(format!("{meta:?} is there, and was left or never begun")).into());
        };
        bench.system.check_ring(meta.format)?;
        truth.is_hurt_by(bench.hurt);
        truth.settle(&ring)?;
        let (burnt, fork) = (ring.burnt(), ring.fork());
        must(recovery.torn == burnt && recovery.fork == fork, || {
            format!("{recovery:?}, and the ring says {burnt:?} and {fork:?}")
        })?;
        self.untold = ring.take_dropped();
        if let Some(gone) = &self.untold {
            let first = ring.first_retained();
            must(gone.last.next() == first, || format!("{gone:?} before {first}"))?;
            truth.check_range(gone)?;
        }
        self.held = Some(Held { ring, truth });
        self.check(bench, true)
    }
}
