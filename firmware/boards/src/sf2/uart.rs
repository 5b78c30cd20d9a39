//! MMUART: a 16550, its registers four bytes apart (UG0331, chapter 13). The first is the console, the
//! second the link.

use crate::register::Register;
use crate::uart::{Queues, Uart};

const CONSOLE: usize = 0x4000_0000;
const LINK: usize = 0x4001_0000;
const DATA: usize = 0;
const INTERRUPTS: usize = 0x04;
const FIFO: usize = 0x08;
const LINE_CONTROL: usize = 0x0C;
const LINE_STATUS: usize = 0x14;

/// Interrupts: a byte came; the transmitter takes bytes.
const CAME: u32 = 1;
const TAKES: u32 = 1 << 1;
/// FIFOs on, and empty.
const FIFO_ON: u32 = 0b111;
const FIFO_LEN: usize = 16;
/// Line control: eight bits, no parity, one stop bit; and the divisor's two halves stand where bytes and
/// interrupts do.
const EIGHT_BITS: u32 = 0b11;
const DIVISOR_THERE: u32 = 1 << 7;
/// 71 MHz / 16 / 39: 113,782 a second, 1.2 % under 115,200.
const DIVISOR: u32 = 39;
/// Line status: a byte is there; the transmitter is empty.
const IS_THERE: u32 = 1;
const IS_EMPTY: u32 = 1 << 5;

static QUEUES: Queues = Queues::new();

/// Writes to the console, and waits for each byte to be taken.
pub fn put(bytes: &[u8]) {
    for byte in bytes {
        while Register(CONSOLE + LINE_STATUS).read() & IS_EMPTY == 0 {}
        Register(CONSOLE + DATA).write(u32::from(*byte));
    }
}

/// The link's UART, at 115,200 baud.
pub fn link() -> Uart {
    Register(LINK + LINE_CONTROL).write(EIGHT_BITS | DIVISOR_THERE);
    Register(LINK + DATA).write(DIVISOR);
    Register(LINK + INTERRUPTS).write(0);
    Register(LINK + LINE_CONTROL).write(EIGHT_BITS);
    Register(LINK + FIFO).write(FIFO_ON);
    Register(LINK + INTERRUPTS).write(CAME);
    Uart::new(&QUEUES, || Register(LINK + INTERRUPTS).write(CAME | TAKES))
}

/// To be called by the link's interrupt.
pub fn interrupt() {
    while Register(LINK + LINE_STATUS).read() & IS_THERE != 0 {
        let [byte, ..] = Register(LINK + DATA).read().to_le_bytes();
        QUEUES.received(byte);
    }
    if Register(LINK + LINE_STATUS).read() & IS_EMPTY == 0 {
        return;
    }
    for _ in 0..FIFO_LEN {
        let Some(byte) = QUEUES.next_to_go() else {
            Register(LINK + INTERRUPTS).write(CAME);
            return;
        };
        Register(LINK + DATA).write(u32::from(byte));
    }
}
