//! What to sample, when, and to which lane: plain data, given at the start.
//!
//! What a campaign does not admit was never accepted: it is counted as refused and appears in no
//! ledger.

use core::num::NonZeroU32;

use protocol::thinning::Thin;
use protocol::{Catalogue, Lane, SignalIndex};

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
    /// Where its samples go; none: only into the windows that the catalogue makes of it.
    pub lane: Option<Lane>,
    /// Which readings. What of them is left out the catalogue says, so that whoever gets the others
    /// knows ([`protocol::thinning`]).
    pub when: When,
}

/// Which readings a rule takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Each that the source offers, and each window that ends.
    Offered,
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
    /// A window is made of another signal's readings: there is nothing to ask the source for.
    #[error("a window cannot be read: read the signal that it is of")]
    Window,
}

/// A campaign at work, for up to `SIGNALS` signals.
#[derive(Clone, Debug)]
pub struct Schedule<const SIGNALS: usize> {
    /// Per signal: the rule that records, and the one for the latest value.
    rules: [[Option<Running>; 2]; SIGNALS],
}

#[derive(Clone, Copy, Debug)]
struct Running {
    lane: Option<Lane>,
    /// How often it is read, in milliseconds; none: what is offered.
    period_ms: Option<NonZeroU32>,
    /// When it is read next, in uptime milliseconds.
    due_ms: u64,
}

impl<const SIGNALS: usize> Schedule<SIGNALS> {
    /// Starts a campaign for a catalogue.
    pub fn new(campaign: &Campaign<'_>, catalogue: &Catalogue<'_>) -> Result<Self, CampaignError> {
        let mut rules = [[None; 2]; SIGNALS];
        for rule in campaign.rules {
            let signal = usize::from(rule.signal.0);
            let slots = rules.get_mut(signal).filter(|_| signal < catalogue.signals.len());
            let [recording, latest] = slots.ok_or(CampaignError::UnknownSignal)?;
            let slot = if rule.lane == Some(Lane::Latest) { latest } else { recording };
            let period_ms = match rule.when {
                When::Offered => None,
                When::Periodic { .. } if is_window(catalogue, rule.signal) => {
                    return Err(CampaignError::Window);
                }
                When::Periodic { period_ms } => {
                    Some(NonZeroU32::new(period_ms).ok_or(CampaignError::Period)?)
                }
            };
            if slot.replace(Running { lane: rule.lane, period_ms, due_ms: 0 }).is_some() {
                return Err(CampaignError::Twice);
            }
        }
        Ok(Self { rules })
    }

    /// The lanes that what is offered of a signal goes to; none if no rule takes it.
    pub fn lanes(&self, signal: SignalIndex) -> impl Iterator<Item = Lane> + use<SIGNALS> {
        let rules = self.rules.get(usize::from(signal.0)).copied().unwrap_or_default();
        rules
            .into_iter()
            .flatten()
            .filter(|rule| rule.period_ms.is_none())
            .filter_map(|rule| rule.lane)
    }

    /// The next signal to be read by now, once for all its rules that are due, and the lanes of these;
    /// each rule once per period. Periods that passed without a poll are left out.
    pub fn due(&mut self, now_ms: u64) -> Option<(SignalIndex, [Option<Lane>; 2])> {
        for (signal, rules) in (0..=u8::MAX).zip(self.rules.iter_mut()) {
            let (mut lanes, mut any) = ([None; 2], false);
            for (rule, lane) in rules.iter_mut().zip(&mut lanes) {
                if let Some(rule) = rule
                    && rule.is_due(now_ms)
                {
                    (*lane, any) = (rule.lane, true);
                }
            }
            if any {
                return Some((SignalIndex(signal), lanes));
            }
        }
        None
    }

    /// When the next periodic rule is due, in uptime milliseconds.
    pub fn deadline(&self) -> Option<u64> {
        let rules = self.rules.iter().flatten().flatten();
        rules.filter_map(|rule| rule.period_ms.map(|_| rule.due_ms)).min()
    }
}

