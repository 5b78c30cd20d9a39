//! A device's flash rolled back, cloned, formatted: it finds out, says so, and nothing is doubled.

use std::path::Path;
use std::time::Duration;

use crate::world_of_one::World;

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Puts the flash images of `from` into the fleet's state; how far the recordings were read stays.
fn restore_flash(from: &Path, state: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|extension| extension == "nor") {
            std::fs::copy(entry.path(), state.join(entry.file_name())).unwrap();
        }
    }
}

fn forks(world: &World) -> usize {
    documents(world).iter().filter(|text| text.contains(r#""type":"milepost.fork""#)).count()
}

fn documents(world: &World) -> Vec<String> {
    let mut files: Vec<_> =
        std::fs::read_dir(world.home.sink()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ndjson"));
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn a_rolled_back_device_opens_a_new_ring_and_doubles_nothing() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    let state = world.fleet.state();
    let old = world.path().join("old-flash");
    world.drive(&["--speed", "20000", "--for", "2s"]);
    copy_dir(&state, &old);
    world.drive(&["--speed", "20000", "--for", "2s"]);
    restore_flash(&old, &state);
    world.drive(&["--speed", "max"]);
    world.verify();
    assert!(forks(&world) > 0, "no device noticed");
    World::stop(agent);
}

#[test]
fn a_clone_finds_that_it_is_one() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    let state = world.fleet.state();
    let clone = world.path().join("clone");
    world.drive(&["--speed", "20000", "--for", "2s"]);
    copy_dir(&state, &clone);
    // The original goes on; then the clone, from the same flash, with readings of its own.
    world.drive(&["--speed", "20000", "--for", "2s"]);
    restore_flash(&clone, &state);
    world.drive(&["--speed", "20000", "--for", "2s"]);
    assert!(forks(&world) > 0, "the clone did not notice");
    // And the original once more: it is the odd one out now.
    world.drive(&["--speed", "max"]);
    world.verify();
    World::stop(agent);
}

#[test]
fn a_formatted_device_begins_anew() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    for entry in std::fs::read_dir(world.fleet.state()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "nor") {
            std::fs::remove_file(path).unwrap();
        }
    }
    world.drive(&["--speed", "max"]);
    world.verify();
    World::stop(agent);
}

#[test]
fn a_flash_of_another_device_is_formatted_not_used() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    let state = world.fleet.state();
    let mut images: Vec<_> = std::fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "nor"))
        .collect();
    images.sort();
    std::fs::copy(&images[0], &images[1]).unwrap();
    world.drive(&["--speed", "max"]);
    world.verify();
    World::stop(agent);
}

#[test]
fn a_decaying_flash_loses_only_what_it_says() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    for entry in std::fs::read_dir(world.fleet.state()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "nor") {
            let mut bytes = std::fs::read(&path).unwrap();
            for at in (0..bytes.len()).step_by(3001) {
                bytes[at] ^= 1 << (at % 8);
            }
            std::fs::write(&path, bytes).unwrap();
        }
    }
    world.drive(&["--speed", "max", "--drain-for", "30s"]);
    world.verify();
    World::stop(agent);
}

#[test]
fn a_device_that_was_added_anew_says_what_it_can_no_longer_open() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    world.home.wait_delivered(Duration::from_secs(30)).unwrap();
    World::stop(agent);
    // Frames that nobody took yet, sealed with the secrets that go now.
    let mut alone = world.start_fleet(&["--speed", "20000", "--for", "1s", "--drain-for", "1s"]);
    assert_eq!(alone.wait(Duration::from_mins(1)).unwrap().code(), Some(1), "nothing listens");
    let agent = world.home.start().unwrap();
    let names = world.fleet.names().unwrap();
    let mut remove = vec!["devices", "remove"];
    remove.extend(names.lines());
    world.home.call(&remove).unwrap();
    world.home.add_devices(&names, &world.fleet.keys()).unwrap();
    world.drive(&["--speed", "max"]);
    let verdict = world.verify();
    assert!(verdict["samples"]["unsealed"].as_u64().unwrap() > 0, "{verdict}");
    World::stop(agent);
}
