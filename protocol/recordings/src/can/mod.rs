//! CAN logs: `candump -L` text, decoded by DBC files into signals, or kept as raw frames.
//!
//! A log is read twice: once to see which signals occur in it, once for their samples, because a
//! device has one catalogue of at most 64 signals and 3,700 bytes. Signals come into it in the order
//! of the DBC files, messages and signals; what finds no room is said. Stamps are microseconds in
//! the log and milliseconds in a catalogue: the rest is cut off.

pub mod bits;
mod catalogue;
pub mod database;
pub mod frame;
pub mod import;
pub mod raw;
pub mod step;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use protocol::{Catalogue, Sample, Signal, SignalIndex};

use crate::glob::matches_any;
use crate::lines::Lines;
use crate::{FileReport, ReadError, ReadOptions, Recording, Track};
pub(crate) use catalogue::leak;
use catalogue::{CATALOGUE_BYTES_MAX, Room, entry, label};
use database::{Database, Message, Value};
use frame::CanFrame;

/// Different ids followed at most: a log of noise must not fill the memory.
const IDS_MAX: usize = 4096;

/// `candump -L` writes `(seconds) channel ID#DATA`.
pub(super) fn is_log(line: &[u8]) -> bool {
    CanFrame::parse(line).is_some()
}

/// Reads a log; its DBC stands beside it under the same name, or is named by the options.
pub(super) fn read(
    path: &Path,
    stem: &str,
    options: &ReadOptions,
    report: &mut FileReport,
) -> Result<Vec<Track>, ReadError> {
    if options.raw_can {
        return raw::read(path, stem, report);
    }
    let databases = databases(path, stem, options)?;
    let mut plan = Plan::survey(path, databases, report)?;
    let catalogue = plan.choose(options, report);
    if catalogue.signals.is_empty() {
        return Ok(Vec::new());
    }
    let mut recording = Recording::new(catalogue);
    let mut lines = Lines::open(path)?;
    while let Some((_, line)) = lines.read_line()? {
        let Some(frame) = CanFrame::parse(line) else { continue };
        let Some(sender) = plan.sender(&frame) else { continue };
        for (at, wanted) in sender.wanted() {
            match sender.message.value(at, &frame) {
                Value::Raw(raw) => {
                    let tick = frame.us.div_euclid(1000);
                    let pushed = recording.push(Sample::new(tick, wanted, raw));
                    debug_assert!(pushed.is_ok(), "the catalogue was made of these");
                }
                Value::Absent | Value::NotAvailable | Value::OutOfRange => {}
            }
        }
    }
    Ok(vec![Track { name: stem.to_owned(), recording }])
}

fn databases(path: &Path, stem: &str, options: &ReadOptions) -> Result<Vec<Database>, ReadError> {
    let mut databases = Vec::new();
    if options.dbc.is_empty() {
        let beside = path.with_file_name(format!("{stem}.dbc"));
        if !beside.exists() {
            return Err(ReadError::NoDbc { path: path.to_owned(), beside });
        }
        databases.push(Database::open(&beside)?);
    }
    for argument in &options.dbc {
        databases.push(Database::open(argument)?);
    }
    databases.push(Database::obd2()?);
    Ok(databases)
}

/// Which ids of a log are which messages, and which of their signals are wanted.
struct Plan {
    databases: Vec<Database>,
    senders: Vec<Sender>,
    /// Per channel, what is known of its ids.
    channels: HashMap<String, HashMap<(bool, u32), Known>>,
    ids: usize,
}

/// An id that was met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    /// The sender at this place has it.
    Sender(usize),
    /// No DBC names it.
    Foreign,
}

/// A message as one id on one channel sends it.
struct Sender {
    /// Which DBC file, and where in it.
    order: (usize, usize),
    channel: String,
    extended: bool,
    id: u32,
    message: Arc<Message>,
    /// Per signal, whether a value of it occurred, and its place in the catalogue.
    signals: Vec<(bool, Option<SignalIndex>)>,
}

/// What a survey left out.
#[derive(Default)]
struct LeftOut {
    unknown: u64,
    not_available: u64,
    beyond: u64,
}

impl Plan {
    /// Reads the log through once.
    fn survey(
        path: &Path,
        databases: Vec<Database>,
        report: &mut FileReport,
    ) -> Result<Self, ReadError> {
        let mut plan = Self { databases, senders: Vec::new(), channels: HashMap::new(), ids: 0 };
        let mut left_out = LeftOut::default();
        let mut lines = Lines::open(path)?;
        while let Some((number, line)) = lines.read_line()? {
            if line.is_empty() {
                continue;
            }
            report.rows += 1;
            match CanFrame::parse(line) {
                Some(frame) => plan.meet(&frame, &mut left_out),
                None => report.note_malformed(number, || "no (seconds) channel ID#DATA".to_owned()),
            }
        }
        left_out.tell(report);
        plan.sort();
        Ok(plan)
    }

