//! When a sample was taken: after its own last one, after the one before it, or at the next beats of
//! a clock.
//!
//! Beside ticks, which count from the batch's first sample, there are fine ticks, sixteenths, in
//! which periods and phases are followed.

use super::hints::Timing;
use super::number::{Ladder, Places, number};
use super::odds::{Odds, Row, Talk, own, shared};
use super::range::Coder;
use crate::varint::{unzigzag, zigzag};

/// Fine ticks in a tick.
pub const FINE: i32 = 16;
/// Beyond so many ticks from the first sample the count begins anew.
const SPAN: i64 = 1 << 26;

/// Chances of one row: zero, sign, and the steps.
const ROW: usize = 12;
const GAP: usize = 0;
const FRACTION: usize = 1;
const LAST: usize = 5;
const LAST_BEAT: usize = 13;
const LAST_OWN: usize = 13;
const USUAL: usize = 16;
/// Rows of chances: what the gap is when no beat is meant, the fraction of the expected instant, how
/// the last one was off, how large an interval is usual.
pub const TICK_CHANCES: usize = 20 * ROW;
/// Chances of how many beats have passed, by how many passed before.
pub const BEAT_CHANCES: usize = 8 * 8;
/// As many beats, or none, stand for a gap that is no number of beats.
const NO_BEATS: usize = 7;

/// What is known of one signal's instants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instants {
    /// Usual ticks since the sample before it, and how often in a row that was wrong.
    interval: i32,
    wrong: u8,
    /// When it is expected, in fine ticks from the origin: a period after its last instant, smoothed.
    /// Kept instead of that one, as it is looked at for every sample of any signal.
    expected: i32,
    period: i32,
    /// By how much either expectation is off, on the whole.
    own_error: u16,
    next_error: u16,
}

impl Instants {
    /// It has not come: later than anything.
    const NEVER: i32 = i32::MAX;

    pub const fn new(interval: i32, period: i32) -> Self {
        Self { interval, wrong: 0, expected: Self::NEVER, period, own_error: 0, next_error: 0 }
    }

    /// The count begins anew elsewhere.
    pub fn forget(&mut self) {
        self.expected = Self::NEVER;
    }

    /// When it is expected, in fine ticks from the origin.
    pub fn expected(&self) -> Option<i32> {
        (self.expected != Self::NEVER).then_some(self.expected)
    }

    /// The same, so that what has not come is the last.
    #[inline]
    pub const fn expected_last(&self) -> i32 {
        self.expected
    }

    /// It came at this instant, in fine ticks.
    fn came(&mut self, fine: i32) {
        let mut at = fine;
        if let Some(expected) = self.expected() {
            let error = fine.wrapping_sub(expected);
            if error.unsigned_abs() > 12 * FINE.unsigned_abs() {
                self.period = error.wrapping_add(self.period);
            } else {
                at = expected.wrapping_add(error / 2);
                self.period = self.period.wrapping_add(error / 16);
            }
        }
        self.last_came(at);
    }

    /// Its last instant, in fine ticks.
    fn last_came(&mut self, at: i32) {
        self.expected = at.wrapping_add(self.period);
    }

    /// How far off the expectations were, in fine ticks.
    fn judge(&mut self, own: i32, next: i32) {
        let follow = |error: &mut u16, off: i32| {
            let off = off.unsigned_abs().min(64 * FINE.unsigned_abs()) / 4;
            // At most 16 times the greatest that is added: 4096.
            *error = *error - (*error >> 4) + u16::try_from(off).unwrap_or(0);
        };
        follow(&mut self.own_error, own);
        follow(&mut self.next_error, next);
    }

    /// So many ticks came between the sample before it and it.
    fn interval(&mut self, ticks: i64) {
        if ticks.wrapping_sub(i64::from(self.interval)).unsigned_abs() <= 40 {
            self.wrong = 0;
            return;
        }
        self.wrong += 1;
        if self.wrong > 2 {
            self.wrong = 0;
            self.interval = i32::try_from(ticks).unwrap_or(0);
        }
    }
}

/// A clock whose beats the samples follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Phase {
    /// A beat, in fine ticks from the origin.
    at: i32,
    /// Sixty-fourth of the error, on the whole.
    error: u32,
}

/// What is known of time.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The tick from which fine ticks count.
    origin: i64,
    /// The last sample's, from there.
    last: Option<i32>,
    /// The last error, in ticks, and the number of beats before it.
    error: i32,
    beats: u8,
    /// A beat, in fine ticks; and of which clock.
    beat: i32,
    chosen: u8,
}

const fn row(row: usize) -> usize {
    shared::TICKS + ROW * row
}

const fn rounded(fine: i32) -> i32 {
    fine.wrapping_add(FINE / 2).div_euclid(FINE)
}

fn fraction(fine: i32) -> usize {
    usize::try_from(fine.rem_euclid(FINE) / 4).unwrap_or(0)
}

