//! When: days, trips, and the times without network. Drawn from seed, vehicle and day alone, so that
//! each can be looked up without living through what was before.

use super::{Class, Scenario, When};
use crate::seed::Seeded;

const DAY_MS: i64 = 86_400_000;
/// Trips are looked for this many days ahead: a week and what spreads may do.
const DAYS_AHEAD: i64 = 8;

/// What a draw is for: other purposes give unrelated numbers.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Vehicle = 1,
    Trip = 2,
    Outage = 3,
}

/// Chance of one purpose, vehicle (or outage) and day.
pub(super) fn chance(seed: u64, purpose: Purpose, which: u64, day: i64, number: u64) -> Seeded {
    let day = day.cast_unsigned() & 0xf_ffff;
    let salt = ((purpose as u64) << 60) ^ (which << 32) ^ (day << 12) ^ (number & 0xfff);
    Seeded::new(seed, salt)
}

/// A trip that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Departure {
    pub at_ms: i64,
    pub duration_ms: i64,
}

impl Scenario {
    /// The end, in milliseconds since 1970.
    pub fn end_unix_ms(&self) -> i64 {
        self.start_unix_ms.saturating_add(self.length_ms)
    }

    /// The local day that a time falls in, counted from 1970.
    fn local_day(&self, unix_ms: i64) -> i64 {
        unix_ms.saturating_add(self.utc_offset_ms).div_euclid(DAY_MS)
    }

    fn day_start(&self, day: i64) -> i64 {
        day.saturating_mul(DAY_MS).saturating_sub(self.utc_offset_ms)
    }

    /// The first trip of a vehicle after a time.
    pub(super) fn next_departure(
        &self,
        class: &Class,
        vehicle: u64,
        after_ms: i64,
    ) -> Option<Departure> {
        let today = self.local_day(after_ms);
        let days = today - 1..=today + DAYS_AHEAD;
        let departures = days.flat_map(|day| {
            class.trips.iter().zip(0..).filter_map(move |(trip, number)| {
                let weekday = usize::try_from((day + 3).rem_euclid(7)).ok()?;
                let mut chance = chance(self.seed, Purpose::Trip, vehicle, day, number);
                let driven = chance.between(1, 100) <= trip.chance_percent;
                let early = chance.between(-trip.spread_ms, trip.spread_ms);
                let longer = chance.between(-trip.duration_spread_ms, trip.duration_spread_ms);
                let due = trip.days.get(weekday).copied().unwrap_or_default() && driven;
                due.then(|| Departure {
                    at_ms: self.day_start(day) + trip.depart_ms + early,
                    duration_ms: (trip.duration_ms + longer).max(60_000),
                })
            })
        });
        departures.filter(|trip| trip.at_ms > after_ms).min_by_key(|trip| trip.at_ms)
    }

    /// Whether nobody has a network now, or this class has none anywhere.
    pub(super) fn is_silent(&self, class: usize, unix_ms: i64) -> bool {
        self.windows(class, unix_ms).any(|(from, to)| (from..to).contains(&unix_ms))
    }

    /// When that may change next: within a day, or in a day.
    pub(super) fn next_edge(&self, class: usize, unix_ms: i64) -> i64 {
        let edges = self.windows(class, unix_ms).flat_map(|(from, to)| [from, to]);
        let soonest = edges.filter(|edge| *edge > unix_ms).min();
        soonest.unwrap_or(i64::MAX).min(unix_ms.saturating_add(DAY_MS))
    }

    /// Times without network that lie around a time: outages, and zones that are everywhere.
    fn windows(&self, class: usize, unix_ms: i64) -> impl Iterator<Item = (i64, i64)> {
        let today = self.local_day(unix_ms);
        let outages = self.outages.iter().zip(0..).flat_map(move |(outage, number)| {
            let days = match outage.when {
                When::At(_) => today..=today,
                When::Daily(_) => today - 1..=today + 1,
            };
            days.map(move |day| {
                let (from, drawn_for) = match outage.when {
                    When::At(at) => (at, 0),
                    When::Daily(time) => (self.day_start(day) + time, day),
                };
                let mut chance = chance(self.seed, Purpose::Outage, number, drawn_for, 0);
                let longer = chance.between(-outage.length_spread_ms, outage.length_spread_ms);
                (from, from + (outage.length_ms + longer).max(1000))
            })
        });
        let zones = self.dead_zones.iter().filter(move |zone| {
            zone.place.is_none() && (zone.classes.is_empty() || zone.classes.contains(&class))
        });
        let zones = zones.filter_map(|zone| zone.daily_ms).flat_map(move |(from, to)| {
            (today - 1..=today + 1).map(move |day| {
                let to = if to > from { to } else { to + DAY_MS };
                (self.day_start(day) + from, self.day_start(day) + to)
            })
        });
        outages.chain(zones)
    }

    /// Whether a place is without network now for a class.
    pub(super) fn is_dead(&self, class: usize, unix_ms: i64, at: (i64, i64)) -> bool {
        let of_day = unix_ms.saturating_add(self.utc_offset_ms).rem_euclid(DAY_MS);
        self.dead_zones.iter().any(|zone| {
            let concerns = zone.classes.is_empty() || zone.classes.contains(&class);
            let now = zone.daily_ms.is_none_or(|(from, to)| {
                if from < to { (from..to).contains(&of_day) } else { of_day >= from || of_day < to }
            });
            concerns && now && zone.place.is_some_and(|place| place.contains(at))
        })
    }
}
