//! Recordings of what an agent delivered, as `milepost-sim record` writes them: a line per instant or
//! event, `{"d":"van-1","l":"bulk","t":1211094008000,"s":{"Vehicle.Speed":41.3}}`.
//!
//! Documents name no steps: a signal's is the finest decimal place that occurs of it in the file, so
//! that each number is kept as it stands. Read twice, because that is known only at the end.

use std::collections::HashMap;
use std::path::Path;

use protocol::event::{ATTRIBUTES_MAX, Attributes, Event, Value};
use protocol::{Catalogue, DeviceTime, Lane, Sample, Signal, SignalIndex, Step};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::can::leak;
use crate::decimal::{Excess, scaled};
use crate::lines::Lines;
use crate::numbers::Numbers;
use crate::{FileReport, ReadError, Recording, Track};

/// First line of a recording.
pub const HEADER: &str = "{\"milepost_recording\":1}";

/// A step has at most so many decimal places.
const PLACES_MAX: usize = 9;

pub(super) fn is_header(header: &[u8]) -> bool {
    header == HEADER.as_bytes()
}

#[derive(Deserialize)]
struct Line<'a> {
    d: &'a str,
    l: &'a str,
    t: i64,
    #[serde(borrow)]
    s: Option<&'a RawValue>,
    #[serde(borrow)]
    e: Option<&'a RawValue>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    fn is_latest(&self) -> bool {
        self.l == Lane::Latest.name()
    }

    /// Path and number of each value.
    fn numbers(&self) -> Numbers<'a> {
        Numbers::of(self.s.map_or("{}", RawValue::get))
    }
}

/// What is known of a path of a device before it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Seen {
    place: usize,
    in_bulk: bool,
}

/// What a first reading finds.
#[derive(Default)]
struct Survey {
    /// Devices in the order in which they appear, and their paths in theirs.
    devices: Vec<(String, Vec<String>)>,
    by_name: HashMap<String, (usize, HashMap<String, Seen>)>,
    /// Per path, over all devices, the most decimal places.
    places: HashMap<String, usize>,
    too_many: u64,
}

pub(super) fn read(path: &Path, report: &mut FileReport) -> Result<Vec<Track>, ReadError> {
    let survey = Survey::of(path, report)?;
    let mut tracks = survey.tracks();
    let mut only_latest = 0_u64;
    let mut lines = Lines::open(path)?;
    while let Some((number, text)) = lines.read_line()? {
        let Some(line) = Line::parse(text) else { continue };
        let Some((at, paths)) = survey.by_name.get(line.d) else { continue };
        let Some(track) = tracks.get_mut(*at) else { continue };
        if let Some(event) = line.e {
            match parse_event(event.get()) {
                Some(event) => track.recording.push_event(line.t, event),
                None => report.note_malformed(number, || "no event".to_owned()),
            }
        }
        for (name, value) in line.numbers().flatten() {
            let Some(seen) = paths.get(name) else { continue };
            if line.is_latest() && seen.in_bulk {
                only_latest += 1;
                continue;
            }
            let places = survey.places.get(name).copied().unwrap_or_default();
            let places = u8::try_from(places).unwrap_or_default();
            let Some(raw) = scaled(value.as_bytes(), places, Excess::Cut) else { continue };
            let signal = SignalIndex(u8::try_from(seen.place).unwrap_or(u8::MAX));
            let pushed = track.recording.push(Sample::new(line.t, signal, raw));
            debug_assert!(pushed.is_ok(), "the survey saw every path that has a place");
        }
    }
    for (count, what) in [
        (only_latest, "latest values left out that are in the bulk lane too"),
        (survey.too_many, "values left out of signals beyond a catalogue's 64"),
    ] {
        if count > 0 {
            report.notes.push(format!("{count} {what}"));
        }
    }
    Ok(tracks)
}

impl Survey {
    fn of(path: &Path, report: &mut FileReport) -> Result<Self, ReadError> {
        let mut survey = Self::default();
        let mut lines = Lines::open(path)?;
        lines.read_line()?;
        while let Some((number, text)) = lines.read_line()? {
            report.rows += 1;
            match Line::parse(text) {
                Some(line) => survey.look_at(&line, number, report),
                None => report.note_malformed(number, || "no line of a recording".to_owned()),
            }
        }
        Ok(survey)
    }

