//! Privacy before storage (I5): the only door to the sinks.
//!
//! A sink takes [`Cleared`] batches only, and only a [`Policy`] can fill one: the type says that
//! everything in it went through the rules. The rules: drop signals by their path, coarsen a place
//! into an H3 cell, replace names by pseudonyms under a key. What a rule takes out is counted under
//! the rule's name, as excluded.
//!
//! Rules are settled once per catalogue ([`Lens`]), so that a sample costs a look into an array.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::codec::{CodecError, Decoder, SamplesContext, SamplesHeader};
use protocol::frame::Origin;
use protocol::record::Record;
use protocol::{Catalogue, Counts, DeviceId, DeviceTime, Lane, RingId, Seq};
use serde::Deserialize;

use crate::document::{Claimant, LossReport, OwnedCatalogue, Writer};
use crate::registry::is_exposed;
use crate::vehicles::{VehicleError, VehicleId, Vehicles};

mod cleared;
mod glob;
mod lens;
mod pass;
mod pseudonym;
mod seats;

pub use cleared::{
    Cleared, ClearedFrame, ClearedRecord, ClearedSample, Mark, Piece, Provenance, RecordKind,
};
pub use glob::matches;
pub use lens::Lens;
pub use pseudonym::{KeyError, PseudonymKey};
pub use seats::Seat;

use lens::Act;
use pass::{Pass, Passed};
use pseudonym::Names;
use seats::{Seats, Stays};

/// What leaves, what is made coarse, what goes by another name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacyConfig {
    /// Signals that no sink gets: paths, in which `*` stands for any characters and `?` for one.
    pub drop: Vec<String>,
    /// Places become cells; without it they stay as they are.
    pub location: Option<LocationConfig>,
    /// Names become pseudonyms; without it they stay as they are.
    pub pseudonym: Option<PseudonymConfig>,
    /// No document names the vehicle; what the vehicle belongs to stays.
    pub drop_vehicle: bool,
}

/// How a place is made coarse.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocationConfig {
    /// H3 resolution, 0 to 15: 7 is about 5 square kilometres, 8 about 0.74, 9 about 0.1.
    pub resolution: u8,
}

/// How names are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PseudonymConfig {
    /// File with the key: 64 hexadecimal digits, or at least 32 bytes.
    pub key_file: PathBuf,
    /// Number of the key, which every pseudonym begins with, so that a change of key shows.
    #[serde(default = "first_key")]
    pub key_id: u16,
    /// Fields and attributes of events, logs and crashes, besides the device's id.
    #[serde(default)]
    pub fields: Vec<String>,
}

const fn first_key() -> u16 {
    1
}

/// A policy that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Config: more rules, or a longer one, than a sink's cursor has room for.
    #[error(
        "at most {} drop rules of at most {} bytes each",
        Policy::DROPS_MAX,
        Policy::DROP_LEN_MAX
    )]
    Rules,
    /// Config: no such resolution.
    #[error("an H3 resolution is 0 to 15, not {0}")]
    Resolution(u8),
    /// Config: the key file.
    #[error("pseudonym key file {path}: {source}")]
    KeyFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Config: who can read the key can undo the pseudonyms.
    #[error("pseudonym key file {0} can be read or written by others: chmod 600 {0}")]
    Exposed(PathBuf),
    /// Config: what is in it.
    #[error("pseudonym key: {0}")]
    Key(#[from] KeyError),
}

/// The frame that documents are made of, under its true name.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Whose.
    pub device: DeviceId,
    /// Which ring's.
    pub ring: RingId,
    /// Which frame.
    pub seq: Seq,
    /// Which lane's.
    pub lane: Lane,
    /// When the agent received it, in milliseconds since 1970.
    pub received_ms: i64,
    /// Where it was sealed first, if it was sealed anew.
    pub origin: Option<&'a Origin>,
}

/// The rules, ready to be applied. One per sink; it holds its own writer.
#[derive(Debug)]
pub struct Policy {
    drops: Vec<String>,
    location: Option<h3o::Resolution>,
    names: Option<Names>,
    drops_vehicle: bool,
    seats: Option<Seats>,
    /// Of the device at hand.
    stays: Stays,
    rules: Vec<String>,
    /// Per rule: samples taken out of the frame at hand.
    taken: Vec<u64>,
    writer: Writer,
    /// Kept from frame to frame, since it is large.
    decoder: Box<Decoder<{ Catalogue::SIGNALS_MAX }>>,
}

