//! `milepost vehicles`.

use super::*;

fn vehicles(dir: &Path, args: &[&str]) -> String {
    answer(dir, &[&["vehicles"], args].concat())
}

fn denied(dir: &Path, args: &[&str]) -> String {
    refusal(dir, 1, &[&["vehicles"], args].concat())
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap()
}

fn a_fleet_lives(dir: &Path) {
    answer(dir, &["devices", "add", "u-1", "u-2", "u-3"]);
    let assigned =
        vehicles(dir, &["assign", "bus 7", "u-1", "--from", "2026-01-01", "--group", "night"]);
    assert_eq!(assigned, "u-1 sits in bus 7\n");
    let error = denied(dir, &["assign", "van", "u-1", "--from", "2026-02-01"]);
    assert!(error.contains("sits in vehicle bus 7 since 2026-01-01T00:00:00.000Z"), "{error}");
    vehicles(
        dir,
        &["swap", "bus 7", "--out", "u-1", "--in", "u-2", "--at", "2026-03-01T10:00+01:00"],
    );
    let error = denied(dir, &["swap", "bus 7", "--out", "u-1", "--in", "u-3"]);
    assert!(error.contains("u-1 does not sit in vehicle bus 7"), "{error}");
    vehicles(
        dir,
        &["set", "bus 7", "--label", "The old one", "--region", "north", "--at", "2026-04-01"],
    );
    let shown = vehicles(dir, &["show", "bus 7"]);
    let rows: Vec<Vec<&str>> =
        shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[8], ["DEVICE", "FROM", "TO", "GROUP", "TENANT", "REGION"]);
    assert_eq!(rows[9], ["u-1", "2026-01-01T00:00:00Z", "2026-03-01T09:00:00Z", "night", "-", "-"]);
    assert_eq!(
        rows[10],
        ["u-2", "2026-03-01T09:00:00Z", "2026-04-01T00:00:00Z", "night", "-", "-"]
    );
    assert_eq!(rows[11], ["u-2", "2026-04-01T00:00:00Z", "now", "night", "-", "north"]);
    vehicles(dir, &["assign", "van", "u-3", "--from", "always", "--json"]);
    let list = vehicles(dir, &["list"]);
    assert!(list.contains("The old one") && list.ends_with("2 vehicles\n"), "{list}");
    let listed = vehicles(dir, &["list", "--json"]);
    let bus = json(listed.lines().next().unwrap());
    assert_eq!((&bus["vehicle"], &bus["region"]), (&"bus 7".into(), &"north".into()));
    assert_eq!(bus["assignments"].as_array().unwrap().len(), 3);

    let done = vehicles(dir, &["decommission", "bus 7", "--at", "2026-05-01"]);
    assert_eq!(done, "decommissioned bus 7; in no vehicle now: u-2\n");
    assert!(denied(dir, &["assign", "bus 7", "u-1"]).contains("was decommissioned"));
    vehicles(dir, &["release", "van", "u-3"]);
    assert!(denied(dir, &["remove", "van"]).contains("1 assignments that would be forgotten"));
    assert_eq!(vehicles(dir, &["remove", "van", "--force"]), "removed van, 1 assignment\n");
    assert!(denied(dir, &["show", "van"]).contains("no vehicle van"));
}

#[test]
fn vehicles_of_an_agent_that_does_not_run() {
    a_fleet_lives(tempfile::tempdir().unwrap().path());
}

#[test]
fn vehicles_of_an_agent_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path());
    a_fleet_lives(dir.path());
    agent.stop();
    assert!(vehicles(dir.path(), &["list"]).ends_with("1 vehicle\n"));
}

const BAD: &str = "\
vehicle;device;from;to;region
v1;u-1;2026-01-01;2026-02-01;north
v1;u 2;2026-01-01;;
;u-3;soon;;
v2;u-1;2026-01-15;;
v2;u-4;2026-02-01;2026-01-01;
v2;u-5
";

