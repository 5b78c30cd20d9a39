//! Starts that cannot succeed say why; full disks hold, and let go when there is room.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use world::binaries::recordings;
use world::process::{Process, until};

use crate::world_of_one::World;

#[test]
fn a_taken_port_is_said_plainly() {
    let world = World::synthetic(1, 31, "");
    let taken = TcpListener::bind(world.home.listen).unwrap();
    let output = world.home.command(&["run"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&world.home.listen.to_string()) && said.contains("in use"), "{said}");
    drop(taken);
    World::stop(world.home.start().unwrap());
}

#[test]
fn a_wrong_key_in_the_configuration_is_pointed_at() {
    let world = World::synthetic(1, 32, "");
    let mut text = fs::read_to_string(&world.home.config).unwrap();
    text.push_str("\n[journal]\nsegment_mb = 64\n");
    fs::write(&world.home.config, &text).unwrap();
    let line = text.lines().position(|line| line.starts_with("segment_mb")).unwrap() + 1;
    for verb in ["check", "run"] {
        let output = world.home.command(&[verb]).output().unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(1), "{said}");
        let place = format!("{}:{line}:1", world.home.config.display());
        assert!(said.contains(&place) && said.contains("segment_mib"), "{place}: {said}");
    }
}

#[test]
fn two_agents_on_one_directory_are_one_too_many() {
    let world = World::synthetic(1, 33, "");
    let agent = world.home.start().unwrap();
    let output = world.home.command(&["run"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another"), "{said}");
    World::stop(agent);
}

/// A small file system of its own, unmounted at the end.
struct SmallDisk<'a>(&'a std::path::Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a std::path::Path, mib: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={mib}m");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "milepost-test"])
            .arg(at)
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(at));
        }
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a small tmpfs");
        eprintln!("skipped: a full disk: no permission to mount a small tmpfs");
        None
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(self.0).status());
    }
}

/// Moves the data directory to a small disk, and starts the agent there.
fn start_on<'a>(world: &'a World, aside: &Path, mib: u32) -> Option<(SmallDisk<'a>, Process)> {
    let data = &world.home.data;
    fs::rename(data, aside).unwrap();
    let disk = SmallDisk::mount(data, mib)?;
    let all = format!("{}/.", aside.display());
    let status = Command::new("cp").args(["-a", &all]).arg(data).status().unwrap();
    assert!(status.success());
    Some((disk, world.home.start().unwrap()))
}

/// A file of that many blocks of 4 KiB, or of as many as there is room for.
fn fill(ballast: &Path, blocks: Option<u32>) {
    let mut dd = Command::new("dd");
    dd.args(["if=/dev/zero", "bs=4096"]).arg(format!("of={}", ballast.display()));
    dd.args(blocks.map(|blocks| format!("count={blocks}"))).stderr(Stdio::null());
    assert_eq!(dd.status().unwrap().success(), blocks.is_some(), "dd fails when the disk is full");
}

fn until_it_stands_still(world: &World) {
    until("the agent to say that it stands still", Duration::from_mins(1), || {
        Ok(world
            .home
            .get("/healthz")
            .is_ok_and(|(status, body)| status == 503 && body.contains("No space")))
    })
    .unwrap();
}

fn until_it_is_well(world: &World) {
    until("health", Duration::from_secs(30), || {
        Ok(world.home.get("/healthz").is_ok_and(|(status, _)| status == 200))
    })
    .unwrap();
}

#[test]
fn a_full_disk_holds_everything_back_and_goes_on_when_there_is_room() {
    let Some(world) = World::taxis("[journal]\nsegment_mib = 1\n") else { return };
    // Journal and state are on the small disk; the sink is not.
    let aside = world.path().join("aside");
    let Some((_disk, agent)) = start_on(&world, &aside, 12) else { return };
    let ballast = world.home.data.join("ballast");
    fill(&ballast, None);
    let mut fleet = world.start_fleet(&["--speed", "max"]);
    until_it_stands_still(&world);
    fs::remove_file(&ballast).unwrap();
    assert!(fleet.wait(Duration::from_mins(2)).unwrap().success());
    world.verify();
    until_it_is_well(&world);
    World::stop(agent);
}

#[test]
fn a_disk_that_journal_and_store_have_filled_drains_once_it_gets_a_little_room() {
    let Some(recordings) = recordings() else {
        assert!(std::env::var_os("CI").is_none(), "CI needs the recordings");
        return eprintln!(
            "skipped: the recordings are not here (../shared/data, or MILEPOST_DATA)"
        );
    };
    let taxis = [0, 1, 2].map(|taxi| recordings.join(format!("taxi/taxi_0{taxi}.csv.zst")));
    let store = "[[sink]]\nname = \"store\"\ntype = \"store\"\non_full = \"block\"\n";
    let journal = "[journal]\nsegment_mib = 1\nsize_max_gib = 0.02\n";
    let world = World::replay(&taxis, &format!("{store}{journal}"));
    let aside = world.path().join("aside");
    let Some((_disk, agent)) = start_on(&world, &aside, 6) else { return };
    let ballast = world.home.data.join("ballast");
    fill(&ballast, Some(768));
    let mut fleet = world.start_fleet(&["--speed", "max"]);
    until_it_stands_still(&world);
    fs::remove_file(&ballast).unwrap();
    assert!(fleet.wait(Duration::from_mins(3)).unwrap().success());
    world.verify();
    let ledger = world.path().join("ledger.json");
    let stored = world.fleet.verify_sink(&world.home, ("store", Path::new("store")), &ledger);
    let stored = stored.unwrap();
    assert!(stored.status.success(), "{}", String::from_utf8_lossy(&stored.stderr));
    until_it_is_well(&world);
    World::stop(agent);
}
