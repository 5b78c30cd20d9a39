//! `milepost query` and `milepost store export`, as a person or a script meets them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: what is missing fails it"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use agent::privacy::Seat;
use agent::query::made::{Maker, Record};
use agent::store::block::{Entry, Run, Samples, Stream};
use agent::value::Amount;
use agent::vehicles::Belonging;
use protocol::{Catalogue, Clock, Lane, RingId, Seq, Signal, Step};
use rustix::thread::CapabilitySet;
use tempfile::TempDir;

/// 2026-11-21T07:00:00Z in seconds.
const SEVEN_S: i64 = 1_795_244_400;

/// A data directory with a store in it: two trucks, an hour, a sample a second.
fn made() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(&dir.path().join("milepost-data/store")).unwrap();
    let step = Step::new(1, 10);
    let signals = [Signal { path: "Vehicle.Speed", unit: "km/h", step, raw_min: 0, raw_max: 3000 }];
    let catalogue = maker.catalogue(&Catalogue::new(1000, &signals)).unwrap();
    let belonging = Belonging { group: Some("night".parse().unwrap()), ..Belonging::default() };
    let seat = Seat { vehicle: Some("bus 7".into()), belonging };
    let seat = maker.seat(&seat).unwrap();
    for truck in 1..=2_u8 {
        let stream = Stream {
            device: format!("truck-{truck}").parse().unwrap(),
            ring: RingId([truck; 16]),
            lane: Lane::Bulk,
            catalogue,
            tick_ms: 1000,
            boot: None,
            seat: (truck == 1).then_some(seat),
        };
        let clock = Clock::Reference;
        let run = Run { seq: Seq(1), received_ms: 0, clock, boot: 1, origin: None };
        let entries = (0..3600_u32).map(|ordinal| Entry {
            tick: SEVEN_S + i64::from(ordinal),
            amount: Amount::Steps(i64::from(ordinal % 1300)),
            ordinal,
            run: 0,
            column: 0,
        });
        let samples = Samples { runs: vec![run], entries: entries.collect(), exacts: Vec::new() };
        maker.block(&stream, &samples, 1, None).unwrap();
        let message = "brake pad \\u001b[31mworn";
        maker
            .record(&Record {
                stream: &stream,
                kind: 1,
                seq: 2,
                ordinal: 0,
                time_ms: Some(SEVEN_S * 1000),
                document: &format!("{{\"data\":{{\"message\":\"{message}\"}}}}"),
                log: Some(("chassis", "brake pad worn")),
            })
            .unwrap();
    }
    maker.finish().unwrap();
    dir
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milepost"));
    command.current_dir(dir).env_clear().stdin(Stdio::null()).args(args);
    command
}

