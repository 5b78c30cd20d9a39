//! What a device does with one ring: as the firmware does it, and no better.

use std::rc::Rc;

use firmware::ring::{Gone, OldFrame, Ring, RingError};
use protocol::{Counts, Seq};

use super::flash::sector_len;
use super::history::Action;
use super::planted::Planted;
use super::truth::{Content, Old, Truth, UnderWay, Violation, must};
use super::world::{Bench, Held, Stop, Store};

/// Bytes of a loss frame.
const LOSS_LEN: usize = 43;
/// What a frame sealed anew is longer: it says where it is from.
const ORIGIN_LEN: usize = 12;
/// The frame after a boot.
const NEXT_LEN: usize = 21;

impl Store {
    /// Does it, and says what it dropped.
    pub(super) fn act<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
        action: Action,
    ) -> Result<(), Stop> {
        if self.held.is_none() {
            self.format(bench)?;
        }
        match action {
            Action::Append { len, adds } => self.append(bench, len, adds),
            Action::Reserve { len, adds } => self.reserve(bench, len, adds),
            Action::Read { back, frames } => self.read(bench, back, frames),
            Action::Release { but } => self.release(but, bench.planted),
            Action::Supersede => self.supersede(bench),
            Action::Fork => self.fork(bench),
            Action::Copy { frames } => (0..frames).try_for_each(|_| self.copy(bench)),
            Action::Format => self.format(bench),
            Action::Boot | Action::Stop => Ok(()),
        }
    }

    /// After a boot: says what is lost, and goes on with a fork.
    pub(super) fn settle_down<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
    ) -> Result<(), Stop> {
        self.tell_damage(bench)?;
        self.say_losses(bench)?;
        self.copy(bench)
    }

    /// The next frame.
    pub(super) fn go_on<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
    ) -> Result<(), Stop> {
        self.act(bench, Action::Append { len: NEXT_LEN, adds: Counts { samples: 2, events: 1 } })
    }

    /// An acknowledgement of all but the newest so many.
    pub(super) fn release(&mut self, but: u64, planted: Option<Planted>) -> Result<(), Stop> {
        let Some(Held { ring, truth }) = &mut self.held else { return Ok(()) };
        let through = Seq(truth.last().0.saturating_sub(but));
        truth.released = truth.released.max(through);
        let freed = match planted {
            Some(Planted::ReleasedUnacknowledged) => truth.last(),
            _ => through,
        };
        ring.release(freed);
        let released = ring.released();
        must(released <= truth.released || planted.is_some(), || {
            format!("released through {released}, acknowledged through {}", truth.released)
        })?;
        Ok(())
    }

    fn append<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
        len: usize,
        adds: Counts,
    ) -> Result<(), Stop> {
        self.say_losses(bench)?;
        if let Some(held) = &mut self.held {
            let len = len.min(held.ring.frame_len_max());
            held.put(bench, len, adds, Content::Own, None)?;
        }
        self.note_dropped()?;
        self.say_losses(bench)
    }

    fn reserve<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
        len: usize,
        adds: Counts,
    ) -> Result<(), Stop> {
        let Some(Held { ring, truth }) = &mut self.held else { return Ok(()) };
        truth.under_way = UnderWay::Reserving { adds, is_lost_copy: false };
        let reserved = ring.reserve(&mut bench.flash, len.min(ring.frame_len_max()), adds)?;
        truth.given(reserved.seq(), Content::Nothing, adds, &Rc::default())?;
        truth.under_way = UnderWay::Nothing;
        self.note_dropped()
    }

    fn read<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
        back: u64,
        frames: u64,
    ) -> Result<(), Stop> {
        let Some(Held { ring, truth }) = &mut self.held else { return Ok(()) };
        let from = truth.last().0.saturating_sub(back);
        let mut buffer = [0; S];
        for seq in (from..from.saturating_add(frames)).map(Seq) {
            let is_retained = ring.first_retained() <= seq && seq < ring.next();
            let is_durable = truth.entry(seq).is_some_and(|entry| entry.is_durable);
            match ring.read(&mut bench.flash, seq, &mut buffer) {
                Ok(read) => {
                    let bytes = truth.entry(seq).map(|entry| &*entry.bytes);
                    let is_it = is_retained && is_durable && bytes == buffer.get(..read.len);
                    must(is_it, || format!("frame {seq} is not the one that was written"))?;
                }
                Err(RingError::NotRetained) => {
                    must(!is_retained, || format!("frame {seq} is retained and not to be had"))?;
                }
                Err(RingError::Damaged(gone)) => {
                    must(!is_durable, || format!("frame {seq} was written and is gone"))?;
                    truth.check_range(&gone)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn supersede<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
    ) -> Result<(), Stop> {
        self.say_losses(bench)?;
        let Some(Held { ring, truth }) = &mut self.held else { return Ok(()) };
        let first = ring.first_retained().max(ring.released().next());
        let gone = Gone { first, last: truth.last(), through: truth.total() };
        if gone.first <= gone.last {
            self.say(bench, gone)?;
            if let Some(Held { ring, truth }) = &mut self.held {
                ring.release(gone.last);
                truth.released = truth.released.max(gone.last);
            }
        }
        self.say_losses(bench)
    }

    fn format<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
    ) -> Result<(), Stop> {
        let meta = bench.name_ring(self.lane)?;
        self.becoming = Some(Truth::new(meta, None));
        let ring = Ring::format(&mut bench.flash, self.region, meta)?;
        self.begun(ring)
    }

    fn fork<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
    ) -> Result<(), Stop> {
        let meta = bench.name_ring(self.lane)?;
        let Some(Held { ring, truth }) = &mut self.held else { return Ok(()) };
        if ring.fork().is_some() {
            let refused = ring.begin_fork(&mut bench.flash, meta);
            must(refused == Err(RingError::Order), || "a fork in a fork".to_owned())?;
            return self.copy(bench);
        }
        truth.check_run(ring)?;
        let (id, entries) = (truth.meta.ring, truth.entries.clone());
        let retained = ring.first_retained();
        let first = ring.lost().map_or(retained, |lost| lost.first);
        let old = Old { id, entries, first, retained };
        self.becoming = Some(Truth::new(meta, Some(Rc::new(old))));
        let mut forked = ring.clone();
        forked.begin_fork(&mut bench.flash, meta)?;
        self.begun(forked)
    }

    fn begun(&mut self, ring: Ring) -> Result<(), Stop> {
        self.untold = None;
        if let Some(truth) = self.becoming.take() {
            truth.check_fork(&ring)?;
            self.held = Some(Held { ring, truth });
        }
        Ok(())
    }

    /// Takes over the next frame of the ring that was left, if one was.
    fn copy<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
    ) -> Result<(), Stop> {
        self.say_losses(bench)?;
        let went_round = self.erases(bench).sum::<u32>() >= self.region.len / sector_len::<S>();
        let Some(held) = &mut self.held else { return Ok(()) };
        let Some(old) = held.truth.old.clone().filter(|_| held.ring.fork().is_some()) else {
            return Ok(());
        };
        let mut buffer = [0; S];
        match held.ring.read_old(&mut bench.flash, &mut buffer) {
            Ok(None) => return Err(Violation("a fork without a next frame".to_owned()).into()),
            Ok(Some(frame)) => {
                let bytes = buffer.get(..frame.len).unwrap_or_default();
                held.take_over(bench, &old, &frame, bytes)?;
            }
            Err(RingError::Damaged(gone)) => {
                held.check_lost(&old, &gone, went_round)?;
                let burnt = held.lose(bench, &old, &gone)?;
                self.note_dropped()?;
                self.say(bench, burnt)?;
            }
            Err(error) => return Err(error.into()),
        }
        self.note_dropped()?;
        self.say_losses(bench)?;
        let Some(Held { ring, truth }) = &self.held else { return Ok(()) };
        Ok(truth.check_fork(ring)?)
    }

    /// Says what is burnt and what was dropped: before anything else is stored.
    fn say_losses<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
    ) -> Result<(), Stop> {
        if bench.planted == Some(Planted::LossUntold) {
            self.untold = None;
            return Ok(());
        }
        while let Some(gone) = self.held.as_ref().and_then(|held| held.ring.burnt()) {
            self.say(bench, gone)?;
        }
        while let Some(gone) = self.untold {
            self.say(bench, gone)?;
            // What was dropped for this very frame came on top.
            self.untold = self.untold.filter(|untold| *untold != gone);
        }
        Ok(())
    }

    fn say<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
        mut gone: Gone,
    ) -> Result<(), Stop> {
        let Some(held) = &mut self.held else { return Ok(()) };
        held.truth.check_range(&gone)?;
        if bench.planted == Some(Planted::LossMiscounted) {
            gone.through.samples += 1;
        }
        held.put(bench, LOSS_LEN, Counts::ZERO, Content::Loss(gone), None)?;
        self.note_dropped()
    }

    fn note_dropped(&mut self) -> Result<(), Stop> {
        let Some(Held { ring, truth }) = &mut self.held else { return Ok(()) };
        let Some(gone) = ring.take_dropped() else { return Ok(()) };
        let (released, first) = (ring.released(), ring.first_retained());
        must(released < gone.first && gone.last < first, || {
            format!("{gone:?} dropped; released through {released}, retained from {first} on")
        })?;
        truth.check_range(&gone)?;
        self.owe(gone);
        Ok(())
    }

    fn owe(&mut self, gone: Gone) {
        self.untold = Some(match self.untold {
            Some(earlier) => {
                let first = earlier.first.min(gone.first);
                let later = if gone.last >= earlier.last { gone } else { earlier };
                Gone { first, ..later }
            }
            None => gone,
        });
    }

    /// What a flipped bit destroyed: passed once all before it is acknowledged, and said.
    fn tell_damage<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
    ) -> Result<(), Stop> {
        let Some(gone) = self.damaged.take() else { return Ok(()) };
        let Some(Held { ring, truth }) = &mut self.held else { return Ok(()) };
        ring.release(gone.first.prev());
        truth.released = truth.released.max(gone.first.prev());
        ring.give_up(&mut bench.flash, &gone)?;
        if bench.planted != Some(Planted::DamageUntold) {
            self.owe(gone);
        }
        Ok(())
    }

    /// The flash refused something, and the device goes on as it is.
    pub(super) fn failed(&mut self) -> Result<(), Stop> {
        self.becoming = None;
        let Some(Held { ring, truth }) = &mut self.held else { return Ok(()) };
        truth.failed(ring)?;
        self.note_dropped()
    }
}

