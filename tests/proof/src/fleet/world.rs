//! One world from its first second to its rest.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use agent::registry::Credentials;
use protocol::{DeviceId, Lane};

use super::broker::Broker;
use super::device::{Device, OPEN_MAX};
use super::fault::{Fault, Kind, Order};
use super::host::{Dice, Host};
use super::network::{Message, Weather};
use super::plan::Plan;
use super::planted::Planted;
use super::report::{Outcome, Tally};
use super::source::{Lineage, SIGNALS};
use super::stream::Allowance;
use super::truth::{Truth, Violation};
use crate::chance::Chance;

/// Readings that a device takes in one poll, and that may be lost with it.
const POLL_MAX: u64 = 256;

/// A world.
#[derive(Debug)]
pub(super) struct World {
    pub now_s: u64,
    pub devices: Vec<Device>,
    /// Agents' machines: one, or two that are given the same devices.
    pub hosts: Vec<Host>,
    /// What a broker has for each of them.
    pub brokers: Vec<Broker>,
    pub weather: Weather,
    pub tally: Tally,
    pub(super) plan: Plan,
    pub(super) names: Vec<DeviceId>,
    pub(super) trips: Vec<Trip>,
    pub(super) chance: Chance,
    pub(super) packet: u16,
    /// What a broker remembers of what agents said, to whichever device.
    pub(super) said: Vec<Message>,
    /// What ends by itself: when, and what then.
    pub(super) ends: Vec<(u64, End)>,
    /// The one agent that devices reach.
    pub(super) only: Option<usize>,
    pub(super) was_restored: bool,
    /// Orders with which a device is given something: whose, and the order's seed.
    pub(super) grants: Vec<(DeviceId, u64)>,
    pub(super) planted: Option<Planted>,
    trace: Option<String>,
}

/// What is over at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The disk of an agent is not full any more: its own, or its sinks'.
    DiskFull { agent: usize, own: bool },
    /// A sink takes again.
    SinkDown { agent: usize, sink: usize },
}

/// Drives and rests in turn.
#[derive(Clone, Debug)]
pub(super) struct Trip {
    pub until_s: u64,
    pub drives: bool,
    pub left_s: u64,
}

/// Runs a world to its rest, or to its first violation.
pub(super) fn run(plan: &Plan, planted: Option<Planted>, traces: bool) -> Outcome {
    let mut world = World::new(plan.clone(), planted, traces);
    let ran = catch_unwind(AssertUnwindSafe(|| world.live()));
    let violation = match ran {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            let what = format!("panic: {}", said.unwrap_or("of another kind"));
            // Whatever it was of: a core has no way to fail but the ones it names.
            Some(Violation::new("I8", what))
        }
    };
    let at_s = world.now_s;
    world.end();
    Outcome { violation, at_s, tally: world.tally, trace: world.trace.unwrap_or_default() }
}

impl World {
    fn new(plan: Plan, planted: Option<Planted>, traces: bool) -> Self {
        let mut hosts: Vec<Host> = (0..plan.agents as u64)
            .map(|number| Host::new((plan.seed, number), plan.journal_bytes, planted))
            .collect();
        for host in &mut hosts {
            host.blank.is_shared = plan.agents > 1;
            for (kind, may_lose) in plan.sinks.iter().copied() {
                host.add_sink(kind, may_lose);
            }
            host.start(0);
        }
        let mut chance = Chance::new(plan.seed, 3);
        let (mut names, mut devices, mut trips) = (Vec::new(), Vec::new(), Vec::new());
        for vehicle in 0..plan.vehicles as u64 {
            let name: Option<DeviceId> = format!("car-{vehicle}").parse().ok();
            let seed = chance.draw();
            let added = hosts.iter().map(|host| add_device(host, name?, seed));
            let Some(Some(credentials)) = added.collect::<Vec<_>>().pop() else {
                continue;
            };
            let of = Lineage { vehicle, copy: 0 };
            let seed = chance.draw();
            names.push(credentials.device);
            devices.push(Device::new(credentials, of, plan.ring_sectors, seed));
            trips.push(Trip { until_s: chance.below(900), drives: false, left_s: plan.driven_s });
        }
        Self {
            now_s: 0,
            devices,
            brokers: hosts.iter().map(|_| Broker::default()).collect(),
            hosts,
            weather: plan.weather,
            tally: Tally::default(),
            plan,
            names,
            trips,
            chance,
            packet: 0,
            said: Vec::new(),
            ends: Vec::new(),
            only: None,
            was_restored: false,
            grants: Vec::new(),
            planted,
            trace: traces.then(String::new),
        }
    }

