//! Chance from a seed: the same seed draws the same faults.

/// A small generator: `splitmix64`, by Steele, Lea and Flood (OOPSLA 2014), good enough to draw
/// faults and small enough to read.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// A generator that always draws the same.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from `range`; its start if it is empty.
    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        match range.end.checked_sub(range.start) {
            None | Some(0) => range.start,
            Some(width) => range.start + self.draw() % width,
        }
    }
}
