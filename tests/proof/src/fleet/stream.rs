//! Samples of one lane of one device, as one sink sees them.

use protocol::RingId;

use super::source::SIGNALS;
use super::union::Gap;

/// Samples from a place on that may be missing without a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Allowance {
    /// The first of them.
    pub from: u64,
    /// The one after the last.
    pub to: u64,
    /// And how many of them, at most.
    pub most: u64,
}

/// Said to be lost, and not yet matched with a gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Credit {
    /// With the word that another agent has it.
    pub elsewhere: u64,
    /// For any other reason.
    pub other: u64,
}

/// The stream.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Stream {
    /// Place of the next sample, if nothing is missing.
    pub next: u64,
    pub credit: Credit,
    delivered: u64,
    pub lost: u64,
    unsealed: u64,
    /// Where the power went, and how many samples before that may have been open.
    pub allowed: Vec<Allowance>,
    /// The device was rolled back or copied: what it says is lost, the agent may have from before.
    pub may_overstate: bool,
    /// The sink began where the journal had been pruned: what came before is not its.
    pub begins_late: bool,
    /// There it began; and whether its agent was restored since, from a copy that may have more of what
    /// came before.
    began: u64,
    pub may_reach_back: bool,
    /// The device was erased then: nothing from before may come any more.
    pub erased_below: u64,
    /// Up to this place samples of another ring than the last may come late.
    pub goes_back_below: u64,
    /// Frames of its device may wait for a catalogue, or wait for ever: so many samples do.
    pub may_be_aside: bool,
    pub aside: u64,
    /// Where the first of them is missing.
    pub aside_at: Option<(u64, u64)>,
    /// Something is said to be lost, by its numbers alone: nobody knows how many samples that were. It
    /// excuses one gap.
    is_uncounted: bool,
    was_uncounted: bool,
    /// Signals that the rules took out when the last sample came.
    drops: u16,
    /// Samples that the rules must have taken out, and how many of these may be missing otherwise.
    pub excluded: u64,
    pub excluded_doubtful: u64,
    /// Missing in front of what a later ring of the device brought, until it is said of a former one:
    /// that one does not go on, so that it is named once the journal was read to its end.
    owed: u64,
    /// Its end is known, and accounted for.
    has_ended: bool,
    /// What was sealed anew of it last.
    pub sealed_anew: Option<SealedAnew>,
    /// What is missing, in order.
    pub gaps: Vec<Gap>,
}

/// Samples that came in frames which were sealed anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SealedAnew {
    /// First sealed in this ring.
    pub origin: RingId,
    /// Up to this place.
    pub below: u64,
}

impl SealedAnew {
    /// Whether a sample of that ring may be one of them.
    pub(super) fn has(&self, ring: RingId, at: u64) -> bool {
        ring == self.origin && at < self.below
    }
}

/// How a sample comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Coming {
    pub at: u64,
    /// In the frame of the one before it.
    pub is_same_frame: bool,
    /// Signals that the rules take out.
    pub drops: u16,
    /// Places of a second: of all signals, or of one.
    pub is_bulk: bool,
    /// The first of its ring, to a sink that may have been overrun in a former one.
    pub may_owe: bool,
}

/// How far a stream is held to account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Held {
    /// To the sample: each came, or is said to be lost.
    Exactly,
    /// Its end is not known: its device was shut out, or the sink was removed.
    WithoutEnd,
    /// Anything of it may be missing: its device has a double, or two histories.
    WithAnythingMissing,
    /// Of what is said to be lost it may have come all the same: its device was rolled back, formatted or
    /// added again.
    AtMost,
    /// Some of it may wait for a catalogue; so much at most as the ledger says.
    WithSomeAside,
    /// Something was said to be lost by its numbers alone.
    Uncounted,
    /// From where its sink began, in a journal that was pruned.
    Late,
    /// Its agent was restored from an old copy, which may say less of what is missing.
    Restored,
}

