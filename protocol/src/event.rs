//! Events (who did what to what), logs.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::time::DeviceTime;

/// The value of a free-form attribute. Append only: the number of a variant is on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Value<'a> {
    /// Text.
    #[serde(borrow)]
    Text(&'a str),
    /// A whole number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// A decimal: value = number * 10^-places.
    Decimal {
        /// The digits.
        number: i64,
        /// Digits after the point.
        places: u8,
    },
}

/// Attributes of one event, in the order given; at most [`ATTRIBUTES_MAX`].
pub type Attributes<'a> = Vec<(&'a str, Value<'a>), ATTRIBUTES_MAX>;

/// The most attributes an event carries.
pub const ATTRIBUTES_MAX: usize = 12;

/// Something happened: an actor did an action to an object, in a context, at a resource.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event<'a> {
    /// When.
    pub time: DeviceTime,
    /// Who or what acted: `driver`, `gateway`, `ecu.abs`.
    #[serde(borrow)]
    pub actor: &'a str,
    /// What was done, a verb: `open`, `exceed`, `start`.
    pub action: &'a str,
    /// What it was done to: `door.rear`, `speed-limit`.
    pub object: &'a str,
    /// In which wider activity: a trip, a session; empty for none.
    pub context: &'a str,
    /// Where it belongs: a part, a service, a vehicle system; empty for none.
    pub resource: &'a str,
    /// Anything else.
    #[serde(borrow)]
    pub attributes: Attributes<'a>,
}

/// How serious a log line is, as syslog's RFC 5424 section 6.2.1 orders it, the four that matter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Needs a person.
    Error,
    /// May soon.
    Warning,
    /// Worth knowing.
    Info,
    /// For the developer.
    Debug,
}

/// One line of log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Log<'a> {
    /// When.
    pub time: DeviceTime,
    /// How serious.
    pub level: Level,
    /// Which part of the firmware.
    #[serde(borrow)]
    pub target: &'a str,
    /// The text.
    pub message: &'a str,
}
