//! MQTT topics: the only place where one is spelt out.
//!
//! `m0/DEVICE/X`, where the 0 is the wire version and X one letter. Short, because a device sends
//! one with each frame. A device publishes to its own `c b l h` and reads its own `a d`, no other.

use core::fmt::Write as _;

use crate::identity::{DeviceId, Lane};

/// The most bytes of a topic.
pub const TOPIC_LEN_MAX: usize = 3 + DeviceId::LEN_MAX + 2;

/// What a message is, and whose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Whose.
    pub device: DeviceId,
    /// What.
    pub channel: Channel,
}

/// The last level of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Channel {
    /// Device to agent: frames of a lane (`c`, `b`, `l`).
    Frames(Lane),
    /// Device to agent: hello (`h`).
    Hello,
    /// Agent to device: acknowledgements (`a`).
    Ack,
    /// Agent to device: everything else (`d`).
    Downlink,
}

impl Channel {
    const fn letter(self) -> &'static str {
        match self {
            Self::Frames(Lane::Critical) => "c",
            Self::Frames(Lane::Bulk) => "b",
            Self::Frames(Lane::Latest) => "l",
            Self::Hello => "h",
            Self::Ack => "a",
            Self::Downlink => "d",
        }
    }

    /// Whether devices publish here (and agents read), rather than the other way round.
    pub const fn is_uplink(self) -> bool {
        matches!(self, Self::Frames(_) | Self::Hello)
    }
}

impl Topic {
    /// The filter that matches a channel of every device.
    pub fn filter(channel: Channel) -> heapless::String<TOPIC_LEN_MAX> {
        let mut filter = heapless::String::new();
        let written = write!(filter, "m0/+/{}", channel.letter());
        debug_assert!(written.is_ok(), "a topic is bounded");
        filter
    }

    /// The topic's name.
    pub fn name(&self) -> heapless::String<TOPIC_LEN_MAX> {
        let mut name = heapless::String::new();
        let written = write!(name, "m0/{}/{}", self.device, self.channel.letter());
        debug_assert!(written.is_ok(), "a topic is bounded");
        name
    }

    /// The topic with this name.
    pub fn parse(name: &str) -> Option<Self> {
        let (device, letter) = name.strip_prefix("m0/")?.rsplit_once('/')?;
        let channel = match letter {
            "c" => Channel::Frames(Lane::Critical),
            "b" => Channel::Frames(Lane::Bulk),
            "l" => Channel::Frames(Lane::Latest),
            "h" => Channel::Hello,
            "a" => Channel::Ack,
            "d" => Channel::Downlink,
            _ => return None,
        };
        Some(Self { device: device.parse().ok()?, channel })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let device: DeviceId = "a-device_with-32-characters-0123".parse().unwrap();
        for letter in ["c", "b", "l", "h", "a", "d"] {
            let name = std::format!("m0/{device}/{letter}");
            let topic = Topic::parse(&name).unwrap();
            assert_eq!(topic.device, device);
            assert_eq!(topic.name().as_str(), name);
            assert_eq!(topic.channel.is_uplink(), "cblh".contains(letter));
            assert_eq!(Topic::filter(topic.channel).as_str(), std::format!("m0/+/{letter}"));
        }
        for wrong in ["m0/x/z", "m1/x/b", "m0//b", "m0/x/b/b", "m0/+/b", "m0/b", "", "m0/x y/b"] {
            assert_eq!(Topic::parse(wrong), None, "{wrong}");
        }
    }
}
