//! Faults that are planted on purpose, to see them found. None of them is in the product: they sit
//! in the disk, or in what the harness does with the journal.

use std::fmt;
use std::str::FromStr;

use super::states::{Replay, prove};
use crate::table::Row;

/// In how many distinct states each has to be found.
const STATES: u64 = 300_000;

/// A planted fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// A sync of a segment says that it is done, and does nothing.
    AckBeforeFsync,
    /// What a sink is done with is removed before its cursor is durable.
    CursorAfterUnlink,
    /// What a power cut left of the last record counts as whole: the checksum says so.
    TornTailAccepted,
    /// A cursor is followed whether it holds or not.
    StaleCursorTrusted,
    /// A sync of a lane's directory says that it is done, and does nothing.
    DirNotSynced,
    /// A life is begun, and not written down.
    EpochNotPersisted,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AckBeforeFsync,
        Self::CursorAfterUnlink,
        Self::TornTailAccepted,
        Self::StaleCursorTrusted,
        Self::DirNotSynced,
        Self::EpochNotPersisted,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeFsync => "ack-before-fsync",
            Self::CursorAfterUnlink => "cursor-after-unlink",
            Self::TornTailAccepted => "torn-tail-accepted",
            Self::StaleCursorTrusted => "stale-cursor-trusted",
            Self::DirNotSynced => "dir-not-synced",
            Self::EpochNotPersisted => "epoch-not-persisted",
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

/// The journal's part of the table of planted faults.
pub(crate) fn find_planted(seed: u64, row: &mut dyn FnMut(Row)) {
    for fault in Planted::ALL {
        let replay = Replay { seed, states: STATES, history: None, planted: Some(fault) };
        let report = prove(&replay, |_| {});
        row(Row {
            harness: "journal",
            fault: fault.name(),
            states: report.states_distinct,
            said: report.found.map(|found| found.violation),
        });
    }
}
