//! What a world is and what happens to it, drawn from its seed; plain data, so that a fault can be
//! left out.

use super::fault::{Change, Fault, Kind, Order};
use super::network::Weather;
use crate::chance::Chance;

/// A world before it begins.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Plan {
    pub seed: u64,
    /// One, or two on the same devices.
    pub agents: usize,
    /// What each agent begins with.
    pub sinks: Vec<(Kind, bool)>,
    pub vehicles: usize,
    /// Seconds that each vehicle drives.
    pub driven_s: u64,
    /// Sectors of the bulk ring: how much outage a device bears.
    pub ring_sectors: u32,
    /// Bytes of the journal at most.
    pub journal_bytes: u64,
    pub weather: Weather,
    /// Faults by their second, in order.
    pub faults: Vec<(u64, Fault)>,
}

/// Kinds of faults that a world has or has not.
const KINDS: u64 = 24;

/// Driven seconds of a frame of samples.
pub(super) const FRAME_S: u64 = 60;

impl Plan {
    /// The same with these faults alone, by their numbers.
    pub(super) fn with_only(&self, numbers: &[usize]) -> Self {
        let is_in =
            |(number, fault): (usize, &(u64, Fault))| numbers.contains(&number).then_some(*fault);
        let faults = self.faults.iter().enumerate().filter_map(is_in).collect();
        Self { faults, ..self.clone() }
    }

    /// The same without these faults.
    pub(super) fn without(&self, numbers: &[usize]) -> Self {
        let rest: Vec<usize> =
            (0..self.faults.len()).filter(|number| !numbers.contains(number)).collect();
        self.with_only(&rest)
    }

    /// The world of this number under a seed.
    pub(super) fn draw(seed: u64, number: u64) -> Self {
        let mut chance = Chance::new(seed, number);
        let own_seed = chance.draw();
        let agents = if chance.one_in(4) { 2 } else { 1 };
        let sinks = draw_sinks(&mut chance);
        let vehicles = 2 + chance.index(7);
        let driven_s = 3600 * (2 + chance.below(7));
        let weather = draw_weather(&mut chance);
        let kinds: Vec<u64> = (0..KINDS).filter(|_| chance.one_in(2)).collect();
        let frames = vehicles as u64 * driven_s / FRAME_S;
        let count = if kinds.is_empty() { 0 } else { frames / 80 };
        let mut faults = Vec::new();
        for _ in 0..count {
            let at = 60 + chance.below(driven_s + driven_s / 2);
            let kind = chance.pick(&kinds).unwrap_or(0);
            let size = Size { vehicles, agents };
            draw_fault(&mut faults, &mut chance, (at, kind), size);
        }
        faults.sort_by_key(|(at, _)| *at);
        let ring_sectors = 4 + u32::try_from(chance.below(10)).unwrap_or(0);
        let journal_bytes =
            if chance.one_in(2) { small_journal(&mut chance) } else { JOURNAL_BYTES };
        Self {
            seed: own_seed,
            agents,
            sinks,
            vehicles,
            driven_s,
            ring_sectors,
            journal_bytes,
            weather,
            faults,
        }
    }
}

/// What there is for faults to strike.
#[derive(Clone, Copy, Debug)]
struct Size {
    vehicles: usize,
    agents: usize,
}

/// A journal as large as needed.
const JOURNAL_BYTES: u64 = 1 << 30;

/// A journal that an outage fills.
fn small_journal(chance: &mut Chance) -> u64 {
    (480 + chance.below(360)) << 10
}

fn draw_sinks(chance: &mut Chance) -> Vec<(Kind, bool)> {
    let kind = |chance: &mut Chance, files: u64| {
        if chance.one_in(files) { Kind::File } else { Kind::Model }
    };
    let mut sinks = vec![(kind(chance, 16), false)];
    if chance.one_in(3) {
        sinks.push((kind(chance, 4), chance.one_in(2)));
    }
    sinks
}

fn draw_weather(chance: &mut Chance) -> Weather {
    let is_broker = chance.one_in(2);
    let mut rate = |most: u64| if chance.one_in(3) { chance.below(most) } else { 0 };
    if !is_broker {
        return Weather { late: rate(500), cut: rate(60), ..Weather::default() };
    }
    Weather {
        is_broker,
        lose: rate(300),
        twice: rate(300),
        late: rate(500),
        garble: rate(100),
        misplace: rate(60),
        replay: rate(100),
        cut: rate(40),
    }
}

