//! What the simulator can replay comes through an agent whole: CAN logs, scenarios, recordings.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use world::binaries::{recordings, root};
use world::fleet::Fleet;

use crate::world_of_one::{World, binaries, small_recordings};

/// A minute of a car's CAN buses and the DBC of them; said aloud where they are not there.
fn can_log() -> Option<(PathBuf, PathBuf)> {
    let log = small_recordings()?.join("car_obd_gps_imu_60s.log.gz");
    let dbc = recordings()?.join("can/car_obd_gps_imu.dbc");
    Some((log, dbc))
}

fn replay(log: &Path, words: &[&str]) -> World {
    World::with("", |dir| {
        let files = [log.to_owned()];
        Fleet::replay(binaries(), &dir.join("fleet"), &files, None).unwrap().reading(words)
    })
}

/// Replays as fast as it goes, and verifies that nothing was lost.
fn drive_whole(world: &World) -> (Value, Value) {
    let agent = world.home.start().unwrap();
    let summary = world.drive(&["--speed", "max"]);
    let verdict = world.verify();
    assert_eq!(verdict["samples"]["lost"], 0, "{verdict}");
    World::stop(agent);
    (summary, verdict)
}

#[test]
fn a_can_log_comes_through_as_signals() {
    let Some((log, dbc)) = can_log() else { return };
    let world = replay(&log, &["--dbc", dbc.to_str().unwrap()]);
    let (_, verdict) = drive_whole(&world);
    // As many as an independent decoder finds in it, and the replies of the OBD-II poller.
    assert_eq!(verdict["samples"]["delivered"], 45_181, "{verdict}");
}

#[test]
fn a_can_log_comes_through_as_frames_and_is_a_log_again_at_the_other_end() {
    let Some((log, _)) = can_log() else { return };
    let world = replay(&log, &["--raw-can"]);
    drive_whole(&world);
    let recording = record(&world, &world.home.sink());
    let shown = Command::new(&binaries().simulator)
        .args(["show", "--candump"])
        .arg(&recording)
        .output()
        .unwrap();
    let unpacked = Command::new(&binaries().simulator)
        .args(["show", "--candump", "--raw-can"])
        .arg(&log)
        .output()
        .unwrap();
    let lines = shown.stdout.split(|byte| *byte == b'\n').count() - 1;
    assert_eq!(lines, 7399, "{}", String::from_utf8_lossy(&shown.stderr));
    assert!(shown.stdout == unpacked.stdout, "the frames are not those of the log");
}

/// Records what a sink holds.
fn record(world: &World, sink: &Path) -> PathBuf {
    let recording = world.path().join("sink.mprec");
    let output = Command::new(&binaries().simulator)
        .args(["record", "--until-idle", "1s", "--from"])
        .arg(sink)
        .arg("--out")
        .arg(&recording)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    recording
}

#[test]
fn what_was_recorded_and_replayed_is_what_was_recorded() {
    let Some(first) = World::taxis("") else { return };
    let (_, verdict) = drive_whole(&first);
    let recording = record(&first, &first.home.sink());
    let second = replay(&recording, &[]);
    let (_, again) = drive_whole(&second);
    assert_eq!(verdict["samples"]["delivered"], again["samples"]["delivered"], "{again}");
    // The second sink holds what the first sources said, too.
    let told = first.fleet.verify(&second.home.sink(), None, false).unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
}

#[test]
fn a_scenario_with_outages_and_reboots_is_accounted_for() {
    let world = World::with("", |dir| {
        let file = root().join("simulator/scenarios/vans.toml");
        let length = Duration::from_hours(8);
        Fleet::scenario(binaries(), &dir.join("fleet"), &file, length).unwrap()
    });
    let agent = world.home.start().unwrap();
    let summary = world.drive(&["--speed", "max", "--reconnect-within", "200ms"]);
    let verdict = world.verify();
    assert!(summary["reboots"].as_u64().unwrap() > 5, "{summary}");
    assert!(verdict["events"]["delivered"].as_u64().unwrap() > 100, "{verdict}");
    World::stop(agent);
}
