use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use protocol::{Secret, keys};

use super::*;
use crate::intake::Admission;
use crate::storage::{Disk, SharedStorage};

/// Counts up: every draw differs, every run is the same.
pub(super) struct Counter(pub u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(8) {
            self.0 += 1;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

fn database(dir: &Path) -> State {
    let storage: SharedStorage = Arc::new(Disk);
    state::open(&storage, &dir.join(state::FILE_NAME)).unwrap()
}

pub(super) fn registry(dir: &Path) -> Registry {
    Registry::open(database(dir), WrappingKey::new([7; 32])).unwrap()
}

pub(super) fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

fn generation(number: u8) -> Generation {
    Generation::new(number).unwrap()
}

fn password(credentials: &Credentials) -> [u8; 32] {
    keys::mqtt_password(&credentials.secret, &credentials.device)
}

#[test]
fn an_added_device_is_admitted_and_its_secret_found_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let credentials = registry(dir.path()).add(id("truck-1"), 5, &mut Counter(0)).unwrap();
    let registry = registry(dir.path());
    let secret = registry.secret(id("truck-1"), Generation::FIRST).unwrap().unwrap();
    assert_eq!(secret.expose(), credentials.secret.expose());
    assert!(registry.secret(id("truck-1"), generation(1)).unwrap().is_none());
    assert!(registry.secret(id("truck-2"), Generation::FIRST).unwrap().is_none());
    let admission = |device, password: &[u8]| registry.authenticate(id(device), password).unwrap();
    assert_eq!(admission("truck-1", &password(&credentials)), Admission::Admitted);
    assert_eq!(admission("truck-1", b"guess"), Admission::WrongPassword);
    assert_eq!(admission("truck-1", b""), Admission::WrongPassword);
    assert_eq!(admission("truck-1", &password(&credentials)[..31]), Admission::WrongPassword);
    assert_eq!(admission("truck-2", &password(&credentials)), Admission::Unknown);
}

#[test]
fn no_secret_is_on_disk_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let credentials = registry(dir.path()).add(id("truck-1"), 5, &mut Counter(0)).unwrap();
    let file = std::fs::read(dir.path().join(state::FILE_NAME)).unwrap();
    let holds = |wanted: &[u8]| file.windows(wanted.len()).any(|window| window == wanted);
    assert!(holds(b"truck-1"));
    assert!(!holds(credentials.secret.expose()));
}

#[test]
fn adding_is_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let first = registry.add(id("b"), 1, &mut Counter(0)).unwrap();
    let error = registry.add_all(&[id("a"), id("b"), id("c")], 2, &mut Counter(9)).unwrap_err();
    assert!(matches!(&error, RegistryError::Exists(which) if *which == [id("b")]), "{error}");
    assert_eq!(registry.count().unwrap(), 1);
    let secret = registry.secret(id("b"), Generation::FIRST).unwrap().unwrap();
    assert_eq!(secret.expose(), first.secret.expose(), "the old secret stands");
    let error = registry.add_all(&[id("x"), id("x")], 2, &mut Counter(9)).unwrap_err();
    assert!(matches!(error, RegistryError::Exists(_)), "{error}");
    assert_eq!(registry.count().unwrap(), 1);
}

#[test]
fn rotation_keeps_old_generations_until_they_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let mut entropy = Counter(0);
    let device = id("a");
    let mut all = vec![registry.add(device, 1, &mut entropy).unwrap()];
    for number in 1..4 {
        all.push(registry.rotate(device, &mut entropy).unwrap());
        assert_eq!(all.last().unwrap().generation, generation(number));
    }
    for credentials in &all {
        let admission = registry.authenticate(device, &password(credentials)).unwrap();
        assert_eq!(admission, Admission::Admitted);
        let secret = registry.secret(device, credentials.generation).unwrap().unwrap();
        assert_eq!(secret.expose(), credentials.secret.expose());
    }
    let error = registry.rotate(device, &mut entropy).unwrap_err();
    assert!(matches!(error, RegistryError::GenerationsLive(_)), "{error}");
    let error = registry.forget_generation(device, generation(3)).unwrap_err();
    assert!(matches!(error, RegistryError::Current { .. }), "{error}");

    registry.forget_generation(device, generation(0)).unwrap();
    let admission = registry.authenticate(device, &password(&all[0])).unwrap();
    assert_eq!(admission, Admission::WrongPassword);
    let again = registry.rotate(device, &mut entropy).unwrap();
    assert_eq!(again.generation, generation(0), "after 3 comes 0 again");
    assert_ne!(again.secret.expose(), all[0].secret.expose());
    let entry = registry.show(device).unwrap().unwrap();
    assert_eq!(entry.current, generation(0));
    assert_eq!(entry.generations, [0, 1, 2, 3].map(generation));
}