    /// Looks at a frame: whose it is, and which signals have values in it.
    fn meet(&mut self, frame: &CanFrame<'_>, left_out: &mut LeftOut) {
        let known = self.known(frame).unwrap_or_else(|| self.register(frame));
        let Known::Sender(at) = known else {
            left_out.unknown += 1;
            return;
        };
        let Some(sender) = self.senders.get_mut(at) else { return };
        for (at, (seen, _)) in sender.signals.iter_mut().enumerate() {
            match sender.message.value(at, frame) {
                Value::Raw(_) => *seen = true,
                Value::NotAvailable => left_out.not_available += 1,
                Value::OutOfRange => left_out.beyond += 1,
                Value::Absent => {}
            }
        }
    }

    fn known(&self, frame: &CanFrame<'_>) -> Option<Known> {
        self.channels.get(frame.channel)?.get(&(frame.form.extended, frame.id)).copied()
    }

    /// Notes an id that is met for the first time. If there are too many it is nobody's.
    fn register(&mut self, frame: &CanFrame<'_>) -> Known {
        if self.ids >= IDS_MAX {
            return Known::Foreign;
        }
        self.ids += 1;
        let (extended, id) = (frame.form.extended, frame.id);
        let found = (0..).zip(&self.databases).find_map(|(file, database)| {
            let (at, message) = database.find(frame.channel, extended, id)?;
            Some(((file, at), message))
        });
        let place = self.senders.len();
        let known = found.map_or(Known::Foreign, |(order, message)| {
            let signals = vec![(false, None); message.signals.len()];
            let channel = frame.channel.to_owned();
            self.senders.push(Sender { order, channel, extended, id, message, signals });
            Known::Sender(place)
        });
        self.channels.entry(frame.channel.to_owned()).or_default().insert((extended, id), known);
        known
    }

    /// Puts the senders into the order of the DBC files, whatever the log began with.
    fn sort(&mut self) {
        self.senders.sort_by(|a, b| {
            (a.order, &a.channel, a.extended, a.id).cmp(&(b.order, &b.channel, b.extended, b.id))
        });
        for (place, sender) in self.senders.iter().enumerate() {
            if let Some(ids) = self.channels.get_mut(&sender.channel) {
                ids.insert((sender.extended, sender.id), Known::Sender(place));
            }
        }
    }

    /// Takes signals into a catalogue, in order, as long as there is room.
    fn choose(
        &mut self,
        options: &ReadOptions,
        report: &mut FileReport,
    ) -> &'static Catalogue<'static> {
        let mut labels = HashMap::new();
        let mut chosen: Vec<Signal<'static>> = Vec::new();
        let (mut offered, mut room) = (0_usize, Room::default());
        for sender in &mut self.senders {
            let label = label(&sender.message.name, &sender.channel, sender.id, &mut labels);
            for (signal, (seen, place)) in sender.message.signals.iter().zip(&mut sender.signals) {
                let name = format!("{label}.{}", signal.name);
                let (true, Ok(scale)) = (*seen, signal.scale) else { continue };
                if !options.signals.is_empty() && !matches_any(&options.signals, &name) {
                    continue;
                }
                offered += 1;
                let Some(entry) = entry(&name, &signal.unit, scale.step, signal.range) else {
                    continue;
                };
                let index = u8::try_from(chosen.len()).unwrap_or(u8::MAX);
                if !room.takes(&entry) {
                    continue;
                }
                *place = Some(SignalIndex(index));
                chosen.push(entry);
            }
        }
        if chosen.len() < offered {
            report.notes.push(format!(
                "{} of {offered} signals taken, in the order of the DBC: a catalogue holds {} \
                 signals or {CATALOGUE_BYTES_MAX} bytes; choose others with --signals GLOB",
                chosen.len(),
                Catalogue::SIGNALS_MAX,
            ));
        }
        leak(chosen)
    }

    /// Whose frame this is.
    fn sender(&self, frame: &CanFrame<'_>) -> Option<&Sender> {
        let Known::Sender(at) = self.known(frame)? else { return None };
        self.senders.get(at)
    }
}

impl LeftOut {
    fn tell(&self, report: &mut FileReport) {
        for (count, what) in [
            (self.unknown, "frames left out that no DBC names"),
            (self.not_available, "J1939 values left out that say `not available` or `error`"),
            (self.beyond, "values left out that no 64-bit raw value holds"),
        ] {
            if count > 0 {
                report.notes.push(format!("{count} {what}"));
            }
        }
    }
}

impl Sender {
    fn wanted(&self) -> impl Iterator<Item = (usize, SignalIndex)> {
        self.signals.iter().enumerate().filter_map(|(at, (_, wanted))| Some((at, (*wanted)?)))
    }
}

#[cfg(test)]
mod tests;
