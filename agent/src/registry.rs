//! Who may speak: the devices, their secrets, their key generations.
//!
//! Constraints first. A million devices and no memory per device: nothing is cached here, each
//! look-up is a read of the state database (a few microseconds) and any number of threads may read
//! at once. A secret is on disk only wrapped (`wrap`): the database alone opens nothing.
//!
//! A device has one to four live *generations*, each with a secret of its own. [`Registry::rotate`]
//! adds one and keeps the old, because frames sealed under it are still in rings and journals;
//! [`Registry::forget_generation`] destroys it once nothing needs it. [`Registry::revoke`] shuts a
//! device out and keeps what is known of it; [`Registry::remove`] destroys its secrets, and with
//! them the readability of everything that it ever sealed.
//!
//! Destroyed means: gone from the database's live pages. A copy of the database made before, or a
//! free page of the file not yet written over, still holds the wrapped secret; only together with
//! the wrapping key is it worth anything.
//!
//! Writing calls sync the disk and so block: call them where blocking is allowed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::{DeviceId, Generation, Registration, keys};
use redb::{ReadableTable as _, ReadableTableMetadata as _};
use redb::{TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::state::{self, State};
use crate::vehicles::{self, Standing, VehicleId, Vehicles};

mod credentials;
mod entropy;
mod erasure;
mod error;
mod login;
mod record;
#[cfg(test)]
mod tests;
mod wrap;

pub use credentials::Credentials;
pub use entropy::{Entropy, EntropyError, OsEntropy};
pub use erasure::{Destroyed, Erasure, Fingerprint, erasures_in};
pub use error::RegistryError;
pub use login::Login;
pub use wrap::{KeyFileError, WrappingKey, hex, is_exposed};

use erasure::ERASURES;
use record::Record;

/// Format of this module's tables; see [`state::claim`].
const FORMAT: u32 = 3;

/// Device id -> [`Record`].
const DEVICES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("registry.devices");
/// Device id -> Unix milliseconds; apart, because it changes often and the records don't.
const LAST_SEEN: TableDefinition<'static, &str, i64> = TableDefinition::new("registry.last_seen");
/// Facts about the registry itself.
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("registry.meta");
/// In [`META`]: tells the wrapping key from another.
const KEY_CHECK: &str = "wrapping key check";

/// The devices. Cheap to clone; a clone is the same registry.
#[derive(Clone, Debug)]
pub struct Registry {
    database: State,
    key: Arc<WrappingKey>,
    /// Counts secrets that were destroyed.
    destroyed: Arc<AtomicU64>,
    vehicles: Vehicles,
}

/// A device, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEntry {
    /// Its name.
    pub device: DeviceId,
    /// When it was added, Unix milliseconds.
    pub added_ms: i64,
    /// When it was shut out, if it was.
    pub revoked_ms: Option<i64>,
    /// Since when it is out of use, if it is.
    pub decommissioned_ms: Option<i64>,
    /// The generation that a new hello should use.
    pub current: Generation,
    /// The generations with a live secret, ascending; 1 to 4.
    pub generations: Vec<Generation>,
    /// Tells this time that it was added from others; none if an earlier version added it.
    pub registration: Option<Registration>,
    /// When it was last heard of, if ever; see [`Registry::seen`].
    pub last_seen_ms: Option<i64>,
}

impl Registry {
    /// The registry in this database, its secrets wrapped under this key.
    ///
    /// Errors: [`RegistryError::OtherKey`] if it was made with another; a newer format.
    pub fn open(database: State, key: WrappingKey) -> Result<Self, RegistryError> {
        if state::claim(&database, "registry", FORMAT)? < FORMAT {
            // Older records are read as they are, and written anew when they change.
            state::migrated(&database, "registry", FORMAT)?;
        }
        let check = key.check();
        let transaction = database.begin_write()?;
        {
            // Made here, so that no read meets a table that is not there.
            transaction.open_table(DEVICES)?;
            transaction.open_table(LAST_SEEN)?;
            transaction.open_table(ERASURES)?;
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(KEY_CHECK)?.map(|found| found.value() == check);
            match found {
                Some(true) => {}
                Some(false) => return Err(RegistryError::OtherKey),
                None => drop(meta.insert(KEY_CHECK, check.as_slice())?),
            }
        }
        transaction.commit()?;
        let vehicles = Vehicles::open(database.clone())?;
        Ok(Self { database, key: Arc::new(key), destroyed: Arc::default(), vehicles })
    }

