//! What can go wrong, and what operators do meanwhile; plain data.

use std::fmt;

/// One thing that goes wrong, or is changed.
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
    /// From its next start on it runs another image, with another catalogue and campaign.
    Update { device: usize, image: u32 },
    /// What an operator decides about a device, told to every agent.
    Order { device: usize, order: Order },
    /// The power of an agent's machine goes, at once or around a disk call, and takes some of what
    /// was not synced.
    PowerCut { agent: usize, calls: Option<u64>, after: bool, leaves: u64, down_s: u64 },
    /// An agent is killed; the machine lives on.
    Kill { agent: usize, down_s: u64 },
    /// An agent stops in order and starts again.
    Restart { agent: usize, down_s: u64 },
    /// Disk calls fail, of an agent's own disk or of its sinks'.
    DiskFails { agent: usize, own: bool, calls: u64, times: u64, is_full: bool },
    /// The disk is full but for so many bytes.
    DiskFull { agent: usize, own: bool, left: usize, for_s: u64 },
    /// A sink takes nothing.
    SinkDown { agent: usize, sink: usize, for_s: u64 },
    /// A sink takes the next batches and says that it did not.
    SinkDoubtful { agent: usize, sink: usize, times: u32 },
    /// A copy of an agent's disk is taken.
    KeepDisk { agent: usize },
    /// An agent's disk is as it was when it was kept; its sinks are not.
    RestoreDisk { agent: usize, down_s: u64 },
    /// A host's clock leaps.
    Clock { agent: usize, by_s: i64 },
    /// A device's wall clock leaps.
    DeviceClock { device: usize, by_s: i64 },
    /// A broker forgets what it has queued for an agent, and who is connected.
    BrokerForgets { agent: usize },
    /// An agent's configuration changes; what cannot change while it runs does so over a restart.
    Configure { agent: usize, change: Change, down_s: u64 },
}

/// What an operator decides about a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// It gets a new secret, at its next start.
    Rotate { seed: u64 },
    /// It is shut out for good.
    Revoke,
    /// It is out of use for a while.
    Decommission,
    /// It is in use again.
    Recommission,
    /// It is removed, and added again under the same name with another secret.
    Renew { seed: u64 },
    /// Everything of it is forgotten.
    Erase,
}

/// What changes of an agent's configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// While it runs: signals of these bits leave no more.
    Policy { drops: u16 },
    /// One more sink.
    AddSink { kind: Kind, may_lose: bool },
    /// One sink less, but never the last.
    RemoveSink { sink: usize },
    /// A sink that was removed is there again.
    BringBack,
    /// A sink has another name, and the files and the upstream that it had.
    RenameSink { sink: usize },
    /// A sink may lose when the journal is full, or not.
    OnFull { sink: usize, may_lose: bool },
    /// The journal may have so many bytes.
    JournalBytes { bytes: u64 },
}

/// What kind of sink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// An upstream that keeps the cursor with its content, in one step.
    Model,
    /// The product's file sink.
    File,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
