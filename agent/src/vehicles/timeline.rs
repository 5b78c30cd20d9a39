//! Where a device sat, and when: spans that never overlap, in order. Pure.

use protocol::DeviceId;
use serde::{Deserialize, Serialize};

use super::names::{Name, VehicleId};
use super::{Conflict, VehicleError};
use crate::document::rfc3339;

/// What a vehicle belongs to.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Belonging {
    /// Group, depot, line of business.
    pub group: Option<Name>,
    /// Whose, where several share an agent.
    pub tenant: Option<Name>,
    /// Where it is at home.
    pub region: Option<Name>,
}

/// That a device sat in a vehicle for a time, and what the vehicle belonged to then.
///
/// From `from_ms` on, up to but without `to_ms`, both in milliseconds since 1970 UTC.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// Which device.
    pub device: DeviceId,
    /// In which vehicle.
    pub vehicle: VehicleId,
    /// Since when; none: since ever.
    pub from_ms: Option<i64>,
    /// Until when; none: it still does.
    pub to_ms: Option<i64>,
    /// What the vehicle belonged to in that time.
    #[serde(flatten)]
    pub belonging: Belonging,
}

impl Assignment {
    /// Its first millisecond.
    pub fn start(&self) -> i64 {
        self.from_ms.unwrap_or(i64::MIN)
    }

    /// The first millisecond after it.
    pub fn end(&self) -> i64 {
        self.to_ms.unwrap_or(i64::MAX)
    }

    /// Whether it holds at this time.
    pub fn covers(&self, at_ms: i64) -> bool {
        self.start() <= at_ms && (at_ms < self.end() || self.to_ms.is_none())
    }

    /// Its time, for a sentence.
    pub fn span(&self) -> String {
        let shown = |at_ms: Option<i64>| at_ms.map(rfc3339::shown);
        match (shown(self.from_ms), shown(self.to_ms)) {
            (None, None) => "always".to_owned(),
            (Some(from), None) => format!("since {from}"),
            (None, Some(to)) => format!("until {to}"),
            (Some(from), Some(to)) => format!("from {from} to {to}"),
        }
    }
}

/// All assignments of one device, in order of time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timeline {
    spans: Vec<Assignment>,
}

impl Timeline {
    /// The most assignments of one device: what is cached of it is bounded.
    pub const SPANS_MAX: usize = 1000;

    /// Of spans that are in order and do not overlap.
    pub(super) fn new(spans: Vec<Assignment>) -> Self {
        Self { spans }
    }

    /// In order of time.
    pub fn spans(&self) -> &[Assignment] {
        &self.spans
    }

    /// The assignment at a time.
    pub fn at(&self, at_ms: i64) -> Option<&Assignment> {
        let after = self.spans.partition_point(|span| span.start() <= at_ms);
        self.spans.get(after.checked_sub(1)?).filter(|span| span.covers(at_ms))
    }

    /// Puts one in.
    ///
    /// Errors: it overlaps another, is empty, or is one too many.
    pub(super) fn insert(&mut self, new: Assignment) -> Result<(), VehicleError> {
        if new.start() >= new.end() {
            return Err(VehicleError::Backwards);
        }
        let overlaps = |span: &&Assignment| span.start() < new.end() && new.start() < span.end();
        if let Some(other) = self.spans.iter().find(overlaps) {
            return Err(Conflict::of(other).into());
        }
        if self.spans.len() >= Self::SPANS_MAX {
            return Err(VehicleError::TooMany(new.device));
        }
        let at = self.spans.partition_point(|span| span.start() < new.start());
        self.spans.insert(at, new);
        Ok(())
    }

    /// Takes out the one that begins at this time.
    pub(super) fn take(&mut self, start: i64) -> Option<Assignment> {
        let at = self.spans.iter().position(|span| span.start() == start)?;
        Some(self.spans.remove(at))
    }

    /// Ends what holds at `at_ms`, and drops what would only begin then; of `vehicle` alone, if
    /// one is named. What was ended, as it was before, and how many were dropped.
    pub(super) fn end(&mut self, vehicle: Option<&VehicleId>, at_ms: i64) -> Ended {
        let mut ended = Ended::default();
        let concerns = |span: &Assignment| vehicle.is_none_or(|vehicle| span.vehicle == *vehicle);
        self.spans.retain(|span| {
            let is_dropped = concerns(span) && span.start() >= at_ms;
            ended.dropped += usize::from(is_dropped);
            !is_dropped
        });
        for span in self.spans.iter_mut().filter(|span| concerns(span) && span.covers(at_ms)) {
            ended.cut = Some(span.clone());
            span.to_ms = Some(at_ms);
        }
        ended
    }

