//! Faults that are planted on purpose, to see them found. None of them is in the product.

use std::fmt;
use std::str::FromStr;

/// A planted fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// A sync is reported and not done: what was acknowledged is in memory only.
    AckBeforeFsync,
    /// The next hop's word frees the ring: an acknowledgement comes for what it has taken over.
    ReleaseOnPuback,
    /// A start begins with no ring's watermark.
    WatermarkNotPersisted,
    /// The journal is cut off where it ends, not where the sink has got to.
    CursorAfterUnlink,
    /// A device's flash is as it was before its last frame, and nobody can tell.
    SeqReused,
    /// The acknowledgement of another history looks like one of the device's own.
    ForkNotNoticed,
    /// A sink goes on from its cursor whatever journal it finds.
    StaleCursorTrusted,
    /// After a power cut an agent's journal is gone, and it acknowledged what was in it.
    JournalForgotten,
    /// A device that is revoked is heard all the same.
    RevokedHeard,
    /// One event in sixteen does not stand in the sink that took it.
    EventForgotten,
    /// A loss says of no events that they are lost.
    LostEventsUntold,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::AckBeforeFsync,
        Self::ReleaseOnPuback,
        Self::WatermarkNotPersisted,
        Self::CursorAfterUnlink,
        Self::SeqReused,
        Self::ForkNotNoticed,
        Self::StaleCursorTrusted,
        Self::JournalForgotten,
        Self::RevokedHeard,
        Self::EventForgotten,
        Self::LostEventsUntold,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeFsync => "ack-before-fsync",
            Self::ReleaseOnPuback => "release-on-puback",
            Self::WatermarkNotPersisted => "watermark-not-persisted",
            Self::CursorAfterUnlink => "cursor-after-unlink",
            Self::SeqReused => "seq-reused",
            Self::ForkNotNoticed => "fork-not-noticed",
            Self::StaleCursorTrusted => "stale-cursor-trusted",
            Self::JournalForgotten => "journal-forgotten",
            Self::RevokedHeard => "revoked-heard",
            Self::EventForgotten => "event-forgotten",
            Self::LostEventsUntold => "lost-events-untold",
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
