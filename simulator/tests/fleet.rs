//! A fleet of real device cores over TCP against a stand-in for the agent, and the oracle over what
//! came out.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "scenario code: a failure is the test's result"
)]

mod double;

use std::path::{Path, PathBuf};
use std::time::Duration;

use double::{Double, keys_for};
use recordings::ReadOptions;
use simulator::fleet::feed::Pace;
use simulator::fleet::state::{self, Vans};
use simulator::fleet::{self, FleetConfig, Outcome, Totals};
use simulator::oracle::{Oracle, Verdict};
use simulator::scenario::Scenario;
use simulator::vehicle::{self, Vehicle};

const VANS: Vans =
    Vans { vehicles: 5, seed: 11, start_unix_ms: 1_767_225_600_000, length_ms: 900_000 };

fn config(double: &Double) -> FleetConfig {
    FleetConfig {
        connect: double.address.to_string(),
        tls: None,
        pace: Pace::Max,
        frame_bytes: 512,
        frame_age: Duration::from_mins(1),
        flash_kib: 64,
        reconnect_within: Duration::from_mins(1),
        heartbeat: Duration::from_mins(1),
        sample_for: None,
        drain_for: Duration::from_mins(1),
        state: None,
        terminal: false,
    }
}

fn double_for(vehicles: &[Vehicle]) -> Double {
    let catalogue = vehicles[0].source.catalogue();
    Double::start(catalogue, keys_for(vehicles.iter().map(|vehicle| &vehicle.device)))
}

fn run(vehicles: &[Vehicle], config: &FleetConfig) -> (Outcome, Totals) {
    let keys = keys_for(vehicles.iter().map(|vehicle| &vehicle.device));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(fleet::run(vehicles.to_vec(), keys, config)).unwrap()
}

fn verdict(vehicles: &[Vehicle], double: &Double, state: Option<&Path>) -> Verdict {
    let admitted = |device: &_| state.map(|dir| state::admitted(dir, device).unwrap());
    let mut oracle = Oracle::new(vehicles.to_vec(), admitted);
    for (line, number) in double.documents().iter().zip(1..) {
        oracle.read(0, "double", number, line.as_bytes());
    }
    oracle.finish()
}

#[test]
fn a_made_up_fleet_is_delivered_whole_and_in_order() {
    let vehicles = VANS.vehicles();
    let double = double_for(&vehicles);
    let (outcome, totals) = run(&vehicles, &config(&double));
    assert_eq!(outcome, Outcome::Drained, "{totals}");
    let verdict = verdict(&vehicles, &double, None);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.samples.accepted, totals.samples);
    assert!(verdict.events.delivered > 0 && verdict.own_records >= 5, "{verdict}");
    assert_eq!((totals.dropped_frames, totals.outstanding_frames), (0, 0));
}

#[test]
fn recordings_are_delivered_whole_and_in_order() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("MILEPOST_DATA").map_or_else(beside, PathBuf::from);
    if !data.join("small").is_dir() {
        eprintln!("SKIPPED: no recordings (set MILEPOST_DATA to the folder that has small/)");
        return;
    }
    let (dbc, signals) = (vec![data.join("can/car_obd_gps_imu.dbc")], vec!["gnss_*".to_owned()]);
    let by_dbc = ReadOptions { dbc, signals, raw_can: false };
    let raw = ReadOptions { raw_can: true, ..ReadOptions::default() };
    for (file, options, vehicles_of) in [
        ("taxi_small.csv.gz", ReadOptions::default(), Some(25)),
        ("2017-07-13_Seat_Leon_KA_KA_Normal.csv.gz", ReadOptions::default(), None),
        ("T3_04_22_2021_1.csv.gz", ReadOptions::default(), None),
        // More signals than the smaller core has room for.
        ("car_obd_gps_imu_60s.log.gz", by_dbc, None),
        ("car_obd_gps_imu_60s.log.gz", raw, None),
    ] {
        let path = data.join("small").join(file);
        let (vehicles, _) = vehicle::from_recordings(&[path], &options, vehicles_of, 1).unwrap();
        let double = double_for(&vehicles);
        let roomy = FleetConfig { flash_kib: 128, ..config(&double) };
        let (outcome, totals) = run(&vehicles, &roomy);
        assert_eq!(outcome, Outcome::Drained, "{totals}");
        let verdict = verdict(&vehicles, &double, None);
        assert!(verdict.is_clean(), "{file}: {verdict}");
        assert_eq!(verdict.samples.delivered, totals.samples, "{file}: nothing was lost");
    }
}

