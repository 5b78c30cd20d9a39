//! What to sample, when, and to which lane: plain data, given at the start.
//!
//! What a campaign does not admit was never accepted: it is counted as refused and appears in no
//! ledger.

use protocol::{Clock, Lane, SignalIndex};

use crate::ports::Reading;

/// A set of rules under a number that the hello names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Campaign<'a> {
    /// Its number.
    pub id: u32,
    /// The rules; per signal at most one that records (critical or bulk) and one for the latest
    /// value.
    pub rules: &'a [Rule],
}

/// Which readings of one signal go to which lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The signal.
    pub signal: SignalIndex,
    /// Where its samples go.
    pub lane: Lane,
    /// Which readings.
    pub when: When,
}

/// Which readings a rule takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Each that the source offers, but none sooner after the one before than this. Measured by
    /// the source's own stamps; 0 takes all. A clock that steps back or changes starts anew.
    Every {
        /// Least distance, in milliseconds.
        interval_ms_min: u32,
    },
    /// One each period: the core asks the source.
    Periodic {
        /// The period in milliseconds of uptime, at least 1.
        period_ms: u32,
    },
}

/// Why a campaign does not fit this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CampaignError {
    /// A rule for a signal that the catalogue does not have, or that there is no room for.
    #[error("a rule names a signal outside the catalogue")]
    UnknownSignal,
    /// Two rules of one kind for one signal.
    #[error("a signal has two rules of one kind")]
    Twice,
    /// A period of 0.
    #[error("a period is at least 1 ms")]
    Period,
}

/// A campaign at work, for up to `SIGNALS` signals.
#[derive(Clone, Debug)]
pub struct Schedule<const SIGNALS: usize> {
    tick_ms: u32,
    /// Per signal: the rule that records, and the one for the latest value.
    rules: [[Option<Running>; 2]; SIGNALS],
}

#[derive(Clone, Copy, Debug)]
struct Running {
    lane: Lane,
    when: When,
    progress: Progress,
}

#[derive(Clone, Copy, Debug)]
enum Progress {
    Fresh,
    /// Taken last, by the source's clock.
    Last {
        tick: i64,
        clock: Clock,
    },
    /// To be read next, in uptime milliseconds.
    Due(u64),
}

impl<const SIGNALS: usize> Schedule<SIGNALS> {
    /// Starts a campaign for a catalogue of `signals` signals with ticks of `tick_ms`.
    pub fn new(
        campaign: &Campaign<'_>,
        signals: usize,
        tick_ms: u32,
    ) -> Result<Self, CampaignError> {
        let mut rules = [[None; 2]; SIGNALS];
        for rule in campaign.rules {
            let signal = usize::from(rule.signal.0);
            let slots = rules.get_mut(signal).filter(|_| signal < signals);
            let [recording, latest] = slots.ok_or(CampaignError::UnknownSignal)?;
            let slot = if rule.lane == Lane::Latest { latest } else { recording };
            let progress = match rule.when {
                When::Periodic { period_ms: 0 } => return Err(CampaignError::Period),
                When::Periodic { .. } => Progress::Due(0),
                When::Every { .. } => Progress::Fresh,
            };
            let running = Running { lane: rule.lane, when: rule.when, progress };
            if slot.replace(running).is_some() {
                return Err(CampaignError::Twice);
            }
        }
        Ok(Self { tick_ms, rules })
    }

    /// The lanes that a reading offered by the source goes to.
    pub fn admit(&mut self, reading: &Reading) -> impl Iterator<Item = Lane> + use<SIGNALS> {
        let tick_ms = self.tick_ms;
        let rules = self.rules.get_mut(usize::from(reading.sample.signal.0));
        let lanes = rules.map_or([None; 2], |rules| {
            rules.each_mut().map(|rule| rule.as_mut()?.admit(reading, tick_ms))
        });
        lanes.into_iter().flatten()
    }

    /// The next signal to be read by now, and its lane; each due rule once per period. Periods that
    /// passed without a poll are left out.
    pub fn due(&mut self, now_ms: u64) -> Option<(SignalIndex, Lane)> {
        for (signal, rules) in (0..=u8::MAX).zip(self.rules.iter_mut()) {
            for rule in rules.iter_mut().flatten() {
                if let (When::Periodic { period_ms }, Progress::Due(due)) =
                    (rule.when, rule.progress)
                    && due <= now_ms
                {
                    let period = u64::from(period_ms);
                    let missed = now_ms.saturating_sub(due).checked_div(period).unwrap_or_default();
                    let next = due.saturating_add(missed.saturating_add(1).saturating_mul(period));
                    rule.progress = Progress::Due(next);
                    return Some((SignalIndex(signal), rule.lane));
                }
            }
        }
        None
    }

