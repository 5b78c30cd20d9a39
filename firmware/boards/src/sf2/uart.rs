//! MMUART: a 16550, its registers four bytes apart (UG0331, chapter 13).

use super::Register;

const UART0: usize = 0x4000_0000;
const DATA: Register = Register(UART0);
const LINE_STATUS: Register = Register(UART0 + 0x14);
/// The transmitter takes a byte.
const TRANSMIT_EMPTY: u32 = 1 << 5;

/// Writes to UART 0, and waits for each byte to be taken.
pub fn put(bytes: &[u8]) {
    for byte in bytes {
        while LINE_STATUS.read() & TRANSMIT_EMPTY == 0 {}
        DATA.write(u32::from(*byte));
    }
}
