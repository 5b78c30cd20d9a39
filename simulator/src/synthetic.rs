//! A drive made up from a seed: an electric van that starts, cruises, brakes, stops, opens its door
//! and now and then charges. Integers only, so that it is the same everywhere.
//!
//! It is no physics, only traffic of the right shape: two samples of speed and motor speed and one
//! of the position a second, a charge level every ten seconds that only counts while it is new, and
//! events.

use std::collections::VecDeque;

use protocol::event::{Attributes, Event, Value};
use protocol::{Catalogue, DeviceTime, Lane, Sample, Signal, SignalIndex, Step};

use crate::seed::Seeded;
use crate::source::Reading;

/// What the van measures. The charge level travels in the latest-value lane, the rest in bulk.
pub static CATALOGUE: Catalogue<'static> = Catalogue::new(
    1,
    &[
        Signal {
            path: "Vehicle.Speed",
            unit: "km/h",
            step: Step::new(1, 100),
            raw_min: 0,
            raw_max: 25_000,
        },
        Signal {
            path: "Vehicle.Powertrain.ElectricMotor.Speed",
            unit: "rpm",
            step: Step::ONE,
            raw_min: 0,
            raw_max: 20_000,
        },
        Signal {
            path: "Vehicle.CurrentLocation.Latitude",
            unit: "degrees",
            step: Step::new(1, 1_000_000),
            raw_min: -90_000_000,
            raw_max: 90_000_000,
        },
        Signal {
            path: "Vehicle.CurrentLocation.Longitude",
            unit: "degrees",
            step: Step::new(1, 1_000_000),
            raw_min: -180_000_000,
            raw_max: 180_000_000,
        },
        Signal {
            path: "Vehicle.Powertrain.TractionBattery.StateOfCharge.Current",
            unit: "percent",
            step: Step::new(1, 100),
            raw_min: 0,
            raw_max: 10_000,
        },
    ],
);

const SPEED: SignalIndex = SignalIndex(0);
const MOTOR: SignalIndex = SignalIndex(1);
const LATITUDE: SignalIndex = SignalIndex(2);
const LONGITUDE: SignalIndex = SignalIndex(3);
/// The one signal of the latest-value lane.
pub const CHARGE: SignalIndex = SignalIndex(4);

/// Length of one step of the model, in milliseconds.
const STEP_MS: u64 = 500;

/// Which drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drive {
    seed: u64,
    salt: u64,
    start_unix_ms: i64,
    length_ms: u64,
}

/// Something that happened on a drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occurrence {
    /// When, by the van's clock.
    pub unix_ms: i64,
    /// Counts the van's events, from 1.
    pub number: u32,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The driver opened the rear door at a stop.
    DoorOpened,
    /// The van braked hard.
    HarshBrake {
        /// From which speed, in hundredths of km/h.
        from: i64,
        /// How hard, in hundredths of m/s2.
        deceleration: i64,
    },
    /// Charging began.
    ChargeStarted {
        /// At which level, in hundredths of a percent.
        level: i64,
    },
    /// The tank was filled.
    Refuelled {
        /// To which level, in hundredths of a percent.
        level: i64,
    },
    /// The driver set off.
    TripStarted,
    /// The driver parked.
    TripEnded {
        /// After so many metres.
        metres: i64,
    },
    /// What a recording of a live agent has.
    Recorded(&'static Event<'static>),
}

impl Occurrence {
    /// It as the event that the device records.
    pub fn event(&self, time: DeviceTime) -> Event<'static> {
        if let What::Recorded(event) = self.what {
            return Event { time, ..event.clone() };
        }
        let mut attributes = Attributes::new();
        let mut attribute = |name, value| {
            let fits = attributes.push((name, value)).is_ok();
            debug_assert!(fits, "no event here has more than three attributes");
        };
        attribute("number", Value::Int(i64::from(self.number)));
        let (actor, action, object, context, resource) = match self.what {
            What::DoorOpened => {
                attribute("moving", Value::Bool(false));
                ("driver", "open", "door.rear", "delivery", "Vehicle.Cabin.Door")
            }
            What::HarshBrake { from, deceleration } => {
                attribute("from_kmh", Value::Decimal { number: from, places: 2 });
                attribute("deceleration_ms2", Value::Decimal { number: deceleration, places: 2 });
                ("driver", "brake", "vehicle", "trip", "")
            }
            What::ChargeStarted { level } => {
                attribute("level_percent", Value::Decimal { number: level, places: 2 });
                attribute("plug", Value::Text("ccs"));
                ("charger", "start", "charging", "", "Vehicle.Powertrain.TractionBattery")
            }
            What::Refuelled { level } => {
                attribute("level_percent", Value::Decimal { number: level, places: 2 });
                ("driver", "fill", "tank", "", "Vehicle.Powertrain.FuelSystem")
            }
            What::TripStarted | What::Recorded(_) => ("driver", "start", "trip", "trip", ""),
            What::TripEnded { metres } => {
                attribute("distance_km", Value::Decimal { number: metres, places: 3 });
                ("driver", "end", "trip", "trip", "")
            }
        };
        Event { time, actor, action, object, context, resource, attributes }
    }
}

