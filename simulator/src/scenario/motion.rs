//! How fast and where: stop and go by style, on a plane around a place. Integers only.

use super::{Place, Style};
use crate::seed::Seeded;

/// Millimetres of a degree of latitude.
const DEGREE_MM: i64 = 111_320_000;

/// What a style is made of. Speeds in hundredths of km/h, changes of them a second.
struct Numbers {
    target: (i64, i64),
    cruise_ms: (i64, i64),
    stand_ms: (i64, i64),
    /// Out of a hundred times that a stretch ends: with a stop, else with another speed.
    stop_percent: i64,
}

const fn numbers(style: Style) -> Numbers {
    match style {
        Style::City => Numbers {
            target: (2_500, 5_500),
            cruise_ms: (8_000, 60_000),
            stand_ms: (3_000, 45_000),
            stop_percent: 70,
        },
        Style::Mixed => Numbers {
            target: (3_000, 10_000),
            cruise_ms: (20_000, 180_000),
            stand_ms: (3_000, 40_000),
            stop_percent: 45,
        },
        Style::Highway => Numbers {
            target: (8_000, 13_000),
            cruise_ms: (60_000, 900_000),
            stand_ms: (2_000, 20_000),
            stop_percent: 8,
        },
        Style::Delivery => Numbers {
            target: (2_000, 5_000),
            cruise_ms: (10_000, 50_000),
            stand_ms: (40_000, 240_000),
            stop_percent: 85,
        },
    }
}

impl Place {
    /// Whether a point, in billionths of a degree, lies inside.
    pub(super) fn contains(&self, (latitude, longitude): (i64, i64)) -> bool {
        let (north, east) = self.metres_to((latitude, longitude));
        north * north + east * east <= self.radius_m * self.radius_m
    }

    /// How far north and east of the middle a point lies, in metres.
    fn metres_to(&self, (latitude, longitude): (i64, i64)) -> (i64, i64) {
        let metres = |nano: i64| nano / 1000 * (DEGREE_MM / 1000) / 1_000_000;
        let north = metres(latitude - self.latitude * 1000);
        let mut east = longitude - self.longitude * 1000;
        // The short way round.
        if east > HALF_TURN {
            east -= 2 * HALF_TURN;
        } else if east < -HALF_TURN {
            east += 2 * HALF_TURN;
        }
        let limit = 20_000_000;
        let east = metres(east) * cosine(self.latitude / 1_000_000) / 1000;
        (north.clamp(-limit, limit), east.clamp(-limit, limit))
    }
}

const HALF_TURN: i64 = 180_000_000_000;

/// A sine in thousandths, of whole degrees: Bhaskara's formula, within 2 thousandths.
fn sine(degrees: i64) -> i64 {
    let degrees = degrees.rem_euclid(360);
    let (half, sign) = if degrees < 180 { (degrees, 1) } else { (degrees - 180, -1) };
    let product = half * (180 - half);
    sign * 4000 * product / (40_500 - product)
}

fn cosine(degrees: i64) -> i64 {
    sine(degrees + 90)
}

/// What happened in a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Incident {
    /// Came to a halt that lasts, in the given style.
    Stopped,
    /// Braked hard from a speed, by hundredths of m/s2.
    HarshBrake { from: i64, deceleration: i64 },
}

/// A vehicle in motion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Motion {
    /// Hundredths of km/h.
    pub speed: i64,
    /// Driven in all, in millimetres.
    pub distance_mm: i64,
    /// Billionths of a degree.
    pub position: (i64, i64),
    heading: i64,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Standing { left_ms: i64 },
    Changing { to: i64, per_s: i64 },
    Cruising { left_ms: i64 },
}

impl Motion {
    /// Stands somewhere in a place.
    pub fn new(place: &Place, chance: &mut Seeded) -> Self {
        let mut motion = Self {
            speed: 0,
            distance_mm: chance.between(1_000, 200_000) * 1_000_000,
            position: (place.latitude * 1000, place.longitude * 1000),
            heading: chance.between(0, 359),
            phase: Phase::Standing { left_ms: 0 },
        };
        let away_mm = chance.between(0, place.radius_m) * 1000;
        motion.shift(away_mm);
        motion.heading = chance.between(0, 359);
        motion
    }

