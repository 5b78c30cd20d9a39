//! What one ring took, and what must therefore be found in it.

use std::rc::Rc;

use firmware::ring::{Gone, Ring, RingMeta};
use protocol::{Counts, RingId, Seq};

/// Something that was promised does not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Violation(pub String);

/// Holds, or is a violation.
pub(super) fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(otherwise())) }
}

/// What a number was given out for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// A frame of the device's own.
    Own,
    /// A loss frame.
    Loss(Gone),
    /// A frame of the ring that was left.
    Copy {
        /// Its number there.
        origin: Seq,
    },
    /// No frame: burnt by a cut, or for frames of the ring that was left.
    Nothing,
}

/// What became of one number.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub content: Content,
    pub bytes: Rc<[u8]>,
    pub adds: Counts,
    /// What the ring had taken up to and including this.
    pub through: Counts,
    /// Its write returned, or it was found whole after a cut.
    pub is_durable: bool,
    /// Its number was handed to somebody. If it was only tried, it may be given out later.
    pub is_given: bool,
    /// Where in the flash its record stands.
    pub at: Option<u32>,
}

/// What the ring was asked and has not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UnderWay {
    Nothing,
    /// A reservation that adds this, if it is found.
    Reserving {
        adds: Counts,
        /// It stands for frames of the ring that was left.
        is_lost_copy: bool,
    },
    /// The frame of the last number.
    Writing,
}

/// The ring that was left by a fork.
#[derive(Debug)]
pub(super) struct Old {
    pub id: RingId,
    pub entries: Vec<Entry>,
    /// The first number that counts as lost or is to be copied.
    pub first: Seq,
    /// The first that was retained.
    pub retained: Seq,
}

impl Old {
    pub(super) fn through(&self, seq: Seq) -> Option<Counts> {
        through(&self.entries, seq)
    }

    pub(super) fn entry(&self, seq: Seq) -> Option<&Entry> {
        entry(&self.entries, seq)
    }

    fn last(&self) -> Seq {
        Seq(self.entries.len() as u64)
    }
}

/// What one ring took.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub meta: RingMeta,
    pub entries: Vec<Entry>,
    /// The highest number ever released.
    pub released: Seq,
    pub under_way: UnderWay,
    /// The last frame may be whole although its write did not return.
    pub may_be_whole: bool,
    pub old: Option<Rc<Old>>,
    /// What of the old ring is in this one's counts.
    pub taken: Counts,
    /// And how much of that stands for frames that are lost, and not all of them counted yet.
    partly: Counts,
    /// A bit flipped in the body of this frame.
    pub hurt: Option<Seq>,
    /// Or of this one, of the ring that was left.
    pub hurt_old: Option<Seq>,
    /// The flash refused something since the boot.
    has_failed: bool,
    /// Numbers up to here are gone, and were found to be excused.
    excused: Seq,
}

impl Truth {
    /// Of a ring that took nothing.
    pub(super) fn new(meta: RingMeta, old: Option<Rc<Old>>) -> Self {
        Self {
            meta,
            entries: Vec::new(),
            released: Seq::ZERO,
            under_way: UnderWay::Nothing,
            may_be_whole: false,
            old,
            taken: Counts::ZERO,
            partly: Counts::ZERO,
            hurt: None,
            hurt_old: None,
            has_failed: false,
            excused: Seq::ZERO,
        }
    }

    /// The highest number given out or found.
    pub(super) fn last(&self) -> Seq {
        Seq(self.entries.len() as u64)
    }

    /// What the ring had taken up to and including a number.
    pub(super) fn through(&self, seq: Seq) -> Option<Counts> {
        through(&self.entries, seq)
    }

    pub(super) fn entry(&self, seq: Seq) -> Option<&Entry> {
        entry(&self.entries, seq)
    }

    /// What the ring took altogether.
    pub(super) fn total(&self) -> Counts {
        self.through(self.last()).unwrap_or_default()
    }

    /// The ring gave out a number.
    pub(super) fn given(
        &mut self,
        seq: Seq,
        content: Content,
        adds: Counts,
        bytes: &Rc<[u8]>,
    ) -> Result<(), Violation> {
        let last = self.last();
        must(seq > last, || format!("number {seq} is given out again; {last} was"))?;
        must(seq == last.next(), || format!("number {seq} is given out after {last}"))?;
        // A copy counts once it is written: until then the old one can be copied again.
        let counted = if let Content::Copy { .. } = content { Counts::ZERO } else { adds };
        let through = self.total() + counted;
        let bytes = Rc::clone(bytes);
        self.entries.push(Entry {
            content,
            bytes,
            adds,
            through,
            is_durable: false,
            is_given: true,
            at: None,
        });
        self.under_way = UnderWay::Writing;
        Ok(())
    }

    /// Where the record of the last number is.
    pub(super) fn stands_at(&mut self, at: u32) {
        if let Some(last) = self.entries.last_mut() {
            last.at = Some(at);
        }
    }

