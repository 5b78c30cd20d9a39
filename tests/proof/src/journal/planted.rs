//! Faults that are planted on purpose, to see them found. None of them is in the product: they sit
//! in the disk, or in what the harness does with the journal.

use std::fmt;

use super::calls::prove_calls;
use super::flips::{Flips, prove_flips};
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
    /// A sync that fails says that it is done.
    SyncFailureHidden,
    /// So does a write that fails half-way.
    WriteFailureHidden,
    /// The checksum of a record fits whatever stands there.
    ChecksumFits,
    /// The sink does not keep what is said to be lost.
    LossUntold,
}

impl Planted {
    /// All that `prove journal` has to find.
    pub const JOURNAL: [Self; 6] = [
        Self::AckBeforeFsync,
        Self::CursorAfterUnlink,
        Self::TornTailAccepted,
        Self::StaleCursorTrusted,
        Self::DirNotSynced,
        Self::EpochNotPersisted,
    ];

    /// All that `prove calls` has to find.
    pub const CALLS: [Self; 2] = [Self::SyncFailureHidden, Self::WriteFailureHidden];

    /// All that `prove flips` has to find.
    pub const FLIPS: [Self; 2] = [Self::ChecksumFits, Self::LossUntold];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeFsync => "ack-before-fsync",
            Self::CursorAfterUnlink => "cursor-after-unlink",
            Self::TornTailAccepted => "torn-tail-accepted",
            Self::StaleCursorTrusted => "stale-cursor-trusted",
            Self::DirNotSynced => "dir-not-synced",
            Self::EpochNotPersisted => "epoch-not-persisted",
            Self::SyncFailureHidden => "sync-failure-hidden",
            Self::WriteFailureHidden => "write-failure-hidden",
            Self::ChecksumFits => "checksum-fits",
            Self::LossUntold => "loss-untold",
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
#[error("no such fault; there are {}", .0.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", "))]
pub struct NoSuchFault(&'static [Planted]);

impl Planted {
    /// The one of this name, among those of a harness.
    pub fn among(all: &'static [Self], name: &str) -> Result<Self, NoSuchFault> {
        all.iter().copied().find(|fault| fault.name() == name).ok_or(NoSuchFault(all))
    }
}

/// The journal's part of the table of planted faults.
pub(crate) fn find_planted(seed: u64, row: &mut dyn FnMut(Row)) {
    for fault in Planted::JOURNAL {
        let replay = Replay { seed, states: STATES, history: None, planted: Some(fault) };
        let report = prove(&replay, |_| {});
        row(Row {
            harness: "journal",
            fault: fault.name(),
            states: report.states_distinct,
            said: report.found.map(|found| found.violation),
        });
    }
    for fault in Planted::CALLS {
        let report = prove_calls(u64::MAX, Some(fault), |_| {});
        let (states, said) = (report.runs, report.found);
        row(Row { harness: "calls", fault: fault.name(), states, said });
    }
    for fault in Planted::FLIPS {
        let flips = Flips { seed, planted: Some(fault), ..Flips::SMALL };
        let report = prove_flips(&flips, |_| {});
        let (states, said) = (report.total() + report.forwarded, report.found);
        row(Row { harness: "flips", fault: fault.name(), states, said });
    }
}
