//! What recordings say of signals: how they follow each other in time, what tells most about a next
//! value, and where the codec's chances begin.
//!
//! Each question is answered by trying: what takes fewer bytes is kept.

use protocol::codec::{Encoder, Guess, Hints, SAMPLE_BYTES_MAX, SignalHint, Timing};
use protocol::{Catalogue, Sample};

use super::file::{PREDICTORS, usual_hint};
use super::owned::{OwnedCatalogue, OwnedHints};
use super::period;

/// Samples that a question is tried on, at most; and those that a start table is made of.
const TRIED_MAX: usize = 40_000;
const COUNTED_MAX: usize = 400_000;
/// Batches of a run.
const RUN: usize = 8;
/// Second periods that are tried.
const PERIODS_MAX: usize = 3;
/// Samples of a batch, at most.
const BATCH_MAX: usize = 20_000;

/// What there is to learn from.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// The samples of one device each, in the order in which they were taken.
    pub recordings: &'a [Vec<Sample>],
    /// How long a batch lasts, in ticks.
    pub batch_ticks: i64,
}

/// What was learnt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Learnt {
    /// The catalogue's hints; without the start table, or the signals' too, where a catalogue has no room
    /// for them.
    pub hints: OwnedHints,
    /// Samples that it was learnt from.
    pub samples: u64,
    /// Bytes that so many of them took, each batch alone: with nothing known beforehand, and with
    /// the hints.
    pub tried: u64,
    /// With nothing known.
    pub bytes_before: u64,
    /// With the hints.
    pub bytes: u64,
    /// By signal: the greatest number of which all differences between its raw values are multiples;
    /// 0 if it never changed.
    pub multiples: Vec<u64>,
}

