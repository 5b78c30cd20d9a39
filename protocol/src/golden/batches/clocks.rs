//! Shapes of clocks.

use std::vec::Vec;

use super::{EPOCH_MS, Noise};

/// Samples of a shape.
const COUNT: i64 = 150;
/// Beyond so many ticks from its first sample a batch counts anew.
const SPAN: i64 = 1 << 26;

/// When which signal comes.
type Instant = (i64, u8);

pub struct Shape {
    pub name: &'static str,
    pub signals: u8,
    pub instants: fn(&mut Noise) -> Vec<Instant>,
}

const fn shape(name: &'static str, signals: u8, instants: fn(&mut Noise) -> Vec<Instant>) -> Shape {
    Shape { name, signals, instants }
}

pub const SHAPES: [Shape; 22] = [
    shape("one signal, regular", 1, |_| in_turn(1, |at| EPOCH_MS + 100 * at)),
    shape("three at once, regular", 3, |_| in_turn(3, |at| EPOCH_MS + 100 * (at / 3))),
    shape("since the boot", 2, |_| in_turn(2, |at| 61_000 + 50 * at)),
    shape("set while it runs", 3, |_| in_turn(3, set)),
    shape("in seconds", 3, |noise| in_turn(3, |at| 1_211_094_008 + 20 * at + noise.below(2))),
    shape("ties", 4, |_| in_turn(4, |_| EPOCH_MS)),
    shape("periods of their own, jittered", 3, |noise| periods(&[100, 70, 130], 3, noise)),
    shape("periods that beat", 3, |noise| periods(&[40, 41, 43], 0, noise)),
    shape("periods alike, jittered", 4, |noise| periods(&[100, 100, 50, 300], 6, noise)),
    shape("bursts", 5, |noise| {
        in_turn(5, |at| EPOCH_MS + 1000 * (at / 5) + 3 * (at % 5) + noise.below(2))
    }),
    shape("stepping backward", 2, |noise| {
        gaps(2, |at| if at % 20 == 19 { -5000 } else { 90 + noise.below(5) })
    }),
    shape("beats", 2, |_| in_turn(2, |at| EPOCH_MS + at * 55 / 2)),
    shape("beats, jittered, some missed", 2, |noise| {
        gaps(2, |_| (1 + noise.below(4) * noise.below(4)) * 55 / 2 + noise.around(4))
    }),
    shape("between beats", 1, |_| gaps(1, |at| 30 * (at % 10) + 15 * i64::from(at % 3 == 0))),
    shape("intervals that change", 1, |_| gaps(1, interval)),
    shape("intervals a little off", 2, |noise| gaps(2, |_| 100 + little(noise))),
    shape("gaps of any length", 3, |noise| gaps(3, |_| 1 << noise.below(20) << noise.below(10))),
    shape("gaps as long as a count goes", 3, |_| gaps(3, as_long)),
    shape("any gap", 2, |noise| gaps(2, |_| noise.below(100_000))),
    shape("the ends of all ticks", 2, |_| in_turn(2, end)),
    shape("late", 2, late),
    shape("many signals", 64, |noise| {
        let tick = |at| EPOCH_MS + 10 * at;
        (0..COUNT).map(|at| (tick(at), u8::try_from(noise.below(64)).unwrap())).collect()
    }),
];

/// Signals that take turns.
fn in_turn(signals: i64, mut tick: impl FnMut(i64) -> i64) -> Vec<Instant> {
    (0..COUNT).map(|at| (tick(at), u8::try_from(at % signals).unwrap())).collect()
}

/// The same, by what is between them.
fn gaps(signals: i64, mut gap: impl FnMut(i64) -> i64) -> Vec<Instant> {
    let mut tick = EPOCH_MS;
    in_turn(signals, |at| {
        tick += gap(at);
        tick
    })
}

/// Signals that do not know of each other.
fn periods(periods: &[i64], jitter: i64, noise: &mut Noise) -> Vec<Instant> {
    let mut instants = Vec::new();
    for (signal, period) in (0..).zip(periods) {
        instants
            .extend((0..COUNT).map(|at| (EPOCH_MS + at * period + noise.around(jitter), signal)));
    }
    instants.sort_unstable();
    instants.truncate(usize::try_from(COUNT).unwrap());
    instants
}

/// From the boot on, then since 1970, and once more.
fn set(at: i64) -> i64 {
    let since = if at / 40 % 2 == 0 { 5000 } else { EPOCH_MS };
    since + 33 * at
}

/// Each for one, two, three and four times.
fn interval(at: i64) -> i64 {
    match at % 10 {
        0 => 3,
        1..=2 => 55,
        3..=5 => 500,
        _ => [3, 4, 5, 6, 99, 100, 101, 1][usize::try_from(at / 10 % 8).unwrap()],
    }
}

/// At the edges of what a difference counts as.
fn little(noise: &mut Noise) -> i64 {
    let edges = [0, 0, 0, 0, 1, 2, 3, 4, 5, 23, 24, 25, 40, 41];
    let far = edges[usize::try_from(noise.below(14)).unwrap()];
    if noise.below(2) == 0 { far } else { -far }
}

/// To the end of what is counted from one origin, and a tick beyond.
fn as_long(at: i64) -> i64 {
    match at % 24 {
        5 => SPAN - 500,
        11 => SPAN,
        12 | 22 => -SPAN,
        17 => SPAN + 1,
        20 => -SPAN - 1,
        _ => 100,
    }
}

fn end(at: i64) -> i64 {
    let ends = [i64::MIN, i64::MAX, 0, -1, i64::MIN + 1, 1 << 40, -(1 << 40), i64::MAX - 1, 5];
    ends[usize::try_from(at).unwrap() % ends.len()]
}

/// The first comes every hundred ticks, after the second, which comes whenever it likes; and once in a while
/// they are late: the second by just as much as makes that the first is no longer expected, or by less.
fn late(noise: &mut Noise) -> Vec<Instant> {
    let both = (0..COUNT / 2).flat_map(|round| {
        let expected = EPOCH_MS + 100 * round;
        let (before, late) = match round % 25 {
            12 => (8, 9),
            17 => (noise.below(12), 12),
            21 => (5, 6),
            _ => (-1 - noise.below(90), 0),
        };
        [(expected + before, 1), (expected + late, 0)]
    });
    both.collect()
}