    /// Says of the time from `at_ms` on in a vehicle that it belongs elsewhere.
    pub(super) fn belong(
        &mut self,
        vehicle: &VehicleId,
        at_ms: i64,
        change: impl Fn(&mut Belonging),
    ) -> Result<(), VehicleError> {
        let mut later = Vec::new();
        for span in self.spans.iter_mut().filter(|span| span.vehicle == *vehicle) {
            if span.start() >= at_ms {
                change(&mut span.belonging);
            } else if span.covers(at_ms) {
                let mut rest = Assignment { from_ms: Some(at_ms), ..span.clone() };
                change(&mut rest.belonging);
                if rest.belonging != span.belonging {
                    span.to_ms = Some(at_ms);
                    later.push(rest);
                }
            }
        }
        later.into_iter().try_for_each(|rest| self.insert(rest))
    }
}

/// What an end did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ended {
    /// What held then, as it was.
    pub cut: Option<Assignment>,
    /// How many were only to begin.
    pub dropped: usize,
}

impl Ended {
    pub fn is_nothing(&self) -> bool {
        self.cut.is_none() && self.dropped == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(vehicle: &str, from_ms: Option<i64>, to_ms: Option<i64>) -> Assignment {
        Assignment {
            device: "d".parse().unwrap(),
            vehicle: vehicle.parse().unwrap(),
            from_ms,
            to_ms,
            belonging: Belonging::default(),
        }
    }

    #[test]
    fn a_time_is_in_the_span_that_begins_with_it() {
        let mut timeline = Timeline::default();
        timeline.insert(span("b", Some(20), None)).unwrap();
        timeline.insert(span("a", None, Some(10))).unwrap();
        for (at, want) in [(i64::MIN, "a"), (9, "a"), (20, "b"), (i64::MAX, "b")] {
            assert_eq!(timeline.at(at).unwrap().vehicle.as_str(), want, "{at}");
        }
        for at in [10, 19] {
            assert_eq!(timeline.at(at), None, "{at}");
        }
    }

    #[test]
    fn overlaps_are_refused_in_a_sentence() {
        let mut timeline = Timeline::default();
        timeline.insert(span("a", Some(0), Some(1000))).unwrap();
        let error = timeline.insert(span("b", Some(999), None)).unwrap_err().to_string();
        assert!(
            error.contains("device d sits in vehicle a from 1970-01-01T00:00:00.000Z"),
            "{error}"
        );
        assert!(timeline.insert(span("b", None, Some(1))).is_err());
        assert!(timeline.insert(span("b", Some(5), Some(5))).is_err(), "empty");
        timeline.insert(span("b", None, Some(0))).unwrap();
        timeline.insert(span("b", Some(1000), None)).unwrap();
    }

    #[test]
    fn an_end_cuts_what_holds_and_drops_what_would_begin() {
        let mut timeline = Timeline::default();
        for new in
            [span("a", Some(0), Some(10)), span("b", Some(10), Some(20)), span("a", Some(20), None)]
        {
            timeline.insert(new).unwrap();
        }
        let ended = timeline.end(Some(&"a".parse().unwrap()), 5);
        assert_eq!((ended.cut.unwrap().to_ms, ended.dropped), (Some(10), 1));
        let left: Vec<_> = timeline.spans().iter().map(|span| (span.start(), span.end())).collect();
        assert_eq!(left, [(0, 5), (10, 20)]);
        assert!(timeline.end(None, 20).is_nothing());
    }

    #[test]
    fn belonging_changes_from_a_time_on() {
        let mut timeline = Timeline::default();
        timeline.insert(span("a", Some(0), Some(10))).unwrap();
        timeline.insert(span("a", Some(20), None)).unwrap();
        let north = |belonging: &mut Belonging| belonging.region = Some("north".parse().unwrap());
        timeline.belong(&"a".parse().unwrap(), 5, north).unwrap();
        let regions: Vec<_> = timeline
            .spans()
            .iter()
            .map(|span| (span.start(), span.belonging.region.is_some()))
            .collect();
        assert_eq!(regions, [(0, false), (5, true), (20, true)]);
    }

    proptest! {
        #[test]
        fn whatever_goes_in_never_overlaps(
            spans in proptest::collection::vec((0_i64..50, 1_i64..20, any::<bool>()), 1..20),
            cut in 0_i64..60,
        ) {
            let mut timeline = Timeline::default();
            for (from, len, open) in spans {
                let to = (!open).then_some(from + len);
                let before = timeline.clone();
                if timeline.insert(span("v", Some(from), to)).is_err() {
                    prop_assert_eq!(&timeline, &before);
                }
            }
            timeline.end(None, cut);
            for pair in timeline.spans().windows(2) {
                prop_assert!(pair[0].end() <= pair[1].start());
            }
            prop_assert!(timeline.spans().iter().all(|span| span.end() <= cut));
        }
    }
}
