//! A vehicle's clocks: uptime from the system, wall clock from its source.

use std::rc::Rc;
use std::time::Duration;

use firmware::mqtt::drive;
use firmware::ports::Now;
use protocol::Clock;
use tokio::time::{Instant, sleep_until};

use super::Control;
use super::feed::Exchange;

/// One vehicle's clocks.
#[derive(Clone, Debug)]
pub struct VehicleClock {
    booted: Instant,
    exchange: Rc<Exchange>,
    control: Rc<Control>,
}

impl VehicleClock {
    /// Boots now.
    pub fn new(exchange: Rc<Exchange>, control: Rc<Control>) -> Self {
        Self { booted: Instant::now(), exchange, control }
    }
}

impl drive::Clock for VehicleClock {
    fn now(&self) -> Now {
        let uptime_ms = u64::try_from(self.booted.elapsed().as_millis()).unwrap_or(u64::MAX);
        let wall = self.exchange.unix_ms.get().map(|unix_ms| (unix_ms, Clock::Reference));
        Now { uptime_ms, wall }
    }

    async fn sleep_until(&self, uptime_ms: u64) {
        // Taken first: a change between the questions and the wait is not missed.
        let changed = self.control.changed();
        if self.exchange.poll_soon.take() || self.control.is_stopping() {
            return;
        }
        match self.booted.checked_add(Duration::from_millis(uptime_ms)) {
            Some(at) => tokio::select! {
                () = sleep_until(at) => {}
                () = changed => {}
            },
            None => changed.await,
        }
    }
}
