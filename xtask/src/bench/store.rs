//! What the local store takes: every CSV recording once, merged, per set and in all.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use world::agent::AgentHome;
use world::binaries::{Binaries, csv_files, root};
use world::fleet::Fleet;

use super::{SinkKind, bytes_under, data, fresh, of, real, report, verified};

/// What to measure.
pub struct Store {
    pub data: Vec<PathBuf>,
    pub json: bool,
}

/// The sets of CSV recordings.
const SETS: [&str; 3] = ["obd_car", "ev_twizy", "taxi"];

pub fn run(bench: &Store) -> Result<()> {
    let data = data(&bench.data)?;
    let binaries = Binaries::build(true)?;
    let (mut samples, mut bytes) = (0, 0);
    for set in SETS {
        let dir = root().join("target/bench-store").join(set);
        fresh(&dir)?;
        let home = AgentHome::with_sinks(&binaries, &dir, SinkKind::Store.section())?;
        let files = csv_files(&data, &[set])?;
        let fleet = Fleet::replay(&binaries, &dir.join("fleet"), &files, None)?;
        home.add_devices(&fleet.names()?, &fleet.keys())?;
        let agent = home.start()?;
        let summary = dir.join("fleet.json");
        let mut vehicles = fleet.start(&home.listen.to_string(), &["--speed", "max"], &summary)?;
        let status = vehicles.wait(Duration::from_mins(5))?;
        if !status.success() {
            bail!("the fleet ended with {status}; see {}", fleet.log().display());
        }
        home.wait_delivered(Duration::from_mins(2))?;
        let ledger = dir.join("ledger.json");
        std::fs::write(&ledger, serde_json::to_vec(&home.ledger()?)?)?;
        agent.stop(Duration::from_mins(1))?;
        // Merged as time would merge it.
        home.call(&["store", "compact"])?;
        let verdict = verified(&fleet, &home, SinkKind::Store, &ledger)?;
        let (held, took) =
            (of(&verdict, "/samples/delivered"), bytes_under(&home.data.join("store"))?);
        let held = held.as_u64().unwrap_or_default();
        samples += held;
        bytes += took;
        report(bench.json, &row(set, held, took))?;
    }
    report(bench.json, &row("all", samples, bytes))
}

fn row(set: &str, samples: u64, bytes: u64) -> Value {
    json!({
        "bench": "store",
        "set": set,
        "samples": samples,
        "store_bytes": bytes,
        "bytes_per_sample": real(bytes) / real(samples.max(1)),
    })
}