fn ask(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

fn answer(dir: &Path, args: &[&str]) -> String {
    let output = ask(dir, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn refusal(dir: &Path, code: i32, args: &[&str]) -> String {
    let output = ask(dir, args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_example_of_the_help_answers() {
    let dir = made();
    let help = answer(dir.path(), &["query", "--help"]);
    let examples: Vec<&str> = help
        .split("milepost query \"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"').map(|(sql, _)| sql))
        .collect();
    assert_eq!(examples.len(), 9, "{help}");
    for sql in &examples {
        let lines = answer(dir.path(), &["query", sql]).lines().count();
        // What is about losses or about now finds none in this store.
        let is_empty = sql.contains("losses") || sql.contains("'now'");
        assert_eq!(lines == 1, is_empty, "{sql}");
    }
    assert!(help.contains("docs/queries.md"));
}

#[test]
fn formats() {
    let dir = made();
    let sql = "SELECT device, time, value, NULL AS empty FROM samples \
               WHERE time < '2026-11-21T07:00:01Z' ORDER BY device";
    assert_eq!(
        answer(dir.path(), &["query", sql]),
        "device   time                      value  empty\n\
         truck-1  2026-11-21T07:00:00.000Z    0.0  NULL\n\
         truck-2  2026-11-21T07:00:00.000Z    0.0  NULL\n"
    );
    assert_eq!(
        answer(dir.path(), &["query", "--format", "csv", sql]),
        "device,time,value,empty\n\
         truck-1,2026-11-21T07:00:00.000Z,0.0,\n\
         truck-2,2026-11-21T07:00:00.000Z,0.0,\n"
    );
    let json = answer(dir.path(), &["query", "--json", sql]);
    let first = "{\"device\":\"truck-1\",\"time\":\"2026-11-21T07:00:00.000Z\",\"value\":0.0,\
                 \"empty\":null}";
    assert_eq!(json.lines().next(), Some(first));
    let array = answer(dir.path(), &["query", "--format", "json-array", sql]);
    let array: serde_json::Value = serde_json::from_str(&array).unwrap();
    assert_eq!(array.as_array().unwrap().len(), 2);
    // What a device sent commands no terminal.
    let shown = answer(dir.path(), &["query", "SELECT message FROM logs WHERE device = 'truck-1'"]);
    assert_eq!(shown, "message\nbrake pad \\u{1b}[31mworn\n");
}

#[test]
fn a_query_comes_from_standard_input_too() {
    let dir = made();
    let mut child = command(dir.path(), &["query", "--format", "csv", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"SELECT count(*) AS n\nFROM samples;\n").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "n\n7200\n");
}

#[test]
fn what_fails_says_why() {
    let dir = made();
    let error = refusal(dir.path(), 1, &["query", "SELECT tmie FROM samples"]);
    let place = "milepost: no such column: tmie\n  SELECT tmie FROM samples\n         ^\n";
    assert_eq!(error, place);
    let error = refusal(dir.path(), 1, &["query", "DELETE FROM blocks"]);
    assert!(error.contains("DELETE would delete from blocks: a query only reads."), "{error}");
    let error = refusal(dir.path(), 1, &["query", "SELECT * FROM samples", "--max-rows", "3"]);
    assert!(error.contains("there are more rows than the 3 asked for"), "{error}");
    let shown = ask(dir.path(), &["query", "SELECT * FROM signals", "--max-rows", "0"]);
    assert_eq!((shown.status.code(), text(&shown.stdout).lines().count()), (Some(1), 1));
    let never =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let error = refusal(dir.path(), 1, &["query", never, "--timeout", "100ms"]);
    assert!(error.contains("took longer than it may (--timeout)"), "{error}");
    let large = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                 SELECT group_concat(i) FROM n";
    let error = refusal(dir.path(), 1, &["query", large, "--max-memory", "4MiB"]);
    assert!(error.contains("more memory than it may have (--max-memory)"), "{error}");
    for wrong in [
        &["query"][..],
        &["query", "SELECT 1", "--timeout", "soon"],
        &["query", "SELECT 1", "--max-memory", "1B"],
    ] {
        refusal(dir.path(), 2, wrong);
    }
}

#[test]
fn a_damaged_block_fails_a_query_unless_it_is_to_be_left_out() {
    let dir = made();
    let path = dir.path().join("milepost-data/store/blocks/000001.blk");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let sql = "SELECT device, count(value) FROM samples GROUP BY device";
    let error = refusal(dir.path(), 1, &["query", sql]);
    assert!(error.contains("3600 samples of device truck-2 from 2026-11-21T07:00"), "{error}");
    assert!(error.contains("store check") && error.contains("store rebuild"), "{error}");
    assert!(error.ends_with("ask with --skip-damaged\n"), "{error}");
    let output = ask(dir.path(), &["query", "--format", "csv", "--skip-damaged", sql]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "device,count(value)\ntruck-1,3600\n");
    let said = text(&output.stderr);
    let begin = "milepost: left out of the answer: 1 block with 3600 samples; it is block ";
    assert!(said.starts_with(begin) && said.lines().count() == 1, "{said}");
    let output = ask(dir.path(), &["query", "--skip-damaged", "SELECT * FROM rollup_1h"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn where_there_is_no_store_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["query", "SELECT 1"][..], &["store", "export"]] {
        let error = refusal(dir.path(), 1, args);
        assert!(error.contains("add a sink of type \"store\""), "{error}");
    }
    assert!(!dir.path().join("milepost-data").exists(), "looking makes nothing");
}

/// Every way to look at a store, and every way to work on it.
const ON_A_STORE: [&[&str]; 5] = [
    &["query", "SELECT count(*) FROM devices"],
    &["store", "check"],
    &["store", "export"],
    &["store", "compact"],
    &["store", "rebuild"],
];

/// Every file below a directory, with what is in it.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn what_a_newer_version_wrote_is_refused_and_left_alone() {
    let dir = made();
    let data = dir.path().join("milepost-data");
    let format = data.join("format.json");
    for (newer, what) in [
        (r#"{"milepost":"9.9.9","format":9,"parts":{}}"#, "data directory has format 9"),
        (r#"{"milepost":"9.9.9","format":2,"parts":{"store":7}}"#, "store has format 7"),
    ] {
        fs::write(&format, newer).unwrap();
        let before = content(&data);
        for args in ON_A_STORE {
            let error = refusal(dir.path(), 1, args);
            assert!(error.contains("milepost 9.9.9") && error.contains(what), "{args:?}: {error}");
            assert!(content(&data) == before, "{args:?} changed something");
        }
    }
    fs::remove_file(&format).unwrap();
    let index = rusqlite::Connection::open(data.join("store/store.db")).unwrap();
    index.pragma_update(None, "user_version", 9).unwrap();
    index.close().unwrap();
    let index = fs::read(data.join("store/store.db")).unwrap();
    for args in ON_A_STORE {
        let error = refusal(dir.path(), 1, args);
        assert!(error.contains("later version of milepost (format 9"), "{args:?}: {error}");
        assert_eq!(fs::read(data.join("store/store.db")).unwrap(), index, "{args:?}");
    }
}

#[test]
fn an_index_that_is_gone_or_damaged_is_made_anew() {
    let dir = made();
    let index = dir.path().join("milepost-data/store/store.db");
    let rebuild = "`milepost store rebuild`";
    let damaged = rusqlite::Connection::open(&index).unwrap();
    damaged
        .execute_batch(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_master SET sql = 'CREATE TABLE devices(' WHERE name = 'devices'",
        )
        .unwrap();
    damaged.close().unwrap();
    for args in &ON_A_STORE[..3] {
        let error = refusal(dir.path(), 1, args);
        assert!(error.contains("malformed") && error.contains(rebuild), "{args:?}: {error}");
    }
    fs::remove_file(&index).unwrap();
    for args in &ON_A_STORE[..4] {
        let error = refusal(dir.path(), 1, args);
        assert!(error.contains("is missing") && error.contains(rebuild), "{args:?}: {error}");
        assert!(!error.contains("add a sink"), "{args:?}: {error}");
    }
    assert!(!index.exists());
    answer(dir.path(), &["store", "rebuild"]);
    answer(dir.path(), &["store", "check"]);
}

/// The command as one who is bound by what files' modes say: root too, without the right to
/// override them. (As another user it might not get as far as the binary.)
fn unprivileged(dir: &Path, args: &[&str]) -> Output {
    let bound = || {
        if rustix::process::geteuid().is_root() {
            // What a thread of its own gives up, nothing else loses.
            for right in [CapabilitySet::DAC_OVERRIDE, CapabilitySet::DAC_READ_SEARCH] {
                rustix::thread::remove_capability_from_bounding_set(right).unwrap();
            }
        }
        command(dir, args).output().unwrap()
    };
    std::thread::scope(|scope| scope.spawn(bound).join().unwrap())
}

#[test]
fn who_may_not_read_is_told_so_and_not_that_the_store_is_damaged() {
    let dir = made();
    let data = dir.path().join("milepost-data");
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let refused = |args: &[&str], what: &str| {
        let output = unprivileged(dir.path(), args);
        let (said, answered) = (text(&output.stderr), text(&output.stdout));
        assert_eq!(output.status.code(), Some(1), "{args:?}: {answered}");
        for part in ["cannot read", "Permission denied", "user ", " may not", what] {
            assert!(said.contains(part), "{args:?}: {said}");
        }
        assert!(!said.contains("add a sink") && !said.contains("rebuild"), "{args:?}: {said}");
        assert_eq!(answered, "", "{args:?}");
    };
    allow(dir.path(), 0o755);
    allow(&data, 0o777);
    allow(&data.join("store"), 0o777);
    allow(&data.join("store/store.db"), 0o666);
    let block = data.join("store/blocks/000001.blk");
    allow(&block, 0o000);
    let output = unprivileged(dir.path(), &["store", "check"]);
    let said = text(&output.stderr);
    for part in ["000001.blk: Permission denied", "user ", " may not"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("rebuild") && !text(&output.stdout).contains("wrong"), "{said}");
    allow(&block, 0o644);
    allow(&data.join("store/store.db"), 0o000);
    for args in &ON_A_STORE[..3] {
        refused(args, "store.db");
    }
    allow(&data, 0o000);
    for args in ON_A_STORE {
        refused(args, "format.json");
    }
    allow(&data, 0o755);
}

#[test]
fn ctrl_c_ends_a_query() {
    let dir = made();
    let never = "SELECT 1 UNION ALL SELECT count(*) FROM samples a, samples b, samples c";
    let mut child = command(dir.path(), &["query", "--timeout", "0s", "--json", never])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    // Until it is watched, SIGINT ends it the hard way: it is sent again until it has ended.
    let status = loop {
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(!status.success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    if status.code().is_some() {
        assert_eq!(status.code(), Some(1));
        assert!(said.contains("the query was stopped"), "{said}");
    }
}

#[test]
fn whoever_reads_may_stop_reading() {
    let dir = made();
    for args in [&["query", "--format", "csv", "SELECT * FROM samples"][..], &["store", "export"]] {
        let mut child = command(dir.path(), args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    }
}

#[test]
fn a_store_is_exported_as_documents() {
    let dir = made();
    let all = answer(dir.path(), &["store", "export"]);
    assert_eq!(all.lines().count(), 2 * 3601);
    let first: serde_json::Value = serde_json::from_str(all.lines().next().unwrap()).unwrap();
    assert_eq!(first["id"], format!("truck-1/{}/1/0", RingId([1; 16])));
    assert_eq!(first["data"]["Vehicle.Speed"], 0);
    let one = answer(dir.path(), &["store", "export", "--device", "truck-2"]);
    assert_eq!(one.lines().count(), 3601);
}
