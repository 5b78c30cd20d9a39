//! What each fault of an agent's machine does, of its sinks and of the way to it.

use agent::storage::faulty::Fault as Disk;

use super::fault::{Change, Fault};
use super::host::Host;
use super::world::{End, World};

/// Sinks of an agent at most.
const SINKS_MAX: usize = 4;

impl World {
    /// A fault strikes an agent.
    pub(super) fn strike_agent(&mut self, fault: Fault) {
        let now_s = self.now_s;
        match fault {
            Fault::PowerCut { agent, calls, after, leaves, down_s } => {
                let Some(host) = self.hosts.get_mut(agent) else { return };
                host.next_cut = (leaves, down_s);
                if let Some(calls) = calls {
                    host.disk.fail(calls, if after { Disk::CutAfter } else { Disk::CutBefore });
                } else {
                    host.cut(leaves, now_s + down_s);
                    self.agent_is_gone(agent);
                }
            }
            Fault::Kill { agent, down_s } => {
                self.goes(agent, |host| host.kill(now_s + down_s));
            }
            Fault::Restart { agent, down_s } => {
                self.goes(agent, |host| host.stop(now_s, now_s + down_s));
            }
            Fault::DiskFails { agent, own, calls, times, is_full } => {
                let Some(host) = self.hosts.get(agent) else { return };
                let how = if is_full { Disk::NoSpace } else { Disk::Io };
                let disk = if own { &host.disk } else { &host.sinks_disk };
                (calls..calls + times).for_each(|nth| disk.fail(nth, how));
            }
            Fault::DiskFull { agent, own, left, for_s } => {
                let Some(host) = self.hosts.get(agent) else { return };
                let disk = if own { &host.disk } else { &host.sinks_disk };
                disk.set_capacity(Some(disk.used() + left));
                self.ends.push((now_s + 1 + for_s, End::DiskFull { agent, own }));
            }
            Fault::SinkDown { agent, sink, for_s } => {
                let Some(slot) = self.hosts.get(agent).and_then(|host| host.slots.get(sink)) else {
                    return;
                };
                slot.model.upstream().is_down = true;
                self.ends.push((now_s + 1 + for_s, End::SinkDown { agent, sink }));
            }
            Fault::SinkDoubtful { agent, sink, times } => {
                let slot = self.hosts.get(agent).and_then(|host| host.slots.get(sink));
                if let Some(slot) = slot {
                    slot.model.upstream().doubtful += times;
                }
            }
            Fault::KeepDisk { agent } => {
                if let Some(host) = self.hosts.get_mut(agent) {
                    host.kept = Some(host.disk.copy());
                }
            }
            Fault::RestoreDisk { agent, down_s } => self.restore(agent, down_s),
            Fault::Clock { agent, by_s } => {
                if let Some(host) = self.hosts.get_mut(agent) {
                    host.leap(by_s);
                }
            }
            Fault::BrokerForgets { agent } => {
                let (broker, host) = (self.brokers.get_mut(agent), self.hosts.get_mut(agent));
                if let (Some(broker), Some(host)) = (broker, host) {
                    broker.forget(now_s, host);
                }
            }
            Fault::Configure { agent, change, down_s } => self.configure(agent, change, down_s),
            _ => {}
        }
    }

    /// The agent ends in some way.
    fn goes(&mut self, agent: usize, how: impl FnOnce(&mut Host)) {
        if let Some(host) = self.hosts.get_mut(agent) {
            how(host);
            self.agent_is_gone(agent);
        }
    }

    fn restore(&mut self, agent: usize, down_s: u64) {
        let up_at_s = self.now_s + down_s;
        let Some(host) = self.hosts.get_mut(agent).filter(|host| host.kept.is_some()) else {
            return;
        };
        host.restore(up_at_s);
        self.agent_is_gone(agent);
        self.was_restored = true;
        self.allow_two_histories();
        let all: Vec<_> = self.devices.iter().map(|device| device.drive.clone()).collect();
        self.each_truth(|truth| {
            // What it had acknowledged since the copy, another life of it had.
            (truth.is_shared, truth.was_restored) = (true, true);
            for drive in &all {
                // Of what a sink has from before nobody knows the counts any more.
                truth.may_overstate(drive.of);
            }
        });
    }

    /// Rules change while the agent runs; anything else over an orderly restart.
    fn configure(&mut self, agent: usize, change: Change, down_s: u64) {
        let now_s = self.now_s;
        if let Change::Policy { drops } = change {
            let Some(host) = self.hosts.get_mut(agent) else { return };
            host.settings.drops = drops;
            if let Some(life) = &mut host.life {
                life.sinks.iter_mut().for_each(|sink| sink.change(drops));
            }
            return;
        }
        self.goes(agent, |host| {
            let was_cut_off = host.life.is_none();
            host.stop(now_s, now_s + down_s);
            host.reconfigure(change, was_cut_off);
        });
    }
}

impl Host {
    /// Takes up another configuration, for the next start; the last life may have been cut off.
    fn reconfigure(&mut self, change: Change, was_cut_off: bool) {
        let count = self.slots.len();
        match change {
            Change::AddSink { kind, may_lose } if count < SINKS_MAX => {
                self.add_sink(kind, may_lose);
            }
            Change::RemoveSink { sink } if sink < count && count > 1 => {
                let slot = self.slots.remove(sink);
                let mut upstream = slot.model.upstream();
                upstream.is_down = false;
                // Nothing but the sink knows what it took last, and that is numbers.
                upstream.truth.may_be_uncounted |= was_cut_off;
                upstream.truth.was_removed = true;
                drop(upstream);
                self.retired.push(slot);
            }
            Change::BringBack if count < SINKS_MAX => self.slots.extend(self.retired.pop()),
            Change::RenameSink { sink } if sink < count => self.rename_sink(sink),
            Change::OnFull { sink, may_lose } => {
                if let Some(slot) = self.slots.get_mut(sink) {
                    slot.may_lose = may_lose;
                    slot.model.upstream().truth.may_lose |= may_lose;
                }
            }
            Change::JournalBytes { bytes } => self.settings.journal_bytes = bytes,
            Change::Policy { .. }
            | Change::AddSink { .. }
            | Change::RemoveSink { .. }
            | Change::BringBack
            | Change::RenameSink { .. } => {}
        }
    }

    fn rename_sink(&mut self, sink: usize) {
        self.sinks_named += 1;
        let name = format!("sink-{}", self.sinks_named);
        if let Some(slot) = self.slots.get_mut(sink) {
            slot.name = name;
        }
    }
}
