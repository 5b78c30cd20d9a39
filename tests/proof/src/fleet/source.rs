//! What a vehicle measures: for every sample, its place among all of them tells its time and value.

use agent::document::{OwnedCatalogue, OwnedSignal};
use firmware::ports::{Now, Reading, Source};
use protocol::{Catalogue, Clock, Sample, Signal, SignalIndex, Step};

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

static CATALOGUES: [Catalogue<'static>; 3] = {
    let [first, second, third] = &SIGNALS_OF;
    [Catalogue::new(1000, first), Catalogue::new(1000, second), Catalogue::new(1000, third)]
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

/// The value of a signal at a second.
fn raw(of: Lineage, second: u64, column: u64) -> i64 {
    // A triangle, and the last bits as noise has them.
    let period = 40 + 13 * column;
    let at = (second + 7 * of.vehicle) % (2 * period);
    let slope = i64::try_from(at.min(2 * period - at)).unwrap_or(0);
    let mixed = (second * SIGNALS_U64 + column + (of.vehicle << 40) + (of.copy << 52))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let noise = i64::try_from(mixed >> 62).unwrap_or(0);
    slope * i64::try_from(column % 4).unwrap_or(0) + noise
}

/// By how much each column of a catalogue is divided to be a value.
pub(super) fn value_of(catalogue: &OwnedCatalogue) -> Vec<i64> {
    let is_ours = |(signal, path): (&OwnedSignal, &str)| {
        let whole = signal.step.numerator == 1 && signal.path == path;
        if whole { i64::from(signal.step.denominator) } else { 0 }
    };
    catalogue.signals.iter().zip(PATHS).map(is_ours).collect()
}

/// A sample's place among all of its vehicle's, from its second and signal. None if the vehicle
/// never measured that.
pub(super) fn place(vehicle: u64, second: i64, signal: u64, value: i64) -> Option<(Lineage, u64)> {
    let since = second.checked_sub(BEGIN_S)?;
    let copy = u64::try_from(since.div_euclid(LINEAGE_S)).ok()?;
    let second = u64::try_from(since.rem_euclid(LINEAGE_S)).ok()?;
    let of = Lineage { vehicle, copy };
    (signal < SIGNALS_U64 && raw(of, second, signal) == value)
        .then_some((of, second * SIGNALS_U64 + signal))
}

/// A vehicle's sensors: as many samples as seconds have passed while it drove.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    pub of: Lineage,
    /// Of the image that runs.
    pub image: u32,
    /// The next sample.
    pub next: u64,
    /// Seconds driven so far.
    pub seconds: u64,
}

impl Drive {
    pub(super) const fn new(of: Lineage) -> Self {
        Self { of, image: 0, next: 0, seconds: 0 }
    }

    fn reading(&self) -> Option<Reading> {
        let (second, column) = (self.next / SIGNALS_U64, self.next % SIGNALS_U64);
        let copy = i64::try_from(self.of.copy).ok()?;
        let tick = BEGIN_S + copy * LINEAGE_S + i64::try_from(second).ok()?;
        let signal = SignalIndex(u8::try_from(column).ok()?);
        let raw = scale(self.image) * raw(self.of, second, column);
        Some(Reading { sample: Sample::new(tick, signal, raw), clock: Clock::Reference })
    }
}

impl Source for Drive {
    fn next(&mut self, _now: &Now) -> Option<Reading> {
        if self.next >= self.seconds * SIGNALS_U64 {
            return None;
        }
        let reading = self.reading();
        self.next += 1;
        reading
    }

    fn read(&mut self, _signal: SignalIndex, _now: &Now) -> Option<Reading> {
        None
    }

    fn due(&self) -> Option<u64> {
        None
    }
}
