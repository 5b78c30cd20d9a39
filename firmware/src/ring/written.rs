//! What a boot would find of a write that failed.
//!
//! A flash may say that it failed and have done all the same. What the next boot takes for written
//! is written, then: else a number would be given out twice, or a copy made twice.

use embedded_storage::nor_flash::NorFlash;
use protocol::Seq;

use super::layout::RecordHeader;
use super::walk::Place;
use super::{Ring, body};

impl Ring {
    /// Whether the frame stands there after all, although the flash says that writing it failed: the
    /// next boot would find it.
    pub(super) fn is_written<F: NorFlash>(
        &self,
        flash: &mut F,
        seq: Seq,
        number: u32,
        at: u32,
    ) -> bool {
        let place = Place { seq, span: self.head, at };
        let read = body::tag(flash, &self.geometry, &self.chain, &mut Some(place), seq);
        number == self.head.number && read.is_ok()
    }

    /// The header that the next boot would find there.
    pub(super) fn header_at<F: NorFlash>(
        &self,
        flash: &mut F,
        number: u32,
        at: u32,
    ) -> Option<RecordHeader> {
        let end = at.saturating_add(RecordHeader::record_len(0));
        let found = self.geometry.record(flash, &self.chain, &self.head, at, end);
        found.ok().flatten().filter(|found| found.number == number).map(|found| found.header)
    }
}