/// A fault of a kind, and what belongs to it.
fn draw_fault(
    faults: &mut Vec<(u64, Fault)>,
    chance: &mut Chance,
    (at, kind): (u64, u64),
    size: Size,
) {
    let device = chance.index(size.vehicles);
    let later = at + 60 + chance.below(3600);
    let some = |chance: &mut Chance, most: u64| chance.one_in(2).then(|| 1 + chance.below(most));
    let operations = some(chance, 40).and_then(|some| u32::try_from(some).ok());
    let fault = match kind {
        0 => Fault::Cut { device, operations, off_s: chance.below(120) },
        1 => {
            faults.push((later, Fault::RollBack { device }));
            Fault::Keep { device }
        }
        2 if chance.one_in(4) => Fault::Format { device },
        3 if chance.one_in(6) => {
            faults.push((later, Fault::Copy { device }));
            Fault::Keep { device }
        }
        4 => Fault::Rot { device, at: chance.draw() },
        5 => Fault::Offline { device: Some(device), for_s: chance.below(8 * 3600) },
        6 => Fault::Offline { device: None, for_s: chance.below(3600) },
        7 => Fault::HalfOpen { device, for_s: chance.below(600) },
        18 | 19 => draw_order(faults, chance, (later, device), kind == 19),
        20 => Fault::Update { device, image: u32::try_from(chance.below(3)).unwrap_or(0) },
        8 if chance.one_in(4) => {
            Fault::Order { device, order: Order::Rotate { seed: chance.draw() } }
        }
        _ => return draw_fault_of_agent(faults, chance, (at, kind), size),
    };
    faults.push((at, fault));
}

/// What an operator decides about a device, and how it comes back, if it does.
fn draw_order(
    faults: &mut Vec<(u64, Fault)>,
    chance: &mut Chance,
    (later, device): (u64, usize),
    is_for_good: bool,
) -> Fault {
    let renewed = Order::Renew { seed: chance.draw() };
    let (order, back) = match chance.below(8) {
        0 if is_for_good => (Order::Erase, chance.one_in(2).then_some(renewed)),
        0 => (Order::Revoke, chance.one_in(2).then_some(renewed)),
        1 if is_for_good => (renewed, None),
        _ => (Order::Decommission, Some(Order::Recommission)),
    };
    faults.extend(back.map(|order| (later, Fault::Order { device, order })));
    Fault::Order { device, order }
}

/// The same for what strikes an agent.
fn draw_fault_of_agent(
    faults: &mut Vec<(u64, Fault)>,
    chance: &mut Chance,
    (at, kind): (u64, u64),
    size: Size,
) {
    let agent = chance.index(size.agents);
    let sink = chance.index(2);
    let down_s = 1 + chance.below(600);
    let fault = match kind {
        9 | 2 | 3 => {
            let calls = chance.one_in(2).then(|| 1 + chance.below(60));
            let (after, leaves) = (chance.one_in(2), chance.draw());
            Fault::PowerCut { agent, calls, after, leaves, down_s }
        }
        10 | 8 => Fault::Kill { agent, down_s },
        11 => Fault::Restart { agent, down_s: 1 + chance.below(20) },
        12 => Fault::DiskFails {
            agent,
            own: !chance.one_in(4),
            calls: 1 + chance.below(100),
            times: 1 + chance.below(30),
            is_full: chance.one_in(2),
        },
        13 => {
            let (own, left) = (!chance.one_in(4), chance.index(20_000));
            Fault::DiskFull { agent, own, left, for_s: chance.below(1200) }
        }
        14 => Fault::SinkDown { agent, sink, for_s: chance.below(8 * 3600) },
        15 => {
            let times = 1 + u32::try_from(chance.below(3)).unwrap_or(0);
            Fault::SinkDoubtful { agent, sink, times }
        }
        16 => {
            let later = at + 60 + chance.below(3600);
            faults.push((later, Fault::RestoreDisk { agent, down_s }));
            Fault::KeepDisk { agent }
        }
        21..=23 => {
            let change = draw_change(chance, kind, sink);
            Fault::Configure { agent, change, down_s: 1 + chance.below(20) }
        }
        _ => match chance.below(4) {
            0 => Fault::Clock { agent, by_s: leap(chance) },
            1 => {
                let device = chance.index(size.vehicles);
                Fault::DeviceClock { device, by_s: leap(chance) }
            }
            _ => Fault::BrokerForgets { agent },
        },
    };
    faults.push((at, fault));
}

fn draw_change(chance: &mut Chance, kind: u64, sink: usize) -> Change {
    let may_lose = chance.one_in(2);
    match (kind, chance.below(6)) {
        (21, 0) => Change::Policy { drops: 0 },
        // Never the first, which is kept as latest, too.
        (21, _) => {
            let drops = chance.draw() & chance.draw() & 0x3fe;
            Change::Policy { drops: u16::try_from(drops).unwrap_or(0) }
        }
        (22, 0 | 1) => {
            let kind = if chance.one_in(6) { Kind::File } else { Kind::Model };
            Change::AddSink { kind, may_lose }
        }
        (22, 2) => Change::RemoveSink { sink },
        (22, 3) => Change::BringBack,
        (22, 4) => Change::RenameSink { sink },
        (22, _) => Change::OnFull { sink, may_lose },
        (_, 0..3) => Change::JournalBytes { bytes: small_journal(chance) },
        _ => Change::JournalBytes { bytes: JOURNAL_BYTES },
    }
}

fn leap(chance: &mut Chance) -> i64 {
    let by = i64::try_from(chance.below(40 * 365 * 86_400)).unwrap_or(0);
    if chance.one_in(2) { by } else { -by }
}