impl Held {
    fn put<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
        len: usize,
        adds: Counts,
        content: Content,
        old: Option<&OldFrame>,
    ) -> Result<(), Stop> {
        let Self { ring, truth } = self;
        let counted = if old.is_some() { Counts::ZERO } else { adds };
        truth.under_way = UnderWay::Reserving { adds: counted, is_lost_copy: false };
        let reserved = match old {
            Some(old) => ring.reserve_copy(&mut bench.flash, old, len)?,
            None => ring.reserve(&mut bench.flash, len, adds)?,
        };
        let (seq, bytes) = (reserved.seq(), bench.frame(len));
        truth.given(seq, content, adds, &bytes)?;
        truth.stands_at(bench.flash.record_at);
        let written = ring.write(&mut bench.flash, reserved, &bytes)?;
        truth.written();
        let (next, before) = (ring.next(), ring.before_next());
        let agrees = written == seq && next == seq.next() && before == truth.total();
        must(agrees, || format!("{seq} was written as {written}; next {next}, {before:?}"))?;
        Ok(())
    }

    fn take_over<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
        old: &Old,
        frame: &OldFrame,
        bytes: &[u8],
    ) -> Result<(), Stop> {
        let OldFrame { seq, adds, .. } = *frame;
        let Some(entry) = old.entry(seq).filter(|entry| entry.is_durable) else {
            return Err(Violation(format!("frame {seq} of the old ring appeared")).into());
        };
        must(*entry.bytes == *bytes && entry.adds == adds, || {
            format!("frame {seq} of the old ring is not the one that was written")
        })?;
        must(!self.truth.has_copy(seq), || format!("{seq} of the old ring is copied again"))?;
        if let Content::Loss(_) = entry.content {
            self.ring.skip_old(frame);
            return Ok(());
        }
        let len = (frame.len + ORIGIN_LEN).min(self.ring.frame_len_max());
        self.put(bench, len, adds, Content::Copy { origin: seq }, Some(frame))
    }

    /// Frames of the old ring are lost only where the new one had to take their place.
    fn check_lost(&self, old: &Old, gone: &Gone, went_round: bool) -> Result<(), Violation> {
        let mut seq = gone.first;
        while seq <= gone.last {
            let is_durable = old.entry(seq).is_some_and(|entry| entry.is_durable);
            let is_hurt = self.truth.hurt_old == Some(seq);
            let was_gone = seq < old.retained;
            must(!is_durable || went_round || is_hurt || was_gone, || {
                format!("frame {seq} of the old ring is lost")
            })?;
            must(!self.truth.has_copy(seq), || format!("{seq} is copied and called lost"))?;
            seq = seq.next();
        }
        let through = old.through(gone.last);
        must(through == Some(gone.through), || format!("{gone:?} of the old ring: {through:?}"))
    }

    fn lose<const U: usize, const S: usize>(
        &mut self,
        bench: &mut Bench<U, S>,
        old: &Old,
        gone: &Gone,
    ) -> Result<Gone, Stop> {
        let Self { ring, truth } = self;
        let behind = old.through(old.first.prev()).unwrap_or_default() + truth.taken;
        let adds = gone.through.since(behind);
        truth.under_way = UnderWay::Reserving { adds, is_lost_copy: true };
        let burnt = ring.lose_old(&mut bench.flash, gone)?;
        truth.under_way = UnderWay::Nothing;
        truth.lost(adds);
        let (last, total) = (truth.last(), truth.total());
        must(burnt.last == last && burnt.through == total, || {
            format!("{gone:?} of the old ring became {burnt:?}, and {last} with {total:?} is right")
        })?;
        Ok(burnt)
    }
}
