//! The part's own watchdog (data sheet, chapter 11), behind the one of [`crate::watchdog`]: for when not
//! even the tick comes any more.

use super::CORE_HZ;
use crate::register::Register;

const WATCHDOG: usize = 0x4000_0000;
const LOAD: Register = Register(WATCHDOG);
const CONTROL: Register = Register(WATCHDOG + 0x08);
const CLEAR: Register = Register(WATCHDOG + 0x0C);
const LOCK: Register = Register(WATCHDOG + 0xC00);

const UNLOCK: u32 = 0x1ACC_E551;
const INTERRUPT_AND_RESET: u32 = 0b11;
/// It runs out twice before it resets: ten seconds.
const SECONDS: u32 = 5;

/// Starts it. It cannot be stopped.
pub fn start() {
    LOCK.write(UNLOCK);
    LOAD.write(SECONDS * CORE_HZ);
    CONTROL.write(INTERRUPT_AND_RESET);
    LOCK.write(0);
}

/// It begins anew.
pub fn feed() {
    LOCK.write(UNLOCK);
    CLEAR.write(1);
    LOCK.write(0);
}
