//! Who a device proves to be: its secrets, unwrapped to be used, and the MQTT password from them.

use protocol::{DeviceId, Generation, Secret, keys};
use serde::{Deserialize, Serialize};

use super::{Record, Registry, RegistryError};
use crate::intake::{Admission, Admit};

/// What a broker must know of a device: its name, and the password that opens the port.
#[derive(Clone, Serialize, Deserialize)]
pub struct Login {
    /// Its user name.
    pub device: DeviceId,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Registry {
    /// A device's secret, to take in what it sends; none if the device is unknown or revoked, or the
    /// generation not live.
    pub fn secret(
        &self,
        device: DeviceId,
        generation: Generation,
    ) -> Result<Option<Secret>, RegistryError> {
        let record = self.record(device)?.filter(Record::is_admitted);
        self.unwrap(device, record, generation)
    }

    /// A device's secret, to read what was taken in before; a revoked device's too.
    pub fn secret_to_read(
        &self,
        device: DeviceId,
        generation: Generation,
    ) -> Result<Option<Secret>, RegistryError> {
        let record = self.record(device)?;
        self.unwrap(device, record, generation)
    }

    fn unwrap(
        &self,
        device: DeviceId,
        record: Option<Record>,
        generation: Generation,
    ) -> Result<Option<Secret>, RegistryError> {
        let Some(record) = record else { return Ok(None) };
        let wrapped = record.secrets.iter().find(|wrapped| wrapped.generation == generation);
        let unwrap = |wrapped| self.key.unwrap(&device, wrapped);
        wrapped.map(|wrapped| unwrap(wrapped).ok_or(RegistryError::Damaged(device))).transpose()
    }

    /// A device's MQTT login, with the password of this generation; none if it is unknown or
    /// revoked.
    pub fn login(
        &self,
        device: DeviceId,
        generation: Generation,
    ) -> Result<Option<Login>, RegistryError> {
        let secret = self.secret(device, generation)?;
        Ok(secret.map(|secret| {
            let password = keys::mqtt_password(&secret, &device);
            Login { device, password: String::from_utf8_lossy(&password).into_owned() }
        }))
    }

    /// Whether a device with this MQTT password may connect. The password of any live generation
    /// counts; the comparison takes the same time wherever it fails.
    pub fn authenticate(
        &self,
        device: DeviceId,
        password: &[u8],
    ) -> Result<Admission, RegistryError> {
        let Some(record) = self.record(device)? else { return Ok(Admission::Unknown) };
        if !record.is_admitted() {
            return Ok(Admission::Revoked);
        }
        let mut right = false;
        for wrapped in &record.secrets {
            let secret = self.key.unwrap(&device, wrapped).ok_or(RegistryError::Damaged(device))?;
            right |= equal(&keys::mqtt_password(&secret, &device), password);
        }
        Ok(if right { Admission::Admitted } else { Admission::WrongPassword })
    }
}

impl Admit for Registry {
    fn admit(&self, device: &DeviceId, password: &[u8]) -> Admission {
        self.authenticate(*device, password).unwrap_or_else(|error| {
            tracing::warn!(%device, %error, "cannot tell whether a device may connect");
            Admission::Unavailable
        })
    }

    fn recognise(&self, device: &DeviceId) -> Admission {
        match self.show(*device) {
            Ok(Some(entry)) if entry.revoked_ms.is_some() => Admission::Revoked,
            Ok(Some(_)) => Admission::Admitted,
            Ok(None) => Admission::Unknown,
            Err(error) => {
                tracing::warn!(%device, %error, "cannot tell whether a device may be heard");
                Admission::Unavailable
            }
        }
    }
}

/// Equality whose duration tells nothing but the lengths.
fn equal(one: &[u8], other: &[u8]) -> bool {
    let pairs = one.iter().zip(other);
    let differing = pairs.fold(0, |bits, (one, other)| std::hint::black_box(bits | (one ^ other)));
    one.len() == other.len() && differing == 0
}