    /// The frame of the last number is durable.
    pub(super) fn written(&mut self) {
        self.under_way = UnderWay::Nothing;
        self.may_be_whole = false;
        let Some(last) = self.entries.last_mut().filter(|last| !last.is_durable) else { return };
        last.is_durable = true;
        if let Content::Copy { .. } = last.content {
            last.through += last.adds;
            self.taken += last.adds;
        }
    }

    /// A number without a frame.
    fn burnt(&mut self, adds: Counts) {
        let through = self.total() + adds;
        let (content, bytes) = (Content::Nothing, Rc::default());
        self.entries.push(Entry {
            content,
            bytes,
            adds,
            through,
            is_durable: false,
            is_given: true,
            at: None,
        });
    }

    /// The numbers that stand for what is lost of the old ring.
    pub(super) fn lost(&mut self, adds: Counts) {
        for part in parts(adds) {
            self.burnt(part);
        }
        self.taken += adds;
        self.partly = Counts::ZERO;
    }

    /// After a boot: what became of what was under way. The ring knows; it may only say what can be.
    pub(super) fn settle(&mut self, ring: &Ring) -> Result<(), Violation> {
        while ring.next() <= self.last() && self.entries.last().is_some_and(|last| !last.is_given) {
            self.entries.pop();
        }
        let (last, next) = (self.last(), ring.next());
        must(next > last, || format!("number {last} was given out, and {next} would be the next"))?;
        let fresh = next.0 - last.0 - 1;
        let grown = ring.before_next().since(self.total());
        match std::mem::replace(&mut self.under_way, UnderWay::Nothing) {
            // Where a write failed, a boot takes as many for used as there may have been.
            UnderWay::Nothing | UnderWay::Reserving { .. }
                if self.has_failed && grown.is_zero() =>
            {
                (0..fresh).for_each(|_| self.burnt(Counts::ZERO));
            }
            UnderWay::Reserving { adds, is_lost_copy } if fresh > 0 => {
                self.found(adds, is_lost_copy, fresh, grown)?;
            }
            UnderWay::Writing => {
                must(fresh == 0, || format!("{fresh} numbers are gone that nobody took"))?;
                self.may_be_whole = true;
                let adds = self.entries.last().map_or(Counts::ZERO, |last| match last.content {
                    Content::Copy { .. } => last.adds,
                    _ => Counts::ZERO,
                });
                if !adds.is_zero() && grown == adds {
                    // It is whole then; that it can be read is checked with all others.
                    self.written();
                }
            }
            _ => must(fresh == 0, || format!("{fresh} numbers are gone that nobody took"))?,
        }
        self.has_failed = false;
        let (found, total) = (ring.before_next(), self.total());
        must(found == total, || format!("the counts are {found:?} and were {total:?}"))
    }

    /// The flash refused something, and the ring goes on without a boot.
    pub(super) fn failed(&mut self, ring: &Ring) -> Result<(), Violation> {
        self.has_failed = true;
        let (last, next) = (self.last(), ring.next());
        must(next > last, || format!("number {last} was given out, and {next} would be the next"))?;
        let fresh = next.0 - last.0 - 1;
        let grown = ring.before_next().since(self.total());
        match std::mem::replace(&mut self.under_way, UnderWay::Nothing) {
            UnderWay::Reserving { adds, is_lost_copy } if fresh > 0 => {
                self.found(adds, is_lost_copy, fresh, grown)?;
                if let Some(last) = self.entries.last_mut() {
                    last.is_given = false;
                }
            }
            // Not there: should it be whole later, it came back.
            _ => must(fresh == 0, || format!("{fresh} numbers are gone that nobody took"))?,
        }
        let (found, total) = (ring.before_next(), self.total());
        must(found == total, || format!("the counts are {found:?} and were {total:?}"))
    }

    /// So many numbers of a reservation were found, the last one perhaps without its counts.
    fn found(
        &mut self,
        adds: Counts,
        is_lost_copy: bool,
        fresh: u64,
        grown: Counts,
    ) -> Result<(), Violation> {
        let parts = if is_lost_copy { parts(adds) } else { vec![adds] };
        let mut left = grown;
        let mut parts = parts.into_iter();
        for number in 1..=fresh {
            let Some(part) = parts.next() else {
                return Err(Violation(format!("{fresh} numbers are gone that nobody took")));
            };
            let is_torn = number == fresh && left.is_zero();
            let counted = if is_torn { Counts::ZERO } else { part };
            self.burnt(counted);
            left = left.since(counted);
        }
        if is_lost_copy {
            self.taken += grown;
            self.partly = if grown == adds { Counts::ZERO } else { self.partly + grown };
        }
        let total = self.total();
        must(left.is_zero(), || {
            format!("a reservation of {adds:?} counts as {grown:?}, and {total:?} is right")
        })
    }