#[test]
fn a_revoked_device_is_known_and_shut_out() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let credentials = registry.add(id("a"), 1, &mut Counter(0)).unwrap();
    registry.revoke(id("a"), 10).unwrap();
    registry.revoke(id("a"), 20).unwrap();
    assert_eq!(registry.show(id("a")).unwrap().unwrap().revoked_ms, Some(10));
    let admission = registry.authenticate(id("a"), &password(&credentials)).unwrap();
    assert_eq!(admission, Admission::Revoked);
    assert!(registry.secret(id("a"), Generation::FIRST).unwrap().is_none());
    let error = registry.rotate(id("a"), &mut Counter(0)).unwrap_err();
    assert!(matches!(error, RegistryError::Revoked(_)), "{error}");
    assert!(matches!(registry.revoke(id("b"), 1), Err(RegistryError::Unknown(_))));
}

#[test]
fn a_decommissioned_device_is_shut_out_keeps_its_secret_and_may_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let credentials = registry.add(id("a"), 1, &mut Counter(0)).unwrap();
    registry.decommission(id("a"), 10).unwrap();
    registry.decommission(id("a"), 20).unwrap();
    assert_eq!(registry.show(id("a")).unwrap().unwrap().decommissioned_ms, Some(10));
    assert_eq!(registry.standing(id("a")).unwrap(), Standing::Decommissioned(10));
    let admission =
        |registry: &Registry| registry.authenticate(id("a"), &password(&credentials)).unwrap();
    assert_eq!(admission(&registry), Admission::Revoked);
    assert!(registry.secret(id("a"), Generation::FIRST).unwrap().is_none(), "nothing is taken in");
    let secret = registry.secret_to_read(id("a"), Generation::FIRST).unwrap().unwrap();
    assert_eq!(secret.expose(), credentials.secret.expose(), "what was taken in is read");
    let error = registry.rotate(id("a"), &mut Counter(9)).unwrap_err().to_string();
    assert!(error.contains("recommission a"), "{error}");
    registry.recommission(id("a")).unwrap();
    assert_eq!(admission(&registry), Admission::Admitted);
    assert!(matches!(registry.decommission(id("b"), 1), Err(RegistryError::Unknown(_))));
}

#[test]
fn a_record_of_the_first_version_is_read() {
    let key = WrappingKey::new([7; 32]);
    let (_, wrapped) = key.draw(&id("a"), generation(1), &mut Counter(0)).unwrap();
    let (current, secrets) = (wrapped.generation, vec![wrapped]);
    let old = record::RecordV1 { added_ms: 5, revoked_ms: Some(6), current, secrets };
    let bytes = postcard::to_extend(&old, vec![1]).unwrap();
    let record = Record::decode(&bytes).unwrap();
    assert_eq!((record.added_ms, record.revoked_ms, record.current), (5, Some(6), generation(1)));
    assert_eq!((record.secrets.len(), record.decommissioned_ms), (1, None));
    assert_eq!(Record::decode(&record.encode()), Some(record));
}

#[test]
fn a_record_of_the_second_version_is_read_and_knows_no_registration() {
    let key = WrappingKey::new([7; 32]);
    let (_, wrapped) = key.draw(&id("a"), generation(1), &mut Counter(0)).unwrap();
    let (current, secrets) = (wrapped.generation, vec![wrapped]);
    let (added_ms, revoked_ms, decommissioned_ms) = (5, None, Some(7));
    let old = record::RecordV2 { added_ms, revoked_ms, current, secrets, decommissioned_ms };
    let bytes = postcard::to_extend(&old, vec![2]).unwrap();
    let record = Record::decode(&bytes).unwrap();
    assert_eq!((record.added_ms, record.current), (5, generation(1)));
    assert_eq!((record.decommissioned_ms, record.registration), (Some(7), None));
    assert_eq!(Record::decode(&record.encode()), Some(record));
}

#[test]
fn a_registration_is_kept_by_rotations_and_ends_with_a_removal() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let mut entropy = Counter(0);
    let first = registry.add(id("a"), 1, &mut entropy).unwrap();
    assert_eq!(first.registration, Some(keys::registration(&first.secret, &id("a"))));
    for _ in 0..3 {
        let rotated = registry.rotate(id("a"), &mut entropy).unwrap();
        assert_eq!(rotated.registration, first.registration);
    }
    registry.remove(id("a")).unwrap();
    let again = registry.add(id("a"), 2, &mut entropy).unwrap();
    assert_ne!(again.registration, first.registration);
    let entry = registry.show(id("a")).unwrap().unwrap();
    assert_eq!(entry.registration, again.registration);
}

#[test]
fn a_removed_device_is_unknown_and_can_be_added_anew() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let mut entropy = Counter(0);
    let old = registry.add(id("a"), 1, &mut entropy).unwrap();
    registry.seen(&[(id("a"), 3)]).unwrap();
    registry.remove(id("a")).unwrap();
    assert!(matches!(registry.remove(id("a")), Err(RegistryError::Unknown(_))));
    assert_eq!(registry.show(id("a")).unwrap(), None);
    assert_eq!(registry.authenticate(id("a"), &password(&old)).unwrap(), Admission::Unknown);
    let new = registry.add(id("a"), 4, &mut entropy).unwrap();
    assert_ne!(new.secret.expose(), old.secret.expose());
    assert_eq!(registry.show(id("a")).unwrap().unwrap().last_seen_ms, None);
}

