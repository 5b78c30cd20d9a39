//! What an operator asks of the agent, running or not.
//!
//! [`Admin`] answers; how the question comes is the caller's: the command line asks it directly
//! when it owns the data directory, and otherwise through the running agent's socket, one line of
//! JSON each way ([`Server`], [`Client`]).
//!
//! The socket is `admin.sock` in the data directory, mode 0600, and answers only to the agent's own
//! user and root. A line is at most [`LINE_LEN_MAX`] long, at most [`CONNECTIONS_MAX`] connections
//! are served at once, and a silent one is closed after [`SILENCE_MAX`].

use protocol::{Counts, DeviceId, Generation};
use serde::{Deserialize, Serialize};

use crate::backup::{Plan, Progress, Report as BackupReport};
use crate::erasure::{SignedProof, SinkErased, Swept};
use crate::ledger::Ledger;
use crate::registry::{Credentials, DeviceEntry, Entropy, Erasure, Login, Registry, RegistryError};
use crate::reload::ReloadReport;
use crate::vehicles::{VehicleAnswer, VehicleError, VehicleId, VehicleOrder};

mod erase;
mod socket;
mod turns;

pub use socket::{Client, Server, SocketError};

use turns::Turns;

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
    /// Destroy a device's secrets and take it off the list.
    DevicesRemove {
        /// Which.
        device: DeviceId,
        /// Even if sinks have not got everything that it sent.
        force: bool,
    },
    /// Forget a device for good: its secrets, its names, all that sinks can take out.
    DevicesErase {
        /// Which.
        device: DeviceId,
    },
    /// Forget a vehicle for good, and the devices that sat in no other.
    VehiclesErase {
        /// Which.
        vehicle: VehicleId,
    },
    /// What was forgotten so far.
    Erasures {
        /// Only of this device.
        of: Option<DeviceId>,
    },
    /// Give a device a new secret.
    DevicesRotate {
        /// Which.
        device: DeviceId,
    },
    /// Destroy one of a device's old secrets.
    DevicesDestroyKey {
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
    /// Take a device out of use.
    DevicesDecommission {
        /// Which.
        device: DeviceId,
    },
    /// Bring it back.
    DevicesRecommission {
        /// Which.
        device: DeviceId,
    },
    /// Something about vehicles.
    Vehicles {
        /// What.
        order: VehicleOrder,
    },
    /// The ledger.
    Ledger,
    /// Read the configuration again, and take up what can be.
    Reload,
    /// Make a backup, and tell how far it has come until it is made.
    Backup {
        /// Of what, and where to.
        plan: Plan,
    },
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
    /// The device is out of use.
    Decommissioned {
        /// What it sat in.
        vehicle: Option<VehicleId>,
        /// What it has taken and not sent, by its latest word; none if nobody can say.
        unsent: Option<Counts>,
    },
    /// These are forgotten.
    Erased {
        /// A proof for each.
        proofs: Vec<SignedProof>,
        /// Devices that were not, because they sat elsewhere too.
        kept: Vec<DeviceId>,
    },
    /// These were forgotten.
    Erasures {
        /// By subject.
        erasures: Vec<Erasure>,
    },
    /// About vehicles.
    Vehicles {
        /// What there is to say.
        answer: VehicleAnswer,
    },
    /// The ledger.
    Ledger {
        /// Of all sinks.
        ledger: Ledger,
    },
    /// It is being done: other lines follow, the last of which is no such one.
    Progress {
        /// How far.
        progress: Progress,
    },
    /// The configuration was read again.
    Reloaded {
        /// What came of it.
        report: ReloadReport,
    },
    /// The backup is made.
    Backup {
        /// What it holds.
        report: Box<BackupReport>,
    },
    /// No, and why.
    Refused {
        /// A sentence.
        reason: String,
    },
}

/// What of a device is in the journal, and in one sink not yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Buffered {
    /// Which sink.
    pub sink: String,
    /// Frames.
    pub frames: u64,
    /// What they hold.
    pub counts: Counts,
}

/// What the rest of the agent does for an operator.
pub trait Hooks: Send + Sync + 'static {
    /// This device was revoked or removed: close its session, if it has one, and forget its keys.
    fn shut_out(&self, device: DeviceId);
    /// What a device has taken and not sent, by its latest word; none if nobody can say. May block.
    fn unsent(&self, device: DeviceId) -> Option<Counts>;
    /// What is in the journal of a device and in some sink not yet, or why that cannot be told. May
    /// block for as long as it takes to read the journal.
    fn buffered(&self, device: DeviceId) -> Result<Vec<Buffered>, String>;
    /// Takes devices out of everything but the registry; their secrets are gone. What was done, per
    /// device. May block for long.
    fn erase(&self, devices: &[DeviceId]) -> Result<Vec<Swept>, String>;
    /// Takes a vehicle's name out of all sinks; the registry no longer has it. What was done, one a
    /// sink. May block for long.
    fn erase_vehicle(&self, vehicle: &VehicleId) -> Result<Vec<SinkErased>, String>;
    /// The ledger's report, or why there is none. May block.
    fn ledger(&self) -> Result<Ledger, String>;
    /// Reads the configuration again; what came of it, or what is wrong with the file. Blocks.
    fn reload(&self) -> Result<ReloadReport, String>;
    /// Makes a backup; `watch` hears of progress and says whether to go on. Blocks.
    fn backup(
        &self,
        plan: &Plan,
        now_ms: i64,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<BackupReport, String>;
}

