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
fn a_check_says_what_is_left_out_on_purpose() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let thin = "thin = { dead_band_raw = 5, silence_ms = 60000 }";
    let text = format!("[[signal]]\npath = \"Vehicle.Speed\"\nrange = [0, 250]\n{thin}\n");
    std::fs::write(dir.join("signals.toml"), text).unwrap();
    let said = "Vehicle.Speed;dead_band=5;silence_ms=60000";
    let checked = answer(dir, &["signals", "check", "signals.toml"]);
    assert!(checked.ends_with(&format!("\n  left out on purpose: {said}\n")), "{checked}");
    let checked = json(&answer(dir, &["signals", "check", "signals.toml", "--json"]));
    assert_eq!(checked["thinning"], serde_json::json!([said]));
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

#[test]
fn a_dbc_becomes_a_catalogue_that_can_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("car.dbc"), DBC).unwrap();
    let (told, warned) = both(dir, &["signals", "import", "dbc", "car.dbc"]);
    assert!(told.starts_with("signals.toml: catalogue "), "{told}");
    assert!(told.ends_with(": 2 of 3 signals of car.dbc\n"), "{told}");
    let [turned, float] = warned.lines().collect::<Vec<_>>()[..] else { panic!("{warned}") };
    assert!(
        turned.starts_with("milepost: car.dbc:7: imu.Angle: its raw value is -1 x"),
        "{turned}"
    );
    assert_eq!(float, "milepost: car.dbc:8: imu.Heat: left out: an IEEE float, which has no steps");
    let written = fs::read_to_string(dir.join("signals.toml")).unwrap();
    assert!(
        written.starts_with("# From car.dbc, by `milepost signals import dbc`.\n"),
        "{written}"
    );
    let speed = "path = \"Vehicle.Private.imu.Speed\"\nunit = \"km/h\"\nstep = \"1/100\"\nrange = [0, 250]\n";
    assert!(written.contains(speed), "{written}");

    let args = ["signals", "import", "dbc", "car.dbc", "--signals", "*.Speed", "--signals", "x.*"];
    let args = [&args[..], &["--out", "speed.toml", "--json"]].concat();
    let (told, warned) = both(dir, &args);
    assert_eq!(warned, "milepost: car.dbc: no signal is like x.*\n");
    let told = json(&told);
    let checked = json(&answer(dir, &["signals", "check", "speed.toml", "--json"]));
    assert_eq!(
        (&told["catalogue"], &told["signals"], &told["bytes"]),
        (&checked["catalogue"], &checked["signals"], &checked["bytes"])
    );
    assert_eq!((&told["found"], &told["idle_patterns"]), (&3.into(), &json("[\"x.*\"]")));

    let json_of_all = json(&answer(dir, &["signals", "import", "dbc", "car.dbc", "--json"]));
    assert_eq!(json_of_all["left_out"][0]["signal"], "imu.Heat");
    assert_eq!(json_of_all["changed"][0]["line"], 7);
}

#[test]
fn a_catalogue_that_is_full_says_what_it_left_out_and_how_to_choose() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let signal = |at| format!(" SG_ S{at} : 0|8@1+ (1,0) [0|0] \"\" X\n");
    let signals = (0..70).map(signal).collect::<Vec<String>>().concat();
    fs::write(dir.join("wide.dbc"), format!("VERSION \"\"\n\nBU_: X\n\nBO_ 1 m: 8 X\n{signals}"))
        .unwrap();
    let (told, warned) = both(dir, &["signals", "import", "dbc", "wide.dbc"]);
    assert!(told.ends_with(": 64 of 70 signals of wide.dbc\n"), "{told}");
    assert_eq!(
        warned,
        "milepost: wide.dbc:70: m.S64 to m.S69, 6 signals, left out: a catalogue holds 64 signals \
         or 3700 bytes; choose others with --signals PATTERN\n"
    );
    answer(dir, &["signals", "check", "signals.toml"]);
    let (told, warned) = both(dir, &["signals", "import", "dbc", "wide.dbc", "--signals", "m.S6?"]);
    assert!(told.ends_with(": 10 of 70 signals of wide.dbc\n") && warned.is_empty(), "{warned}");
}

#[test]
fn what_is_no_dbc_or_has_no_signals_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("a.csv"), taxi("a")).unwrap();
    fs::write(dir.join("empty.dbc"), "VERSION \"\"\n\nBU_: X\n").unwrap();
    fs::write(dir.join("car.dbc"), DBC).unwrap();
    for (args, why) in [
        (&["none.dbc"][..], "cannot open none.dbc: No such file"),
        (&["a.csv"], "a.csv:1: no DBC: \"cab,latitude,longitude,occupancy,time\" cannot be read"),
        (&["empty.dbc"], "empty.dbc: a DBC without a signal"),
        (&["car.dbc", "--signals", "x.*"], "car.dbc: none of 3 signals is like x.*"),
        (&["car.dbc", "--signals", "imu.Heat"], "car.dbc: no signal that a catalogue could hold"),
    ] {
        let error = refusal(dir, 1, &[&["signals", "import", "dbc"], args].concat());
        assert!(error.contains(why), "{args:?}: {error}");
    }
    assert!(!dir.join("signals.toml").exists(), "nothing is written of what failed");
}
