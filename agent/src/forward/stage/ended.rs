//! Rings that do not go on behind a hole: none of their entries tells what is missing, so the table of
//! rings does, once everything that stands behind the hole was read.

use std::io;

use protocol::{Counts, DeviceId, Lane, RingId, Seq};

use super::{Held, Stage, lane_mut};
use crate::forward::continuity::{Continuity, Hole, RingState};
use crate::forward::{CatalogueSource, OpenFrame};
use crate::journal::Positions;
use crate::privacy::Source;

/// A ring, as far as it was taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldRing {
    /// Which.
    pub ring: RingId,
    /// Whose; nobody's if that one was erased.
    pub device: Option<DeviceId>,
    /// Which lane's.
    pub lane: Lane,
    /// Its last frame, or the last one covered by a loss.
    pub last: Seq,
    /// What it had taken up to there.
    pub through: Counts,
}

/// Knows how far each ring was taken in; implemented by [`crate::rings`].
pub trait RingSource: Send + std::fmt::Debug {
    /// Every ring, not further than it is durable in the journal, and at least as far as the journal
    /// was ever pruned.
    fn each(&self, take: &mut dyn FnMut(HeldRing)) -> io::Result<()>;

    /// Up to where in the journal [`Self::each`] knows all rings.
    fn known_to(&self) -> io::Result<Positions>;
}

/// What is to be named.
#[derive(Debug)]
pub struct Ended {
    /// Lanes in which something is missing.
    lanes: [bool; 3],
    /// Up to where in the journal the rings have to be known: what is missing may be the last of all.
    wanted: Option<Positions>,
    /// Rings that are further than was read; and how far the journal was then.
    behind: Option<(Vec<HeldRing>, Positions)>,
}

impl Ended {
    /// Something may be missing in these lanes.
    pub const fn new(lanes: [bool; 3]) -> Self {
        Self { lanes, wanted: None, behind: None }
    }

    /// Whether nothing is to be named any more.
    pub fn is_done(&self) -> bool {
        self.lanes == [false; 3]
    }

    /// Something more is missing.
    pub fn hole(&mut self, lane: Lane) {
        *lane_mut(&mut self.lanes, lane) = true;
        (self.wanted, self.behind) = (None, None);
    }
}

impl<O: OpenFrame, C: CatalogueSource> Stage<O, C> {
    /// Names what is missing of rings that do not go on; for whoever has read all there is. The batch
    /// grows up to about `room`: what is left is named in the next one.
    pub fn name_ended(&mut self, room: usize) -> Result<(), Held> {
        // Without an entry that was ever read nobody knows the time.
        if self.ended.is_done() || self.received_ms() == 0 {
            return Ok(());
        }
        let (mut behind, until) = match self.ended.behind.take() {
            Some(known) => known,
            None if self.are_rings_known()? => self.rings_behind()?,
            None => return Ok(()),
        };
        if !until.within(&self.positions) {
            // Some of them go on in what came meanwhile.
            self.ended.behind = Some((behind, until));
            return Ok(());
        }
        while let Some(held) = behind.pop() {
            if self.pending_bytes() >= room {
                behind.push(held);
                self.ended.behind = Some((behind, until));
                return Ok(());
            }
            self.name(&held)?;
        }
        (self.ended.lanes, self.ended.wanted) = ([false; 3], None);
        Ok(())
    }

    /// Whether the table has what stood in the journal when all of that was read: until then a ring may be
    /// further than it says.
    fn are_rings_known(&mut self) -> Result<bool, Held> {
        let wanted = *self.ended.wanted.get_or_insert_with(|| self.tail.ends().positions);
        let known = self.parts.rings.known_to().map_err(|error| unread(&error))?;
        Ok(wanted.within(&known))
    }

    fn rings_behind(&self) -> Result<(Vec<HeldRing>, Positions), Held> {
        let mut lanes = self.ended.lanes;
        let mut behind = Vec::new();
        let read = self.parts.rings.each(&mut |held| {
            if *lane_mut(&mut lanes, held.lane) && ended(&self.parts.continuity, &held).is_some() {
                behind.push(held);
            }
        });
        read.map_err(|error| unread(&error))?;
        // Taken afterwards: what it says of each ring stands before this in the journal, or is gone.
        Ok((behind, self.tail.ends().positions))
    }

    fn name(&mut self, held: &HeldRing) -> Result<(), Held> {
        let Some(hole) = ended(&self.parts.continuity, held) else { return Ok(()) };
        let HeldRing { ring, device, lane, .. } = *held;
        let source = match device {
            Some(device) => {
                self.turn_to(device)?;
                let (seq, received_ms) = (hole.last, self.received_ms());
                Some(Source { device, ring, seq, lane, received_ms, origin: None })
            }
            None => None,
        };
        self.hole(lane, source, &hole);
        self.tells_more = true;
        let state = RingState { last: held.last, through: Some(held.through) };
        self.parts.continuity.reach(ring, state);
        Ok(())
    }
}

fn unread(error: &io::Error) -> Held {
    Held::Storage(format!("the table of rings: {error}"))
}

/// What is missing of a ring of which nothing more stands in the journal, if something is.
fn ended(continuity: &Continuity, held: &HeldRing) -> Option<Hole> {
    let known = continuity.missing_from(&held.ring);
    let lost = known.through.map_or(Counts::ZERO, |through| held.through.since(through));
    let hole = Hole { first: known.last.next(), last: held.last, lost };
    (held.last > known.last).then_some(hole)
}
