//! What the batch codec must reach on the recordings, that the peers are measured as they deserve, and
//! what a wrong question is answered.
#![allow(clippy::unwrap_used, reason = "a test's helpers are not known as such by the lint")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;

/// Bytes a sample at most: set, seconds, each message alone, chained.
const BARS: [(&str, u64, f64, f64); 13] = [
    ("obd_car", 60, 0.78, 0.71),
    ("ev_twizy", 60, 0.22, 0.185),
    ("box", 60, 0.78, 0.74),
    ("imu", 60, 0.330, 0.325),
    ("taxi", 600, 1.40, 1.08),
    ("obd_car", 10, 1.05, f64::MAX),
    ("ev_twizy", 10, 0.45, f64::MAX),
    ("box", 10, 0.95, f64::MAX),
    ("imu", 10, 0.335, f64::MAX),
    ("obd_car", 1, 2.8, f64::MAX),
    ("ev_twizy", 1, 2.8, f64::MAX),
    ("box", 1, 2.6, f64::MAX),
    ("imu", 1, 0.365, f64::MAX),
];

/// Bytes a sample of Sparkplug B + zlib in its MQTT packet, over ours, sealed and in its own: at least.
const SEALED: [(&str, u64, f64); 5] = [
    ("obd_car", 60, 5.0),
    ("ev_twizy", 60, 5.0),
    ("box", 60, 5.0),
    ("imu", 60, 5.0),
    ("taxi", 600, 3.5),
];

/// What the peers take by `results.md` of `wire-reference`, in bytes a sample: those that are measured
/// fast. Of each set messages of 1, 10 and 60 s, of the taxis messages of 600 s.
const PEERS: [(&str, OfSets); 6] = [
    (
        "json samples + gzip",
        [
            ("obd_car", &[18.930, 7.007, 5.869]),
            ("ev_twizy", &[19.800, 5.026, 3.885]),
            ("box", &[13.914, 6.135, 5.269]),
            ("imu", &[4.041, 3.940, 3.928]),
            ("taxi", &[7.944]),
        ],
    ),
    (
        "otlp + gzip",
        [
            ("obd_car", &[29.678, 9.401, 6.738]),
            ("ev_twizy", &[31.228, 7.409, 4.505]),
            ("box", &[21.176, 7.529, 5.949]),
            ("imu", &[4.040, 4.131, 4.971]),
            ("taxi", &[13.336]),
        ],
    ),
    (
        "fleetwise proto + snappy",
        [
            ("obd_car", &[19.973, 9.169, 7.861]),
            ("ev_twizy", &[24.046, 8.643, 6.551]),
            ("box", &[14.544, 8.732, 7.776]),
            ("imu", &[6.192, 5.921, 5.805]),
            ("taxi", &[13.682]),
        ],
    ),
    (
        "sparkplug b + zlib",
        [
            ("obd_car", &[11.243, 5.649, 4.651]),
            ("ev_twizy", &[12.747, 4.748, 3.569]),
            ("box", &[9.039, 5.241, 4.665]),
            ("imu", &[2.955, 2.869, 2.855]),
            ("taxi", &[9.458]),
        ],
    ),
    (
        "gorilla float32",
        [
            ("obd_car", &[7.409, 2.547, 2.051]),
            ("ev_twizy", &[8.571, 1.553, 0.842]),
            ("box", &[7.675, 2.831, 2.239]),
            ("imu", &[0.949, 0.995, 1.110]),
            ("taxi", &[4.858]),
        ],
    ),
    (
        "MCU rice, each message alone",
        [
            ("obd_car", &[3.455, 1.616, 1.362]),
            ("ev_twizy", &[3.920, 1.114, 0.838]),
            ("box", &[4.381, 2.302, 2.023]),
            ("imu", &[0.458, 0.409, 0.405]),
            ("taxi", &[1.794]),
        ],
    ),
];
/// Of each set, by length of message.
type OfSets = [(&'static str, &'static [f64]); 5];
/// How far from there a peer may be.
const PEER_OFF: f64 = 0.02;

