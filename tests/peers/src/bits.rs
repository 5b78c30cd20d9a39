//! A bit stream, highest bit first.

/// Bits, packed into bytes.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// The bits that do not fill a byte yet, from the top of it.
    open: u8,
    filled: u32,
}

impl BitWriter {
    /// The low `width` bits (at most 64) of a number.
    pub fn put(&mut self, value: u64, width: u32) {
        let mut left = width.min(64);
        while left > 0 {
            let take = left.min(8 - self.filled);
            left -= take;
            let [low, ..] = (value >> left).to_le_bytes();
            let part = low & (u8::MAX >> (8 - take));
            self.filled += take;
            self.open |= part << (8 - self.filled);
            if self.filled == 8 {
                self.bytes.push(self.open);
                self.open = 0;
                self.filled = 0;
            }
        }
    }

    /// The bytes, the last one filled up with zeros.
    pub fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.bytes.push(self.open);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_from_the_top() {
        let mut bits = BitWriter::default();
        bits.put(0b101, 3);
        bits.put(0b1_1111_0000, 9);
        bits.put(u64::MAX, 0);
        assert_eq!(bits.finish(), [0b1011_1111, 0b0000_0000]);
        let mut bits = BitWriter::default();
        bits.put(1, 1);
        bits.put(0x0123_4567_89ab_cdef, 64);
        assert_eq!(bits.finish(), [0x80, 0x91, 0xa2, 0xb3, 0xc4, 0xd5, 0xe6, 0xf7, 0x80]);
        assert!(BitWriter::default().finish().is_empty());
    }
}
