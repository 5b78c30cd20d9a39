//! What must hold of what a sink is given.

use std::collections::{BTreeMap, HashMap};

use agent::privacy::{ClearedFrame, ClearedSample, Piece, Provenance, RecordKind};
use protocol::{Lane, RingId, Seq};

use super::source::{Lineage, SIGNALS, place};

/// A promise that was not kept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

/// Samples of one lane of one device, as the sink sees them.
#[derive(Clone, Debug, Default)]
struct Stream {
    /// Place of the next sample, if nothing is missing.
    next: u64,
    /// Said to be lost, and not yet matched with a gap.
    credit: u64,
    delivered: u64,
    lost: u64,
    unsealed: u64,
    /// Where the power went, and how many samples before that may have been open.
    allowed: Vec<Allowance>,
    /// The device was rolled back or copied: what it says is lost, the agent may have from before.
    may_overstate: bool,
}

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

/// What the sink has been given.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    streams: BTreeMap<(Lineage, usize), Stream>,
    /// Losses that the stream of a ring says: a ring belongs to a lineage once it has delivered.
    lineages: HashMap<RingId, Lineage>,
    /// Said of a ring that has delivered nothing yet.
    early: HashMap<RingId, u64>,
    /// Per ring, the last frame and the place in it.
    last: HashMap<RingId, (Seq, u32)>,
    pub samples: u64,
    pub records: u64,
    pub loss_documents: u64,
    pub resealed: u64,
    pub reconciled: u64,
    pub violation: Option<Violation>,
    /// For the trace: every loss, as its document says it.
    pub told: Vec<String>,
}

impl Truth {
    /// Samples of a lineage from a place on may be missing: they were open when the power went, or
    /// in a flash that is gone.
    pub(super) fn allow(&mut self, of: Lineage, lane: Lane, allowance: Allowance) {
        self.stream(of, lane).allowed.push(allowance);
    }

    /// From now on what a device says is lost may be more than is: its flash is of another history.
    pub(super) fn may_overstate(&mut self, of: Lineage) {
        for lane in Lane::ALL {
            self.stream(of, lane).may_overstate = true;
        }
    }

    fn stream(&mut self, of: Lineage, lane: Lane) -> &mut Stream {
        self.streams.entry((of, lane.index())).or_default()
    }

    fn violate(&mut self, what: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(|| Violation(what()));
    }

    /// Takes a piece of a batch; which frame it was of.
    pub(super) fn take(&mut self, piece: &Piece<'_>) -> (RingId, Seq) {
        match piece {
            Piece::Samples(frame, samples) => {
                self.samples(frame, samples);
                (frame.from.ring, frame.from.seq)
            }
            Piece::Record(record, document) => {
                self.records += 1;
                let from = &record.from;
                if record.kind == RecordKind::Loss {
                    self.loss(from, document);
                } else if let Some(ordinal) = record.ordinal {
                    self.in_order(from, ordinal);
                }
                (from.ring, from.seq)
            }
        }
    }

    /// I2: each number of a ring once, and in order.
    fn in_order(&mut self, from: &Provenance, ordinal: u32) {
        let at = (from.seq, ordinal);
        let last = self.last.insert(from.ring, at);
        if last.is_some_and(|last| last >= at) {
            self.violate(|| format!("{}/{}: {at:?} came after {last:?}", from.device, from.ring));
        }
    }

