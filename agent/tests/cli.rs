//! The built program, as a person or a script meets it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: what is missing fails it"
)]

#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/vehicles.rs"]
mod vehicles;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn milepost(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milepost"));
    command.current_dir(dir).env_clear().stdin(Stdio::null());
    command
}

/// Runs `milepost ARGS...` in a directory.
fn ask(dir: &Path, args: &[&str]) -> Output {
    milepost(dir).args(args).output().unwrap()
}

/// Its standard output; it must succeed.
fn answer(dir: &Path, args: &[&str]) -> String {
    let output = ask(dir, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Its standard error; it must fail with this exit code.
fn refusal(dir: &Path, code: i32, args: &[&str]) -> String {
    let output = ask(dir, args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A running agent, told to stop at the end.
struct Agent {
    child: Child,
}

impl Agent {
    fn start(dir: &Path) -> Self {
        std::fs::write(
            dir.join("milepost.toml"),
            "listen.address = \"127.0.0.1:0\"\nhttp.address = \"127.0.0.1:0\"\n",
        )
        .unwrap();
        let mut child =
            milepost(dir).args(["run", "--log", "json"]).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = log.lines().map(Result::unwrap);
        let ready = lines.find(|line| line.contains("\"ready\""));
        assert!(ready.is_some(), "the agent ended before it was ready");
        // Read to its end, so that the agent never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child }
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // After stop() there is nobody left, which is fine.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn devices_come_and_go(dir: &Path) {
    let shown = answer(dir, &["devices", "add", "truck-1", "truck-2"]);
    let lines: Vec<serde_json::Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["device"], "truck-1");
    assert_eq!(lines[0]["generation"], 0);
    assert_eq!(lines[0]["secret"].as_str().unwrap().len(), 64);
    assert_ne!(lines[0]["secret"], lines[1]["secret"]);

    let error = refusal(dir, 1, &["devices", "add", "truck-3", "truck-1"]);
    assert!(error.contains("already registered: truck-1"), "{error}");

    let rotated = answer(dir, &["devices", "rotate", "truck-2"]);
    assert!(rotated.contains("\"generation\":1"), "{rotated}");
    answer(dir, &["devices", "revoke", "truck-2"]);
    let list = answer(dir, &["devices", "list"]);
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["DEVICE", "STATE", "KEY"]);
    assert_eq!(rows[1][..3], ["truck-1", "admitted", "0"]);
    assert_eq!(rows[2][..3], ["truck-2", "revoked", "1"]);
    assert_eq!(rows[3], ["2", "devices"]);

    let json = answer(dir, &["devices", "list", "--json"]);
    assert!(json.starts_with("{\"device\":\"truck-1\",\"added_ms\":"), "{json}");
    assert_eq!(json.lines().count(), 2);
    assert!(answer(dir, &["devices", "show", "truck-2"]).contains("live keys       0 1"));
    assert!(refusal(dir, 1, &["devices", "rotate", "truck-2"]).contains("revoked"));

    let output = ask(dir, &["devices", "remove", "truck-1", "nobody", "truck-2"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "removed truck-1\nremoved truck-2\n");
    assert!(text(&output.stderr).contains("no device nobody"));
    assert!(refusal(dir, 1, &["devices", "show", "truck-1"]).contains("no device truck-1"));
}

#[test]
fn devices_of_an_agent_that_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    devices_come_and_go(dir.path());
}

#[test]
fn devices_of_an_agent_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path());
    devices_come_and_go(dir.path());
    let added = answer(dir.path(), &["devices", "add", "after"]);
    agent.stop();
    let list = answer(dir.path(), &["devices", "list"]);
    assert!(list.contains("after"), "{list}");
    assert!(added.contains("after"));
}

#[test]
fn a_killed_agents_directory_is_free_and_its_socket_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut killed = Agent::start(dir.path());
    answer(dir.path(), &["devices", "add", "a"]);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(dir.path().join("milepost-data/admin.sock").exists(), "left behind");
    answer(dir.path(), &["devices", "add", "b"]);
    let agent = Agent::start(dir.path());
    assert!(answer(dir.path(), &["devices", "list"]).ends_with("2 devices\n"));
    agent.stop();
}

#[test]
fn two_agents_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path());
    let error = refusal(dir.path(), 1, &["run"]);
    let pid = agent.child.id().to_string();
    assert!(
        error.contains("in use by another milepost process") && error.contains(&pid),
        "{error}"
    );
    agent.stop();
}

