//! One vehicle's documents: its rings' ids, its boots, its losses, and a [`Track`] per lane.

use std::collections::BTreeMap;

use protocol::{Counts, DeviceId, Lane, SignalIndex};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::document::{Document, Stamp};
use super::fault::{Context, FaultKind, Faults};
use super::got::{Got, GotSample, raw_of};
use super::track::{Tally, Track};
use crate::source::Source;
use crate::vehicle::Vehicle;

/// Follows one vehicle.
#[derive(Debug)]
pub struct DeviceCheck {
    vehicle: Vehicle,
    /// By lane. The critical lane's is the one of the source's events.
    tracks: [Track; 3],
    rings: [Vec<Ring>; 3],
    /// Per boot and lane: the most samples and events that can have been in an open batch before it.
    unsealed_max: BTreeMap<u32, [Counts; 3]>,
    found: Found,
}

/// How far a ring was read.
#[derive(Clone, Debug)]
struct Ring {
    id: String,
    last: (u64, u32),
}

/// What a vehicle's documents hold, whatever they should.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Samples in samples documents, and documents of every other kind but losses.
    pub delivered: Counts,
    /// What the loss documents state, by reason.
    pub losses: BTreeMap<String, Counts>,
    /// Documents whose id was not ascending in its ring.
    pub identity: u64,
    /// Documents of the device itself: boots, health, logs, forks, crashes.
    pub own_records: u64,
    /// Differences noted while reading.
    pub faults: u64,
}

/// A vehicle's result.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// The samples of both sample lanes.
    pub samples: Tally,
    /// The events.
    pub events: Tally,
    /// What was there.
    pub found: Found,
}

impl Found {
    /// Takes what a loss document states.
    fn take_loss(&mut self, document: &Document<'_>) -> Option<Counts> {
        #[derive(Deserialize)]
        struct Loss {
            samples: u64,
            events: u64,
            reason: String,
        }
        let loss: Loss = serde_json::from_str(document.data).ok()?;
        let counts = Counts { samples: loss.samples, events: loss.events };
        *self.losses.entry(loss.reason).or_default() += counts;
        Some(counts)
    }

    /// Takes a document of a device of which nothing is expected, as a ledger counts it.
    pub(super) fn take_any(&mut self, document: &Document<'_>) -> Option<()> {
        match document.kind {
            "loss" => self.take_loss(document).map(drop),
            "samples" => {
                self.delivered.samples += u64::try_from(document.values()?.len()).ok()?;
                Some(())
            }
            kind => {
                self.delivered.events += 1;
                self.own_records += u64::from(kind != "event");
                Some(())
            }
        }
    }
}

impl DeviceCheck {
    /// Expects what the vehicle's source says, no more than `admitted` readings.
    pub fn new(vehicle: Vehicle, admitted: u64) -> Self {
        let tracks = Lane::ALL.map(|lane| Track::new(&vehicle.source, lane, admitted));
        Self {
            vehicle,
            tracks,
            rings: [const { Vec::new() }; 3],
            unsealed_max: BTreeMap::new(),
            found: Found::default(),
        }
    }

    /// Whose documents.
    pub fn device(&self) -> &DeviceId {
        &self.vehicle.device
    }

    /// Takes the device's next document.
    pub fn read(&mut self, document: &Document<'_>, context: &Context<'_>, faults: &mut Faults) {
        let before = faults.count();
        let in_order = self.note_id(document, context, faults);
        let understood = match document.kind {
            "samples" => self.read_samples(document, in_order, context, faults),
            "event" => self.read_event(document, in_order, context, faults),
            "loss" => self.read_loss(document),
            "boot" => self.read_boot(document),
            _ => {
                self.found.delivered.events += 1;
                self.found.own_records += 1;
                Some(())
            }
        };
        if understood.is_none() {
            faults.note(FaultKind::Malformed, context, || {
                format!("no {} document: data is {}", document.kind, document.data)
            });
        }
        self.found.faults += faults.count() - before;
    }

