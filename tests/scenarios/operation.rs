//! Backups and restores, upgrades, reloads, and what the service manager is told.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use world::process::{Process, until};

use crate::world_of_one::World;

/// The default sink's place is the data directory; these worlds have theirs outside, so that it
/// stays where it is when the data directory goes back in time.
fn backup(world: &World, name: &str, more: &[&str]) -> (PathBuf, Value) {
    let path = world.path().join(name);
    let mut arguments = vec!["backup", path.to_str().unwrap(), "--json"];
    arguments.extend(more);
    let output = world.home.call(&arguments).unwrap();
    (path, serde_json::from_slice(&output.stdout).unwrap())
}

fn restore(world: &World, from: &Path, more: &[&str]) -> Value {
    let mut arguments = vec!["restore", from.to_str().unwrap(), "--json"];
    arguments.extend(more);
    serde_json::from_slice(&world.home.call(&arguments).unwrap().stdout).unwrap()
}

#[test]
fn a_backup_restored_under_newer_sinks_doubles_nothing_and_names_what_is_gone() {
    for (name, key) in [("copy", true), ("copy.tar", false)] {
        let Some(world) = World::taxis("") else { return };
        let agent = world.home.start().unwrap();
        let mut fleet = world.start_fleet(&["--speed", "20000", "--for", "6s"]);
        std::thread::sleep(Duration::from_secs(1));
        // In the midst of the traffic.
        let (copy, report) = backup(&world, name, if key { &["--with-key"] } else { &[] });
        assert_eq!(report["manifest"]["running"], true, "{report}");
        assert_eq!(report["manifest"]["with_key"], key, "{report}");
        world.home.call(&["backup", "verify", copy.to_str().unwrap()]).unwrap();
        assert!(fleet.wait(Duration::from_mins(1)).unwrap().success());
        world.home.wait_delivered(Duration::from_secs(30)).unwrap();
        World::stop(agent);
        let said = restore(&world, &copy, &["--replace"]);
        let kept = said["moved"].as_array().unwrap().iter().any(|name| name == "registry.key");
        assert_eq!(kept, !key, "{said}");
        let agent = world.home.start().unwrap();
        world.drive(&["--speed", "max"]);
        world.verify();
        assert!(world.agent_log().contains("restored from a backup"), "it must be said");
        World::stop(agent);
    }
}

#[test]
fn what_devices_freed_since_the_backup_is_named_exactly_where_it_is_missing() {
    let store = "[[sink]]\nname = \"store\"\ntype = \"store\"\n";
    let Some(mut world) = World::taxis(store) else { return };
    // Sixty times the two days: many times what a flash of this size holds.
    world.fleet = world.fleet.rounds(60);
    let flash = ["--flash-kib", "64"];
    let drive = |more: &[&str]| world.drive(&[&flash, more].concat());
    let agent = world.home.start().unwrap();
    drive(&["--speed", "20000", "--for", "2s"]);
    let (copy, _) = backup(&world, "copy.tar", &[]);
    drive(&["--speed", "400000", "--for", "6s"]);
    // What a busy machine left in their flash, the devices hand over now: full as it would be, it would
    // have to give way at the next boot.
    drive(&["--speed", "1", "--for", "3s"]);
    world.home.wait_delivered(Duration::from_mins(1)).unwrap();
    World::stop(agent);
    restore(&world, &copy, &["--replace"]);
    let agent = world.home.start().unwrap();
    drive(&["--speed", "max"]);
    // The file sink was not restored, and has all of it.
    let verdict = world.verify();
    assert_eq!(verdict["samples"]["lost"], 0, "{verdict}");
    assert!(world.agent_log().contains("frames are gone from a device"), "it must be said");
    // The store was, and is told what it does not have; the oracle knows whether that is exact.
    let ledger = world.path().join("ledger.json");
    let verified =
        world.fleet.verify_sink(&world.home, ("store", Path::new("store")), &ledger).unwrap();
    let text = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{text}{}", String::from_utf8_lossy(&verified.stderr));
    let verdict: Value = serde_json::from_str(&text).unwrap();
    assert!(verdict["samples"]["lost"].as_u64().unwrap() > 0, "{verdict}");
    World::stop(agent);
}

#[test]
fn a_backup_of_a_stopped_agent_goes_on_like_the_original() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    World::stop(agent);
    let (copy, report) = backup(&world, "copy.tar", &["--with-key"]);
    assert_eq!(report["manifest"]["running"], false, "{report}");
    fs::rename(&world.home.data, world.path().join("lost")).unwrap();
    restore(&world, &copy, &[]);
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    let verdict = world.verify();
    assert_eq!(verdict["samples"]["lost"], 0, "{verdict}");
    World::stop(agent);
}

