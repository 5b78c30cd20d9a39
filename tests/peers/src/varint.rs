//! Base-128 varints, zigzag, and the protobuf fields made of them.
//!
//! Source: protobuf.dev, "Encoding": varints, signed integers, length-delimited records.

use std::iter::successors;

/// Protobuf wire type of varints.
const VARINT: u64 = 0;
/// Protobuf wire type of fixed 64-bit fields.
const FIXED64: u64 = 1;
/// Protobuf wire type of length-delimited fields.
const DELIMITED: u64 = 2;
/// Protobuf wire type of fixed 32-bit fields.
const FIXED32: u64 = 5;

/// Small magnitudes to small numbers: 0, -1, 1, -2, ...
pub fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

/// The zigzag of a difference.
pub fn zigzag_difference(from: i64, to: i64) -> u64 {
    zigzag(to.wrapping_sub(from))
}

/// Seven bits a byte, lowest first, the top bit set in all but the last.
pub fn varint(out: &mut Vec<u8>, n: u64) {
    out.extend(varint_bytes(n));
}

/// The bytes of a varint.
pub fn varint_bytes(n: u64) -> impl Iterator<Item = u8> {
    successors(Some(n), |n| Some(n >> 7).filter(|n| *n != 0)).map(|n| {
        let [low, ..] = n.to_le_bytes();
        if n > 127 { low | 128 } else { low }
    })
}

/// An index or length as a varint.
pub fn varint_len(out: &mut Vec<u8>, n: usize) {
    varint(out, n as u64);
}

/// A varint field.
pub fn field_varint(out: &mut Vec<u8>, number: u64, n: u64) {
    varint(out, number << 3 | VARINT);
    varint(out, n);
}

/// A `fixed64` field.
pub fn field_fixed64(out: &mut Vec<u8>, number: u64, n: u64) {
    varint(out, number << 3 | FIXED64);
    out.extend(n.to_le_bytes());
}

/// A `double` field.
pub fn field_double(out: &mut Vec<u8>, number: u64, value: f64) {
    field_fixed64(out, number, value.to_bits());
}

/// A `float` field.
pub fn field_float(out: &mut Vec<u8>, number: u64, value: f32) {
    varint(out, number << 3 | FIXED32);
    out.extend(value.to_le_bytes());
}

/// A string, bytes or message field.
pub fn field_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | DELIMITED);
    varint_len(out, bytes.len());
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_varints() {
        let bytes = |n| varint_bytes(n).collect::<Vec<u8>>();
        assert_eq!(bytes(0), [0]);
        assert_eq!(bytes(127), [127]);
        assert_eq!(bytes(128), [0x80, 1]);
        assert_eq!(bytes(150), [0x96, 1], "protobuf.dev's own example");
        assert_eq!(bytes(u64::MAX).len(), 10);
    }

    #[test]
    fn known_zigzags() {
        assert_eq!([0, -1, 1, -2].map(zigzag), [0, 1, 2, 3]);
        assert_eq!([i64::MAX, i64::MIN].map(zigzag), [u64::MAX - 1, u64::MAX]);
        assert_eq!(zigzag_difference(5, 3), 3);
    }

    #[test]
    fn known_fields() {
        let mut out = Vec::new();
        field_varint(&mut out, 1, 150);
        field_bytes(&mut out, 2, b"testing");
        field_float(&mut out, 12, 1.0);
        field_double(&mut out, 13, 1.0);
        let expected = b"\x08\x96\x01\x12\x07testing\x65\0\0\x80\x3f\x69\0\0\0\0\0\0\xf0\x3f";
        assert_eq!(out, expected);
    }
}
