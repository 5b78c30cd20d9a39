//! The agent behind somebody else's MQTT broker: one connection, the messages of many devices.
//!
//! Constraints first. A broker is trusted with nothing: it may forget the session, drop, double and
//! reorder messages, or be somebody else; frames are sealed, and only the acceptor's authenticated
//! acknowledgement frees anything on a device. So whatever goes wrong here costs time only. What is
//! kept up all the same, so that it costs little:
//!
//! - PUBACKs go out by hand, strictly in the order in which the messages came, each only after the
//!   journal's sync (`window`).
//! - At most `in_flight_max` messages are on their way to the acceptor: the broker holds the rest.
//! - Replies leave at QoS 0, as the wire says: an acknowledgement says everything up to its number
//!   again, a device that misses one asks. Nothing of ours waits in the client for a PUBACK, so
//!   there is nothing that a reconnection could double, reorder or silently drop.
//! - A client serves one connection and is thrown away with it: no packet id, event or queue of a
//!   connection outlives it. The client's own task is never waited on by what it waits for: requests
//!   to it are only tried.
//! - Every connection subscribes, whether the broker says that it knows the session or not.
//!
//! `address` reads the URL, `window` keeps the order of PUBACKs, `desk` is the pure core, `client`
//! drives it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use protocol::DeviceId;
use zeroize::Zeroizing;

use crate::registry::is_exposed;
use crate::tls::ClientFiles;

mod address;
mod client;
mod desk;
mod gauges;
#[cfg(feature = "model")]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
mod window;

pub use address::BrokerUrl;
pub use client::serve;
pub use gauges::{BrokerGauges, BrokerHealth, Unheard};

/// `[[broker]]`: one broker and how it is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerConfig {
    /// Its name in health, metrics and log; unique.
    pub name: String,
    /// Where it is.
    pub url: BrokerUrl,
    /// Names the agent's session at the broker.
    pub client_id: String,
    /// What it wants to know of us, besides a certificate.
    pub login: Option<LoginFiles>,
    /// With `mqtts`: whom we trust, and who we are.
    pub tls: Option<ClientFiles>,
    /// Whose messages.
    pub devices: Devices,
    /// Most messages taken and not yet durable, 1 to 1024.
    pub in_flight_max: u16,
    /// Most devices whose session is remembered.
    pub sessions_max: usize,
    /// Time between two signs of life.
    pub keep_alive: Duration,
    /// How long the broker keeps what it has for us while we are away.
    pub session_expiry: Duration,
}

impl BrokerConfig {
    /// All that has a default, for this broker.
    pub fn new(name: String, url: BrokerUrl) -> Self {
        Self {
            client_id: format!("milepost-{name}"),
            name,
            url,
            login: None,
            tls: None,
            devices: Devices::All,
            in_flight_max: 256,
            sessions_max: 10_000,
            keep_alive: Duration::from_secs(30),
            session_expiry: Duration::from_hours(24),
        }
    }
}

/// Whose messages an agent takes from a broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Devices {
    /// Everyone's.
    All,
    /// These devices'; others go to other agents. Shared subscriptions would break a device's order.
    Some(Vec<DeviceId>),
}

/// Name and password at a broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoginFiles {
    /// The name.
    pub username: String,
    /// File with the password, mode 0600; none: the name alone.
    pub password_file: Option<PathBuf>,
}

impl LoginFiles {
    /// The password as the file has it now; empty without a file.
    ///
    /// Errors, in words: the file cannot be read, others can read it, it is no text.
    pub fn password(&self) -> Result<Zeroizing<String>, String> {
        let Some(path) = &self.password_file else { return Ok(Zeroizing::default()) };
        let shown = path.display();
        let read = |path| -> io::Result<(fs::Metadata, String)> {
            Ok((fs::metadata(path)?, fs::read_to_string(path)?))
        };
        let (metadata, text) = read(path).map_err(|error| format!("{shown}: {error}"))?;
        let text = Zeroizing::new(text);
        if is_exposed(&metadata) {
            return Err(format!("{shown} can be read or written by others: chmod 600 {shown}"));
        }
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}
