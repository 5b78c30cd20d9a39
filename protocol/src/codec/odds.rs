//! How likely each decision is: learnt as it goes, or as a start table says for good.

use super::Coding;
use super::chance::Chance;
use super::start::Levels;

/// Decisions about one signal, or those that all signals share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row(pub u8);

impl Row {
    /// What all share. No signal has this number.
    pub const SHARED: Self = Self(u8::MAX);
}

/// Places in the shared row.
pub mod shared {
    use super::super::clock::{BEAT_CHANCES, TICK_CHANCES};
    use super::super::model::INDICES;
    use super::super::number::DIGIT_CHANCES;
    use super::super::value::FIRST_CHANCES;

    /// Whether the usual follower is not it either.
    pub const OTHER: usize = 0;
    /// Which signal it is, by the bits before.
    pub const INDEX: usize = 1;
    /// First values.
    pub const FIRST: usize = INDEX + INDICES;
    /// The first bits of numbers.
    pub const DIGITS: usize = FIRST + FIRST_CHANCES;
    /// How many beats have passed.
    pub const BEATS: usize = DIGITS + DIGIT_CHANCES;
    /// How far off an instant is.
    pub const TICKS: usize = BEATS + BEAT_CHANCES;
    /// All of them.
    pub const COUNT: usize = TICKS + TICK_CHANCES;
}

/// Places in a signal's row.
pub mod own {
    use super::super::value::VALUE_CHANCES;

    /// Whether another signal than the one expected follows it.
    pub const FOLLOWED: usize = 0;
    /// Whether it is not of the same instant as the sample before it.
    pub const SAME: usize = 1;
    /// Its values.
    pub const VALUE: usize = 2;
    /// All of them.
    pub const COUNT: usize = VALUE + VALUE_CHANCES;
}

/// The odds of all decisions.
pub trait Odds {
    /// What a frame says of them.
    const CODING: Coding;

    /// They begin as a start table says, for so many signals.
    fn begin(&mut self, levels: Levels<'_>, signals: u8);

    /// How likely a 1 is, in 8192ths.
    fn ones(&self, levels: Levels<'_>, row: Row, at: usize) -> u16;

    /// What it was.
    fn learn(&mut self, row: Row, at: usize, bit: bool);
}

/// Odds that are learnt, of up to `N` signals.
#[derive(Clone, Debug)]
pub struct Learning<const N: usize> {
    shared: [Chance; shared::COUNT],
    own: [[Chance; own::COUNT]; N],
}

impl<const N: usize> Learning<N> {
    fn row(&self, row: Row) -> &[Chance] {
        if row == Row::SHARED {
            return &self.shared;
        }
        self.own.get(usize::from(row.0)).map_or(&[], |own| own)
    }

    /// All of them, of so many signals, as a start table has them.
    pub fn all(&self, signals: u8) -> impl Iterator<Item = Chance> {
        self.shared.iter().chain(self.own.iter().take(usize::from(signals)).flatten()).copied()
    }
}

impl<const N: usize> Default for Learning<N> {
    fn default() -> Self {
        Self { shared: [Chance::EVEN; shared::COUNT], own: [[Chance::EVEN; own::COUNT]; N] }
    }
}

impl<const N: usize> Odds for Learning<N> {
    const CODING: Coding = Coding::Learning;

    fn begin(&mut self, levels: Levels<'_>, signals: u8) {
        for (at, chance) in self.shared.iter_mut().enumerate() {
            *chance = Chance::of_level(levels.level(Row::SHARED, at));
        }
        for (signal, own) in (0..signals).zip(&mut self.own) {
            for (at, chance) in own.iter_mut().enumerate() {
                *chance = Chance::of_level(levels.level(Row(signal), at));
            }
        }
    }

    #[inline]
    fn ones(&self, _: Levels<'_>, row: Row, at: usize) -> u16 {
        self.row(row).get(at).map_or(Chance::ONE / 2, |chance| chance.ones())
    }

    #[inline]
    fn learn(&mut self, row: Row, at: usize, bit: bool) {
        let chance = if row == Row::SHARED {
            self.shared.get_mut(at)
        } else {
            self.own.get_mut(usize::from(row.0)).and_then(|own| own.get_mut(at))
        };
        if let Some(chance) = chance {
            chance.learn(bit);
        }
    }
}

/// Odds that stay as the start table says, and so take no memory: for batches of a few samples, which
/// teach little.
#[derive(Clone, Copy, Debug, Default)]
pub struct Still;

impl Odds for Still {
    const CODING: Coding = Coding::Still;

    fn begin(&mut self, _: Levels<'_>, _: u8) {}

    #[inline]
    fn ones(&self, levels: Levels<'_>, row: Row, at: usize) -> u16 {
        Chance::of_level(levels.level(row, at)).ones()
    }

    fn learn(&mut self, _: Row, _: usize, _: bool) {}
}

/// Either of them, as a frame says: for a decoder.
#[derive(Clone, Debug)]
pub struct Either<const N: usize> {
    learning: Learning<N>,
    is_still: bool,
}

impl<const N: usize> Either<N> {
    /// Odds that are learnt, or that stay.
    pub fn new(is_still: bool) -> Self {
        Self { learning: Learning::default(), is_still }
    }
}

impl<const N: usize> Odds for Either<N> {
    const CODING: Coding = Coding::Learning;

    fn begin(&mut self, levels: Levels<'_>, signals: u8) {
        self.learning.begin(levels, signals);
    }

    #[inline]
    fn ones(&self, levels: Levels<'_>, row: Row, at: usize) -> u16 {
        self.learning.ones(levels, row, at)
    }

    #[inline]
    fn learn(&mut self, row: Row, at: usize, bit: bool) {
        if !self.is_still {
            self.learning.learn(row, at, bit);
        }
    }
}

/// A coder with the odds of what it codes.
#[derive(Debug)]
pub struct Talk<'a, C, O> {
    /// Encodes, or decodes.
    pub coder: &'a mut C,
    /// How likely what is.
    pub odds: &'a mut O,
    /// Where the odds began.
    pub levels: Levels<'a>,
}

impl<C: super::range::Coder, O: Odds> Talk<'_, C, O> {
    /// A bit by the mean of two estimates of one row, which both learn from it.
    #[inline]
    pub fn bit(&mut self, row: Row, a: usize, b: usize, bit: bool) -> bool {
        let Self { coder, odds, levels } = self;
        let ones = u32::from(odds.ones(*levels, row, a)) + u32::from(odds.ones(*levels, row, b));
        let bit = coder.bit(ones, bit);
        odds.learn(row, a, bit);
        if a != b {
            odds.learn(row, b, bit);
        }
        bit
    }

    /// The low `bits` of a number, each as likely 0 as 1.
    #[inline]
    pub fn flat(&mut self, value: u64, bits: u32) -> u64 {
        self.coder.flat(value, bits)
    }
}