    /// When the next periodic rule is due, in uptime milliseconds.
    pub fn deadline(&self) -> Option<u64> {
        let rules = self.rules.iter().flatten().flatten();
        rules
            .filter_map(|rule| match rule.progress {
                Progress::Due(due) => Some(due),
                Progress::Fresh | Progress::Last { .. } => None,
            })
            .min()
    }
}

impl Running {
    fn admit(&mut self, reading: &Reading, tick_ms: u32) -> Option<Lane> {
        let When::Every { interval_ms_min } = self.when else { return None };
        let (tick, clock) = (reading.sample.tick, reading.clock);
        if let Progress::Last { tick: last, clock: last_clock } = self.progress
            && last_clock == clock
            && tick >= last
        {
            let passed_ms = tick.saturating_sub(last).saturating_mul(i64::from(tick_ms));
            if passed_ms < i64::from(interval_ms_min) {
                return None;
            }
        }
        self.progress = Progress::Last { tick, clock };
        Some(self.lane)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use protocol::Sample;

    use super::*;

    fn reading(signal: u8, tick: i64) -> Reading {
        let sample = Sample::new(tick, SignalIndex(signal), 0);
        Reading { sample, clock: Clock::Reference }
    }

    fn every(signal: u8, lane: Lane, interval_ms_min: u32) -> Rule {
        Rule { signal: SignalIndex(signal), lane, when: When::Every { interval_ms_min } }
    }

    #[test]
    fn a_signal_is_recorded_and_kept_as_latest_at_different_rates() {
        let rules = [every(0, Lane::Bulk, 0), every(0, Lane::Latest, 3000)];
        let campaign = Campaign { id: 1, rules: &rules };
        let mut schedule = Schedule::<2>::new(&campaign, 2, 1000).unwrap();
        let mut lanes = |tick| schedule.admit(&reading(0, tick)).collect::<Vec<_>>();
        assert_eq!(lanes(10), [Lane::Bulk, Lane::Latest]);
        assert_eq!(lanes(12), [Lane::Bulk], "2 s after the last");
        assert_eq!(lanes(13), [Lane::Bulk, Lane::Latest]);
        assert_eq!(lanes(5), [Lane::Bulk, Lane::Latest], "the clock stepped back");
        assert_eq!(lanes(6), [Lane::Bulk]);
        assert_eq!(schedule.admit(&reading(1, 0)).count(), 0, "no rule");
        assert_eq!(schedule.admit(&reading(9, 0)).count(), 0, "no such signal");
    }

    #[test]
    fn periods_missed_are_left_out() {
        let when = When::Periodic { period_ms: 100 };
        let rules = [Rule { signal: SignalIndex(1), lane: Lane::Bulk, when }];
        let campaign = Campaign { id: 1, rules: &rules };
        let mut schedule = Schedule::<2>::new(&campaign, 2, 1).unwrap();
        assert_eq!(schedule.due(0), Some((SignalIndex(1), Lane::Bulk)));
        assert_eq!(schedule.due(99), None);
        assert_eq!(schedule.deadline(), Some(100));
        assert_eq!(schedule.due(350), Some((SignalIndex(1), Lane::Bulk)));
        assert_eq!(schedule.due(350), None);
        assert_eq!(schedule.deadline(), Some(400));
    }

    #[test]
    fn campaigns_that_do_not_fit_are_refused() {
        let new = |rules: &[Rule]| Schedule::<2>::new(&Campaign { id: 1, rules }, 2, 1).err();
        assert_eq!(new(&[every(2, Lane::Bulk, 0)]), Some(CampaignError::UnknownSignal));
        let twice = [every(0, Lane::Bulk, 0), every(0, Lane::Critical, 0)];
        assert_eq!(new(&twice), Some(CampaignError::Twice));
        let when = When::Periodic { period_ms: 0 };
        let rule = Rule { signal: SignalIndex(0), lane: Lane::Bulk, when };
        assert_eq!(new(&[rule]), Some(CampaignError::Period));
    }
}
