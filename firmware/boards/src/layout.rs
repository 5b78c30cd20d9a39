//! Where things are in a SPI NOR flash of 16 MiB with sectors of 64 KiB.
//!
//! ```text
//! | provisioning 128K | system 128K | critical 768K | latest 256K | bulk 6.75M | reserved: 8M |
//! ```

use core::ops::Range;

use firmware::app::Layout;
use firmware::ring::Region;

const KIB: u32 = 1024;

/// What the device was told.
pub const PROVISIONING: Range<u32> = 0..128 * KIB;

/// The app's part.
pub fn app() -> Layout {
    let region =
        |start_kib: u32, len_kib: u32| Region { start: start_kib * KIB, len: len_kib * KIB };
    Layout {
        system: 128 * KIB..256 * KIB,
        rings: [region(256, 768), region(1280, 6912), region(1024, 256)],
    }
}
