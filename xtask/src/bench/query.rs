//! `cargo xtask bench query`: the built `milepost query` against a made-up fleet's day.
//!
//! The store is made once and kept, under `target/`: making it takes longer than asking it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use world::binaries::{built, root};
use world::process::now;

/// How often each query is asked; the median counts.
const ROUNDS: usize = 9;

/// What is asked, by the figure it gives.
const QUERIES: [(&str, &str); 8] = [
    ("start_ms", "SELECT 1"),
    (
        "device_hour_ms",
        "SELECT time, value FROM samples WHERE device = 'truck-0500' AND signal = 'Vehicle.Speed' \
         AND time >= '2026-11-21T07' AND time < '2026-11-21T08' ORDER BY time",
    ),
    (
        "device_hour_all_signals_ms",
        "SELECT * FROM samples WHERE device = 'truck-0500' \
         AND time >= '2026-11-21T07' AND time < '2026-11-21T08'",
    ),
    (
        "fleet_day_hourly_mean_ms",
        "SELECT time, sum(sum) / sum(count) FROM rollup_1h WHERE signal = 'Vehicle.Speed' \
         AND time >= '2026-11-21' AND time < '2026-11-22' GROUP BY time",
    ),
    (
        "fleet_newest_ms",
        "SELECT device, time, value FROM samples WHERE signal = 'Vehicle.Speed' \
         ORDER BY time DESC LIMIT 10",
    ),
    ("logs_match_ms", "SELECT count(*) FROM logs WHERE logs MATCH 'brake'"),
    ("logs_like_ms", "SELECT count(*) FROM logs WHERE message LIKE '%brake%'"),
    ("count_ms", "SELECT count(*) FROM samples"),
];
/// Decodes everything; asked once, because it may take long.
const SCAN: &str = "SELECT avg(value) FROM samples WHERE signal = 'Vehicle.Speed'";

/// What to measure.
pub struct Query {
    pub samples: u64,
    pub vehicles: u32,
    pub json: bool,
}

/// Makes the store if it is not there, and asks it.
pub fn query(bench: &Query) -> Result<()> {
    let milepost = built(&["-p", "milepost", "--bin", "milepost", "--release"], "milepost")?;
    let dir = root().join("target/bench-query");
    let home = dir.join(format!("{}-{}", bench.samples, bench.vehicles));
    let make_s = make(bench, &home)?;
    let store = home.join("store");
    let bytes = size_of(&store)?;
    let mut row = Map::new();
    row.insert("bench".into(), "query".into());
    row.insert("samples".into(), bench.samples.into());
    row.insert("vehicles".into(), bench.vehicles.into());
    row.insert("make_s".into(), make_s.map_or(Value::Null, Value::from));
    row.insert("store_mib".into(), json!(ratio(bytes, 1 << 20)));
    row.insert("store_bytes_per_sample".into(), json!(ratio(bytes, bench.samples)));
    for (figure, sql) in QUERIES {
        let mut times =
            (0..ROUNDS).map(|_| ask(&milepost, &home, sql)).collect::<Result<Vec<_>>>()?;
        times.sort_by(f64::total_cmp);
        row.insert(figure.into(), times.get(ROUNDS / 2).copied().into());
    }
    let scan_ms = ask(&milepost, &home, SCAN)?;
    row.insert("decode_one_signal_of_all_ms".into(), scan_ms.into());
    super::report(bench.json, &Value::Object(row))
}

/// How long it took; none if it was there.
fn make(bench: &Query, home: &Path) -> Result<Option<f64>> {
    if home.join("made").exists() {
        return Ok(None);
    }
    if home.exists() {
        std::fs::remove_dir_all(home)?;
    }
    std::fs::create_dir_all(home)?;
    let example = ["-p", "milepost", "--example", "made_store", "--release"];
    let maker = built(&example, "made_store")?;
    let start = now();
    let status = Command::new(maker)
        .arg(home.join("store"))
        .args([bench.samples.to_string(), bench.vehicles.to_string()])
        .status()
        .context("running made_store")?;
    if !status.success() {
        bail!("the store could not be made");
    }
    std::fs::write(home.join("made"), "")?;
    Ok(Some(start.elapsed().as_secs_f64()))
}

/// Milliseconds from start to end of the process.
fn ask(milepost: &Path, home: &Path, sql: &str) -> Result<f64> {
    let start = now();
    let output = Command::new(milepost)
        .args(["query", "--json", "--timeout", "10m", "--data-dir"])
        .arg(home)
        .arg(sql)
        .current_dir(home)
        .stdin(Stdio::null())
        .output()
        .context("running milepost query")?;
    let elapsed = start.elapsed();
    if !output.status.success() || output.stdout.is_empty() {
        bail!("{sql}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(elapsed.as_secs_f64() * 1000.0)
}

fn size_of(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut dirs: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let found = entry.metadata()?;
            if found.is_dir() {
                dirs.push(entry.path());
            } else {
                bytes += found.len();
            }
        }
    }
    Ok(bytes)
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to as f64
}