#[test]
fn a_later_run_goes_on_where_the_state_says() {
    let folder = tempfile::tempdir().unwrap();
    let vehicles = VANS.vehicles();
    let double = double_for(&vehicles);
    double.go_deaf_after(6);
    let state = Some(folder.path().to_owned());
    let patient = FleetConfig { state, ..config(&double) };
    let hasty = FleetConfig {
        drain_for: Duration::from_millis(200),
        sample_for: Some(Duration::from_millis(300)),
        ..patient.clone()
    };
    let (outcome, first) = run(&vehicles, &hasty);
    assert_eq!(outcome, Outcome::Left, "{first}");
    assert!(first.outstanding_frames > 0 && !first.holding.is_empty());
    double.go_deaf_after(u64::MAX);
    let (outcome, second) = run(&vehicles, &patient);
    assert_eq!(outcome, Outcome::Drained, "{second}");
    assert!(second.resumed_at >= first.samples);
    let verdict = verdict(&vehicles, &double, Some(folder.path()));
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.samples.unsealed, 0, "an orderly stop leaves nothing open");
    assert_eq!(verdict.samples.accepted, first.samples + second.samples);
}

#[test]
fn a_fleet_cut_off_at_any_moment_accounts_for_what_was_open() {
    let folder = tempfile::tempdir().unwrap();
    // Hours longer than all runs together.
    let vehicles = Vans { length_ms: 10_800_000, ..VANS }.vehicles();
    let double = double_for(&vehicles);
    let state = Some(folder.path().to_owned());
    let patient = FleetConfig { state, pace: Pace::Times(2000), ..config(&double) };
    let keys = || keys_for(vehicles.iter().map(|vehicle| &vehicle.device));
    for cut_ms in [30, 60, 90, 120] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cut = Duration::from_millis(cut_ms);
        let running = fleet::run(vehicles.clone(), keys(), &patient);
        // Dropped in the middle, as if the power went.
        let ended = runtime.block_on(async { tokio::time::timeout(cut, running).await });
        assert!(ended.is_err(), "over before the cut");
    }
    let (outcome, totals) = run(&vehicles, &FleetConfig { pace: Pace::Max, ..patient });
    assert_eq!(outcome, Outcome::Drained, "{totals}");
    let verdict = verdict(&vehicles, &double, Some(folder.path()));
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.samples.unsealed > 0, "{verdict}");
}

#[test]
fn what_full_rings_drop_is_told_and_explains_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let vehicles = Vans { length_ms: 10_800_000, ..VANS }.vehicles();
    let double = double_for(&vehicles);
    double.go_deaf_after(20);
    let patient = FleetConfig { state: Some(folder.path().to_owned()), ..config(&double) };
    // Nothing holds this pace back, so the rings overflow.
    let reckless = FleetConfig {
        pace: Pace::Times(1_000_000),
        drain_for: Duration::from_millis(200),
        ..patient.clone()
    };
    let (outcome, first) = run(&vehicles, &reckless);
    assert_eq!(outcome, Outcome::Left, "{first}");
    assert!(first.dropped_frames > 0, "{first}");
    double.go_deaf_after(u64::MAX);
    let (outcome, second) = run(&vehicles, &patient);
    assert_eq!(outcome, Outcome::Drained, "{second}");
    let verdict = verdict(&vehicles, &double, Some(folder.path()));
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.samples.lost > 0, "{verdict}");
    assert!(verdict.losses.contains_key("superseded"), "{verdict}");
}

const ROUGH: &str = r#"
seed = 9
start = "2026-03-02T06:00:00Z"
length = "8h"

[place]
latitude = 48
longitude = 8
radius_km = 5

[[class]]
name = "van"
vehicles = 4
style = "delivery"
powertrain = "electric"
parked_every = "5m"

[[class.trip]]
depart = "06:05"
spread = "4m"
duration = "3h"

[class.faults]
reboot_every = "40m"
clock_step_every = "1h"
spike_every = "10m"
stuck_every = "1h"
dropout_every = "30m"

[[dead_zone]]
place = { latitude = 48.02, longitude = 8, radius_km = 2 }

[[outage]]
daily = "07:00"
length = "10m"
"#;

#[test]
fn a_scenario_with_everything_in_it_is_accounted_for() {
    let vehicles = Scenario::parse(ROUGH, "rough").unwrap().vehicles();
    let double = double_for(&vehicles);
    let quick = FleetConfig {
        reconnect_within: Duration::from_millis(20),
        flash_kib: 256,
        frame_age: Duration::from_millis(50),
        ..config(&double)
    };
    let (outcome, totals) = run(&vehicles, &quick);
    assert_eq!(outcome, Outcome::Drained, "{totals}");
    assert!(totals.reboots > 20, "{totals}");
    let verdict = verdict(&vehicles, &double, None);
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.samples.unsealed > 0, "a brown-out takes what is open: {verdict}");
    assert!(verdict.samples.delivered > 100_000, "{verdict}");
}