    fn samples(&mut self, frame: &ClearedFrame, samples: &[ClearedSample]) {
        let from = &frame.from;
        if let Some(first) = samples.first() {
            self.in_order(from, first.ordinal);
        }
        let vehicle = vehicle_of(from);
        for sample in samples {
            let found = place(vehicle, sample.tick, sample.column, sample.raw);
            let Some((of, at)) = found else {
                self.violate(|| format!("{}: {sample:?} was never measured", from.device));
                return;
            };
            if self.lineages.insert(from.ring, of).is_none()
                && let Some(early) = self.early.remove(&from.ring)
            {
                self.stream(of, from.lane).credit += early;
            }
            let at = if from.lane == Lane::Latest { at / SIGNALS as u64 } else { at };
            self.samples += 1;
            if from.origin.is_some() && at < self.stream(of, from.lane).next {
                // Held before, and sealed anew because nobody could tell the device.
                self.resealed += 1;
                continue;
            }
            if let Err(why) = self.stream(of, from.lane).deliver(at) {
                let seq = from.seq.0;
                self.violate(|| {
                    format!("{}/{}/{seq} ({}): {why}", from.device, from.ring, from.lane)
                });
                return;
            }
        }
        if let Some(last) = samples.last() {
            self.last.insert(from.ring, (from.seq, last.ordinal));
        }
    }

    /// I3: a loss is said, with its exact counts.
    fn loss(&mut self, from: &Provenance, document: &[u8]) {
        self.loss_documents += 1;
        let parsed = serde_json::from_slice::<serde_json::Value>(document).unwrap_or_default();
        let Some(lost) = parsed.pointer("/data/samples").and_then(serde_json::Value::as_u64) else {
            self.violate(|| format!("not a loss: {}", String::from_utf8_lossy(document)));
            return;
        };
        let document = parsed;
        let (device, ring, lane, seq) = (&from.device, from.ring, from.lane, from.seq.0);
        let data = document.get("data").cloned().unwrap_or_default();
        self.told.push(format!("{device}/{ring}/{seq} ({lane}): {data}"));
        match self.lineages.get(&from.ring).copied() {
            Some(of) => {
                let stream = self.stream(of, from.lane);
                stream.credit += lost;
                stream.lost += lost;
            }
            None => *self.early.entry(from.ring).or_default() += lost,
        }
    }

    /// At the end: nothing is missing of what a vehicle admitted.
    pub(super) fn finish(&mut self, of: Lineage, lane: Lane, admitted: u64) {
        let name = of.vehicle;
        if let Err(why) = self.stream(of, lane).end(admitted) {
            self.violate(|| format!("vehicle {name} ({lane}), at the end: {why}"));
        }
    }
}

impl Stream {
    fn deliver(&mut self, at: u64) -> Result<(), String> {
        if at < self.next {
            return Err(format!("sample {at} comes after sample {}", self.next.saturating_sub(1)));
        }
        self.close_gap(at)?;
        self.next = at + 1;
        self.delivered += 1;
        Ok(())
    }

    /// All between the last sample and this one is accounted for.
    fn close_gap(&mut self, to: u64) -> Result<(), String> {
        let gap = to - self.next;
        if gap == 0 && self.credit == 0 {
            return Ok(());
        }
        let said = self.credit.min(gap);
        let (mut unsaid, from) = (gap - said, self.next);
        self.unsealed += unsaid;
        for allowance in &mut self.allowed {
            let overlap = allowance.to.min(to).saturating_sub(allowance.from.max(from));
            let used = overlap.min(allowance.most).min(unsaid);
            allowance.most -= used;
            unsaid -= used;
        }
        self.allowed.retain(|allowance| allowance.to > to);
        if unsaid > 0 {
            return Err(format!(
                "samples {from} to {} are missing, and no loss says so of {unsaid} of them",
                to.saturating_sub(1)
            ));
        }
        self.credit -= said;
        if self.may_overstate {
            self.credit = 0;
        } else if self.credit > 0 {
            let (credit, to) = (self.credit, to.saturating_sub(1));
            return Err(format!("up to sample {to}, {credit} more are said to be lost than are"));
        }
        Ok(())
    }

    fn end(&mut self, admitted: u64) -> Result<(), String> {
        if self.next > admitted {
            return Err(format!("{} came and {admitted} were admitted", self.next));
        }
        self.close_gap(admitted)
    }
}

/// Vehicles are named by their numbers.
fn vehicle_of(from: &Provenance) -> u64 {
    from.device.as_str().rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
