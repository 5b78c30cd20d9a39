use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::{Counts, Lane, RingId, Seq};

use super::*;
use crate::catalogues::Catalogues;
use crate::journal::{Entry, EntryKind, Journal, JournalConfig, JournalCursor, Positions};
use crate::lock::{DirLock, Owner};
use crate::registry::{OsEntropy, Registry};
use crate::rings::{Ring, Rings};
use crate::state::{self, State};
use crate::storage::{Disk, SharedStorage};

/// A data directory as an agent that runs has it.
struct Running {
    home: tempfile::TempDir,
    dir: PathBuf,
    out: PathBuf,
    storage: SharedStorage,
    state: State,
    journal: Journal,
    rings: Rings,
}

fn open_journal(storage: &SharedStorage, dir: &Path, nonce: u64) -> Journal {
    let config = JournalConfig { segment_bytes: 8192, ..JournalConfig::new(dir.join("journal")) };
    let nothing = Positions::default();
    Journal::open(Arc::clone(storage), config, [9; 16], nonce, &nothing, &mut |_, _, _| ())
        .unwrap()
        .0
}

impl Running {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (dir, out) = (home.path().join("data"), home.path().join("out"));
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir_all(&out).unwrap();
        let storage: SharedStorage = Arc::new(Disk);
        let state = state::open(&storage, &dir.join(state::FILE_NAME)).unwrap();
        let key = dir.join("registry.key");
        let registry = Registry::open_with_key_file(state.clone(), &key, &mut OsEntropy).unwrap();
        registry.add("early".parse().unwrap(), 1, &mut OsEntropy).unwrap();
        Catalogues::open(state.clone()).unwrap();
        let rings = Rings::open(state.clone(), 100).unwrap();
        crate::upgrade::bring_up(&dir).unwrap();
        for (name, content) in [
            ("cursors/out", "cursor"),
            ("dead-letters/out-000001.ndjson", "letters"),
            ("parked/out-000001.log", "parked"),
            ("documents/.milepost-lock", ""),
            ("documents/milepost-000001.ndjson", "document"),
            ("mine.txt", "not the agent's"),
        ] {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let journal = open_journal(&storage, &dir, 1);
        Self { home, dir, out, storage, state, journal, rings }
    }

    /// Takes so many frames from number `first` on, and commits them.
    fn frames(&mut self, first: u64, count: u64) {
        for number in first..first + count {
            let adds = Counts { samples: 1, events: 0 };
            let entry = Entry {
                kind: EntryKind::Frame,
                received_ms: 5,
                device: "early".parse().unwrap(),
                ring: RingId([1; 16]),
                seq: Seq(number),
                adds,
                through: Counts { samples: number, events: 0 },
                payload: &[7; 900],
            };
            self.journal.append(Lane::Bulk, &entry).unwrap();
            self.journal.commit().unwrap();
        }
    }

    fn checkpoint(&mut self, durable: u64) {
        let ends = self.journal.ends();
        let cursor = JournalCursor {
            journal: self.journal.id(),
            epoch: self.journal.epoch(),
            positions: ends.positions,
            totals: ends.totals,
        };
        let through = Counts { samples: durable, events: 0 };
        let tag = protocol::FrameTag::default();
        let watermark = crate::dedup::Watermark { durable: Seq(durable), tag, through };
        let device = "early".parse().unwrap();
        let ring = Ring { device, lane: Lane::Bulk, watermark, declared: Counts::ZERO };
        self.rings.put(RingId([1; 16]), ring);
        self.rings.save(&cursor).unwrap();
    }