impl Held {
    pub(super) const ALL: [Self; 8] = [
        Self::Exactly,
        Self::WithoutEnd,
        Self::WithAnythingMissing,
        Self::AtMost,
        Self::WithSomeAside,
        Self::Uncounted,
        Self::Late,
        Self::Restored,
    ];

    /// Its name in reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Exactly => "exactly",
            Self::WithoutEnd => "without_end",
            Self::WithAnythingMissing => "with_anything_missing",
            Self::AtMost => "at_most",
            Self::WithSomeAside => "with_some_aside",
            Self::Uncounted => "uncounted",
            Self::Late => "late",
            Self::Restored => "restored",
        }
    }
}

impl Stream {
    /// How far it is held to account: the first exception that there is.
    pub(super) fn held(&self) -> Held {
        match self {
            Self { has_ended: false, .. } => Held::WithoutEnd,
            _ if self.may_miss_anything() => Held::WithAnythingMissing,
            Self { may_overstate: true, .. } => Held::AtMost,
            Self { may_be_aside: true, .. } => Held::WithSomeAside,
            Self { was_uncounted: true, .. } => Held::Uncounted,
            Self { begins_late: true, .. } => Held::Late,
            Self { may_reach_back: true, .. } => Held::Restored,
            _ => Held::Exactly,
        }
    }

    /// Its device has a double, or two histories of which nobody can tell the one from the other.
    pub(super) fn may_miss_anything(&self) -> bool {
        self.allowed.iter().any(|allowance| allowance.to == u64::MAX)
    }

    /// Something of it is said to be lost by its numbers alone.
    pub(super) const fn is_uncounted(&mut self) {
        (self.is_uncounted, self.was_uncounted) = (true, true);
    }

    /// I2, I3: it comes after all others, and what is missing before it is accounted for.
    pub(super) fn deliver(&mut self, coming: Coming) -> Result<(), (&'static str, String)> {
        let Coming { at, drops, .. } = coming;
        if at < self.erased_below {
            return Err(("I4", format!("sample {at} leaves, and its device was erased before")));
        }
        if self.begins_late && self.delivered == 0 {
            (self.next, self.credit, self.began) = (at, Credit::default(), at);
        }
        if at < self.began && self.may_reach_back {
            return Ok(());
        }
        if at < self.next {
            let last = self.next.saturating_sub(1);
            return Err(("I2", format!("sample {at} comes after sample {last}")));
        }
        let excludable = self.excludable(coming);
        self.close_gap(at, excludable, coming).map_err(|why| ("I3", why))?;
        self.drops = drops;
        self.next = at + 1;
        self.delivered += 1;
        Ok(())
    }

    /// How many samples before this one the rules may have taken out. All of a frame that have their
    /// signals; between frames, no more than what ends the one and begins the other.
    fn excludable(&self, coming: Coming) -> u64 {
        let Coming { at, drops, is_bulk, .. } = coming;
        if !is_bulk || self.drops | drops == 0 {
            return 0;
        }
        let is_in = |drops: u16, place: u64| drops >> (place % SIGNALS as u64) & 1 == 1;
        let before = (self.next..at).take_while(|place| is_in(self.drops, *place)).count();
        let behind = (self.next..at).rev().take_while(|place| is_in(drops, *place)).count();
        u64::try_from(before + behind).unwrap_or(0).min(at - self.next)
    }

    /// How many samples behind the last that came the rules may have taken out, if nobody knows where
    /// the stream ends: its device was revoked or erased.
    pub(super) fn excludable_behind(&self) -> u64 {
        if self.has_ended {
            return 0;
        }
        let end = self.next.saturating_add(SIGNALS as u64);
        let is_in = |place: &u64| self.drops >> (place % SIGNALS as u64) & 1 == 1;
        u64::try_from((self.next..end).take_while(is_in).count()).unwrap_or(0)
    }

