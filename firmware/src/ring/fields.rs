//! The fields of a header, one after the other.

use protocol::{Counts, Seq};

/// Fills a buffer from the front; what does not fit is cut, and the lengths above make it fit.
pub(super) struct Writer<'a>(pub &'a mut [u8]);

impl Writer<'_> {
    pub fn put(&mut self, field: &[u8]) {
        let room = core::mem::take(&mut self.0);
        if let Some((slot, rest)) = room.split_at_mut_checked(field.len()) {
            slot.copy_from_slice(field);
            self.0 = rest;
        }
    }

    pub fn counts(&mut self, counts: Counts) {
        self.put(&counts.samples.to_le_bytes());
        self.put(&counts.events.to_le_bytes());
    }
}

/// Reads one from the front; nothing where it ends.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub fn seq(&mut self) -> Option<Seq> {
        self.take().map(|bytes| Seq(u64::from_le_bytes(bytes)))
    }

    pub fn counts(&mut self) -> Option<Counts> {
        let samples = u64::from_le_bytes(self.take()?);
        let events = u64::from_le_bytes(self.take()?);
        Some(Counts { samples, events })
    }

    pub fn short_counts(&mut self) -> Option<Counts> {
        let samples = u64::from(self.u32()?);
        let events = u64::from(self.u32()?);
        Some(Counts { samples, events })
    }
}
