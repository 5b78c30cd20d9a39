//! What is read, held against what is known.

use firmware::ring::{Gone, Ring, RingError};
use protocol::Seq;

use super::truth::{Content, Truth, Violation, must};
use super::world::{Bench, Held, Stop, Store};

impl Store {
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
        self.damaged = None;
        let mut gap: Option<Gone> = None;
        let mut seq = first;
        let mut buffer = [0; S];
        while seq < next {
            match ring.read(&mut bench.flash, seq, &mut buffer) {
                Ok(read) => {
                    let frame = buffer.get(..read.len).unwrap_or_default();
                    truth.check_frame(seq, frame, &read)?;
                    if let Some(gone) = gap.take()
                        && truth.is_uncovered(&gone)?
                    {
                        self.damaged = Some(gone);
                    }
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
                    gap = Some(gap.map_or(gone, |earlier| Gone { first: earlier.first, ..gone }));
                    seq = gone.last.next();
                }
                Err(error) => return Err(error.into()),
            }
        }
        truth.may_be_whole = false;
        match gap.filter(|gone| truth.is_hurt(gone)) {
            Some(gone) => self.damaged = Some(gone),
            None => check_end(ring, truth, gap, is_boot)?,
        }
        truth.check_gone(first, self.untold.as_ref())?;
        truth.check_run(ring)?;
        Ok(truth.check_fork(ring)?)
    }
}

/// The numbers at the end that have no frame are those that the ring calls burnt: after a boot
/// exactly those, and later with what it dropped of them.
fn check_end(
    ring: &Ring,
    truth: &Truth,
    gap: Option<Gone>,
    is_boot: bool,
) -> Result<(), Violation> {
    let burnt = ring.burnt();
    let last = ring.next().prev();
    match (gap.map(|gone| gone.first), burnt) {
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
        if is_last && may_be_whole {
            self.written();
        }
        Ok(())
    }

    fn check_unreadable(&self, gone: &Gone) -> Result<(), Violation> {
        let mut seq = gone.first;
        while seq <= gone.last {
            let is_durable = self.entry(seq).is_some_and(|entry| entry.is_durable);
            must(!is_durable || self.hurt == Some(seq), || {
                format!("frame {seq} was written and is gone")
            })?;
            seq = seq.next();
        }
        Ok(())
    }

    /// A gap is covered by the frame after it, or a flipped bit's work.
    fn is_uncovered(&self, gone: &Gone) -> Result<bool, Violation> {
        let Gone { first, last, .. } = *gone;
        let cover = self.entry(last.next()).map(|entry| entry.content);
        let is_covered =
            matches!(cover, Some(Content::Loss(said)) if said.first <= first && said.last == last);
        must(is_covered || self.is_hurt(gone), || {
            format!("numbers {first} to {last} are gone, and the next frame does not say so")
        })?;
        Ok(!is_covered)
    }
}
