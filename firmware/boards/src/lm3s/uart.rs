//! UARTs of the PL011 kind (data sheet, chapter 13). The first is the console, the second the link.

use crate::register::Register;
use crate::uart::{Queues, Uart};

const CONSOLE: usize = 0x4000_C000;
const LINK: usize = 0x4000_D000;
const DATA: usize = 0;
const FLAGS: usize = 0x18;
const DIVISOR: usize = 0x24;
const FRACTION: usize = 0x28;
const LINE_CONTROL: usize = 0x2C;
const CONTROL: usize = 0x30;
const INTERRUPT_MASK: usize = 0x38;
const INTERRUPT_CLEAR: usize = 0x44;

/// Flags: nothing came; the transmitter is full.
const IS_EMPTY: u32 = 1 << 4;
const IS_FULL: u32 = 1 << 5;
/// 50 MHz / 16 / 115,200: 27 and 8 of 64.
const BAUD: (u32, u32) = (27, 8);
/// Eight bits, no parity, one stop bit, FIFOs on.
const EIGHT_BITS: u32 = 0b11 << 5 | 1 << 4;
/// The UART, its transmitter and its receiver.
const ON: u32 = 1 | 1 << 8 | 1 << 9;
/// Interrupts: bytes came; the transmitter takes bytes; bytes came a while ago and no more.
const CAME: u32 = 1 << 4 | 1 << 6;
const TAKES: u32 = 1 << 5;

static QUEUES: Queues = Queues::new();

fn begin(uart: usize) {
    Register(uart + CONTROL).write(0);
    let (divisor, fraction) = BAUD;
    Register(uart + DIVISOR).write(divisor);
    Register(uart + FRACTION).write(fraction);
    Register(uart + LINE_CONTROL).write(EIGHT_BITS);
    Register(uart + CONTROL).write(ON);
}

/// Begins the console, at 115,200 baud.
pub fn console() {
    begin(CONSOLE);
}

/// Writes to the console, and waits for each byte to be taken.
pub fn put(bytes: &[u8]) {
    for byte in bytes {
        while Register(CONSOLE + FLAGS).read() & IS_FULL != 0 {}
        Register(CONSOLE + DATA).write(u32::from(*byte));
    }
}

/// The link's UART, at 115,200 baud.
pub fn link() -> Uart {
    begin(LINK);
    Register(LINK + INTERRUPT_MASK).write(CAME | TAKES);
    // It says that it takes more when its FIFO gets emptier, and not while it is empty: so it is filled here.
    Uart::new(&QUEUES, || critical_section::with(|_| fill()))
}

fn fill() {
    while Register(LINK + FLAGS).read() & IS_FULL == 0 {
        let Some(byte) = QUEUES.next_to_go() else { return };
        Register(LINK + DATA).write(u32::from(byte));
    }
}

/// To be called by the link's interrupt.
pub fn interrupt() {
    Register(LINK + INTERRUPT_CLEAR).write(CAME | TAKES);
    while Register(LINK + FLAGS).read() & IS_EMPTY == 0 {
        let [byte, ..] = Register(LINK + DATA).read().to_le_bytes();
        QUEUES.received(byte);
    }
    fill();
}
