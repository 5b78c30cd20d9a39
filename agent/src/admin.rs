//! What an operator asks of the agent, running or not.
//!
//! [`Admin`] answers; how the question comes is the caller's: the command line asks it directly
//! when it owns the data directory, and otherwise through the running agent's socket, one line of
//! JSON each way ([`Server`], [`Client`]).
//!
//! The socket is `admin.sock` in the data directory, mode 0600, and answers only to the agent's own
//! user and root. A line is at most [`LINE_LEN_MAX`] long, at most [`CONNECTIONS_MAX`] connections
//! are served at once, and a silent one is closed after [`SILENCE_MAX`].

use protocol::{DeviceId, Generation};
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;
use crate::registry::{Credentials, DeviceEntry, Entropy, Login, Registry, RegistryError};

mod socket;

pub use socket::{Client, Server, SocketError};

use std::sync::Arc;
use std::time::Duration;

/// Longest request or response, in bytes.
pub const LINE_LEN_MAX: usize = 16 * 1024 * 1024;
/// Most devices in one request or response; a line has room for many more.
pub const DEVICES_MAX: usize = 10_000;
/// Most connections served at once.
pub const CONNECTIONS_MAX: usize = 8;
/// How long a connection may say nothing.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A question or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Add these devices, all or none; at most [`DEVICES_MAX`].
    DevicesAdd {
        /// Which.
        devices: Vec<DeviceId>,
    },
    /// The devices after this one, by name; at most [`DEVICES_MAX`] of them.
    DevicesList {
        /// The last one of the page before.
        after: Option<DeviceId>,
    },
    /// One device.
    DevicesShow {
        /// Which.
        device: DeviceId,
    },
    /// The MQTT logins of the devices after this one, by name; of at most [`DEVICES_MAX`] of them.
    DevicesLogins {
        /// The last one of the page before.
        after: Option<DeviceId>,
    },
    /// Destroy a device's secrets and forget it.
    DevicesRemove {
        /// Which.
        device: DeviceId,
    },
    /// Give a device a new secret.
    DevicesRotate {
        /// Which.
        device: DeviceId,
    },
    /// Destroy one of a device's old secrets.
    DevicesForget {
        /// Which.
        device: DeviceId,
        /// Of which generation; not the current one.
        generation: Generation,
    },
    /// Shut a device out.
    DevicesRevoke {
        /// Which.
        device: DeviceId,
    },
    /// The ledger.
    Ledger,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// These secrets were made; nobody will hear them again.
    Credentials {
        /// In the order of the request.
        credentials: Vec<Credentials>,
    },
    /// These devices; fewer than [`DEVICES_MAX`] if there are no more.
    Devices {
        /// In the order of their names.
        devices: Vec<DeviceEntry>,
    },
    /// These logins.
    Logins {
        /// Of those devices that are admitted.
        logins: Vec<Login>,
        /// The last device that was looked at, if there are more behind it.
        last: Option<DeviceId>,
    },
    /// It is done.
    Done,
    /// The ledger.
    Ledger {
        /// Of all sinks.
        ledger: Ledger,
    },
    /// No, and why.
    Refused {
        /// A sentence.
        reason: String,
    },
}

/// What the rest of the agent does for an operator.
pub trait Hooks: Send + Sync + 'static {
    /// This device was revoked or removed: close its session, if it has one, and forget its keys.
    fn shut_out(&self, device: DeviceId);
    /// The ledger's report, or why there is none. May block.
    fn ledger(&self) -> Result<Ledger, String>;
}

/// Answers an operator.
#[derive(Clone)]
pub struct Admin {
    registry: Registry,
    hooks: Arc<dyn Hooks>,
}

impl Admin {
    /// For this registry and this agent.
    pub fn new(registry: Registry, hooks: Arc<dyn Hooks>) -> Self {
        Self { registry, hooks }
    }

    /// Does as asked. Blocks for reads and syncs of the disk.
    pub fn answer(&self, request: Request, now_ms: i64, entropy: &mut dyn Entropy) -> Response {
        self.try_answer(request, now_ms, entropy)
            .unwrap_or_else(|error| Response::Refused { reason: error.to_string() })
    }

    fn try_answer(
        &self,
        request: Request,
        now_ms: i64,
        entropy: &mut dyn Entropy,
    ) -> Result<Response, RegistryError> {
        Ok(match request {
            Request::DevicesAdd { devices } if devices.len() > DEVICES_MAX => {
                Response::Refused { reason: format!("at most {DEVICES_MAX} devices at a time") }
            }
            Request::DevicesAdd { devices } => {
                let credentials = self.registry.add_all(&devices, now_ms, entropy)?;
                tracing::info!(count = devices.len(), "devices added");
                Response::Credentials { credentials }
            }
            Request::DevicesList { after } => {
                Response::Devices { devices: self.registry.list(after, DEVICES_MAX)? }
            }
            Request::DevicesShow { device } => {
                let entry = self.registry.show(device)?.ok_or(RegistryError::Unknown(device))?;
                Response::Devices { devices: vec![entry] }
            }
            Request::DevicesLogins { after } => {
                let devices = self.registry.list(after, DEVICES_MAX)?;
                let is_last = devices.len() < DEVICES_MAX;
                let last = devices.last().map(|entry| entry.device).filter(|_| !is_last);
                let mut logins = Vec::with_capacity(devices.len());
                for DeviceEntry { device, current, .. } in devices {
                    // None: revoked.
                    logins.extend(self.registry.login(device, current)?);
                }
                Response::Logins { logins, last }
            }
            Request::DevicesRemove { device } => {
                self.registry.remove(device)?;
                self.hooks.shut_out(device);
                tracing::info!(%device, "device removed, its secrets destroyed");
                Response::Done
            }
            Request::DevicesRotate { device } => {
                let credentials = self.registry.rotate(device, entropy)?;
                let generation = credentials.generation.number();
                tracing::info!(%device, generation, "device given a new secret");
                Response::Credentials { credentials: vec![credentials] }
            }
            Request::DevicesForget { device, generation } => {
                self.registry.forget_generation(device, generation)?;
                // Sessions on the old secret end; the device comes back with the new one.
                self.hooks.shut_out(device);
                tracing::info!(%device, generation = generation.number(), "old secret destroyed");
                Response::Done
            }
            Request::DevicesRevoke { device } => {
                self.registry.revoke(device, now_ms)?;
                self.hooks.shut_out(device);
                tracing::info!(%device, "device revoked");
                Response::Done
            }
            Request::Ledger => match self.hooks.ledger() {
                Ok(ledger) => Response::Ledger { ledger },
                Err(reason) => Response::Refused { reason },
            },
        })
    }
}

#[cfg(test)]
mod tests;