#[test]
fn an_import_names_every_bad_row_and_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.csv"), BAD).unwrap();
    let error = denied(dir.path(), &["import", "bad.csv"]);
    for line in [
        "bad.csv:3: device: `u 2`: a device id is made of",
        "bad.csv:4: from: `soon`: no time like 2026-11-22T07:30:00Z",
        "bad.csv:4: vehicle: ``: which vehicle?",
        "bad.csv:5: from: device u-1 sits in vehicle v1 from 2026-01-01T00:00:00.000Z to \
         2026-02-01T00:00:00.000Z: a device is in one vehicle at a time (line 2)",
        "bad.csv:6: to: not after `from`",
        "bad.csv:7: row: 2 fields where the first line has 5",
        "6 bad rows of 6; nothing was imported",
    ] {
        assert!(error.contains(line), "{line}\n{error}");
    }
    assert_eq!(vehicles(dir.path(), &["list"]), "0 vehicles\n");
    let output = ask(dir.path(), &["vehicles", "import", "bad.csv", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told = json(&text(&output.stdout));
    assert_eq!((told["faults"].as_array().unwrap().len(), &told["applied"]), (6, &false.into()));

    for (header, what) in [
        ("device,vehicel\n", "no column is called `vehicel`; did you mean `vehicle`?"),
        ("device,from\n", "names no column `vehicle`"),
        ("vehicle,vehicle\n", "stands there twice"),
    ] {
        std::fs::write(dir.path().join("bad.csv"), header).unwrap();
        let error = denied(dir.path(), &["import", "bad.csv"]);
        assert!(error.contains(what), "{error}");
    }
    assert!(denied(dir.path(), &["import", "none.csv"]).contains("cannot read none.csv"));
}

#[test]
fn what_is_exported_is_imported_from_standard_input_without_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let csv = "\u{feff}device,vehicle,from,to,group,tenant,region,label\n\
        ,spare,,,vans,acme,,\"Spare, \"\"the\"\" one\"\n\
        u-1,v1,,2026-02-01T00:00:00.000Z,vans,,north,\n\
        u-2,v1,2026-02-01T00:00:00.000Z,,trucks,,south,\n";
    std::fs::write(dir.path().join("fleet.csv"), csv).unwrap();
    let dry = vehicles(dir.path(), &["import", "fleet.csv", "--dry-run"]);
    assert!(dry.starts_with("would import 3 rows: 2 new vehicles, 2 new assignments"), "{dry}");
    assert_eq!(vehicles(dir.path(), &["list"]), "0 vehicles\n");
    let output = ask(dir.path(), &["vehicles", "import", "fleet.csv"]);
    assert!(text(&output.stderr).contains("not registered and cannot send, like u-1"));
    assert_eq!(vehicles(dir.path(), &["export"]), csv.trim_start_matches('\u{feff}'));
    vehicles(dir.path(), &["export", "--output", "out.csv"]);
    let mut child = milepost(dir.path())
        .args(["vehicles", "import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let exported = std::fs::read(dir.path().join("out.csv")).unwrap();
    child.stdin.take().unwrap().write_all(&exported).unwrap();
    let again = text(&child.wait_with_output().unwrap().stdout);
    assert_eq!(
        again,
        "imported 3 rows: 0 new vehicles, 0 new assignments, 0 told better, 3 known\n"
    );
}

#[test]
fn a_large_import_goes_through_a_running_agent_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path());
    let row = |n: u32| format!("u-{n},v-{},2026-01-01,,north\n", n / 2);
    let rows = (0..25_000).map(row).collect::<Vec<_>>().concat();
    let csv = format!("device,vehicle,from,to,group\n{rows}");
    std::fs::write(dir.path().join("fleet.csv"), &csv).unwrap();
    let output = ask(dir.path(), &["vehicles", "import", "fleet.csv"]);
    assert!(text(&output.stdout).starts_with("imported 25000 rows: 12500 new vehicles"));
    assert!(text(&output.stderr).contains("25000 rows read"));
    // One bad row at the very end undoes nothing, because nothing was done.
    std::fs::write(dir.path().join("fleet.csv"), format!("{csv}u-0,v-9,2026-03-01,,\n")).unwrap();
    let error = denied(dir.path(), &["import", "fleet.csv"]);
    assert!(error.contains("fleet.csv:25002: from: device u-0 sits in vehicle v-0"), "{error}");
    let exported = vehicles(dir.path(), &["export"]);
    assert_eq!(exported.lines().count(), 25_001);
    agent.stop();
}

fn a_device_is_taken_out_of_use_and_another_is_forgotten(dir: &Path) {
    answer(dir, &["devices", "add", "u-1", "u-2"]);
    vehicles(dir, &["assign", "van", "u-1"]);
    vehicles(dir, &["assign", "van", "u-2"]);
    let done = answer(dir, &["devices", "decommission", "u-1"]);
    assert_eq!(done, "decommissioned u-1; it sat in van\n");
    assert!(answer(dir, &["devices", "list"]).contains("u-1     decommissioned"));
    assert!(refusal(dir, 1, &["devices", "rotate", "u-1"]).contains("recommission u-1"));
    assert!(denied(dir, &["assign", "bus", "u-1"]).contains("recommission u-1"));
    answer(dir, &["devices", "recommission", "u-1"]);
    vehicles(dir, &["assign", "bus", "u-1"]);

    let shown = json(&answer(dir, &["devices", "forget", "u-2"]));
    assert_eq!((&shown["device"], &shown["complete"]), (&"u-2".into(), &true.into()));
    assert_eq!(shown["registry"]["assignments"], 1);
    assert_eq!(shown["registry"]["secrets"][0]["sha256"].as_str().unwrap().len(), 64);
    assert!(refusal(dir, 1, &["devices", "show", "u-2"]).contains("no device u-2"));
    assert!(refusal(dir, 1, &["devices", "forget", "u-9"]).contains("no device u-9"));
    let kept = answer(dir, &["devices", "erasures", "--json", "--of", "u-2"]);
    assert_eq!(json(&kept)["digest"], shown["digest"]);
    assert!(!kept.contains("u-2"), "{kept}");
    let said = refusal(dir, 1, &["devices", "erasures", "--of", "u-1"]);
    assert!(said.contains("nothing of u-1 was forgotten"), "{said}");
    // The name is free again, and says nothing of before.
    answer(dir, &["devices", "add", "u-2"]);

    let output = ask(dir, &["vehicles", "forget", "van"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("u-1 sat in other vehicles too and stays"));
    let proof = json(&text(&output.stdout));
    assert_eq!(proof["vehicle"], "van");
    assert!(denied(dir, &["show", "van"]).contains("no vehicle van"));
    assert!(answer(dir, &["devices", "erasures"]).lines().count() == 3);
}

#[test]
fn out_of_use_and_forgotten_without_an_agent() {
    a_device_is_taken_out_of_use_and_another_is_forgotten(tempfile::tempdir().unwrap().path());
}

#[test]
fn out_of_use_and_forgotten_with_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path());
    a_device_is_taken_out_of_use_and_another_is_forgotten(dir.path());
    agent.stop();
}
