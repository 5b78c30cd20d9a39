//! One stream of one vehicle, followed from its first reading to its last.
//!
//! The source is walked beside the documents with one cursor, so memory is bounded by vehicles, not
//! by documents. Only where the two part is the source searched, ahead and then back.

use std::collections::BTreeMap;

use protocol::Lane;

use super::fault::{Context, FaultKind, Faults, Place};
use super::got::{Got, Shown};
use crate::source::{Reading, Source, SourceCursor};

/// Most holes remembered until the boots that may explain them are known.
const HOLES_MAX: usize = 256;

/// What became of a stream's readings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Tally {
    /// What the source had for the stream: admitted by the campaign.
    pub accepted: u64,
    /// Delivered, equal and in order.
    pub delivered: u64,
    /// Covered by loss documents.
    pub lost: u64,
    /// Gone with a batch that was open when the power went, within the bound that the boot stated.
    pub unsealed: u64,
    /// Neither delivered nor explained.
    pub missing: u64,
    /// Delivered again.
    pub doubled: u64,
    /// Delivered, but later than its place.
    pub out_of_order: u64,
    /// Delivered with another value or time, or never said by the source.
    pub unequal: u64,
    /// Counted in a loss document and delivered all the same.
    pub overstated: u64,
    /// Delivered again in a frame that was sealed anew and names its origin: no fault.
    pub resealed: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.unsealed += other.unsealed;
        self.missing += other.missing;
        self.doubled += other.doubled;
        self.out_of_order += other.out_of_order;
        self.unequal += other.unequal;
        self.overstated += other.overstated;
        self.resealed += other.resealed;
    }
}

/// Follows one stream: the samples of a lane, or the events.
#[derive(Clone, Debug)]
pub struct Track {
    ahead: Ahead,
    /// Stated in loss documents and not yet matched with a hole.
    credit: u64,
    /// The device's own records are lost together with the source's events, so a loss is an upper
    /// bound for the events.
    credit_is_bound: bool,
    holes: Vec<Hole>,
    last_boot: u32,
    tally: Tally,
}

/// A place in the source where some readings have not come.
#[derive(Clone, Debug)]
struct Hole {
    start: u64,
    len: u64,
    /// Boots of the readings around it.
    boots: (u32, u32),
    place: Place,
    text: String,
}

/// The cursor, filtered to one lane and to what was admitted.
#[derive(Clone, Debug)]
struct Ahead {
    cursor: SourceCursor,
    lane: Lane,
    admitted: u64,
    taken: u64,
    peeked: Peeked,
}

/// What stands behind the cursor.
#[derive(Clone, Copy, Debug)]
enum Peeked {
    /// Not looked yet.
    Unknown,
    /// This, or the end.
    Known(Option<Reading>),
}

impl Ahead {
    fn new(source: &Source, lane: Lane, admitted: u64) -> Self {
        Self { cursor: source.cursor(), lane, admitted, taken: 0, peeked: Peeked::Unknown }
    }

    fn peek(&mut self, source: &Source) -> Option<Reading> {
        if let Peeked::Known(peeked) = self.peeked {
            return peeked;
        }
        let mut next = None;
        while next.is_none() && source.has_lane(self.lane) && self.cursor.position() < self.admitted
        {
            let Some(reading) = self.cursor.next(source) else { break };
            next = Some(reading).filter(|reading| reading.lane() == Some(self.lane));
        }
        self.peeked = Peeked::Known(next);
        next
    }

    fn take(&mut self, source: &Source) -> Option<Reading> {
        let next = self.peek(source)?;
        self.peeked = Peeked::Unknown;
        self.taken += 1;
        Some(next)
    }
}

impl Track {
    /// Begins in front of the source's first reading; `admitted` readings (of all lanes) are
    /// expected at most.
    pub fn new(source: &Source, lane: Lane, admitted: u64) -> Self {
        Self {
            ahead: Ahead::new(source, lane, admitted),
            credit: 0,
            credit_is_bound: lane == Lane::Critical,
            holes: Vec::new(),
            last_boot: 0,
            tally: Tally::default(),
        }
    }

    /// A loss document states this many readings.
    pub fn lose(&mut self, readings: u64) {
        self.credit = self.credit.saturating_add(readings);
    }