    /// All between the last sample and this place is accounted for.
    fn close_gap(&mut self, to: u64, excludable: u64, how: Coming) -> Result<(), String> {
        let from = self.next;
        let gap = to - from;
        if gap == 0 && self.credit == Credit::default() {
            return Ok(());
        }
        let Credit { elsewhere, other } = self.credit;
        let elsewhere_said = elsewhere.min(gap);
        let other_said = other.min(gap - elsewhere_said);
        let mut unsaid = gap - elsewhere_said - other_said;
        if gap > 0 {
            let other = gap - elsewhere_said;
            self.gaps.push(Gap { from, to, elsewhere: elsewhere_said, other });
        }
        let excluded = unsaid.min(excludable);
        unsaid -= excluded;
        self.excluded += excluded;
        self.unsealed += unsaid;
        let mut is_doubtful = false;
        for allowance in &mut self.allowed {
            let overlap = allowance.to.min(to).saturating_sub(allowance.from.max(from));
            is_doubtful |= overlap > 0 && !how.is_same_frame;
            let used = overlap.min(allowance.most).min(unsaid);
            allowance.most -= used;
            unsaid -= used;
        }
        // A loss that says too much hides what the rules took out beside it.
        let is_hiding = self.may_overstate && other_said > 0;
        let hidden = if is_hiding { excludable.min(gap) - excluded } else { 0 };
        self.excluded += hidden;
        self.excluded_doubtful += hidden + if is_doubtful { excluded } else { 0 };
        self.allowed.retain(|allowance| allowance.to > to);
        if unsaid > 0 && std::mem::take(&mut self.is_uncounted) {
            unsaid = 0;
        }
        if self.may_be_aside && unsaid > 0 {
            self.aside_at.get_or_insert((from, to));
            self.aside += std::mem::take(&mut unsaid);
        }
        if how.may_owe {
            self.owed += std::mem::take(&mut unsaid);
        }
        if unsaid > 0 {
            return Err(format!(
                "samples {from} to {} are missing, and no loss says so of {unsaid} of them",
                to.saturating_sub(1)
            ));
        }
        self.credit = Credit { elsewhere: elsewhere - elsewhere_said, other: other - other_said };
        let credit = self.credit.elsewhere + self.credit.other;
        if self.may_overstate {
            self.credit = Credit::default();
        } else if credit > 0 {
            let to = to.saturating_sub(1);
            return Err(format!("up to sample {to}, {credit} more are said to be lost than are"));
        }
        Ok(())
    }

    /// Takes what is said to be lost; of a ring that was left, it pays what is owed.
    pub(super) fn say(&mut self, credit: Credit, is_of_former_ring: bool) {
        let paid = if is_of_former_ring { self.owed.min(credit.other) } else { 0 };
        self.owed -= paid;
        self.credit += Credit { other: credit.other - paid, ..credit };
    }

    /// Of a ring that was left something is said to be lost, and nobody knows how much.
    pub(super) const fn forgive(&mut self) {
        self.owed = 0;
    }

