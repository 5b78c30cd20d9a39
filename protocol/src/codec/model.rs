//! What encoder and decoder know alike: which signal comes next, when, and with what value.

use super::CodecError;
use super::clock::{Clock, FINE, Instants};
use super::exact::{self, Content};
use super::hints::{Hints, Timing};
use super::number::Escape;
use super::odds::{Odds, Row, Talk, own, shared};
use super::range::Coder;
use super::start::Levels;
use super::value::Values;
use crate::sample::{Sample, Value};
use crate::signal::SignalIndex;

/// Bits of a signal's number.
pub const INDEX_BITS: u32 = 6;
/// Chances of a signal's number.
pub const INDICES: usize = 1 << INDEX_BITS;
/// How far ahead of the first one expected the usual follower may be and still be taken for the
/// next, in fine ticks.
const TOGETHER: i32 = 4 * FINE;

/// One signal.
#[derive(Clone, Copy, Debug)]
struct State {
    values: Values,
    instants: Instants,
}

/// Everything, for up to `N` signals.
#[derive(Clone, Debug)]
pub struct Model<O, const N: usize> {
    odds: O,
    states: [State; N],
    /// What came after each signal.
    followers: [u8; N],
    clock: Clock,
    signals: u8,
    last: Option<u8>,
    /// Signals whose last value was a surprise.
    surprised: u8,
}

impl<O: Odds, const N: usize> Model<O, N> {
    const STATE: State = State { values: Values::START, instants: Instants::new(0, 0) };

    /// Nothing has come, and as much is known as the hints say.
    pub fn new(odds: O, hints: &Hints<'_>, signals: u8) -> Self {
        let mut model = Self {
            odds,
            states: [Self::STATE; N],
            followers: [0; N],
            clock: Clock::START,
            signals,
            last: None,
            surprised: 0,
        };
        model.begin(hints, signals);
        model
    }

    /// Begins anew, with so many signals.
    pub fn begin(&mut self, hints: &Hints<'_>, signals: u8) {
        // Hints may name a signal beyond those: nothing came of it.
        let beyond = usize::from(signals)..usize::from(self.signals).min(N);
        self.states.get_mut(beyond).unwrap_or_default().fill(Self::STATE);
        self.signals = signals;
        self.odds.begin(Levels::new(hints.levels, self.signals), self.signals);
        let states = self.states.iter_mut().zip(&mut self.followers);
        for (signal, (state, follower)) in (0..self.signals).zip(states) {
            let hint = hints.of(signal, self.signals);
            let instants = Instants::new(hint.interval, hint.period);
            *state = State { values: Values::START, instants };
            *follower = hint.follower;
        }
        self.clock = Clock::START;
        self.last = None;
        self.surprised = 0;
    }

    /// The odds as they are now, and of how many signals.
    pub fn odds(&self) -> (&O, u8) {
        (&self.odds, self.signals)
    }

    /// Which of its clocks the batch follows.
    pub fn choose<C: Coder>(&mut self, coder: &mut C, timing: Timing, best: u8) {
        self.clock.choose(coder, timing, best);
    }

    /// Codes a sample, and what stands beside it: whoever encodes so many steps may leave that out. A
    /// decoder does not look at the sample given, and writes over that.
    pub fn sample<C: Coder>(
        &mut self,
        coder: &mut C,
        hints: &Hints<'_>,
        sample: Sample,
        content: Option<&mut Content>,
    ) -> Result<Sample, CodecError> {
        let signal = self.signal(coder, hints, sample.signal.0);
        if signal >= self.signals {
            return Err(CodecError::UnknownSignal);
        }
        let tick = self.tick(coder, hints, signal, sample.tick);
        let (steps, mut escape) = exact::coded(sample.value);
        let steps = self.steps(coder, hints, signal, steps, &mut escape);
        self.last = Some(signal);
        let (tick, steps) =
            (tick.ok_or(CodecError::UnknownSignal)?, steps.ok_or(CodecError::UnknownSignal)?);
        let value = match escape {
            Escape::NONE => Value::Steps(steps),
            escape => exact::value(coder, escape, sample.value, content)?,
        };
        Ok(Sample { tick, signal: SignalIndex(signal), value })
    }

