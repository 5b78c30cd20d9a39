//! The beats that a source's samples follow: a period whose multiples the gaps between them are.

use std::f64::consts::TAU;

use protocol::Sample;

/// Sixteenths of a tick.
const FINE: i32 = 16;
/// Periods that are tried, in sixteenths.
const PERIODS: std::ops::RangeInclusive<u16> = 8 * 16..=200 * 16;
/// Gaps that are looked at of one piece; what is longer than so many ticks is none.
const GAPS_MAX: usize = 600;
const GAP_MAX: i64 = 1000;
/// Samples over which a period is measured.
const LAG: usize = 12;
/// Samples of a piece, and how many pieces are looked at, at most.
const PIECE: usize = 800;
const PIECES_MAX: usize = 200;
/// Below this coherence there is no beat: 1 is a perfect one, and random gaps come to 0.02.
const COHERENCE_MIN: f64 = 0.5;
/// A period is at most this many of the shortest gaps.
const LONGEST: f64 = 1.25;
/// Periods that are nearer than this are one.
const SAME: u16 = 6;

/// The period of a piece of a recording.
fn of_one(samples: &[Sample]) -> Option<u16> {
    let gaps = gaps(samples, 1);
    let count = f64::from(u32::try_from(gaps.len()).unwrap_or(u32::MAX));
    if count < 100.0 {
        return None;
    }
    // Over some samples a period that is a little off is out of step.
    let far = self::gaps(samples, LAG);
    let coherence = |period: u16| {
        let (gaps, turn) = (&far, TAU / f64::from(period));
        let count = f64::from(u32::try_from(gaps.len().max(1)).unwrap_or(u32::MAX));
        let (sine, cosine) = gaps.iter().fold((0.0, 0.0), |(sine, cosine), gap| {
            let (more_sine, more_cosine) = (gap * turn).sin_cos();
            (sine + more_sine, cosine + more_cosine)
        });
        cosine.hypot(sine) / count
    };
    // A beat passes between any two: what is longer than the shortest gaps is no period.
    let mut sorted = gaps.clone();
    sorted.sort_by(f64::total_cmp);
    let longest = sorted.get(sorted.len() / 10).map_or(0.0, |gap| gap * LONGEST);
    let periods = PERIODS.filter(|period| f64::from(*period) <= longest);
    let best = periods.map(|period| (coherence(period), period)).max_by(|a, b| a.0.total_cmp(&b.0));
    let (_, period) = best.filter(|(coherence, _)| *coherence >= COHERENCE_MIN)?;
    Some(period)
}

/// Fine ticks from each sample to the one so many behind it; from those of one instant, nothing.
fn gaps(samples: &[Sample], lag: usize) -> Vec<f64> {
    let ticks = samples.iter().map(|sample| sample.tick);
    let longest = GAP_MAX * i64::try_from(lag).unwrap_or(1);
    ticks
        .clone()
        .zip(ticks.skip(lag))
        .map(|(before, tick)| tick.wrapping_sub(before))
        .filter(|gap| (1..=longest).contains(gap))
        .take(GAPS_MAX)
        .filter_map(|gap| i32::try_from(gap).ok())
        .map(|gap| f64::from(gap * FINE))
        .collect()
}

/// The periods that pieces of recordings have, the most frequent one first: a source may go from one
/// to another.
pub fn of_all<'a>(recordings: impl Iterator<Item = &'a [Sample]>) -> Vec<u16> {
    let pieces: Vec<&[Sample]> = recordings.flat_map(|recording| recording.chunks(PIECE)).collect();
    let every = pieces.len().div_ceil(PIECES_MAX).max(1);
    let mut periods: Vec<u16> =
        pieces.iter().step_by(every).filter_map(|piece| of_one(piece)).collect();
    periods.sort_unstable();
    let mut groups: Vec<Vec<u16>> = Vec::new();
    for period in periods {
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(|last| period - last <= SAME) => {
                group.push(period);
            }
            _ => groups.push(vec![period]),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups.iter().filter_map(|group| group.get(group.len() / 2).copied()).collect()
}

#[cfg(test)]
mod tests {
    use protocol::SignalIndex;

    use super::*;

    fn poller(period: i64, seed: i64) -> Vec<Sample> {
        let mut beat = 0;
        (0..3000_i64)
            .map(|at| {
                beat += 1 + i64::from((at * 7 + seed) % 5 == 0);
                let jitter = (at * at + seed) % 3 - 1;
                Sample::new(beat * period / 16 + jitter, SignalIndex(0), 0)
            })
            .collect()
    }

    #[test]
    fn the_beats_of_pollers_are_found() {
        let recordings = [poller(480, 1), poller(440, 2), poller(480, 3)];
        let found = of_all(recordings.iter().map(Vec::as_slice));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].abs_diff(480) <= 1 && found[1].abs_diff(440) <= 1, "{found:?}");
    }

    #[test]
    fn where_there_is_no_beat_none_is_found() {
        let mut tick = 0;
        let random = (0..3000_i64).map(|at| {
            tick += 20 + (at * at * 31 + at * 17) % 97;
            Sample::new(tick, SignalIndex(0), 0)
        });
        assert_eq!(of_all([random.collect::<Vec<_>>()].iter().map(Vec::as_slice)), []);
    }
}
