//! Bits into bytes, high bits first.

use super::{CodecError, Full};

/// Writes bits to the front of a buffer that is handed in at each call, so that its owner can move.
#[derive(Clone, Debug, Default)]
pub struct BitWriter {
    /// Whole bytes written.
    len: usize,
    /// Bits not yet written, in the low end.
    pending: u64,
    /// How many; below 8 between calls.
    pending_bits: u32,
}

impl BitWriter {
    /// Appends the low `bits` of `value`; at most 32 at a time.
    pub fn put(&mut self, into: &mut [u8], value: u32, bits: u32) -> Result<(), Full> {
        debug_assert!(bits <= 32);
        let masked = u64::from(value) & ((1_u64 << bits) - 1);
        self.pending = (self.pending << bits) | masked;
        self.pending_bits += bits;
        while self.pending_bits >= 8 {
            self.pending_bits -= 8;
            let byte = (self.pending >> self.pending_bits).to_le_bytes()[0];
            *into.get_mut(self.len).ok_or(Full)? = byte;
            self.len += 1;
        }
        Ok(())
    }

    /// Pads the last byte with zeros; the length in bytes.
    pub fn finish(&mut self, into: &mut [u8]) -> Result<usize, Full> {
        if self.pending_bits > 0 {
            self.put(into, 0, 8 - self.pending_bits)?;
        }
        Ok(self.len)
    }

    /// The length in bytes if it were finished now.
    pub fn len(&self) -> usize {
        self.len + usize::from(self.pending_bits > 0)
    }
}

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
