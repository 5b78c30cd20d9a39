//! A device's three rings in one flash, each with what is known of it; and what a boot must find.

use std::rc::Rc;

use firmware::ring::flash_model::PowerCut;
use firmware::ring::{Gone, Opened, Region, Ring, RingError, RingMeta};
use protocol::{Lane, RingId, Seq};

use super::flash::Flash;
use super::history::{Action, Operation};
use super::planted::Planted;
use super::truth::{Content, Truth, Violation, must};

/// Why something was not done to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The power is gone.
    Cut,
    Violation(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<RingError<PowerCut>> for Stop {
    fn from(error: RingError<PowerCut>) -> Self {
        match error {
            RingError::Flash(PowerCut) => Self::Cut,
            refused => Violation(format!("the ring refuses: {refused}")).into(),
        }
    }
}

/// A device and its flash.
#[derive(Clone, Debug)]
pub(super) struct World<const U: usize, const S: usize> {
    pub bench: Bench<U, S>,
    stores: [Store; 3],
}

/// What all rings of a device share.
#[derive(Clone, Debug)]
pub(super) struct Bench<const U: usize, const S: usize> {
    pub flash: Flash<U, S>,
    pub planted: Option<Planted>,
    /// Frames made so far: no two are the same.
    frames: u64,
    /// Rings begun so far.
    formats: u32,
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
        let sector_len = u32::try_from(S).unwrap_or(u32::MAX);
        let mut start = 0;
        let mut lanes = Lane::ALL.into_iter();
        let stores = sectors.map(|count| {
            let region = Region { start, len: count * sector_len };
            start += region.len;
            let lane = lanes.next().unwrap_or(Lane::Bulk);
            Store { lane, region, held: None, becoming: None, untold: None }
        });
        let all: u32 = sectors.iter().sum();
        let flash = Flash::new(usize::try_from(all).unwrap_or(0), planted);
        Self { bench: Bench { flash, planted, frames: 0, formats: 0 }, stores }
    }

    /// Does it.
    pub(super) fn apply(&mut self, operation: &Operation) -> Result<(), Stop> {
        if operation.action == Action::Boot {
            self.open()?;
            return self.settle_down();
        }
        match self.stores.get_mut(operation.lane.index()) {
            Some(store) => store.act(&mut self.bench, operation.action),
            None => Ok(()),
        }
    }

    /// The power comes back: all that is in RAM is gone, and what is found is checked.
    pub(super) fn boot(&mut self) -> Result<(), Stop> {
        self.bench.flash.power_on();
        self.open()
    }

    fn open(&mut self) -> Result<(), Stop> {
        for store in &mut self.stores {
            store.boot(&mut self.bench)?;
        }
        Ok(())
    }

    /// What a device does after a boot, up to the next frame of a lane.
    pub(super) fn recover(&mut self, lane: Lane) -> Result<(), Stop> {
        self.settle_down()?;
        match self.stores.get_mut(lane.index()) {
            Some(store) => store.go_on(&mut self.bench),
            None => Ok(()),
        }
    }

    /// And then: a release, more frames, another boot.
    pub(super) fn carry_on(&mut self, lane: Lane) -> Result<(), Stop> {
        if let Some(store) = self.stores.get_mut(lane.index()) {
            store.release(1, None)?;
            store.go_on(&mut self.bench)?;
        }
        self.boot()?;
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
    pub(super) fn meta(&mut self, lane: Lane) -> RingMeta {
        self.formats += 1;
        let mut ring = RingId([lane as u8; 16]);
        for (slot, byte) in ring.0.iter_mut().zip(self.formats.to_le_bytes()) {
            *slot = byte;
        }
        RingMeta { ring, lane, format: self.formats }
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

    /// Reads all that is retained, with tags if this is no boot, and holds it against what is known.
    pub(super) fn check<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
        is_boot: bool,
    ) -> Result<(), Stop> {
        let Some(Held { ring, truth }) = &mut self.held else { return Ok(()) };
        let (first, next) = (ring.first_retained(), ring.next());
        let before = truth.through(first.prev());
        must(Some(ring.before_first()) == before, || {
            format!("{:?} before {first}, and it was {before:?}", ring.before_first())
        })?;
        let mut gap = None;
        let mut seq = first;
        let mut buffer = [0; S];
        while seq < next {
            match ring.read(&mut bench.flash, seq, &mut buffer) {
                Ok(read) => {
                    let frame = buffer.get(..read.len).unwrap_or_default();
                    let gap = gap.take();
                    truth.check_frame(seq, frame, &read, gap)?;
                    if !is_boot {
                        let tag = ring.tag(&mut bench.flash, seq)?;
                        must(tag == read.tag, || format!("frame {seq} has two tags"))?;
                    }
                    seq = seq.next();
                }
                Err(RingError::Damaged(gone)) => {
                    must(gone.first == seq, || format!("{gone:?} for {seq}"))?;
                    truth.check_range(&gone)?;
                    truth.check_unreadable(&gone)?;
                    gap = gap.or(Some(seq));
                    seq = gone.last.next();
                }
                Err(error) => return Err(error.into()),
            }
        }
        truth.may_be_whole = false;
        check_end(ring, truth, gap, is_boot)?;
        truth.check_gone(first, self.untold.as_ref())?;
        Ok(truth.check_fork(ring)?)
    }
}

/// The numbers at the end that have no frame are those that the ring calls burnt: after a boot
/// exactly those, and later with what it dropped of them.
fn check_end(ring: &Ring, truth: &Truth, gap: Option<Seq>, is_boot: bool) -> Result<(), Violation> {
    let burnt = ring.burnt();
    let last = ring.next().prev();
    match (gap, burnt) {
        (None, None) => Ok(()),
        (Some(first), Some(burnt))
            if burnt.last == last
                && (burnt.first == first || (burnt.first < first && !is_boot)) =>
        {
            truth.check_range(&burnt)
        }
        _ => Err(Violation(format!("{burnt:?} is said to be burnt, and {gap:?} to {last} is"))),
    }
}

impl Truth {
    fn check_frame(
        &mut self,
        seq: Seq,
        frame: &[u8],
        read: &firmware::ring::ReadFrame,
        gap: Option<Seq>,
    ) -> Result<(), Violation> {
        let (is_last, may_be_whole) = (seq == self.last(), self.may_be_whole);
        let Some(entry) = self.entry(seq).filter(|entry| entry.content != Content::Nothing) else {
            return Err(Violation(format!("frame {seq} appeared: nobody wrote one")));
        };
        must(*frame == *entry.bytes, || format!("frame {seq} is not the one that was written"))?;
        must(read.adds == entry.adds, || format!("frame {seq} adds {:?}", read.adds))?;
        let is_whole = entry.is_durable || (is_last && may_be_whole);
        must(is_whole, || format!("frame {seq} was not there and came back"))?;
        let content = entry.content;
        if let Content::Loss(said) = content {
            self.check_range(&said)?;
        }
        if let Some(from) = gap {
            let covers = |said: Gone| said.first <= from && said.last.next() == seq;
            must(matches!(content, Content::Loss(said) if covers(said)), || {
                format!(
                    "numbers {from} to {} are gone, and the next frame does not say so",
                    seq.0 - 1
                )
            })?;
        }
        if is_last && may_be_whole {
            self.written();
        }
        Ok(())
    }

    fn check_unreadable(&self, gone: &Gone) -> Result<(), Violation> {
        let mut seq = gone.first;
        while seq <= gone.last {
            let is_durable = self.entry(seq).is_some_and(|entry| entry.is_durable);
            must(!is_durable, || format!("frame {seq} was written and is gone"))?;
            seq = seq.next();
        }
        Ok(())
    }
}
