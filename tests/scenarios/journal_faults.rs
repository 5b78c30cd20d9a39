//! Journals that were torn, bent, cut or brought back from the past.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use std::time::Duration;

use world::process::until;

use crate::world_of_one::{World, block_sink, unblock_sink};

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_tree(&path, &target);
        } else if path.is_file() {
            fs::copy(path, target).unwrap();
        }
    }
}

/// The bulk lane's segments, oldest first.
fn segments(world: &World) -> Vec<PathBuf> {
    let dir = world.home.data.join("journal/bulk");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

/// A byte of the first frame in the second half of a segment: what lies between frames, marks and zeros,
/// is nobody's. A record is marker, length, checksum and kind (`agent/journal/src/lib.rs`).
fn in_a_frame(content: &[u8]) -> usize {
    const MARKER: [u8; 4] = [0xa7, 0x4d, 0x72, 0x1e];
    const KIND_AT: usize = 12;
    let is_frame =
        |at: &usize| content[*at..].starts_with(&MARKER) && content.get(at + KIND_AT) == Some(&0);
    let at = (content.len() / 2..content.len()).find(is_frame).unwrap();
    let len = content[at + 4..at + 8].try_into().map(u32::from_le_bytes).unwrap();
    at + KIND_AT + usize::try_from(len).unwrap() / 2
}

#[test]
fn a_torn_tail_is_cut_and_the_devices_send_it_again() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    world.home.wait_delivered(std::time::Duration::from_secs(30)).unwrap();
    agent.kill().unwrap();
    let last = segments(&world).pop().unwrap();
    let mut file = OpenOptions::new().append(true).open(&last).unwrap();
    file.write_all(&[0x5a; 300]).unwrap();
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    world.verify();
    World::stop(agent);
}

#[test]
fn a_flipped_bit_costs_one_frame_and_is_named() {
    let Some(world) = World::taxis("") else { return };
    let aside = block_sink(&world);
    let agent = world.home.spawn().unwrap();
    world.drive(&["--speed", "max"]);
    World::stop(agent);
    let first = segments(&world).into_iter().next().unwrap();
    let content = fs::read(&first).unwrap();
    let at = in_a_frame(&content);
    let file = OpenOptions::new().write(true).open(&first).unwrap();
    file.write_all_at(&[content[at] ^ 1], u64::try_from(at).unwrap()).unwrap();
    unblock_sink(&world, &aside);
    let agent = world.home.start().unwrap();
    let verdict = world.verify();
    assert!(
        verdict["samples"]["lost"].as_u64().unwrap() > 0,
        "the damage must be named: {verdict}"
    );
    World::stop(agent);
}

#[test]
fn a_missing_segment_is_named() {
    let Some(world) = World::taxis("[journal]\nsegment_mib = 1\n") else { return };
    let aside = block_sink(&world);
    // Each start begins new segments.
    for _ in 0..3 {
        let agent = world.home.spawn().unwrap();
        world.drive(&["--speed", "20000", "--for", "2s"]);
        World::stop(agent);
    }
    let all = segments(&world);
    assert!(all.len() >= 3, "{all:?}");
    fs::remove_file(&all[1]).unwrap();
    unblock_sink(&world, &aside);
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    let verdict = world.verify();
    assert!(verdict["samples"]["lost"].as_u64().unwrap() > 0, "the hole must be named: {verdict}");
    World::stop(agent);
}

#[test]
fn a_journal_from_an_old_copy_is_noticed_and_nothing_is_doubled() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    World::stop(agent);
    let copy = world.path().join("old-copy");
    copy_tree(&world.home.data, &copy);
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    World::stop(agent);
    fs::remove_dir_all(&world.home.data).unwrap();
    copy_tree(&copy, &world.home.data);
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    world.verify();
    assert!(world.agent_log().contains("old copy"), "it must be said");
    World::stop(agent);
}

#[test]
fn a_full_journal_leaves_the_rest_with_the_devices_and_a_stop_is_a_stop() {
    let extra = "[journal]\nsegment_mib = 1\nsize_max_gib = 0.01\n";
    let Some(mut world) = World::taxis(extra) else { return };
    // The two days so many times: more than the journal holds.
    world.fleet = world.fleet.rounds(120);
    let aside = block_sink(&world);
    let agent = world.home.spawn().unwrap();
    let fleet = world.start_fleet(&["--speed", "max"]);
    until("the journal to be full", Duration::from_mins(3), || {
        Ok(world.home.get("/healthz").is_ok_and(|(_, body)| body.contains("the journal is full")))
    })
    .unwrap();
    World::stop(agent);
    fleet.kill().unwrap();
    unblock_sink(&world, &aside);
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    world.verify();
    World::stop(agent);
}

#[test]
fn a_bit_flipped_behind_the_sinks_cursor_doubles_nothing() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    world.home.wait_delivered(Duration::from_secs(30)).unwrap();
    agent.kill().unwrap();
    // The last frames of the lane: forwarded, and still in their devices' flash.
    let last = segments(&world).pop().unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&last).unwrap();
    let at = fs::metadata(&last).unwrap().len() - 200;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    world.verify();
    World::stop(agent);
}

#[test]
fn an_old_journal_under_a_sink_that_was_behind_loses_nothing_devices_still_have() {
    let Some(world) = World::taxis("") else { return };
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    World::stop(agent);
    let (journal, copy) = (world.home.data.join("journal"), world.path().join("old-journal"));
    copy_tree(&journal, &copy);
    // Acknowledged, and not yet delivered when the journal goes back.
    let aside = block_sink(&world);
    let agent = world.home.spawn().unwrap();
    world.drive(&["--speed", "20000", "--for", "2s"]);
    World::stop(agent);
    fs::remove_dir_all(&journal).unwrap();
    copy_tree(&copy, &journal);
    unblock_sink(&world, &aside);
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    let verdict = world.verify();
    assert_eq!(verdict["samples"]["lost"], 0, "their flash still has all of it: {verdict}");
    World::stop(agent);
}