    /// Everything was read.
    pub fn finish(&mut self, end: &Context<'_>, faults: &mut Faults) -> Summary {
        let mut summary = Summary { found: std::mem::take(&mut self.found), ..Summary::default() };
        let source: &Source = &self.vehicle.source;
        for (lane, track) in Lane::ALL.into_iter().zip(&mut self.tracks) {
            let bound = |counts: &[Counts; 3]| {
                let of_lane = counts.get(lane.index()).copied().unwrap_or_default();
                if lane == Lane::Critical { of_lane.events } else { of_lane.samples }
            };
            let unsealed_max: BTreeMap<u32, u64> =
                self.unsealed_max.iter().map(|(boot, counts)| (*boot, bound(counts))).collect();
            let tally = track.finish(source, &unsealed_max, end, faults);
            if lane == Lane::Critical {
                summary.events += tally;
            } else {
                summary.samples += tally;
            }
        }
        summary
    }

    /// Ids ascend in a ring: a later one than all before?
    fn note_id(
        &mut self,
        document: &Document<'_>,
        context: &Context<'_>,
        faults: &mut Faults,
    ) -> bool {
        let Some(rings) = self.rings.get_mut(document.lane.index()) else { return false };
        let at = (document.seq, document.index);
        // The newest ring is nearly always the one.
        let known = rings.iter_mut().rev().find(|ring| ring.id == document.ring);
        let Some(ring) = known else {
            rings.push(Ring { id: document.ring.to_owned(), last: at });
            return true;
        };
        if at > ring.last {
            ring.last = at;
            return true;
        }
        let (seq, index) = ring.last;
        self.found.identity += 1;
        faults.note(FaultKind::Identity, context, || {
            format!("seq {seq}, index {index} of this ring was there before")
        });
        false
    }

    fn read_samples(
        &mut self,
        document: &Document<'_>,
        in_order: bool,
        context: &Context<'_>,
        faults: &mut Faults,
    ) -> Option<()> {
        let source = &self.vehicle.source;
        let catalogue = source.catalogue();
        let tick = match document.stamp {
            Stamp::Unix(unix_ms) => {
                let tick_ms = i64::from(catalogue.tick_ms);
                (unix_ms.checked_rem_euclid(tick_ms)? == 0).then(|| unix_ms.div_euclid(tick_ms))
            }
            Stamp::Uptime(_) => None,
        };
        let track = self.tracks.get_mut(document.lane.index())?;
        // Signals come in the catalogue's order more often than not.
        let mut likely = catalogue.signals.iter().zip(0_u8..);
        for (path, value) in document.values()? {
            let found = likely.find(|(signal, _)| signal.path == path).or_else(|| {
                catalogue.signals.iter().zip(0..).find(|(signal, _)| signal.path == path)
            });
            let got = Got::Sample(GotSample {
                tick,
                signal: found.map(|(_, index)| SignalIndex(index)),
                raw: found.and_then(|(signal, _)| raw_of(value, signal.step)),
                stamp: document.stamp,
                path,
                value,
            });
            self.found.delivered.samples += 1;
            track.deliver(source, &got, in_order, context, faults);
        }
        Some(())
    }

    fn read_event(
        &mut self,
        document: &Document<'_>,
        in_order: bool,
        context: &Context<'_>,
        faults: &mut Faults,
    ) -> Option<()> {
        let members: Map<String, Value> = serde_json::from_str(document.data).ok()?;
        let track = self.tracks.get_mut(Lane::Critical.index())?;
        self.found.delivered.events += 1;
        track.deliver(&self.vehicle.source, &Got::Event(&members), in_order, context, faults);
        Some(())
    }

    fn read_loss(&mut self, document: &Document<'_>) -> Option<()> {
        let counts = self.found.take_loss(document)?;
        let of_lane = if document.lane == Lane::Critical { counts.events } else { counts.samples };
        self.tracks.get_mut(document.lane.index())?.lose(of_lane);
        Some(())
    }

    fn read_boot(&mut self, document: &Document<'_>) -> Option<()> {
        #[derive(Deserialize)]
        struct Boot {
            unsealed_samples_max: [u64; 3],
            unsealed_events_max: [u64; 3],
        }
        let boot: Boot = serde_json::from_str(document.data).ok()?;
        let mut bounds = [Counts::ZERO; 3];
        let stated = boot.unsealed_samples_max.into_iter().zip(boot.unsealed_events_max);
        for (bound, (samples, events)) in bounds.iter_mut().zip(stated) {
            *bound = Counts { samples, events };
        }
        self.unsealed_max.insert(document.boot?, bounds);
        self.found.delivered.events += 1;
        self.found.own_records += 1;
        Some(())
    }
}
