//! What an agent does with its journal, drawn from a seed.

use std::fmt;

use protocol::Lane;

use super::disk::Failing;
use crate::chance::Chance;

/// Something done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    /// Takes so many entries of about this length.
    Append {
        lane: Lane,
        count: u64,
        len: u64,
    },
    Commit,
    /// The sink takes so many entries of each lane, and its cursor becomes durable.
    Deliver {
        count: usize,
    },
    /// What stands before the durable cursor goes.
    Prune,
    /// The process dies and starts again; the kernel lives.
    Kill,
    /// The power goes and comes back.
    PowerCut,
    /// A call goes wrong: this one from now on.
    Fail {
        nth: u64,
        failing: Failing,
    },
    /// The disk has so many bytes left.
    Fill {
        left: usize,
    },
    /// It has room again.
    Empty,
    /// A copy is taken.
    Copy,
    /// The copy takes the place of what is there; the sink keeps what it has.
    Restore,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append { lane, count, len } => write!(f, "{lane}: append {count}, {len} bytes"),
            Self::Commit => f.write_str("commit"),
            Self::Deliver { count } => write!(f, "deliver {count} of each lane"),
            Self::Prune => f.write_str("prune"),
            Self::Kill => f.write_str("kill"),
            Self::PowerCut => f.write_str("power cut"),
            Self::Fail { nth, failing } => write!(f, "call {nth} fails: {failing:?}"),
            Self::Fill { left } => write!(f, "{left} bytes left on the disk"),
            Self::Empty => f.write_str("room on the disk"),
            Self::Copy => f.write_str("copy"),
            Self::Restore => f.write_str("restore"),
        }
    }
}

/// A history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct History {
    pub seed: u64,
    pub number: u64,
    /// Bytes of a segment.
    pub segment: u64,
    /// Bytes that the journal may take beside its table of lives.
    pub bytes_max: u64,
    /// Bytes of the disk that it leaves to others.
    pub reserve: u64,
    pub acts: Vec<Act>,
    /// All that can be chosen is tried up to so many choices; then so many are drawn.
    pub bits: usize,
    pub draws: usize,
}

/// What a history is mostly made of.
#[derive(Clone, Copy)]
enum Kind {
    /// Commits.
    Plain,
    /// Delivered and pruned as it goes.
    Round,
    /// Starts, and power cuts.
    Lives,
    /// Calls that fail.
    Failing,
    /// A full disk.
    Filled,
    /// A full journal.
    Full,
    /// Old copies.
    Copied,
}

const KINDS: [Kind; 10] = [
    Kind::Plain,
    Kind::Round,
    Kind::Round,
    Kind::Lives,
    Kind::Failing,
    Kind::Filled,
    Kind::Filled,
    Kind::Full,
    Kind::Copied,
    Kind::Copied,
];

impl History {
    /// The history of this number.
    pub(super) fn draw(seed: u64, number: u64) -> Self {
        let mut chance = Chance::new(seed, number);
        let kind = chance.pick(&KINDS).unwrap_or(Kind::Plain);
        let segment = chance.pick(&[1300, 1700, 2300, 4000]).unwrap_or(2300);
        let bytes_max = match kind {
            Kind::Full => 6000 + chance.below(4000),
            _ => 1 << 30,
        };
        let reserve = match kind {
            Kind::Filled if chance.one_in(2) => 800,
            _ => 0,
        };
        let mut acts = Vec::new();
        let rounds = 3 + chance.below(5);
        for _ in 0..rounds {
            for _ in 0..=chance.below(3) {
                acts.push(append(&mut chance));
            }
            before_commit(kind, &mut acts, &mut chance);
            acts.push(Act::Commit);
            after_commit(kind, &mut acts, &mut chance);
        }
        let is_thorough = chance.one_in(4);
        let (bits, draws) = if is_thorough { (10, 256) } else { (6, 48) };
        Self { seed, number, segment, bytes_max, reserve, acts, bits, draws }
    }
}

fn append(chance: &mut Chance) -> Act {
    let lane = chance.pick(&Lane::ALL).unwrap_or(Lane::Bulk);
    let len = chance.pick(&[0, 20, 90, 90, 250, 700]).unwrap_or(90);
    Act::Append { lane, count: 1 + chance.below(4), len }
}

fn before_commit(kind: Kind, acts: &mut Vec<Act>, chance: &mut Chance) {
    let failing = if chance.one_in(2) { Failing::Io } else { Failing::NoSpace };
    match kind {
        Kind::Failing => acts.push(Act::Fail { nth: 1 + chance.below(14), failing }),
        Kind::Filled if !chance.one_in(4) => acts.push(Act::Fill { left: chance.index(4000) }),
        _ => {}
    }
}

fn after_commit(kind: Kind, acts: &mut Vec<Act>, chance: &mut Chance) {
    let round = [Act::Deliver { count: 1 + chance.index(8) }, Act::Prune];
    match kind {
        Kind::Plain if chance.one_in(4) => acts.extend(round),
        Kind::Round | Kind::Full => acts.extend(round),
        Kind::Lives => {
            acts.push(if chance.one_in(3) { Act::PowerCut } else { Act::Kill });
            acts.extend(round.into_iter().filter(|_| chance.one_in(2)));
        }
        Kind::Failing => {
            acts.extend(round.into_iter().filter(|_| chance.one_in(2)));
            match chance.below(5) {
                0 => acts.push(Act::Kill),
                1 => acts.push(Act::PowerCut),
                _ => {}
            }
        }
        Kind::Filled => {
            match chance.below(4) {
                0 => acts.push(Act::Kill),
                1 => acts.push(Act::PowerCut),
                _ => acts.extend(round),
            }
            if chance.one_in(4) {
                acts.push(Act::Empty);
            }
        }
        Kind::Copied => {
            acts.extend(round.into_iter().filter(|_| chance.one_in(2)));
            match chance.below(5) {
                0 | 1 => acts.push(Act::Copy),
                2 | 3 => acts.push(Act::Restore),
                _ => acts.push(Act::Kill),
            }
        }
        Kind::Plain => {}
    }
}
