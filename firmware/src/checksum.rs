//! The checksum of what stands in flash, and what it knows of a bit that flipped by itself.

use crc::{CRC_32_ISCSI, Crc};

/// CRC-32/ISCSI.
pub(crate) static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Its polynomial, reflected.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The one bit that, turned back, makes a checksum right that differs by `difference` over `len`
/// bytes: its byte, from the front, and its mask. Nothing if no single bit does.
///
/// A checksum is linear: what one bit does to it depends on how many bits follow, and on nothing
/// else. Up to many kilobytes no two bits do the same.
pub(crate) fn flipped_bit(difference: u32, len: usize) -> Option<(usize, u8)> {
    let mut does = POLYNOMIAL;
    for at in (0..len).rev() {
        for bit in (0..8).rev() {
            if does == difference {
                return Some((at, 1 << bit));
            }
            does = (does >> 1) ^ if does & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    None
}

/// Whether two checksums differ in one bit only: then it is the checksum that is damaged.
pub(crate) const fn is_one_bit(difference: u32) -> bool {
    difference.is_power_of_two()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_single_bit_is_found_and_two_are_not() {
        let bytes: Vec<u8> = (0..156_u8).map(|at| at.wrapping_mul(151)).collect();
        let whole = CRC.checksum(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut hurt = bytes.clone();
            hurt[bit / 8] ^= 1 << (bit % 8);
            let difference = CRC.checksum(&hurt) ^ whole;
            assert_eq!(flipped_bit(difference, hurt.len()), Some((bit / 8, 1 << (bit % 8))));
            assert!(!is_one_bit(difference));
            hurt[(bit / 8 + 7) % 156] ^= 0x20;
            assert_eq!(flipped_bit(CRC.checksum(&hurt) ^ whole, hurt.len()), None, "bit {bit}");
        }
    }
}
