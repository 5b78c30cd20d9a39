//! Starts that cannot succeed say why; full disks hold, and let go when there is room.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use world::process::until;

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

#[test]
fn a_full_disk_holds_everything_back_and_goes_on_when_there_is_room() {
    let Some(world) = World::taxis("[journal]\nsegment_mib = 1\n") else { return };
    // Journal and state are on the small disk; the sink is not.
    let data = world.home.data.clone();
    let aside = world.path().join("aside");
    fs::rename(&data, &aside).unwrap();
    let Some(_disk) = SmallDisk::mount(&data, 12) else { return };
    let status = Command::new("cp")
        .arg("-a")
        .arg(format!("{}/.", aside.display()))
        .arg(&data)
        .status()
        .unwrap();
    assert!(status.success());
    let agent = world.home.start().unwrap();
    let ballast = data.join("ballast");
    // Fill what is left, to the last block.
    let status = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096"])
        .arg(format!("of={}", ballast.display()))
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success(), "dd ends when the disk is full");
    let mut fleet = world.start_fleet(&["--speed", "max"]);
    until("the agent to say that it stands still", Duration::from_mins(1), || {
        Ok(world
            .home
            .get("/healthz")
            .is_ok_and(|(status, body)| status == 503 && body.contains("No space")))
    })
    .unwrap();
    fs::remove_file(&ballast).unwrap();
    assert!(fleet.wait(Duration::from_mins(2)).unwrap().success());
    world.verify();
    until("health", Duration::from_secs(30), || {
        Ok(world.home.get("/healthz").is_ok_and(|(status, _)| status == 200))
    })
    .unwrap();
    World::stop(agent);
}
