//! What the oracle found, for a person and for a program.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::device::{Found, Summary};
use super::fault::{Fault, FaultKind, Faults};
use super::track::Tally;

/// Devices named one by one at most.
const NAMED_MAX: usize = 20;

/// The result over the whole fleet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Verdict {
    /// Vehicles expected.
    pub devices: usize,
    /// Lines read.
    pub documents: u64,
    /// Samples.
    pub samples: Tally,
    /// Events of the sources.
    pub events: Tally,
    /// Boots, health, logs, forks and crashes that the devices reported of themselves.
    pub own_records: u64,
    /// What the loss documents state, by reason.
    pub losses: BTreeMap<String, Stated>,
    /// Documents whose id was there before, or comes before one that was.
    pub identity: u64,
    /// Lines that are no document.
    pub malformed: u64,
    /// Documents of devices that are not in the fleet.
    pub foreign: u64,
    /// Samples and events in documents, own records included, as a ledger's `delivered` counts.
    pub found: Stated,
    /// Differences in all.
    pub differences: u64,
    /// The first one in the order of the sink.
    pub first_difference: Option<Fault>,
    /// Devices with differences, the first few.
    pub differing_devices: Vec<String>,
}

/// Samples and events of a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Stated {
    /// Samples.
    pub samples: u64,
    /// Events.
    pub events: u64,
}

impl Verdict {
    /// Whether everything is accounted for.
    pub fn is_clean(&self) -> bool {
        self.differences == 0
    }

    /// Adds one more difference, which has no place in the sink.
    pub fn add_difference(&mut self, kind: FaultKind, place: &str, text: String) {
        self.differences += 1;
        self.first_difference.get_or_insert_with(|| Fault {
            kind,
            place: place.to_owned(),
            id: "all devices".to_owned(),
            text,
        });
    }

    pub(super) fn add(&mut self, device: String, summary: &Summary, differs_at_end: bool) {
        self.samples += summary.samples;
        self.events += summary.events;
        self.identity += summary.found.identity;
        self.add_found(&summary.found);
        let differs = summary.found.faults > 0 || differs_at_end;
        if differs && self.differing_devices.len() < NAMED_MAX {
            self.differing_devices.push(device);
        }
    }

    /// Adds what stands in documents.
    pub(super) fn add_found(&mut self, found: &Found) {
        self.own_records += found.own_records;
        self.found.samples += found.delivered.samples;
        self.found.events += found.delivered.events;
        for (reason, counts) in &found.losses {
            let stated = self.losses.entry(reason.clone()).or_default();
            stated.samples += counts.samples;
            stated.events += counts.events;
        }
    }

    pub(super) fn set_faults(&mut self, faults: &Faults) {
        self.differences = faults.count();
        self.first_difference = faults.first().cloned();
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} devices, {} documents", self.devices, self.documents)?;
        writeln!(f)?;
        writeln!(f, "{:<18}{:>14}{:>14}", "", "samples", "events")?;
        let (samples, events) = (&self.samples, &self.events);
        let rows = [
            ("accepted", samples.accepted, events.accepted),
            ("delivered", samples.delivered, events.delivered),
            ("lost, stated", samples.lost, events.lost),
            ("unsealed", samples.unsealed, events.unsealed),
            ("missing silently", samples.missing, events.missing),
            ("doubled", samples.doubled, events.doubled),
            ("out of order", samples.out_of_order, events.out_of_order),
            ("unequal", samples.unequal, events.unequal),
            ("loss overstated", samples.overstated, events.overstated),
        ];
        for (name, samples, events) in rows {
            writeln!(f, "{name:<18}{samples:>14}{events:>14}")?;
        }
        if samples.resealed + events.resealed > 0 {
            writeln!(f, "{:<18}{:>14}{:>14}", "resealed", samples.resealed, events.resealed)?;
        }
        writeln!(f)?;
        for (reason, stated) in &self.losses {
            let name = format!("stated {reason}");
            writeln!(f, "{name:<32}{:>12} samples {:>10} events", stated.samples, stated.events)?;
        }
        writeln!(f, "{:<32}{:>12} documents", "the devices' own records", self.own_records)?;
        for (name, count) in [
            ("ids not ascending", self.identity),
            ("malformed lines", self.malformed),
            ("documents of unknown devices", self.foreign),
        ] {
            if count > 0 {
                writeln!(f, "{name:<32}{count:>12} documents")?;
            }
        }
        writeln!(f)?;
        match &self.first_difference {
            None => write!(f, "all accounted for"),
            Some(first) => {
                let whose = match self.differing_devices.as_slice() {
                    // In lines that are of no device of the fleet.
                    [] => String::new(),
                    named => format!(" in: {}", named.join(", ")),
                };
                writeln!(f, "{} difference(s){whose}", self.differences)?;
                write!(f, "first: {first}")
            }
        }
    }
}
