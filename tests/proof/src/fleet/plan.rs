//! What a world is and what happens to it, drawn from its seed; plain data, so that a fault can be
//! left out.

use std::fmt;

use super::network::Weather;
use crate::chance::Chance;

/// A world before it begins.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Plan {
    pub seed: u64,
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

/// One thing that goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// A device's power goes, now or in so many writes or erases from now.
    Cut { device: usize, operations: Option<u32>, off_s: u64 },
    /// A copy of a device's flash is taken, for what follows.
    Keep { device: usize },
    /// Its flash is as it was when it was kept.
    RollBack { device: usize },
    /// Its flash is blank.
    Format { device: usize },
    /// The kept copy goes into a second device of the same name.
    Copy { device: usize },
    /// A bit of the flash flips.
    Rot { device: usize, at: u64 },
    /// It has no network; all, if none is named.
    Offline { device: Option<usize>, for_s: u64 },
    /// Its link is there, and nothing comes through.
    HalfOpen { device: usize, for_s: u64 },
    /// Its secret is rotated, and it is given the new one at its next start.
    Rotate { device: usize },
    /// The power of the agent's machine goes, at once or around a disk call, and takes some of what
    /// was not synced.
    PowerCut { calls: Option<u64>, after: bool, leaves: u64, down_s: u64 },
    /// The agent is killed; the machine lives on.
    Kill { down_s: u64 },
    /// The agent stops in order and starts again.
    Restart { down_s: u64 },
    /// Disk calls fail.
    DiskFails { calls: u64, times: u64, is_full: bool },
    /// The disk is full but for so many bytes.
    DiskFull { left: usize, for_s: u64 },
    /// The sink takes nothing.
    SinkDown { for_s: u64 },
    /// The sink takes the next batches and says that it did not.
    SinkDoubtful { times: u32 },
    /// A copy of the agent's disk is taken.
    KeepDisk,
    /// The agent's disk is as it was when it was kept; the sink is not.
    RestoreDisk { down_s: u64 },
    /// The host's clock leaps.
    Clock { by_s: i64 },
    /// The broker forgets what it has queued, and who is connected.
    BrokerForgets,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Kinds of faults that a world has or has not.
const KINDS: u64 = 18;

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
        let vehicles = 2 + chance.index(7);
        let driven_s = 3600 * (2 + chance.below(7));
        let is_broker = chance.one_in(2);
        let kinds: Vec<u64> = (0..KINDS).filter(|_| chance.one_in(2)).collect();
        let mut rate = |most: u64| if chance.one_in(3) { chance.below(most) } else { 0 };
        let weather = if is_broker {
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
        } else {
            Weather { late: rate(500), cut: rate(60), ..Weather::default() }
        };
        let frames = vehicles as u64 * driven_s / FRAME_S;
        let count = if kinds.is_empty() { 0 } else { frames / 80 };
        let mut faults = Vec::new();
        for _ in 0..count {
            let at = 60 + chance.below(driven_s + driven_s / 2);
            let kind = chance.pick(&kinds).unwrap_or(0);
            draw_fault(&mut faults, &mut chance, at, kind, vehicles);
        }
        faults.sort_by_key(|(at, _)| *at);
        let ring_sectors = 8 + u32::try_from(chance.below(40)).unwrap_or(0);
        let journal_bytes =
            if chance.one_in(3) { (500 + chance.below(400)) << 10 } else { 1 << 30 };
        Self { seed: own_seed, vehicles, driven_s, ring_sectors, journal_bytes, weather, faults }
    }
}

fn draw_fault(
    faults: &mut Vec<(u64, Fault)>,
    chance: &mut Chance,
    at: u64,
    kind: u64,
    vehicles: usize,
) {
    let device = chance.index(vehicles);
    let later = at + 60 + chance.below(3600);
    let mut some = |most: u64| if chance.one_in(2) { Some(1 + chance.below(most)) } else { None };
    let (calls, operations) = (some(60), some(40).and_then(|some| u32::try_from(some).ok()));
    let down_s = 1 + chance.below(600);
    let leaves = chance.draw();
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
        5 => Fault::Offline { device: Some(device), for_s: chance.below(4 * 3600) },
        6 => Fault::Offline { device: None, for_s: chance.below(3600) },
        7 => Fault::HalfOpen { device, for_s: chance.below(600) },
        8 if chance.one_in(4) => Fault::Rotate { device },
        9 | 2 | 3 => Fault::PowerCut { calls, after: chance.one_in(2), leaves, down_s },
        10 | 8 => Fault::Kill { down_s },
        11 => Fault::Restart { down_s: 1 + chance.below(20) },
        12 => Fault::DiskFails {
            calls: 1 + chance.below(100),
            times: 1 + chance.below(30),
            is_full: chance.one_in(2),
        },
        13 => Fault::DiskFull { left: chance.index(20_000), for_s: chance.below(1200) },
        14 => Fault::SinkDown { for_s: chance.below(3600) },
        15 => Fault::SinkDoubtful { times: 1 + u32::try_from(chance.below(3)).unwrap_or(0) },
        16 => {
            faults.push((later, Fault::RestoreDisk { down_s }));
            Fault::KeepDisk
        }
        _ if chance.one_in(2) => Fault::Clock { by_s: leap(chance) },
        _ => Fault::BrokerForgets,
    };
    faults.push((at, fault));
}

fn leap(chance: &mut Chance) -> i64 {
    let by = i64::try_from(chance.below(40 * 365 * 86_400)).unwrap_or(0);
    if chance.one_in(2) { by } else { -by }
}
