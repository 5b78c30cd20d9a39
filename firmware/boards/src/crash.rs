//! Panics and faults: noted in RAM that a reset leaves as it is, and told after it.

use core::arch::asm;
use core::fmt::{self, Arguments};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, exception};
use firmware::crash::Cause;
use firmware::mqtt::drive::Clock;

use crate::time::Uptime;
use crate::{console, image, stack, watchdog};

pub use kept::with;

#[allow(unsafe_code, reason = "memory that the assembler sets aside")]
mod kept {
    use core::arch::global_asm;
    use core::cell::UnsafeCell;

    use firmware::crash::Memory;

    // Not a static of Rust's: nobody knows what is in it when the board starts.
    global_asm!(
        ".section .uninit.crash, \"aw\", %nobits",
        ".balign 4",
        ".global __crash",
        "__crash: .space {len}",
        len = const size_of::<Memory>(),
    );

    #[repr(transparent)]
    struct Kept(UnsafeCell<Memory>);

    // SAFETY: it is only used with interrupts off, and there is one core.
    unsafe impl Sync for Kept {}

    unsafe extern "C" {
        static __crash: Kept;
    }

    /// Does something with what is kept.
    pub fn with<T>(work: impl FnOnce(&mut Memory) -> T) -> T {
        critical_section::with(|_| {
            // SAFETY: the memory has the size and the alignment of a `Memory`, of which any content is one; and
            // whoever has it cannot be interrupted, except by a fault, which never returns.
            work(unsafe { &mut *__crash.0.get() })
        })
    }
}

/// Waits, after crashes in a row: to be called as soon as there is time, before anything that may crash again.
pub fn hold_off() {
    let (waits_ms, in_a_row) = with(|memory| (memory.wait_ms(), memory.crashes_in_a_row()));
    if waits_ms == 0 {
        return;
    }
    // The longest wait is as long as a start may take.
    watchdog::start_later(waits_ms);
    console::line(format_args!("{in_a_row} crashes in a row: starts in {waits_ms} ms"));
    while Uptime.now().uptime_ms < waits_ms {
        // The tick wakes it.
        cortex_m::asm::wfi();
    }
}

/// Notes a crash, says so, and resets the board.
fn crashed(cause: Cause, registers: [u32; 3], stack_at: usize, reason: Arguments<'_>) -> ! {
    static IS_CRASHING: AtomicBool = AtomicBool::new(false);
    // Not swapped: this core does that with interrupts, which are off.
    cortex_m::interrupt::disable();
    if !IS_CRASHING.load(Ordering::Relaxed) {
        IS_CRASHING.store(true, Ordering::Relaxed);
        let image = image::hash();
        with(|memory| memory.crash(cause, image, registers, reason, stack::from(stack_at)));
        console::line(format_args!("crashed: {reason}"));
    }
    SCB::sys_reset()
}

#[allow(unsafe_code, reason = "registers that no language has")]
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (pc, lr, psr, sp): (u32, u32, u32, usize);
    // SAFETY: they are only read.
    unsafe {
        asm!(
            "mov {pc}, pc",
            "mov {lr}, lr",
            "mrs {psr}, xpsr",
            "mov {sp}, sp",
            pc = out(reg) pc,
            lr = out(reg) lr,
            psr = out(reg) psr,
            sp = out(reg) sp,
            options(nomem, nostack, preserves_flags),
        );
    }
    match info.location() {
        Some(at) => crashed(
            Cause::Fault,
            [pc, lr, psr],
            sp,
            format_args!("panic: {} ({}:{})", info.message(), at.file(), at.line()),
        ),
        None => crashed(Cause::Fault, [pc, lr, psr], sp, format_args!("panic: {}", info.message())),
    }
}

/// What the core says of a fault (Armv7-M Architecture Reference Manual, B3.2.15 to B3.2.19).
struct Fault {
    configurable: u32,
    hard: u32,
    memory_at: u32,
    bus_at: u32,
}

impl Fault {
    const MEMORY_AT_VALID: u32 = 1 << 7;
    const BUS_AT_VALID: u32 = 1 << 15;

    #[allow(unsafe_code, reason = "registers of the core")]
    fn read() -> Self {
        // SAFETY: they are only read, which changes nothing.
        let scb = unsafe { &*SCB::PTR };
        Self {
            configurable: scb.cfsr.read(),
            hard: scb.hfsr.read(),
            memory_at: scb.mmfar.read(),
            bus_at: scb.bfar.read(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HardFault: CFSR {:#010x}, HFSR {:#010x}", self.configurable, self.hard)?;
        if self.configurable & Self::MEMORY_AT_VALID != 0 {
            write!(f, ", MMFAR {:#010x}", self.memory_at)?;
        }
        if self.configurable & Self::BUS_AT_VALID != 0 {
            write!(f, ", BFAR {:#010x}", self.bus_at)?;
        }
        Ok(())
    }
}

/// Notes where the core was when an exception came.
fn crashed_at(cause: Cause, frame: &ExceptionFrame, reason: Arguments<'_>) -> ! {
    let registers = [frame.pc(), frame.lr(), frame.xpsr()];
    crashed(cause, registers, core::ptr::from_ref(frame).addr(), reason)
}

#[allow(unsafe_code, reason = "the handlers' own signature")]
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    crashed_at(Cause::Fault, frame, format_args!("{}", Fault::read()))
}

/// The main loop hangs, here.
pub(crate) fn starved(frame: &ExceptionFrame) -> ! {
    let limit_s = watchdog::LIMIT_MS / 1_000;
    let reason = format_args!("watchdog: the main loop did not come round in {limit_s} s");
    crashed_at(Cause::Watchdog, frame, reason)
}