#[test]
fn a_store_goes_back_with_its_journal_and_accounts_for_all() {
    let store = "[[sink]]\nname = \"store\"\ntype = \"store\"\n";
    let Some(world) = World::taxis(store) else { return };
    let agent = world.home.start().unwrap();
    let mut fleet = world.start_fleet(&["--speed", "20000", "--for", "6s"]);
    std::thread::sleep(Duration::from_secs(2));
    let (copy, report) = backup(&world, "copy", &[]);
    let files = report["manifest"]["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["path"] == "store/store.db"), "{report}");
    assert!(fleet.wait(Duration::from_mins(1)).unwrap().success());
    World::stop(agent);
    restore(&world, &copy, &["--replace"]);
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    // The file sink kept everything, the store went back: both account for every sample.
    world.verify();
    let ledger = world.path().join("ledger.json");
    let verified = world.fleet.verify_sink(&world.home, ("store", Path::new("store")), &ledger);
    let verified = verified.unwrap();
    assert!(
        verified.status.success(),
        "{}{}",
        String::from_utf8_lossy(&verified.stdout),
        String::from_utf8_lossy(&verified.stderr)
    );
    World::stop(agent);
}

#[test]
fn who_was_forgotten_since_the_backup_is_forgotten_again() {
    let store = "[[sink]]\nname = \"store\"\ntype = \"store\"\n";
    let world = World::synthetic(3, 71, store);
    let names = world.fleet.names().unwrap();
    let [one, other, third] = names.lines().collect::<Vec<_>>()[..] else { panic!("{names}") };
    for (device, vehicle) in [(other, "van 7"), (other, "bus 8"), (third, "bus 9")] {
        let from = if vehicle == "bus 8" { "2090-01-01" } else { "1970-01-01" };
        let to = if vehicle == "van 7" { vec!["--to", "2090-01-01"] } else { Vec::new() };
        let assign = ["vehicles", "assign", vehicle, device, "--from", from];
        world.home.call(&[&assign[..], &to].concat()).unwrap();
    }
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    world.verify();
    let (copy, _) = backup(&world, "copy", &[]);
    let known = |what: &str| {
        let said = |arguments: &[&str]| {
            String::from_utf8(world.home.call(arguments).unwrap().stdout).unwrap()
        };
        let listed = said(&["devices", "list"]) + &said(&["vehicles", "list"]);
        (listed.contains(what), said(&["store", "export"]).contains(what))
    };
    assert_eq!((known(one), known("van 7")), ((true, true), (true, true)));
    world.home.call(&["devices", "forget", one, "--yes"]).unwrap();
    world.home.call(&["vehicles", "forget", "van 7", "--yes"]).unwrap();
    assert_eq!((known(one), known("van 7")), ((false, false), (false, false)));
    World::stop(agent);
    restore(&world, &copy, &["--replace"]);
    let agent = world.home.start().unwrap();
    until("both to be gone again", Duration::from_mins(1), || {
        Ok((known(one), known("van 7")) == ((false, false), (false, false)))
    })
    .unwrap();
    // Nobody else is.
    assert_eq!((known(other), known("bus 9")), ((true, true), (true, true)));
    World::stop(agent);
}

#[test]
fn an_interrupted_backup_leaves_nothing_under_its_name() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    // No room to be had where it goes: the agent says so, and takes back what it began.
    let nowhere = world.path().join("missing/copy");
    let output = world.home.command(&["backup", nowhere.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("missing"), "{said}");
    // Within the data directory, and over something that is there: refused.
    for (to, why) in [(world.home.data.join("copy"), "outside"), (world.home.log(), "already")] {
        let output = world.home.command(&["backup", to.to_str().unwrap()]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{said}");
    }
    // Killed in the midst of it: what is left has another name, and is gone after the next.
    let copy = world.path().join("copy");
    World::stop(agent);
    let ballast = world.home.data.join("cursors/ballast");
    fs::File::create(&ballast).unwrap().set_len(2 << 30).unwrap();
    let mut running = world.home.command(&["backup", copy.to_str().unwrap()]).spawn().unwrap();
    let partial = world.path().join(".copy.milepost-partial");
    until("the backup to begin", Duration::from_secs(30), || Ok(partial.exists())).unwrap();
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(!copy.exists() && partial.exists());
    fs::remove_file(&ballast).unwrap();
    backup(&world, "copy", &[]);
    assert!(copy.exists() && !partial.exists());
}

#[test]
fn a_damaged_backup_is_refused_and_the_directory_stays_as_it_is() {
    let world = World::synthetic(2, 51, "");
    let agent = world.home.start().unwrap();
    world.drive(&[]);
    World::stop(agent);
    let (copy, _) = backup(&world, "copy", &[]);
    let state = copy.join("state.redb");
    let mut bytes = fs::read(&state).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&state, bytes).unwrap();
    for arguments in [
        vec!["backup", "verify", copy.to_str().unwrap()],
        vec!["restore", copy.to_str().unwrap(), "--replace"],
    ] {
        let output = world.home.command(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("state.redb does not match its checksum"), "{said}");
    }
    let output = world.home.command(&["restore", copy.to_str().unwrap()]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("not empty"));
    // Untouched.
    let agent = world.home.start().unwrap();
    world.verify();
    World::stop(agent);
}

/// What the binaries of release 0.1.0 wrote and were killed over: frames that no sink had, devices
/// with more to say, a database not closed.
#[test]
fn a_directory_of_release_0_1_0_is_upgraded_and_goes_on_with_nothing_lost_or_doubled() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/release-0.1.0.tar.gz");
    let world = World::left_by(&fixture, "cabs.csv");
    assert!(!world.home.data.join("format.json").exists());
    let agent = world.home.start().unwrap();
    let format: Value =
        serde_json::from_slice(&fs::read(world.home.data.join("format.json")).unwrap()).unwrap();
    assert_eq!(format["format"], 2, "{format}");
    assert!(world.agent_log().contains("upgraded"), "it must be said");
    world.drive(&["--speed", "max", "--flash-kib", "64", "--frame-seconds", "1"]);
    let verdict = world.verify();
    assert_eq!(verdict["samples"]["lost"], 0, "{verdict}");
    World::stop(agent);
    // And a newer one's is refused, by every command, and left alone.
    let newer = format.to_string().replace("\"format\":2", "\"format\":3");
    let newer = newer.replace(env!("CARGO_PKG_VERSION"), "9.9.9");
    fs::write(world.home.data.join("format.json"), &newer).unwrap();
    for verb in [vec!["run"], vec!["devices", "list"], vec!["ledger"]] {
        let output = world.home.command(&verb).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("written by milepost 9.9.9") && said.contains("format 3"), "{said}");
    }
    assert_eq!(fs::read_to_string(world.home.data.join("format.json")).unwrap(), newer);
}

