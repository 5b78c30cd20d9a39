//! The planted fault of a journal that takes a torn tail for whole: its checksums are made to fit.

use std::path::Path;

use protocol::Lane;

use super::bench::JOURNAL;
use super::content::Content;
use super::crash::Image;

const HEADER_LEN: usize = 1024;
const HEAD_LEN: usize = 12;
const MARKER: [u8; 4] = [0xa7, b'M', b'r', 0x1e];

/// Makes the first record that is not whole in the last segment of each lane look whole.
pub(super) fn accept(image: &mut Image) {
    for lane in Lane::ALL {
        let dir = Path::new("journal").join(lane.name());
        let is_segment = |path: &Path| {
            path.parent() == Some(&dir) && path.extension().is_some_and(|suffix| suffix == "seg")
        };
        let last = image.0.iter_mut().rev().find(|(path, _)| is_segment(path));
        let Some((path, content)) = last else { continue };
        let base = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(base) = base {
            accept_in(content, lane, base);
        }
    }
}

fn accept_in(content: &mut Content, lane: Lane, base: u64) {
    let mut bytes = content.bytes();
    let seed = crc32c::crc32c_append(crc32c::crc32c(&JOURNAL), &[lane as u8]);
    let mut offset = HEADER_LEN;
    while let Some((head, rest)) =
        bytes.get(offset..).and_then(|record| record.split_first_chunk::<HEAD_LEN>())
    {
        let [m0, m1, m2, m3, l0, l1, l2, l3, c0, c1, c2, c3] = *head;
        let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let Some(body) = rest.get(..len).filter(|_| [m0, m1, m2, m3] == MARKER) else { return };
        let at = base.saturating_add(u64::try_from(offset - HEADER_LEN).unwrap_or(0));
        let checksum = crc32c::crc32c_append(seed, &at.to_le_bytes());
        let checksum = crc32c::crc32c_append(checksum, &[l0, l1, l2, l3]);
        let checksum = crc32c::crc32c_append(checksum, body);
        if u32::from_le_bytes([c0, c1, c2, c3]) != checksum {
            if let Some(slot) = bytes.get_mut(offset + 8..offset + HEAD_LEN) {
                slot.copy_from_slice(&checksum.to_le_bytes());
            }
            *content = Content::of(&bytes);
            return;
        }
        offset += HEAD_LEN + len;
    }
}