impl Drive {
    /// A drive of `length_ms` that begins at `start_unix_ms`. The same numbers give the same drive;
    /// another salt gives another vehicle.
    pub const fn new(seed: u64, salt: u64, start_unix_ms: i64, length_ms: u64) -> Self {
        Self { seed, salt, start_unix_ms, length_ms }
    }

    /// Follows the drive from its start.
    pub fn cursor(&self) -> DriveCursor {
        let mut chance = Seeded::new(self.seed, self.salt);
        DriveCursor {
            at_ms: 0,
            phase: Phase::Standing { steps_left: chance.between(2, 20) },
            speed: 0,
            latitude: 48_000_000 + chance.between(-2_000_000, 2_000_000),
            longitude: 9_000_000 + chance.between(-2_000_000, 2_000_000),
            heading: [chance.between(-100, 100), chance.between(-100, 100)],
            charge: chance.between(4000, 9500),
            events: 0,
            ready: VecDeque::new(),
            chance,
        }
    }
}

/// A place in a [`Drive`].
#[derive(Clone, Debug)]
pub struct DriveCursor {
    chance: Seeded,
    at_ms: u64,
    phase: Phase,
    /// Hundredths of km/h.
    speed: i64,
    /// Millionths of a degree.
    latitude: i64,
    longitude: i64,
    /// Share of the way that goes north and east, in hundredths.
    heading: [i64; 2],
    /// Hundredths of a percent.
    charge: i64,
    events: u32,
    ready: VecDeque<Reading>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Standing { steps_left: i64 },
    Charging { steps_left: i64 },
    Accelerating { to: i64 },
    Cruising { steps_left: i64 },
    Braking { per_step: i64 },
}

impl DriveCursor {
    /// What the van reports next; nothing once the drive's length is reached.
    pub fn next(&mut self, drive: &Drive) -> Option<Reading> {
        while self.ready.is_empty() {
            if self.at_ms >= drive.length_ms {
                return None;
            }
            let unix_ms =
                drive.start_unix_ms.saturating_add(i64::try_from(self.at_ms).unwrap_or(i64::MAX));
            self.step(unix_ms);
            self.at_ms += STEP_MS;
        }
        self.ready.pop_front()
    }

    fn step(&mut self, unix_ms: i64) {
        self.advance(unix_ms);
        self.sample(unix_ms, Lane::Bulk, SPEED, self.speed);
        let wobble = if self.speed > 0 { self.chance.between(-15, 15) } else { 0 };
        self.sample(unix_ms, Lane::Bulk, MOTOR, (self.speed * 80 / 100 + wobble).max(0));
        if self.at_ms.is_multiple_of(1000) {
            let [north, east] = self.heading;
            // A hundredth of km/h for a second is about 0.025 millionths of a degree.
            self.latitude += self.speed * north / 4000;
            self.longitude += self.speed * east / 3000;
            self.sample(unix_ms, Lane::Bulk, LATITUDE, self.latitude);
            self.sample(unix_ms, Lane::Bulk, LONGITUDE, self.longitude);
        }
        if self.at_ms.is_multiple_of(10_000) {
            self.charge = (self.charge - self.speed / 2500).clamp(0, 10_000);
            self.sample(unix_ms, Lane::Latest, CHARGE, self.charge);
        }
    }

