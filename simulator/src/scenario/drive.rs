//! One vehicle of a scenario, lived through step by step: parked, on a trip, or on the road as a
//! taxi; what it reports, when its link and its supply go.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::{Sample, SignalIndex};

use super::faults::Breakdowns;
use super::motion::{Incident, Motion, engine_speed, motor_speed};
use super::plan::{Departure, Purpose, chance};
use super::signals::{
    CHARGE, COOLANT, DISTANCE, ENGINE, FUEL, LATITUDE, LONGITUDE, MOTOR, OCCUPIED, SPEED, VOLTAGE,
    breakable, lane_of,
};
use super::taxi::Shift;
use super::{Class, Powertrain, Scenario, Style};
use crate::seed::Seeded;
use crate::source::Reading;
use crate::synthetic::{Occurrence, What};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Thousandths of a degree: the air, and a warm engine.
const AMBIENT: i64 = 12_000;
const WARM: i64 = 90_000;
/// Microlitres of a tank, joules of a traction battery.
const TANK: i64 = 50_000_000;
const BATTERY: i64 = 180_000_000;
const CHARGER_W: i64 = 11_000;

/// A vehicle of a scenario. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MadeUp {
    scenario: Arc<Scenario>,
    class: usize,
    vehicle: u64,
}

impl MadeUp {
    /// The vehicle with this number in the scenario, which is of this class.
    pub(super) const fn new(scenario: Arc<Scenario>, class: usize, vehicle: u64) -> Self {
        Self { scenario, class, vehicle }
    }

    fn class(&self) -> Option<&Class> {
        self.scenario.classes.get(self.class)
    }

    /// Follows it from the scenario's start.
    pub fn cursor(&self) -> MadeUpCursor {
        let Scenario { seed, start_unix_ms, ref place, .. } = *self.scenario;
        let mut chance = chance(seed, Purpose::Vehicle, self.vehicle, 0, 0);
        let faults = self.class().map(|class| class.faults).unwrap_or_default();
        let motion = Motion::new(place, &mut chance);
        let breakdowns = Breakdowns::new(&faults, start_unix_ms, &mut chance);
        let taxi = self.class().and_then(|class| class.taxi);
        let activity = match taxi {
            Some(taxi) => Activity::Hired(Shift::new(&taxi, start_unix_ms, &mut chance)),
            // Not all parked vehicles speak in the same second.
            None => Activity::Parked {
                next_ms: start_unix_ms + chance.between(0, self.parked_every_ms()),
                departure: self.departure(start_unix_ms),
                charging: false,
            },
        };
        MadeUpCursor {
            now_ms: start_unix_ms,
            activity,
            motion,
            breakdowns,
            silent: false,
            edge_ms: i64::MIN,
            link_up: true,
            coolant: AMBIENT,
            fuel: chance.between(TANK / 5, TANK),
            charge: chance.between(BATTERY / 3, BATTERY),
            rest_mv: chance.between(12_300, 12_800),
            events: 0,
            ready: VecDeque::new(),
            last_ms: start_unix_ms,
            chance,
        }
    }

    fn parked_every_ms(&self) -> i64 {
        self.class().map_or(HOUR, |class| class.parked_every_ms)
    }

    fn departure(&self, after_ms: i64) -> Option<Departure> {
        self.scenario.next_departure(self.class()?, self.vehicle, after_ms)
    }
}

/// What a vehicle is doing.
#[derive(Clone, Debug)]
enum Activity {
    Parked { next_ms: i64, departure: Option<Departure>, charging: bool },
    Driving { begun_ms: i64, until_ms: i64, begun_mm: i64 },
    Hired(Shift),
}

/// A place in a [`MadeUp`], which is handed in at each step.
#[derive(Clone, Debug)]
pub struct MadeUpCursor {
    chance: Seeded,
    /// The true time, of which the device's clock may know nothing.
    now_ms: i64,
    activity: Activity,
    motion: Motion,
    breakdowns: Breakdowns,
    /// Nobody has a network, and when that is to be asked again.
    silent: bool,
    edge_ms: i64,
    link_up: bool,
    /// Thousandths of a degree.
    coolant: i64,
    /// Microlitres.
    fuel: i64,
    /// Joules.
    charge: i64,
    /// The starter battery at rest.
    rest_mv: i64,
    events: u32,
    ready: VecDeque<(i64, Reading)>,
    last_ms: i64,
}

