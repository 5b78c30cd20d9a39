//! What a vehicle measures: for every sample, its place among all of them tells its time and value.

use firmware::ports::{Now, Reading, Source};
use protocol::{Catalogue, Clock, Sample, Signal, SignalIndex, Step};

/// Signals of a vehicle, each once a second.
pub(super) const SIGNALS: usize = 10;
const SIGNALS_U64: u64 = 10;

const fn signal(path: &'static str) -> Signal<'static> {
    Signal { path, unit: "", step: Step::ONE, raw_min: i64::MIN, raw_max: i64::MAX }
}

static ALL: [Signal<'static>; SIGNALS] = [
    signal("Vehicle.Speed"),
    signal("Vehicle.Powertrain.CombustionEngine.Speed"),
    signal("Vehicle.OBD.EngineLoad"),
    signal("Vehicle.OBD.CoolantTemperature"),
    signal("Vehicle.OBD.ThrottlePosition"),
    signal("Vehicle.OBD.IntakeTemp"),
    signal("Vehicle.OBD.MAF"),
    signal("Vehicle.CurrentLocation.Altitude"),
    signal("Vehicle.Exterior.AirTemperature"),
    signal("Vehicle.LowVoltageBattery.CurrentVoltage"),
];

pub(super) static CATALOGUE: Catalogue<'static> = Catalogue { tick_ms: 1000, signals: &ALL };

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

/// A sample's place in its lane, from its tick and column: among all (bulk), or among those of the
/// first signal (latest). None if the vehicle never measured that.
pub(super) fn place(vehicle: u64, tick: i64, column: u8, value: i64) -> Option<(Lineage, u64)> {
    let since = tick.checked_sub(BEGIN_S)?;
    let copy = u64::try_from(since.div_euclid(LINEAGE_S)).ok()?;
    let second = u64::try_from(since.rem_euclid(LINEAGE_S)).ok()?;
    let of = Lineage { vehicle, copy };
    let column = u64::from(column);
    (column < SIGNALS_U64 && raw(of, second, column) == value)
        .then_some((of, second * SIGNALS_U64 + column))
}

/// A vehicle's sensors: as many samples as seconds have passed while it drove.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    pub of: Lineage,
    /// The next sample.
    pub next: u64,
    /// Seconds driven so far.
    pub seconds: u64,
}

impl Drive {
    pub(super) const fn new(of: Lineage) -> Self {
        Self { of, next: 0, seconds: 0 }
    }

    fn reading(&self) -> Option<Reading> {
        let (second, column) = (self.next / SIGNALS_U64, self.next % SIGNALS_U64);
        let copy = i64::try_from(self.of.copy).ok()?;
        let tick = BEGIN_S + copy * LINEAGE_S + i64::try_from(second).ok()?;
        let signal = SignalIndex(u8::try_from(column).ok()?);
        let raw = raw(self.of, second, column);
        Some(Reading { sample: Sample { tick, signal, raw }, clock: Clock::Reference })
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
