//! What each device did lately, for the page: when it was heard of, and when it last brought news.
//!
//! A device that only shows that it is alive is *seen*; one that brings samples or events has
//! *changed*. The two drift apart when a vehicle is parked, or its sensors are silent. Kept in
//! memory, at most [`DEVICES_MAX`] devices: beyond that those silent longest are forgotten here (and
//! nowhere else). Times are this agent's, in milliseconds since 1970.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::{Counts, DeviceId};
use serde::Serialize;

/// The most devices kept: about 2 MiB.
pub const DEVICES_MAX: usize = 16_384;

/// One device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Doings {
    /// Connections it has now.
    pub connections: u32,
    /// When anything authentic came from it last; none before that.
    pub last_seen_ms: Option<i64>,
    /// When it last brought samples or events, its own heartbeats and boots apart; none before that
    /// in this life of the agent.
    pub last_changed_ms: Option<i64>,
    /// Frames accepted in this life of the agent.
    pub frames: u64,
    /// Samples in them.
    pub samples: u64,
    /// Events in them, its own records included.
    pub events: u64,
    /// Grows with everything that happens to any device: what is newer has a greater one.
    #[serde(skip)]
    pub turn: u64,
}

/// The devices' doings; a clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    devices: BTreeMap<DeviceId, Doings>,
    turn: u64,
}

impl Activity {
    /// What was known of a device before this life of the agent.
    pub fn remember(&self, device: DeviceId, last_seen_ms: Option<i64>) {
        self.touch(device, |doings| doings.last_seen_ms = doings.last_seen_ms.max(last_seen_ms));
    }

    /// It connected.
    pub fn opened(&self, device: DeviceId) {
        self.touch(device, |doings| doings.connections += 1);
    }

    /// It went.
    pub fn closed(&self, device: DeviceId) {
        self.touch(device, |doings| {
            doings.connections = doings.connections.saturating_sub(1);
        });
    }

    /// Something authentic came from it.
    pub fn seen(&self, device: DeviceId, now_ms: i64) {
        self.touch(device, |doings| doings.last_seen_ms = Some(now_ms));
    }

    /// A frame was accepted from it; `is_news` if there are samples or events in it.
    pub fn accepted(&self, device: DeviceId, now_ms: i64, adds: Counts, is_news: bool) {
        self.touch(device, |doings| {
            doings.last_seen_ms = Some(now_ms);
            if is_news {
                doings.last_changed_ms = Some(now_ms);
            }
            doings.frames += 1;
            doings.samples += adds.samples;
            doings.events += adds.events;
        });
    }

    /// It was removed.
    pub fn forget(&self, device: &DeviceId) {
        self.table().devices.remove(device);
    }

    /// The latest turn, and up to `limit` devices that changed after the turn `since` and whose
    /// name contains `search`, by name.
    pub fn since(&self, since: u64, search: &str, limit: usize) -> (u64, Vec<(DeviceId, Doings)>) {
        let table = self.table();
        let news = table
            .devices
            .iter()
            .filter(|(device, doings)| doings.turn > since && device.as_str().contains(search));
        (table.turn, news.map(|(device, doings)| (*device, *doings)).take(limit).collect())
    }

    /// How many devices are kept, and how many of them are connected.
    pub fn count(&self) -> (usize, usize) {
        let table = self.table();
        let connected = table.devices.values().filter(|doings| doings.connections > 0).count();
        (table.devices.len(), connected)
    }

    fn touch(&self, device: DeviceId, change: impl FnOnce(&mut Doings)) {
        let mut table = self.table();
        table.turn += 1;
        let turn = table.turn;
        if table.devices.len() >= DEVICES_MAX && !table.devices.contains_key(&device) {
            table.make_room();
        }
        let doings = table.devices.entry(device).or_default();
        doings.turn = turn;
        change(doings);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets the eighth that has been silent longest.
    fn make_room(&mut self) {
        let mut turns: Vec<u64> = self.devices.values().map(|doings| doings.turn).collect();
        let at = turns.len() / 8;
        let (_, limit, _) = turns.select_nth_unstable(at);
        let limit = *limit;
        self.devices.retain(|_, doings| doings.turn > limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: usize) -> DeviceId {
        format!("cab-{number}").parse().unwrap()
    }

    #[test]
    fn seen_and_changed_are_told_apart() {
        let activity = Activity::default();
        activity.remember(device(1), Some(5));
        activity.opened(device(1));
        let samples = Counts { samples: 3, events: 0 };
        activity.accepted(device(1), 10, samples, true);
        activity.accepted(device(1), 20, Counts { samples: 0, events: 1 }, false);
        activity.seen(device(1), 30);
        activity.closed(device(1));
        let (_, all) = activity.since(0, "", 10);
        let doings = all[0].1;
        assert_eq!((doings.last_seen_ms, doings.last_changed_ms), (Some(30), Some(10)));
        assert_eq!((doings.frames, doings.samples, doings.events), (2, 3, 1));
        assert_eq!(activity.count(), (1, 0));
    }

    #[test]
    fn only_what_is_new_is_told_again() {
        let activity = Activity::default();
        for number in 0..5 {
            activity.seen(device(number), 1);
        }
        let (turn, all) = activity.since(0, "", 100);
        assert_eq!(all.len(), 5);
        activity.seen(device(3), 2);
        let (_, news) = activity.since(turn, "", 100);
        assert_eq!(news.iter().map(|(device, _)| *device).collect::<Vec<_>>(), [device(3)]);
        assert_eq!(activity.since(0, "cab-4", 100).1.len(), 1);
        assert_eq!(activity.since(0, "", 2).1.len(), 2);
    }

    #[test]
    fn the_table_stays_bounded_and_forgets_the_silent() {
        let activity = Activity::default();
        for number in 0..=DEVICES_MAX {
            activity.seen(device(number), 1);
        }
        let (kept, _) = activity.count();
        assert!(kept <= DEVICES_MAX && kept > DEVICES_MAX / 2, "{kept}");
        let newest = device(DEVICES_MAX);
        assert!(activity.since(0, newest.as_str(), 1).1.iter().any(|(name, _)| *name == newest));
        assert!(activity.since(0, "", usize::MAX).1.iter().all(|(name, _)| *name != device(0)));
    }
}
