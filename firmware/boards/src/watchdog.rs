//! The watchdog: the tick looks whether the main loop still runs, and notes where the board hangs if it
//! does not. A part's own watchdog stands behind it, fed by the tick: it resets a board on which nothing
//! comes any more.

use core::cell::Cell;

use cortex_m_rt::ExceptionFrame;
use critical_section::Mutex;

use crate::{crash, time};

/// How long the main loop may take to come round. Its longest wait is for a flash that erases.
pub const LIMIT_MS: u64 = 20_000;
/// How long it may take until it comes round for the first time: a flash may have to be erased as a whole.
const START_LIMIT_MS: u64 = 300_000;
/// How often a part's own watchdog is fed.
const FEED_MS: u64 = 256;

/// Feeds a part's own watchdog.
type Feed = fn();

static UNTIL_MS: Mutex<Cell<u64>> = Mutex::new(Cell::new(START_LIMIT_MS));
static HARDWARE: Mutex<Cell<Option<Feed>>> = Mutex::new(Cell::new(None));

/// The main loop came round.
pub fn feed(now_ms: u64) {
    expect(now_ms.saturating_add(LIMIT_MS));
}

/// The start waits for so long before it does anything.
pub fn start_later(waits_ms: u64) {
    expect(waits_ms.saturating_add(START_LIMIT_MS));
}

/// The main loop will never come round: the board does nothing any more, and has said why.
pub fn stopped() {
    expect(u64::MAX);
}

/// The main loop has to come round by then.
fn expect(until_ms: u64) {
    critical_section::with(|cs| UNTIL_MS.borrow(cs).set(until_ms));
}

/// This feeds the part's own watchdog, which runs.
pub fn hardware(feed: Feed) {
    critical_section::with(|cs| HARDWARE.borrow(cs).set(Some(feed)));
}

#[allow(unsafe_code, reason = "a handler that no compiler makes")]
mod handler {
    use core::arch::global_asm;

    // Where the core was when the tick came stands on the stack, and nothing of the handler's own yet.
    global_asm!(
        ".section .text.SysTick, \"ax\"",
        ".global SysTick",
        ".type SysTick, %function",
        ".thumb_func",
        "SysTick:",
        "mov r0, sp",
        "b {tick}",
        tick = sym super::tick,
    );
}

extern "C" fn tick(frame: &ExceptionFrame) {
    let now_ms = time::tick();
    let (until_ms, hardware) =
        critical_section::with(|cs| (UNTIL_MS.borrow(cs).get(), HARDWARE.borrow(cs).get()));
    if now_ms > until_ms {
        crash::starved(frame);
    }
    if let Some(feed) = hardware.filter(|_| now_ms.is_multiple_of(FEED_MS)) {
        feed();
    }
}