    /// A line of the trace.
    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        let now_s = self.now_s;
        if let Some(trace) = &mut self.trace {
            trace.extend([&format!("{now_s:>7} "), &what(), "\n"]);
        }
    }

    fn live(&mut self) -> Result<(), Violation> {
        let mut faults: VecDeque<(u64, Fault)> = self.plan.faults.iter().copied().collect();
        while self.trips.iter().any(|trip| trip.left_s > 0) {
            while faults.front().is_some_and(|(at, _)| *at <= self.now_s) {
                if let Some((_, fault)) = faults.pop_front() {
                    self.strike(fault);
                }
            }
            self.second()?;
        }
        self.rest()
    }

    /// One more device, which drives for some time.
    pub(super) fn add(&mut self, device: Device) {
        self.devices.push(device);
        let left_s = self.plan.driven_s / 4;
        self.trips.push(Trip { until_s: self.now_s + 5, drives: false, left_s });
    }

    /// What is left to count.
    fn end(&mut self) {
        let Self { hosts, tally, devices, plan, .. } = self;
        for host in hosts.iter() {
            host.each_upstream(|upstream| tally.add_truth(&upstream.truth));
            tally.lives += host.lives;
            tally.full_seconds += host.full;
            tally.sinks += u64::try_from(host.all_slots().count()).unwrap_or(0);
            let is_model = |kind: Kind| kind == Kind::Model;
            tally.with_files |= u64::from(host.all_slots().any(|slot| !is_model(slot.kind)));
        }
        tally.agents = hosts.len() as u64;
        for device in devices {
            device.note();
            tally.add_device(device, plan.driven_s);
        }
        let tally = self.tally.clone();
        self.note(|| format!("{tally:?}"));
    }

    /// One second passes.
    pub(super) fn second(&mut self) -> Result<(), Violation> {
        self.now_s += 1;
        self.turn_off_what_is_over();
        for host in &mut self.hosts {
            host.start(self.now_s);
        }
        for at in 0..self.devices.len() {
            self.drive(at);
            self.run_device(at);
            self.connect(at);
            self.carry(at);
        }
        for agent in 0..self.hosts.len() {
            self.turn(agent)?;
        }
        self.hand_out();
        let (mut told, mut violation) = (Vec::new(), None);
        for (agent, host) in self.hosts.iter().enumerate() {
            let mut sink = 0;
            host.each_upstream(|upstream| {
                let said = upstream.truth.told.drain(..);
                told.extend(said.map(|said| format!("sink {sink} of agent {agent} has {said}")));
                violation = violation.take().or_else(|| upstream.truth.violation.take());
                sink += 1;
            });
        }
        for told in told {
            self.note(|| told);
        }
        violation.map_or(Ok(()), Err)
    }

    /// An agent's part of a second.
    fn turn(&mut self, agent: usize) -> Result<(), Violation> {
        let (Some(host), Some(broker)) = (self.hosts.get_mut(agent), self.brokers.get_mut(agent))
        else {
            return Ok(());
        };
        if self.weather.is_broker {
            broker.deliver(self.now_s, host);
        }
        let was_up = host.is_up();
        let said = host.turn(self.now_s)?;
        if host.is_off() {
            let (leaves, down_s) = host.next_cut;
            host.cut(leaves, self.now_s + down_s);
        }
        let is_gone = was_up && !host.is_up();
        for (session, said) in said {
            self.answer(agent, session, said);
        }
        if is_gone {
            self.agent_is_gone(agent);
        }
        Ok(())
    }

    /// What an order gives a device, once every agent knows of it: from its next start on.
    fn hand_out(&mut self) {
        let mut grants = std::mem::take(&mut self.grants);
        let mut granted: Vec<(DeviceId, Credentials)> = Vec::new();
        grants.retain(|(id, seed)| {
            let given: Option<Vec<Vec<Credentials>>> =
                self.hosts.iter().map(|host| host.errands.given(*seed)).collect();
            let Some(given) = given else { return true };
            let all: Option<Vec<Credentials>> =
                given.into_iter().map(|mut given| given.pop()).collect();
            granted.extend(all.and_then(|mut all| all.pop()).map(|given| (*id, given)));
            false
        });
        self.grants = grants;
        for (id, credentials) in granted {
            for at in 0..self.devices.len() {
                let Some(device) = self.devices.get_mut(at).filter(|device| device.id == id) else {
                    continue;
                };
                device.given = Some(credentials.clone());
                if std::mem::take(&mut device.is_renewed) {
                    // It is given the secret by somebody who starts it anew.
                    let (of, next) = (device.drive.of, device.drive.next);
                    self.switch_off(at, self.now_s + 10);
                    self.allow(of, 0, next, next);
                }
            }
        }
    }

    fn turn_off_what_is_over(&mut self) {
        let now_s = self.now_s;
        let over = self.ends.extract_if(.., |(at, _)| *at <= now_s);
        for (_, end) in over.collect::<Vec<_>>() {
            self.is_over(end);
        }
    }

    fn is_over(&mut self, end: End) {
        match end {
            End::DiskFull { agent, own } => {
                if let Some(host) = self.hosts.get(agent) {
                    let disk = if own { &host.disk } else { &host.sinks_disk };
                    disk.set_capacity(None);
                }
            }
            End::SinkDown { agent, sink } => {
                if let Some(slot) = self.hosts.get(agent).and_then(|host| host.slots.get(sink)) {
                    slot.model.upstream().is_down = false;
                }
            }
        }
    }

    /// The vehicle drives or rests; it measures only while the device has power.
    fn drive(&mut self, at: usize) {
        let (Some(device), Some(trip)) = (self.devices.get_mut(at), self.trips.get_mut(at)) else {
            return;
        };
        if self.now_s >= trip.until_s {
            trip.drives = !trip.drives;
            let most = if trip.drives { 3600 } else { 1200 };
            trip.until_s = self.now_s + 120 + self.chance.below(most);
        }
        if trip.drives && trip.left_s > 0 {
            trip.left_s -= 1;
            if device.is_on() {
                device.drive.seconds += 1;
                if self.chance.one_in(300) {
                    device.say(self.now_s);
                }
            }
        }
    }

    fn run_device(&mut self, at: usize) {
        let Some(device) = self.devices.get_mut(at) else { return };
        if self.planted == Some(Planted::SeqReused) && self.now_s.is_multiple_of(600) {
            device.keep();
        }
        device.wire.now_s = self.now_s;
        let is_new = !device.is_on();
        let runs = device.start(self.now_s) && device.poll(self.now_s);
        if !runs {
            self.switch_off(at, self.now_s + 2);
        } else if is_new && self.devices.get(at).is_some_and(Device::is_on) {
            self.note(|| format!("device {at} starts"));
        }
    }

    /// The power of a device goes: what was open is gone.
    pub(super) fn switch_off(&mut self, at: usize, until_s: u64) {
        self.hang_up(at);
        let Some(device) = self.devices.get_mut(at) else { return };
        let (of, next) = (device.drive.of, device.drive.next);
        let most = u64::from(OPEN_MAX) + POLL_MAX;
        device.switch_off(until_s);
        self.allow(of, next.saturating_sub(2 * most), next, most);
        self.note(|| format!("device {at} off at sample {next}"));
    }

    /// Does something to all that any sink was given, or will be.
    pub(super) fn each_truth(&mut self, mut act: impl FnMut(&mut Truth)) {
        for host in &mut self.hosts {
            host.each_truth(&mut act);
        }
    }

    /// Samples that may be missing without a word.
    pub(super) fn allow(&mut self, of: Lineage, from: u64, to: u64, most: u64) {
        let signals = SIGNALS as u64;
        self.each_truth(|truth| {
            truth.allow(of, Lane::Bulk, Allowance { from, to, most });
            let (from, to) = (from / signals, to.div_ceil(signals));
            truth.allow(of, Lane::Latest, Allowance { from, to, most });
        });
    }

    /// An operator's word about a device, to every agent.
    pub(super) fn order(&mut self, device: DeviceId, of: Lineage, order: Order) {
        let own = |other: &&Device| other.drive.of == of;
        let next = self.devices.iter().find(own).map_or(0, |device| device.drive.next);
        for host in &mut self.hosts {
            host.errands.push(device, of, order, next);
        }
        if let Order::Rotate { seed } | Order::Renew { seed } = order {
            self.grants.push((device, seed));
        }
    }
}

/// Adds a device to an agent that runs; every agent draws the same secret for it.
fn add_device(host: &Host, name: DeviceId, seed: u64) -> Option<Credentials> {
    let registry = &host.life.as_ref()?.registry;
    registry.add(name, host.now_ms(0), &mut Dice(Chance::new(seed, 9))).ok()
}
