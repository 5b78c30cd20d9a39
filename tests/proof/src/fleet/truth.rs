//! What must hold of what a sink is given. Each check says which invariant it holds.

use std::collections::{BTreeMap, HashMap};

use agent::privacy::{ClearedFrame, ClearedSample, Piece, RecordKind};
use agent::value::{Amount, Exact};
use protocol::{DeviceId, Lane, RingId, Seq};

use super::planted::Planted;
use super::source::{Lineage, SIGNALS, Said, place, scales_of};
use super::stream::{Allowance, Coming, Credit, Held, SealedAnew, Stream};
use super::union::Gap;

/// A promise that was not kept: which invariant, and how.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{invariant}: {what}")]
pub struct Violation {
    /// I1 to I8, as ARCHITECTURE.md has them.
    pub invariant: &'static str,
    /// What was found.
    pub what: String,
}

impl Violation {
    /// One of an invariant.
    pub(super) const fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, what }
    }
}

/// A frame, or a document of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct From {
    pub device: DeviceId,
    pub ring: RingId,
    pub seq: Seq,
    pub lane: Lane,
    /// It was sealed anew after a fork; in which ring it was sealed first.
    pub origin: Option<RingId>,
}

/// A sample, whatever image of the device measured it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Measured {
    pub ordinal: u32,
    pub second: i64,
    pub signal: u64,
    pub value: Option<Said>,
}

