//! Bits from bytes, the highest first.

use super::CodecError;

/// Reads what [`BitWriter`] wrote.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    from: &'a [u8],
    pending: u64,
    pending_bits: u32,
}

impl<'a> BitReader<'a> {
    pub fn new(from: &'a [u8]) -> Self {
        Self { from, pending: 0, pending_bits: 0 }
    }

    /// The next `bits` bits, at most 32.
    pub fn take(&mut self, bits: u32) -> Result<u32, CodecError> {
        debug_assert!(bits <= 32);
        if self.pending_bits < bits {
            self.fill();
            if self.pending_bits < bits {
                return Err(CodecError::Truncated);
            }
        }
        self.pending_bits -= bits;
        let value = (self.pending >> self.pending_bits) & ((1_u64 << bits) - 1);
        u32::try_from(value).map_err(|_| CodecError::Malformed)
    }

    /// Counts one bits up to the first zero, which is taken too; at most `max` ones, after which no
    /// zero follows.
    pub fn ones(&mut self, max: u32) -> Result<u32, CodecError> {
        self.fill();
        let aligned = self.pending << (64 - self.pending_bits.max(1));
        let ones = aligned.leading_ones();
        if self.pending_bits > 0 && ones < self.pending_bits && ones < max {
            self.pending_bits -= ones + 1;
            return Ok(ones);
        }
        let mut count = 0;
        while count < max && self.take(1)? == 1 {
            count += 1;
        }
        Ok(count)
    }

    fn fill(&mut self) {
        while self.pending_bits <= 56 {
            let Some((byte, rest)) = self.from.split_first() else { break };
            self.pending = (self.pending << 8) | u64::from(*byte);
            self.pending_bits += 8;
            self.from = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_up_to_the_last_one_and_no_further() {
        let mut bits = BitReader::new(&[0b1010_0001, 0xff]);
        assert_eq!([bits.take(3), bits.take(5), bits.take(0)], [Ok(5), Ok(1), Ok(0)]);
        assert_eq!(bits.take(8), Ok(255));
        assert_eq!([bits.take(0), bits.take(1)], [Ok(0), Err(CodecError::Truncated)]);
        assert_eq!(BitReader::new(&[0xa1]).take(8), Ok(0xa1));
        let mut bits = BitReader::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!([bits.take(32), bits.take(32)], [Ok(0x0102_0304), Ok(0x0506_0708)]);
        assert_eq!([bits.take(17), bits.take(16)], [Err(CodecError::Truncated), Ok(0x090a)]);
    }

    #[test]
    fn ones_are_counted_up_to_a_zero_or_as_many_as_may_be() {
        let mut bits = BitReader::new(&[0b1101_1111, 0xff, 0xff, 0xff, 0xff, 0b1011_1111]);
        assert_eq!([bits.ones(24), bits.ones(24)], [Ok(2), Ok(24)], "then no zero follows");
        assert_eq!([bits.ones(14), bits.ones(14)], [Ok(14), Ok(0)]);
        assert_eq!(bits.ones(24), Err(CodecError::Truncated), "six, and no zero");
        assert_eq!(BitReader::new(&[0xff]).ones(8), Ok(8));
        assert_eq!(BitReader::new(&[0xff]).ones(9), Err(CodecError::Truncated));
        assert_eq!(BitReader::new(&[]).ones(1), Err(CodecError::Truncated));
    }
}
