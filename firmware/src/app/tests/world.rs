//! A device, its flash, an agent and what lies between them, all driven by one seed.

use std::collections::VecDeque;
use std::vec::Vec;

use protocol::health::ResetReason;
use protocol::topic::Channel;
use protocol::{
    Catalogue, Clock, Counts, DeviceId, Generation, Lane, Sample, Secret, Signal, SignalIndex, Step,
};

use super::agent::Agent;
use crate::app::{App, AppConfig, Counters, Layout};
use crate::batch::BatchConfig;
use crate::campaign::{Campaign, Rule, When};
use crate::ports::{Entropy, Link, LinkEvent, Now, Ports, Reading, Source, WouldBlock};
use crate::ring::Region;
use crate::ring::flash_model::FlashModel;
use crate::session::SessionConfig;

pub const ERASE: usize = 1024;
pub type Flash = FlashModel<4, 4, ERASE>;
pub type Device = App<'static, 4, 512>;

const fn signal(path: &'static str) -> Signal<'static> {
    Signal { path, unit: "", step: Step::ONE, raw_min: i64::MIN, raw_max: i64::MAX }
}

pub static SIGNALS: [Signal<'static>; 4] = [
    signal("Vehicle.Speed"),
    signal("Vehicle.Odometer"),
    signal("Vehicle.IsMoving"),
    signal("Vehicle.Odometer.Max"),
];

pub const CATALOGUE: Catalogue<'static> = Catalogue::new(1, &SIGNALS);

pub const fn every(signal: u8, lane: Lane) -> Rule {
    Rule { signal: SignalIndex(signal), lane: Some(lane), when: When::Offered }
}

/// Speed is recorded and kept as latest, odometer recorded, moving is critical.
static RULES: [Rule; 4] =
    [every(0, Lane::Bulk), every(0, Lane::Latest), every(1, Lane::Bulk), every(2, Lane::Critical)];

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

impl Entropy for Random {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next().to_be_bytes()[0];
        }
    }
}

/// Counts up: each reading has the next number as its value.
#[derive(Clone, Debug)]
pub struct Counting {
    pub next_raw: i64,
    pub ready: u64,
    pub clock: Clock,
    pub signals: u8,
}

impl Source for Counting {
    fn next(&mut self, now: &Now) -> Option<Reading> {
        self.ready = self.ready.checked_sub(1)?;
        self.read(SignalIndex(u8::try_from(self.next_raw % i64::from(self.signals)).unwrap()), now)
    }

    fn read(&mut self, signal: SignalIndex, now: &Now) -> Option<Reading> {
        let sample = Sample::new(i64::try_from(now.uptime_ms).unwrap(), signal, self.next_raw);
        self.next_raw += 1;
        Some(Reading { sample, clock: self.clock })
    }

    fn due(&self) -> Option<u64> {
        (self.ready > 0).then_some(0)
    }
}

/// How bad the way between device and agent is, in percent of messages or steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub lose: u64,
    pub twice: u64,
    pub swap: u64,
    pub cut: u64,
    pub refuse: u64,
    /// A bit is flipped, either way.
    pub garble: u64,
    /// An old message of the agent comes again.
    pub replay: u64,
}

/// The way between them; a broker in between may take a message over and lose it.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    pub up: bool,
    asked: bool,
    uplink: VecDeque<(Channel, Vec<u8>)>,
    downlink: VecDeque<(Channel, Vec<u8>)>,
    recorded: Vec<(Channel, Vec<u8>)>,
    events: VecDeque<LinkEvent>,
    in_flight: usize,
    pub connects: usize,
}

impl Wire {
    fn reset(&mut self) {
        let (connects, recorded) = (self.connects, core::mem::take(&mut self.recorded));
        *self = Self { recorded, connects, ..Self::default() };
    }

    pub fn cut(&mut self, busy: bool) {
        if self.up || self.asked {
            self.reset();
            self.events.push_back(LinkEvent::Down { busy });
        }
    }
}

impl Link for Wire {
    fn connect(&mut self, _now_ms: u64) {
        assert!(!self.up && !self.asked, "one connection at a time");
        self.asked = true;
        self.connects += 1;
    }

    fn disconnect(&mut self, _now_ms: u64) {
        self.reset();
    }

    fn is_ready(&self) -> bool {
        self.up && self.in_flight < 4
    }

