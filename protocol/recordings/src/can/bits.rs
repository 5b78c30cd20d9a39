//! Bits of a frame to an integer, in both byte orders of a DBC.

/// Where a value lies in a frame, as a DBC states it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Bit number in the DBC's counting: `byte * 8 + bit`, bit 0 the least of its byte. The least
    /// bit of a little-endian value, the greatest of a big-endian one.
    pub start: u32,
    /// How many bits, 1 to 64.
    pub len: u32,
    /// Motorola order: on from the greatest bit, downwards in a byte, then the next byte's bit 7.
    pub big_endian: bool,
    /// Two's complement.
    pub signed: bool,
}

impl Field {
    /// The bits as an unsigned number; nothing if the frame is too short for them.
    pub fn bits(&self, data: &[u8]) -> Option<u64> {
        if self.len == 0 || self.len > 64 {
            return None;
        }
        let mut value = 0_u64;
        if self.big_endian {
            let mut at = self.start;
            for _ in 0..self.len {
                value = (value << 1) | bit(data, at)?;
                at = if at.is_multiple_of(8) { at.checked_add(15)? } else { at - 1 };
            }
        } else {
            for at in (self.start..self.start.checked_add(self.len)?).rev() {
                value = (value << 1) | bit(data, at)?;
            }
        }
        Some(value)
    }

    /// The bits as the number they stand for.
    pub fn number(&self, bits: u64) -> i128 {
        let unused = 64_u32.saturating_sub(self.len).min(63);
        if self.signed {
            // Up to the top and back: the sign fills what is above.
            i128::from((bits << unused).cast_signed() >> unused)
        } else {
            i128::from(bits)
        }
    }

    /// The least and the greatest number it can hold.
    pub fn range(&self) -> (i128, i128) {
        let whole = 1_i128 << self.len.min(64);
        if self.signed { (-whole / 2, whole / 2 - 1) } else { (0, whole - 1) }
    }
}

fn bit(data: &[u8], at: u32) -> Option<u64> {
    let byte = data.get(usize::try_from(at / 8).ok()?)?;
    Some(u64::from((byte >> (at % 8)) & 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: [u8; 8] = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf1];

    fn value(start: u32, len: u32, big_endian: bool, signed: bool) -> Option<i128> {
        let field = Field { start, len, big_endian, signed };
        field.bits(&DATA).map(|bits| field.number(bits))
    }

    #[test]
    fn little_endian_values_grow_from_their_least_bit() {
        assert_eq!(value(0, 8, false, false), Some(0x12));
        assert_eq!(value(4, 12, false, false), Some(0x341));
        assert_eq!(value(8, 16, false, false), Some(0x5634));
        assert_eq!(value(40, 16, false, true), Some(0xdebc - 0x1_0000));
        assert_eq!(value(0, 64, false, false), Some(0xf1de_bc9a_7856_3412));
        assert_eq!(value(0, 64, false, true), Some(0xf1de_bc9a_7856_3412 - (1 << 64)));
        assert_eq!(value(57, 8, false, false), None, "one bit too far");
    }

    #[test]
    fn big_endian_values_shrink_from_their_greatest_bit() {
        assert_eq!(value(7, 8, true, false), Some(0x12));
        assert_eq!(value(7, 16, true, false), Some(0x1234));
        assert_eq!(value(3, 12, true, false), Some(0x234));
        assert_eq!(value(1, 10, true, true), Some(0x234 - 0x400));
        assert_eq!(value(7, 64, true, false), Some(0x1234_5678_9abc_def1));
        assert_eq!(value(56, 2, true, false), None, "one bit too far");
    }

    #[test]
    fn ranges_are_what_the_bits_hold() {
        let field = |len, signed| Field { start: 0, len, big_endian: false, signed }.range();
        assert_eq!(field(8, false), (0, 255));
        assert_eq!(field(8, true), (-128, 127));
        assert_eq!(field(64, false), (0, u64::MAX.into()));
        assert_eq!(field(64, true), (i64::MIN.into(), i64::MAX.into()));
    }
}
