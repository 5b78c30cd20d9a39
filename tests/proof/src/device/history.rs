//! What a device does with its store, drawn from a seed.

use std::fmt;

use protocol::{Counts, Lane};

use crate::chance::Chance;

/// Something done to one ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Stores a frame of this length; a longer one than fits becomes the longest.
    Append { len: usize, adds: Counts },
    /// Reserves a number and does not write its frame.
    Reserve { len: usize, adds: Counts },
    /// Reads so many frames, from so far back from the newest.
    Read { back: u64, frames: u64 },
    /// Everything is acknowledged but the newest so many.
    Release { but: u64 },
    /// A newer value stands for all that is not acknowledged.
    Supersede,
    /// Leaves the ring for a new one. While an earlier fork is not finished: goes on with that.
    Fork,
    /// Takes over so many frames of the ring that was left.
    Copy { frames: u32 },
    /// Begins a new ring and forgets this one.
    Format,
    /// The power goes and comes back between two operations.
    Boot,
    /// The device is stopped in order: nothing is left open.
    Stop,
}

/// One operation of a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Operation {
    pub lane: Lane,
    pub action: Action,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lane = self.lane.name();
        let counts = |adds: Counts| format!("{} samples, {} events", adds.samples, adds.events);
        match self.action {
            Action::Append { len, adds } => {
                write!(f, "{lane}: append {len} bytes, {}", counts(adds))
            }
            Action::Reserve { len, adds } => {
                write!(f, "{lane}: reserve {len} bytes, {}", counts(adds))
            }
            Action::Read { back, frames } => {
                write!(f, "{lane}: read {frames} frames, from {back} back on")
            }
            Action::Release { but } => write!(f, "{lane}: release all but {but}"),
            Action::Supersede => write!(f, "{lane}: supersede"),
            Action::Fork => write!(f, "{lane}: fork"),
            Action::Copy { frames } => write!(f, "{lane}: copy {frames}"),
            Action::Format => write!(f, "{lane}: format"),
            Action::Boot => f.write_str("boot"),
            Action::Stop => f.write_str("stop in order"),
        }
    }
}

/// A history: all its operations are done, and those from `cut_from` on are cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct History {
    pub seed: u64,
    pub number: u64,
    /// Bytes of a write unit.
    pub unit: usize,
    /// Bytes of a sector.
    pub sector: usize,
    /// How many sectors each lane has.
    pub sectors: [u32; 3],
    /// How often the device booted before.
    pub boots: u32,
    pub operations: Vec<Operation>,
    pub cut_from: usize,
    /// Every second cut of each operation is made, however many there are.
    pub is_thorough: bool,
    /// Besides cuts, bits flip.
    pub has_rot: bool,
    /// Besides cuts, writes and erases fail.
    pub has_failures: bool,
}

/// Write unit and sector of the flashes there are.
const FLASHES: [(usize, usize); 8] =
    [(1, 512), (2, 512), (4, 512), (8, 512), (8, 512), (1, 1024), (4, 1024), (8, 1024)];

/// Bytes of an entry of the system area.
const SYSTEM_ENTRY_LEN: usize = 32;

/// What a history is mostly made of.
#[derive(Clone, Copy)]
enum Kind {
    /// A few frames in a new flash.
    Young,
    /// Acknowledged as it goes: round and round.
    Round,
    /// Never acknowledged.
    Full,
    /// Frames that are not written.
    Burnt,
    /// Forks and their copies.
    Forking,
    /// All of it.
    Mixed,
}

