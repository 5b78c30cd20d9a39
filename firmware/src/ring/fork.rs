//! Leaving a ring whose history is not the one the agent knows.
//!
//! The new ring goes on in the same circle of sectors. While the old one's are still there, each of
//! its frames is read, sealed anew by the caller and appended here; the record says which frame it
//! was, so that a power cut costs no more than the copy under way. Old sectors that the circle
//! reaches before they were copied are lost: a number of the new ring is burnt for them, with their
//! counts, and a loss record covers it. [`Ring::fork`] ends by itself with the last frame.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use protocol::{Counts, FrameTag, RingId, Seq};

use super::layout::{self, ForkMark, Purpose};
use super::open::Scan;
use super::walk::{Chain, Geometry, Place};
use super::{Gone, Reserved, Ring, RingError, RingMeta, body};

/// What is left to be taken over from an old ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fork {
    /// The ring that was left.
    pub old: RingId,
    /// Its next frame to be copied.
    pub next: Seq,
    /// Its last frame.
    pub last: Seq,
}

/// A frame of the old ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OldFrame {
    /// Its number in the old ring.
    pub seq: Seq,
    /// Its bytes.
    pub len: usize,
    /// What it adds to the counts.
    pub adds: Counts,
    /// Its tag in the old ring.
    pub tag: FrameTag,
    /// The frame as one that is gone, for [`Ring::lose_old`] if it cannot be sealed anew.
    pub gone: Gone,
}

/// A fork under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Takeover {
    /// The old ring.
    pub chain: Chain,
    copied: Seq,
    copied_through: Counts,
    read_at: Option<Place>,
}

impl Takeover {
    /// What the header of a sector opened now says about it.
    pub(super) const fn mark(&self) -> ForkMark {
        ForkMark {
            old: self.chain.ring,
            old_next: self.chain.next,
            old_before_next: self.chain.before_next,
            copied: self.copied,
            copied_through: self.copied_through,
        }
    }

    /// What is left of a fork after a boot, from the newest sector's header and records.
    pub(super) fn resume<F: ReadNorFlash>(
        flash: &mut F,
        geometry: &Geometry,
        mark: &ForkMark,
        new: &Chain,
        scan: &Scan,
    ) -> Result<Option<Self>, F::Error> {
        let mut chain = Chain {
            ring: mark.old,
            from: geometry.window_start(new.to),
            to: new.from.saturating_sub(1),
            end: geometry.sector_len,
            next: mark.old_next,
            before_next: mark.old_before_next,
            old_next: Seq::ZERO,
        };
        let mut number = chain.from;
        // The circle may have gone round: no sector of the old ring is left then.
        while let Some(sector) = chain.sector_from(flash, geometry, number)? {
            number = sector.span.number.saturating_add(1);
        }
        chain.to = number.saturating_sub(1);
        let copied = scan.copied.unwrap_or(mark.copied);
        let takeover = Self {
            chain,
            copied,
            copied_through: mark.copied_through + scan.copied_adds,
            read_at: None,
        };
        Ok((copied.next() < mark.old_next).then_some(takeover))
    }

    fn pass(&mut self, seq: Seq, adds: Counts) {
        self.copied = seq;
        self.copied_through += adds;
    }
}

impl Ring {
    /// Leaves this ring for a new one in its place and lane; `new.lane` is not looked at. All that
    /// this one retains is then to be copied with [`Ring::read_old`], which also names what is gone
    /// and was not acknowledged ([`Ring::lost`]).
    ///
    /// # Errors
    ///
    /// [`RingError::Order`] while an earlier fork is not finished.
    pub fn begin_fork<F: NorFlash>(
        &mut self,
        flash: &mut F,
        new: RingMeta,
    ) -> Result<(), RingError<F::Error>> {
        if self.fork.is_some() {
            return Err(RingError::Order);
        }
        let number = self.head.number.saturating_add(1);
        // What is gone already comes first: nobody can say of the agent's frames under these numbers
        // whether they are the same, so it counts as lost, and may be more than is.
        let gone = self.lost().map(|lost| (lost.first, lost.before));
        let (next, copied_through) = gone.unwrap_or((self.first, self.before_first));
        let takeover =
            Takeover { chain: self.chain, copied: next.prev(), copied_through, read_at: None };
        let nothing_left = takeover.copied.next() == takeover.chain.next;
        let meta = RingMeta { lane: self.meta.lane, ..new };
        let fork = (!nothing_left).then_some(takeover);
        *self = Self::begin(flash, self.geometry, meta, number, fork)?;
        Ok(())
    }