/// Learns the hints of a catalogue's signals; nothing if there is no sample of them. `progress` is told
/// how many of how many questions are answered.
pub fn learn(
    catalogue: &OwnedCatalogue,
    recorded: Recorded<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Option<Learnt> {
    let signals = u8::try_from(catalogue.signals.len()).ok()?;
    let all: Vec<&[Sample]> = recorded
        .recordings
        .iter()
        .flat_map(|recording| batches(recording, recorded.batch_ticks))
        .collect();
    let tried = spread(&all, TRIED_MAX);
    let trial = Trial { signals, batches: &tried };
    let samples: usize = all.iter().map(|batch| batch.len()).sum();
    if samples == 0 {
        return None;
    }
    let mut hints = OwnedHints {
        timing: Timing::Any,
        signals: basics(recorded.recordings, signals),
        levels: Vec::new(),
    };
    let questions = usize::from(signals) + 3;
    progress(0, questions);
    let periods = period::of_all(recorded.recordings.iter().map(Vec::as_slice));
    let first = periods.first().copied().unwrap_or(0);
    let others = periods.iter().skip(1).take(PERIODS_MAX).copied();
    let beats = std::iter::once(0).chain(others).map(|other| Timing::Beats([first, other]));
    let timings = [Timing::Any, Timing::Sequence].into_iter().chain(beats.filter(|_| first > 0));
    hints.timing = least(timings, |timing| {
        let hints = Hints { timing, ..hints.borrowed() };
        // With a start table of its own: the usual one knows no beats.
        trial.bytes(&Hints { levels: &trial.levels(&hints), ..hints })
    })?;
    progress(1, questions);
    for signal in 0..signals {
        choose(&trial, &mut hints, signal);
        progress(2 + usize::from(signal), questions);
    }
    let counted = Trial { signals, batches: &spread(&all, COUNTED_MAX) };
    for _ in 0..2 {
        hints.levels = counted.levels(&hints.borrowed());
    }
    fit(catalogue, &mut hints);
    progress(questions, questions);
    let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    Some(Learnt {
        samples: count(samples),
        tried: count(tried.iter().map(|batch| batch.len()).sum()),
        bytes_before: trial.bytes(&Hints::NONE),
        bytes: trial.bytes(&hints.borrowed()),
        multiples: multiples(recorded.recordings, signals),
        hints,
    })
}

/// Leaves out what a catalogue has no room for: first the start table, the greatest part of it.
fn fit(catalogue: &OwnedCatalogue, hints: &mut OwnedHints) {
    let fits = |hints: &OwnedHints| {
        let whole = OwnedCatalogue { hints: hints.clone(), ..catalogue.clone() };
        whole.with(|whole| whole.encode(&mut [0; Catalogue::ENCODED_MAX])).is_ok()
    };
    if !fits(hints) {
        hints.levels.clear();
    }
    if !fits(hints) {
        hints.signals.clear();
    }
}

/// The guess and the related signal with which a signal takes the fewest bytes, with all the others as
/// they are.
fn choose(trial: &Trial<'_>, hints: &mut OwnedHints, signal: u8) {
    let place = usize::from(signal);
    let Some(now) = hints.signals.get(place).copied() else { return };
    let mut bytes = |hint: SignalHint| {
        if let Some(slot) = hints.signals.get_mut(place) {
            *slot = hint;
        }
        trial.bytes(&hints.borrowed())
    };
    let guesses =
        PREDICTORS.iter().map(|(_, guess)| *guess).filter(|guess| *guess != Guess::Related);
    let guess = least(guesses, |guess| bytes(SignalHint { guess, ..now })).unwrap_or_default();
    let alone = SignalHint { guess, ..now };
    let others = (0..trial.signals).filter(|other| *other != signal);
    let candidates = others.flat_map(|related| {
        [SignalHint { related, ..alone }, SignalHint { related, guess: Guess::Related, ..alone }]
    });
    let best = least(std::iter::once(alone).chain(candidates), &mut bytes).unwrap_or(alone);
    if let Some(slot) = hints.signals.get_mut(place) {
        *slot = best;
    }
}

/// The first of those that cost the least.
fn least<T: Copy>(all: impl Iterator<Item = T>, mut cost: impl FnMut(T) -> u64) -> Option<T> {
    all.map(|one| (cost(one), one)).min_by_key(|(cost, _)| *cost).map(|(_, one)| one)
}

/// What can be counted: the usual successor, interval and period, and the middle of the values.
fn basics(recordings: &[Vec<Sample>], signals: u8) -> Vec<SignalHint> {
    let count = usize::from(signals);
    let mut seen: Vec<Seen> = (0..count).map(|_| Seen::new(count)).collect();
    for recording in recordings {
        let mut before: Option<Sample> = None;
        let mut last: Vec<Option<i64>> = vec![None; count];
        for sample in recording {
            let place = usize::from(sample.signal.0);
            if let Some(before) = before {
                if let Some(seen) = seen.get_mut(usize::from(before.signal.0)) {
                    seen.followed(place);
                }
                let gap = sample.tick.wrapping_sub(before.tick);
                if gap != 0
                    && let Some(seen) = seen.get_mut(place)
                {
                    seen.intervals.push(gap);
                }
            }
            before = Some(*sample);
            if let (Some(seen), Some(last)) = (seen.get_mut(place), last.get_mut(place)) {
                seen.values.extend(sample.steps());
                seen.periods
                    .extend(last.replace(sample.tick).map(|at| sample.tick.wrapping_sub(at)));
            }
        }
    }
    (0..).zip(&mut seen).map(|(signal, seen)| seen.hint(usual_hint(signal, count))).collect()
}

/// What was seen of one signal.
#[derive(Clone, Debug)]
struct Seen {
    values: Vec<i64>,
    /// Ticks since the sample before it, and since its own last one.
    intervals: Vec<i64>,
    periods: Vec<i64>,
    /// How often each signal came after it.
    followers: Vec<u64>,
}

impl Seen {
    fn new(signals: usize) -> Self {
        let followers = vec![0; signals];
        Self { values: Vec::new(), intervals: Vec::new(), periods: Vec::new(), followers }
    }

    fn followed(&mut self, by: usize) {
        if let Some(count) = self.followers.get_mut(by) {
            *count += 1;
        }
    }

    fn hint(&mut self, usual: SignalHint) -> SignalHint {
        let most = self.followers.iter().max().copied().filter(|most| *most > 0);
        let follower = most.and_then(|most| self.followers.iter().position(|count| *count == most));
        let follower = follower.and_then(|place| u8::try_from(place).ok());
        let expected = middle(&mut self.values);
        let off =
            self.values.iter().map(|value| u128::from(value.abs_diff(expected))).sum::<u128>();
        let mean16 = 16 * off / u128::try_from(self.values.len().max(1)).unwrap_or(1);
        let spread = u8::try_from(u128::BITS - mean16.leading_zeros()).unwrap_or(u8::MAX);
        let narrow = |ticks: i64, per_tick: i64| {
            let fine = ticks.checked_mul(per_tick).filter(|fine| *fine > 0);
            fine.and_then(|fine| i32::try_from(fine).ok()).unwrap_or(0)
        };
        SignalHint {
            guess: Guess::Last,
            related: usual.related,
            follower: follower.unwrap_or(usual.follower),
            expected,
            spread,
            interval: narrow(middle(&mut self.intervals), 1),
            period: narrow(middle(&mut self.periods), 16),
        }
    }
}

fn middle(values: &mut [i64]) -> i64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// By signal, what all differences between its values are multiples of.
fn multiples(recordings: &[Vec<Sample>], signals: u8) -> Vec<u64> {
    let mut found: Vec<(Option<i64>, u64)> = vec![(None, 0); usize::from(signals)];
    for sample in recordings.iter().flatten() {
        if let (Some((first, divisor)), Some(steps)) =
            (found.get_mut(usize::from(sample.signal.0)), sample.steps())
        {
            let first = *first.get_or_insert(steps);
            *divisor = common(*divisor, steps.abs_diff(first));
        }
    }
    found.into_iter().map(|(_, divisor)| divisor).collect()
}

fn common(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common(b, a % b) }
}

