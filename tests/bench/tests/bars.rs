//! What the batch codec must reach on the recordings, and what a wrong question is answered.
#![allow(clippy::unwrap_used, reason = "a test's helpers are not known as such by the lint")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Bytes a sample at most: set, seconds, each message alone, chained.
const BARS: [(&str, u64, f64, f64); 9] = [
    ("obd_car", 60, 0.78, 0.71),
    ("ev_twizy", 60, 0.22, 0.185),
    ("box", 60, 0.78, 0.74),
    ("imu", 60, 0.330, 0.325),
    ("taxi", 600, 1.40, 1.08),
    ("obd_car", 10, 1.05, f64::MAX),
    ("ev_twizy", 10, 0.45, f64::MAX),
    ("box", 10, 0.95, f64::MAX),
    ("imu", 10, 0.335, f64::MAX),
];

fn recordings() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let dir = std::env::var_os("MILEPOST_DATA").map_or_else(beside, PathBuf::from);
    dir.join("small").is_dir().then_some(dir)
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_milepost-bench")).args(arguments).output().unwrap()
}

#[test]
fn the_codec_is_within_its_bars_on_the_recordings() {
    let Some(data) = recordings() else {
        eprintln!("SKIPPED: no recordings (set MILEPOST_DATA to the folder that has small/)");
        return;
    };
    let data = data.to_str().unwrap();
    let said = bench(&["--data", data, "--ours", "--seconds", "10,60", "--repeat", "1", "--json"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert!(said["encoder_bytes_10"].as_u64().unwrap() <= 4096);
    assert!(said["encoder_bytes_22"].as_u64().unwrap() <= 6144);
    let find = |of: &Value, key: &str, is: &Value| {
        of.as_array().unwrap().iter().find(|one| one[key] == *is).cloned().unwrap_or_default()
    };
    for (set, seconds, alone, chained) in BARS {
        let of_set = find(&said["sets"], "set", &set.into());
        let length = find(&of_set["lengths"], "seconds", &seconds.into());
        for (row, bar) in [("milepost, each message alone", alone), ("milepost, chained", chained)]
        {
            let row = find(&length["rows"], "encoding", &row.into());
            let bytes = row["bytes_per_sample"].as_f64().unwrap_or(f64::NAN);
            assert!(bytes <= bar, "{set}, {seconds} s: {bytes} of {bar}");
        }
    }
}

#[test]
fn what_is_no_recording_is_said_by_name() {
    let said = bench(&["--data", "/nowhere/at/all.csv"]);
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && error.contains("/nowhere/at/all.csv"), "{error}");
    let said = bench(&["--data", concat!(env!("CARGO_MANIFEST_DIR"), "/src")]);
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && error.contains("no samples in"), "{error}");
}

#[test]
fn all_rows_are_measured_and_their_ratios_are_to_sparkplug() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("taxi.csv");
    let mut rows = "cab,latitude,longitude,occupancy,time\n".to_owned();
    for minute in 0..300 {
        let time = 1_211_000_000 + 60 * minute;
        let (north, east) = (minute, minute * 3 % 999);
        writeln!(rows, "abc,37.7{north:03},-122.4{east:03},{},{time}", minute % 2).unwrap();
    }
    std::fs::write(&file, rows).unwrap();
    let said = bench(&["--data", file.to_str().unwrap(), "--seconds", "60", "--json"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    let length = &said["sets"][0]["lengths"][0];
    assert_eq!((&said["sets"][0]["set"], &length["seconds"]), (&"taxi".into(), &600.into()));
    let rows = length["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 15);
    let of = |row: &Value, key: &str| row[key].as_f64().unwrap();
    let peer = rows.iter().find(|row| row["encoding"] == "sparkplug b + zlib").unwrap();
    for row in rows {
        let ratio = of(peer, "bytes_per_sample") / of(row, "bytes_per_sample");
        assert!((of(row, "ratio") - ratio).abs() < 1e-9, "{row}");
    }
}