    fn publish(&mut self, channel: Channel, payload: &[u8]) -> Result<(), WouldBlock> {
        if !self.is_ready() {
            return Err(WouldBlock);
        }
        self.in_flight += 1;
        self.uplink.push_back((channel, payload.to_vec()));
        Ok(())
    }

    fn event(&mut self, _now_ms: u64, into: &mut [u8]) -> Option<LinkEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let (channel, message) = self.downlink.pop_front()?;
        into[..message.len()].copy_from_slice(&message);
        Some(LinkEvent::Message { channel, len: message.len() })
    }
}

/// All of it.
#[derive(Debug)]
pub struct World {
    pub app: Device,
    pub flash: Flash,
    pub source: Counting,
    pub wire: Wire,
    pub agent: Agent,
    pub random: Random,
    pub weather: Weather,
    pub now: Now,
    /// Nobody answers a connection.
    pub offline: bool,
    pub busy: bool,
    /// What earlier boots accepted and counted.
    pub accepted: [Counts; 3],
    pub dropped_frames: u64,
    pub unclean_boots: u64,
    pub config: AppConfig<'static>,
}

pub fn device() -> (DeviceId, Secret) {
    ("truck-1".parse().unwrap(), Secret::new([5; 32]))
}

pub fn config() -> AppConfig<'static> {
    let (device, secret) = device();
    let sector = u32::try_from(ERASE).unwrap();
    let region = |first: u32, sectors: u32| Region { start: first * sector, len: sectors * sector };
    AppConfig {
        device,
        secret,
        generation: Generation::FIRST,
        registration: None,
        catalogue: &CATALOGUE,
        campaign: Campaign { id: 1, rules: &RULES },
        image: 0,
        reset: ResetReason::Power,
        layout: Layout {
            system: 0..2 * sector,
            rings: [region(2, 8), region(10, 12), region(22, 4)],
        },
        batch: BatchConfig {
            frame_len_max: 200,
            frame_age_ms_max: [500, 2_000, 1_000],
            open_samples_max: [20, 60, 20],
        },
        session: SessionConfig::default(),
        heartbeat_ms: 60_000,
    }
}