fn recordings() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let dir = std::env::var_os("MILEPOST_DATA").map_or_else(beside, PathBuf::from);
    dir.join("small").is_dir().then_some(dir)
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_milepost-bench")).args(arguments).output().unwrap()
}

/// What the bench says of the recordings; measured once, for all tests.
struct Figures {
    /// Of messages of 1, 10 and 60 s.
    fast: Value,
    /// Of the taxis.
    slow: Value,
}

static FIGURES: LazyLock<Option<Figures>> = LazyLock::new(|| {
    let Some(data) = recordings() else {
        eprintln!("SKIPPED: no recordings (set MILEPOST_DATA to the folder that has small/)");
        return None;
    };
    let measure = |sets: &str, seconds: &str| {
        let data = data.to_str().unwrap();
        let mut options = vec!["--data", data, "--set", sets, "--seconds", seconds];
        options.extend(["--repeat", "1", "--json"]);
        options.extend(PEERS.iter().flat_map(|(peer, _)| ["--peer", peer]));
        let said = bench(&options);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        serde_json::from_slice(&said.stdout).unwrap()
    };
    Some(Figures {
        fast: measure("obd_car,ev_twizy,box,imu", "1,10,60"),
        slow: measure("taxi", "60"),
    })
});

impl Figures {
    /// Those of a set's messages of so many seconds.
    fn of(&self, set: &str, seconds: u64) -> &Value {
        let said = if set == "taxi" { &self.slow } else { &self.fast };
        let of_set = find(&said["sets"], "set", &set.into());
        find(&of_set["lengths"], "seconds", &seconds.into())
    }

    fn bytes_per_sample(&self, set: &str, seconds: u64, row: &str) -> f64 {
        let row = find(&self.of(set, seconds)["rows"], "encoding", &row.into());
        row["bytes_per_sample"].as_f64().unwrap()
    }
}

fn find<'a>(of: &'a Value, key: &str, is: &Value) -> &'a Value {
    of.as_array().unwrap().iter().find(|one| one[key] == *is).unwrap()
}

#[test]
fn the_codec_is_within_its_bars_on_the_recordings() {
    let Some(figures) = &*FIGURES else { return };
    assert!(figures.fast["encoder_bytes_10"].as_u64().unwrap() <= 4096);
    assert!(figures.fast["encoder_bytes_22"].as_u64().unwrap() <= 6144);
    for (set, seconds, alone, chained) in BARS {
        for (row, bar) in [("milepost, each message alone", alone), ("milepost, chained", chained)]
        {
            let bytes = figures.bytes_per_sample(set, seconds, row);
            assert!(bytes <= bar, "{set}, {seconds} s: {bytes} of {bar}");
        }
    }
    for (set, seconds, bar) in SEALED {
        let ratio = figures.of(set, seconds)["sealed_ratio"].as_f64().unwrap();
        assert!(ratio >= bar, "{set}, {seconds} s, sealed: {ratio} times smaller, of {bar}");
    }
}

#[test]
fn the_peers_take_what_the_reference_says() {
    let Some(figures) = &*FIGURES else { return };
    for (peer, sets) in PEERS {
        for (set, reference) in sets {
            let seconds = if set == "taxi" { &[600][..] } else { &[1, 10, 60] };
            for (seconds, reference) in seconds.iter().zip(reference) {
                let bytes = figures.bytes_per_sample(set, *seconds, peer);
                let off = bytes / reference - 1.0;
                assert!(off.abs() <= PEER_OFF, "{peer}, {set}, {seconds} s: {bytes}, {reference}");
            }
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
    let said = bench(&["--data", "/nowhere", "--peer", "morse"]);
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && error.contains("sparkplug b + zlib"), "{error}");
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
