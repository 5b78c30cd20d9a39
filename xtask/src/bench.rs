//! `cargo xtask bench`: figures with their units, from the real binaries.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use world::agent::AgentHome;
use world::binaries::{Binaries, csv_files, recordings, root};
use world::fleet::Fleet;
use world::process::now;

mod query;

pub use query::{Query, query};

/// The recordings over and over, so that they last however fast they are read.
const ROUNDS: u32 = 1000;

/// How to load.
pub struct Ingest {
    pub data: Vec<PathBuf>,
    pub json: bool,
    pub load_for: Duration,
    pub vehicles: u32,
    pub rate: u32,
}

/// The whole path on one machine: recordings as many vehicles, as fast as they go.
pub fn ingest(bench: &Ingest) -> Result<()> {
    let data = bench.data.first().cloned().or_else(recordings);
    let data = data.context("no recordings: give --data PATH or set MILEPOST_DATA")?;
    let files = csv_files(&data, &["obd_car", "taxi"])?;
    let binaries = Binaries::build(true)?;
    let dir = root().join("target/bench-ingest");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let home = AgentHome::new(&binaries, &dir, "")?;
    let fleet =
        Fleet::replay(&binaries, &dir.join("fleet"), &files, Some(bench.vehicles))?.rounds(ROUNDS);
    home.add_devices(&fleet.names()?, &fleet.keys())?;
    let agent = home.start()?;
    let (length, rate) = (format!("{}s", bench.load_for.as_secs()), bench.rate.to_string());
    let pace: &[&str] = if bench.rate == 0 { &["--speed", "max"] } else { &["--rate", &rate] };
    let rest = ["--frame-bytes", "1024", "--for", &length, "--flash-kib", "64"];
    let arguments = [pace, &rest].concat();
    let summary = dir.join("fleet.json");
    let mut vehicles = fleet.start(&home.listen.to_string(), &arguments, &summary)?;
    let start = now();
    let (mut rss_max_kib, mut last) = (0, 0);
    while vehicles.ended()?.is_none() {
        std::thread::sleep(Duration::from_millis(500));
        rss_max_kib = rss_max_kib.max(agent.rss_kib()?.1);
        let second = start.elapsed().as_secs();
        if !bench.json && second >= last + 5 {
            last = second;
            eprintln!("{second:4} s  agent {:5.1} MiB", mib(rss_max_kib));
        }
        if start.elapsed() > bench.load_for + Duration::from_mins(5) {
            bail!("the fleet does not end; see {}", fleet.log().display());
        }
    }
    let status = vehicles.wait(Duration::from_secs(1))?;
    if !status.success() {
        bail!("the fleet ended with {status}; see {}", fleet.log().display());
    }
    home.wait_delivered(Duration::from_mins(2))?;
    let delivered_s = start.elapsed().as_secs_f64();
    let cpu_s = agent.cpu_seconds()?;
    rss_max_kib = rss_max_kib.max(agent.rss_kib()?.1);
    let ledger = home.ledger()?;
    let file = dir.join("ledger.json");
    std::fs::write(&file, serde_json::to_vec(&ledger)?)?;
    let status = agent.stop(Duration::from_secs(30))?;
    if !status.success() {
        bail!("the agent ended with {status}; see {}", home.log().display());
    }
    let verdict = fleet.verify(&home.sink(), Some(&file), true)?;
    if !verdict.status.success() {
        bail!(
            "verification failed:\n{}{}",
            String::from_utf8_lossy(&verdict.stdout),
            String::from_utf8_lossy(&verdict.stderr)
        );
    }
    let fleet_said: Value = serde_json::from_slice(&std::fs::read(&summary)?)
        .with_context(|| format!("reading {}", summary.display()))?;
    let verdict: Value = serde_json::from_slice(&verdict.stdout)?;
    let of = |said: &Value, at: &str| said.pointer(at).cloned().unwrap_or_default();
    let row = json!({
        "bench": "ingest",
        "vehicles": bench.vehicles,
        "samples": of(&fleet_said, "/samples"),
        "frames": of(&fleet_said, "/frames"),
        "load_s": of(&fleet_said, "/seconds"),
        "samples_per_s": of(&fleet_said, "/samples_per_s"),
        "frames_per_s": of(&fleet_said, "/frames_per_s"),
        "bytes_per_sample": of(&fleet_said, "/bytes_per_sample"),
        "delivered_s": delivered_s,
        "agent_cpu_s": cpu_s,
        "rss_mib": mib(rss_max_kib),
        "verified_samples": of(&verdict, "/samples/delivered"),
        "missing_samples": of(&verdict, "/samples/missing"),
        "doubled_samples": of(&verdict, "/samples/doubled"),
        "out_of_order_samples": of(&verdict, "/samples/out_of_order"),
        "unequal_samples": of(&verdict, "/samples/unequal"),
        "lost_samples": of(&verdict, "/samples/lost"),
    });
    report(bench.json, &row)
}

fn report(as_json: bool, row: &Value) -> Result<()> {
    if as_json {
        println!("{row}");
    } else {
        println!("{}", serde_json::to_string_pretty(row)?);
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
