//! What encoder and decoder know alike: which signal comes next, when, and with what value.

use super::chance::Chance;
use super::clock::{BEATS, Chances, Clock, FINE, Instants, TICKS};
use super::hints::{Hints, Timing};
use super::number::DIGITS;
use super::range::{Coder, bit};
use super::value::{FIRST, VALUES, Values};
use super::{CodecError, start};
use crate::sample::Sample;
use crate::signal::SignalIndex;

/// Bits of a signal's number.
pub const INDEX_BITS: u32 = 6;
const INDICES: usize = 1 << INDEX_BITS;
/// How far ahead of the first one expected the usual follower may be and still be taken for the
/// next, in fine ticks.
const TOGETHER: i32 = 4 * FINE;

/// Chances of a signal: whether the one expected follows it, whether it comes in the same instant as
/// the one before it, and its values.
pub const OWN: usize = 2 + VALUES;
const FOLLOWED: usize = 0;
const SAME: usize = 1;
const VALUE: usize = 2;
/// Chances that all signals share.
pub const SHARED: usize = 1 + INDICES + FIRST + DIGITS + BEATS + TICKS;

/// The chances that all signals share.
#[derive(Clone, Debug)]
struct Shared {
    /// Whether the usual follower is not it either.
    other: [Chance; 1],
    index: [Chance; INDICES],
    first: [Chance; FIRST],
    digits: [Chance; DIGITS],
    beats: [Chance; BEATS],
    ticks: [Chance; TICKS],
}

impl Shared {
    const EVEN: Self = Self {
        other: [Chance::EVEN; 1],
        index: [Chance::EVEN; INDICES],
        first: [Chance::EVEN; FIRST],
        digits: [Chance::EVEN; DIGITS],
        beats: [Chance::EVEN; BEATS],
        ticks: [Chance::EVEN; TICKS],
    };

    fn each(&mut self) -> impl Iterator<Item = &mut Chance> {
        let Self { other, index, first, digits, beats, ticks } = self;
        other.iter_mut().chain(index).chain(first).chain(digits).chain(beats).chain(ticks)
    }
}

/// One signal.
#[derive(Clone, Copy, Debug)]
struct State {
    values: Values,
    instants: Instants,
}

/// Everything, for up to `N` signals.
#[derive(Clone, Debug)]
pub struct Model<const N: usize> {
    own: [[Chance; OWN]; N],
    shared: Shared,
    states: [State; N],
    /// What came after each signal.
    followers: [u8; N],
    clock: Clock,
    signals: u8,
    last: Option<u8>,
    /// Signals whose last value was a surprise.
    surprised: u8,
}

impl<const N: usize> Model<N> {
    const STATE: State = State { values: Values::START, instants: Instants::new(0, 0) };

    /// Nothing has come, and as much is known as the hints say.
    pub fn new(hints: &Hints<'_>, signals: u8) -> Self {
        let mut model = Self {
            own: [[Chance::EVEN; OWN]; N],
            shared: Shared::EVEN,
            states: [Self::STATE; N],
            followers: [0; N],
            clock: Clock::START,
            signals,
            last: None,
            surprised: 0,
        };
        model.begin(hints);
        model
    }