#[test]
fn many_devices_are_numbered_and_their_secrets_kept_in_a_private_file() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.ndjson");
    let add = |prefix: &str| {
        let args =
            ["devices", "add", "--count", "1000", "--prefix", prefix, "--keys", "keys.ndjson"];
        answer(dir.path(), &args)
    };
    assert_eq!(add("a-"), "added 1000 devices; secrets in keys.ndjson\n");
    add("b-");
    let mode = std::fs::metadata(&keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let lines = std::fs::read_to_string(&keys).unwrap();
    let names: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["device"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 2000);
    assert_eq!((names[0].as_str(), names[1999].as_str()), ("a-0001", "b-1000"));

    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = refusal(dir.path(), 1, &["devices", "add", "c", "--keys", "keys.ndjson"]);
    assert!(error.contains("chmod 600"), "{error}");
    let error = refusal(dir.path(), 1, &["devices", "show", "c"]);
    assert!(error.contains("no device c"), "nothing was added: {error}");
}

#[test]
fn names_come_from_a_file_or_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("names"), "# the first\nx-1\n\n  x-2  \n").unwrap();
    let added = answer(dir.path(), &["devices", "add", "--from", "names"]);
    assert_eq!(added.lines().count(), 2);
    let mut child = milepost(dir.path())
        .args(["devices", "add", "--from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"x-3\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(text(&output.stdout).contains("x-3"));
    std::fs::write(dir.path().join("names"), "x-4\nx 5\n").unwrap();
    let error = refusal(dir.path(), 1, &["devices", "add", "--from", "names"]);
    assert!(error.contains("names:2: `x 5`"), "{error}");
}

#[test]
fn check_shows_every_mistake_and_says_no() {
    let dir = tempfile::tempdir().unwrap();
    assert!(answer(dir.path(), &["check"]).contains("all defaults"));
    let path = dir.path().join("milepost.toml");
    std::fs::write(&path, "[listen]\nadress = 1\n[journal]\nsegment_mib = 0\n").unwrap();
    let error = refusal(dir.path(), 1, &["check"]);
    assert!(error.contains("milepost.toml:2:1: unknown key `adress` in [listen]"), "{error}");
    assert!(error.contains("did you mean `address`?"), "{error}");
    assert!(error.contains("milepost.toml:4:15: `segment_mib` is out of range"), "{error}");
    assert!(error.ends_with("2 errors\n"), "{error}");
    let json = text(&ask(dir.path(), &["check", "--json", "milepost.toml"]).stdout);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["line"], &first["column"]), (&2.into(), &1.into()));
    // Whatever else is asked, a file with mistakes is not used.
    assert!(refusal(dir.path(), 1, &["devices", "list"]).contains("adress"));
    std::fs::write(&path, "[journal]\nsegment_mib = 2\n").unwrap();
    assert!(answer(dir.path(), &["check"]).starts_with("ok: milepost.toml"));
    assert!(refusal(dir.path(), 1, &["check", "no-such.toml"]).contains("cannot read"));
}

#[test]
fn the_command_line_explains_itself() {
    let dir = tempfile::tempdir().unwrap();
    let help = answer(dir.path(), &["--help"]);
    assert!(help.contains("Exit codes:"), "{help}");
    assert!(!answer(dir.path(), &["run", "--help"]).contains("hold-unsynced"));
    assert!(answer(dir.path(), &["version"]).starts_with("milepost "));
    assert!(answer(dir.path(), &["version", "--json"]).contains("\"wire\":"));
    for wrong in [&["devices", "add"][..], &["devices", "add", "a b"], &["run", "--listen", "x"]] {
        refusal(dir.path(), 2, wrong);
    }
    refusal(dir.path(), 2, &["run", "--log", "=="]);
    refusal(dir.path(), 2, &["devices", "add", "a", "--count", "3"]);
    refusal(dir.path(), 2, &["devices", "add", "a", "--prefix", "x"]);
}

#[test]
fn what_is_not_there_is_not_made_by_looking() {
    let dir = tempfile::tempdir().unwrap();
    let error = refusal(dir.path(), 1, &["devices", "list"]);
    assert!(error.contains("there is no data directory milepost-data"), "{error}");
    assert!(!dir.path().join("milepost-data").exists());
    answer(dir.path(), &["devices", "add", "a", "--data-dir", "elsewhere"]);
    assert!(
        answer(dir.path(), &["--data-dir", "elsewhere", "devices", "list"]).contains("1 device\n")
    );
}