/// What the sink has been given.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Truth {
    streams: BTreeMap<(Lineage, usize), Stream>,
    /// Losses that the stream of a ring says: a ring belongs to a lineage once it has delivered.
    lineages: HashMap<RingId, Lineage>,
    /// Said of a ring that has delivered nothing yet.
    early: HashMap<RingId, Early>,
    /// The ring that brought a stream's last sample.
    current: BTreeMap<(Lineage, usize), RingId>,
    /// The journal may have been pruned past it.
    pub may_lose: bool,
    /// Or so while it was not configured.
    pub was_removed: bool,
    /// Per ring, the last frame and the place in it.
    last: HashMap<RingId, (Seq, u32)>,
    /// Per ring, what came of the critical lane's events.
    events: HashMap<RingId, Events>,
    /// Rings whose events were held to account to the last, and those of which no more came than there were.
    pub rings_exact: u64,
    pub rings_open: u64,
    pub begins_late: bool,
    /// Another agent has these devices, or had: it may be said that it has what is not here.
    pub is_shared: bool,
    /// The journal was restored from an old copy: of a hole before what it has it does not know the
    /// counts, if the sink knows of more.
    pub was_restored: bool,
    /// What it is told to have lost may be without counts, for another reason.
    pub may_be_uncounted: bool,
    /// Signals that the rules take out now.
    drops: u16,
    /// It is not known from when on rules held: any that ever did may have.
    pub drops_at_any_time: bool,
    pub samples: u64,
    /// Of these, values that are no whole number of steps.
    pub exact: u64,
    pub records: u64,
    pub loss_documents: u64,
    pub elsewhere_documents: u64,
    pub resealed: u64,
    pub reconciled: u64,
    pub violation: Option<Violation>,
    pub planted: Option<Planted>,
    /// For the trace: every frame, and what a loss says.
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

    /// The device has a flash again from before it was emptied: what a sink never had of the rings there
    /// comes behind what it had of those since.
    pub(super) fn goes_back(&mut self, of: Lineage, below: u64) {
        self.stream(of, Lane::Bulk).goes_back_below = below;
        self.stream(of, Lane::Latest).goes_back_below = below.div_ceil(SIGNALS as u64);
    }

    /// Frames of it may wait for a catalogue.
    pub(super) fn may_be_aside(&mut self, of: Lineage) {
        for lane in Lane::ALL {
            self.stream(of, lane).may_be_aside = true;
        }
    }

    /// The device was erased: nothing of what it measured so far may come any more.
    pub(super) fn erased(&mut self, of: Lineage, next: u64) {
        self.stream(of, Lane::Bulk).erased_below = next;
        self.stream(of, Lane::Latest).erased_below = next / SIGNALS as u64;
        // What is said of its rings from here on names nobody.
        self.may_overstate(of);
    }

    /// The rules are others from here on.
    pub(super) const fn policy(&mut self, drops: u16) {
        self.drops = if self.drops_at_any_time { self.drops | drops } else { drops };
    }

    /// Every stream, with what is missing of it; not those of which nobody can say what was lost.
    pub(super) fn streams(&self) -> impl Iterator<Item = (Lineage, Lane, &[Gap])> {
        self.streams.iter().filter(|(_, stream)| !stream.may_overstate).filter_map(
            |((of, lane), stream)| {
                let lane = Lane::ALL.get(*lane).copied()?;
                Some((*of, lane, stream.gaps.as_slice()))
            },
        )
    }

    /// How far each stream of samples is held to account.
    pub(super) fn held(&self) -> impl Iterator<Item = Held> {
        let of_samples =
            self.streams.iter().filter(|((_, lane), _)| *lane != Lane::Critical.index());
        of_samples.map(|(_, stream)| stream.held())
    }

    /// What is missing of one.
    pub(super) fn gaps(&self, of: Lineage, lane: Lane) -> Option<&[Gap]> {
        Some(&self.streams.get(&(of, lane.index()))?.gaps)
    }

    fn stream(&mut self, of: Lineage, lane: Lane) -> &mut Stream {
        let (begins_late, was_restored) = (self.begins_late, self.was_restored);
        let stream = self.streams.entry((of, lane.index())).or_default();
        stream.begins_late = begins_late;
        stream.may_reach_back = was_restored;
        stream
    }

    fn violate(&mut self, invariant: &'static str, what: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(|| Violation::new(invariant, what()));
    }

    /// Takes a piece of a batch; which frame it was of.
    pub(super) fn take(&mut self, piece: &Piece<'_>, exacts: &[Exact]) -> (RingId, Seq) {
        match piece {
            Piece::Samples(frame, samples) => {
                let from = From::of(&frame.from);
                let measured = measured(frame, samples, exacts);
                self.samples(from, measured);
                (from.ring, from.seq)
            }
            Piece::Record(record, document) => {
                let from = From::of(&record.from);
                let loss = (record.kind == RecordKind::Loss).then_some(*document);
                self.record(from, record.ordinal, loss);
                (from.ring, from.seq)
            }
        }
    }

    /// Takes any record; and what it says, if it is a loss.
    pub(super) fn record(&mut self, from: From, ordinal: Option<u32>, loss: Option<&[u8]>) {
        self.records += 1;
        if let Some(document) = loss {
            self.loss(from, document);
        } else if let Some(ordinal) = ordinal {
            if !self.in_order(from, ordinal) {
                self.comes(from);
            }
            let is_forgotten = self.planted == Some(Planted::EventForgotten);
            if !is_forgotten || !self.records.is_multiple_of(16) {
                self.events.entry(from.ring).or_default().delivered += 1;
            }
        }
    }

    /// For the trace: a frame.
    fn comes(&mut self, from: From) {
        let From { device, ring, seq, lane, .. } = from;
        self.told.push(format!("{device}/{ring}/{} ({lane})", seq.0));
    }

    /// I2: each number of a ring once, and in order. Whether it is of the frame before it.
    fn in_order(&mut self, from: From, ordinal: u32) -> bool {
        let at = (from.seq, ordinal);
        let last = self.last.insert(from.ring, at);
        if last.is_some_and(|last| last >= at) {
            self.violate("I2", || {
                format!("{}/{}: {at:?} came after {last:?}", from.device, from.ring)
            });
        }
        last.is_some_and(|(seq, _)| seq == from.seq)
    }

    /// Takes the samples of a frame, or some of them.
    pub(super) fn samples(&mut self, from: From, samples: impl Iterator<Item = Measured>) {
        let vehicle = vehicle_of(&from.device);
        let (mut is_same_frame, mut ordinal, mut is_first) = (false, 0, true);
        for sample in samples {
            if std::mem::take(&mut is_first) {
                is_same_frame = self.in_order(from, sample.ordinal);
                if !is_same_frame {
                    self.comes(from);
                }
            }
            ordinal = sample.ordinal;
            let at = (sample.second, sample.signal);
            let found = sample.value.as_ref().and_then(|value| place(vehicle, at, value));
            let Some((of, at)) = found else {
                self.violate("I2", || format!("{}: {sample:?} was never measured", from.device));
                return;
            };
            self.exact += u64::from(!matches!(sample.value, Some(Said::Whole(_))));
            self.sample(from, of, at, is_same_frame);
            is_same_frame = true;
        }
        if !is_first {
            self.last.insert(from.ring, (from.seq, ordinal));
        }
    }

    fn sample(&mut self, from: From, of: Lineage, at: u64, is_same_frame: bool) {
        let From { device, ring, seq, lane, origin } = from;
        let drops = self.drops;
        if self.lineages.insert(ring, of).is_none()
            && let Some(early) = self.early.remove(&ring)
        {
            self.stream(of, lane).say(early.credit, false);
        }
        let signal = at % SIGNALS as u64;
        // I5: nothing leaves that a rule takes out.
        if drops >> signal & 1 == 1 && !self.drops_at_any_time {
            self.violate("I5", || format!("{device}: signal {signal} leaves against the rules"));
            return;
        }
        let is_bulk = lane != Lane::Latest;
        let is_another_ring = self.current.get(&(of, lane.index())) != Some(&ring);
        let at = if is_bulk { at } else { at / SIGNALS as u64 };
        self.samples += 1;
        let stream = self.stream(of, lane);
        if let Some(origin) = origin {
            stream.sealed_anew = Some(SealedAnew { origin, below: at + 1 });
        }
        // Held before, and sealed anew because nobody could tell the device; or the other way round:
        // a double was told, and its original still sends the same under the old numbers.
        let is_again =
            origin.is_some() || stream.sealed_anew.is_some_and(|anew| anew.has(ring, at));
        let is_older = at < stream.goes_back_below && is_another_ring;
        if (is_again || is_older) && at < stream.next {
            self.resealed += 1;
            return;
        }
        let is_another = self.current.insert((of, lane.index()), ring) != Some(ring);
        let may_owe = is_another && (self.may_lose || self.reconciled > 0);
        let coming = Coming { at, is_same_frame, drops, is_bulk, may_owe };
        if let Err((invariant, why)) = self.stream(of, lane).deliver(coming) {
            self.violate(invariant, || format!("{device}/{ring}/{} ({lane}): {why}", seq.0));
        }
    }

    /// I3: a loss is said, with its exact counts. I1: what another agent is said to have, some agent
    /// has acknowledged.
    fn loss(&mut self, from: From, document: &[u8]) {
        self.loss_documents += 1;
        let parsed = serde_json::from_slice::<serde_json::Value>(document).unwrap_or_default();
        let count = |name| parsed.pointer(name).and_then(serde_json::Value::as_u64);
        let Some((lost, events)) = count("/data/samples").zip(count("/data/events")) else {
            self.violate("I3", || format!("not a loss: {}", String::from_utf8_lossy(document)));
            return;
        };
        let From { device, ring, lane, seq, .. } = from;
        let data = parsed.get("data").cloned().unwrap_or_default();
        let reason = data.get("reason").and_then(serde_json::Value::as_str).unwrap_or_default();
        let is_elsewhere = reason == "acknowledged-elsewhere";
        if is_elsewhere && !self.is_shared {
            self.violate("I1", || format!("{device}/{ring}/{}: acknowledged by whom?", seq.0));
        }
        if reason == "overrun" && !self.may_lose && !self.was_removed {
            self.violate("I3", || format!("{device}/{ring}/{}: its agent was to wait", seq.0));
        }
        self.elsewhere_documents += u64::from(is_elsewhere);
        self.told.push(format!("{device}/{ring}/{} ({lane}), a loss: {data}", seq.0));
        let credit = if is_elsewhere {
            Credit { elsewhere: lost, other: 0 }
        } else {
            Credit { elsewhere: 0, other: lost }
        };
        let by = data.get("by").and_then(serde_json::Value::as_str).unwrap_or_default();
        let may_be_uncounted = self.was_restored || self.may_be_uncounted;
        let is_uncounted = may_be_uncounted && by == "agent" && lost == 0;
        let of_ring = self.events.entry(ring).or_default();
        let is_untold = self.planted == Some(Planted::LostEventsUntold);
        of_ring.lost += if is_untold { 0 } else { events };
        of_ring.is_uncounted |= is_uncounted && events == 0;
        if let Some(of) = self.lineages.get(&ring).copied() {
            let is_former = by == "agent" && self.current.get(&(of, lane.index())) != Some(&ring);
            let stream = self.stream(of, lane);
            if is_uncounted {
                stream.is_uncounted();
            }
            stream.say(credit, is_former);
            if is_uncounted && is_former {
                stream.forgive();
            }
            stream.lost += lost;
        } else {
            let vehicle = vehicle_of(&device);
            let early = Early { vehicle, lane, credit: Credit::default() };
            self.early.entry(ring).or_insert(early).credit += credit;
        }
    }

    /// At the end: nothing is missing of what a vehicle admitted.
    pub(super) fn finish(&mut self, of: Lineage, lane: Lane, admitted: u64) {
        let name = of.vehicle;
        // Of a ring that ended before a sample of it came.
        let is_of_it = |_: &RingId, early: &mut Early| (early.vehicle, early.lane) == (name, lane);
        if of.copy == 0 {
            let ended: Vec<_> = self.early.extract_if(is_of_it).collect();
            let stream = self.stream(of, lane);
            for (_, early) in ended {
                stream.say(early.credit, true);
            }
        }
        if let Err(why) = self.stream(of, lane).end(admitted) {
            self.violate("I3", || format!("vehicle {name} ({lane}), at the end: {why}"));
        }
    }

    /// I3: of the events that the critical lane's ring has taken each came, or is said to be lost. Every event
    /// has a number of the ring's own counting, so that it makes no difference when the power went.
    pub(super) fn finish_events(&mut self, of: Lineage, ring: RingId, taken: u64) {
        let may_overstate = self.stream(of, Lane::Critical).may_overstate;
        // Then under one number there may be another event in each history, and the sink has both.
        if self.stream(of, Lane::Bulk).may_miss_anything() {
            self.rings_open += 1;
            return;
        }
        let Events { delivered, lost, is_uncounted } =
            self.events.get(&ring).copied().unwrap_or_default();
        // Nobody knows how many are gone before a sink began, nor of what is said by its numbers alone; and
        // the ring of a device that was rolled back counts on from what an agent may have from before.
        let is_open = is_uncounted || self.begins_late || may_overstate;
        let holds = if is_open { delivered <= taken } else { delivered + lost == taken };
        *(if is_open { &mut self.rings_open } else { &mut self.rings_exact }) += 1;
        if !holds {
            let name = of.vehicle;
            self.violate("I3", || {
                format!(
                    "vehicle {name}, at the end: of {taken} events of ring {ring} {delivered} came, and \
                     {lost} are said to be lost"
                )
            });
        }
    }

    /// I3: no more is missing for want of a catalogue than the ledger says was set aside.
    pub(super) fn set_aside(&mut self, said: u64) {
        let missing: u64 = self.streams.values().map(|stream| stream.aside).sum();
        if missing > said {
            let first = self.streams.iter().find_map(|(of, stream)| Some((of, stream.aside_at?)));
            let what = format!("{missing} samples are missing, and {said} set aside: {first:?}");
            self.violate("I3", || what);
        }
    }

    /// I3, I5: the rules took out what is not there, and no more; `said` is what the ledger says.
    pub(super) fn exclusions(&self, said: u64) -> Result<(), Violation> {
        let sum = |of: fn(&Stream) -> u64| self.streams.values().map(of).sum::<u64>();
        let excluded = sum(|stream| stream.excluded);
        let least = excluded - sum(|stream| stream.excluded_doubtful);
        let bulk = self.streams.iter().filter(|((_, lane), _)| *lane != Lane::Latest.index());
        let behind: u64 = bulk.map(|(_, stream)| stream.excludable_behind()).sum();
        let most = excluded + behind;
        // Of what comes again under another number, it comes again.
        let comes_again = self.reconciled > 0 || self.resealed > 0;
        if (least..=most).contains(&said) || comes_again || self.begins_late {
            return Ok(());
        }
        let what = format!("rules took out {least} to {most}, and {said} are said to be");
        Err(Violation::new("I3", what))
    }
}

