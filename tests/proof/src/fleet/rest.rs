//! The end of a world: all faults are over, everything comes to rest, and nothing is missing.

use protocol::{DeviceId, Lane};

use super::broker::Broker;
use super::device::Device;
use super::documents;
use super::fault::{Kind, Order};
use super::host::Host;
use super::network::Weather;
use super::source::{Lineage, SIGNALS};
use super::truth::Violation;
use super::union;
use super::world::World;

/// Seconds that a world may take to come to rest.
const REST_MAX_S: u64 = 4 * 3600;
/// Seconds for which one of several devices of a name has the network to itself: longer than a device waits
/// until it dials again, and so short that between their heartbeats, of 600 s, all of three have been on.
const TURN_S: u64 = 97;
/// Seconds after which every device has found an agent again.
const FOUND_S: u64 = 150;

impl World {
    /// I1, I6: device and agent hold nothing back for ever. I3: nothing is missing.
    pub(super) fn rest(&mut self) -> Result<(), Violation> {
        self.heal();
        let begun_s = self.now_s;
        // Each agent in turn is told by every device what it has no more.
        for agent in 0..self.hosts.len() {
            self.turn_to(agent);
            let from_s = self.now_s + FOUND_S;
            while self.now_s < from_s || !self.is_still() {
                if self.now_s.is_multiple_of(5) {
                    let now_s = self.now_s;
                    self.devices.iter_mut().for_each(|device| device.flush(now_s));
                }
                self.take_turns();
                self.second()?;
                if self.now_s > begun_s + REST_MAX_S {
                    return Err(self.unrest());
                }
            }
            // Later they say heartbeats that this agent does not hear.
            let told = self
                .devices
                .iter()
                .map(|device| device.ring(Lane::Critical).map(|ring| (ring, device.events())));
            if let Some(host) = self.hosts.get_mut(agent) {
                host.told = told.collect();
            }
        }
        self.finish()
    }

    fn is_still(&self) -> bool {
        let is_one = self.hosts.len() == 1;
        let is_idle = |device: &Device| {
            device.is_out || (device.is_idle() && (is_one || device.has_heard_all()))
        };
        self.devices.iter().all(is_idle)
            && self.grants.is_empty()
            && self.brokers.iter().all(Broker::is_empty)
            && self.hosts.iter().all(Host::is_delivered)
    }

    fn unrest(&self) -> Violation {
        let is_busy = |device: &&Device| !(device.is_idle() && device.has_heard_all());
        let busy = self.devices.iter().filter(|device| !device.is_out).filter(is_busy);
        let busy: Vec<String> = busy.map(Device::condition).collect();
        let hosts: Vec<String> = self.hosts.iter().map(Host::condition).collect();
        let what = format!("does not come to rest: {}; {}", busy.join("; "), hosts.join("; "));
        Violation::new("I1, I6", what)
    }

    /// From here on every device is with this agent alone, and says hello to it.
    fn turn_to(&mut self, agent: usize) {
        self.only = Some(agent);
        for at in 0..self.devices.len() {
            self.drop_link(at);
            if let Some(device) = self.devices.get_mut(at) {
                device.heard = [None; 3];
            }
        }
    }

    /// Devices of one name would end each other's sessions for ever: one at a time has a network.
    fn take_turns(&mut self) {
        let turn = usize::try_from(self.now_s / TURN_S).unwrap_or(0);
        for at in 0..self.devices.len() {
            let Some(id) = self.devices.get(at).map(|device| device.id) else { continue };
            let same = |device: &&Device| device.id == id;
            let all = self.devices.iter().filter(same).count();
            let own = self.devices.iter().take(at).filter(same).count();
            if let Some(device) = self.devices.get_mut(at).filter(|_| turn % all.max(1) != own) {
                device.offline_until_s = self.now_s + 2;
            }
        }
    }

    fn heal(&mut self) {
        self.weather = Weather { is_broker: self.weather.is_broker, ..Weather::default() };
        for host in &mut self.hosts {
            for disk in [&host.disk, &host.sinks_disk] {
                disk.heal();
                disk.set_capacity(None);
            }
            host.each_upstream(|upstream| (upstream.is_down, upstream.doubtful) = (false, 0));
            host.settings.journal_bytes = host.settings.journal_bytes.max(self.plan.journal_bytes);
        }
        for device in &mut self.devices {
            device.offline_until_s = 0;
            device.wire.silent_until_s = 0;
        }
        // Who is only out of use for a while is in use again.
        let all: Vec<(DeviceId, Lineage)> = self
            .devices
            .iter()
            .filter(|device| !device.is_out && device.drive.of.copy == 0)
            .map(|device| (device.id, device.drive.of))
            .collect();
        for (device, of) in all {
            self.order(device, of, Order::Recommission);
        }
        self.note(|| "all is well".to_owned());
    }

    fn finish(&mut self) -> Result<(), Violation> {
        for host in &self.hosts {
            for (slots, is_removed) in [(&host.slots, false), (&host.retired, true)] {
                for slot in slots.iter().filter(|slot| slot.kind != Kind::Model) {
                    documents::read(slot, is_removed)?;
                }
            }
            let Some(life) = &host.life else { continue };
            for (slot, running) in host.slots.iter().zip(&life.sinks) {
                let mut upstream = slot.model.upstream();
                let told = self.devices.iter().zip(&host.told);
                for (device, told) in told.filter(|(device, _)| !device.is_out) {
                    let (of, admitted) = (device.drive.of, device.drive.next);
                    upstream.truth.finish(of, Lane::Bulk, admitted);
                    let latest = admitted.div_ceil(SIGNALS as u64);
                    upstream.truth.finish(of, Lane::Latest, latest);
                    if let Some((ring, events)) = *told {
                        upstream.truth.finish_events(of, ring, events);
                    }
                }
                upstream.truth.set_aside(running.set_aside(&life.tail));
                upstream.truth.violation.take().map_or(Ok(()), Err)?;
                upstream.nothing_again()?;
                upstream.exclusions()?;
            }
            for slot in &host.retired {
                slot.model.upstream().truth.violation.take().map_or(Ok(()), Err)?;
            }
        }
        self.compare()
    }

    /// What two agents on the same devices have together is all that there is.
    fn compare(&self) -> Result<(), Violation> {
        // A disk from a backup has lost what it had acknowledged since: its own sink may have it.
        let [one, other] = self.hosts.as_slice() else { return Ok(()) };
        let both = one
            .slots
            .iter()
            .find(|slot| slot.is_whole())
            .zip(other.slots.iter().find(|slot| slot.is_whole()));
        let Some((one, other)) = both.filter(|_| !self.was_restored) else { return Ok(()) };
        let (one, other) = (one.model.upstream(), other.model.upstream());
        union::compare(&one.truth, &other.truth)
            .map_or(Ok(()), |what| Err(Violation::new("I1, I3", what)))
    }
}