/// Answers an operator.
#[derive(Clone)]
pub struct Admin {
    registry: Registry,
    hooks: Arc<dyn Hooks>,
    turns: Turns,
}

impl Admin {
    /// For this registry and this agent.
    pub fn new(registry: Registry, hooks: Arc<dyn Hooks>) -> Self {
        Self { registry, hooks, turns: Turns::default() }
    }

    /// Does as asked. Blocks for reads and syncs of the disk.
    pub fn answer(&self, request: Request, now_ms: i64, entropy: &mut dyn Entropy) -> Response {
        self.answer_slowly(request, now_ms, entropy, &mut |_| true)
    }

    /// The same, for a request that takes its time: `watch` hears how far it has come, and says
    /// whether to go on.
    pub fn answer_slowly(
        &self,
        request: Request,
        now_ms: i64,
        entropy: &mut dyn Entropy,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Response {
        if let Request::Backup { plan } = request {
            let turn = self.turns.back_up();
            let made = turn.and_then(|_turn| self.hooks.backup(&plan, now_ms, watch));
            return match made {
                Ok(report) => Response::Backup { report: Box::new(report) },
                Err(reason) => Response::Refused { reason },
            };
        }
        self.try_answer(request, now_ms, entropy)
            .unwrap_or_else(|error| Response::Refused { reason: error.to_string() })
    }

    /// Why a device's secrets are still needed, if they are.
    fn still_needs(&self, device: DeviceId) -> Result<Option<String>, RegistryError> {
        if self.registry.show(device)?.is_none() {
            return Err(RegistryError::Unknown(device));
        }
        Ok(match self.hooks.buffered(device) {
            Ok(buffered) if buffered.is_empty() => None,
            Ok(buffered) => {
                let of = |one: &Buffered| {
                    let Buffered { sink, frames, counts: Counts { samples, events } } = one;
                    format!("sink {sink}: {frames} frames ({samples} samples, {events} events)")
                };
                let list = buffered.iter().map(of).collect::<Vec<_>>().join("; ");
                Some(format!(
                    "device {device} has frames in the journal that could never be read again: {list}. Wait for                      `milepost ledger --wait`, revoke or decommission the device instead, or remove it with --force"
                ))
            }
            Err(why) => Some(format!(
                "it cannot be told whether frames of device {device} are still needed ({why}); --force removes it                  all the same"
            )),
        })
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
            Request::DevicesRemove { device, force } => {
                if !force && let Some(reason) = self.still_needs(device)? {
                    return Ok(Response::Refused { reason });
                }
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
            Request::DevicesErase { device } => match self.turns.erase() {
                Ok(_turn) => self.erase_device(device, now_ms)?,
                Err(reason) => Response::Refused { reason },
            },
            Request::VehiclesErase { vehicle } => match self.turns.erase() {
                Ok(_turn) => self.erase_vehicle(&vehicle, now_ms)?,
                Err(reason) => Response::Refused { reason },
            },
            Request::Erasures { of } => {
                let subject = of.map(|device| self.registry.subject_of(device));
                let mut erasures = self.registry.erasures()?;
                erasures
                    .retain(|one| subject.as_ref().is_none_or(|subject| one.subject == *subject));
                Response::Erasures { erasures }
            }
            Request::DevicesDestroyKey { device, generation } => {
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
            Request::DevicesDecommission { device } => {
                let unsent = self.hooks.unsent(device);
                let vehicle = self.registry.decommission(device, now_ms)?;
                self.hooks.shut_out(device);
                tracing::info!(%device, "device decommissioned");
                Response::Decommissioned { vehicle, unsent }
            }
            Request::DevicesRecommission { device } => {
                self.registry.recommission(device)?;
                tracing::info!(%device, "device in use again");
                Response::Done
            }
            Request::Vehicles { order } => {
                let devices = |device| self.registry.standing(device).map_err(VehicleError::from);
                let answer = self.registry.vehicles().obey(order, now_ms, &devices);
                Response::Vehicles { answer }
            }
            Request::Ledger => match self.hooks.ledger() {
                Ok(ledger) => Response::Ledger { ledger },
                Err(reason) => Response::Refused { reason },
            },
            Request::Reload => match self.hooks.reload() {
                Ok(report) => Response::Reloaded { report },
                Err(reason) => Response::Refused { reason },
            },
            Request::Backup { .. } => Response::Refused { reason: "not now".to_owned() },
        })
    }
}

#[cfg(test)]
mod tests;
