//! Why the registry did not do as asked, by who has to act.

use protocol::{DeviceId, Generation};

use super::{EntropyError, KeyFileError};
use crate::state::StateError;
use crate::vehicles::VehicleError;

/// Why the registry did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Caller: these are there already; none of the devices named with them was added.
    #[error("already registered: {}", some_of(.0))]
    Exists(Vec<DeviceId>),
    /// Caller: what is left of these is still to be erased.
    #[error(
        "an erasure is not done everywhere yet: `milepost devices forget` again, or start the agent, and then add: {}",
        some_of(.0)
    )]
    ErasureUnderWay(Vec<DeviceId>),
    /// Caller: no such device.
    #[error("no device {0}")]
    Unknown(DeviceId),
    /// Caller: the device is revoked.
    #[error("device {0} is revoked; remove it and add it anew to admit it again")]
    Revoked(DeviceId),
    /// Caller: the device is out of use.
    #[error("device {0} is decommissioned; `milepost devices recommission {0}` brings it back")]
    Decommissioned(DeviceId),
    /// Caller: there is no free key generation to rotate to.
    #[error(
        "all four key generations of device {0} are live: destroy one (`milepost devices destroy-key`) that no frame in a ring or \
         journal needs any more, then rotate"
    )]
    GenerationsLive(DeviceId),
    /// Caller: the current generation can't be forgotten.
    #[error("generation {} of device {device} is its current one: rotate first", generation.number())]
    Current {
        /// Whose.
        device: DeviceId,
        /// Which.
        generation: Generation,
    },
    /// Config: the database was made with another wrapping key.
    #[error(
        "the wrapping key is not the one this registry was made with: restore the right \
         registry.key, or point [registry] key_file to it"
    )]
    OtherKey,
    /// Config: the key file can't be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// Resource: a record is damaged.
    #[error("the record of device {0} is damaged; remove the device and add it anew")]
    Damaged(DeviceId),
    /// Config: a newer version wrote the record.
    #[error(
        "the record of device {device} has format {found}: run the newer milepost that wrote it"
    )]
    Newer {
        /// Whose.
        device: DeviceId,
        /// Its format.
        found: u8,
    },
    /// Resource: no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The vehicles that are kept beside the devices.
    #[error(transparent)]
    Vehicles(#[from] VehicleError),
    /// Resource: the state database.
    #[error(transparent)]
    State(#[from] StateError),
}

macro_rules! from_database_errors {
    ($($error:ty)*) => {$(
        impl From<$error> for RegistryError {
            fn from(error: $error) -> Self {
                Self::State(error.into())
            }
        }
    )*};
}

from_database_errors! { redb::TransactionError redb::TableError redb::StorageError redb::CommitError }

impl From<RegistryError> for VehicleError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::State(error) => Self::State(error),
            RegistryError::Vehicles(error) => error,
            other => Self::Damaged(other.to_string()),
        }
    }
}

fn some_of(devices: &[DeviceId]) -> String {
    const SHOWN: usize = 5;
    let names: Vec<&str> = devices.iter().take(SHOWN).map(DeviceId::as_str).collect();
    match devices.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