    /// What is gone below the first number retained was released, or is said to be lost.
    pub(super) fn check_gone(
        &mut self,
        first: Seq,
        pending: Option<&Gone>,
    ) -> Result<(), Violation> {
        let mut lasting = true;
        let mut seq = self.excused.next();
        while seq < first {
            let is_durable = self.entry(seq).is_some_and(|entry| entry.is_durable);
            if is_durable && seq > self.released && !self.is_told(seq) {
                let pends = pending.is_some_and(|gone| gone.first <= seq && seq <= gone.last);
                must(pends, || format!("frame {seq} was dropped, and nothing says so"))?;
                lasting = false;
            }
            if lasting {
                self.excused = seq;
            }
            seq = seq.next();
        }
        Ok(())
    }

    fn is_told(&self, seq: Seq) -> bool {
        self.entries.iter().any(|entry| match entry.content {
            Content::Loss(gone) => entry.is_durable && gone.first <= seq && seq <= gone.last,
            _ => false,
        })
    }

    /// Whether a loss frame is retained.
    pub(super) fn holds_loss(&self, first: Seq) -> bool {
        let start = usize::try_from(first.0.saturating_sub(1)).unwrap_or(usize::MAX);
        let retained = self.entries.get(start..).unwrap_or_default();
        retained.iter().any(|entry| matches!(entry.content, Content::Loss(_)))
    }

    /// The run of what is gone reaches down to what was released, with the counts that it took.
    pub(super) fn check_run(&self, ring: &Ring) -> Result<(), Violation> {
        let (first, lost) = (ring.first_retained(), ring.lost());
        let is_durable = |seq: u64| self.entry(Seq(seq)).is_some_and(|entry| entry.is_durable);
        let gone = (self.released.next().0..first.0).find(|seq| is_durable(*seq));
        must(gone.is_none_or(|gone| lost.is_some_and(|lost| lost.first.0 <= gone)), || {
            format!("{gone:?} is gone and not released, {first} retained, and lost is {lost:?}")
        })?;
        let before = lost.map(|lost| self.through(lost.first.prev()));
        must(lost.map(|lost| Some(lost.before)) == before, || {
            format!("{lost:?}, and what was taken before is {before:?}")
        })
    }

    /// A range that the ring says is gone has the counts that it took.
    pub(super) fn check_range(&self, gone: &Gone) -> Result<(), Violation> {
        let through = self.through(gone.last);
        must(gone.first <= gone.last && through == Some(gone.through), || {
            format!("{gone:?} is said to be gone, and the counts are {through:?}")
        })
    }

    /// The fork is as far as the counts say.
    pub(super) fn check_fork(&self, ring: &Ring) -> Result<(), Violation> {
        let fork = ring.fork();
        let Some(old) = &self.old else {
            return must(fork.is_none(), || format!("{fork:?}, and nobody began one"));
        };
        must(fork.is_none_or(|fork| fork.old == old.id && fork.last == old.last()), || {
            format!("{fork:?} is not the one that was begun")
        })?;
        let next = fork.map_or(old.last().next(), |fork| fork.next);
        must(next >= old.first, || format!("the fork is at {next}, before {}", old.first))?;
        let before = old.through(old.first.prev()).unwrap_or_default();
        let passed = old.through(next.prev()).unwrap_or_default().since(before);
        let (taken, partly) = (self.taken, self.partly);
        must(passed + partly == taken, || {
            format!("the fork is at {next}, {passed:?} and {partly:?} behind it, took {taken:?}")
        })
    }

    /// Whether what is gone is a flipped bit's work, in part.
    pub(super) fn is_hurt(&self, gone: &Gone) -> bool {
        self.hurt.is_some_and(|hurt| gone.first <= hurt && hurt <= gone.last)
    }

    /// Whether a frame of the old ring was taken over already.
    pub(super) fn has_copy(&self, origin: Seq) -> bool {
        self.entries.iter().any(|entry| match entry.content {
            Content::Copy { origin: taken } => entry.is_durable && taken == origin,
            _ => false,
        })
    }
}

/// What is lost of an old ring, as the numbers that stand for it say it: at most 32 bits each.
fn parts(mut adds: Counts) -> Vec<Counts> {
    let most = u64::from(u32::MAX);
    let mut parts = Vec::new();
    while adds.samples > most || adds.events > most {
        let part = Counts { samples: adds.samples.min(most), events: adds.events.min(most) };
        parts.push(part);
        adds = adds.since(part);
    }
    parts.push(adds);
    parts
}

fn entry(entries: &[Entry], seq: Seq) -> Option<&Entry> {
    entries.get(usize::try_from(seq.0.checked_sub(1)?).ok()?)
}

fn through(entries: &[Entry], seq: Seq) -> Option<Counts> {
    if seq == Seq::ZERO {
        return Some(Counts::ZERO);
    }
    entry(entries, seq).map(|entry| entry.through)
}