pub fn blank_flash(seed: u64) -> Flash {
    Flash::new(26, seed)
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with_flash(seed, blank_flash(seed))
    }

    pub fn with_flash(seed: u64, flash: Flash) -> Self {
        Self::start(seed, flash, config())
    }

    pub fn with_config(seed: u64, config: AppConfig<'static>) -> Self {
        Self::start(seed, blank_flash(seed), config)
    }

    fn start(seed: u64, mut flash: Flash, config: AppConfig<'static>) -> Self {
        let mut random = Random(seed);
        let (device, secret) = device();
        let now = Now::default();
        let app = App::start(config.clone(), &now, &mut flash, &mut random).unwrap();
        Self {
            app,
            flash,
            source: Counting { next_raw: 1, ready: 0, clock: Clock::Uptime, signals: 3 },
            wire: Wire::default(),
            agent: Agent::new(device, secret),
            random,
            weather: Weather::default(),
            now,
            offline: false,
            busy: false,
            accepted: [Counts::ZERO; 3],
            dropped_frames: 0,
            unclean_boots: 0,
            config,
        }
    }

    /// Time passes, the wire moves, the device is polled.
    pub fn step(&mut self, passed_ms: u64) {
        self.now.uptime_ms += passed_ms;
        self.agent.unix_ms += i64::try_from(passed_ms).unwrap();
        self.carry();
        let Self { flash, source, wire: link, random: entropy, .. } = self;
        self.app.poll(self.now, &mut Ports { flash, source, link, entropy });
        if !self.flash.is_powered() {
            // The device is off: what it says from here on is not said.
            self.wire.disconnect(self.now.uptime_ms);
        }
    }

    fn carry(&mut self) {
        let weather = self.weather;
        if self.random.percent(weather.cut) {
            self.wire.cut(false);
        }
        if self.wire.asked {
            self.wire.asked = false;
            if self.offline || self.busy || self.random.percent(weather.refuse) {
                self.wire.events.push_back(LinkEvent::Down { busy: self.busy });
            } else {
                self.wire.up = true;
                self.wire.events.push_back(LinkEvent::Up);
            }
        }
        let moved = self.random.below(6);
        for _ in 0..moved {
            if self.wire.uplink.len() > 1 && self.random.percent(weather.swap) {
                self.wire.uplink.swap(0, 1);
            }
            let Some((channel, mut bytes)) = self.wire.uplink.pop_front() else { break };
            self.wire.in_flight -= 1;
            self.wire.events.push_back(LinkEvent::Published);
            if self.random.percent(weather.lose) {
                continue;
            }
            let original = bytes.clone();
            garble(&mut self.random, weather, &mut bytes);
            if channel == Channel::Hello && bytes != original {
                continue;
            }
            let times = if self.random.percent(weather.twice) { 2 } else { 1 };
            for _ in 0..times {
                for (channel, mut answer) in self.agent.take(channel, bytes.clone()) {
                    self.wire.recorded.push((channel, answer.clone()));
                    garble(&mut self.random, weather, &mut answer);
                    if !self.random.percent(weather.lose) {
                        self.wire.downlink.push_back((channel, answer));
                    }
                }
            }
        }
        if self.wire.up && self.random.percent(weather.replay) && !self.wire.recorded.is_empty() {
            let all = u64::try_from(self.wire.recorded.len()).unwrap();
            let at = usize::try_from(self.random.below(all)).unwrap();
            self.wire.downlink.push_back(self.wire.recorded[at].clone());
        }
    }

    /// The power goes, now or in the middle of one of the next writes, and comes back.
    pub fn power_cut(&mut self, after_operations: Option<u32>) {
        if let Some(operations) = after_operations {
            self.flash.cut_after(operations);
            for _ in 0..200 {
                if !self.flash.is_powered() {
                    break;
                }
                self.source.ready += 5;
                self.step(50);
            }
        }
        self.unclean_boots += 1;
        self.restart();
    }

    pub fn restart(&mut self) {
        self.flash.power_on();
        let counters = self.app.counters();
        self.add(&counters);
        self.wire.reset();
        self.now = Now::default();
        let config = self.config.clone();
        self.app =
            App::start(config, &self.now, &mut self.flash, &mut self.random).expect("starts");
    }

    fn add(&mut self, counters: &Counters) {
        for (sum, accepted) in self.accepted.iter_mut().zip(counters.accepted) {
            *sum += accepted;
        }
        self.dropped_frames += counters.dropped_frames.iter().sum::<u64>();
    }

    /// Accepted in all boots.
    pub fn accepted(&self, lane: Lane) -> Counts {
        self.accepted[lane.index()] + self.app.counters().accepted[lane.index()]
    }

    /// Good weather until everything is acknowledged.
    pub fn settle(&mut self) {
        (self.weather, self.offline, self.busy) = (Weather::default(), false, false);
        self.source.ready = 0;
        for _ in 0..20_000 {
            self.app.flush(self.now, &mut self.flash);
            self.step(50);
            if self.app.idle() && self.wire.up {
                return;
            }
        }
        panic!("never idle: {:?}", self.app.counters());
    }

    /// The ledger of every ring balances, and each sample came at most once, in order.
    pub fn check(&self) {
        for lane in Lane::ALL {
            let held = self.agent.held(lane);
            assert_eq!(held.durable.next(), self.app.next_seq(lane), "{lane:?}");
            let lost = held.unexplained + held.said_lost;
            let delivered = u64::try_from(held.samples.len()).unwrap();
            assert_eq!(delivered + lost.samples, held.through.samples, "{lane:?}");
            let raws: Vec<i64> =
                held.samples.iter().map(|sample| sample.steps().unwrap()).collect();
            assert!(raws.is_sorted_by(|a, b| a < b), "{lane:?}: once and in order");
            let accepted = self.accepted(lane);
            let limits = self.config.batch.open_samples_max[lane.index()];
            let unsealed = accepted.since(held.through);
            assert!(
                unsealed.samples <= self.unclean_boots * u64::from(limits + 1),
                "{lane:?}: {unsealed:?} of {accepted:?}",
            );
            assert!(held.through.samples <= accepted.samples, "{lane:?}");
        }
    }
}

fn garble(random: &mut Random, weather: Weather, bytes: &mut [u8]) {
    if random.percent(weather.garble) {
        let bits = u64::try_from(bytes.len() * 8).unwrap();
        let bit = usize::try_from(random.below(bits)).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}
