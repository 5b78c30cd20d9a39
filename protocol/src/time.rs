//! Device time: boot, monotonic, and a wall clock with its quality, where there is one (I7).

use serde::{Deserialize, Serialize};

/// How far a wall clock can be trusted.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// No wall clock: time counts from the boot.
    #[default]
    Uptime = 0,
    /// A battery-backed clock nobody has checked.
    Rtc = 1,
    /// Set from the agent's authenticated time sync: within a round trip.
    Agent = 2,
    /// From a satellite fix or another reference.
    Reference = 3,
}

impl Clock {
    /// The clock with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Uptime),
            1 => Some(Self::Rtc),
            2 => Some(Self::Agent),
            3 => Some(Self::Reference),
            _ => None,
        }
    }

    /// The name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uptime => "uptime",
            Self::Rtc => "rtc",
            Self::Agent => "agent",
            Self::Reference => "reference",
        }
    }
}

/// One point in a device's time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DeviceTime {
    /// Number of this boot, from 1.
    pub boot: u32,
    /// Milliseconds since this boot, monotonic.
    pub uptime_ms: u64,
    /// Milliseconds since 1970-01-01 UTC by the device's wall clock; meaningless if `clock` is
    /// [`Clock::Uptime`].
    pub unix_ms: i64,
    /// What `unix_ms` is worth.
    pub clock: Clock,
}

impl DeviceTime {
    /// The wall clock, if there is one.
    pub fn wall_ms(&self) -> Option<i64> {
        (self.clock != Clock::Uptime).then_some(self.unix_ms)
    }
}
