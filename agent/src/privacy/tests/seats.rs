//! Documents say in which vehicle a device sat.

use super::*;
use crate::storage::{Disk, SharedStorage};
use crate::vehicles::{Assignment, Belonging, Change, Vehicles};

/// The tick of the samples is 10 ms.
const SWAP_MS: i64 = 1_211_094_008_000;
const SWAP_TICK: i64 = SWAP_MS / 10;

fn vehicles(dir: &std::path::Path) -> Vehicles {
    let storage: SharedStorage = Arc::new(Disk);
    Vehicles::open(crate::state::open(&storage, &dir.join("state.redb")).unwrap()).unwrap()
}

fn sit(vehicles: &Vehicles, vehicle: &str, from_ms: Option<i64>, to_ms: Option<i64>) {
    let belonging = Belonging::default();
    let (device, vehicle) = (source().device, vehicle.parse().unwrap());
    let new = Assignment { device, vehicle, from_ms, to_ms, belonging };
    let change = Change {
        group: Some("night \"shift\"".parse().unwrap()),
        tenant: Some("acme".parse().unwrap()),
        ..Change::default()
    };
    vehicles.assign(&new, &change, 1).unwrap();
}

/// From vehicle `one` into `two`.
fn swapped(dir: &std::path::Path) -> Vehicles {
    let vehicles = vehicles(dir);
    sit(&vehicles, "one", None, Some(SWAP_MS));
    sit(&vehicles, "two", Some(SWAP_MS), None);
    vehicles
}

fn cleared(policy: &mut Policy, clock: Clock, samples: &[(i64, u8, i64)]) -> Cleared {
    let (header, columns) = columns(samples);
    let header = SamplesHeader { context: SamplesContext { clock, ..header.context }, ..header };
    let lens = Arc::new(policy.lens(&Arc::new(catalogue())));
    let mut cleared = Cleared::default();
    policy.turn_to(source().device).unwrap();
    policy.samples(&source(), &header, &columns, &lens, &mut cleared).unwrap();
    cleared
}

fn vehicles_of(documents: &[Json]) -> Vec<&str> {
    documents.iter().map(|document| document["vehicle"].as_str().unwrap_or("none")).collect()
}

#[test]
fn a_frame_that_straddles_a_swap_gives_each_instant_its_vehicle_and_changes_no_id() {
    let dir = tempfile::tempdir().unwrap();
    let samples = [
        (SWAP_TICK - 2, 0, 1),
        (SWAP_TICK - 1, 0, 2),
        (SWAP_TICK - 1, 1, 3),
        (SWAP_TICK, 0, 4),
        (SWAP_TICK, 1, 5),
        (SWAP_TICK - 1, 0, 6),
        (SWAP_TICK + 1, 0, 7),
    ];
    let mut policy = Policy::none().with_vehicles(swapped(dir.path()));
    let cleared = cleared(&mut policy, Clock::Reference, &samples);
    assert_eq!(cleared.pieces().count(), 4, "a clock that steps back steps into the old vehicle");
    let documents = parsed(&cleared);
    assert_eq!(vehicles_of(&documents), ["one", "one", "two", "one", "two"]);
    assert_eq!(documents[2]["vehiclegroup"], "night \"shift\"");
    assert_eq!(documents[2]["tenant"], "acme");
    assert_eq!(documents[2].get("region"), None, "nobody said one");
    let (plain, ..) = through(&mut Policy::none(), &samples);
    for (one, other) in plain.iter().zip(&documents) {
        assert_eq!(
            (&one["id"], &one["time"], &one["data"]),
            (&other["id"], &other["time"], &other["data"])
        );
        assert_eq!(one.get("vehicle"), None);
    }
    assert_eq!(cleared.documents(), 5);
}

#[test]
fn without_a_wall_clock_the_time_of_receipt_decides() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path());
    sit(&vehicles, "then", Some(source().received_ms), Some(source().received_ms + 1));
    let mut policy = Policy::none().with_vehicles(vehicles);
    let samples = [(5, 0, 1), (6, 0, 2)];
    let uptime = cleared(&mut policy, Clock::Uptime, &samples);
    assert_eq!(vehicles_of(&parsed(&uptime)), ["then", "then"]);
    let wall = cleared(&mut policy, Clock::Rtc, &samples);
    assert_eq!(vehicles_of(&parsed(&wall)), ["none", "none"], "in 1970 it sat nowhere");
}

#[test]
fn records_and_losses_name_the_vehicle_of_their_own_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut policy = Policy::none().with_vehicles(swapped(dir.path()));
    policy.turn_to(source().device).unwrap();
    let at = |unix_ms, clock| DeviceTime { boot: 1, uptime_ms: 1, unix_ms, clock };
    let mut into = Cleared::default();
    for (ordinal, time) in (0..).zip([
        at(SWAP_MS - 1, Clock::Agent),
        at(SWAP_MS, Clock::Agent),
        at(SWAP_MS - 1, Clock::Uptime),
    ]) {
        let attributes = Attributes::new();
        let (actor, action, object) = ("a", "b", "c");
        let event = Event { time, actor, action, object, context: "", resource: "", attributes };
        policy.record(&source(), ordinal, &Record::Event(event), &mut into);
    }
    let report = LossReport {
        first: Seq(1),
        last: Seq(2),
        lost: Counts::ZERO,
        reason: "overrun",
        by: Claimant::Device(at(SWAP_MS - 1, Clock::Agent)),
    };
    policy.loss(&source(), &report, &mut into);
    policy.loss(&source(), &LossReport { by: Claimant::Agent, ..report }, &mut into);
    assert_eq!(vehicles_of(&parsed(&into)), ["one", "two", "two", "one", "two"]);
}

#[test]
fn a_change_is_seen_at_the_next_frame() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = swapped(dir.path());
    let mut policy = Policy::none().with_vehicles(vehicles.clone());
    let samples = [(SWAP_TICK, 0, 1)];
    assert_eq!(vehicles_of(&parsed(&cleared(&mut policy, Clock::Agent, &samples))), ["two"]);
    vehicles.remove(&"two".parse().unwrap(), true).unwrap();
    assert_eq!(vehicles_of(&parsed(&cleared(&mut policy, Clock::Agent, &samples))), ["none"]);
}

#[test]
fn a_vehicle_is_a_name_like_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path());
    sit(&vehicles, "cab-7", None, None);
    let samples = [(SWAP_TICK, 0, 1)];
    let mut policy = with_pseudonyms(1, 1).with_vehicles(vehicles.clone());
    let document = parsed(&cleared(&mut policy, Clock::Agent, &samples)).remove(0);
    let vehicle = document["vehicle"].as_str().unwrap();
    assert!(vehicle.starts_with("p1-") && vehicle.len() == 29, "{vehicle}");
    assert_ne!(document["source"], format!("/devices/{vehicle}"), "a domain of its own");
    assert_eq!(document["tenant"], "acme", "what it belongs to stays");
    let config = PrivacyConfig { drop_vehicle: true, ..PrivacyConfig::default() };
    let mut policy = Policy::from_config(&config).unwrap().with_vehicles(vehicles);
    let document = parsed(&cleared(&mut policy, Clock::Agent, &samples)).remove(0);
    assert_eq!((document.get("vehicle"), &document["tenant"]), (None, &"acme".into()));
}