impl History {
    /// The history of this number.
    pub(super) fn draw(seed: u64, number: u64) -> Self {
        let mut chance = Chance::new(seed, number);
        let (unit, sector) = chance.pick(&FLASHES).unwrap_or((8, 512));
        let kinds = [Kind::Young, Kind::Round, Kind::Full, Kind::Burnt, Kind::Forking, Kind::Mixed];
        let kind = chance.pick(&kinds).unwrap_or(Kind::Mixed);
        let main = chance.pick(&Lane::ALL).unwrap_or(Lane::Bulk);
        let sectors = [(); 3].map(|()| u32::try_from(3 + chance.below(3)).unwrap_or(3));
        // Frames of about a fifth of a sector: so many fill it or go round.
        let room = u64::from(sectors.get(main.index()).copied().unwrap_or(3)) * 4;
        let warm = match kind {
            Kind::Young => chance.below(6),
            Kind::Mixed => chance.below(2 * room),
            _ => room / 2 + chance.below(room + room / 2),
        };
        // As many second cuts as there are bytes in a unit's place: rarely all of them.
        let times = 8 * 8_u64.div_euclid((unit as u64).max(1));
        let is_thorough = chance.one_in(times);
        let window = if is_thorough { 1 } else { 1 + chance.below(4) };
        let mut operations = Vec::new();
        for _ in 0..warm + window {
            let lane = if chance.below(10) < 7 { Some(main) } else { chance.pick(&Lane::ALL) };
            let lane = lane.unwrap_or(main);
            let action = draw_action(kind, lane, sector, &mut chance);
            operations.push(Operation { lane, action });
        }
        let cut_from = usize::try_from(warm).unwrap_or(0);
        // Up to two turns of the system area.
        let entries = (sector / SYSTEM_ENTRY_LEN) as u64 * 4;
        let boots = u32::try_from(chance.below(entries)).unwrap_or(0);
        let (has_rot, has_failures) = (chance.one_in(3), chance.one_in(3));
        Self {
            seed,
            number,
            unit,
            sector,
            sectors,
            boots,
            operations,
            cut_from,
            is_thorough,
            has_rot,
            has_failures,
        }
    }
}

fn draw_action(kind: Kind, lane: Lane, sector: usize, chance: &mut Chance) -> Action {
    // Of 100: reserve, release, fork, copy, format, boot, read; the rest appends.
    let shares: [u64; 7] = match kind {
        Kind::Young => [5, 10, 2, 5, 5, 5, 5],
        Kind::Round => [2, 25, 0, 0, 0, 4, 6],
        Kind::Full => [2, 0, 0, 0, 0, 4, 4],
        Kind::Burnt => [55, 8, 0, 0, 0, 5, 2],
        Kind::Forking => [4, 5, 18, 30, 2, 4, 2],
        Kind::Mixed => [8, 15, 8, 10, 3, 6, 6],
    };
    let mut drawn = chance.below(100);
    let mut place = shares.len();
    for (index, share) in shares.into_iter().enumerate() {
        if drawn < share {
            place = index;
            break;
        }
        drawn -= share;
    }
    let (len, adds) = (draw_len(sector, chance), draw_adds(chance));
    match place {
        // Often all of a sector: then nothing that is retained has a frame.
        0 => Action::Reserve { len: if chance.one_in(3) { sector } else { len }, adds },
        1 if lane == Lane::Latest => Action::Supersede,
        1 => Action::Release { but: chance.below(5) },
        2 => Action::Fork,
        3 => Action::Copy { frames: 1 },
        4 => Action::Format,
        5 if chance.one_in(3) => Action::Stop,
        5 => Action::Boot,
        6 => Action::Read { back: chance.below(12), frames: 1 + chance.below(4) },
        _ => Action::Append { len, adds },
    }
}

fn draw_len(sector: usize, chance: &mut Chance) -> usize {
    match chance.below(10) {
        0 => 1 + chance.index(9),
        1 => sector,
        2 | 3 => 1 + chance.index(sector / 2),
        _ => 17 + chance.index(64),
    }
}

fn draw_adds(chance: &mut Chance) -> Counts {
    match chance.below(8) {
        0 => Counts::ZERO,
        1 => Counts { samples: chance.below(1 << 32), events: chance.below(1 << 32) },
        _ => Counts { samples: chance.below(200), events: chance.below(4) },
    }
}
