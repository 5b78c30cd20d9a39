//! Runs the tasks, and sleeps while none has anything to do.

use core::sync::atomic::{AtomicBool, Ordering};

use embassy_executor::Spawner;
use embassy_executor::raw::Executor;
use static_cell::StaticCell;

/// A task was woken since they were last polled.
static WOKEN: AtomicBool = AtomicBool::new(false);

#[allow(unsafe_code, reason = "the name by which the executor calls it")]
#[unsafe(export_name = "__pender")]
fn pender(_context: *mut ()) {
    WOKEN.store(true, Ordering::Release);
}

/// Runs what `begin` spawns, for ever.
///
/// The stock executor waits for events (WFE), which QEMU takes for no wait at all. This one waits
/// for interrupts (WFI): with interrupts masked, one that comes in between still ends the wait.
pub fn run(begin: impl FnOnce(Spawner)) -> ! {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    let executor: &'static Executor = EXECUTOR.init(Executor::new(core::ptr::null_mut()));
    begin(executor.spawner());
    loop {
        #[allow(unsafe_code, reason = "initialised, and polled here alone, which no task calls")]
        unsafe {
            executor.poll();
        }
        critical_section::with(|_| {
            if !WOKEN.swap(false, Ordering::Acquire) {
                cortex_m::asm::wfi();
            }
        });
    }
}