    /// Goes on for a step. `ending`: brakes and stays.
    pub fn advance(
        &mut self,
        ms: i64,
        style: Style,
        place: &Place,
        ending: bool,
        chance: &mut Seeded,
    ) -> Option<Incident> {
        let numbers = numbers(style);
        let before = self.speed;
        let mut incident = None;
        self.phase = match self.phase {
            Phase::Changing { to: 0, .. } if self.speed == 0 => {
                let (least, most) = numbers.stand_ms;
                incident = Some(Incident::Stopped);
                Phase::Standing { left_ms: chance.between(least, most) }
            }
            Phase::Changing { to: 1.., .. } | Phase::Cruising { .. } if ending => {
                Phase::Changing { to: 0, per_s: 700 }
            }
            Phase::Changing { to, .. } if self.speed != to => self.phase,
            Phase::Standing { left_ms: 1.. } | Phase::Cruising { left_ms: 1.. } => self.phase,
            Phase::Standing { .. } if ending => self.phase,
            Phase::Changing { .. } => {
                let (least, most) = numbers.cruise_ms;
                Phase::Cruising { left_ms: chance.between(least, most) }
            }
            Phase::Cruising { .. } if chance.between(1, 100) <= numbers.stop_percent => {
                let harsh = chance.once_in(12);
                let per_s =
                    if harsh { chance.between(1_800, 2_800) } else { chance.between(400, 1_000) };
                if harsh {
                    // Hundredths of km/h a second to hundredths of m/s2.
                    let deceleration = per_s * 10 / 36;
                    incident = Some(Incident::HarshBrake { from: self.speed, deceleration });
                }
                Phase::Changing { to: 0, per_s }
            }
            Phase::Standing { .. } | Phase::Cruising { .. } => {
                let (least, most) = numbers.target;
                let per_s = chance.between(350, 900);
                self.turn(place, chance);
                Phase::Changing { to: chance.between(least, most), per_s }
            }
        };
        self.change_speed(ms, chance);
        let mean = i64::midpoint(before, self.speed);
        let moved_mm = mean * ms / 360;
        self.distance_mm += moved_mm;
        self.shift(moved_mm);
        incident
    }

    fn change_speed(&mut self, ms: i64, chance: &mut Seeded) {
        match &mut self.phase {
            Phase::Standing { left_ms } => {
                self.speed = 0;
                *left_ms -= ms;
            }
            Phase::Cruising { left_ms } => {
                self.speed = (self.speed + chance.between(-80, 80)).max(300);
                *left_ms -= ms;
            }
            Phase::Changing { to, per_s } => {
                let most = (*per_s * ms / 1000).max(1);
                self.speed += (*to - self.speed).clamp(-most, most);
            }
        }
    }

    /// Moves as a taxi between two fixes.
    pub fn hop(&mut self, ms: i64, speed: i64, place: &Place, chance: &mut Seeded) {
        self.turn(place, chance);
        self.speed = speed;
        let moved_mm = speed * ms / 360;
        self.distance_mm += moved_mm;
        self.shift(moved_mm);
    }

    /// Takes another way; back, where the place ends.
    fn turn(&mut self, place: &Place, chance: &mut Seeded) {
        self.heading = (self.heading + chance.between(-100, 100)).rem_euclid(360);
        if !place.contains(self.position) {
            let (north, east) = place.metres_to(self.position);
            let inward = |heading: &i64| cosine(*heading) * -north + sine(*heading) * -east;
            self.heading = (0..24).map(|step| step * 15).max_by_key(inward).unwrap_or_default();
        }
    }

    fn shift(&mut self, mm: i64) {
        let (latitude, longitude) = self.position;
        // A millimetre is 8.983 billionths of a degree of latitude.
        let nano = |thousandths: i64| mm * thousandths / 1000 * 8_983 / 1000;
        let latitude = (latitude + nano(cosine(self.heading))).clamp(-HALF_TURN / 2, HALF_TURN / 2);
        let narrow = cosine(latitude / 1_000_000_000).max(50);
        let longitude = longitude + nano(sine(self.heading)) * 1000 / narrow;
        let longitude = (longitude + HALF_TURN).rem_euclid(2 * HALF_TURN) - HALF_TURN;
        self.position = (latitude, longitude);
    }
}