/// Events of one ring.
#[derive(Clone, Copy, Debug, Default)]
struct Events {
    delivered: u64,
    lost: u64,
    /// Something is said to be lost by its numbers alone.
    is_uncounted: bool,
}

/// Losses of a ring of which no sample has come yet, so that it is not known which of two devices of a
/// name it is of.
#[derive(Clone, Copy, Debug)]
struct Early {
    vehicle: u64,
    lane: Lane,
    credit: Credit,
}

impl std::ops::AddAssign for Credit {
    fn add_assign(&mut self, other: Self) {
        self.elsewhere += other.elsewhere;
        self.other += other.other;
    }
}

impl From {
    fn of(from: &agent::privacy::Provenance) -> Self {
        let origin = from.origin.map(|origin| origin.ring);
        let agent::privacy::Provenance { device, ring, seq, lane, .. } = *from;
        Self { device, ring, seq, lane, origin }
    }
}

fn measured(
    frame: &ClearedFrame,
    samples: &[ClearedSample],
    exacts: &[Exact],
) -> impl Iterator<Item = Measured> {
    let scales = scales_of(frame.lens.catalogue());
    samples.iter().map(move |sample| {
        let ClearedSample { tick, amount, ordinal, column } = *sample;
        let signal = u64::from(column);
        let value = match amount {
            Amount::Steps(steps) => {
                let scale = scales.get(usize::from(column));
                scale.and_then(|scale| whole(steps, *scale)).map(Said::Whole)
            }
            Amount::Exact(_) => amount.exact(exacts).map(Said::of),
        };
        Measured { ordinal, second: tick, signal, value }
    })
}

fn whole(raw: i64, scale: i64) -> Option<i64> {
    (raw.checked_rem(scale)? == 0).then_some(raw / scale)
}

/// Vehicles are named by their numbers.
fn vehicle_of(device: &DeviceId) -> u64 {
    device.as_str().rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
