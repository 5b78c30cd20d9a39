//! Forgetting a subject for good, and being able to show later that it was.
//!
//! What is kept of an erasure names nobody: the subject stands in it as a keyed hash under the
//! registry's wrapping key. Whoever has the registry can tell whether a given device was erased, and
//! so erase it again when a backup brings it back; nobody can tell from the record alone who it was.
//!
//! An erasure takes a while, and may be interrupted. Until it is done everywhere the record names
//! its subject, and the next start goes on with it.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use protocol::DeviceId;
use redb::{ReadableTable as _, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::wrap::hex;
use super::{DEVICES, LAST_SEEN, Registry, RegistryError, decode};
use crate::erasure::Name;
use crate::state::State;
use crate::vehicles;

/// Subject and time -> version byte and [`Row`].
pub(super) const ERASURES: TableDefinition<'static, (&str, i64), &[u8]> =
    TableDefinition::new("registry.erasures");
const VERSION: u8 = 2;

#[derive(Serialize, Deserialize)]
struct Row {
    /// Whose, until it is done.
    pending: Option<Name>,
    /// The proof in JSON, without the name; what is known so far while it is not done.
    proof: String,
}

/// An erasure that was done, or is under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Erasure {
    /// The keyed hash of who was erased.
    pub subject: String,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// Whose, while it is not done everywhere.
    pub pending: Option<Name>,
    /// The proof in JSON, without the name; empty while it is not done.
    pub proof: String,
}

/// A secret that was destroyed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Of which generation.
    pub generation: u8,
    /// SHA-256 over `milepost/secret` and the secret, in hexadecimal digits; none if the secret
    /// could not be read before it was destroyed.
    pub sha256: Option<String>,
}

/// What was destroyed in the registry.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Destroyed {
    /// Whether the device was registered.
    pub registered: bool,
    /// Its secrets.
    pub secrets: Vec<Fingerprint>,
    /// Assignments to vehicles.
    pub assignments: usize,
}

impl Registry {
    /// The keyed hash under which an erasure of this device is kept.
    pub fn subject_of(&self, device: DeviceId) -> String {
        self.key.subject("device", device.as_str())
    }

    /// The same of a vehicle.
    pub fn subject_of_vehicle(&self, vehicle: &vehicles::VehicleId) -> String {
        self.key.subject("vehicle", vehicle.as_str())
    }

    /// Destroys everything that the registry has of a device, in one transaction with the record
    /// that this was asked for: `proof` is what is kept of it until it is done. What lies elsewhere
    /// is the caller's; then [`Registry::erased`].
    pub fn erase(
        &self,
        device: DeviceId,
        now_ms: i64,
        proof: impl FnOnce(&Destroyed) -> String,
    ) -> Result<Destroyed, RegistryError> {
        let subject = self.subject_of(device);
        let transaction = self.database.begin_write()?;
        let destroyed = self.erase_in(&transaction, device)?;
        // An earlier attempt goes on as this one.
        transaction
            .open_table(ERASURES)?
            .retain_in((subject.as_str(), i64::MIN)..=(subject.as_str(), i64::MAX), |_, row| {
                read(row).pending.is_none()
            })?;
        let (pending, proof) = (Some(Name::Device(device)), proof(&destroyed));
        put(&transaction, &Erasure { subject, at_ms: now_ms, pending, proof })?;
        transaction.commit()?;
        self.destroyed.fetch_add(1, Ordering::Release);
        self.vehicles.moved();
        Ok(destroyed)
    }

    fn erase_in(
        &self,
        transaction: &WriteTransaction,
        device: DeviceId,
    ) -> Result<Destroyed, RegistryError> {
        let mut destroyed = Destroyed::default();
        let removed = transaction.open_table(DEVICES)?.remove(device.as_str())?.map(|row| {
            // A damaged record goes all the same.
            decode(device, row.value()).map(|record| record.secrets).unwrap_or_default()
        });
        destroyed.registered = removed.is_some();
        for wrapped in removed.unwrap_or_default() {
            let secret = self.key.unwrap(&device, &wrapped);
            let sha256 = secret.map(|secret| {
                let digest = Sha256::new().chain_update(b"milepost/secret");
                hex(&digest.chain_update(secret.expose()).finalize())
            });
            let generation = wrapped.generation.number();
            destroyed.secrets.push(Fingerprint { generation, sha256 });
        }
        transaction.open_table(LAST_SEEN)?.remove(device.as_str())?;
        destroyed.assignments = vehicles::erase_in(transaction, device)?;
        Ok(destroyed)
    }

    /// Keeps an erasure as it is now; one that is done no longer names its subject.
    pub fn erased(&self, erasure: &Erasure) -> Result<(), RegistryError> {
        let transaction = self.database.begin_write()?;
        put(&transaction, erasure)?;
        Ok(transaction.commit()?)
    }