/// A recording in batches as a device closes them.
fn batches(recording: &[Sample], ticks: i64) -> impl Iterator<Item = &[Sample]> {
    let first = recording.first().map_or(0, |sample| sample.tick);
    let number = move |sample: &Sample| sample.tick.wrapping_sub(first).div_euclid(ticks.max(1));
    recording
        .chunk_by(move |one, next| number(one) == number(next))
        .flat_map(|batch| batch.chunks(BATCH_MAX))
}

/// Runs of batches from all over, of about so many samples: which beats a batch follows an encoder knows
/// from the one before.
fn spread<'a>(all: &[&'a [Sample]], most: usize) -> Vec<&'a [Sample]> {
    let samples: usize = all.iter().map(|batch| batch.len()).sum();
    all.chunks(RUN).step_by(samples.div_ceil(most).max(1)).flatten().copied().collect()
}

/// Batches on which hints are tried.
#[derive(Clone, Copy, Debug)]
struct Trial<'a> {
    signals: u8,
    batches: &'a [&'a [Sample]],
}

impl Trial<'_> {
    /// Bytes that they take, each alone.
    fn bytes(&self, hints: &Hints<'_>) -> u64 {
        let mut bytes = 0;
        self.each(hints, |encoder, buffer| {
            let len = encoder.finish(buffer).unwrap_or(buffer.len());
            bytes += u64::try_from(len).unwrap_or(0);
        });
        bytes
    }

    /// A start table: the mean of where the chances are at the end of each batch.
    fn levels(&self, hints: &Hints<'_>) -> Vec<u8> {
        let mut sums: Vec<(u64, u64)> = Vec::new();
        self.each(hints, |encoder, buffer| {
            let mut chances = encoder.chances();
            sums.iter_mut().zip(&mut chances).for_each(|((sum, count), chance)| {
                (*sum, *count) = (*sum + u64::from(chance.ones()), *count + 1);
            });
            sums.extend(chances.map(|chance| (u64::from(chance.ones()), 1)));
            // The next batch goes on from this one's chances, as what is learnt should.
            let _full = encoder.finish_chained(buffer);
        });
        let level = |(sum, count): &(u64, u64)| {
            protocol::codec::Chance::level(u16::try_from(sum / (*count).max(1)).unwrap_or(u16::MAX))
        };
        let levels: Vec<u8> = sums.iter().map(level).collect();
        let pair = |pair: &[u8]| pair.iter().rev().fold(0, |byte, level| byte << 4 | level);
        levels.chunks(2).map(pair).collect()
    }

    fn each<'h>(
        &self,
        hints: &Hints<'h>,
        mut with: impl FnMut(&mut Encoder<'h, { Catalogue::SIGNALS_MAX }>, &mut [u8]),
    ) {
        let mut encoder = Box::new(Encoder::new(*hints, self.signals));
        let mut buffer = Vec::new();
        for batch in self.batches {
            buffer.resize((batch.len() + 1) * SAMPLE_BYTES_MAX, 0);
            for sample in *batch {
                // What the catalogue does not have is left out.
                let _full = encoder.push(&mut buffer, *sample);
            }
            with(&mut encoder, &mut buffer);
        }
    }
}

#[cfg(test)]
#[path = "learn_tests.rs"]
mod tests;
