//! A set's samples, cut into messages, for us and for the peers alike.

use anyhow::{Context as _, Result};
use peers::{Lattice, Point, Signal, Stream, split};
use protocol::{Sample, Step};

use crate::sets::{Peer, Set, Vehicle};

/// What OTLP names the vehicle: the reference's own.
const VEHICLE: &str = "VEH00001234";

/// All messages of a set, vehicle by vehicle, in order.
#[derive(Debug)]
pub struct Messages<'a> {
    /// Of each vehicle, how long each message is.
    pub vehicles: Vec<(&'a Vehicle, Vec<usize>)>,
    /// Its points, in the same order.
    pub points: Vec<Vec<Point>>,
    /// What the peers must know.
    pub stream: Stream,
    /// Of each signal of the catalogue, where the peers have it, and how its values are printed.
    printed: Vec<(usize, Printed)>,
}

impl Messages<'_> {
    /// How many signals the catalogue has.
    pub fn signals(&self) -> Result<u8> {
        u8::try_from(self.stream.signals.len()).context("too many signals")
    }

    /// A vehicle's samples as the peers get them.
    pub fn points_of(&self, vehicle: &Vehicle) -> Vec<Point> {
        points(&self.printed, vehicle)
    }
}

fn points(printed: &[(usize, Printed)], vehicle: &Vehicle) -> Vec<Point> {
    let point = |sample: &Sample| {
        let (signal, printed) = *printed.get(usize::from(sample.signal.0))?;
        let steps = printed.steps(sample.steps().unwrap_or_default());
        Some(Point { tick: sample.tick, signal, steps })
    };
    vehicle.samples.iter().filter_map(point).collect()
}

/// Cuts a set into messages of so many seconds.
pub fn of(set: &Set, seconds: u32) -> Messages<'_> {
    let tick_ms = i64::from(set.catalogue.tick_ms);
    let of = |step| if set.is_raw { Printed::RAW } else { Printed::of(step) };
    let mut peers: Vec<(&Peer, Printed)> =
        set.peers.iter().zip(set.catalogue.signals.iter().map(|s| of(s.step))).collect();
    let printed: Vec<(usize, Printed)> =
        peers.iter().map(|(peer, printed)| (peer.place, *printed)).collect();
    peers.sort_by_key(|(peer, _)| peer.place);
    let signals = peers.iter().map(|(peer, Printed { decimals, lattice })| Signal {
        lattice: *lattice,
        ..Signal::new(peer.name.as_str(), *decimals)
    });
    let mut stream = Stream {
        signals: signals.collect(),
        vehicle: VEHICLE.to_owned(),
        tick_ms,
        rows: set.has_rows,
        rice_time: None,
    };
    let points: Vec<Vec<Point>> =
        set.vehicles.iter().map(|vehicle| points(&printed, vehicle)).collect();
    for points in &points {
        stream.note_range(points);
    }
    let vehicles = set.vehicles.iter().zip(&points).map(|(vehicle, points)| {
        (vehicle, split(points, seconds, tick_ms).map(<[Point]>::len).collect())
    });
    let vehicles = vehicles.collect();
    Messages { vehicles, points, stream, printed }
}

/// How the source of a signal prints it, as far as its step tells.
#[derive(Clone, Copy, Debug)]
struct Printed {
    decimals: u32,
    lattice: Option<Lattice>,
}

impl Printed {
    /// As the integer on the bus.
    const RAW: Self = Self { decimals: 0, lattice: None };

    fn of(step: Step) -> Self {
        let decimals = (0..=9).find(|places| 10_u32.pow(*places) == step.denominator);
        match (step.numerator, decimals) {
            (1, Some(decimals)) => Self { decimals, lattice: None },
            _ if step.denominator == 1 => Self::RAW,
            // A byte's share of 100, which a tester prints with one decimal.
            _ => Self {
                decimals: 1,
                lattice: Some(Lattice { num: step.numerator, den: step.denominator }),
            },
        }
    }

    fn steps(self, raw: i64) -> i64 {
        let Some(Lattice { num, den }) = self.lattice else { return raw };
        let scaled = i128::from(raw) * i128::from(num) * 10_i128.pow(self.decimals);
        let den = i128::from(den.max(1));
        i64::try_from((scaled * 2 + den).div_euclid(den * 2)).unwrap_or(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_of_percent_is_printed_with_one_decimal_and_a_hundredth_as_it_is() {
        let step = |numerator, denominator| Step { numerator, denominator, offset: 0 };
        let percent = Printed::of(step(20, 51));
        let printed: Vec<i64> = [0, 1, 37, 255].map(|raw| percent.steps(raw)).to_vec();
        assert_eq!((printed, percent.decimals), (vec![0, 4, 145, 1000], 1));
        let hundredth = Printed::of(step(1, 100));
        assert_eq!((hundredth.steps(1234), hundredth.decimals), (1234, 2));
        assert_eq!(Printed::of(step(5, 1)).steps(7), 7);
    }
}
