use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What a file should hold: as seen, and as synced.
#[derive(Clone, Debug, Default)]
struct ModelFile {
    seen: Vec<u8>,
    durable: Vec<u8>,
}

/// The same, naively: names to numbers of files.
#[derive(Debug, Default)]
struct Model {
    files: Vec<ModelFile>,
    seen: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
}

#[derive(Clone, Debug)]
enum Act {
    Create(u8),
    Write(u8, u16, Vec<u8>),
    SetLen(u8, u16),
    Sync(u8),
    Rename(u8, u8),
    Remove(u8),
    SyncDir,
    Kill,
}

fn act() -> impl Strategy<Value = Act> {
    let name = 0..4_u8;
    let at = 0..20_000_u16;
    prop_oneof![
        2 => name.clone().prop_map(Act::Create),
        6 => (name.clone(), at.clone(), vec(any::<u8>(), 0..6000))
            .prop_map(|(name, at, bytes)| Act::Write(name, at, bytes)),
        3 => (name.clone(), at).prop_map(|(name, len)| Act::SetLen(name, len)),
        4 => name.clone().prop_map(Act::Sync),
        3 => (name.clone(), name.clone()).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => name.prop_map(Act::Remove),
        2 => Just(Act::SyncDir),
        1 => Just(Act::Kill),
    ]
}

fn content(storage: &Held, path: &Path) -> Vec<u8> {
    let file = storage.open(path, false).unwrap();
    let mut bytes = vec![0xee; usize::try_from(file.len().unwrap()).unwrap() + 7];
    let read = file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(read);
    // From the middle, too.
    let mut half = vec![0; read - read / 2];
    assert_eq!(file.read_at(u64::try_from(read / 2).unwrap(), &mut half).unwrap(), half.len());
    assert_eq!(half, bytes[read / 2..]);
    bytes
}

/// Does the same to both.
fn perform(act: &Act, held: &mut Held, model: &mut Model, dir: &Path) {
    let name = |number: &u8| number.to_string();
    let path = |number: &u8| dir.join(number.to_string());
    let open = |held: &Held, number: &u8| held.open(&path(number), false);
    match act {
        Act::Create(number) => {
            held.open(&path(number), true).unwrap();
            if !model.seen.contains_key(&name(number)) {
                model.seen.insert(name(number), model.files.len());
                model.files.push(ModelFile::default());
            }
        }
        Act::Write(number, at, bytes) => {
            match (open(held, number), model.seen.get(&name(number))) {
                (Ok(file), Some(inode)) => {
                    file.write_at(u64::from(*at), bytes).unwrap();
                    let seen = &mut model.files[*inode].seen;
                    let at = usize::from(*at);
                    if seen.len() < at + bytes.len() && !bytes.is_empty() {
                        seen.resize(at + bytes.len(), 0);
                    }
                    if !bytes.is_empty() {
                        seen[at..at + bytes.len()].copy_from_slice(bytes);
                    }
                }
                (file, inode) => assert!(file.is_err() && inode.is_none()),
            }
        }
        Act::SetLen(number, len) => {
            if let Some(inode) = model.seen.get(&name(number)) {
                open(held, number).unwrap().set_len(u64::from(*len)).unwrap();
                model.files[*inode].seen.resize(usize::from(*len), 0);
            }
        }
        Act::Sync(number) => {
            if let Some(inode) = model.seen.get(&name(number)) {
                open(held, number).unwrap().sync().unwrap();
                let file = &mut model.files[*inode];
                file.durable = file.seen.clone();
            }
        }
        Act::Rename(from, to) => {
            let done = held.rename(&path(from), &path(to));
            let inode = model.seen.remove(&name(from));
            assert_eq!(done.is_ok(), inode.is_some());
            inode.map(|inode| model.seen.insert(name(to), inode));
        }
        Act::Remove(number) => {
            let done = held.remove(&path(number));
            assert_eq!(done.is_ok(), model.seen.remove(&name(number)).is_some());
        }
        Act::SyncDir => {
            held.sync_dir(dir).unwrap();
            model.durable = model.seen.clone();
        }
        Act::Kill => {
            *held = Held::default();
            for file in &mut model.files {
                file.seen = file.durable.clone();
            }
            model.seen = model.durable.clone();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn like_a_naive_model(acts in vec(act(), 1..60)) {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let (mut held, mut model) = (Held::default(), Model::default());
        for act in acts.iter().chain([&Act::Kill]) {
            perform(act, &mut held, &mut model, dir);
            let listed: Vec<PathBuf> = model.seen.keys().map(|name| dir.join(name)).collect();
            prop_assert_eq!(held.list(dir).unwrap(), listed);
            for (name, inode) in &model.seen {
                prop_assert!(content(&held, &dir.join(name)) == model.files[*inode].seen, "{}", name);
            }
        }
        // And nothing hidden is left.
        prop_assert_eq!(fs::read_dir(dir).unwrap().count(), model.durable.len());
    }
}

#[test]
fn open_file_outlives_its_name_and_a_swap_is_synced() {
    let temp = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| temp.path().join(name));
    let held = Held::default();
    let file = held.open(&a, true).unwrap();
    file.write_at(0, b"a").unwrap();
    file.sync().unwrap();
    let other = held.open(&b, true).unwrap();
    other.write_at(0, b"b").unwrap();
    other.sync().unwrap();
    held.sync_dir(temp.path()).unwrap();
    for (from, to) in [(&a, &c), (&b, &a), (&c, &b)] {
        held.rename(from, to).unwrap();
    }
    assert_eq!(fs::read(&a).unwrap(), b"a", "the disk does not know yet");
    held.sync_dir(temp.path()).unwrap();
    assert_eq!((fs::read(&a).unwrap(), fs::read(&b).unwrap()), (b"b".to_vec(), b"a".to_vec()));
    held.remove(&b).unwrap();
    held.sync_dir(temp.path()).unwrap();
    let mut byte = [0];
    assert_eq!((file.read_at(0, &mut byte).unwrap(), byte), (1, *b"a"));
    assert!(!b.exists());
}

#[test]
fn missing_directory_is_empty_and_takes_no_file() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("missing");
    let held = Held::default();
    assert!(held.list(&dir).unwrap().is_empty());
    assert!(held.open(&dir.join("file"), true).is_err());
    held.create_dir_all(&dir).unwrap();
    held.open(&dir.join("file"), true).unwrap();
    assert_eq!(held.list(&dir).unwrap(), [dir.join("file")]);
    assert!(
        held.rename(&dir.join("file"), &temp.path().join("file")).is_err(),
        "another directory"
    );
}