    fn take(&self, name: &str, watcher: &mut Watcher<'_>) -> Result<Report, BackupError> {
        let key_file = self.dir.join("registry.key");
        let tail = self.journal.tail();
        let origin = Origin {
            storage: &self.storage,
            data_dir: &self.dir,
            key_file: &key_file,
            state: &self.state,
            journal: Some(&tail),
        };
        let plan = Plan { to: self.out.join(name), with_key: false };
        // The watcher lives as long as the call.
        let mut watch = |progress| watcher(progress);
        take(&origin, &plan, 1_700_000_000_123, &mut watch)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a watcher")]
fn quiet(_: Progress) -> io::Result<()> {
    Ok(())
}

/// The journal's sequence numbers, and where its ring table says it stands.
fn read_back(dir: &Path) -> (Vec<u64>, Option<Seq>) {
    let storage: SharedStorage = Arc::new(Disk);
    let state = state::open(&storage, &dir.join(state::FILE_NAME)).unwrap();
    let mut rings = Rings::open(state, 100).unwrap();
    let journal = open_journal(&storage, dir, 2);
    if let Some(checkpoint) = rings.checkpoint().unwrap() {
        assert!(journal.tail().validates(&checkpoint), "a checkpoint beyond the journal");
    }
    let mut reader = journal.tail().reader(Lane::Bulk, journal.tail().oldest(Lane::Bulk));
    let mut seqs = Vec::new();
    while let Some(found) = reader.next().unwrap() {
        if let crate::journal::Item::Entry { entry, .. } = found {
            seqs.push(entry.seq.0);
        }
    }
    (seqs, rings.get(&RingId([1; 16])).unwrap().map(|ring| ring.watermark.durable))
}

#[test]
fn what_comes_while_a_backup_is_made_leaves_it_holding_together() {
    for name in ["copy", "copy.tar"] {
        let mut running = Running::start();
        running.frames(1, 30);
        running.checkpoint(30);
        // At each piece that is copied: more frames, another checkpoint, another device.
        let storage = Arc::clone(&running.storage);
        let (dir, out) = (running.dir.clone(), running.out.clone());
        let (state, tail) = (running.state.clone(), running.journal.tail());
        let registry =
            Registry::open_with_key_file(state.clone(), &dir.join("registry.key"), &mut OsEntropy)
                .unwrap();
        let mut next = 31;
        let mut watcher = |_| {
            running.frames(next, 2);
            next += 2;
            running.checkpoint(next - 1);
            registry.add(format!("late-{next}").parse().unwrap(), 2, &mut OsEntropy).unwrap();
            // What was parked goes on meanwhile.
            drop(fs::remove_file(dir.join("parked/out-000001.log")));
            Ok(())
        };
        let key_file = dir.join("registry.key");
        let origin = Origin {
            storage: &storage,
            data_dir: &dir,
            key_file: &key_file,
            state: &state,
            journal: Some(&tail),
        };
        let plan = Plan { to: out.join(name), with_key: true };
        let report = take(&origin, &plan, 1_700_000_000_123, &mut watcher).unwrap();
        assert_eq!(verify(&plan.to, &mut quiet).unwrap(), report.manifest);
        assert!(next > 35, "the watcher was heard");
        let target = out.join("restored");
        restore(&plan.to, &target, false, 1_700_000_100_000, &mut quiet).unwrap();
        let (seqs, watermark) = read_back(&target);
        let last = *seqs.last().unwrap();
        assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
        assert!(last >= 31, "up to where it was durable when its turn came: {last}");
        assert_eq!(watermark, Some(Seq(30)), "as of the first moment");
        let parked = fs::read_to_string(target.join("parked/out-000001.log")).unwrap();
        assert_eq!(parked, "parked", "gone since, and yet in it");
        // Every device whose frames may be in the journal.
        let state = state::open(&storage, &target.join(state::FILE_NAME)).unwrap();
        let registry =
            Registry::open_with_key_file(state, &target.join("registry.key"), &mut OsEntropy)
                .unwrap();
        assert!(registry.count().unwrap() > 1);
    }
}

#[test]
fn what_is_left_out_is_said_and_the_key_stays_where_it_is() {
    let mut running = Running::start();
    running.frames(1, 3);
    let report = running.take("copy", &mut quiet).unwrap();
    let copy = running.out.join("copy");
    let left: Vec<&str> = report.manifest.left_out.iter().map(|left| left.path.as_str()).collect();
    assert_eq!(left, ["documents", "mine.txt", "registry.key"]);
    assert!(!copy.join("registry.key").exists() && !copy.join("documents").exists());
    let mode = fs::metadata(copy.join("state.redb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o700);
    // Restored over the directory it is of: what it lacks stays in place.
    drop(running.journal);
    drop(running.rings);
    drop(running.state);
    fs::write(running.dir.join("cursors/later"), "").unwrap();
    let refused = restore(&copy, &running.dir, false, 7, &mut quiet).unwrap_err().to_string();
    assert!(refused.contains("not empty") && refused.contains("--replace"), "{refused}");
    let (restored, _) = restore(&copy, &running.dir, true, 7, &mut quiet).unwrap();
    assert_eq!(restored.moved, ["documents", "registry.key"]);
    let aside = restored.aside.unwrap();
    assert!(aside.join("cursors/later").exists() && aside.join("mine.txt").exists());
    assert!(!running.dir.join("cursors/later").exists());
    assert!(running.dir.join("documents/milepost-000001.ndjson").exists());
    assert!(running.dir.join("registry.key").exists());
    // Said once, at the first start.
    assert_eq!(not_started(&running.dir).unwrap().unwrap().made_ms, 1_700_000_000_123);
    mark_started(&running.dir, 9).unwrap();
    assert_eq!(not_started(&running.dir).unwrap(), None);
}

#[test]
fn an_interrupted_move_is_finished_by_the_next_start() {
    let running = Running::start();
    running.take("copy", &mut quiet).unwrap();
    let (dir, copy) = (running.dir.clone(), running.out.join("copy"));
    let home = running.home;
    drop((running.journal, running.rings, running.state));
    let (restored, _) = restore(&copy, &dir, true, 7, &mut quiet).unwrap();
    // As if it had been cut off after the renames.
    let aside = restored.aside.unwrap();
    fs::rename(dir.join("documents"), aside.join("documents")).unwrap();
    finish_move(&dir).unwrap();
    assert!(dir.join("documents").exists() && !aside.join("documents").exists());
    finish_move(&dir).unwrap();
    drop(home);
}

#[test]
fn a_directory_in_use_is_not_replaced() {
    let running = Running::start();
    running.take("copy", &mut quiet).unwrap();
    let _lock = DirLock::take(&running.dir, Owner::Agent).unwrap();
    let refused = restore(&running.out.join("copy"), &running.dir, true, 7, &mut quiet);
    assert!(refused.unwrap_err().to_string().contains("in use"));
    assert!(running.dir.join("state.redb").exists());
}

#[test]
fn a_backup_that_is_given_up_leaves_nothing() {
    for name in ["copy", "copy.tar"] {
        let mut running = Running::start();
        running.frames(1, 30);
        for give_up_at in [1, 3, 6] {
            let mut heard = 0;
            let mut watcher = |_| {
                heard += 1;
                if heard == give_up_at { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
            };
            let cancelled = running.take(name, &mut watcher);
            assert!(matches!(cancelled, Err(BackupError::Cancelled)));
            assert_eq!(fs::read_dir(&running.out).unwrap().count(), 0);
        }
        running.take(name, &mut quiet).unwrap();
        let again = running.take(name, &mut quiet).unwrap_err().to_string();
        assert!(again.contains("is there already"), "{again}");
    }
}

/// Every byte of a backup, flipped: always noticed, by verify and by restore, and nothing is left
/// of what was restored so far.
#[test]
fn every_damage_is_noticed() {
    let mut running = Running::start();
    running.frames(1, 2);
    running.take("copy", &mut quiet).unwrap();
    running.take("copy.tar", &mut quiet).unwrap();
    let (dir, tar) = (running.out.join("copy"), running.out.join("copy.tar"));
    let target = running.out.join("target");
    let manifest = verify(&dir, &mut quiet).unwrap();
    let names = manifest.files.iter().map(|entry| entry.path.as_str()).chain([MANIFEST_NAME]);
    for path in names.map(|name| dir.join(name)).chain([tar.clone()]) {
        let whole = fs::read(&path).unwrap();
        let step = (whole.len() / 17).max(1);
        for at in (0..whole.len()).step_by(step) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let backup = if path == tar { &tar } else { &dir };
            // In a tar file, what fills up blocks and what tells owners means nothing.
            let is_filling = path == tar && verify(backup, &mut quiet).is_ok();
            if !is_filling {
                assert!(verify(backup, &mut quiet).is_err(), "{} at {at}", path.display());
                assert!(restore(backup, &target, false, 7, &mut quiet).is_err());
            }
            assert!(!target.exists());
        }
        for len in [0, whole.len() / 2] {
            fs::write(&path, &whole[..len]).unwrap();
            let backup = if path == tar { &tar } else { &dir };
            if len < whole.len() {
                assert!(verify(backup, &mut quiet).is_err(), "{} cut to {len}", path.display());
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    fs::remove_file(dir.join("cursors/out")).unwrap();
    let missing = verify(&dir, &mut quiet).unwrap_err().to_string();
    assert!(missing.contains("cursors/out is missing"), "{missing}");
}

#[test]
fn a_newer_backup_and_one_that_leads_elsewhere_are_refused() {
    let running = Running::start();
    running.take("copy", &mut quiet).unwrap();
    let path = running.out.join("copy").join(MANIFEST_NAME);
    let manifest = verify(&running.out.join("copy"), &mut quiet).unwrap();
    let newer = Manifest { backup: 2, agent: "9.9.9".to_owned(), ..manifest.clone() };
    fs::write(&path, newer.encode().unwrap()).unwrap();
    let said = verify(&running.out.join("copy"), &mut quiet).unwrap_err().to_string();
    assert!(said.contains("format 2") && said.contains("milepost 9.9.9"), "{said}");
    let mut elsewhere = manifest;
    elsewhere.files[0].path = "../outside".to_owned();
    fs::write(&path, elsewhere.encode().unwrap()).unwrap();
    let said = verify(&running.out.join("copy"), &mut quiet).unwrap_err().to_string();
    assert!(said.contains("`../outside`"), "{said}");
    let no_backup = verify(&running.dir, &mut quiet).unwrap_err().to_string();
    assert!(no_backup.contains("is no backup"), "{no_backup}");
    let text = running.out.join("milepost.toml");
    for content in ["[agent]\n".to_owned(), "# a comment\n".repeat(100)] {
        fs::write(&text, content).unwrap();
        let no_backup = verify(&text, &mut quiet).unwrap_err().to_string();
        assert!(no_backup.contains("is no backup"), "{no_backup}");
    }
    running.take("copy.tar", &mut quiet).unwrap();
    let tar = fs::read(running.out.join("copy.tar")).unwrap();
    for len in [1, 99, 105, 260, 511] {
        fs::write(&text, &tar[..len]).unwrap();
        let cut = verify(&text, &mut quiet).unwrap_err().to_string();
        assert!(cut.contains("cut off"), "{len}: {cut}");
    }
}

/// Other tools read the archives, long names included.
#[test]
fn archives_are_plain_tar() {
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(60));
    for (name, size) in [("short", 3), (long.as_str(), 1025), ("empty", 0)] {
        let mut bytes = tar::header(name, size, 1_700_000_000).unwrap().to_vec();
        bytes.extend(vec![7; usize::try_from(size).unwrap() + tar::padding(size)]);
        tar::finish(&mut bytes).unwrap();
        assert_eq!(bytes.len() % 512, 0);
        let mut from = bytes.as_slice();
        assert_eq!(tar::next(&mut from).unwrap(), Some((name.to_owned(), size)));
        let mut content = vec![0; usize::try_from(size).unwrap() + tar::padding(size)];
        from.read_exact(&mut content).unwrap();
        assert_eq!(tar::next(&mut from).unwrap(), None);
    }
    assert!(tar::header(&"n".repeat(120), 1, 0).is_err());
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start();
    running.take("copy.tar", &mut quiet).unwrap();
    let listed = std::process::Command::new("tar")
        .arg("-xf")
        .arg(running.out.join("copy.tar"))
        .current_dir(dir.path())
        .status();
    if let Ok(status) = listed {
        assert!(status.success() && verify(dir.path(), &mut quiet).is_ok());
    } else {
        assert!(std::env::var_os("CI").is_none(), "CI has tar");
        eprintln!("skipped: there is no tar here");
    }
}

/// Sinks lie where they were configured to, at any depth; links are left alone.
#[test]
fn sinks_at_any_depth_are_backed_up_and_moved_and_links_are_not_followed() {
    let running = Running::start();
    let (dir, copy) = (running.dir.clone(), running.out.join("copy"));
    drop(make_store(&dir.join("deep/er/store")));
    drop(make_store(&dir.join("outer/store")));
    let elsewhere = running.home.path().join("elsewhere");
    drop(make_store(&elsewhere.join("store")));
    for (name, content) in [
        ("deep/documents/.milepost-lock", ""),
        ("deep/documents/milepost-000001.ndjson", "deep"),
        ("deep/note.txt", "not the agent's"),
        ("outer/.milepost-cursor", ""),
        ("outer/milepost-000001.ndjson", "outer"),
        ("nothing/here/note.txt", "not the agent's"),
    ] {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        fs::write(dir.join(name), content).unwrap();
    }
    fs::set_permissions(dir.join("deep"), fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink(&dir, dir.join("deep/round")).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("store"), dir.join("deep/linked")).unwrap();
    let report = running.take("copy", &mut quiet).unwrap();
    let left: Vec<&str> = report.manifest.left_out.iter().map(|left| left.path.as_str()).collect();
    assert_eq!(
        left,
        [
            "deep/documents",
            "deep/linked",
            "deep/note.txt",
            "deep/round",
            "documents",
            "mine.txt",
            "nothing",
            "outer",
            "registry.key"
        ]
    );
    for store in ["deep/er/store", "outer/store"] {
        assert_eq!(fs::read(copy.join(store).join("blocks/000001.blk")).unwrap(), b"12345");
        assert!(copy.join(store).join("store.db").exists(), "{store}");
    }
    let home = running.home;
    drop((running.journal, running.rings, running.state));
    let (restored, _) = restore(&copy, &dir, true, 7, &mut quiet).unwrap();
    let moved = [
        "deep/documents",
        "deep/linked",
        "documents",
        "outer/.milepost-cursor",
        "outer/milepost-000001.ndjson",
        "registry.key",
    ];
    assert_eq!(restored.moved, moved);
    let is_there = |restored: &Restored| {
        let aside = restored.aside.as_ref().unwrap();
        let content = |name| fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(content("deep/documents/milepost-000001.ndjson"), "deep");
        assert_eq!(content("outer/milepost-000001.ndjson"), "outer");
        assert_eq!(fs::read_link(dir.join("deep/linked")).unwrap(), elsewhere.join("store"));
        assert!(dir.join("deep/er/store/store.db").exists());
        assert!(aside.join("deep/note.txt").exists() && !aside.join("deep/documents").exists());
        assert_eq!(fs::read(elsewhere.join("store/blocks/000007.blk")).unwrap(), b"abc");
    };
    is_there(&restored);
    // As if it had been cut off after the renames.
    let aside = restored.aside.clone().unwrap();
    for name in ["deep/documents", "deep/linked", "outer/milepost-000001.ndjson"] {
        fs::rename(dir.join(name), aside.join(name)).unwrap();
    }
    finish_move(&dir).unwrap();
    is_there(&restored);

    // Nothing of the folder that it lies in is in the backup.
    fs::remove_dir_all(dir.join("deep/er")).unwrap();
    fs::remove_dir_all(copy.join("deep")).unwrap();
    let path = copy.join(MANIFEST_NAME);
    let mut manifest = Manifest::decode(&fs::read(&path).unwrap()).unwrap();
    manifest.files.retain(|file| !file.path.starts_with("deep/"));
    fs::write(&path, manifest.encode().unwrap()).unwrap();
    let (restored, _) = restore(&copy, &dir, true, 9, &mut quiet).unwrap();
    assert!(restored.moved.contains(&"deep/documents".to_owned()), "{:?}", restored.moved);
    assert!(dir.join("deep/documents/milepost-000001.ndjson").exists());
    let mode = fs::metadata(dir.join("deep")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o750, "whoever reads there still can");
    drop(home);
}

/// A store in the shape that the backup relies on.
fn make_store(dir: &Path) -> rusqlite::Connection {
    fs::create_dir_all(dir.join("blocks")).unwrap();
    let index = rusqlite::Connection::open(dir.join("store.db")).unwrap();
    index.pragma_update(None, "journal_mode", "WAL").unwrap();
    index
        .execute_batch(
            "CREATE TABLE files(id INTEGER PRIMARY KEY, len INTEGER NOT NULL);
             INSERT INTO files VALUES (1, 5), (7, 3);",
        )
        .unwrap();
    fs::write(dir.join("blocks/000001.blk"), "12345 and what no commit covers").unwrap();
    fs::write(dir.join("blocks/000007.blk"), "abc").unwrap();
    fs::write(dir.join("blocks/000009.blk"), "nobody's").unwrap();
    index
}

#[test]
fn the_store_is_copied_as_of_one_commit() {
    let running = Running::start();
    let index = make_store(&running.dir.join("store"));
    // Its writer is in the midst of something.
    index.execute_batch("BEGIN IMMEDIATE; INSERT INTO files VALUES (9, 8);").unwrap();
    running.take("copy", &mut quiet).unwrap();
    let copy = running.out.join("copy/store");
    assert_eq!(fs::read(copy.join("blocks/000001.blk")).unwrap(), b"12345");
    assert_eq!(fs::read(copy.join("blocks/000007.blk")).unwrap(), b"abc");
    assert!(!copy.join("blocks/000009.blk").exists());
    let copied = rusqlite::Connection::open(copy.join("store.db")).unwrap();
    let files: i64 = copied.query_row("SELECT count(*) FROM files", [], |row| row.get(0)).unwrap();
    assert_eq!(files, 2);
    index.execute_batch("ROLLBACK").unwrap();
    // A file that stays away is said, not passed over.
    fs::remove_file(running.dir.join("store/blocks/000007.blk")).unwrap();
    let said = running.take("other", &mut quiet).unwrap_err().to_string();
    assert!(said.contains("store check"), "{said}");
}