    /// When a device was last erased, if ever.
    pub fn erased_at(&self, device: DeviceId) -> Result<Option<i64>, RegistryError> {
        let subject = self.subject_of(device);
        let subject = subject.as_str();
        let erasures = self.database.begin_read()?.open_table(ERASURES)?;
        let last = erasures.range((subject, i64::MIN)..=(subject, i64::MAX))?.next_back();
        last.map(|row| Ok(row?.0.value().1)).transpose()
    }

    /// All erasures, done or under way, by subject.
    pub fn erasures(&self) -> Result<Vec<Erasure>, RegistryError> {
        erasures_in(&self.database)
    }

    /// Erases again what a backup brought back: every device and vehicle that was erased, by these
    /// records, after it was added. The records are kept with this registry's own. Devices are
    /// erased here and now; the rest is for whoever goes on with what is pending.
    pub fn reapply_erasures(&self, erasures: &[Erasure]) -> Result<Vec<Name>, RegistryError> {
        let mut latest: HashMap<&str, i64> = HashMap::new();
        for erasure in erasures {
            let at_ms = latest.entry(&erasure.subject).or_insert(erasure.at_ms);
            *at_ms = erasure.at_ms.max(*at_ms);
        }
        let known: BTreeSet<(String, i64)> =
            self.erasures()?.into_iter().map(|known| (known.subject, known.at_ms)).collect();
        let transaction = self.database.begin_write()?;
        for erasure in erasures {
            if !known.contains(&(erasure.subject.clone(), erasure.at_ms)) {
                put(&transaction, erasure)?;
            }
        }
        let mut again = Vec::new();
        let erased = |subject: String, added_ms: i64| {
            latest.get(subject.as_str()).copied().filter(|at_ms| added_ms <= *at_ms)
        };
        for row in transaction.open_table(DEVICES)?.iter()? {
            let (name, record) = row?;
            let Ok(device) = name.value().parse::<DeviceId>() else { continue };
            let Ok(record) = decode(device, record.value()) else { continue };
            if let Some(at_ms) = erased(self.subject_of(device), record.added_ms) {
                again.push((Name::Device(device), at_ms));
            }
        }
        for (vehicle, added_ms) in vehicles::all_in(&transaction)? {
            if let Some(at_ms) = erased(self.subject_of_vehicle(&vehicle), added_ms) {
                again.push((Name::Vehicle(vehicle), at_ms));
            }
        }
        for (name, at_ms) in &again {
            let subject = match name {
                Name::Device(device) => {
                    self.erase_in(&transaction, *device)?;
                    self.subject_of(*device)
                }
                Name::Vehicle(vehicle) => self.subject_of_vehicle(vehicle),
            };
            let (pending, proof) = (Some(name.clone()), String::new());
            put(&transaction, &Erasure { subject, at_ms: *at_ms, pending, proof })?;
        }
        transaction.commit()?;
        if !again.is_empty() {
            self.destroyed.fetch_add(1, Ordering::Release);
            self.vehicles.moved();
        }
        Ok(again.into_iter().map(|(name, _)| name).collect())
    }
}

/// All erasures that a database keeps, also one that no registry has open.
pub fn erasures_in(database: &State) -> Result<Vec<Erasure>, RegistryError> {
    let erasures = match database.begin_read()?.open_table(ERASURES) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut found = Vec::new();
    for row in erasures.iter()? {
        let (key, row) = row?;
        let (subject, at_ms) = key.value();
        let Row { pending, proof } = read(row.value());
        found.push(Erasure { subject: subject.to_owned(), at_ms, pending, proof });
    }
    Ok(found)
}

/// Those of these devices whose erasure is not done everywhere: as long as it is not, what it does
/// would also be done to a device that came back under the name.
pub(super) fn pending_of(
    transaction: &WriteTransaction,
    devices: &[DeviceId],
) -> Result<Vec<DeviceId>, RegistryError> {
    let mut pending = BTreeSet::new();
    for row in transaction.open_table(ERASURES)?.iter()? {
        if let Some(Name::Device(device)) = read(row?.1.value()).pending {
            pending.insert(device);
        }
    }
    Ok(devices.iter().copied().filter(|device| pending.contains(device)).collect())
}

/// A row; one that is damaged still says that its subject was erased.
fn read(bytes: &[u8]) -> Row {
    let row = bytes.split_first().filter(|(version, _)| **version == VERSION);
    let row = row.and_then(|(_, row)| postcard::from_bytes(row).ok());
    row.unwrap_or(Row { pending: None, proof: String::new() })
}

