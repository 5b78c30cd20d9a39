//! What was tried, and what was found.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::device::Device;
use super::stream::Held;
use super::truth::{Truth, Violation};

/// What a world came to.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub violation: Option<Violation>,
    /// When it ended.
    pub at_s: u64,
    pub tally: Tally,
    pub trace: String,
}

/// What is counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    pub worlds: u64,
    pub devices: u64,
    /// Seconds driven, of all vehicles.
    pub driven_s: u64,
    pub samples: u64,
    pub exact: u64,
    pub records: u64,
    /// Rings of critical lanes, per sink: whose events were held to account to the last, and of which no
    /// more came than there were.
    pub rings_exact: u64,
    pub rings_open: u64,
    /// Streams of samples, per sink, by how far they are held to account.
    pub held_to: BTreeMap<Held, u64>,
    pub faults: u64,
    /// Lives of agents, and of devices.
    pub lives: u64,
    pub boots: u64,
    /// Devices whose ring began again at its first sector, that dropped frames, that forked.
    pub wrapped: u64,
    pub full: u64,
    pub forked: u64,
    /// Worlds in which something was lost, whose sink went by identity, whose journal was full.
    pub lossy: u64,
    pub reconciled: u64,
    pub held: u64,
    pub loss_documents: u64,
    pub resealed: u64,
    pub flash_errors: u64,
    pub full_seconds: u64,
    /// Agents, and their sinks.
    pub agents: u64,
    pub sinks: u64,
    /// Agents with a sink of the product's own.
    pub with_files: u64,
    /// Worlds with two agents; losses of which another agent is said to have what was lost.
    pub shared: u64,
    pub elsewhere_documents: u64,
}

impl Tally {
    pub(super) fn add_truth(&mut self, truth: &Truth) {
        self.samples += truth.samples;
        self.exact += truth.exact;
        self.records += truth.records;
        self.rings_exact += truth.rings_exact;
        self.rings_open += truth.rings_open;
        truth.held().for_each(|held| *self.held_to.entry(held).or_default() += 1);
        self.loss_documents += truth.loss_documents;
        self.resealed += truth.resealed;
        self.lossy += u64::from(truth.loss_documents > 0);
        self.reconciled += u64::from(truth.reconciled > 0);
        self.elsewhere_documents += truth.elsewhere_documents;
    }

    pub(super) fn add_device(&mut self, device: &Device, driven_s: u64) {
        self.devices += 1;
        self.driven_s += if device.drive.of.copy == 0 { driven_s } else { 0 };
        self.boots += device.boots;
        self.wrapped += u64::from(device.has_wrapped());
        self.full += u64::from(device.dropped_frames > 0);
        self.forked += u64::from(device.forks > 0);
        self.flash_errors += device.flash_errors;
    }

    pub(super) fn add(&mut self, world: &Self) {
        self.worlds += 1;
        self.devices += world.devices;
        self.driven_s += world.driven_s;
        self.samples += world.samples;
        self.exact += world.exact;
        self.records += world.records;
        self.rings_exact += world.rings_exact;
        self.rings_open += world.rings_open;
        for (held, streams) in &world.held_to {
            *self.held_to.entry(*held).or_default() += streams;
        }
        self.faults += world.faults;
        self.lives += world.lives;
        self.boots += world.boots;
        self.wrapped += world.wrapped;
        self.full += world.full;
        self.forked += world.forked;
        self.lossy += u64::from(world.lossy > 0);
        self.reconciled += u64::from(world.reconciled > 0);
        self.held += u64::from(world.full_seconds > 0);
        self.loss_documents += world.loss_documents;
        self.resealed += world.resealed;
        self.flash_errors += world.flash_errors;
        self.full_seconds += world.full_seconds;
        self.agents += world.agents;
        self.sinks += world.sinks;
        self.with_files += u64::from(world.with_files > 0);
        self.shared += u64::from(world.agents > 1);
        self.elsewhere_documents += world.elsewhere_documents;
    }
}

/// A violation, and how to see it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Which invariant, as ARCHITECTURE.md has them.
    pub invariant: &'static str,
    /// What did not hold.
    pub violation: String,
    /// In which world.
    pub world: u64,
    /// At which second of it.
    pub at_s: u64,
    /// The command that shows it again.
    pub command: String,
    /// The faults that are needed for it, by their second.
    pub shrunk: Vec<String>,
    /// Numbers of the faults that are not.
    pub without: Vec<usize>,
}

/// What a run has tried.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    pub(super) tally: Tally,
    /// Of all traces; the same for the same seed.
    pub digest: u64,
    /// The first violation.
    pub found: Option<Found>,
}

/// Hours that a vehicle drives in a year.
const YEAR_H: f64 = 400.0;

fn share(part: u64, of: u64) -> f64 {
    let of = u32::try_from(of.max(1)).map_or(f64::MAX, f64::from);
    u32::try_from(part).map_or(f64::MAX, f64::from) / of
}

impl Report {
    /// Hours driven, of all vehicles together.
    pub fn hours(&self) -> f64 {
        share(self.tally.driven_s, 1) / 3600.0
    }

