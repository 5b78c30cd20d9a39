//! One world from its first second to its rest.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use agent::registry::Credentials;
use protocol::{DeviceId, Lane};

use super::broker::Broker;
use super::device::{Device, OPEN_MAX};
use super::host::Host;
use super::network::Weather;
use super::plan::{Fault, Plan};
use super::planted::Planted;
use super::report::{Outcome, Tally};
use super::source::{Lineage, SIGNALS};
use super::truth::{Allowance, Violation};
use crate::chance::Chance;

/// Seconds that a world may take to come to rest.
const REST_MAX_S: u64 = 4 * 3600;
/// Seconds for which one of several devices of a name has the network to itself.
const TURN_S: u64 = 300;
/// Readings that a device takes in one poll, and that may be lost with it.
const POLL_MAX: u64 = 256;

/// A world.
#[derive(Debug)]
pub(super) struct World {
    pub now_s: u64,
    pub devices: Vec<Device>,
    pub host: Host,
    pub broker: Broker,
    pub weather: Weather,
    pub tally: Tally,
    pub(super) plan: Plan,
    pub(super) names: Vec<DeviceId>,
    trips: Vec<Trip>,
    pub(super) chance: Chance,
    pub(super) packet: u16,
    /// What the next power cut of the agent's machine leaves, and for how long it is down.
    pub(super) cut: (u64, u64),
    pub(super) disk_full_until_s: u64,
    pub(super) was_restored: bool,
    pub(super) sink_down_until_s: u64,
    pub(super) planted: Option<Planted>,
    trace: Option<String>,
}

/// Drives and rests in turn.
#[derive(Clone, Debug)]
struct Trip {
    until_s: u64,
    drives: bool,
    left_s: u64,
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
            Some(Violation(format!("panic: {}", said.unwrap_or("of another kind"))))
        }
    };
    let at_s = world.now_s;
    world.end();
    Outcome { violation, at_s, tally: world.tally, trace: world.trace.unwrap_or_default() }
}

