//! A bit that adapts: how likely it is 1, quick to learn at first, slower later.

/// Two bytes: a probability in 8192ths, and how much it has learnt, 0 to 7.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chance(u16);

/// Bits of what is learnt, below the probability.
const SEEN_BITS: u32 = 3;
const SEEN_MAX: u16 = (1 << SEEN_BITS) - 1;

/// By how much an outcome moves the probability, in 65536ths, after so many of them.
const RATES: [i32; 8] = [32_768, 21_845, 16_384, 10_923, 8_192, 5_461, 3_640, 2_048];

/// What a start table can say of a chance, in even steps of the log odds.
const STARTS: [Chance; 16] = [
    start(33),
    start(69),
    start(143),
    start(291),
    start(584),
    start(1_129),
    start(2_046),
    start(3_353),
    start(4_839),
    start(6_146),
    start(7_063),
    start(7_608),
    start(7_901),
    start(8_049),
    start(8_123),
    start(8_159),
];

/// To be learnt from at once.
const fn start(ones: u16) -> Chance {
    Chance::new(ones, 3)
}

impl Chance {
    /// Probabilities count in this many.
    pub const ONE: u16 = 8_192;
    /// As likely as not, and nothing learnt.
    pub const EVEN: Self = Self::new(Self::ONE / 2, 0);

    /// One that is 1 with this probability, and that has learnt so much.
    const fn new(ones: u16, seen: u16) -> Self {
        Self(ones << SEEN_BITS | seen)
    }

    /// What a start table says in four bits.
    #[inline]
    pub fn of_level(level: u8) -> Self {
        STARTS.get(usize::from(level & 15)).copied().unwrap_or(Self::EVEN)
    }

    /// The level next to a probability.
    pub fn level(ones: u16) -> u8 {
        let far = |level: &u8| Self::of_level(*level).ones().abs_diff(ones);
        (0..16).min_by_key(far).unwrap_or(8)
    }

    /// The probability of a 1, in 8192ths.
    pub const fn ones(self) -> u16 {
        self.0 >> SEEN_BITS
    }

    /// Learns from an outcome.
    ///
    /// A step is rounded towards the end that it goes to, but not the last ones: what seems certain
    /// costs little, and a surprise then not more than 11 bits.
    #[inline]
    pub fn learn(&mut self, bit: bool) {
        let seen = self.0 & SEEN_MAX;
        let rate = RATES.get(usize::from(seen)).copied().unwrap_or_default();
        let is_one = i32::from(bit).wrapping_neg();
        let (to, half) =
            (1 + (is_one & (i32::from(Self::ONE) - 2)), (1 << 13) + (is_one & 6 << 13));
        let ones = i32::from(self.ones());
        let ones = ones + (((to - ones) * rate + half) >> 16);
        // From 5 to 8188; and one more seen, but 7 stays.
        let more = i32::from(seen) + 1;
        let [low, high, ..] = (ones << SEEN_BITS | (more - (more >> SEEN_BITS))).to_le_bytes();
        *self = Self(u16::from_le_bytes([low, high]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_likely_as_not_is_a_half_and_goes_half_of_the_way_at_once() {
        assert_eq!(Chance::EVEN.ones(), 4096);
        let after = |bit| {
            let mut chance = Chance::EVEN;
            chance.learn(bit);
            chance.ones()
        };
        assert_eq!([after(false), after(true)], [2048, 6144]);
    }

    #[test]
    fn a_probability_is_said_by_the_level_next_to_it() {
        for level in 0..16 {
            assert_eq!(Chance::level(Chance::of_level(level).ones()), level);
        }
        let levels = [0, 51, 52, 4096, 4097, 8141, 8142, 8192].map(Chance::level);
        assert_eq!(levels, [0, 0, 1, 7, 8, 14, 15, 15]);
    }
}