    /// How often the states were met in which most can go wrong: of all devices, those whose ring began
    /// again at its first sector, was full, or forked; of all worlds, those with a loss, with a sink that
    /// went by identity, with a full journal, with two agents.
    pub fn shares(&self) -> [(&'static str, f64); 7] {
        let Tally { worlds, devices, wrapped, full, forked, .. } = self.tally;
        let Tally { lossy, reconciled, held, shared, .. } = self.tally;
        [
            ("wrapped", share(wrapped, devices)),
            ("full", share(full, devices)),
            ("forked", share(forked, devices)),
            ("worlds_with_losses", share(lossy, worlds)),
            ("worlds_by_identity", share(reconciled, worlds)),
            ("worlds_journal_full", share(held, worlds)),
            ("worlds_two_agents", share(shared, worlds)),
        ]
    }

    /// Of all streams of samples, so far as sinks have them, the share that is held to account so far.
    fn held(&self, held: Held) -> f64 {
        let all = self.tally.held_to.values().sum();
        share(self.tally.held_to.get(&held).copied().unwrap_or(0), all)
    }

    /// The share of the streams of samples of which each one came or is said to be lost, without an
    /// exception.
    pub fn held_exactly(&self) -> f64 {
        self.held(Held::Exactly)
    }

    /// For a machine; with the time that it took.
    pub fn to_json(&self, seconds: f64) -> Value {
        let Tally { worlds, devices, .. } = self.tally;
        let tally = &self.tally;
        let frames = tally.driven_s / super::plan::FRAME_S;
        json!({
            "proof": "fleet",
            "worlds": worlds,
            "vehicle_years": self.hours() / YEAR_H,
            "vehicle_years_per_min": self.hours() / YEAR_H / seconds * 60.0,
            "seconds": seconds,
            "samples_delivered": tally.samples,
            "samples_exact": tally.exact,
            "records_delivered": tally.records,
            "event_rings_exact": tally.rings_exact,
            "event_rings_open": tally.rings_open,
            "streams": tally.held_to.values().sum::<u64>(),
            "share_streams_held": Held::ALL.map(|held| (held.name(), self.held(held))).into_iter().collect::<BTreeMap<_, _>>(),
            "faults": tally.faults,
            "frames_per_fault": share(frames, tally.faults),
            "agent_lives": tally.lives,
            "device_boots": tally.boots,
            "share_wrapped": share(tally.wrapped, devices),
            "share_full": share(tally.full, devices),
            "share_forked": share(tally.forked, devices),
            "share_worlds_with_losses": share(tally.lossy, worlds),
            "share_worlds_by_identity": share(tally.reconciled, worlds),
            "share_worlds_journal_full": share(tally.held, worlds),
            "share_worlds_two_agents": share(tally.shared, worlds),
            "share_worlds_with_files": share(tally.with_files, worlds),
            "agents": tally.agents,
            "sinks": tally.sinks,
            "elsewhere_documents": tally.elsewhere_documents,
            "loss_documents": tally.loss_documents,
            "samples_resealed": tally.resealed,
            "trace_digest": format!("{:016x}", self.digest),
            "violation": self.found.as_ref().map(|found| json!({
                "invariant": found.invariant, "what": found.violation, "world": found.world, "at_s": found.at_s,
                "command": found.command, "faults": found.shrunk})),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        let percent = |part: u64, of: u64| 100.0 * share(part, of);
        let frames = tally.driven_s / super::plan::FRAME_S;
        writeln!(
            f,
            "{} worlds, {} devices, {:.2} vehicle-years ({:.0} h driven), {} samples delivered",
            tally.worlds,
            tally.devices,
            self.hours() / YEAR_H,
            self.hours(),
            tally.samples
        )?;
        writeln!(
            f,
            "  {} faults of the plans (one per {:.0} frames), {} boots of devices, {} lives of agents",
            tally.faults,
            share(frames, tally.faults),
            tally.boots,
            tally.lives
        )?;
        writeln!(
            f,
            "  rings wrapped {:.0} %, full {:.0} %, forked {:.0} % of devices; losses {:.0} %, by \
             identity {:.0} %, journal full {:.0} % of worlds",
            percent(tally.wrapped, tally.devices),
            percent(tally.full, tally.devices),
            percent(tally.forked, tally.devices),
            percent(tally.lossy, tally.worlds),
            percent(tally.reconciled, tally.worlds),
            percent(tally.held, tally.worlds)
        )?;
        writeln!(
            f,
            "  {:.0} % of the streams of samples held to account to the last one",
            100.0 * self.held_exactly()
        )?;
        write!(f, "  trace {:016x}; ", self.digest)?;
        match &self.found {
            None => write!(f, "0 violations"),
            Some(found) => {
                write!(f, "VIOLATION in world {} after {} s: ", found.world, found.at_s)?;
                writeln!(f, "{}: {}", found.invariant, found.violation)?;
                for fault in &found.shrunk {
                    writeln!(f, "    {fault}")?;
                }
                write!(f, "  again: {}", found.command)
            }
        }
    }
}
