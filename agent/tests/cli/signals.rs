//! `milepost signals`: from recordings or a DBC to a signals.toml that can be checked.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::{answer, refusal, text};

const DBC: &str = "VERSION \"\"\n\nBU_: X\n\n\
    BO_ 9 imu: 8 X\n \
    SG_ Speed : 0|16@1+ (0.01,0) [0|250] \"km/h\" X\n \
    SG_ Angle : 16|16@1- (-0.1,0) [-100|100] \"deg\" X\n \
    SG_ Heat : 32|32@1- (1,0) [0|0] \"degC\" X\n\n\
    SIG_VALTYPE_ 9 Heat : 1;\n";

/// Fixes of a taxi, one a minute.
fn taxi(cab: &str) -> String {
    let mut rows = "cab,latitude,longitude,occupancy,time\n".to_owned();
    for fix in 0..200 {
        let (latitude, longitude) = (3_765_273 + 7 * fix, 12_240_682 - 3 * fix);
        let (second, is_occupied) = (1_211_267_046 + 60 * fix, fix / 20 % 2);
        writeln!(
            rows,
            "{cab},{}.{:05},-{}.{:05},{is_occupied},{second}",
            latitude / 100_000,
            latitude % 100_000,
            longitude / 100_000,
            longitude % 100_000,
        )
        .unwrap();
    }
    rows
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// Both outputs; it must succeed.
fn both(dir: &Path, args: &[&str]) -> (String, String) {
    let output = super::ask(dir, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_catalogue_is_learnt_of_recordings_and_can_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("a.csv"), taxi("a")).unwrap();
    fs::write(dir.join("b.csv"), taxi("b") + "b,x,0,0,0\n").unwrap();
    let (told, warned) = both(dir, &["signals", "learn", "a.csv", "b.csv"]);
    assert!(told.starts_with("1200 samples; "), "{told}");
    assert!(told.contains("\n  Vehicle.CurrentLocation.Latitude: "), "{told}");
    let row = "milepost: 1 row(s) or values left out, the first at b.csv:202: no cab,";
    assert!(warned.starts_with(row) && warned.lines().count() == 1, "{warned}");
    let checked = answer(dir, &["signals", "check", "signals.toml"]);
    assert!(checked.contains("3 signals, with what was learnt of them"), "{checked}");
    assert!(!dir.join("milepost-data").exists());

    let args = ["signals", "learn", "a.csv", "--batch", "10m", "--out", "x.toml", "--json"];
    let found = json(&answer(dir, &args));
    assert_eq!((&found["samples"], &found["signals"]), (&600.into(), &3.into()));
    assert_eq!(found["start_table"], true);
    let checked = json(&answer(dir, &["signals", "check", "x.toml", "--json"]));
    assert_eq!(checked["catalogue"], found["catalogue"]);
}

#[test]
fn what_cannot_be_learnt_of_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (name, content) in [
        ("taxi.csv", taxi("a").as_str()),
        ("empty.csv", ""),
        ("rows.csv", "cab,latitude,longitude,occupancy,time\n"),
        ("other.csv", "a,b\n1,2\n"),
        ("can.log", "(10.016999) can2 009#0D03\n"),
        ("can.dbc", DBC),
        ("more.log", "(10.016999) can2 009#0D030000\n"),
        ("bare.log", "(10.016999) can2 009#0D03\n"),
        ("bad.log", "(10.016999) can2 009#0D03\n"),
        ("bad.dbc", "VERSION \"\"\nBO_ nonsense\n"),
    ] {
        fs::write(dir.join(name), content).unwrap();
    }
    fs::write(dir.join("more.dbc"), DBC).unwrap();
    for (files, why) in [
        (&["none.csv"][..], "cannot open none.csv: No such file"),
        (&["empty.csv"], "empty.csv: an empty file"),
        (&["rows.csv"], "no samples in rows.csv"),
        (&["other.csv"], "other.csv: no kind of recording that is known"),
        (&["bare.log"], "there is no bare.dbc; name one with --dbc FILE"),
        (&["bad.log"], "bad.dbc:2: no DBC: \"BO_ nonsense\" cannot be read"),
        (&["taxi.csv", "can.log"], "taxi.csv is a taxi CSV, can.log a CAN log: learn of each"),
        (&["can.log", "more.log"], "can and more have other signals"),
        (&["taxi.csv", "--out", "no/such/dir.toml"], "cannot write no/such/dir.toml"),
    ] {
        let error = refusal(dir, 1, &[&["signals", "learn"], files].concat());
        assert!(error.contains(why), "{files:?}: {error}");
    }
    assert!(!dir.join("signals.toml").exists(), "nothing is written of what failed");
    for wrong in ["0s", "5", "soon"] {
        let error = refusal(dir, 2, &["signals", "learn", "taxi.csv", "--batch", wrong]);
        assert!(error.contains("is no duration like"), "{error}");
    }
    let args = ["signals", "learn", "can.log", "more.log", "--signals", "*.Speed"];
    assert!(answer(dir, &args).starts_with("2 samples; "));
}
