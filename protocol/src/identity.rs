//! Who a frame belongs to: device, ring, lane, sequence number (invariant I2: never time).

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A device's name: 1 to 32 characters of `A-Z a-z 0-9 _ -`.
///
/// The alphabet is what every upstream takes unescaped: an MQTT topic level, a NATS token, a file
/// name, an Elasticsearch id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    len: u8,
    bytes: [u8; Self::LEN_MAX],
}

impl DeviceId {
    /// The longest name, in bytes.
    pub const LEN_MAX: usize = 32;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The name as bytes; what keys and associated data are made from.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Why a text is no [`DeviceId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceIdError {
    /// The text is empty or longer than [`DeviceId::LEN_MAX`].
    #[error("a device id has 1 to 32 characters")]
    Length,
    /// A character outside the alphabet.
    #[error("a device id is made of A-Z a-z 0-9 _ - only")]
    Character,
}

impl FromStr for DeviceId {
    type Err = DeviceIdError;

    fn from_str(text: &str) -> Result<Self, DeviceIdError> {
        let mut bytes = [0; Self::LEN_MAX];
        let slot = bytes.get_mut(..text.len()).ok_or(DeviceIdError::Length)?;
        if text.is_empty() {
            return Err(DeviceIdError::Length);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err(DeviceIdError::Character);
        }
        slot.copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).map_err(|_| DeviceIdError::Length)?;
        Ok(Self { len, bytes })
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({})", self.as_str())
    }
}

impl Serialize for DeviceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = DeviceId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a device id")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<DeviceId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Names one formatted ring, for ever: 128 bits that no other ring of any device has.
///
/// Derived by the device from its secret, a format counter kept outside the ring and fresh entropy
/// (see [`crate::keys::ring_id`]); opaque to everyone else. Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct RingId(pub [u8; 16]);

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingId({self})")
    }
}

impl FromStr for RingId {
    type Err = RingIdError;

    fn from_str(text: &str) -> Result<Self, RingIdError> {
        let mut bytes = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return Err(RingIdError);
        }
        for (byte, at) in bytes.iter_mut().zip((0..32).step_by(2)) {
            let digits = text.get(at..at + 2).ok_or(RingIdError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| RingIdError)?;
        }
        Ok(Self(bytes))
    }
}

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ring id is 32 hexadecimal digits")]
pub struct RingIdError;

/// Counts the frames of one ring, from 1; 0 means "none yet".
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first frame.
    pub const ZERO: Self = Self(0);
    /// The first frame of a ring.
    pub const FIRST: Self = Self(1);

    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The one before this; zero stays zero.
    #[must_use]
    pub fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A device's rings by urgency. Order holds inside a lane; a lane may overtake another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Events, faults, health: small, first on the link.
    Critical = 0,
    /// The recording: everything the campaign admits, oldest first.
    Bulk = 1,
    /// Only the newest value counts; what it supersedes is counted as excluded.
    Latest = 2,
}

impl Lane {
    /// All lanes, in the order in which the link serves them.
    pub const BY_URGENCY: [Self; 3] = [Self::Critical, Self::Latest, Self::Bulk];
    /// All lanes, by number.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Bulk, Self::Latest];

    /// The lane's number on the wire and as an index.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The lane with this number.
    pub const fn from_index(index: u8) -> Option<Self> {
        match index {
            0 => Some(Self::Critical),
            1 => Some(Self::Bulk),
            2 => Some(Self::Latest),
            _ => None,
        }
    }

    /// The lane's name in documents, metrics and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Bulk => "bulk",
            Self::Latest => "latest",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which of a device's secrets a message is made with: two bits, raised by a key rotation.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u8", into = "u8")]
pub struct Generation(u8);

impl Generation {
    /// The generation of a newly added device.
    pub const FIRST: Self = Self(0);

    /// The generation with this number, 0 to 3.
    pub const fn new(number: u8) -> Option<Self> {
        if number < 4 { Some(Self(number)) } else { None }
    }

    /// The lowest two bits of a byte.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits & 3)
    }

    /// The one that a rotation leads to: after 3 comes 0 again.
    #[must_use]
    pub const fn next(self) -> Self {
        Self((self.0 + 1) & 3)
    }

    /// The number, 0 to 3.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// Tells the times apart that a device was added to a registry: 32 bits made from the first of its
/// secrets then, and kept over its rotations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Registration(pub u32);

impl TryFrom<u8> for Generation {
    type Error = &'static str;
    fn try_from(number: u8) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("a key generation is 0 to 3")
    }
}

impl From<Generation> for u8 {
    fn from(generation: Generation) -> Self {
        generation.0
    }
}

/// The first eight bytes of a frame's authentication tag: tells a frame from another with the same
/// sequence number (a fork) in acknowledgements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct FrameTag(pub [u8; 8]);

/// Names one life of one journal: the first eight bytes of SHA-256 over its id and epoch.
///
/// Carried by acknowledgements and handed back in the hello, so that an agent can tell "another
/// journal, or a later life of mine, holds it" from "lost". Zero: nobody yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct JournalInstance(pub [u8; 8]);

impl fmt::Display for JournalInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Samples and events, counted apart, since a ring was formatted or in one frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Samples: one timestamped value each.
    pub samples: u64,
    /// Events and everything else that is a record of its own: health, logs, boots, forks.
    pub events: u64,
}

impl Counts {
    /// Nothing.
    pub const ZERO: Self = Self { samples: 0, events: 0 };

    /// What is in `self` and not in `earlier`; none below zero.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            samples: self.samples.saturating_sub(earlier.samples),
            events: self.events.saturating_sub(earlier.events),
        }
    }

    /// Whether both are zero.
    pub const fn is_zero(self) -> bool {
        self.samples == 0 && self.events == 0
    }
}

impl core::ops::Add for Counts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            samples: self.samples.saturating_add(other.samples),
            events: self.events.saturating_add(other.events),
        }
    }
}

impl core::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