    /// Begins anew.
    pub fn begin(&mut self, hints: &Hints<'_>) {
        let mut levels = start::levels(hints.levels, usize::from(self.signals));
        for chance in self.shared.each() {
            *chance = Chance::of_level(levels.shared());
        }
        for (signal, own) in (0..self.signals).zip(&mut self.own) {
            for (at, chance) in own.iter_mut().enumerate() {
                *chance = Chance::of_level(levels.own(usize::from(signal), at));
            }
        }
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

    /// All chances, shared ones first.
    pub fn chances(&mut self) -> impl Iterator<Item = Chance> {
        let own = self.own.iter().take(usize::from(self.signals)).flatten();
        self.shared.each().map(|chance| *chance).chain(own.copied())
    }

    /// Which of its clocks the batch follows.
    pub fn choose<C: Coder>(&mut self, coder: &mut C, hints: &Hints<'_>, best: u8) {
        self.clock.choose(coder, hints.timing, best);
    }

    /// Codes a sample; a decoder does not look at the one given.
    pub fn sample<C: Coder>(
        &mut self,
        coder: &mut C,
        hints: &Hints<'_>,
        sample: Sample,
    ) -> Result<Sample, CodecError> {
        let signal = self.signal(coder, hints.timing, sample.signal.0);
        if signal >= self.signals {
            return Err(CodecError::UnknownSignal);
        }
        let tick = self.tick(coder, hints.timing, signal, sample.tick);
        let raw = self.value(coder, hints, signal, sample.raw);
        self.last = Some(signal);
        let (tick, raw) =
            (tick.ok_or(CodecError::UnknownSignal)?, raw.ok_or(CodecError::UnknownSignal)?);
        Ok(Sample { tick, signal: SignalIndex(signal), raw })
    }

    fn signal<C: Coder>(&mut self, coder: &mut C, timing: Timing, signal: u8) -> u8 {
        let last = usize::from(self.last.unwrap_or(0));
        let follower = match self.last {
            Some(_) => self.followers.get(last).copied().unwrap_or(0),
            None => 0,
        };
        let expected = match timing {
            Timing::Any => self.earliest(follower),
            Timing::Sequence | Timing::Beats(_) => follower,
        };
        let own = self.own.get_mut(last).map_or(&mut [][..], |own| &mut own[..]);
        let coded = if !bit(coder, own, FOLLOWED, FOLLOWED, signal != expected) {
            expected
        } else if expected != follower
            && !bit(coder, &mut self.shared.other, 0, 0, signal != follower)
        {
            follower
        } else {
            self.index(coder, signal)
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
        let mut earliest: Option<(i32, u8)> = None;
        for (signal, state) in (0..self.signals).zip(&self.states) {
            if let Some(at) = state.instants.expected()
                && earliest.is_none_or(|(first, _)| at < first)
            {
                earliest = Some((at, signal));
            }
        }
        let Some((first, signal)) = earliest else { return follower };
        let follows =
            self.states.get(usize::from(follower)).and_then(|state| state.instants.expected());
        let together = follows.is_some_and(|at| at <= first.saturating_add(TOGETHER));
        if together { follower } else { signal }
    }

    fn index<C: Coder>(&mut self, coder: &mut C, signal: u8) -> u8 {
        let mut node = 1;
        for shift in (0..INDEX_BITS).rev() {
            let more = bit(coder, &mut self.shared.index, node, node, signal >> shift & 1 == 1);
            node = 2 * node + usize::from(more);
        }
        // Below 64.
        u8::try_from(node - INDICES).unwrap_or(u8::MAX)
    }

    fn tick<C: Coder>(
        &mut self,
        coder: &mut C,
        timing: Timing,
        signal: u8,
        tick: i64,
    ) -> Option<i64> {
        let at = usize::from(signal);
        let Shared { ticks, beats, digits, .. } = &mut self.shared;
        let same = self.own.get_mut(at)?.get_mut(SAME..=SAME)?;
        let instants = &mut self.states.get_mut(at)?.instants;
        let chances = Chances { ticks, beats, digits, same };
        let (tick, anew) = self.clock.tick(coder, timing, instants, chances, tick);
        if anew {
            // What was known of the others counted from elsewhere.
            let others = self.states.iter_mut().enumerate().filter(|(other, _)| *other != at);
            others.for_each(|(_, state)| state.instants.forget());
        }
        Some(tick)
    }

    fn value<C: Coder>(
        &mut self,
        coder: &mut C,
        hints: &Hints<'_>,
        signal: u8,
        raw: i64,
    ) -> Option<i64> {
        let hint = hints.of(signal, self.signals);
        let related =
            self.states.get(usize::from(hint.related)).map_or(Values::START, |state| state.values);
        let at = usize::from(signal);
        let Shared { first, digits, .. } = &mut self.shared;
        let own = self.own.get_mut(at)?.get_mut(VALUE..)?;
        let values = &mut self.states.get_mut(at)?.values;
        let stir = match self.surprised {
            0 => 0,
            1..=2 => 1,
            _ => 2,
        };
        let was = values.surprised();
        let raw = values.next(coder, &hint, &related, stir, (own, first, digits), raw);
        match (was, values.surprised()) {
            (false, true) => self.surprised += 1,
            (true, false) => self.surprised -= 1,
            _ => {}
        }
        Some(raw)
    }
}