impl Running {
    /// Whether it is to be read now; if so, it is due a period later.
    fn is_due(&mut self, now_ms: u64) -> bool {
        let Some(period_ms) = self.period_ms else { return false };
        let Some(late_ms) = now_ms.checked_sub(self.due_ms) else { return false };
        let period_ms = u64::from(period_ms.get());
        let missed = late_ms.checked_div(period_ms).unwrap_or_default();
        let next = missed.saturating_add(1).saturating_mul(period_ms);
        self.due_ms = self.due_ms.saturating_add(next);
        true
    }
}

fn is_window(catalogue: &Catalogue<'_>, signal: SignalIndex) -> bool {
    let own = catalogue.thinning.iter().find(|thinning| thinning.signal == signal);
    own.is_some_and(|thinning| matches!(thinning.how, Thin::Window(_)))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use protocol::thinning::{Take, Thinning, Window};
    use protocol::{Signal, Step};

    use super::*;

    const SIGNAL: Signal<'static> =
        Signal { path: "Vehicle.Speed", unit: "", step: Step::ONE, raw_min: 0, raw_max: 1 };
    const CATALOGUE: Catalogue<'static> = Catalogue::new(1, &[SIGNAL, SIGNAL]);

    fn offered(signal: u8, lane: Lane) -> Rule {
        Rule { signal: SignalIndex(signal), lane: Some(lane), when: When::Offered }
    }

    fn periodic(signal: u8, period_ms: u32) -> Rule {
        let when = When::Periodic { period_ms };
        Rule { signal: SignalIndex(signal), lane: Some(Lane::Bulk), when }
    }

    #[test]
    fn a_signal_is_recorded_and_kept_as_latest() {
        let rules = [offered(0, Lane::Bulk), offered(0, Lane::Latest), periodic(1, 10)];
        let campaign = Campaign { id: 1, rules: &rules };
        let schedule = Schedule::<2>::new(&campaign, &CATALOGUE).unwrap();
        let lanes = |signal| schedule.lanes(SignalIndex(signal)).collect::<Vec<_>>();
        assert_eq!(lanes(0), [Lane::Bulk, Lane::Latest]);
        assert_eq!(lanes(1), [], "it is asked for");
        assert_eq!(lanes(9), [], "no such signal");
    }

    #[test]
    fn periods_missed_are_left_out() {
        let campaign = Campaign { id: 1, rules: &[periodic(1, 100)] };
        let mut schedule = Schedule::<2>::new(&campaign, &CATALOGUE).unwrap();
        let bulk = Some((SignalIndex(1), [Some(Lane::Bulk), None]));
        assert_eq!(schedule.due(0), bulk);
        assert_eq!(schedule.due(99), None);
        assert_eq!(schedule.deadline(), Some(100));
        assert_eq!(schedule.due(350), bulk);
        assert_eq!(schedule.due(350), None);
        assert_eq!(schedule.deadline(), Some(400));
    }

    #[test]
    fn campaigns_that_do_not_fit_are_refused() {
        let window = Window { of: SignalIndex(0), take: Take::Max, length_ms: 10 };
        let thinning = [Thinning { signal: SignalIndex(1), how: Thin::Window(window) }];
        let catalogue = Catalogue { thinning: &thinning, ..CATALOGUE };
        let new = |rules: &[Rule]| Schedule::<2>::new(&Campaign { id: 1, rules }, &catalogue).err();
        assert_eq!(new(&[offered(2, Lane::Bulk)]), Some(CampaignError::UnknownSignal));
        let twice = [offered(0, Lane::Bulk), offered(0, Lane::Critical)];
        assert_eq!(new(&twice), Some(CampaignError::Twice));
        assert_eq!(new(&[periodic(0, 0)]), Some(CampaignError::Period));
        assert_eq!(new(&[periodic(1, 10)]), Some(CampaignError::Window));
        assert_eq!(new(&[periodic(0, 10), offered(1, Lane::Bulk)]), None);
    }
}
