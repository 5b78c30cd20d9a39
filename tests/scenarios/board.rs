//! The firmware's image, run by QEMU, against a real agent: what it measured arrives, each reading once,
//! whenever the power goes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use world::agent::AgentHome;
use world::binaries::Binaries;
use world::board::{self, Board, Running};
use world::process::until;

const PATIENCE: Duration = Duration::from_mins(2);
/// Signals of a row: the counter of readings, and nine channels.
const SIGNALS: usize = 10;
/// Bytes of a board's 64 KiB that stay unused: its budget is 56 KiB.
const STACK_LEFT_MIN: u32 = 8 * 1024;
/// How often the power goes.
const CUTS: usize = 4;

/// By boot, the counters of the rows that came.
type Rows = BTreeMap<u64, Vec<u64>>;

/// The documents that a file sink has written so far.
fn documents(sink: &Path) -> Vec<Value> {
    let Ok(dir) = std::fs::read_dir(sink) else { return Vec::new() };
    let mut files: Vec<_> = dir.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ndjson"));
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    // The last line may be half written.
    let parsed = |text: String| {
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<_>>()
    };
    texts.flat_map(parsed).collect()
}

/// The rows in the bulk lane; each has all its signals, with the very values that the board makes.
fn rows(sink: &Path) -> Rows {
    let mut rows = Rows::new();
    for document in documents(sink) {
        if document["type"] != "milepost.samples" || document["lane"] != "bulk" {
            continue;
        }
        let data = document["data"].as_object().unwrap();
        assert_eq!(data.len(), SIGNALS, "{document}");
        let readings = data["Milepost.Simulated.Readings"].as_u64().unwrap();
        for channel in 1..SIGNALS as u64 {
            let path = format!("Milepost.Simulated.Channel{channel}");
            assert_eq!(data[&path].as_u64(), Some(raw(channel, readings / 10)), "{document}");
        }
        rows.entry(document["boot"].as_u64().unwrap()).or_default().push(readings);
    }
    rows
}

/// What a channel shows in a row: as `firmware/boards/src/simulated.rs` has it.
fn raw(channel: u64, row: u64) -> u64 {
    let half = 50 + 37 * channel;
    let phase = row % (2 * half);
    let noise = (row * 10 + channel).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61;
    500 + 3000 / half * phase.min(2 * half - phase) + noise
}

#[test]
fn what_a_board_measured_arrives_once_however_often_its_power_goes() {
    // `cargo xtask test` says why there are none.
    let has_images = std::env::var_os(board::IMAGES).is_none_or(|dir| !dir.is_empty());
    if !board::has_qemu() || !has_images {
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped");
        eprintln!("skipped: the firmware on its boards");
        return;
    }
    let image = board::images().unwrap().remove(0);
    let dir = tempfile::tempdir().unwrap();
    let home = AgentHome::new(&Binaries::build(false).unwrap(), dir.path(), "").unwrap();
    let keys = dir.path().join("keys");
    home.add_devices("board-1\n", &keys).unwrap();
    let mut agent = home.start().unwrap();
    let key_line = std::fs::read_to_string(&keys).unwrap();
    let provision = board::provision(key_line.trim(), home.listen, 1).unwrap();
    let (flash, console) = (dir.path().join("nor.img"), dir.path().join("console"));
    board::write_flash(&flash, &provision).unwrap();
    for boot in 1..=CUTS + 1 {
        let running = Running::start(Board::EmcraftSf2, &image, &flash, &console).unwrap();
        let came = |wanted| {
            let what = format!("{wanted} rows of boot {boot}");
            let arrived = until(&what, PATIENCE, || {
                Ok(rows(&home.sink()).get(&(boot as u64)).is_some_and(|rows| rows.len() >= wanted))
            });
            assert!(arrived.is_ok(), "{arrived:?}; {}", running.said());
        };
        came(1);
        if boot == 2 {
            // The agent goes as well: what was not acknowledged comes again.
            agent.kill().unwrap();
            agent = home.start().unwrap();
            came(2);
        }
        running.kill().unwrap();
    }
    let said = std::fs::read_to_string(&console).unwrap();
    assert!(!said.contains("stopped"), "{said}");
    let left =
        said.lines().filter_map(|line| line.rsplit_once("stack left ")?.1.parse().ok()).min();
    assert!(left >= Some(STACK_LEFT_MIN), "{left:?} bytes; {said}");
    for (boot, rows) in rows(&home.sink()) {
        let expected: Vec<u64> = (0..rows.len() as u64).map(|row| 10 * row).collect();
        assert_eq!(rows, expected, "boot {boot}: every row once, in order, none missing; {said}");
    }
    let ledger = home.call(&["ledger", "--json"]).unwrap();
    let ledger: Value = serde_json::from_slice(&ledger.stdout).unwrap();
    assert!(ledger.to_string().contains("\"balanced\":true"), "{ledger}");
    agent.kill().unwrap();
}
