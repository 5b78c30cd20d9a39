//! Interrupts of a part, by their numbers.

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;

#[derive(Clone, Copy)]
struct Number(u16);

#[allow(unsafe_code, reason = "the numbers are the part's")]
// SAFETY: a number is itself, and does not change.
unsafe impl InterruptNumber for Number {
    fn number(self) -> u16 {
        self.0
    }
}

/// Lets an interrupt come.
#[allow(unsafe_code, reason = "no critical section is begun that masks one")]
pub fn unmask(number: u16) {
    // SAFETY: what its handler touches are statics, which are there from the start.
    unsafe {
        NVIC::unmask(Number(number));
    }
}