/// Revolutions a minute of an engine at a speed, in the gear that suits it.
pub(super) fn engine_speed(speed: i64, chance: &mut Seeded) -> i64 {
    // Up to a speed in km/h, revolutions per km/h.
    const GEARS: [(i64, i64); 6] =
        [(18, 110), (35, 62), (55, 43), (80, 32), (105, 26), (i64::MAX, 21)];
    let ratio =
        GEARS.iter().find(|(up_to, _)| speed / 100 < *up_to).map_or(21, |(_, ratio)| *ratio);
    (speed * ratio / 100).max(780) + chance.between(-20, 20)
}

/// Of a motor, which has one gear.
pub(super) fn motor_speed(speed: i64, chance: &mut Seeded) -> i64 {
    if speed == 0 { 0 } else { (speed * 85 / 100 + chance.between(-12, 12)).max(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { latitude: 48_780_000, longitude: 9_180_000, radius_m: 5_000 };

    #[test]
    fn sines_are_near() {
        for (degrees, want) in
            [(0, 0), (30, 500), (90, 1000), (150, 500), (270, -1000), (-30, -500)]
        {
            assert!((sine(degrees) - want).abs() <= 2, "{degrees}: {}", sine(degrees));
        }
        assert_eq!((cosine(0), cosine(180)), (1000, -1000));
    }

    #[test]
    fn a_circle_is_round() {
        let north = |metres: i64| (PLACE.latitude * 1000 + metres * 8_983, PLACE.longitude * 1000);
        assert!(PLACE.contains(north(4_950)) && !PLACE.contains(north(5_050)));
        let east = |metres: i64| {
            // 0.6589 is the cosine of 48.78 degrees.
            (PLACE.latitude * 1000, PLACE.longitude * 1000 + metres * 8_983 * 10_000 / 6_589)
        };
        assert!(PLACE.contains(east(4_900)) && !PLACE.contains(east(5_100)));
    }

    #[test]
    fn driving_moves_as_fast_as_it_says_and_stays_about() {
        let mut chance = Seeded::new(3, 0);
        let mut motion = Motion::new(&PLACE, &mut chance);
        let wide = Place { radius_m: 9_000, ..PLACE };
        let (mut by_speed, begun) = (0, motion.distance_mm);
        let mut incidents = 0;
        for _ in 0..36_000 {
            let before = motion.speed;
            incidents += usize::from(
                motion.advance(1000, Style::City, &PLACE, false, &mut chance).is_some(),
            );
            by_speed += i64::midpoint(before, motion.speed) * 1000 / 360;
            assert!((0..=6_500).contains(&motion.speed), "{motion:?}");
            assert!(wide.contains(motion.position), "{motion:?}");
        }
        assert!((motion.distance_mm - begun - by_speed).abs() <= 36_000);
        assert!(incidents > 100, "{incidents}");
        assert!(motion.distance_mm - begun > 100_000_000, "ten hours are more than 100 km");
    }

    #[test]
    fn a_trip_that_ends_comes_to_a_halt() {
        let mut chance = Seeded::new(4, 0);
        let mut motion = Motion::new(&PLACE, &mut chance);
        for _ in 0..300 {
            motion.advance(1000, Style::Highway, &PLACE, false, &mut chance);
        }
        for _ in 0..60 {
            motion.advance(1000, Style::Highway, &PLACE, true, &mut chance);
        }
        assert_eq!(motion.speed, 0);
    }

    #[test]
    fn revolutions_follow_the_speed() {
        let mut chance = Seeded::new(5, 0);
        assert!((760..=800).contains(&engine_speed(0, &mut chance)));
        for speed in (0..13_000).step_by(100) {
            let engine = engine_speed(speed, &mut chance);
            assert!((760..=3_000).contains(&engine), "{speed}: {engine}");
        }
        assert_eq!(motor_speed(0, &mut chance), 0);
    }
}
