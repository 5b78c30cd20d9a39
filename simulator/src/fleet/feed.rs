//! A vehicle's source as the app's sensors: when each reading is due, and when to hold back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use firmware::ports::{self, Now};
use protocol::{Clock, SignalIndex};

use super::{Control, Gauges};
use crate::source::{Reading, Source, SourceCursor};
use crate::synthetic::Occurrence;

/// How fast sources are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// This many times as fast as the source's own clock.
    Times(u32),
    /// As fast as the device can take it without its ring dropping anything.
    Max,
}

/// Share of the bulk ring, in percent, above which [`Pace::Max`] waits.
const RING_USED_MAX: u8 = 50;

/// What the app's poll and the code around it tell each other.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Events that the source said and the app was not yet given.
    pub events: RefCell<VecDeque<Occurrence>>,
    /// Share of the bulk ring in use, in percent, after the last poll.
    pub ring_used: Cell<u8>,
    /// The source was held back in the last poll.
    pub held_back: Cell<bool>,
    /// The next poll should not wait.
    pub poll_soon: Cell<bool>,
    /// The vehicle's wall clock: its source's, at the latest reading.
    pub unix_ms: Cell<Option<i64>>,
}

/// The source, as the app sees it.
#[derive(Debug)]
pub struct Feed {
    source: Source,
    cursor: SourceCursor,
    /// Read from the source and not yet given away.
    ahead: Option<Reading>,
    pace: Pace,
    /// Uptime and source time of the first reading.
    anchor: Option<(u64, i64)>,
    exchange: Rc<Exchange>,
    gauges: Rc<Gauges>,
    control: Rc<Control>,
}

impl Feed {
    /// Goes on where the gauges say that the source was read to.
    pub fn new(
        source: Source,
        pace: Pace,
        exchange: Rc<Exchange>,
        gauges: Rc<Gauges>,
        control: Rc<Control>,
    ) -> Self {
        let mut cursor = source.cursor();
        cursor.skip_to(&source, gauges.admitted.get());
        let ahead = cursor.next(&source);
        exchange.unix_ms.set(ahead.map(|reading| reading.unix_ms(source.catalogue())));
        gauges.exhausted.set(ahead.is_none());
        Self { source, cursor, ahead, pace, anchor: None, exchange, gauges, control }
    }

    /// When the next reading is due, in uptime milliseconds.
    fn due_ms(&mut self, now_ms: u64) -> Option<u64> {
        let unix_ms = self.ahead?.unix_ms(self.source.catalogue());
        let Pace::Times(times) = self.pace else { return Some(now_ms) };
        let (anchor_ms, anchor_unix_ms) = *self.anchor.get_or_insert((now_ms, unix_ms));
        let since = u64::try_from(unix_ms.saturating_sub(anchor_unix_ms)).unwrap_or_default();
        Some(anchor_ms.saturating_add(since.checked_div(u64::from(times)).unwrap_or_default()))
    }

    fn must_hold_back(&self) -> bool {
        let full = self.pace == Pace::Max && self.exchange.ring_used.get() >= RING_USED_MAX;
        self.exchange.held_back.set(full);
        full
    }
}

impl ports::Source for Feed {
    fn next(&mut self, now: &Now) -> Option<ports::Reading> {
        loop {
            if self.control.is_sampling_over() || self.must_hold_back() {
                return None;
            }
            if self.due_ms(now.uptime_ms)? > now.uptime_ms {
                return None;
            }
            let reading = self.ahead?;
            self.ahead = self.cursor.next(&self.source);
            // Counted before it is given away: what reaches the flash is never counted too late.
            self.gauges.admitted.set(self.gauges.admitted.get() + 1);
            self.gauges.exhausted.set(self.ahead.is_none());
            self.exchange.unix_ms.set(Some(reading.unix_ms(self.source.catalogue())));
            match reading {
                Reading::Sample(_, sample) => {
                    return Some(ports::Reading { sample, clock: Clock::Reference });
                }
                Reading::Event(occurrence) => {
                    self.exchange.events.borrow_mut().push_back(occurrence);
                }
            }
        }
    }

    fn read(&mut self, _signal: SignalIndex, _now: &Now) -> Option<ports::Reading> {
        None // No rule of the simulator's campaigns asks.
    }

    fn due(&self) -> Option<u64> {
        let Pace::Times(times) = self.pace else { return None };
        if self.control.is_sampling_over() {
            return None;
        }
        let (anchor_ms, anchor_unix_ms) = self.anchor?;
        let unix_ms = self.ahead?.unix_ms(self.source.catalogue());
        let since = u64::try_from(unix_ms.saturating_sub(anchor_unix_ms)).unwrap_or_default();
        Some(anchor_ms.saturating_add(since.checked_div(u64::from(times)).unwrap_or_default()))
    }
}