impl Policy {
    /// The most drop rules.
    pub const DROPS_MAX: usize = 64;
    /// The longest drop rule, in bytes.
    pub const DROP_LEN_MAX: usize = 96;
    /// The path under which a coarse place leaves.
    pub const CELL_PATH: &str = "Vehicle.CurrentLocation.H3";
    const LATITUDE_PATH: &str = "Vehicle.CurrentLocation.Latitude";
    const LONGITUDE_PATH: &str = "Vehicle.CurrentLocation.Longitude";

    /// The policy that a configuration asks for; reads the key file.
    pub fn from_config(config: &PrivacyConfig) -> Result<Self, PolicyError> {
        let names = match &config.pseudonym {
            None => None,
            Some(pseudonym) => {
                let path = &pseudonym.key_file;
                let failed = |source| PolicyError::KeyFile { path: path.clone(), source };
                if is_exposed(&std::fs::metadata(path).map_err(failed)?) {
                    return Err(PolicyError::Exposed(path.clone()));
                }
                let bytes = std::fs::read(path).map_err(failed)?;
                let key = PseudonymKey::parse(&bytes)?;
                Some(Names::new(&key, pseudonym.key_id, pseudonym.fields.clone())?)
            }
        };
        let too_long = |rule: &String| rule.len() > Self::DROP_LEN_MAX;
        if config.drop.len() > Self::DROPS_MAX || config.drop.iter().any(too_long) {
            return Err(PolicyError::Rules);
        }
        let location = match config.location {
            None => None,
            Some(LocationConfig { resolution }) => Some(
                h3o::Resolution::try_from(resolution)
                    .map_err(|_| PolicyError::Resolution(resolution))?,
            ),
        };
        let mut rules: Vec<String> =
            config.drop.iter().map(|glob| format!("drop {glob}")).collect();
        rules.push("location".to_owned());
        Ok(Self {
            drops: config.drop.clone(),
            location,
            names,
            drops_vehicle: config.drop_vehicle,
            seats: None,
            stays: Stays::default(),
            taken: vec![0; rules.len()],
            rules,
            writer: Writer::default(),
            decoder: Box::default(),
        })
    }

    /// The policy without rules: everything leaves as it is.
    pub fn none() -> Self {
        Self {
            drops: Vec::new(),
            location: None,
            names: None,
            drops_vehicle: false,
            seats: None,
            stays: Stays::default(),
            rules: Vec::new(),
            taken: Vec::new(),
            writer: Writer::default(),
            decoder: Box::default(),
        }
    }

    /// The same, with documents that say in which vehicle a device sat.
    #[must_use]
    pub fn with_vehicles(mut self, vehicles: Vehicles) -> Self {
        self.seats = Some(Seats::new(vehicles, !self.drops_vehicle));
        self
    }

    /// Turns to a device: what is let through from now on is its own. On an error nothing changed.
    pub fn turn_to(&mut self, device: DeviceId) -> Result<(), VehicleError> {
        if let Some(seats) = &mut self.seats {
            self.stays = seats.of(device, self.names.as_ref())?;
        }
        Ok(())
    }

    /// The name under which a device leaves.
    pub fn shown(&self, device: DeviceId) -> DeviceId {
        self.names.as_ref().map_or(device, |names| names.device(&device))
    }

    /// The name under which a vehicle leaves, or left before a rule took it out.
    pub fn shown_vehicle(&self, vehicle: &VehicleId) -> String {
        let name = vehicle.as_str();
        self.names.as_ref().map_or_else(|| name.to_owned(), |names| names.vehicle(name))
    }

    /// The rules' names, as in the ledger.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    /// Per rule, in the order of [`Policy::rules`]: samples that it took out of the latest frame.
    pub fn taken(&self) -> &[u64] {
        &self.taken
    }

    /// Settles what becomes of each signal of a catalogue.
    pub fn lens(&self, catalogue: &Arc<OwnedCatalogue>) -> Lens {
        Lens::new(catalogue, |signal, path| match (self.act(path), catalogue.window_of(signal)) {
            // What readings come to tells as much of somebody as they do.
            (Act::Keep, Some(of)) => match self.act(of) {
                Act::Latitude | Act::Longitude => Act::Drop { rule: self.location_rule() },
                act => act,
            },
            (act, _) => act,
        })
    }