#[test]
fn lists_in_pages_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let names: Vec<_> = (0..25).map(|n| id(&format!("d-{n:02}"))).collect();
    registry.add_all(&names, 1, &mut Counter(0)).unwrap();
    registry.seen(&[(id("d-03"), 77), (id("gone"), 78)]).unwrap();
    let mut listed = Vec::new();
    loop {
        let page =
            registry.list(listed.last().map(|entry: &DeviceEntry| entry.device), 10).unwrap();
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    let listed_names: Vec<_> = listed.iter().map(|entry| entry.device).collect();
    assert_eq!(listed_names, names);
    assert_eq!(listed[3].last_seen_ms, Some(77));
    assert_eq!(listed[4].last_seen_ms, None);
}

#[test]
fn a_wrapped_secret_opens_nowhere_else() {
    let key = WrappingKey::new([1; 32]);
    let (_, wrapped) = key.draw(&id("a"), generation(1), &mut Counter(0)).unwrap();
    assert!(key.unwrap(&id("a"), &wrapped).is_some());
    assert!(key.unwrap(&id("b"), &wrapped).is_none());
    assert!(WrappingKey::new([2; 32]).unwrap(&id("a"), &wrapped).is_none());
    let mut moved = wrapped.clone();
    moved.generation = generation(2);
    assert!(key.unwrap(&id("a"), &moved).is_none());
}

#[test]
fn another_wrapping_key_is_noticed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    drop(registry(dir.path()));
    let error = Registry::open(database(dir.path()), WrappingKey::new([8; 32])).unwrap_err();
    assert!(matches!(error, RegistryError::OtherKey), "{error}");
    drop(registry(dir.path()));
}

#[test]
fn the_key_file_is_made_once_private_and_never_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.key");
    let open = |entropy: u64| {
        Registry::open_with_key_file(database(dir.path()), &path, &mut Counter(entropy))
    };
    let added = open(0).unwrap().add(id("a"), 1, &mut Counter(50)).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let found = open(100).unwrap().secret(id("a"), Generation::FIRST).unwrap().unwrap();
    assert_eq!(found.expose(), added.secret.expose());

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = open(0).unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();

    std::fs::write(&path, "not a key\n").unwrap();
    assert!(open(0).unwrap_err().to_string().contains("64 hexadecimal digits"));

    std::fs::remove_file(&path).unwrap();
    let error = open(0).unwrap_err();
    assert!(matches!(error, RegistryError::KeyFile(KeyFileError::Lost(_))), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_damaged_record_harms_only_its_device() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    registry.add_all(&[id("a"), id("b")], 1, &mut Counter(0)).unwrap();
    let transaction = registry.database.begin_write().unwrap();
    transaction.open_table(DEVICES).unwrap().insert("a", &[1, 2, 3][..]).unwrap();
    transaction.commit().unwrap();
    let error = registry.secret(id("a"), Generation::FIRST).unwrap_err();
    assert!(matches!(error, RegistryError::Damaged(_)), "{error}");
    assert!(registry.secret(id("b"), Generation::FIRST).unwrap().is_some());
    registry.remove(id("a")).unwrap();
}

#[test]
fn many_threads_read_while_one_writes() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(dir.path());
    let names: Vec<_> = (0..200).map(|n| id(&format!("d-{n}"))).collect();
    let all = registry.add_all(&names, 1, &mut Counter(0)).unwrap();
    std::thread::scope(|scope| {
        for offset in 0..4 {
            let (registry, all) = (registry.clone(), &all);
            scope.spawn(move || {
                for credentials in all.iter().cycle().skip(offset * 50).take(200) {
                    let admission =
                        registry.authenticate(credentials.device, &password(credentials)).unwrap();
                    assert_eq!(admission, Admission::Admitted);
                }
            });
        }
        for number in 0..20 {
            registry.add(id(&format!("new-{number}")), 2, &mut Counter(1 << 40)).unwrap();
        }
    });
    assert_eq!(registry.count().unwrap(), 220);
}

#[test]
fn credentials_are_a_line_of_a_key_file_and_back() {
    let credentials = Credentials {
        device: id("truck-1"),
        generation: generation(2),
        registration: Some(Registration(0xffff_fffe)),
        secret: Secret::new([0xa7; 32]),
    };
    let line = serde_json::to_string(&credentials).unwrap();
    let secret = "a7".repeat(32);
    let registration = r#","registration":4294967294"#;
    assert_eq!(
        line,
        format!(r#"{{"device":"truck-1","generation":2{registration},"secret":"{secret}"}}"#)
    );
    let back: Credentials = serde_json::from_str(&line).unwrap();
    assert_eq!(back.secret.expose(), credentials.secret.expose());
    assert_eq!(back.registration, credentials.registration);
    // As earlier versions wrote it.
    let old: Credentials = serde_json::from_str(&line.replace(registration, "")).unwrap();
    assert_eq!(old.registration, None);
    for wrong in [line.replace("a7", "a"), line.replace("a7", "g7"), line.replace(":2", ":4")] {
        assert!(serde_json::from_str::<Credentials>(&wrong).is_err(), "{wrong}");
    }
}
