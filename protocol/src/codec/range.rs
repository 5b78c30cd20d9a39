//! A binary range coder: each bit takes a part of an interval in proportion to its probability.
//!
//! 32-bit integers, one multiplication a bit, no division. What is written ends where the rest would
//! be zeros, and the decoder reads zeros behind the end: any bytes decode to something, for ever.

use super::Full;

/// Encodes, or decodes: what the model does is the same.
pub trait Coder {
    /// Whether what is coded is known before.
    const ENCODES: bool;

    /// A bit that is 1 with a probability of `ones` in 2^14, 0 < `ones` < 2^14. A decoder does not
    /// look at `bit`, and says what it was.
    fn bit(&mut self, ones: u32, bit: bool) -> bool;

    /// The low `bits` of a number, each as likely 0 as 1.
    #[inline(never)]
    fn flat(&mut self, value: u64, bits: u32) -> u64 {
        // The next bit is the highest: to look for it anywhere takes a 32-bit processor ten times as long.
        let mut rest = value.rotate_right(bits);
        let mut coded = 0;
        for _ in 0..bits {
            let bit = self.bit(1 << 13, rest >> 63 == 1);
            rest <<= 1;
            coded = coded << 1 | u64::from(bit);
        }
        coded
    }
}

/// The interval is kept at least this wide.
const WIDTH_MIN: u32 = 1 << 24;

/// Where an encoder is in its buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    low: u32,
    width: u32,
    len: usize,
}

impl Interval {
    /// Nothing is written.
    pub const START: Self = Self { low: 0, width: u32::MAX, len: 0 };

    /// Bytes written.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Writes into a buffer, the same one all through.
    pub const fn writer<'a>(&'a mut self, into: &'a mut [u8]) -> Writer<'a> {
        Writer { at: self, into }
    }

    /// Ends it: the shortest number in the interval, zeros behind it left out; how many bytes there
    /// are in all.
    pub fn finish(mut self, into: &mut [u8]) -> Result<usize, Full> {
        // The interval is wide enough for one that ends with its first byte.
        let (number, carries) = self.low.overflowing_add(WIDTH_MIN - 1);
        let [first, ..] = number.to_be_bytes();
        let mut writer = self.writer(into);
        if carries {
            writer.carry();
        }
        *writer.into.get_mut(writer.at.len).ok_or(Full)? = first;
        let written = into.get(..=self.len).ok_or(Full)?;
        Ok(written.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1))
    }
}

/// Encodes into a buffer. What does not fit is dropped: whoever pushes looks first.
#[derive(Debug)]
pub struct Writer<'a> {
    at: &'a mut Interval,
    into: &'a mut [u8],
}

impl Writer<'_> {
    /// One more in what is written.
    fn carry(&mut self) {
        for byte in self.into.iter_mut().take(self.at.len).rev() {
            let (more, carries) = byte.overflowing_add(1);
            *byte = more;
            if !carries {
                break;
            }
        }
    }
}

impl Coder for Writer<'_> {
    const ENCODES: bool = true;

    #[inline]
    fn bit(&mut self, ones: u32, bit: bool) -> bool {
        let part = (self.at.width >> 14) * ones;
        if bit {
            self.at.width = part;
        } else {
            let (low, carries) = self.at.low.overflowing_add(part);
            self.at.low = low;
            self.at.width -= part;
            if carries {
                self.carry();
            }
        }
        while self.at.width < WIDTH_MIN {
            let [first, ..] = self.at.low.to_be_bytes();
            if let Some(slot) = self.into.get_mut(self.at.len) {
                *slot = first;
            }
            self.at.len += 1;
            self.at.low <<= 8;
            self.at.width <<= 8;
        }
        bit
    }
}

/// Decodes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    from: &'a [u8],
    width: u32,
    code: u32,
}

impl<'a> Reader<'a> {
    /// From the first byte.
    pub fn new(from: &'a [u8]) -> Self {
        let mut reader = Self { from, width: u32::MAX, code: 0 };
        for _ in 0..4 {
            reader.shift();
        }
        reader
    }

    #[inline]
    fn shift(&mut self) {
        let next = match self.from.split_first() {
            Some((next, rest)) => {
                self.from = rest;
                *next
            }
            None => 0,
        };
        self.code = self.code << 8 | u32::from(next);
    }
}

impl Coder for Reader<'_> {
    const ENCODES: bool = false;

    #[inline]
    fn bit(&mut self, ones: u32, _: bool) -> bool {
        let part = (self.width >> 14) * ones;
        // Nobody can tell beforehand which it is, a processor neither: no branch.
        let bit = self.code < part;
        let is_one = u32::from(bit).wrapping_neg();
        self.code -= part & !is_one;
        self.width = part & is_one | (self.width - part) & !is_one;
        while self.width < WIDTH_MIN {
            self.shift();
            self.width <<= 8;
        }
        bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes bits, all of them as likely.
    fn coded(bits: &[bool]) -> std::vec::Vec<u8> {
        let (mut at, mut into) = (Interval::START, [0xaa; 8]);
        for bit in bits {
            at.writer(&mut into).bit(1 << 13, *bit);
        }
        let len = at.finish(&mut into).unwrap();
        into[..len].to_vec()
    }

    #[test]
    fn an_interval_ends_with_the_shortest_number_in_it() {
        assert_eq!(coded(&[]), []);
        assert_eq!(coded(&[true; 5]), [], "from zero on");
        assert_eq!(coded(&[false]), [0x80]);
        assert_eq!(coded(&[true, false]), [0x40]);
        assert_eq!(coded(&[false; 3]), [0xe0]);
    }
}
