//! A binary arithmetic coder with adaptive bits: integers only, the same on every machine.
//!
//! The coder keeps an interval of 32-bit numbers and splits it, for each bit, in proportion to the
//! bit's probability; leading bytes that both ends share are written. It has no carries to undo, so
//! encoder and decoder are a few lines each. What it writes ends where the rest would be zeros: the
//! decoder reads zeros behind the end.

/// Bits of a probability.
const SCALE: u32 = 16;

/// A bit that adapts: how often it was 1, quick to learn at first, slower later.
#[derive(Clone, Copy, Debug)]
pub struct Bit {
    ones: u16,
    seen: u8,
}

/// Outcomes after which a bit learns no slower.
const SEEN_MAX: u8 = 60;

/// By how much an outcome moves the estimate, in 65536ths, after so many of them.
#[allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler, which would say so"
)]
const RATES: [u16; SEEN_MAX as usize + 1] = {
    let mut rates = [0; SEEN_MAX as usize + 1];
    let mut seen = 0;
    while seen < rates.len() {
        // 1 / (seen + 1.6)
        rates[seen] = (655_360 / (10 * seen + 16)) as u16;
        seen += 1;
    }
    rates
};

impl Bit {
    pub const EVEN: Self = Self { ones: 1 << 15, seen: 0 };

    #[inline]
    fn probability(self) -> u32 {
        // Never 0 nor 65536: both outcomes keep a part of the interval.
        u32::from(self.ones).clamp(32, (1 << SCALE) - 32)
    }

    #[inline]
    fn learn(&mut self, bit: bool) {
        let rate = RATES.get(usize::from(self.seen)).copied().unwrap_or_default();
        let gap = if bit { u16::MAX - self.ones } else { self.ones };
        let [_, _, low, high] = (u32::from(gap) * u32::from(rate)).to_le_bytes();
        let step = u16::from_le_bytes([low, high]);
        self.ones = if bit { self.ones + step } else { self.ones - step };
        self.seen = (self.seen + 1).min(SEEN_MAX);
    }
}

/// Where the interval is split: ones take what is up to it.
fn split(low: u32, high: u32, probability: u32) -> u32 {
    let part = (u64::from(high - low) * u64::from(probability)) >> SCALE;
    // At most `high - low`, which is below 2^32.
    low + u32::try_from(part).unwrap_or(u32::MAX)
}

const fn share_first_byte(low: u32, high: u32) -> bool {
    (low ^ high) < 1 << 24
}

/// Appends to a vector.
#[derive(Debug)]
pub struct Encoder {
    low: u32,
    high: u32,
}

impl Encoder {
    pub const fn new() -> Self {
        Self { low: 0, high: u32::MAX }
    }

    /// One bit, by its own estimate.
    #[inline]
    pub fn bit(&mut self, out: &mut Vec<u8>, model: &mut Bit, bit: bool) {
        self.put(out, model.probability(), bit);
        model.learn(bit);
    }

    /// The low `bits` of a number, each as likely 0 as 1.
    #[inline]
    pub fn flat(&mut self, out: &mut Vec<u8>, value: u64, bits: u32) {
        for at in (0..bits).rev() {
            self.put(out, 1 << (SCALE - 1), value >> at & 1 == 1);
        }
    }

    #[inline]
    fn put(&mut self, out: &mut Vec<u8>, probability: u32, bit: bool) {
        let middle = split(self.low, self.high, probability);
        if bit {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
        while share_first_byte(self.low, self.high) {
            let [first, ..] = self.high.to_be_bytes();
            out.push(first);
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
        }
    }

    /// Ends it: the shortest bytes that lie in the interval, zeros behind them left out.
    pub fn finish(self, out: &mut Vec<u8>, start: usize) {
        if self.low > 0 {
            // One byte nearly always does: the ends differ in the first.
            for kept in 1..=4_u32 {
                let mask = u32::MAX.checked_shr(8 * kept).unwrap_or(0);
                let candidate = self.low.saturating_add(mask) & !mask;
                if candidate >= self.low && candidate <= self.high {
                    out.extend(candidate.to_be_bytes().iter().take(kept as usize));
                    break;
                }
            }
        }
        while out.len() > start && out.last() == Some(&0) {
            out.pop();
        }
    }
}

/// Reads what [`Encoder`] wrote. Any bytes decode to something, for ever: how much there is, and
/// whether it makes sense, is for the caller to know.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    low: u32,
    high: u32,
    code: u32,
    from: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub fn new(from: &'a [u8]) -> Self {
        let mut decoder = Self { low: 0, high: u32::MAX, code: 0, from };
        for _ in 0..4 {
            decoder.shift();
        }
        decoder
    }

    #[inline]
    pub fn bit(&mut self, model: &mut Bit) -> bool {
        let bit = self.take(model.probability());
        model.learn(bit);
        bit
    }

    #[inline]
    pub fn flat(&mut self, bits: u32) -> u64 {
        (0..bits).fold(0, |value, _| value << 1 | u64::from(self.take(1 << (SCALE - 1))))
    }

    #[inline]
    fn take(&mut self, probability: u32) -> bool {
        let middle = split(self.low, self.high, probability);
        let bit = self.code <= middle;
        if bit {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
        while share_first_byte(self.low, self.high) {
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
            self.shift();
        }
        bit
    }

    #[inline]
    fn shift(&mut self) {
        let (byte, rest) = self.from.split_first().unwrap_or((&0, &[]));
        self.from = rest;
        self.code = self.code << 8 | u32::from(*byte);
    }
}