#[test]
fn a_database_that_is_gone_or_damaged_is_said_and_nothing_is_touched() {
    let world = World::synthetic(2, 52, "");
    let agent = world.home.start().unwrap();
    world.drive(&[]);
    World::stop(agent);
    let (state, aside) = (world.home.data.join("state.redb"), world.path().join("state.redb"));
    fs::rename(&state, &aside).unwrap();
    let mut damaged = fs::read(&aside).unwrap();
    damaged.truncate(1000);
    for (content, what) in
        [(None, "is missing"), (Some(vec![]), "is empty"), (Some(damaged), "is damaged")]
    {
        if let Some(content) = &content {
            fs::write(&state, content).unwrap();
        }
        let output = world.home.command(&["run"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(what) && said.contains("milepost restore"), "{said}");
        let error = said.lines().filter(|line| line.starts_with("milepost:")).count();
        assert_eq!(error, 1, "one sentence: {said}");
    }
    fs::rename(&aside, &state).unwrap();
    let agent = world.home.start().unwrap();
    world.verify();
    World::stop(agent);
}

/// The service manager's end of the notify protocol.
struct Manager(UnixDatagram);

impl Manager {
    fn new(world: &World) -> (Self, PathBuf) {
        let path = world.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        (Self(socket), path)
    }

    /// The next message, if one comes within so long.
    fn next(&self, within: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(within)).unwrap();
        let mut message = [0; 4096];
        let len = self.0.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..len]).into_owned())
    }

    /// Everything up to the first message with this in it.
    fn until(&self, wanted: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let message = self.next(Duration::from_secs(30));
            let message = message.unwrap_or_else(|| panic!("no {wanted} after {heard:?}"));
            heard.push(message);
            if heard.last().unwrap().contains(wanted) {
                return heard;
            }
        }
    }
}

fn start_under(manager: &Path, world: &World, watchdog: Duration) -> Process {
    let mut command = world.home.command(&["run"]);
    command.env("NOTIFY_SOCKET", manager);
    command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    Process::start("milepost", &mut command, &world.home.log()).unwrap()
}

