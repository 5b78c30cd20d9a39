//! What goes in comes out: replays and synthetic fleets, stops and starts in between.

use std::time::Duration;

use crate::world_of_one::World;

#[test]
fn the_small_recordings_come_through_whole() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    let verdict = world.verify();
    assert_eq!(verdict["samples"]["lost"], 0, "{verdict}");
    World::stop(agent);
}

#[test]
fn a_synthetic_fleet_with_events_comes_through_whole() {
    let world = World::synthetic(10, 41, "");
    let agent = world.home.start().unwrap();
    world.drive(&[]);
    world.verify();
    let (status, body) = world.home.get("/healthz").unwrap();
    assert_eq!(status, 200, "{body}");
    World::stop(agent);
}

#[test]
fn kill_9_of_everything_loses_nothing() {
    let Some(world) = World::taxis("") else { return };
    let mut world = world;
    world.home.hold_unsynced = true;
    let mut agent = world.home.start().unwrap();
    for _ in 0..4 {
        let fleet = world.start_fleet(&["--speed", "20000", "--reconnect-within", "500ms"]);
        std::thread::sleep(Duration::from_millis(700));
        agent.kill().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        agent = world.home.start().unwrap();
        std::thread::sleep(Duration::from_millis(700));
        fleet.kill().unwrap();
    }
    world.drive(&["--speed", "max"]);
    world.verify();
    World::stop(agent);
}

#[test]
fn an_orderly_stop_of_the_agent_under_load_loses_nothing() {
    let Some(world) = World::taxis("") else { return };
    let mut agent = world.home.start().unwrap();
    let mut fleet =
        world.start_fleet(&["--speed", "20000", "--for", "5s", "--reconnect-within", "500ms"]);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(1));
        World::stop(agent);
        agent = world.home.start().unwrap();
    }
    assert!(fleet.wait(Duration::from_mins(1)).unwrap().success());
    world.verify();
    World::stop(agent);
}

#[test]
fn what_a_rule_drops_is_counted() {
    let rules = "[privacy]\ndrop = [\"Vehicle.Cabin.*\"]\n\n[privacy.location]\nresolution = 7\n";
    let Some(world) = World::taxis(rules) else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    world.home.wait_delivered(Duration::from_mins(1)).unwrap();
    let ledger = world.home.ledger().unwrap();
    assert_eq!(ledger["balanced"], true, "{ledger:#}");
    let excluded = &ledger["sinks"][0]["excluded"]["samples"];
    assert!(excluded.as_u64().unwrap() > 0, "{ledger:#}");
    for entry in std::fs::read_dir(world.home.sink()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "ndjson") {
            let text = std::fs::read_to_string(path).unwrap();
            assert!(!text.contains("Latitude") && !text.contains("IsOccupied"));
            assert!(text.contains("Vehicle.CurrentLocation.H3"));
        }
    }
    World::stop(agent);
}
