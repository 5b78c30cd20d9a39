//! The time: one tick a millisecond, counted by the core's own timer, for embassy and for the app.

use core::cell::RefCell;
use core::task::Waker;

use cortex_m::peripheral::{SYST, syst::SystClkSource};
use critical_section::Mutex;
use embassy_time::{Instant, Timer};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;
use firmware::mqtt::drive::Clock;
use firmware::ports::Now;

/// Ticks since the boot, and who waits for one.
struct Ticks {
    state: Mutex<RefCell<State>>,
}

struct State {
    now: u64,
    /// When the next one is to be woken.
    next: u64,
    queue: Queue,
}

embassy_time_driver::time_driver_impl!(static TICKS: Ticks = Ticks {
    state: Mutex::new(RefCell::new(State { now: 0, next: u64::MAX, queue: Queue::new() })),
});

impl Driver for Ticks {
    fn now(&self) -> u64 {
        critical_section::with(|cs| self.state.borrow_ref(cs).now)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let State { next, queue, .. } = &mut *self.state.borrow_ref_mut(cs);
            if queue.schedule_wake(at, waker) {
                *next = at.min(*next);
            }
        });
    }
}

/// Starts the ticks; the core runs at `core_hz`.
pub fn start(timer: &mut SYST, core_hz: u32) {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(core_hz / 1_000 - 1);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
}

/// A millisecond went by: the timer's interrupt, in [`crate::watchdog`]. The time now.
pub(crate) fn tick() -> u64 {
    critical_section::with(|cs| {
        let State { now, next, queue } = &mut *TICKS.state.borrow_ref_mut(cs);
        *now += 1;
        if *now >= *next {
            *next = queue.next_expiration(*now);
        }
        *now
    })
}

/// The app's clock: no board here has a calendar, so that the agent's time is the only one.
#[derive(Clone, Copy, Debug)]
pub struct Uptime;

impl Clock for Uptime {
    fn now(&self) -> Now {
        Now { uptime_ms: Instant::now().as_millis(), wall: None }
    }

    async fn sleep_until(&self, uptime_ms: u64) {
        Timer::at(Instant::from_millis(uptime_ms)).await;
    }
}
