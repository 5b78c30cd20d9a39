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
    /// One reading each so many nanoseconds, if the device can take it without its ring dropping
    /// anything.
    Every {
        /// Between two readings.
        ns: u64,
    },
}

impl Pace {
    /// So many samples a second of a fleet of so many vehicles, each the same share.
    pub fn of_fleet(samples_per_s: u32, vehicles: usize) -> Self {
        let vehicles = u64::try_from(vehicles).unwrap_or(u64::MAX);
        Self::Every { ns: vehicles.saturating_mul(1_000_000_000) / u64::from(samples_per_s.max(1)) }
    }

    /// Whether the device's ring sets the pace.
    const fn yields(self) -> bool {
        matches!(self, Self::Max | Self::Every { .. })
    }
}

/// Share of the bulk ring, in percent, above which a source that yields waits.
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
    /// The vehicle has no network where it is.
    pub out_of_reach: Cell<bool>,
    /// Its supply browned out; nothing more is read before it has booted again.
    pub browned_out: Cell<bool>,
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
    /// Readings given away.
    given: u64,
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
        // What is ahead has not happened yet.
        let up = match ahead {
            Some(Reading::Link { up, .. }) => !up,
            _ => cursor.link_up(),
        };
        exchange.out_of_reach.set(!up);
        gauges.exhausted.set(ahead.is_none());
        Self { source, cursor, ahead, pace, anchor: None, given: 0, exchange, gauges, control }
    }

    /// After a reboot the uptime counts anew.
    pub fn boot(&mut self) {
        self.anchor = None;
        self.given = 0;
        self.exchange.browned_out.set(false);
    }

    /// When the next reading was taken.
    fn ahead_ms(&self) -> Option<i64> {
        let ahead = self.ahead?;
        Some(self.cursor.true_ms().unwrap_or_else(|| ahead.unix_ms(self.source.catalogue())))
    }

    /// When the next reading is due, in uptime milliseconds.
    fn due_ms(&mut self, now_ms: u64) -> Option<u64> {
        let unix_ms = self.ahead_ms()?;
        self.anchor.get_or_insert((now_ms, unix_ms));
        if self.pace == Pace::Max { Some(now_ms) } else { self.scheduled_ms() }
    }

    /// The same for a source whose readings have their times.
    fn scheduled_ms(&self) -> Option<u64> {
        let (anchor_ms, anchor_unix_ms) = self.anchor?;
        let since = match self.pace {
            Pace::Max => return None,
            Pace::Every { ns } => self.given.saturating_mul(ns) / 1_000_000,
            Pace::Times(times) => {
                let unix_ms = self.ahead_ms()?;
                let since =
                    u64::try_from(unix_ms.saturating_sub(anchor_unix_ms)).unwrap_or_default();
                since.checked_div(u64::from(times)).unwrap_or_default()
            }
        };
        Some(anchor_ms.saturating_add(since))
    }

    /// A vehicle out of reach goes on: what it waits for comes with the time of its source.
    fn must_hold_back(&self) -> bool {
        let full = self.pace.yields()
            && self.exchange.ring_used.get() >= RING_USED_MAX
            && !self.exchange.out_of_reach.get();
        self.exchange.held_back.set(full);
        full
    }
}

impl ports::Source for Feed {
    fn next(&mut self, now: &Now) -> Option<ports::Reading> {
        loop {
            let waits = self.exchange.browned_out.get() || self.must_hold_back();
            if self.control.is_sampling_over() || waits {
                return None;
            }
            if self.due_ms(now.uptime_ms)? > now.uptime_ms {
                return None;
            }
            let reading = self.ahead?;
            self.ahead = self.cursor.next(&self.source);
            // Counted before it is given away: what reaches the flash is never counted too late.
            self.gauges.admitted.set(self.gauges.admitted.get() + 1);
            self.given += 1;
            self.gauges.exhausted.set(self.ahead.is_none());
            self.exchange.unix_ms.set(Some(reading.unix_ms(self.source.catalogue())));
            match reading {
                Reading::Sample(_, sample) => {
                    return Some(ports::Reading { sample, clock: Clock::Reference });
                }
                Reading::Event(occurrence) => {
                    self.exchange.events.borrow_mut().push_back(occurrence);
                }
                Reading::Link { up, .. } => {
                    self.exchange.out_of_reach.set(!up);
                    self.exchange.poll_soon.set(true);
                }
                Reading::Reboot { .. } => {
                    self.exchange.browned_out.set(true);
                    self.exchange.poll_soon.set(true);
                }
            }
        }
    }

