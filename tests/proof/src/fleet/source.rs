//! What a vehicle measures: for every sample, its place among all of them tells its time and value.
//!
//! Some vehicles have sensors that now and then give no whole number of steps, and under one image a signal
//! is offered twice each time and recorded on change.

use agent::document::{OwnedCatalogue, OwnedSignal};
use agent::value::Exact;
use firmware::ports::{Now, Reading, Source};
use protocol::thinning::{Skip, Thin, Thinning};
use protocol::{Catalogue, Clock, Sample, Signal, SignalIndex, Step, Value};

/// Signals of a vehicle, each once a second.
pub(super) const SIGNALS: usize = 10;
const SIGNALS_U64: u64 = 10;

/// What each signal is called, in every catalogue.
pub(super) const PATHS: [&str; SIGNALS] = [
    "Vehicle.Speed",
    "Vehicle.Powertrain.CombustionEngine.Speed",
    "Vehicle.OBD.EngineLoad",
    "Vehicle.OBD.CoolantTemperature",
    "Vehicle.OBD.ThrottlePosition",
    "Vehicle.OBD.IntakeTemp",
    "Vehicle.OBD.MAF",
    "Vehicle.CurrentLocation.Altitude",
    "Vehicle.Exterior.AirTemperature",
    "Vehicle.LowVoltageBattery.CurrentVoltage",
];

/// Catalogues that devices have had, by the number of their image: another step each, so that a
/// value read by another one's is another value.
pub(super) const IMAGES: u32 = 3;

/// Raw values of an image are so many times the value.
pub(super) const fn scale(image: u32) -> i64 {
    match image % IMAGES {
        0 => 1,
        1 => 2,
        _ => 5,
    }
}

const fn signals(denominator: u32) -> [Signal<'static>; SIGNALS] {
    let blank = Signal {
        path: "",
        unit: "",
        step: Step::new(1, denominator),
        raw_min: i64::MIN,
        raw_max: i64::MAX,
    };
    let [a, b, c, d, e, f, g, h, i, j] = PATHS;
    [
        Signal { path: a, ..blank },
        Signal { path: b, ..blank },
        Signal { path: c, ..blank },
        Signal { path: d, ..blank },
        Signal { path: e, ..blank },
        Signal { path: f, ..blank },
        Signal { path: g, ..blank },
        Signal { path: h, ..blank },
        Signal { path: i, ..blank },
        Signal { path: j, ..blank },
    ]
}

static SIGNALS_OF: [[Signal<'static>; SIGNALS]; 3] = [signals(1), signals(2), signals(5)];

/// The signal that is never twice the same, so that on change leaves out what is offered again and no
/// more.
const ALTERNATING: u8 = 9;

static ON_CHANGE: [Thinning; 1] = [Thinning {
    signal: SignalIndex(ALTERNATING),
    how: Thin::Skip(Skip { dead_band: Some(0), interval_ms: 0, silence_ms: 0 }),
}];

static CATALOGUES: [Catalogue<'static>; 3] = {
    let [first, second, third] = &SIGNALS_OF;
    let thinned = Catalogue { thinning: &ON_CHANGE, ..Catalogue::new(1000, second) };
    [Catalogue::new(1000, first), thinned, Catalogue::new(1000, third)]
};

/// The catalogue of an image.
pub(super) fn catalogue(image: u32) -> &'static Catalogue<'static> {
    let [first, second, third] = &CATALOGUES;
    match image % IMAGES {
        0 => first,
        1 => second,
        _ => third,
    }
}

/// 2026-11-21T07:00:00Z in seconds: where every vehicle's history begins.
const BEGIN_S: i64 = 1_795_244_400;
/// A copy of a device has a history of its own, so far away.
const LINEAGE_S: i64 = 1 << 34;

/// Whose history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Lineage {
    pub vehicle: u64,
    /// 0, or of a copy of the device: which.
    pub copy: u64,
}

/// A value, whatever carried it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// A whole number, whatever the step.
    Whole(i64),
    /// The sensor said that it has none.
    Missing,
    /// The bits of the binary64 number that it is.
    Number(u64),
    Bytes(Vec<u8>),
    Text(String),
}

