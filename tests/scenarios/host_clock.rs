//! The clock of the agent's host leaps, by years, while devices send.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use world::process::until;

use crate::world_of_one::World;

/// The library through which a process sees another time. None, said aloud, where it is not there;
/// under CI that is an error.
fn library() -> Option<PathBuf> {
    let roots = ["/usr/lib", "/usr/local/lib", "/lib"].map(PathBuf::from);
    let dirs = roots.iter().flat_map(|root| {
        let below = std::fs::read_dir(root).into_iter().flatten().flatten();
        below.map(|entry| entry.path()).chain([root.clone()]).collect::<Vec<_>>()
    });
    let found =
        dirs.map(|dir| dir.join("faketime/libfaketimeMT.so.1")).find(|library| library.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs faketime");
        eprintln!("skipped: faketime is not installed (apt-get install faketime)");
    }
    found
}

/// From now on the agent's host is this far from the real time, like `+10y`.
fn leap(file: &Path, offset: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, offset).unwrap();
    std::fs::rename(&next, file).unwrap();
}

#[test]
fn a_clock_that_leaps_by_years_loses_nothing() {
    let Some(library) = library() else { return };
    let store = "[[sink]]\nname = \"store\"\ntype = \"store\"\n";
    let Some(mut world) = World::taxis(store) else { return };
    let clock = world.path().join("clock");
    leap(&clock, "+0");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    world.home.environment = vec![
        ("LD_PRELOAD".into(), text(&library)),
        ("FAKETIME_TIMESTAMP_FILE".into(), text(&clock)),
        ("FAKETIME_NO_CACHE".into(), "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
    ];
    let agent = world.home.start().unwrap();
    let mut fleet =
        world.start_fleet(&["--speed", "20000", "--for", "8s", "--reconnect-within", "500ms"]);
    let samples = || world.home.metric("agent_frame_accepted_total").unwrap();
    for offset in ["+10y", "-20y", "-55y", "+30y", "+0"] {
        let before = samples();
        leap(&clock, offset);
        until("samples after the leap", Duration::from_mins(1), || Ok(samples() > before)).unwrap();
        std::thread::sleep(Duration::from_secs(1));
    }
    let status = fleet.wait(Duration::from_mins(3)).unwrap();
    assert!(status.success(), "{}", std::fs::read_to_string(world.fleet.log()).unwrap());
    let verdict = world.verify();
    assert_eq!(verdict["samples"]["lost"], 0, "{verdict}");
    let ledger = world.path().join("ledger.json");
    World::stop(agent);
    let stored =
        world.fleet.verify_sink(&world.home, ("store", Path::new("store")), &ledger).unwrap();
    assert!(stored.status.success(), "{}", String::from_utf8_lossy(&stored.stderr));
    // It really was another time: frames say when they came.
    let documents = world.home.call(&["store", "export"]).unwrap().stdout;
    let years: std::collections::BTreeSet<String> = documents
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).unwrap())
        .filter_map(|document| Some(document["received"].as_str()?.get(..4)?.to_owned()))
        .collect();
    assert!(years.len() >= 4, "{years:?}");
}
