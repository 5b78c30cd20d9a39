//! A taxi's day: fixes, fares and pauses, with the character of a real fleet.

use super::Taxi;
use crate::seed::Seeded;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What a fix says besides where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fix {
    /// How fast it was since the last one, in hundredths of km/h.
    pub speed: i64,
    pub occupied: bool,
}

/// A taxi's day.
#[derive(Clone, Debug)]
pub(super) struct Shift {
    occupied: bool,
    fix_at: i64,
    change_at: i64,
    pause_at: i64,
}

impl Shift {
    pub fn new(taxi: &Taxi, start_ms: i64, chance: &mut Seeded) -> Self {
        let mut shift = Self {
            occupied: false,
            fix_at: start_ms + chance.between(0, taxi.fix_every_ms),
            change_at: start_ms,
            pause_at: start_ms + chance.between(0, DAY / taxi.pauses_per_day.max(1)),
        };
        shift.wait_for_change(taxi, start_ms, chance);
        shift
    }

    fn wait_for_change(&mut self, taxi: &Taxi, now_ms: i64, chance: &mut Seeded) {
        let wait = if self.occupied {
            // The middle one of ten lasts as long as it says; one in ten goes to the airport.
            if chance.once_in(10) {
                chance.between(taxi.fare_ms, taxi.fare_ms * 4)
            } else {
                chance.between(taxi.fare_ms / 3, taxi.fare_ms * 7 / 4)
            }
        } else {
            // Two thirds of the day are left between pauses.
            let fares = taxi.fares_per_day.max(1);
            let mean = (DAY * 2 / 3 - fares * taxi.fare_ms).max(fares * MINUTE) / fares;
            chance.between(mean / 4, mean * 7 / 4)
        };
        let none = taxi.fares_per_day == 0;
        self.change_at = if none { i64::MAX } else { now_ms.saturating_add(wait) };
    }

    /// Lets happen what is due: a fix, if there is one now.
    pub fn advance(&mut self, taxi: &Taxi, now_ms: i64, chance: &mut Seeded) -> Option<Fix> {
        let changed = now_ms >= self.change_at;
        if changed {
            self.occupied = !self.occupied;
            self.wait_for_change(taxi, now_ms, chance);
        }
        let fix = (changed || now_ms >= self.fix_at).then(|| {
            let still = chance.between(1, 100) <= 3;
            let most = if self.occupied { 5_000 } else { 3_000 };
            let speed = if still { 0 } else { chance.between(300, most) };
            self.fix_at = now_ms + Self::interval(taxi, chance);
            Fix { speed, occupied: self.occupied }
        });
        if now_ms >= self.pause_at && taxi.pauses_per_day > 0 {
            let length = Self::pause(chance);
            let mean = DAY / taxi.pauses_per_day;
            self.pause_at = now_ms + length + chance.between(mean / 2, mean);
            self.fix_at = now_ms + length;
            self.occupied = false;
            self.wait_for_change(taxi, self.fix_at, chance);
        }
        fix
    }

    /// When something is due next.
    pub fn next_ms(&self) -> i64 {
        self.fix_at.min(self.change_at)
    }

    /// The distribution of a real fleet: a quarter exactly in time, a third nearly, the rest spread.
    fn interval(taxi: &Taxi, chance: &mut Seeded) -> i64 {
        let every = taxi.fix_every_ms;
        let ms = match chance.between(1, 100) {
            ..=24 => every,
            25..=60 => chance.between(every * 11 / 12, every * 13 / 12),
            61..=80 => chance.between(every / 3, every * 11 / 12),
            _ => chance.between(every * 13 / 12, every * 2),
        };
        (ms / 1000 * 1000).max(1000)
    }

    /// 69 % of minutes, a quarter of hours, the rest the night.
    fn pause(chance: &mut Seeded) -> i64 {
        match chance.between(1, 100) {
            ..=69 => chance.between(5 * MINUTE, 30 * MINUTE),
            70..=94 => chance.between(30 * MINUTE, 4 * HOUR),
            _ => chance.between(4 * HOUR, 10 * HOUR),
        }
    }
}
