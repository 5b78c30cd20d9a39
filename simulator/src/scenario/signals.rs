//! What the vehicles of a scenario measure: one catalogue for all classes.

use protocol::{Catalogue, Lane, Signal, SignalIndex, Step};

use super::{Class, Powertrain};

const fn signal(
    path: &'static str,
    unit: &'static str,
    denominator: u32,
    raw_min: i64,
    raw_max: i64,
) -> Signal<'static> {
    Signal { path, unit, step: Step::new(1, denominator), raw_min, raw_max }
}

/// Everything but the odometer travels in bulk; of that one only the latest value counts.
pub static CATALOGUE: Catalogue<'static> = Catalogue::new(
    1,
    &[
        signal("Vehicle.Speed", "km/h", 100, 0, 25_000),
        signal("Vehicle.Powertrain.CombustionEngine.Speed", "rpm", 1, 0, 8_000),
        signal("Vehicle.Powertrain.ElectricMotor.Speed", "rpm", 1, 0, 20_000),
        signal("Vehicle.CurrentLocation.Latitude", "degrees", MICRO, -90_000_000, 90_000_000),
        signal("Vehicle.CurrentLocation.Longitude", "degrees", MICRO, -180_000_000, 180_000_000),
        signal(
            "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature",
            "celsius",
            10,
            -500,
            1_500,
        ),
        signal("Vehicle.Powertrain.FuelSystem.RelativeLevel", "percent", 100, 0, 10_000),
        signal(
            "Vehicle.Powertrain.TractionBattery.StateOfCharge.Current",
            "percent",
            100,
            0,
            10_000,
        ),
        signal("Vehicle.LowVoltageBattery.CurrentVoltage", "V", 1000, 0, 20_000),
        signal("Vehicle.TraveledDistance", "km", 1000, 0, i64::MAX),
        signal("Vehicle.Cabin.IsOccupied", "", 1, 0, 1),
    ],
);
const MICRO: u32 = 1_000_000;

pub(super) const SPEED: SignalIndex = SignalIndex(0);
pub(super) const ENGINE: SignalIndex = SignalIndex(1);
pub(super) const MOTOR: SignalIndex = SignalIndex(2);
pub(super) const LATITUDE: SignalIndex = SignalIndex(3);
pub(super) const LONGITUDE: SignalIndex = SignalIndex(4);
pub(super) const COOLANT: SignalIndex = SignalIndex(5);
pub(super) const FUEL: SignalIndex = SignalIndex(6);
pub(super) const CHARGE: SignalIndex = SignalIndex(7);
pub(super) const VOLTAGE: SignalIndex = SignalIndex(8);
pub(super) const DISTANCE: SignalIndex = SignalIndex(9);
pub(super) const OCCUPIED: SignalIndex = SignalIndex(10);

/// Which lane a signal of a scenario travels in.
pub fn lane_of(signal: SignalIndex) -> Lane {
    if signal == DISTANCE { Lane::Latest } else { Lane::Bulk }
}

/// The sensors that can break in a class.
pub(super) const fn breakable(class: &Class) -> &'static [SignalIndex] {
    match (class.taxi, class.powertrain) {
        (Some(_), _) => &[LATITUDE, LONGITUDE, OCCUPIED],
        (None, Powertrain::Combustion) => &[SPEED, ENGINE, COOLANT, FUEL, VOLTAGE],
        (None, Powertrain::Electric) => &[SPEED, MOTOR, CHARGE, VOLTAGE],
    }
}