    /// What is left to be copied; nothing if no fork is under way.
    pub fn fork(&self) -> Option<Fork> {
        self.fork.as_ref().map(|takeover| Fork {
            old: takeover.chain.ring,
            next: takeover.copied.next(),
            last: takeover.chain.next.prev(),
        })
    }

    /// Reads the old ring's next frame, to be given to [`Ring::reserve_copy`] or, if it adds
    /// nothing and means nothing in a new ring, to [`Ring::skip_old`]. Nothing when the fork is
    /// finished. [`RingError::Damaged`] is for [`Ring::lose_old`].
    pub fn read_old<F: ReadNorFlash>(
        &mut self,
        flash: &mut F,
        into: &mut [u8],
    ) -> Result<Option<OldFrame>, RingError<F::Error>> {
        let Some(takeover) = &mut self.fork else { return Ok(None) };
        let seq = takeover.copied.next();
        let (old, place) = (&takeover.chain, &mut takeover.read_at);
        let read = body::read(flash, &self.geometry, old, place, seq, into)?;
        let through = takeover.copied_through + read.adds;
        let gone = Gone { first: seq, last: seq, through };
        Ok(Some(OldFrame { seq, len: read.len, adds: read.adds, tag: read.tag, gone }))
    }

    /// Reserves a number for the frame that [`Ring::read_old`] gave, as [`Ring::reserve`] does. It
    /// counts as copied once it is written.
    pub fn reserve_copy<F: NorFlash>(
        &mut self,
        flash: &mut F,
        old: &OldFrame,
        len_max: usize,
    ) -> Result<Reserved, RingError<F::Error>> {
        if self.fork().is_none_or(|fork| fork.next != old.seq) {
            return Err(RingError::Order);
        }
        self.reserve_for(flash, Purpose::Copy { origin: old.seq }, len_max, old.adds)
    }

    /// Leaves out a frame that adds nothing, such as a loss record. After a boot it may be read
    /// once more.
    pub fn skip_old(&mut self, old: &OldFrame) {
        if self.fork().is_some_and(|fork| fork.next == old.seq) && old.adds.is_zero() {
            self.copied(old.seq, Counts::ZERO);
        }
    }

    /// Counts frames of the old ring as lost: burns a number of this ring for them, or several if
    /// they add more than a record can say, for which a loss record has to be the next frame. What
    /// it has to say.
    pub fn lose_old<F: NorFlash>(
        &mut self,
        flash: &mut F,
        gone: &Gone,
    ) -> Result<Gone, RingError<F::Error>> {
        let Some(takeover) = self.fork.filter(|fork| fork.copied.next() == gone.first) else {
            return Err(RingError::Order);
        };
        let mut adds = gone.through.since(takeover.copied_through);
        while !layout::is_short(adds) {
            // Counted, and not passed yet: after a cut the rest is lost anew.
            let part = layout::shortened(adds);
            let purpose = Purpose::LostCopy { origin: takeover.copied };
            drop(self.reserve_for(flash, purpose, 0, part)?);
            self.copied(takeover.copied, part);
            adds = adds.since(part);
        }
        let purpose = Purpose::LostCopy { origin: gone.last };
        let last = self.reserve_for(flash, purpose, 0, adds)?.seq();
        self.copied(gone.last, adds);
        Ok(Gone { first: self.committed.next(), last, through: self.chain.before_next })
    }

    /// Takes note that the old ring's frames up to `origin` are taken over.
    pub(super) fn copied(&mut self, origin: Seq, adds: Counts) {
        if let Some(takeover) = &mut self.fork {
            takeover.pass(origin, adds);
            if takeover.copied.next() >= takeover.chain.next {
                self.fork = None;
            }
        }
    }
}