    /// A document brings a reading. `in_order`: its id comes after all ids of its ring before it.
    pub fn deliver(
        &mut self,
        source: &Source,
        got: &Got<'_>,
        in_order: bool,
        context: &Context<'_>,
        faults: &mut Faults,
    ) {
        if !in_order {
            return self.revisit(source, got, context, faults);
        }
        if self.credit > 0 && !self.credit_is_bound && self.take_after_loss(source, got) {
            self.last_boot = context.boot;
            return;
        }
        let expected = self.ahead.peek(source);
        match expected {
            Some(expected) if got.equals(&expected) => {
                self.drop_credit(source, got, context, faults);
                self.take(source, context.boot);
            }
            Some(expected) if got.resembles(&expected) => {
                self.tally.unequal += 1;
                faults.note(FaultKind::Unequal, context, || {
                    self.difference(source, Some(&expected), got)
                });
                self.ahead.take(source);
            }
            _ => match self.find_ahead(source, got, faults) {
                Some(distance) => self.jump(source, got, distance, context, faults),
                None => self.revisit(source, got, context, faults),
            },
        }
    }

    /// Everything was read: settles holes with what the boots stated, and counts what never came.
    /// `unsealed_max`: per boot the most readings that can have been in an open batch before it.
    pub fn finish(
        &mut self,
        source: &Source,
        unsealed_max: &BTreeMap<u32, u64>,
        end: &Context<'_>,
        faults: &mut Faults,
    ) -> Tally {
        let mut unsealed_left = unsealed_max.clone();
        for hole in std::mem::take(&mut self.holes) {
            let missing = self.settle(hole.len, hole.boots, &mut unsealed_left);
            if missing > 0 {
                faults.note_at(FaultKind::Missing, hole.place, hole.text);
            }
        }
        let (taken, expected) = (self.ahead.taken, self.ahead.peek(source));
        while self.ahead.take(source).is_some() {}
        let tail = self.ahead.taken - taken;
        let lost = tail.min(self.credit);
        self.tally.lost += lost;
        self.credit -= lost;
        let missing = self.settle(tail - lost, (self.last_boot, u32::MAX), &mut unsealed_left);
        if missing > 0 {
            faults.note(FaultKind::Missing, end, || {
                let expected =
                    expected.map(|reading| Shown(&reading, source.catalogue()).to_string());
                format!(
                    "the stream ends {tail} short of its source: expected {} (number {} of its \
                     lane), got nothing more",
                    expected.unwrap_or_default(),
                    taken + 1
                )
            });
        }
        if self.credit > 0 && !self.credit_is_bound {
            self.tally.overstated += self.credit;
            let credit = self.credit;
            faults.note(FaultKind::Overstated, end, || {
                format!("loss documents state {credit} more than the source still had")
            });
        }
        self.tally.accepted = self.ahead.taken;
        self.tally
    }

    fn take(&mut self, source: &Source, boot: u32) {
        self.ahead.take(source);
        self.tally.delivered += 1;
        self.last_boot = boot;
    }

    /// Behind a loss: the reading that comes exactly as far ahead as the loss says.
    fn take_after_loss(&mut self, source: &Source, got: &Got<'_>) -> bool {
        let mut beyond = self.ahead.clone();
        for _ in 0..self.credit {
            if beyond.take(source).is_none() {
                return false;
            }
        }
        if !beyond.take(source).is_some_and(|reading| got.equals(&reading)) {
            return false;
        }
        self.ahead = beyond;
        self.tally.lost += self.credit;
        self.tally.delivered += 1;
        self.credit = 0;
        true
    }

    /// The stream goes on in spite of a loss that was stated.
    fn drop_credit(
        &mut self,
        source: &Source,
        got: &Got<'_>,
        context: &Context<'_>,
        faults: &mut Faults,
    ) {
        let credit = std::mem::take(&mut self.credit);
        if credit > 0 && !self.credit_is_bound {
            self.tally.overstated += credit;
            let expected = self.ahead.peek(source);
            faults.note(FaultKind::Overstated, context, || {
                format!(
                    "loss documents state {credit} more than is gone: {}",
                    self.difference(source, expected.as_ref(), got)
                )
            });
        }
    }