impl World {
    fn new(plan: Plan, planted: Option<Planted>, traces: bool) -> Self {
        let mut host = Host::new(plan.seed, plan.journal_bytes, planted);
        host.start(0);
        let mut chance = Chance::new(plan.seed, 3);
        let (mut names, mut devices, mut trips) = (Vec::new(), Vec::new(), Vec::new());
        for vehicle in 0..plan.vehicles as u64 {
            let name: Option<DeviceId> = format!("car-{vehicle}").parse().ok();
            let Some(Credentials { device, secret, .. }) =
                name.and_then(|name| host.add_device(name))
            else {
                continue;
            };
            let of = Lineage { vehicle, copy: 0 };
            let seed = chance.draw();
            devices.push(Device::new(device, secret, of, plan.ring_sectors, seed));
            names.push(device);
            trips.push(Trip { until_s: chance.below(900), drives: false, left_s: plan.driven_s });
        }
        Self {
            now_s: 0,
            devices,
            host,
            broker: Broker::default(),
            weather: plan.weather,
            tally: Tally::default(),
            plan,
            names,
            trips,
            chance,
            packet: 0,
            cut: (0, 1),
            disk_full_until_s: 0,
            was_restored: false,
            sink_down_until_s: 0,
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

    /// All faults are over: everything comes to rest, and nothing is missing.
    fn rest(&mut self) -> Result<(), Violation> {
        self.heal();
        let begun_s = self.now_s;
        loop {
            if self.now_s.is_multiple_of(5) {
                let now_s = self.now_s;
                self.devices.iter_mut().for_each(|device| device.flush(now_s));
            }
            self.take_turns();
            self.second()?;
            let is_still = self.devices.iter().all(Device::is_idle)
                && self.broker.is_empty()
                && self.host.is_delivered();
            if is_still && self.now_s > begun_s + 30 {
                break;
            }
            if self.now_s > begun_s + REST_MAX_S {
                let busy = self.devices.iter().filter(|device| !device.is_idle());
                let busy: Vec<String> = busy.map(Device::condition).collect();
                let host = self.host.condition();
                let busy = busy.join("; ");
                return Err(Violation(format!("does not come to rest: {busy}; agent: {host}")));
            }
        }
        self.finish()
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
        self.host.disk.heal();
        self.host.disk.set_capacity(None);
        let mut upstream = self.host.sink.upstream();
        (upstream.is_down, upstream.doubtful) = (false, 0);
        drop(upstream);
        for device in &mut self.devices {
            device.offline_until_s = 0;
            device.wire.silent_until_s = 0;
        }
        self.note(|| "all is well".to_owned());
    }

    fn finish(&mut self) -> Result<(), Violation> {
        let mut upstream = self.host.sink.upstream();
        for device in &self.devices {
            let admitted = device.drive.next;
            upstream.truth.finish(device.drive.of, Lane::Bulk, admitted);
            let latest = admitted.div_ceil(SIGNALS as u64);
            upstream.truth.finish(device.drive.of, Lane::Latest, latest);
        }
        upstream.truth.violation.take().map_or(Ok(()), Err)?;
        upstream.nothing_again()
    }

    /// One more device, which drives for some time.
    pub(super) fn add(&mut self, device: Device) {
        self.devices.push(device);
        let left_s = self.plan.driven_s / 4;
        self.trips.push(Trip { until_s: self.now_s + 5, drives: false, left_s });
    }

    /// What is left to count.
    fn end(&mut self) {
        let upstream = self.host.sink.upstream();
        self.tally.add_truth(&upstream.truth);
        drop(upstream);
        for device in &mut self.devices {
            device.note();
            self.tally.add_device(device, self.plan.driven_s);
        }
        self.tally.lives = self.host.lives;
        self.tally.full_seconds = self.host.full;
        let tally = self.tally.clone();
        self.note(|| format!("{tally:?}"));
    }

    /// One second passes.
    fn second(&mut self) -> Result<(), Violation> {
        self.now_s += 1;
        self.turn_off_what_is_over();
        self.host.start(self.now_s);
        for at in 0..self.devices.len() {
            self.drive(at);
            self.run_device(at);
            self.connect(at);
            self.carry(at);
        }
        if self.weather.is_broker {
            self.broker.deliver(self.now_s, &mut self.host);
        }
        let was_up = self.host.is_up();
        let said = self.host.turn(self.now_s)?;
        for (session, said) in said {
            self.answer(session, said);
        }
        if self.host.disk.is_off() {
            let (leaves, down_s) = self.cut;
            self.host.cut(leaves, self.now_s + down_s);
        }
        if was_up && !self.host.is_up() {
            self.agent_is_gone();
        }
        let mut upstream = self.host.sink.upstream();
        let told = std::mem::take(&mut upstream.truth.told);
        let violation = upstream.truth.violation.take();
        drop(upstream);
        for told in told {
            self.note(|| told);
        }
        violation.map_or(Ok(()), Err)
    }

    fn turn_off_what_is_over(&mut self) {
        if self.disk_full_until_s == self.now_s {
            self.host.disk.set_capacity(None);
        }
        if self.sink_down_until_s == self.now_s {
            self.host.sink.upstream().is_down = false;
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
            device.kept = Some((device.flash.clone(), device.drive.next));
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

    /// Samples that may be missing without a word.
    pub(super) fn allow(&mut self, of: Lineage, from: u64, to: u64, most: u64) {
        let mut upstream = self.host.sink.upstream();
        upstream.truth.allow(of, Lane::Bulk, Allowance { from, to, most });
        let signals = SIGNALS as u64;
        let (from, to) = (from / signals, to.div_ceil(signals));
        upstream.truth.allow(of, Lane::Latest, Allowance { from, to, most });
    }

    /// The session of a device's link, if it has one of its own, is over.
    pub(super) fn hang_up(&mut self, at: usize) {
        let Some(device) = self.devices.get_mut(at) else { return };
        if let Some(session) = device.session.take() {
            self.host.close_session(self.now_s, session);
        }
    }

    pub(super) fn drop_link(&mut self, at: usize) {
        self.hang_up(at);
        if let Some(device) = self.devices.get_mut(at) {
            device.wire.drop_it(false);
        }
    }
}