fn put(transaction: &WriteTransaction, erasure: &Erasure) -> Result<(), RegistryError> {
    let row = Row { pending: erasure.pending.clone(), proof: erasure.proof.clone() };
    let bytes = postcard::to_extend(&row, vec![VERSION]).unwrap_or_default();
    let mut erasures = transaction.open_table(ERASURES)?;
    erasures.insert((erasure.subject.as_str(), erasure.at_ms), bytes.as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Counter, id, registry};
    use super::*;
    use crate::vehicles::{Assignment, Belonging, Change};

    fn sits(registry: &Registry, device: &str) {
        let new = Assignment {
            device: id(device),
            vehicle: "bus 7".parse().unwrap(),
            from_ms: None,
            to_ms: None,
            belonging: Belonging::default(),
        };
        registry.vehicles().assign(&new, &Change::default(), 1).unwrap();
    }

    #[test]
    fn an_erased_device_leaves_no_name_once_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let registry = registry(dir.path());
        let secret = registry.add(id("unit-4711"), 1, &mut Counter(0)).unwrap().secret;
        sits(&registry, "unit-4711");
        let (destroyed, vehicles) = (registry.destroyed(), registry.vehicles().version());
        let what = registry.erase(id("unit-4711"), 50, |_| String::new()).unwrap();
        assert!(what.registered && what.assignments == 1 && what.secrets.len() == 1);
        let expected = Sha256::new().chain_update(b"milepost/secret");
        let expected = hex(&expected.chain_update(secret.expose()).finalize());
        assert_eq!(what.secrets[0].sha256, Some(expected));
        assert!(registry.destroyed() > destroyed && registry.vehicles().version() > vehicles);
        assert_eq!(registry.show(id("unit-4711")).unwrap(), None);
        assert!(registry.vehicles().timeline(id("unit-4711")).unwrap().spans().is_empty());
        assert_eq!(registry.erased_at(id("unit-4711")).unwrap(), Some(50));
        assert_eq!(registry.erased_at(id("unit-4712")).unwrap(), None);

        let mut kept = registry.erasures().unwrap();
        assert_eq!(
            kept[0].pending,
            Some(Name::Device(id("unit-4711"))),
            "until it is done everywhere"
        );
        let error = registry.add(id("unit-4711"), 60, &mut Counter(9)).unwrap_err();
        assert!(matches!(error, RegistryError::ErasureUnderWay(_)), "{error}");
        kept[0].pending = None;
        "{}".clone_into(&mut kept[0].proof);
        registry.erased(&kept[0]).unwrap();
        let kept = registry.erasures().unwrap();
        assert_eq!(kept.len(), 1);
        assert!(!format!("{kept:?}").contains("4711"), "{kept:?}");
        registry.add(id("unit-4711"), 60, &mut Counter(9)).unwrap();
    }

    #[test]
    fn what_a_backup_brings_back_is_erased_again_and_who_was_added_since_is_not() {
        let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        {
            let registry = registry(dir.path());
            let names = ["a", "b", "c"].map(id);
            registry.add_all(&names, 10, &mut Counter(0)).unwrap();
            sits(&registry, "a");
        }
        let bus: vehicles::VehicleId = "bus 7".parse().unwrap();
        let file = crate::state::FILE_NAME;
        std::fs::copy(dir.path().join(file), backup.path().join(file)).unwrap();
        let erasures = {
            let registry = registry(dir.path());
            registry.erase(id("a"), 20, |_| String::new()).unwrap();
            registry.erase(id("b"), 5, |_| String::new()).unwrap();
            let subject = registry.subject_of_vehicle(&bus);
            let done = Erasure { subject, at_ms: 30, pending: None, proof: "{}".to_owned() };
            registry.erased(&done).unwrap();
            let subject = registry.subject_of(id("b"));
            registry.erased(&Erasure { subject, at_ms: 5, ..done }).unwrap();
            registry.erasures().unwrap()
        };
        let registry = registry(backup.path());
        assert!(registry.erasures().unwrap().is_empty());
        let again = registry.reapply_erasures(&erasures).unwrap();
        let expected = [Name::Device(id("a")), Name::Vehicle(bus.clone())];
        assert_eq!(again, expected, "b was added after it had been erased");
        assert_eq!(registry.show(id("a")).unwrap(), None);
        assert!(registry.vehicles().timeline(id("a")).unwrap().spans().is_empty());
        assert!(registry.show(id("b")).unwrap().is_some());
        let kept = registry.erasures().unwrap();
        assert_eq!(kept.len(), 3);
        assert_eq!(kept.iter().filter(|erasure| erasure.pending.is_some()).count(), 2);
        registry.vehicles().remove(&bus, true).unwrap();
        assert_eq!(registry.reapply_erasures(&erasures).unwrap(), [], "once is enough");
    }

    #[test]
    fn a_subject_is_known_only_with_the_key() {
        let key = super::super::WrappingKey::new([1; 32]);
        let other = super::super::WrappingKey::new([2; 32]);
        assert_eq!(key.subject("device", "a"), key.subject("device", "a"));
        assert_ne!(key.subject("device", "a"), other.subject("device", "a"));
        assert_ne!(key.subject("device", "a"), key.subject("vehicle", "a"));
        assert_eq!(key.subject("device", "a").len(), 64);
    }
}
