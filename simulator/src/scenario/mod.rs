//! Scenarios: fleets made up from a file and a seed.
//!
//! A file names classes of vehicles, what each does when, where and when there is no network, and
//! what breaks. Everything that is drawn comes from the seed, so a scenario, its seed, start and
//! length are a fleet's readings to the last bit, on every machine: integers only. A vehicle's
//! readings are made as they are asked for, never kept.

pub mod report;
mod reader;
mod read;
mod plan;
pub mod signals;
mod motion;
mod faults;
mod taxi;
pub mod drive;
mod describe;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use report::Report;

use crate::source::Source;
use crate::vehicle::{self, Vehicle};

/// A fleet and its world, as a file describes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// What everything is drawn from.
    pub seed: u64,
    /// Begin, in milliseconds since 1970 UTC.
    pub start_unix_ms: i64,
    /// Length in milliseconds.
    pub length_ms: i64,
    /// The place's clock less UTC, in milliseconds: trips go by it.
    pub utc_offset_ms: i64,
    /// Where.
    pub place: Place,
    /// The fleet.
    pub classes: Vec<Class>,
    /// Where there is no network.
    pub dead_zones: Vec<DeadZone>,
    /// When there is none for anybody.
    pub outages: Vec<Outage>,
}

/// A circle on the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Millionths of a degree.
    pub latitude: i64,
    /// Millionths of a degree.
    pub longitude: i64,
    /// In metres.
    pub radius_m: i64,
}

/// Vehicles of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Class {
    /// What their devices' names begin with.
    pub name: String,
    /// How many.
    pub vehicles: usize,
    /// What drives them.
    pub powertrain: Powertrain,
    /// How they drive.
    pub style: Style,
    /// Between two samples of speed and engine speed, in milliseconds.
    pub sample_every_ms: i64,
    /// Of the position.
    pub position_every_ms: i64,
    /// Of temperature, levels and voltage.
    pub slow_every_ms: i64,
    /// Of the voltage and the odometer while parked.
    pub parked_every_ms: i64,
    /// Trips of a week.
    pub trips: Vec<Trip>,
    /// On the road for hire, instead of trips.
    pub taxi: Option<Taxi>,
    /// What breaks.
    pub faults: Faults,
}

/// What drives a vehicle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Powertrain {
    /// Engine, coolant, fuel.
    Combustion,
    /// Motor, traction battery.
    Electric,
}

/// How a vehicle drives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Short hops up to 55 km/h.
    City,
    /// Up to 100 km/h, some stops.
    Mixed,
    /// Long stretches up to 130 km/h.
    Highway,
    /// Short hops with a stop of minutes and an open door after each.
    Delivery,
}

/// A trip that is driven on some days of the week.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trip {
    /// Monday first.
    pub days: [bool; 7],
    /// Local time of day, in milliseconds.
    pub depart_ms: i64,
    /// It begins up to this much earlier or later.
    pub spread_ms: i64,
    /// How long it takes.
    pub duration_ms: i64,
    /// Up to this much shorter or longer.
    pub duration_spread_ms: i64,
    /// On how many of a hundred such days.
    pub chance_percent: i64,
}

/// A shift on the road, all day but for pauses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taxi {
    /// Between two fixes, most of the time.
    pub fix_every_ms: i64,
    /// Fares a day.
    pub fares_per_day: i64,
    /// Median length of a fare.
    pub fare_ms: i64,
    /// Pauses a day of more than 5 minutes, the device off.
    pub pauses_per_day: i64,
}

/// No network in a place, or at times of day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadZone {
    /// Inside this circle; none: everywhere.
    pub place: Option<Place>,
    /// Local times of day, from and to; none: always. May span midnight.
    pub daily_ms: Option<(i64, i64)>,
    /// Places of the classes concerned in the scenario; none: all.
    pub classes: Vec<usize>,
}

/// No agent within reach of anybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outage {
    /// When.
    pub when: When,
    /// How long.
    pub length_ms: i64,
    /// Up to this much shorter or longer.
    pub length_spread_ms: i64,
}

/// Once, or each day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// In milliseconds since 1970 UTC.
    At(i64),
    /// Local time of day, in milliseconds.
    Daily(i64),
}

/// What breaks, and how often in the mean; 0: never.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// A sensor repeats its last value.
    pub stuck_every_ms: i64,
    /// For so long.
    pub stuck_for_ms: i64,
    /// A sensor gives one wild value.
    pub spike_every_ms: i64,
    /// A sensor says nothing.
    pub dropout_every_ms: i64,
    /// For so long.
    pub dropout_for_ms: i64,
    /// The clock jumps, and back the next time.
    pub clock_step_every_ms: i64,
    /// By at most so much.
    pub clock_step_max_ms: i64,
    /// The supply browns out and the device boots again.
    pub reboot_every_ms: i64,
    /// A sensor gives once what is no number of its steps: nothing, no number, or a finer one.
    pub odd_every_ms: i64,
}

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Config: the file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Config: what it says cannot be run.
    #[error("{0}")]
    Invalid(Report),
}

impl Scenario {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads a text, which messages call `name`.
    pub fn parse(text: &str, name: &str) -> Result<Self, ScenarioError> {
        read::read(text)
            .map_err(|problems| ScenarioError::Invalid(Report::new(name, text, problems)))
    }

    /// Whether a path is that of a scenario, by its name.
    pub fn is_path(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == "toml")
    }

    /// The fleet.
    pub fn vehicles(self) -> Vec<Vehicle> {
        let scenario = Arc::new(self);
        let mut sources = Vec::new();
        let mut salt = 0;
        for (class, place) in scenario.classes.iter().zip(0..) {
            for number in 0..class.vehicles {
                let made = drive::MadeUp::new(scenario.clone(), place, salt);
                sources.push((format!("{}-{number:04}", class.name), Source::Scenario(made)));
                salt += 1;
            }
        }
        vehicle::named(&sources)
    }
}

#[cfg(test)]
mod tests;