    /// I3: nothing is missing at the end of what was admitted.
    pub(super) fn end(&mut self, admitted: u64) -> Result<(), String> {
        self.has_ended = true;
        if self.next > admitted {
            return Err(format!("{} came and {admitted} were admitted", self.next));
        }
        if self.begins_late && self.delivered == 0 {
            return Ok(());
        }
        let coming = Coming {
            at: admitted,
            is_same_frame: false,
            drops: self.drops,
            is_bulk: true,
            may_owe: false,
        };
        let excludable = self.excludable(coming);
        self.close_gap(admitted, excludable, coming)?;
        match self.owed {
            0 => Ok(()),
            owed => {
                Err(format!("{owed} samples of rings that were left are missing, and not said"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules take out a second's last signal; ten samples are gone, and the one before them; so
    /// many are said to be lost.
    fn with_a_gap(may_overstate: bool, said: u64) -> Result<Stream, String> {
        let drops = 1 << (SIGNALS - 1);
        let signals = SIGNALS as u64;
        let mut stream = Stream { may_overstate, ..Stream::default() };
        let coming = |at| Coming { at, is_same_frame: false, drops, is_bulk: true, may_owe: false };
        (0..signals - 1).try_for_each(|at| stream.deliver(coming(at))).map_err(|(_, why)| why)?;
        stream.credit.other = said;
        stream.deliver(coming(2 * signals)).map_err(|(_, why)| why)?;
        Ok(stream)
    }

    #[test]
    fn what_the_rules_took_out_beside_a_loss_is_told_apart_from_it() {
        let signals = SIGNALS as u64;
        let exact = with_a_gap(false, signals).unwrap();
        assert_eq!((exact.excluded, exact.excluded_doubtful), (1, 0));
        assert!(with_a_gap(false, signals + 2).is_err(), "more than is missing");
    }

    #[test]
    fn what_a_ring_that_was_left_lost_may_be_said_behind_the_next_ring() {
        let coming =
            |at, may_owe| Coming { at, is_same_frame: false, drops: 0, is_bulk: true, may_owe };
        let lost = |samples| Credit { elsewhere: 0, other: samples };
        let owing = || {
            let mut stream = Stream::default();
            stream.deliver(coming(0, false)).unwrap();
            stream.deliver(coming(11, true)).unwrap();
            stream
        };
        let mut stream = owing();
        stream.say(lost(10), true);
        stream.end(12).unwrap();
        assert!(owing().end(12).is_err(), "it is never said");
        let mut stream = owing();
        stream.say(lost(10), false);
        assert!(stream.end(12).is_err(), "it is said of the ring that goes on");
        let mut stream = owing();
        stream.say(lost(11), true);
        assert!(stream.end(12).is_err(), "one more is said to be lost than is");
        assert!(Stream::default().deliver(coming(1, false)).is_err());
    }

    #[test]
    fn what_is_said_by_its_numbers_alone_was_not_set_aside() {
        let coming =
            |at| Coming { at, is_same_frame: false, drops: 0, is_bulk: true, may_owe: false };
        let aside = |is_uncounted| {
            let mut stream = Stream { may_be_aside: true, is_uncounted, ..Stream::default() };
            stream.deliver(coming(40)).unwrap();
            stream.aside
        };
        assert_eq!((aside(false), aside(true)), (40, 0));
    }

    #[test]
    fn of_a_stream_without_an_end_the_rules_may_have_taken_out_what_would_have_come_next() {
        let drops = 0b11_0000_0001;
        let coming = |at| Coming { at, is_same_frame: false, drops, is_bulk: true, may_owe: false };
        let stream_up_to = |last| {
            let mut stream = Stream::default();
            (1..=last).for_each(|at| stream.deliver(coming(at)).unwrap());
            stream
        };
        assert_eq!(stream_up_to(6).excludable_behind(), 0, "signal 7 would have come");
        assert_eq!(stream_up_to(7).excludable_behind(), 3, "signals 8, 9 and 0 would not");
        let mut ended = stream_up_to(7);
        ended.end(10).unwrap();
        assert_eq!((ended.excludable_behind(), ended.excluded), (0, 3), "0 at first, 8 and 9");
    }

    #[test]
    fn a_loss_that_says_too_much_may_hide_what_the_rules_took_out() {
        let signals = SIGNALS as u64;
        let hidden = with_a_gap(true, signals + 2).unwrap();
        assert_eq!(
            (hidden.excluded, hidden.excluded_doubtful),
            (2, 2),
            "before and behind the gap"
        );
        let exact = with_a_gap(true, signals).unwrap();
        assert_eq!((exact.excluded, exact.excluded_doubtful), (2, 1), "one of them for certain");
    }
}
