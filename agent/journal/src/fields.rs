//! Fixed-width little-endian fields and varints, read from the front of a slice.

use protocol::Counts;
use protocol::varint;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// The next `len` bytes.
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Two fixed-width numbers.
    pub(super) fn counts(&mut self) -> Option<Counts> {
        Some(Counts { samples: self.u64()?, events: self.u64()? })
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let (value, rest) = varint::read(self.0)?;
        self.0 = rest;
        Some(value)
    }

    /// Two varints.
    pub(super) fn short_counts(&mut self) -> Option<Counts> {
        Some(Counts { samples: self.varint()?, events: self.varint()? })
    }
}

/// Writes two fixed-width numbers.
pub(super) fn put_counts(into: &mut Vec<u8>, counts: Counts) {
    into.extend_from_slice(&counts.samples.to_le_bytes());
    into.extend_from_slice(&counts.events.to_le_bytes());
}

/// Writes a varint.
pub(super) fn put_varint(into: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; varint::LEN_MAX];
    let len = varint::write(value, &mut bytes).unwrap_or_default();
    into.extend_from_slice(bytes.get(..len).unwrap_or_default());
}

/// Writes two varints.
pub(super) fn put_short_counts(into: &mut Vec<u8>, counts: Counts) {
    put_varint(into, counts.samples);
    put_varint(into, counts.events);
}
