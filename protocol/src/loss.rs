//! Loss is data (I3): what was lost, when and why.

use serde::{Deserialize, Serialize};

use crate::identity::{Counts, Seq};
use crate::time::DeviceTime;

/// Why frames are gone. Append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossReason {
    /// The ring was full and dropped its oldest frames.
    Full,
    /// The power went while a frame was being written: its sequence number is burnt.
    Torn,
    /// A record no longer matches its checksum.
    Damaged,
    /// Too old to be worth the link.
    Expired,
    /// A newer value took its place in the latest-value lane: excluded, not lost.
    Superseded,
    /// Said by an agent: the device does not retain it and nobody has said why.
    Unexplained,
    /// Said by an agent: another journal, or a later life of this one, acknowledged it.
    AcknowledgedElsewhere,
    /// Said by an agent: its own journal was damaged or cut.
    Journal,
    /// Said by an agent: a sink fell behind and the journal was full.
    Overrun,
    /// The device had to leave its ring, because the agent knew another history of it, and this much
    /// could not be taken along. At most: the agent may hold some of it under the old ring's name.
    Forked,
}

impl LossReason {
    /// The name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Torn => "torn",
            Self::Damaged => "damaged",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Unexplained => "unexplained",
            Self::AcknowledgedElsewhere => "acknowledged-elsewhere",
            Self::Journal => "journal",
            Self::Overrun => "overrun",
            Self::Forked => "forked",
        }
    }

    /// Whether the samples count as excluded by a rule rather than lost.
    pub const fn is_exclusion(self) -> bool {
        matches!(self, Self::Superseded)
    }
}

/// A range of one ring that is gone.
///
/// A claim: whoever holds a part of the range subtracts it. Counts are cumulative since the ring
/// was formatted, so a holder that knows its own cumulative count up to any point inside the range
/// gets the rest exactly by subtraction, however claims overlap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Loss {
    /// First sequence number gone.
    pub first: Seq,
    /// Last sequence number gone.
    pub last: Seq,
    /// What the ring had taken up to and including `last`, lost or not.
    pub through: Counts,
    /// Why; of the latest drop, where several coalesced.
    pub reason: LossReason,
    /// When the (latest) loss happened.
    pub time: DeviceTime,
}
