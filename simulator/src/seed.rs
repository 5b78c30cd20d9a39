//! Chance from a seed: the same numbers on every machine, for ever.

/// `SplitMix64` (Steele, Lea, Flood, 2014): one word of state, every seed as good as any.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// Starts from a seed and a salt; other salts give unrelated numbers.
    pub fn new(seed: u64, salt: u64) -> Self {
        let mut mixed = Self(seed);
        let drawn = mixed.draw();
        Self(drawn ^ salt.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `low..=high`; `low` if the range is upside down.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let drawn = self.draw();
        let Some(span) = high.checked_sub(low).and_then(|span| u64::try_from(span).ok()) else {
            return low;
        };
        let offset = drawn.checked_rem(span.saturating_add(1)).unwrap_or_default();
        low.saturating_add(i64::try_from(offset).unwrap_or_default())
    }

    /// Whether something that happens once in `n` times happens now.
    pub fn once_in(&mut self, n: i64) -> bool {
        self.between(1, n) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_numbers() {
        let mut seeded = Seeded(0);
        // Reference values of SplitMix64 from state 0.
        assert_eq!(seeded.draw(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(seeded.draw(), 0x6e78_9e6a_a1b9_65f4);
        assert_ne!(Seeded::new(1, 0).draw(), Seeded::new(1, 1).draw());
        assert_ne!(Seeded::new(1, 0).draw(), Seeded::new(2, 0).draw());
    }

    #[test]
    fn ranges_hold_both_ends() {
        let mut seeded = Seeded::new(7, 0);
        let drawn: std::collections::BTreeSet<_> =
            (0..200).map(|_| seeded.between(-1, 1)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [-1, 0, 1]);
        assert_eq!(seeded.between(3, 2), 3);
    }
}