#[test]
fn a_backup_is_made_checked_and_restored_without_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    answer(dir, &["devices", "add", "a", "b", "--keys", "keys.ndjson"]);
    let said = answer(dir, &["backup", "copy.tar"]);
    assert!(said.contains("backup made: ") && said.contains("not in it: registry.key"), "{said}");
    assert!(answer(dir, &["backup", "verify", "copy.tar"]).starts_with("ok: copy.tar\n"));
    answer(dir, &["devices", "add", "c", "--keys", "keys.ndjson"]);
    let said = refusal(dir, 1, &["restore", "copy.tar"]);
    assert!(said.contains("not empty") && said.contains("--replace"), "{said}");
    let said = answer(dir, &["restore", "copy.tar", "--replace"]);
    assert!(
        said.contains("kept in place: registry.key") && said.contains("Start the agent"),
        "{said}"
    );
    let listed = answer(dir, &["devices", "list", "--json"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    // Elsewhere, without the key: it is said what is missing, and nothing opens without it.
    let said = answer(dir, &["restore", "copy.tar", "--to", "other"]);
    assert!(said.contains("other/registry.key"), "{said}");
    let said = refusal(dir, 1, &["devices", "list", "--data-dir", "other"]);
    assert!(said.contains("registry.key is missing"), "{said}");
    assert!(refusal(dir, 1, &["reload"]).contains("no agent runs"));
    assert!(
        refusal(dir, 1, &["backup", "none", "--data-dir", "nowhere"]).contains("no data directory")
    );
    refusal(dir, 2, &["backup"]);
}

#[test]
fn a_running_agent_reloads_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let agent = Agent::start(dir);
    assert!(answer(dir, &["reload"]).contains("nothing has changed"));
    let path = dir.join("milepost.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let more = "journal.segment_mib = 32\nlog.level = \"debug\"\n";
    std::fs::write(&path, format!("{text}{more}")).unwrap();
    let said = answer(dir, &["reload"]);
    assert!(said.contains("applied: log.level\nneeds a restart: journal.segment_mib\n"), "{said}");
    std::fs::write(&path, "listen.adress = 7\n").unwrap();
    let said = refusal(dir, 1, &["reload"]);
    assert!(said.contains("nothing was changed") && said.contains("did you mean"), "{said}");
    drop(agent);
}

/// Commands as root, on the directory of an agent that runs as somebody else. As another user this
/// is about one's own files, which is little.
#[test]
fn what_a_command_makes_belongs_to_the_directorys_owner() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("milepost-data");
    fs::create_dir_all(data.join("store/blocks")).unwrap();
    fs::write(data.join("store/blocks/000001.blk"), "").unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let own = fs::metadata(&data).unwrap();
    let (uid, gid) = if is_root { (4321, 8765) } else { (own.uid(), own.gid()) };
    for path in ["", "store", "store/blocks", "store/blocks/000001.blk"] {
        chown(data.join(path), Some(uid), Some(gid)).unwrap();
    }
    answer(dir.path(), &["devices", "add", "a"]);
    answer(dir.path(), &["vehicles", "assign", "bus", "a"]);
    answer(dir.path(), &["store", "rebuild"]);
    answer(dir.path(), &["store", "compact"]);
    answer(dir.path(), &["query", "SELECT 1"]);
    fs::write(data.join("store/blocks/000002.blk"), "").unwrap();
    refusal(dir.path(), 1, &["devices", "show", "b"]);
    let mut dirs = vec![data];
    let mut count = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid()), (uid, gid), "{}", path.display());
            count += 1;
            if found.is_dir() {
                dirs.push(path);
            }
        }
    }
    assert!(count > 8, "{count}");
}

#[test]
fn a_mosquitto_file_that_is_replaced_keeps_its_owner_group_and_mode() {
    let dir = tempfile::tempdir().unwrap();
    let write = ["devices", "acl", "mosquitto", "--out", "m"];
    answer(dir.path(), &["devices", "add", "a"]);
    answer(dir.path(), &write);
    let own = fs::metadata(dir.path()).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let (uid, gid) = if is_root { (own.uid(), 8765) } else { (own.uid(), own.gid()) };
    for name in ["m/milepost.acl", "m/milepost.passwd"] {
        let path = dir.path().join(name);
        chown(&path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    }
    answer(dir.path(), &["devices", "add", "b"]);
    answer(dir.path(), &write);
    for name in ["m/milepost.acl", "m/milepost.passwd"] {
        let found = fs::metadata(dir.path().join(name)).unwrap();
        let has = (found.uid(), found.gid(), found.permissions().mode() & 0o7777);
        assert_eq!(has, (uid, gid, 0o440), "{name}");
    }
    let passwords = fs::read_to_string(dir.path().join("m/milepost.passwd")).unwrap();
    assert!(passwords.contains("b:$7$"), "{passwords}");
}

#[test]
fn a_log_level_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = |level: &str| milepost(dir.path()).env("MILEPOST_LOG", level).arg("run").output();
    for level in ["chatty", "inof"] {
        let output = run(level).unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("neither a level (error, warn, info"), "{said}");
    }
    fs::write(dir.path().join("bad.toml"), b"[log]\nlevel = \"chatty\"").unwrap();
    let said = refusal(dir.path(), 1, &["check", "bad.toml"]);
    assert!(said.contains("bad.toml:2:9: `chatty` is no level"), "{said}");
    fs::write(dir.path().join("bad.toml"), b"[log]\n# \xff").unwrap();
    let output = ask(dir.path(), &["check", "--json", "bad.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("line 2 is not UTF-8\""), "{}", text(&output.stdout));
}
