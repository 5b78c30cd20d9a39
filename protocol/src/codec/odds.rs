//! How likely each decision is: learnt as it goes, or as a start table says for good.

use super::Coding;
use super::chance::Chance;
use super::range::Coder;
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
    /// Of a batch's first tick: whether it has not as many bits as milliseconds since 1970, and
    /// not as many as seconds.
    pub const EPOCH: usize = TICKS + TICK_CHANCES;
    /// All of them.
    pub const COUNT: usize = EPOCH + 2;
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

    /// Those of a row.
    type Row<'a>: RowOdds
    where
        Self: 'a;

    /// They begin as a start table says, for so many signals.
    fn begin(&mut self, levels: Levels<'_>, signals: u8);

    /// A row of them; those of so many signals began as the table says.
    fn row<'a>(&'a mut self, begin: (&'a [u8], u8), row: Row) -> Self::Row<'a>;
}

/// The odds of a row's decisions.
pub trait RowOdds {
    /// A bit by the mean of two estimates, which both learn from it.
    fn bit<C: Coder>(&mut self, coder: &mut C, a: usize, b: usize, bit: bool) -> bool;
}

/// Odds that are learnt, of up to `N` signals.
#[derive(Clone, Debug)]
pub struct Learning<const N: usize> {
    shared: [Chance; shared::COUNT],
    own: [[Chance; own::COUNT]; N],
}

impl<const N: usize> Learning<N> {
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

    type Row<'a> = &'a mut [Chance];

    fn begin(&mut self, levels: Levels<'_>, signals: u8) {
        levels.start(Row::SHARED, &mut self.shared);
        for (signal, own) in (0..signals).zip(&mut self.own) {
            levels.start(Row(signal), own);
        }
    }

    #[inline]
    fn row<'a>(&'a mut self, _: (&'a [u8], u8), row: Row) -> Self::Row<'a> {
        if row == Row::SHARED {
            return &mut self.shared;
        }
        self.own.get_mut(usize::from(row.0)).map_or(&mut [], |own| own)
    }
}

impl RowOdds for &mut [Chance] {
    // 1.3 KiB of a microcontroller's flash for 6 % of its instructions.
    #[allow(clippy::inline_always, reason = "the coder's inmost step, once a bit")]
    #[inline(always)]
    fn bit<C: Coder>(&mut self, coder: &mut C, a: usize, b: usize, bit: bool) -> bool {
        let (Some(one), Some(other)) = (self.get(a), self.get(b)) else {
            return coder.bit(u32::from(Chance::ONE), bit);
        };
        let bit = coder.bit(u32::from(one.ones()) + u32::from(other.ones()), bit);
        if let Some(chance) = self.get_mut(a) {
            chance.learn(bit);
        }
        if a != b
            && let Some(chance) = self.get_mut(b)
        {
            chance.learn(bit);
        }
        bit
    }
}

/// Odds that stay as the start table says, and so take no memory: for batches of a few samples, which
/// teach little.
#[derive(Clone, Copy, Debug, Default)]
pub struct Still;

/// A row of them.
#[derive(Clone, Copy, Debug)]
pub struct StillRow<'a>(Levels<'a>, Row);

impl Odds for Still {
    const CODING: Coding = Coding::Still;

    type Row<'a> = StillRow<'a>;

    fn begin(&mut self, _: Levels<'_>, _: u8) {}

    fn row<'a>(&'a mut self, (table, signals): (&'a [u8], u8), row: Row) -> Self::Row<'a> {
        StillRow(Levels::new(table, signals), row)
    }
}

impl RowOdds for StillRow<'_> {
    fn bit<C: Coder>(&mut self, coder: &mut C, a: usize, b: usize, bit: bool) -> bool {
        let Self(levels, row) = *self;
        let ones = |at| u32::from(Chance::of_level(levels.level(row, at)).ones());
        coder.bit(ones(a) + ones(b), bit)
    }
}

/// A coder with the odds of what it codes.
#[derive(Debug)]
pub struct Talk<'a, C, O> {
    /// Encodes, or decodes.
    pub coder: &'a mut C,
    /// How likely what is.
    pub odds: &'a mut O,
    /// Where the odds began: the start table, and of how many signals.
    pub begin: (&'a [u8], u8),
}

impl<C: Coder, O: Odds> Talk<'_, C, O> {
    /// The coder, and the odds of a row.
    #[inline]
    pub fn row(&mut self, row: Row) -> (&mut C, O::Row<'_>) {
        (self.coder, self.odds.row(self.begin, row))
    }

    /// A bit by the mean of two estimates of one row, which both learn from it.
    #[inline]
    pub fn bit(&mut self, row: Row, a: usize, b: usize, bit: bool) -> bool {
        let (coder, mut odds) = self.row(row);
        odds.bit(coder, a, b, bit)
    }

    /// The low `bits` of a number, each as likely 0 as 1.
    #[inline]
    pub fn flat(&mut self, value: u64, bits: u32) -> u64 {
        self.coder.flat(value, bits)
    }
}