    fn advance(&mut self, unix_ms: i64) {
        self.phase = match self.phase {
            Phase::Standing { steps_left: 1.. } | Phase::Charging { steps_left: 1.. } => {
                self.stand()
            }
            Phase::Standing { .. } | Phase::Charging { .. } => {
                self.heading = [self.chance.between(-100, 100), self.chance.between(-100, 100)];
                Phase::Accelerating { to: self.chance.between(2000, 9000) }
            }
            Phase::Accelerating { to } if self.speed < to => {
                self.speed = (self.speed + self.chance.between(150, 400)).min(to);
                self.phase
            }
            Phase::Accelerating { .. } => {
                Phase::Cruising { steps_left: self.chance.between(10, 120) }
            }
            Phase::Cruising { steps_left: steps_left @ 1.. } => {
                self.speed = (self.speed + self.chance.between(-60, 60)).max(500);
                Phase::Cruising { steps_left: steps_left - 1 }
            }
            Phase::Cruising { .. } => self.begin_braking(unix_ms),
            Phase::Braking { per_step } if self.speed > 0 => {
                self.speed = (self.speed - per_step).max(0);
                self.phase
            }
            Phase::Braking { .. } => self.stop(unix_ms),
        };
    }

    fn stand(&mut self) -> Phase {
        match self.phase {
            Phase::Charging { steps_left } => {
                self.charge = (self.charge + 3).min(10_000);
                Phase::Charging { steps_left: steps_left - 1 }
            }
            Phase::Standing { steps_left } => Phase::Standing { steps_left: steps_left - 1 },
            other => other,
        }
    }

    fn begin_braking(&mut self, unix_ms: i64) -> Phase {
        let harsh = self.chance.once_in(6);
        let per_step =
            if harsh { self.chance.between(900, 1400) } else { self.chance.between(250, 500) };
        if harsh {
            // Hundredths of km/h in half a second, in hundredths of m/s2: times 2 / 3.6.
            let deceleration = per_step * 20 / 36;
            self.happen(unix_ms, What::HarshBrake { from: self.speed, deceleration });
        }
        Phase::Braking { per_step }
    }

    fn stop(&mut self, unix_ms: i64) -> Phase {
        if self.charge < 2500 || self.chance.once_in(12) {
            self.happen(unix_ms, What::ChargeStarted { level: self.charge });
            return Phase::Charging { steps_left: self.chance.between(60, 600) };
        }
        if self.chance.once_in(2) {
            self.happen(unix_ms, What::DoorOpened);
        }
        Phase::Standing { steps_left: self.chance.between(4, 60) }
    }

    fn sample(&mut self, tick: i64, lane: Lane, signal: SignalIndex, raw: i64) {
        self.ready.push_back(Reading::Sample(lane, Sample::new(tick, signal, raw)));
    }

    fn happen(&mut self, unix_ms: i64, what: What) {
        self.events += 1;
        self.ready.push_back(Reading::Event(Occurrence { unix_ms, number: self.events, what }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(seed: u64, salt: u64) -> Vec<Reading> {
        let drive = Drive::new(seed, salt, 1_767_225_600_000, 3_600_000);
        let mut cursor = drive.cursor();
        std::iter::from_fn(|| cursor.next(&drive)).collect()
    }

    #[test]
    fn the_catalogue_can_be_encoded() {
        CATALOGUE.encode(&mut [0; Catalogue::ENCODED_MAX]).unwrap();
    }

    #[test]
    fn a_seed_is_a_drive() {
        assert_eq!(readings(1, 2), readings(1, 2));
        assert_ne!(readings(1, 2), readings(1, 3));
        assert_ne!(readings(2, 2), readings(1, 2));
    }

    #[test]
    fn an_hour_has_samples_in_range_and_every_kind_of_event() {
        let all: Vec<_> = (0..20).flat_map(|salt| readings(5, salt)).collect();
        let mut kinds = std::collections::BTreeSet::new();
        for reading in &all {
            match reading {
                Reading::Sample(lane, sample) => {
                    let signal = CATALOGUE.get(sample.signal).unwrap();
                    assert!(
                        (signal.raw_min..=signal.raw_max).contains(&sample.steps().unwrap()),
                        "{sample:?}"
                    );
                    assert_eq!(*lane == Lane::Latest, sample.signal == CHARGE);
                }
                Reading::Event(occurrence) => {
                    kinds.insert(occurrence.event(DeviceTime::default()).action);
                }
                Reading::Link { .. } | Reading::Reboot { .. } => panic!("a van has neither"),
            }
        }
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["brake", "open", "start"]);
        assert_eq!(readings(5, 0).len() / 3600, 6, "about six readings a second");
    }
}