    fn find_ahead(&self, source: &Source, got: &Got<'_>, faults: &mut Faults) -> Option<u64> {
        let mut beyond = self.ahead.clone();
        while faults.may_search() {
            if got.equals(&beyond.take(source)?) {
                return Some(beyond.taken - self.ahead.taken - 1);
            }
        }
        None
    }

    /// Goes on `distance` readings ahead; what is left out is a hole, or partly a stated loss.
    fn jump(
        &mut self,
        source: &Source,
        got: &Got<'_>,
        distance: u64,
        context: &Context<'_>,
        faults: &mut Faults,
    ) {
        let lost = distance.min(self.credit);
        self.tally.lost += lost;
        self.credit -= lost;
        self.drop_credit(source, got, context, faults);
        if distance > lost {
            let expected = self.ahead.peek(source);
            let text = self.difference(source, expected.as_ref(), got);
            let stated =
                if lost > 0 { format!(", {lost} of them stated as lost") } else { String::new() };
            let hole = Hole {
                start: self.ahead.taken + lost,
                len: distance - lost,
                boots: (self.last_boot, context.boot),
                place: Place::from(context),
                text: format!("{distance} left out{stated}: {text}"),
            };
            self.remember(hole, faults);
        }
        for _ in 0..distance {
            self.ahead.take(source);
        }
        self.take(source, context.boot);
    }

    fn remember(&mut self, hole: Hole, faults: &mut Faults) {
        if self.holes.len() < HOLES_MAX {
            self.holes.push(hole);
        } else {
            self.tally.missing += hole.len;
            faults.note_at(FaultKind::Missing, hole.place, hole.text);
        }
    }

    /// A reading that is not ahead: late, doubled, or never said.
    fn revisit(
        &mut self,
        source: &Source,
        got: &Got<'_>,
        context: &Context<'_>,
        faults: &mut Faults,
    ) {
        let mut before = Ahead::new(source, self.ahead.lane, self.ahead.admitted);
        let mut seen = false;
        while before.taken < self.ahead.taken && faults.may_search() {
            let place = before.taken;
            let Some(reading) = before.take(source) else { break };
            if got.equals(&reading) {
                seen = true;
                if self.fill(place) {
                    self.tally.out_of_order += 1;
                    faults.note(FaultKind::OutOfOrder, context, || {
                        format!("{got} (number {} of its lane) comes too late", place + 1)
                    });
                    return;
                }
            }
        }
        if seen && context.resealed {
            self.tally.resealed += 1;
        } else if seen {
            self.tally.doubled += 1;
            faults.note(FaultKind::Doubled, context, || format!("{got} was delivered before"));
        } else {
            self.tally.unequal += 1;
            let expected = self.ahead.peek(source);
            faults.note(FaultKind::Unequal, context, || {
                self.difference(source, expected.as_ref(), got)
            });
        }
    }

    /// Takes a place out of the hole it lies in, if it lies in one.
    fn fill(&mut self, place: u64) -> bool {
        let at =
            self.holes.iter().position(|hole| (hole.start..hole.start + hole.len).contains(&place));
        let Some(at) = at else { return false };
        let hole = self.holes.swap_remove(at);
        let (left, right) = (place - hole.start, hole.start + hole.len - place - 1);
        if left > 0 {
            self.holes.push(Hole { len: left, ..hole.clone() });
        }
        if right > 0 {
            self.holes.push(Hole { start: place + 1, len: right, ..hole });
        }
        true
    }

    /// Splits what did not come into unsealed and missing; how much is missing.
    fn settle(
        &mut self,
        len: u64,
        boots: (u32, u32),
        unsealed_left: &mut BTreeMap<u32, u64>,
    ) -> u64 {
        let mut missing = len;
        let (before, after) = boots;
        if before < after {
            for (_, left) in unsealed_left.range_mut(before.saturating_add(1)..=after) {
                let unsealed = missing.min(*left);
                *left -= unsealed;
                missing -= unsealed;
                self.tally.unsealed += unsealed;
            }
        }
        self.tally.missing += missing;
        missing
    }

    fn difference(&self, source: &Source, expected: Option<&Reading>, got: &Got<'_>) -> String {
        let number = self.ahead.taken + 1;
        match expected {
            Some(expected) => format!(
                "expected {} (number {number} of its lane), got {got}",
                Shown(expected, source.catalogue())
            ),
            None => format!("expected nothing more (the source has {}), got {got}", number - 1),
        }
    }
}