    fn read(&mut self, _signal: SignalIndex, _now: &Now) -> Option<ports::Reading> {
        None // No rule of the simulator's campaigns asks.
    }

    fn due(&self) -> Option<u64> {
        if self.control.is_sampling_over() || self.exchange.held_back.get() {
            return None;
        }
        self.ahead?;
        self.scheduled_ms()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use firmware::app::Counters;
    use firmware::ports::Source as _;
    use protocol::Sample;
    use recordings::{Recording, taxi};

    use super::*;

    fn now(uptime_ms: u64) -> Now {
        Now { uptime_ms, wall: None }
    }

    /// Four samples at 0, 60, 30 and 120 seconds.
    fn feed(pace: Pace, position: u64) -> (Feed, Rc<Exchange>, Rc<Gauges>) {
        let mut recording = Recording::new(&taxi::CATALOGUE);
        for (tick, raw) in [(1000, 1), (1060, 2), (1030, 3), (1120, 4)] {
            recording.push(Sample::new(tick, SignalIndex(0), raw)).unwrap();
        }
        let gauges = Rc::new(Gauges {
            device: "a".parse().unwrap(),
            admitted: Rc::new(Cell::new(position)),
            resumed_at: position,
            exhausted: Cell::new(false),
            counters: Cell::new(Counters::default()),
            earlier: Cell::default(),
            outstanding: Cell::new([0; 3]),
        });
        let (exchange, control) = (Rc::new(Exchange::default()), Rc::new(Control::default()));
        let source = Source::Recorded(Arc::new(recording));
        (Feed::new(source, pace, exchange.clone(), gauges.clone(), control), exchange, gauges)
    }

    fn raws(feed: &mut Feed, uptime_ms: u64) -> Vec<i64> {
        std::iter::from_fn(|| feed.next(&now(uptime_ms)))
            .map(|reading| reading.sample.steps().unwrap())
            .collect()
    }

    #[test]
    fn a_pace_divides_the_sources_time_and_steps_back_are_due_at_once() {
        let (mut feed, exchange, gauges) = feed(Pace::Times(10), 0);
        assert_eq!(exchange.unix_ms.get(), Some(1_000_000));
        assert_eq!(raws(&mut feed, 500), [1]);
        assert_eq!(feed.due(), Some(6500));
        assert!(raws(&mut feed, 6499).is_empty());
        assert_eq!(raws(&mut feed, 6500), [2, 3]);
        assert_eq!((exchange.unix_ms.get(), feed.due()), (Some(1_030_000), Some(12_500)));
        assert!(!gauges.exhausted.get());
        assert_eq!(raws(&mut feed, 20_000), [4]);
        assert!(gauges.exhausted.get());
        assert_eq!((gauges.admitted.get(), feed.due()), (4, None));
    }

    #[test]
    fn at_full_speed_only_a_full_ring_holds_it_back() {
        let (mut feed, exchange, gauges) = feed(Pace::Max, 0);
        exchange.ring_used.set(RING_USED_MAX);
        assert_eq!((raws(&mut feed, 0), exchange.held_back.get()), (vec![], true));
        exchange.ring_used.set(RING_USED_MAX - 1);
        assert_eq!((raws(&mut feed, 0), exchange.held_back.get()), (vec![1, 2, 3, 4], false));
        assert!(gauges.exhausted.get());
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let (mut feed, _, gauges) = feed(Pace::Max, 3);
        assert_eq!((raws(&mut feed, 0), gauges.admitted.get()), (vec![4], 4));
        let (_, exchange, gauges) = self::feed(Pace::Max, 4);
        assert!(gauges.exhausted.get() && exchange.unix_ms.get().is_none());
    }

    #[test]
    fn the_end_of_sampling_ends_it() {
        let (mut feed, _, gauges) = feed(Pace::Max, 0);
        feed.control.end_sampling();
        assert_eq!((raws(&mut feed, 0), gauges.admitted.get()), (vec![], 0));
    }
}
