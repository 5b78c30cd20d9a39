//! How the device fares: boots, heartbeats, forks, crashes.

use serde::{Deserialize, Serialize};

use crate::identity::{Lane, RingId, Seq};
use crate::time::DeviceTime;

/// Why the device started. Append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResetReason {
    /// Not known.
    #[default]
    Unknown,
    /// Power came (back).
    Power,
    /// The software asked for it.
    Software,
    /// The watchdog fired.
    Watchdog,
    /// A panic or fault; a crash record follows.
    Crash,
    /// The reset pin.
    Pin,
}

/// Said once after every boot, in the critical lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Boot {
    /// When.
    pub time: DeviceTime,
    /// Why it started.
    pub reset: ResetReason,
    /// Per lane (by number): the most samples that can have been in a batch that was open when the
    /// power went; zero after an orderly stop. An upper bound, shown apart from the ledger.
    pub unsealed_samples_max: [u32; 3],
    /// The same for events.
    pub unsealed_events_max: [u32; 3],
    /// Per lane: the first sequence number assigned after this boot.
    pub next: [Seq; 3],
}

/// Said every heartbeat interval, in the critical lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Heartbeat {
    /// When.
    pub time: DeviceTime,
    /// Share of each lane's ring in use, 0 to 255, by lane number.
    pub ring_used: [u8; 3],
    /// Times the link came up since boot.
    pub link_up: u32,
    /// Messages from the other side that failed authentication since boot.
    pub rejected: u32,
    /// Samples that named an unknown signal or came faster than the campaign admits, since boot.
    pub refused: u32,
    /// Least stack left since boot, in bytes; 0 where it is not measured.
    pub stack_free: u32,
    /// Supply voltage in millivolts; 0 where it is not measured.
    pub supply_mv: u32,
}

/// Why a device left a ring and opened another. Append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForkReason {
    /// The agent holds a sequence number that this device never assigned.
    Ahead,
    /// The agent holds another frame under a sequence number of this device's.
    Mismatch,
}

/// The device found that its ring's history is not the one the agent knows: it was rolled back or
/// cloned. Said in the first frame of the new ring's lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fork {
    /// When it was found.
    pub time: DeviceTime,
    /// Which lane.
    pub lane: Lane,
    /// The ring that was left.
    pub from: RingId,
    /// The ring that was opened.
    pub to: RingId,
    /// What the agent said it holds of the old ring.
    pub acknowledged: Seq,
    /// What the device would have assigned next.
    pub next: Seq,
    /// Why.
    pub reason: ForkReason,
}

/// What a crash left behind; written by the board, kept in RAM that survives the reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Crash<'a> {
    /// When the device had booted again.
    pub time: DeviceTime,
    /// The boot that crashed.
    pub boot: u32,
    /// Hash of the image that crashed, as in the hello.
    pub image: u32,
    /// Program counter, link register, status register.
    pub registers: [u32; 3],
    /// The panic's message or the fault's name.
    #[serde(borrow)]
    pub reason: &'a str,
    /// Excerpt of the stack, from the stack pointer upwards.
    pub stack: &'a [u8],
}
