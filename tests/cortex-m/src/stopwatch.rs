//! Counts instructions by the core's `SysTick` timer.
//!
//! With `-icount shift=0` QEMU lets a nanosecond pass for each instruction, whatever it does, and
//! the board's clock has 25 MHz. So a tick is 40 instructions, and a count is the same each time.

use cortex_m::asm;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{Peripherals, SYST};

const INSTRUCTIONS_PER_TICK: u32 = 40;
/// The timer has 24 bits, and counts down.
const RELOAD: u32 = 0xff_ffff;
/// [`asm::delay`] goes once more than it is told around a loop of two instructions.
const TRIED: u32 = 400_000;
const TRIED_INSTRUCTIONS: u32 = 2 * (TRIED + 1);

/// Runs from when it is made.
pub struct Stopwatch {
    timer: SYST,
}

impl Stopwatch {
    /// Starts one, once; none if a loop of known length does not take what it has to.
    pub fn new() -> Option<Self> {
        let mut timer = Peripherals::take()?.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(RELOAD);
        timer.enable_counter();
        let mut stopwatch = Self { timer };
        stopwatch.start();
        asm::delay(TRIED);
        let off = stopwatch.lap()?.abs_diff(TRIED_INSTRUCTIONS);
        stopwatch.start();
        (off <= 2 * INSTRUCTIONS_PER_TICK).then_some(stopwatch)
    }

    /// Instructions since the start, to a tick; none if they were more than the timer holds.
    pub fn instructions(mut self) -> Option<u32> {
        self.lap()
    }

    fn start(&mut self) {
        self.timer.clear_current();
    }

    fn lap(&mut self) -> Option<u32> {
        let now = SYST::get_current();
        let ticks = RELOAD - now;
        (!self.timer.has_wrapped()).then_some(ticks * INSTRUCTIONS_PER_TICK)
    }
}