    /// Like [`Registry::open`], with the wrapping key in a file. The file is made only if this
    /// database never had a key: a lost key is an error, not a new key.
    pub fn open_with_key_file(
        database: State,
        path: &std::path::Path,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, RegistryError> {
        let has_key = match database.begin_read()?.open_table(META) {
            Ok(meta) => meta.get(KEY_CHECK)?.is_some(),
            Err(redb::TableError::TableDoesNotExist(_)) => false,
            Err(error) => return Err(error.into()),
        };
        let key = match WrappingKey::load(path)? {
            Some(key) => key,
            None if has_key => return Err(KeyFileError::Lost(path.to_owned()).into()),
            None => WrappingKey::create(path, entropy)?,
        };
        Self::open(database, key)
    }

    /// The vehicles, in the same database.
    pub fn vehicles(&self) -> &Vehicles {
        &self.vehicles
    }

    /// Adds one device; see [`Registry::add_all`].
    pub fn add(
        &self,
        device: DeviceId,
        now_ms: i64,
        entropy: &mut dyn Entropy,
    ) -> Result<Credentials, RegistryError> {
        let mut all = self.add_all(&[device], now_ms, entropy)?;
        all.pop().ok_or(RegistryError::Exists(vec![device]))
    }

    /// Adds devices, each with a fresh secret of generation 0, in one transaction: all or, if any
    /// is there already or named twice, none. The credentials come in the order of the names, and
    /// are given out here and never again.
    pub fn add_all(
        &self,
        devices: &[DeviceId],
        now_ms: i64,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<Credentials>, RegistryError> {
        let mut added = Vec::with_capacity(devices.len());
        let mut exist = BTreeSet::new();
        let transaction = self.database.begin_write()?;
        let pending = erasure::pending_of(&transaction, devices)?;
        if !pending.is_empty() {
            return Err(RegistryError::ErasureUnderWay(pending));
        }
        {
            let mut table = transaction.open_table(DEVICES)?;
            for &device in devices {
                let (secret, wrapped) = self.key.draw(&device, Generation::FIRST, entropy)?;
                let registration = keys::registration(&secret, &device);
                let record = Record::new(now_ms, wrapped, registration);
                if table.insert(device.as_str(), record.encode().as_slice())?.is_some() {
                    exist.insert(device);
                }
                let (generation, registration) = (Generation::FIRST, Some(registration));
                added.push(Credentials { device, generation, registration, secret });
            }
        }
        if !exist.is_empty() {
            transaction.abort()?;
            return Err(RegistryError::Exists(exist.into_iter().collect()));
        }
        transaction.commit()?;
        Ok(added)
    }

    /// At most `limit` devices in the order of their names, after `after` if given.
    pub fn list(
        &self,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Result<Vec<DeviceEntry>, RegistryError> {
        use std::ops::Bound;

        let transaction = self.database.begin_read()?;
        let devices = transaction.open_table(DEVICES)?;
        let last_seen = transaction.open_table(LAST_SEEN)?;
        let from = after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_str()));
        let mut entries = Vec::new();
        for row in devices.range::<&str>((from, Bound::Unbounded))?.take(limit) {
            let (name, record) = row?;
            let Ok(device) = name.value().parse::<DeviceId>() else { continue };
            let seen = last_seen.get(name.value())?.map(|seen| seen.value());
            entries.push(decode(device, record.value())?.entry(device, seen));
        }
        Ok(entries)
    }

    /// How many devices there are, revoked ones included.
    pub fn count(&self) -> Result<u64, RegistryError> {
        Ok(self.database.begin_read()?.open_table(DEVICES)?.len()?)
    }

    /// One device.
    pub fn show(&self, device: DeviceId) -> Result<Option<DeviceEntry>, RegistryError> {
        let Some(record) = self.record(device)? else { return Ok(None) };
        let last_seen = self.database.begin_read()?.open_table(LAST_SEEN)?;
        let seen = last_seen.get(device.as_str())?.map(|seen| seen.value());
        Ok(Some(record.entry(device, seen)))
    }

    /// How a device stands, for whoever puts it into a vehicle.
    pub fn standing(&self, device: DeviceId) -> Result<Standing, RegistryError> {
        Ok(match self.record(device)? {
            None => Standing::Unknown,
            Some(Record { decommissioned_ms: Some(at_ms), .. }) => Standing::Decommissioned(at_ms),
            Some(_) => Standing::InUse,
        })
    }

    /// Removes a device and destroys its secrets: what it sealed can't be opened any more.
    pub fn remove(&self, device: DeviceId) -> Result<(), RegistryError> {
        let transaction = self.database.begin_write()?;
        let was_there = transaction.open_table(DEVICES)?.remove(device.as_str())?.is_some();
        transaction.open_table(LAST_SEEN)?.remove(device.as_str())?;
        if !was_there {
            transaction.abort()?;
            return Err(RegistryError::Unknown(device));
        }
        transaction.commit()?;
        self.destroyed.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// How many secrets were destroyed since the start: who keeps keys made from secrets has to
    /// make them anew when this moves, for a name can come back with another secret.
    pub fn destroyed(&self) -> u64 {
        self.destroyed.load(Ordering::Acquire)
    }

    /// Shuts a device out: it is admitted no more, and nothing that it sealed is opened. Revoking
    /// twice is fine; the first time counts.
    pub fn revoke(&self, device: DeviceId, now_ms: i64) -> Result<(), RegistryError> {
        self.change(device, |record| {
            record.revoked_ms.get_or_insert(now_ms);
            Ok(())
        })
    }

    /// Takes a device out of use: its time in a vehicle ends, and it is admitted no more. Its secret
    /// stays: what it sent before is still read, and [`Registry::recommission`] brings it back. The
    /// vehicle it sat in; doing it twice is fine, the first time counts.
    pub fn decommission(
        &self,
        device: DeviceId,
        now_ms: i64,
    ) -> Result<Option<VehicleId>, RegistryError> {
        let transaction = self.database.begin_write()?;
        change_in(&transaction, device, |record| {
            record.decommissioned_ms.get_or_insert(now_ms);
            Ok(())
        })?;
        let vehicle = vehicles::end_in(&transaction, device, now_ms)?;
        transaction.commit()?;
        self.vehicles.moved();
        Ok(vehicle)
    }

    /// Brings a device back into use.
    pub fn recommission(&self, device: DeviceId) -> Result<(), RegistryError> {
        self.change(device, |record| {
            record.decommissioned_ms = None;
            Ok(())
        })
    }

    /// Gives a device a new secret under the next free generation. The old ones stay live.
    ///
    /// Errors: [`RegistryError::GenerationsLive`] if all four are taken.
    pub fn rotate(
        &self,
        device: DeviceId,
        entropy: &mut dyn Entropy,
    ) -> Result<Credentials, RegistryError> {
        self.change(device, |record| {
            if record.revoked_ms.is_some() {
                return Err(RegistryError::Revoked(device));
            }
            if record.decommissioned_ms.is_some() {
                return Err(RegistryError::Decommissioned(device));
            }
            let generation = record.next_free().ok_or(RegistryError::GenerationsLive(device))?;
            let (secret, wrapped) = self.key.draw(&device, generation, entropy)?;
            record.current = generation;
            record.secrets.push(wrapped);
            Ok(Credentials { device, generation, registration: record.registration, secret })
        })
    }

    /// Destroys the secret of an old generation. Only once no ring, journal or cursor holds a
    /// frame of it: such a frame could not be opened any more.
    pub fn forget_generation(
        &self,
        device: DeviceId,
        generation: Generation,
    ) -> Result<(), RegistryError> {
        self.change(device, |record| {
            if record.current == generation {
                return Err(RegistryError::Current { device, generation });
            }
            record.secrets.retain(|wrapped| wrapped.generation != generation);
            Ok(())
        })?;
        self.destroyed.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Notes when devices were last heard of. One transaction and one sync: gather, and call this
    /// now and then. Devices that are gone are passed over.
    pub fn seen(&self, seen: &[(DeviceId, i64)]) -> Result<(), RegistryError> {
        if seen.is_empty() {
            return Ok(());
        }
        let transaction = self.database.begin_write()?;
        {
            let devices = transaction.open_table(DEVICES)?;
            let mut last_seen = transaction.open_table(LAST_SEEN)?;
            for (device, at_ms) in seen {
                if devices.get(device.as_str())?.is_some() {
                    last_seen.insert(device.as_str(), at_ms)?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn record(&self, device: DeviceId) -> Result<Option<Record>, RegistryError> {
        let devices = self.database.begin_read()?.open_table(DEVICES)?;
        let record = devices.get(device.as_str())?;
        record.map(|record| decode(device, record.value())).transpose()
    }

    /// Reads, changes and writes a record in one transaction; nothing is written on an error.
    fn change<T>(
        &self,
        device: DeviceId,
        change: impl FnOnce(&mut Record) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let transaction = self.database.begin_write()?;
        let changed = change_in(&transaction, device, change)?;
        transaction.commit()?;
        Ok(changed)
    }
}

fn change_in<T>(
    transaction: &WriteTransaction,
    device: DeviceId,
    change: impl FnOnce(&mut Record) -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    let mut devices = transaction.open_table(DEVICES)?;
    let found = devices.get(device.as_str())?.map(|record| decode(device, record.value()));
    let mut record = found.transpose()?.ok_or(RegistryError::Unknown(device))?;
    let changed = change(&mut record)?;
    devices.insert(device.as_str(), record.encode().as_slice())?;
    Ok(changed)
}

fn decode(device: DeviceId, bytes: &[u8]) -> Result<Record, RegistryError> {
    Record::decode(bytes).ok_or_else(|| match Record::newer(bytes) {
        Some(found) => RegistryError::Newer { device, found },
        None => RegistryError::Damaged(device),
    })
}