impl MadeUpCursor {
    /// What the vehicle reports next; nothing once the scenario is over.
    pub fn next(&mut self, made: &MadeUp) -> Option<Reading> {
        let class = made.class()?;
        while self.ready.is_empty() {
            if self.now_ms < made.scenario.end_unix_ms() {
                self.step(made, class);
            } else if self.link_up {
                return None;
            } else {
                // It comes home, or what it holds could never be accounted for.
                self.link_up = true;
                let unix_ms = made.scenario.end_unix_ms();
                self.ready.push_back((unix_ms, Reading::Link { up: true, unix_ms }));
            }
        }
        let (at_ms, reading) = self.ready.pop_front()?;
        self.last_ms = at_ms;
        Some(reading)
    }

    /// When the last reading was taken, in milliseconds since 1970, whatever its own stamp says.
    pub fn true_ms(&self) -> i64 {
        self.last_ms
    }

    fn step(&mut self, made: &MadeUp, class: &Class) {
        self.look_for_network(made);
        let now_ms = self.now_ms;
        let sensors = breakable(class);
        if self.breakdowns.advance(&class.faults, sensors, now_ms, &mut self.chance) {
            self.ready.push_back((now_ms, Reading::Reboot { unix_ms: now_ms }));
        }
        match self.activity.clone() {
            Activity::Parked { next_ms, departure, charging } => {
                self.park(made, class, next_ms, departure, charging);
            }
            Activity::Driving { begun_ms, until_ms, begun_mm } => {
                self.drive(made, class, begun_ms, until_ms, begun_mm);
            }
            Activity::Hired(shift) => self.ply(made, class, shift),
        }
    }

    fn look_for_network(&mut self, made: &MadeUp) {
        if self.now_ms >= self.edge_ms {
            self.silent = made.scenario.is_silent(made.class, self.now_ms);
            self.edge_ms = made.scenario.next_edge(made.class, self.now_ms);
        }
        let dead = made.scenario.is_dead(made.class, self.now_ms, self.motion.position);
        let up = !self.silent && !dead;
        if up != self.link_up {
            self.link_up = up;
            self.ready.push_back((self.now_ms, Reading::Link { up, unix_ms: self.now_ms }));
        }
    }

    /// Stands until something is due.
    fn park(
        &mut self,
        made: &MadeUp,
        class: &Class,
        next_ms: i64,
        departure: Option<Departure>,
        charging: bool,
    ) {
        if let Some(trip) = departure.filter(|trip| trip.at_ms <= self.now_ms) {
            return self.depart(class, trip);
        }
        let mut next_ms = next_ms;
        if self.now_ms >= next_ms {
            next_ms = self.now_ms + class.parked_every_ms;
            let volts = self.rest_mv + self.noise(15);
            self.sample(VOLTAGE, volts);
            if class.powertrain == Powertrain::Electric {
                self.sample(CHARGE, self.charge / (BATTERY / 10_000));
            }
            self.sample(DISTANCE, self.motion.distance_mm / 1000);
        }
        let departure_ms = departure.map_or(i64::MAX, |trip| trip.at_ms);
        let until = next_ms
            .min(departure_ms)
            .min(self.edge_ms)
            .min(self.breakdowns.due_ms())
            .min(made.scenario.end_unix_ms())
            .max(self.now_ms + 1);
        // Trips are looked for some days ahead: an empty week is asked again.
        let departure = departure.or_else(|| made.departure(self.now_ms));
        self.rest(until - self.now_ms, charging);
        self.activity = Activity::Parked { next_ms, departure, charging };
        self.now_ms = until;
    }

    /// What standing does: the engine cools, the battery sags or the traction battery fills.
    fn rest(&mut self, ms: i64, charging: bool) {
        let minutes = (ms / MINUTE).min(DAY / MINUTE);
        for _ in 0..minutes {
            self.coolant -= (self.coolant - AMBIENT) / 60;
        }
        self.rest_mv = (self.rest_mv - ms / (20 * MINUTE)).max(11_900);
        if charging {
            self.charge = (self.charge + CHARGER_W * (ms / 1000)).min(BATTERY);
        }
    }

    fn depart(&mut self, class: &Class, trip: Departure) {
        if class.powertrain == Powertrain::Combustion && self.fuel < TANK * 15 / 100 {
            self.fuel = self.chance.between(TANK * 95 / 100, TANK);
            self.happen(What::Refuelled { level: self.fuel / (TANK / 10_000) });
        }
        self.happen(What::TripStarted);
        self.activity = Activity::Driving {
            begun_ms: self.now_ms,
            until_ms: self.now_ms + trip.duration_ms,
            begun_mm: self.motion.distance_mm,
        };
    }

