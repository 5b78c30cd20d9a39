//! Standard output that nobody reads any more.
#![allow(clippy::unwrap_used, reason = "scenario code: a failure is the test's result")]

use std::io;
use std::process::{Command, Output};

/// Runs it with a standard output whose reader is gone.
fn unheard(args: &[&str]) -> Output {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_milepost-sim"));
    command.args(args).stdout(writer).output().unwrap()
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/vans.toml");
    let dir = tempfile::tempdir().unwrap();
    let (sink, out) = (dir.path().join("sink.ndjson"), dir.path().join("out.mprec"));
    std::fs::write(&sink, "").unwrap();
    let (sink, out) = (sink.to_str().unwrap(), out.to_str().unwrap());
    let wanted: [&[&str]; 5] = [
        &["devices", "--vehicles", "20000"],
        &["scenario", "check", scenario],
        &["scenario", "describe", scenario],
        &["show", scenario, "--for", "60s"],
        &["record", "--from", sink, "--out", out],
    ];
    for args in wanted {
        let Output { status, stderr, .. } = unheard(args);
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.success() && said.is_empty(), "{args:?}: {status}, {said}");
    }
    // What was found counts, heard or not.
    let verify = ["verify", "--synthetic", "--vehicles", "1", "--sink", sink];
    let Output { status, stderr, .. } = unheard(&verify);
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.code() == Some(1) && !said.contains("panicked"), "{status}, {said}");
}

#[test]
fn a_cause_is_said_once() {
    for args in [
        &["show", "/nonexistent/taxi.csv"][..],
        &["run", "--vehicles", "1", "--keys", "/nonexistent/keys", "--connect", "127.0.0.1:1"],
    ] {
        let Output { status, stderr, .. } = unheard(args);
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(2), "{args:?}: {said}");
        assert_eq!(said.matches("No such file").count(), 1, "{args:?}: {said}");
    }
}
