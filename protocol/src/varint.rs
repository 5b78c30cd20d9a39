//! LEB128, the shortest form only: seven bits a byte, low bits first.

/// The longest encoding of a `u64`.
pub const LEN_MAX: usize = 10;

/// Writes `value` to the front of `into`; its length, or nothing if it does not fit.
pub fn write(mut value: u64, into: &mut [u8]) -> Option<usize> {
    for (at, slot) in into.iter_mut().enumerate() {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            *slot = low;
            return Some(at + 1);
        }
        *slot = low | 0x80;
    }
    None
}

/// Reads a value from the front of `from`, with the rest. Nothing if it is cut off, longer than it
/// need be, or above `u64`.
pub fn read(from: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in from.iter().enumerate().take(LEN_MAX) {
        let low = u64::from(byte & 0x7f);
        let shift = 7 * u32::try_from(at).ok()?;
        if at == LEN_MAX - 1 && low > 1 {
            return None;
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            if at > 0 && *byte == 0 {
                return None;
            }
            return Some((value, from.get(at + 1..)?));
        }
    }
    None
}

/// Signed to unsigned, small magnitudes first: 0, -1, 1, -2, 2 ...
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_long_forms() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = [0; LEN_MAX];
            let len = write(value, &mut bytes).unwrap();
            assert_eq!(read(&bytes[..len]), Some((value, &[][..])));
            assert_eq!(read(&bytes[..len - 1]), None, "cut off");
            assert_eq!(write(value, &mut bytes[..len - 1]), None, "no room");
        }
        assert_eq!(read(&[0x80, 0x00]), None, "zero in two bytes");
        assert_eq!(read(&[0xff; 11]), None, "never ends");
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
