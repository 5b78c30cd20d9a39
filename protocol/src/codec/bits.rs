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