impl Said {
    /// What the agent holds of a value that is no number of steps.
    pub(super) fn of(exact: &Exact) -> Self {
        match exact {
            Exact::Missing => Self::Missing,
            Exact::Single(bits) => Self::number(f64::from(f32::from_bits(*bits))),
            Exact::Double(bits) => Self::Number(*bits),
            Exact::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Exact::Text(text) => Self::Text(text.to_string()),
        }
    }

    pub(super) const fn number(number: f64) -> Self {
        Self::Number(number.to_bits())
    }
}

/// A sensor that says for so many seconds of each thousand that it has no value; and of all other values
/// of such a vehicle, one in so many is no whole number of steps.
const SILENT: u64 = 3;
const SILENT_S: u64 = 40;
const ODD_ONE_IN: u64 = 64;

/// The value of a signal at a second.
fn value(of: Lineage, second: u64, column: u64) -> Said {
    // A triangle, and the last bits as noise has them.
    let period = 40 + 13 * column;
    let at = (second + 7 * of.vehicle) % (2 * period);
    let slope = i64::try_from(at.min(2 * period - at)).unwrap_or(0);
    let mixed = (second * SIGNALS_U64 + column + (of.vehicle << 40) + (of.copy << 52))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let noise = i64::try_from(mixed >> 62).unwrap_or(0);
    if column == u64::from(ALTERNATING) {
        return Said::Whole(2 * slope + i64::from(second % 2 == 1));
    }
    if of.vehicle % 3 == 1 {
        if column == SILENT && second % 1000 < SILENT_S {
            return Said::Missing;
        }
        if (mixed >> 40).is_multiple_of(ODD_ONE_IN) {
            return odd(mixed >> 46);
        }
    }
    Said::Whole(slope * i64::try_from(column % 4).unwrap_or(0) + noise)
}

/// What is no whole number of any image's steps.
fn odd(drawn: u64) -> Said {
    let some = drawn >> 3;
    match drawn % 8 {
        0 => Said::Missing,
        // Binary32 has it, too.
        1 | 2 => Said::number(0.25 + f64::from(u8::try_from(some % 251).unwrap_or(0))),
        3 | 4 => Said::number(f64::from(10 * u32::try_from(some).unwrap_or(0) + 7) / 100.0),
        5 => Said::number(f64::NEG_INFINITY),
        6 => Said::Bytes(some.to_le_bytes().into_iter().skip_while(|byte| byte % 4 == 0).collect()),
        _ => Said::Text(format!("\u{e9} \"{some:x}\"")),
    }
}

/// By how much each column of a catalogue is divided to be a value.
pub(super) fn scales_of(catalogue: &OwnedCatalogue) -> Vec<i64> {
    let is_ours = |(signal, path): (&OwnedSignal, &str)| {
        let whole = signal.step.numerator == 1 && signal.path == path;
        if whole { i64::from(signal.step.denominator) } else { 0 }
    };
    catalogue.signals.iter().zip(PATHS).map(is_ours).collect()
}

/// A sample's place among all of its vehicle's, from its second and signal. None if the vehicle
/// never measured that.
pub(super) fn place(vehicle: u64, at: (i64, u64), said: &Said) -> Option<(Lineage, u64)> {
    let (second, signal) = at;
    let since = second.checked_sub(BEGIN_S)?;
    let copy = u64::try_from(since.div_euclid(LINEAGE_S)).ok()?;
    let second = u64::try_from(since.rem_euclid(LINEAGE_S)).ok()?;
    let of = Lineage { vehicle, copy };
    (signal < SIGNALS_U64 && value(of, second, signal) == *said)
        .then_some((of, second * SIGNALS_U64 + signal))
}

/// A vehicle's sensors: as many samples as seconds have passed while it drove.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    pub of: Lineage,
    /// Of the image that runs.
    image: u32,
    /// The next sample.
    pub next: u64,
    /// Seconds driven so far.
    pub seconds: u64,
    /// Beside the value that was given last.
    content: Vec<u8>,
    /// The last one is offered again.
    again: Option<Reading>,
}

impl Drive {
    pub(super) const fn new(of: Lineage) -> Self {
        Self { of, image: 0, next: 0, seconds: 0, content: Vec::new(), again: None }
    }

