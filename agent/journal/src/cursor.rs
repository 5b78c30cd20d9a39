//! Where something stands in the journal, and which life of which journal that refers to.

use protocol::{Counts, JournalInstance, Lane};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A byte position in one lane's log. Grows over segments and restarts, never goes back.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// This many bytes further on.
    pub(super) fn plus(self, bytes: usize) -> Self {
        Self(self.0.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)))
    }

    /// Bytes from `earlier` to here; none below zero.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One value per lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct PerLane<T>(pub(super) [T; 3]);

impl<T> PerLane<T> {
    pub(super) fn try_new<E>(make: impl FnMut(Lane) -> Result<T, E>) -> Result<Self, E> {
        let mut make = make;
        Ok(Self([make(Lane::Critical)?, make(Lane::Bulk)?, make(Lane::Latest)?]))
    }

    pub(super) fn new(mut make: impl FnMut(Lane) -> T) -> Self {
        Self(Lane::ALL.map(&mut make))
    }

    pub(super) const fn get(&self, lane: Lane) -> &T {
        let [critical, bulk, latest] = &self.0;
        match lane {
            Lane::Critical => critical,
            Lane::Bulk => bulk,
            Lane::Latest => latest,
        }
    }

    pub(super) const fn get_mut(&mut self, lane: Lane) -> &mut T {
        let [critical, bulk, latest] = &mut self.0;
        match lane {
            Lane::Critical => critical,
            Lane::Bulk => bulk,
            Lane::Latest => latest,
        }
    }
}

/// A position in each lane, by [`Lane::index`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Positions(pub [Position; 3]);

impl Positions {
    /// Before everything.
    pub const ZERO: Self = Self([Position::ZERO; 3]);

    /// The position in a lane.
    pub const fn get(&self, lane: Lane) -> Position {
        *PerLane(self.0).get(lane)
    }

    /// Puts the position in a lane.
    pub const fn set(&mut self, lane: Lane, position: Position) {
        let mut all = PerLane(self.0);
        *all.get_mut(lane) = position;
        self.0 = all.0;
    }

    /// The lesser of the two in each lane.
    #[must_use]
    pub fn min(&self, other: &Self) -> Self {
        Self(PerLane::new(|lane| self.get(lane).min(other.get(lane))).0)
    }

    /// Whether no lane is beyond `other`'s.
    pub fn within(&self, other: &Self) -> bool {
        Lane::ALL.into_iter().all(|lane| self.get(lane) <= other.get(lane))
    }
}

/// A point in one lane's log: the position, and the sum of what all entries before it add.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Point {
    /// Where.
    pub at: Position,
    /// The sum of [`Entry::adds`](super::Entry::adds) from the journal's beginning to here.
    pub totals: Counts,
}

/// How far the journal is durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Ends {
    /// The end of each lane.
    pub positions: Positions,
    /// The sum of [`Entry::adds`](super::Entry::adds) in each lane since the journal began.
    pub totals: [Counts; 3],
}

impl Ends {
    /// The end of one lane.
    pub const fn get(&self, lane: Lane) -> Point {
        Point { at: self.positions.get(lane), totals: *PerLane(self.totals).get(lane) }
    }

    pub(super) fn from_points(points: &PerLane<Point>) -> Self {
        Self {
            positions: Positions(points.0.map(|point| point.at)),
            totals: points.0.map(|point| point.totals),
        }
    }
}

/// One life of the journal, from an open to the next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Epoch {
    /// Counts the starts, from 1.
    pub number: u32,
    /// Drawn at the start: tells two lives with the same number apart, one of which was in a copy.
    pub nonce: u64,
}

/// Which life of which journal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Identity {
    pub(super) journal: [u8; 16],
    pub(super) epoch: Epoch,
}

impl Identity {
    /// The first eight bytes of SHA-256 over id, epoch number and nonce (little endian).
    pub(super) fn instance(&self) -> JournalInstance {
        let digest = Sha256::new()
            .chain_update(self.journal)
            .chain_update(self.epoch.number.to_le_bytes())
            .chain_update(self.epoch.nonce.to_le_bytes())
            .finalize();
        JournalInstance(<[u8; 32]>::from(digest).first_chunk().copied().unwrap_or_default())
    }
}

/// How far a sink has got, as kept in the sink: only worth something in the journal it was taken
/// from, see [`JournalTail::validates`](super::JournalTail::validates).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct JournalCursor {
    /// The journal's id.
    pub journal: [u8; 16],
    /// The life in which the cursor was written.
    pub epoch: Epoch,
    /// What stands before these is done with.
    pub positions: Positions,
    /// The lanes' totals there.
    pub totals: [Counts; 3],
}