#[test]
fn the_service_manager_hears_ready_alive_reloading_and_stopping() {
    let world = World::synthetic(2, 53, "");
    let (manager, path) = Manager::new(&world);
    let agent = start_under(&path, &world, Duration::from_millis(800));
    let heard = manager.until("READY=1");
    assert_eq!(heard.len(), 1, "ready is the first word: {heard:?}");
    assert!(heard[0].contains("STATUS=") && heard[0].contains("connected"), "{heard:?}");
    std::net::TcpStream::connect(world.home.listen).expect("ready means that devices can connect");
    manager.until("WATCHDOG=1");
    // Stopped, it says nothing; going on, it does.
    agent.signal("STOP").unwrap();
    while manager.next(Duration::from_millis(500)).is_some() {}
    assert_eq!(manager.next(Duration::from_secs(2)), None, "a stopped agent is not alive");
    agent.signal("CONT").unwrap();
    manager.until("WATCHDOG=1");
    agent.signal("HUP").unwrap();
    let heard = manager.until("RELOADING=1");
    assert!(heard.last().unwrap().contains("MONOTONIC_USEC="), "{heard:?}");
    manager.until("READY=1");
    // Ill, but alive: the status says it.
    fs::write(&world.home.config, "[listn]\n").unwrap();
    agent.signal("HUP").unwrap();
    let heard = manager.until("READY=1").pop().unwrap();
    assert!(heard.contains("configuration: not reloaded"), "{heard}");
    manager.until("WATCHDOG=1");
    agent.terminate().unwrap();
    manager.until("STOPPING=1");
    let mut agent = agent;
    assert!(agent.wait(Duration::from_secs(20)).unwrap().success());
    while let Some(after) = manager.next(Duration::from_millis(100)) {
        assert!(!after.contains("WATCHDOG=1") && !after.contains("READY=1"), "{after}");
    }
}

fn reload(world: &World) -> (Option<i32>, String, Value) {
    let output = world.home.command(&["reload", "--json"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said, serde_json::from_slice(&output.stdout).unwrap_or_default())
}

#[test]
fn a_reload_applies_what_is_safe_names_what_is_not_and_a_bad_file_changes_nothing() {
    let Some(world) = World::taxis("[privacy]\ndrop = [\"Vehicle.Cabin.*\"]\n") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    world.home.wait_delivered(Duration::from_secs(30)).unwrap();
    let text = fs::read_to_string(&world.home.config).unwrap();
    let changed = text
        .replace("Vehicle.Cabin.*", "Vehicle.CurrentLocation.*")
        .replace("[listen]\n", "[listen]\nconnections_max = 77\n")
        + "\n[log]\nlevel = \"debug\"\nformat = \"json\"\n";
    fs::write(&world.home.config, format!("{changed}[privcy]\n")).unwrap();
    let (code, said, _) = reload(&world);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("did you mean `privacy`") && said.contains("nothing was changed"),
        "{said}"
    );
    let (status, health) = world.home.get("/healthz").unwrap();
    assert!(status == 503 && health.contains("not reloaded"), "{status} {health}");
    fs::write(&world.home.config, &changed).unwrap();
    let (code, said, report) = reload(&world);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        report["applied"],
        serde_json::json!(["log.format", "log.level", "privacy.drop"]),
        "{report}"
    );
    assert_eq!(report["restart"], serde_json::json!(["listen.connections_max"]), "{report}");
    assert_eq!(world.home.get("/healthz").unwrap().0, 200);
    let marker = fs::read_to_string(world.home.sink().join("milepost-000001.ndjson")).unwrap();
    assert!(!marker.contains("Vehicle.Cabin.") && marker.contains("Vehicle.CurrentLocation."));
    world.drive(&["--speed", "max"]);
    world.home.wait_delivered(Duration::from_mins(1)).unwrap();
    let after = fs::read_to_string(world.home.sink().join("milepost-000001.ndjson")).unwrap();
    let after = after.strip_prefix(&marker).unwrap();
    assert!(after.contains("Vehicle.Cabin.") && !after.contains("Vehicle.CurrentLocation."));
    let ledger = world.home.ledger().unwrap();
    assert_eq!(ledger["balanced"], true, "{ledger:#}");
    World::stop(agent);
    // From the reload on: JSON, with the fields that the documentation names, and no secrets.
    let log = world.agent_log();
    let lines: Vec<Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(lines.iter().any(|line| line["message"] == "stopped"), "{log}");
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} is missing: {line}");
        }
    }
    for key in fs::read_to_string(world.fleet.keys()).unwrap().lines() {
        let key: Value = serde_json::from_str(key).unwrap();
        assert!(!log.contains(key["secret"].as_str().unwrap()), "a secret is in the log");
    }
}