    /// An image starts.
    pub(super) fn start(&mut self, image: u32) {
        (self.image, self.again) = (image, None);
    }

    fn reading(&mut self) -> Option<Reading> {
        let (second, column) = (self.next / SIGNALS_U64, self.next % SIGNALS_U64);
        let copy = i64::try_from(self.of.copy).ok()?;
        let tick = BEGIN_S + copy * LINEAGE_S + i64::try_from(second).ok()?;
        let signal = SignalIndex(u8::try_from(column).ok()?);
        self.content.clear();
        let value = match value(self.of, second, column) {
            Said::Whole(whole) => Value::Steps(scale(self.image) * whole),
            Said::Missing => Value::Missing,
            Said::Number(bits) => number(bits),
            Said::Bytes(bytes) => {
                self.content = bytes;
                Value::Bytes(u8::try_from(self.content.len()).ok()?)
            }
            Said::Text(text) => {
                self.content = text.into_bytes();
                Value::Text(u8::try_from(self.content.len()).ok()?)
            }
        };
        Some(Reading { sample: Sample { tick, signal, value }, clock: Clock::Reference })
    }
}

/// As a driver has it: in binary32, if that says it all.
fn number(bits: u64) -> Value {
    let number = f64::from_bits(bits);
    #[allow(clippy::cast_possible_truncation, reason = "it is compared with what it was")]
    let single = number as f32;
    if f64::from(single).to_bits() == bits {
        Value::Single(single.to_bits())
    } else {
        Value::Double(bits)
    }
}

impl Source for Drive {
    fn next(&mut self, _now: &Now) -> Option<Reading> {
        if let Some(again) = self.again.take() {
            return Some(again);
        }
        if self.next >= self.seconds * SIGNALS_U64 {
            return None;
        }
        let reading = self.reading();
        self.next += 1;
        let thinning = catalogue(self.image).thinning;
        let is_thinned = |reading: &Reading| {
            thinning.iter().any(|thinning| thinning.signal == reading.sample.signal)
        };
        self.again = reading.filter(is_thinned);
        reading
    }

    fn read(&mut self, _signal: SignalIndex, _now: &Now) -> Option<Reading> {
        None
    }

    fn content(&self) -> &[u8] {
        &self.content
    }

    fn due(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_vehicle_has_values_of_every_kind_and_each_is_the_one_of_its_second_alone() {
        let of = Lineage { vehicle: 1, copy: 0 };
        let mut drive = Drive { seconds: 10_000, ..Drive::new(of) };
        let mut kinds = BTreeSet::new();
        for at in 0..10_000 * SIGNALS_U64 {
            let reading = drive.next(&Now::default()).unwrap();
            let exact = Exact::of(reading.sample.value, drive.content());
            let said =
                exact.as_ref().map_or(Said::Whole(reading.sample.steps().unwrap_or(0)), Said::of);
            let (second, signal) = (reading.sample.tick, u64::from(reading.sample.signal.0));
            assert_eq!(place(1, (second, signal), &said), Some((of, at)));
            assert_eq!(place(1, (second, signal), &Said::number(0.5)), None);
            kinds.insert(exact.as_ref().map_or("steps", Exact::kind));
        }
        assert_eq!(kinds.len(), 6, "{kinds:?}");
    }

    #[test]
    fn what_is_recorded_on_change_is_offered_twice_and_always_changes() {
        let mut drive = Drive { seconds: 1000, ..Drive::new(Lineage { vehicle: 1, copy: 0 }) };
        drive.start(1);
        let offered: Vec<_> = std::iter::from_fn(|| drive.next(&Now::default())).collect();
        assert_eq!(offered.len(), 11_000);
        let thinned = |reading: &&Reading| reading.sample.signal.0 == ALTERNATING;
        let values: Vec<_> = offered.iter().filter(thinned).map(|reading| reading.sample).collect();
        let (pairs, _) = values.as_chunks::<2>();
        assert!(pairs.iter().all(|[first, again]| first == again));
        assert!(pairs.windows(2).all(|next| next[0][0].value != next[1][0].value));
    }
}