fn coded<C: Coder, O: Odds>(talk: &mut Talk<'_, C, O>, (a, b): (usize, usize), value: i64) -> i64 {
    let (a, b) = (row(a), row(b));
    let ladder = |row| Ladder::Steps { from: row + 2, len: ROW - 2 };
    let places = Places { zero: [a, b], sign: [a + 1, b + 1], more: [ladder(a), ladder(b)] };
    number(talk, Row::SHARED, &places, value)
}

impl Clock {
    /// Nothing has come.
    pub const START: Self = Self { origin: 0, last: None, error: 0, beats: 0, beat: 0, chosen: 0 };

    /// Where the last sample was, for what the next one may be; in fine ticks.
    fn last_fine(&self) -> i32 {
        self.last.unwrap_or(0).wrapping_mul(FINE)
    }

    /// Codes a sample's tick; whether the count begins anew, for all signals.
    pub fn tick<C: Coder, O: Odds>(
        &mut self,
        talk: &mut Talk<'_, C, O>,
        row: Row,
        timing: Timing,
        instants: &mut Instants,
        tick: i64,
    ) -> (i64, bool) {
        let Some(last) = self.last else {
            let tick = first(talk, tick);
            return (tick, self.begin(tick, instants));
        };
        let from_origin = tick.wrapping_sub(self.origin);
        if !talk.bit(row, own::SAME, own::SAME, from_origin != i64::from(last)) {
            instants.came(self.last_fine());
            return (self.origin.wrapping_add(i64::from(last)), false);
        }
        let now = match timing {
            Timing::Beats(periods) => {
                let period = periods.get(usize::from(self.chosen)).copied().unwrap_or(0);
                self.after_beats(talk, i32::from(period.max(1)), from_origin)
            }
            Timing::Any => self.after(talk, instants, true, from_origin),
            Timing::Sequence => self.after(talk, instants, false, from_origin),
        };
        let tick = self.origin.wrapping_add(now);
        if now.unsigned_abs() > SPAN.unsigned_abs() {
            return (tick, self.begin(tick, instants));
        }
        let now = i32::try_from(now).unwrap_or(0);
        self.last = Some(now);
        instants.came(now.wrapping_mul(FINE));
        (tick, false)
    }

    /// The count begins at this tick.
    fn begin(&mut self, tick: i64, instants: &mut Instants) -> bool {
        *self = Self { origin: tick, last: Some(0), chosen: self.chosen, ..Self::START };
        instants.last_came(0);
        true
    }

    /// In the row of its own instants, or after the sample before it; ticks from the origin.
    fn after<C: Coder, O: Odds>(
        &mut self,
        talk: &mut Talk<'_, C, O>,
        instants: &mut Instants,
        may_be_own: bool,
        now: i64,
    ) -> i64 {
        let last = self.last.unwrap_or(0);
        let next = last.wrapping_add(instants.interval);
        let own = instants.expected().filter(|own| {
            may_be_own
                && instants.own_error < instants.next_error
                && *own > self.last_fine().wrapping_sub(8 * FINE)
        });
        let (expected, rows) = match own {
            Some(own) => {
                let sign = usize::try_from(self.error.signum() + 1).unwrap_or(1);
                (rounded(own), (FRACTION + fraction(own), LAST_OWN + sign))
            }
            None => (next, (USUAL + size(instants.interval), LAST + class(self.error))),
        };
        let error = coded(talk, rows, now.wrapping_sub(i64::from(expected)));
        let now = i64::from(expected).wrapping_add(error);
        self.error = clamped(error);
        if let Some(expected) = instants.expected()
            && let Ok(fine) =
                i32::try_from(now.clamp(-SPAN, SPAN)).map(|now| now.wrapping_mul(FINE))
        {
            let next = next.wrapping_mul(FINE);
            instants.judge(fine.wrapping_sub(expected), fine.wrapping_sub(next));
        }
        instants.interval(now.wrapping_sub(i64::from(last)));
        now
    }

    /// After some beats of a clock; ticks from the origin.
    fn after_beats<C: Coder, O: Odds>(
        &mut self,
        talk: &mut Talk<'_, C, O>,
        period: i32,
        now: i64,
    ) -> i64 {
        let mut beats = 0;
        let mut at = self.beat;
        // Nearer than 2^30 is far enough: seven beats are less than 2^19.
        let left = now.wrapping_mul(i64::from(FINE)).wrapping_sub(i64::from(at));
        let mut left = i32::try_from(left.clamp(-(1 << 30), 1 << 30)).unwrap_or(0);
        let half = period / 2;
        while beats < NO_BEATS && left >= period - half {
            beats += 1;
            left -= period;
        }
        if left < -half {
            beats = NO_BEATS;
        }
        let first = shared::BEATS + 8 * usize::from(self.beats);
        let mut node = 1;
        for shift in (0..3).rev() {
            let place = first + node;
            let more = talk.bit(Row::SHARED, place, place, beats >> shift & 1 == 1);
            node = 2 * node + usize::from(more);
        }
        let beats = node - 8;
        // Below 8.
        self.beats = u8::try_from(beats).unwrap_or(0);
        if beats == NO_BEATS {
            let last = i64::from(self.last.unwrap_or(0));
            let gap = coded(talk, (GAP, GAP), now.wrapping_sub(last));
            let now = last.wrapping_add(gap);
            self.error = 0;
            self.beat = i32::try_from(now.clamp(-SPAN, SPAN)).unwrap_or(0).wrapping_mul(FINE);
            return now;
        }
        for _ in 0..beats {
            at = at.wrapping_add(period);
        }
        let expected = i64::from(rounded(at));
        let before = usize::try_from(self.error.clamp(-3, 3) + 3).unwrap_or(3);
        let rows = (FRACTION + fraction(at), LAST_BEAT + before);
        let error = coded(talk, rows, now.wrapping_sub(expected));
        let now = expected.wrapping_add(error);
        self.error = clamped(error);
        let off = now.wrapping_mul(i64::from(FINE)).wrapping_sub(i64::from(at));
        let off = i32::try_from(off.clamp(-48, 48)).unwrap_or(0);
        self.beat = at.wrapping_add(off / 8);
        now
    }

