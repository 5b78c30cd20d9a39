//! What the app says of itself: boot, heartbeat, catalogue. Records of the critical lane.

use core::borrow::BorrowMut;

use protocol::Lane;
use protocol::health::{Boot, Heartbeat, ResetReason};
use protocol::record::Record;

use super::App;
use crate::batch::{Batches, RecordBatch};
use crate::ports::Now;

impl<'a, const SIGNALS: usize, const FRAME: usize, B> App<'a, SIGNALS, FRAME, B>
where
    B: BorrowMut<Batches<'a, SIGNALS, FRAME>>,
{
    /// The boot. `clean`: nothing was left open by the one before.
    pub(super) fn say_boot(&mut self, now: &Now, reset: ResetReason, clean: bool) {
        let [critical, bulk, latest] = self.batching.open_samples_max.map(u32::from);
        let events = RecordBatch::<FRAME>::EVENTS_MAX;
        let (mut samples, mut events) =
            if clean { ([0; 3], [0; 3]) } else { ([critical, bulk, latest], [events, 0, 0]) };
        // What nobody can open any more is gone like what was never sealed: at most so much.
        for (store, (samples, events)) in
            self.stores.iter().zip(samples.iter_mut().zip(&mut events))
        {
            let at_most = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            *samples = samples.saturating_add(at_most(store.abandoned.samples));
            *events = events.saturating_add(at_most(store.abandoned.events));
        }
        let boot = Boot {
            time: self.device_time(now),
            reset,
            unsealed_samples_max: samples,
            unsealed_events_max: events,
            next: self.stores.each_ref().map(|store| store.ring.next()),
        };
        self.say(&Record::Boot(boot));
    }

    /// The heartbeat, if it is time.
    pub(super) fn say_heartbeat(&mut self, now: &Now) {
        if self.heartbeat_ms == 0 || now.uptime_ms < self.heartbeat_due_ms {
            return;
        }
        self.heartbeat_due_ms = now.uptime_ms.saturating_add(u64::from(self.heartbeat_ms));
        let heartbeat = Heartbeat {
            time: self.device_time(now),
            ring_used: self.stores.each_ref().map(|store| share(store.ring.used())),
            link_up: self.counters.link_up,
            rejected: self.counters.rejected,
            refused: self.counters.refused,
            stack_free: self.vitals.stack_free,
            supply_mv: self.vitals.supply_mv,
        };
        self.say(&Record::Heartbeat(heartbeat));
    }

    /// The catalogue, if the agent asked for it.
    pub(super) fn say_catalogue(&mut self) {
        if !self.catalogue_wanted {
            return;
        }
        // No room beside other records now: at the next poll.
        if let Ok(len) = self.catalogue.encode(&mut self.scratch)
            && let Some(encoded) = self.scratch.get(..len)
            && self.records.push(&Record::Catalogue(encoded)).is_ok()
        {
            self.catalogue_wanted = false;
        }
    }

    /// Takes a record of the app's own.
    pub(super) fn say(&mut self, record: &Record<'_>) {
        if self.records.push(record).is_ok() {
            self.accept(Lane::Critical, record.counts());
        }
    }
}

/// Percent to 255ths.
fn share(percent: u8) -> u8 {
    let share = u16::from(percent.min(100)) * 255 / 100;
    u8::try_from(share).unwrap_or(u8::MAX)
}