    fn signal<C: Coder>(&mut self, coder: &mut C, hints: &Hints<'_>, signal: u8) -> u8 {
        let last = usize::from(self.last.unwrap_or(0));
        let follower = match self.last {
            Some(_) => self.followers.get(last).copied().unwrap_or(0),
            None => 0,
        };
        let expected = match hints.timing {
            Timing::Any => self.earliest(follower),
            Timing::Sequence | Timing::Beats(_) => follower,
        };
        let (row, begin) = (Row(self.last.unwrap_or(0)), (hints.levels, self.signals));
        let mut talk = Talk { coder, odds: &mut self.odds, begin };
        let (followed, other) = (own::FOLLOWED, shared::OTHER);
        let coded = if !talk.bit(row, followed, followed, signal != expected) {
            expected
        } else if expected != follower && !talk.bit(Row::SHARED, other, other, signal != follower) {
            follower
        } else {
            index(&mut talk, signal)
        };
        if self.last.is_some()
            && let Some(follower) = self.followers.get_mut(last)
        {
            *follower = coded;
        }
        coded
    }

    /// The signal that is expected first, unless the usual follower is expected with it.
    fn earliest(&self, follower: u8) -> u8 {
        let follows = self.states.get(usize::from(follower)).map(|state| state.instants);
        let (mut first, mut earliest) = (i32::MAX, follower);
        for (signal, state) in (0..self.signals).zip(&self.states) {
            let expected = state.instants.expected_last();
            if expected < first {
                (first, earliest) = (expected, signal);
            }
        }
        let follows = follows.and_then(|instants| instants.expected());
        let together = follows.is_some_and(|at| at <= first.saturating_add(TOGETHER));
        if together { follower } else { earliest }
    }

    fn tick<C: Coder>(
        &mut self,
        coder: &mut C,
        hints: &Hints<'_>,
        signal: u8,
        tick: i64,
    ) -> Option<i64> {
        let at = usize::from(signal);
        let begin = (hints.levels, self.signals);
        let mut talk = Talk { coder, odds: &mut self.odds, begin };
        let instants = &mut self.states.get_mut(at)?.instants;
        let (tick, anew) = self.clock.tick(&mut talk, Row(signal), hints.timing, instants, tick);
        if anew {
            // What was known of the others counted from elsewhere.
            let others = self.states.iter_mut().enumerate().filter(|(other, _)| *other != at);
            others.for_each(|(_, state)| state.instants.forget());
        }
        Some(tick)
    }

    fn steps<C: Coder>(
        &mut self,
        coder: &mut C,
        hints: &Hints<'_>,
        signal: u8,
        steps: i64,
        escape: &mut Escape,
    ) -> Option<i64> {
        let hint = hints.of(signal, self.signals);
        let related =
            self.states.get(usize::from(hint.related)).map_or(Values::START, |state| state.values);
        let at = usize::from(signal);
        let begin = (hints.levels, self.signals);
        let mut talk = Talk { coder, odds: &mut self.odds, begin };
        let values = &mut self.states.get_mut(at)?.values;
        let stir = match self.surprised {
            0 => 0,
            1..=2 => 1,
            _ => 2,
        };
        let was = values.surprised();
        let steps = values.next(&mut talk, Row(signal), &hint, &related, stir, (steps, escape));
        match (was, values.surprised()) {
            (false, true) => self.surprised += 1,
            (true, false) => self.surprised -= 1,
            _ => {}
        }
        Some(steps)
    }
}

/// A signal's number, whichever it is.
fn index<C: Coder, O: Odds>(talk: &mut Talk<'_, C, O>, signal: u8) -> u8 {
    let mut node = 1;
    for shift in (0..INDEX_BITS).rev() {
        let place = shared::INDEX + node;
        let more = talk.bit(Row::SHARED, place, place, signal >> shift & 1 == 1);
        node = 2 * node + usize::from(more);
    }
    // Below 64.
    u8::try_from(node - INDICES).unwrap_or(u8::MAX)
}