    /// Takes one of the clocks.
    pub fn choose<C: Coder>(&mut self, coder: &mut C, timing: Timing, best: u8) {
        if let Timing::Beats([_, second]) = timing
            && second > 0
        {
            self.chosen = u8::from(coder.flat(u64::from(best), 1) == 1);
        }
    }
}

/// Bits below the top one of what a tick becomes, from 2004 to 2038: of milliseconds, and of seconds.
const EPOCH_BITS: [u32; 2] = [41, 31];

/// The first tick of all, as it is: how many bits it has below the top one, and these.
fn first<C: Coder, O: Odds>(talk: &mut Talk<'_, C, O>, tick: i64) -> i64 {
    // Never 0, so that there is a top one. Of the tick that has no room then, below.
    let number = zigzag(tick).saturating_add(1);
    let top = 63_u32.saturating_sub(number.leading_zeros());
    let mut places = EPOCH_BITS.into_iter().zip(shared::EPOCH..);
    let usual = places.find(|(bits, at)| !talk.bit(Row::SHARED, *at, *at, top != *bits));
    let top = if let Some((bits, _)) = usual {
        bits
    } else {
        // What is usual is not said here, and so free for the least of all.
        let [least, _] = EPOCH_BITS;
        let said = if tick == i64::MIN { least } else { top };
        let said = u32::try_from(talk.flat(u64::from(said), 6)).unwrap_or(0);
        if said == least {
            return i64::MIN;
        }
        said
    };
    let below = talk.flat(number, top);
    unzigzag(((1 << top) | below).wrapping_sub(1))
}

fn clamped(error: i64) -> i32 {
    i32::try_from(error.clamp(-1000, 1000)).unwrap_or(0)
}

/// How the last one was off.
const fn class(error: i32) -> usize {
    match error {
        ..=-4 => 0,
        -3..=-2 => 1,
        -1 => 2,
        0 => 3,
        1 => 4,
        2..=3 => 5,
        4..=24 => 6,
        _ => 7,
    }
}

/// How large an interval is.
const fn size(interval: i32) -> usize {
    match interval {
        ..=0 => 0,
        1..=5 => 1,
        6..=99 => 2,
        _ => 3,
    }
}

/// Which of two clocks the samples follow: for an encoder, over its batches.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    origin: i64,
    phases: [Phase; 2],
}

impl Follower {
    /// A sample came.
    pub fn came(&mut self, timing: Timing, tick: i64) {
        let Timing::Beats(periods) = timing else { return };
        let from_origin = tick.wrapping_sub(self.origin);
        let Ok(now) = i32::try_from(from_origin) else { return self.begin(tick) };
        if from_origin.unsigned_abs() > SPAN.unsigned_abs() {
            return self.begin(tick);
        }
        let fine = now.wrapping_mul(FINE);
        for (phase, period) in self.phases.iter_mut().zip(periods) {
            let period = i32::from(period.max(1));
            let mut left = fine.wrapping_sub(phase.at);
            let mut beats = 0;
            while beats < NO_BEATS && left >= period - period / 2 {
                left -= period;
                beats += 1;
            }
            if beats == NO_BEATS || left < -(period / 2) {
                phase.at = fine;
                continue;
            }
            // Relative to the period: what is random is off by a quarter of it, whatever it is.
            let off = left.unsigned_abs() << 8;
            phase.error = phase.error - (phase.error >> 6) + off / period.unsigned_abs();
            phase.at = fine.wrapping_sub(left).wrapping_add(left.clamp(-48, 48) / 8);
        }
    }

    fn begin(&mut self, tick: i64) {
        self.origin = tick;
        self.phases.iter_mut().for_each(|phase| phase.at = 0);
    }

    /// The one that fits best.
    pub fn best(&self) -> u8 {
        let [first, second] = self.phases;
        u8::from(second.error < first.error)
    }
}

#[cfg(test)]
mod tests;