    fn drive(&mut self, made: &MadeUp, class: &Class, begun_ms: i64, until_ms: i64, begun_mm: i64) {
        let step_ms = class.sample_every_ms;
        let ending = self.now_ms >= until_ms;
        if ending && self.motion.speed == 0 {
            return self.arrive(made, class, begun_mm);
        }
        let place = &made.scenario.place;
        let incident = self.motion.advance(step_ms, class.style, place, ending, &mut self.chance);
        match incident {
            Some(Incident::HarshBrake { from, deceleration }) => {
                self.happen(What::HarshBrake { from, deceleration });
            }
            Some(Incident::Stopped) if class.style == Style::Delivery => {
                self.happen(What::DoorOpened);
            }
            _ => {}
        }
        self.consume(class.powertrain, step_ms);
        self.report(class, self.now_ms - begun_ms);
        self.now_ms += step_ms;
    }

    fn arrive(&mut self, made: &MadeUp, class: &Class, begun_mm: i64) {
        self.happen(What::TripEnded { metres: (self.motion.distance_mm - begun_mm) / 1000 });
        self.rest_mv = self.chance.between(12_600, 12_800);
        let level = self.charge / (BATTERY / 10_000);
        let low = level < 4_000 || (level < 8_000 && self.chance.once_in(2));
        let charging = class.powertrain == Powertrain::Electric && low;
        if charging {
            self.happen(What::ChargeStarted { level });
        }
        self.activity = Activity::Parked {
            next_ms: self.now_ms,
            departure: made.departure(self.now_ms),
            charging,
        };
    }

    fn consume(&mut self, powertrain: Powertrain, ms: i64) {
        let speed = self.motion.speed;
        match powertrain {
            Powertrain::Combustion => {
                let microlitres_per_s = 220 + speed * 2 / 25 + speed * speed / 120_000;
                self.fuel = (self.fuel - microlitres_per_s * ms / 1000).max(0);
                self.coolant += (WARM - self.coolant) * ms / 240_000;
            }
            Powertrain::Electric => {
                let watts = 400 + speed * 4 / 5 + speed * speed / 9_000;
                self.charge = (self.charge - watts * ms / 1000).max(0);
            }
        }
    }

    /// The samples of a step of a trip, `since_ms` after its begin.
    fn report(&mut self, class: &Class, since_ms: i64) {
        let speed = self.motion.speed;
        self.sample(SPEED, speed);
        match class.powertrain {
            Powertrain::Combustion => {
                let turns = engine_speed(speed, &mut self.chance);
                self.sample(ENGINE, turns);
            }
            Powertrain::Electric => {
                let turns = motor_speed(speed, &mut self.chance);
                self.sample(MOTOR, turns);
            }
        }
        if since_ms % class.position_every_ms == 0 {
            self.sample_position();
        }
        if since_ms % class.slow_every_ms == 0 {
            match class.powertrain {
                Powertrain::Combustion => {
                    self.sample(COOLANT, self.coolant / 100);
                    self.sample(FUEL, self.fuel / (TANK / 10_000));
                }
                Powertrain::Electric => self.sample(CHARGE, self.charge / (BATTERY / 10_000)),
            }
            let volts = 14_100 + self.noise(60);
            self.sample(VOLTAGE, volts);
            self.sample(DISTANCE, self.motion.distance_mm / 1000);
        }
    }

    /// A taxi from one fix, or change of its occupancy, to the next.
    fn ply(&mut self, made: &MadeUp, class: &Class, mut shift: Shift) {
        let Some(taxi) = class.taxi else { return };
        let now_ms = self.now_ms;
        if let Some(fix) = shift.advance(&taxi, now_ms, &mut self.chance) {
            let since_ms = (now_ms - self.last_ms).clamp(0, 5 * MINUTE);
            self.motion.hop(since_ms, fix.speed, &made.scenario.place, &mut self.chance);
            self.sample_position();
            self.sample(OCCUPIED, i64::from(fix.occupied));
        }
        self.now_ms =
            shift.next_ms().min(self.edge_ms).min(self.breakdowns.due_ms()).max(now_ms + 1);
        self.activity = Activity::Hired(shift);
    }

    fn sample_position(&mut self) {
        let (latitude, longitude) = self.motion.position;
        self.sample(LATITUDE, latitude / 1000);
        self.sample(LONGITUDE, longitude / 1000);
    }

    fn noise(&mut self, most: i64) -> i64 {
        self.chance.between(-most, most)
    }

    fn sample(&mut self, signal: SignalIndex, raw: i64) {
        let sample = Sample::new(self.now_ms, signal, raw);
        if let Some(sample) = self.breakdowns.distort(sample, &mut self.chance) {
            self.ready.push_back((self.now_ms, Reading::Sample(lane_of(signal), sample)));
        }
    }

    fn happen(&mut self, what: What) {
        self.events += 1;
        let unix_ms = self.now_ms + self.breakdowns.clock_offset_ms;
        let occurrence = Occurrence { unix_ms, number: self.events, what };
        self.ready.push_back((self.now_ms, Reading::Event(occurrence)));
    }
}
