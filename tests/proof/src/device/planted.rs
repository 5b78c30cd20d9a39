//! Faults that are planted on purpose, to see them found. None of them is in the product: they sit
//! between the ring and its flash, or in what the harness does with the ring.

use std::fmt;
use std::str::FromStr;

use super::cuts::{Replay, prove};
use crate::table::Row;

/// In how many distinct states a planted fault has to be found.
const STATES: u64 = 500_000;

/// A planted fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// A number is given out again if its frame was not whole when the power went.
    SeqReused,
    /// A frame counts as whole whatever stands in its place.
    TornAccepted,
    /// More is released than was acknowledged.
    ReleasedUnacknowledged,
    /// A reserved number is written down only together with its frame's commit.
    ReserveNotPersisted,
    /// Some commits are reported and never written.
    WriteNotPersisted,
    /// Some erases are reported and never done.
    EraseSkipped,
    /// What was dropped or burnt is not said.
    LossUntold,
    /// What was dropped or burnt is said with wrong counts.
    LossMiscounted,
    /// A frame that a flipped bit destroyed is passed and not said.
    DamageUntold,
    /// A write or an erase that failed counts as done.
    FailureUnnoticed,
    /// Some entries of the system area are reported and never written.
    SystemNotPersisted,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::SeqReused,
        Self::TornAccepted,
        Self::ReleasedUnacknowledged,
        Self::ReserveNotPersisted,
        Self::WriteNotPersisted,
        Self::EraseSkipped,
        Self::LossUntold,
        Self::LossMiscounted,
        Self::DamageUntold,
        Self::FailureUnnoticed,
        Self::SystemNotPersisted,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SeqReused => "seq-reused",
            Self::TornAccepted => "torn-accepted",
            Self::ReleasedUnacknowledged => "released-unacknowledged",
            Self::ReserveNotPersisted => "reserve-not-persisted",
            Self::WriteNotPersisted => "write-not-persisted",
            Self::EraseSkipped => "erase-skipped",
            Self::LossUntold => "loss-untold",
            Self::LossMiscounted => "loss-miscounted",
            Self::DamageUntold => "damage-untold",
            Self::FailureUnnoticed => "failure-unnoticed",
            Self::SystemNotPersisted => "system-not-persisted",
        }
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no fault of this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such fault; there are {}", Planted::ALL.map(Planted::name).join(", "))]
pub struct NoSuchFault;

impl FromStr for Planted {
    type Err = NoSuchFault;

    fn from_str(name: &str) -> Result<Self, NoSuchFault> {
        Self::ALL.into_iter().find(|fault| fault.name() == name).ok_or(NoSuchFault)
    }
}

/// The device's part of the table of planted faults.
pub(crate) fn find_planted(seed: u64, row: &mut dyn FnMut(Row)) {
    for fault in Planted::ALL {
        let replay = Replay { seed, states: STATES, history: None, planted: Some(fault) };
        let report = prove(&replay, |_| {});
        row(Row {
            harness: "device",
            fault: fault.name(),
            states: report.states_distinct,
            said: report.found.map(|found| found.violation),
        });
    }
}