    fn look_at(&mut self, line: &Line<'_>, number: u64, report: &mut FileReport) {
        if !self.by_name.contains_key(line.d) {
            self.by_name.insert(line.d.to_owned(), (self.devices.len(), HashMap::new()));
            self.devices.push((line.d.to_owned(), Vec::new()));
        }
        let Some((at, paths)) = self.by_name.get_mut(line.d) else { return };
        let Some((_, order)) = self.devices.get_mut(*at) else { return };
        for member in line.numbers() {
            let Ok((name, value)) = member else {
                report.note_malformed(number, || "no object of numbers".to_owned());
                return;
            };
            let places = value.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            let fits = u8::try_from(places).ok().filter(|_| places <= PLACES_MAX);
            if fits.is_none_or(|places| scaled(value.as_bytes(), places, Excess::Cut).is_none()) {
                report.note_malformed(number, || {
                    format!("{name}: {value} is no decimal of {PLACES_MAX} places at most")
                });
                continue;
            }
            if !paths.contains_key(name) {
                if order.len() >= Catalogue::SIGNALS_MAX || name.len() > Signal::PATH_MAX {
                    self.too_many += 1;
                    continue;
                }
                paths.insert(name.to_owned(), Seen { place: order.len(), in_bulk: false });
                order.push(name.to_owned());
            }
            if let Some(seen) = paths.get_mut(name) {
                seen.in_bulk |= !line.is_latest();
            }
            let most = self.places.entry(name.to_owned()).or_default();
            *most = (*most).max(places);
        }
    }

    /// Empty tracks; devices that measure the same share a catalogue.
    fn tracks(&self) -> Vec<Track> {
        let mut catalogues: HashMap<&[String], &'static Catalogue<'static>> = HashMap::new();
        let tracks = self.devices.iter().map(|(name, paths)| {
            let catalogue =
                *catalogues.entry(paths.as_slice()).or_insert_with(|| self.catalogue(paths));
            let mut recording = Recording::new(catalogue);
            let seen = self.by_name.get(name).map(|(_, seen)| seen);
            for seen in seen.into_iter().flat_map(HashMap::values) {
                if !seen.in_bulk {
                    let place = u8::try_from(seen.place).unwrap_or(u8::MAX);
                    recording.set_latest(SignalIndex(place));
                }
            }
            Track { name: name.clone(), recording }
        });
        tracks.collect()
    }

    fn catalogue(&self, paths: &[String]) -> &'static Catalogue<'static> {
        let signals = paths.iter().map(|path| {
            let places = self.places.get(path).copied().unwrap_or_default();
            let places = u32::try_from(places).unwrap_or_default();
            Signal {
                path: Box::leak(path.clone().into_boxed_str()),
                unit: "",
                step: Step::new(1, 10_u32.saturating_pow(places)),
                raw_min: i64::MIN,
                raw_max: i64::MAX,
            }
        });
        // A device of events alone has a catalogue all the same.
        let none = Signal {
            path: "Vehicle.Private.Nothing",
            unit: "",
            step: Step::ONE,
            raw_min: 0,
            raw_max: 0,
        };
        let mut signals: Vec<_> = signals.collect();
        if signals.is_empty() {
            signals.push(none);
        }
        leak(signals)
    }
}

/// An event that lives as long as the process, as recordings do.
fn parse_event(text: &str) -> Option<&'static Event<'static>> {
    #[derive(Deserialize)]
    struct Members {
        actor: String,
        action: String,
        object: String,
        #[serde(default)]
        context: String,
        #[serde(default)]
        resource: String,
        #[serde(default)]
        attributes: serde_json::Map<String, serde_json::Value>,
    }
    let members: Members = serde_json::from_str(text).ok()?;
    let keep = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    if members.attributes.len() > ATTRIBUTES_MAX {
        return None;
    }
    let mut attributes = Attributes::new();
    for (name, value) in members.attributes {
        let value = match value {
            serde_json::Value::String(text) => Value::Text(keep(text)),
            serde_json::Value::Bool(yes) => Value::Bool(yes),
            serde_json::Value::Number(number) => attribute_of(&number.to_string())?,
            _ => return None,
        };
        attributes.push((keep(name), value)).ok()?;
    }
    Some(Box::leak(Box::new(Event {
        time: DeviceTime::default(),
        actor: keep(members.actor),
        action: keep(members.action),
        object: keep(members.object),
        context: keep(members.context),
        resource: keep(members.resource),
        attributes,
    })))
}

fn attribute_of(number: &str) -> Option<Value<'static>> {
    let places = number.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let places = u8::try_from(places).ok()?;
    let number = scaled(number.as_bytes(), places, Excess::Cut)?;
    Some(if places == 0 { Value::Int(number) } else { Value::Decimal { number, places } })
}