    /// Lets a frame's samples through; how many left. On an error nothing did.
    pub fn samples(
        &mut self,
        source: &Source<'_>,
        header: &SamplesHeader,
        columns: &[u8],
        lens: &Arc<Lens>,
        into: &mut Cleared,
    ) -> Result<u64, CodecError> {
        let from = self.provenance(source, None);
        let mark = into.mark();
        self.taken.fill(0);
        let mut pass = Pass::new(&mut self.taken, self.location, lens, into);
        let (hints, signals) = (lens.catalogue().hints.borrowed(), lens.signals());
        let mut all = self.decoder.behind(header, hints, columns, signals);
        while let Some(sample) = all.next() {
            let passed = sample.and_then(|sample| pass.sample(sample, all.content()));
            if let Err(error) = passed {
                into.cut_back(mark);
                self.taken.fill(0);
                return Err(error);
            }
        }
        let Passed { samples, instants } = pass.finish();
        let lens = Arc::clone(lens);
        let SamplesContext { clock, boot, .. } = header.context;
        let frame = ClearedFrame { from, clock, boot, lens };
        into.end_frame(mark, &frame, instants, &self.stays);
        Ok(samples)
    }

    /// Lets a record through; what it adds. A catalogue makes no document.
    pub fn record(
        &mut self,
        source: &Source<'_>,
        ordinal: u32,
        record: &Record<'_>,
        into: &mut Cleared,
    ) -> Counts {
        let (kind, time) = match record {
            Record::Boot(boot) => (RecordKind::Boot, boot.time),
            Record::Event(event) => (RecordKind::Event, event.time),
            Record::Log(log) => (RecordKind::Log, log.time),
            Record::Heartbeat(beat) => (RecordKind::Health, beat.time),
            Record::Fork(fork) => (RecordKind::Fork, fork.time),
            Record::Crash(crash) => (RecordKind::Crash, crash.time),
            Record::Catalogue(_) => return Counts::ZERO,
        };
        let from = self.provenance(source, Some(time));
        let wording = pseudonym::Words {
            names: self.names.as_ref(),
            device: source.device,
            shown: from.device,
        };
        let mark = into.mark();
        let (writer, out, envelope) = (&mut self.writer, &mut into.lines, from.envelope());
        match record {
            Record::Boot(boot) => writer.boot(out, &envelope, ordinal, boot),
            Record::Event(event) => writer.event(out, &envelope, ordinal, event, &wording),
            Record::Log(log) => writer.log(out, &envelope, ordinal, log, &wording),
            Record::Heartbeat(beat) => writer.heartbeat(out, &envelope, ordinal, beat),
            Record::Fork(fork) => writer.fork(out, &envelope, ordinal, fork),
            Record::Crash(crash) => writer.crash(out, &envelope, ordinal, crash, &wording),
            Record::Catalogue(_) => {}
        }
        let (ordinal, time) = (Some(ordinal), Some(time));
        into.end_record(mark, ClearedRecord { from, ordinal, kind, time });
        record.counts()
    }

    /// Lets the word of a loss through.
    pub fn loss(&mut self, source: &Source<'_>, report: &LossReport, into: &mut Cleared) {
        let (ordinal, time) = match report.by {
            Claimant::Device(time) => (Some(0), Some(time)),
            Claimant::Agent => (None, None),
        };
        let from = self.provenance(source, time);
        let mark = into.mark();
        self.writer.loss(&mut into.lines, &from.envelope(), report);
        into.end_record(mark, ClearedRecord { from, ordinal, kind: RecordKind::Loss, time });
    }

    /// Where something comes from that happened at this time by the device's clock; without one,
    /// when it was received has to do.
    fn provenance(&self, source: &Source<'_>, time: Option<DeviceTime>) -> Provenance {
        let at_ms = time.and_then(|time| time.wall_ms()).unwrap_or(source.received_ms);
        Provenance {
            device: self.shown(source.device),
            ring: source.ring,
            seq: source.seq,
            lane: source.lane,
            received_ms: source.received_ms,
            origin: source.origin.copied(),
            seat: self.stays.at(at_ms),
        }
    }

    fn act(&self, path: &str) -> Act {
        if let Some(rule) = self.drops.iter().position(|glob| glob::matches(glob, path)) {
            return Act::Drop { rule };
        }
        if self.location.is_none() {
            return Act::Keep;
        }
        match path {
            Self::LATITUDE_PATH => Act::Latitude,
            Self::LONGITUDE_PATH => Act::Longitude,
            // A cell of the device's own could be finer than the rule allows.
            Self::CELL_PATH => Act::Drop { rule: self.location_rule() },
            _ => Act::Keep,
        }
    }

    /// The rule of the location is the last.
    fn location_rule(&self) -> usize {
        self.rules.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests;
