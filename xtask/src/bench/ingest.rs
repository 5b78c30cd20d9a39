//! The whole path on one machine: recordings as many vehicles, at a rate or as fast as they go.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use world::agent::AgentHome;
use world::binaries::{Binaries, csv_files, root};
use world::fleet::Fleet;
use world::process::{Process, now};

use super::{SinkKind, bytes_under, data, fresh, mib, of, peers, real, report, verified};

/// The recordings over and over, so that they last however fast they are read.
const ROUNDS: u32 = 1000;
/// How often a question is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How to load.
pub struct Ingest {
    pub data: Vec<PathBuf>,
    pub json: bool,
    pub load_for: Duration,
    pub vehicles: u32,
    pub rate: u32,
    /// One run for each.
    pub sinks: Vec<SinkKind>,
    pub peers: bool,
}

pub fn run(bench: &Ingest) -> Result<()> {
    let data = data(&bench.data)?;
    let files = csv_files(&data, &["obd_car", "taxi"])?;
    let binaries = Binaries::build(true)?;
    let dir = root().join("target/bench-ingest");
    let mut last = Value::Null;
    for sink in &bench.sinks {
        fresh(&dir)?;
        last = one(bench, *sink, &binaries, &dir, &files)?;
        report(bench.json, &last)?;
    }
    if bench.peers {
        let mut others = peers::run(&dir, &files, bench.vehicles, ROUNDS, bench.load_for)?;
        let ours = of(&last, "/samples_per_s").as_f64().unwrap_or_default();
        let theirs = of(&others, "/samples_per_s").as_f64().unwrap_or_default();
        let figure = |row: &Value| of(row, "/bytes_per_sample").as_f64().unwrap_or_default();
        let bytes = figure(&others) / figure(&last);
        add(&mut others, "samples_per_s_ratio", ours / theirs);
        add(&mut others, "bytes_per_sample_ratio", bytes);
        report(bench.json, &others)?;
    }
    Ok(())
}

/// One run into one sink; its figures.
fn one(
    bench: &Ingest,
    sink: SinkKind,
    binaries: &Binaries,
    dir: &Path,
    files: &[PathBuf],
) -> Result<Value> {
    let home = AgentHome::with_sinks(binaries, dir, sink.section())?;
    let fleet =
        Fleet::replay(binaries, &dir.join("fleet"), files, Some(bench.vehicles))?.rounds(ROUNDS);
    home.add_devices(&fleet.names()?, &fleet.keys())?;
    let agent = home.start()?;
    let summary = dir.join("fleet.json");
    let start = now();
    let mut load = load((bench, sink), &home, &fleet, &agent, &summary)?;
    home.wait_delivered(Duration::from_mins(2))?;
    let delivered_s = start.elapsed().as_secs_f64();
    let agent_cpu_s = agent.cpu_seconds()?;
    load.rss_max_kib = load.rss_max_kib.max(agent.rss_kib()?.1);
    let ledger = dir.join("ledger.json");
    std::fs::write(&ledger, serde_json::to_vec(&home.ledger()?)?)?;
    let status = agent.stop(Duration::from_mins(1))?;
    if !status.success() {
        bail!("the agent ended with {status}; see {}", home.log().display());
    }
    let said: Value = serde_json::from_slice(&std::fs::read(&summary)?)
        .with_context(|| format!("reading {}", summary.display()))?;
    let taken = of(&said, "/samples").as_u64().unwrap_or(0).max(1);
    let mut row = json!({
        "bench": "ingest",
        "sink": format!("{sink:?}").to_lowercase(),
        "vehicles": bench.vehicles,
        "samples": of(&said, "/samples"),
        "frames": of(&said, "/frames"),
        "load_s": of(&said, "/seconds"),
        "samples_per_s": of(&said, "/samples_per_s"),
        "frames_per_s": of(&said, "/frames_per_s"),
        "bytes_per_sample": of(&said, "/bytes_per_sample"),
        "delivered_s": delivered_s,
        "agent_cpu_s": agent_cpu_s,
        "agent_cpu_us_per_sample": agent_cpu_s * 1e6 / real(taken),
        "rss_mib": mib(load.rss_max_kib),
    });
    if sink == SinkKind::Store {
        let bytes = bytes_under(&home.data.join("store"))?;
        load.query_ms.sort_by(f64::total_cmp);
        let middle = load.query_ms.get(load.query_ms.len() / 2).copied();
        add(&mut row, "store_bytes_per_sample", real(bytes) / real(taken));
        add(&mut row, "queries_answered", load.query_ms.len());
        add(&mut row, "query_ms_median", middle);
        add(&mut row, "query_ms_max", load.query_ms.last().copied());
    }
    let verdict = verified(&fleet, &home, sink, &ledger)?;
    for (key, at) in [
        ("verified_samples", "/samples/delivered"),
        ("missing_samples", "/samples/missing"),
        ("doubled_samples", "/samples/doubled"),
        ("out_of_order_samples", "/samples/out_of_order"),
        ("unequal_samples", "/samples/unequal"),
        ("lost_samples", "/samples/lost"),
    ] {
        add(&mut row, key, of(&verdict, at));
    }
    Ok(row)
}

/// What was seen under load.
#[derive(Default)]
struct Load {
    rss_max_kib: u64,
    query_ms: Vec<f64>,
}

/// Runs the fleet to its end, with questions asked meanwhile if there is a store to ask.
fn load(
    (bench, sink): (&Ingest, SinkKind),
    home: &AgentHome,
    fleet: &Fleet,
    agent: &Process,
    summary: &Path,
) -> Result<Load> {
    let (length, rate) = (format!("{}s", bench.load_for.as_secs()), bench.rate.to_string());
    let pace: &[&str] = if bench.rate == 0 { &["--speed", "max"] } else { &["--rate", &rate] };
    let rest = ["--frame-bytes", "1024", "--for", &length, "--flash-kib", "64"];
    let arguments = [pace, &rest].concat();
    let mut vehicles = fleet.start(&home.listen.to_string(), &arguments, summary)?;
    let start = now();
    let (mut load, mut last) = (Load::default(), 0);
    let mut asked = now();
    while vehicles.ended()?.is_none() {
        std::thread::sleep(Duration::from_millis(250));
        load.rss_max_kib = load.rss_max_kib.max(agent.rss_kib()?.1);
        if sink == SinkKind::Store && asked.elapsed() >= ASK_EVERY {
            asked = now();
            home.call(&["query", QUESTION, "--format", "json"])?;
            load.query_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
        }
        let second = start.elapsed().as_secs();
        if !bench.json && second >= last + 5 {
            last = second;
            eprintln!("{second:4} s  agent {:5.1} MiB", mib(load.rss_max_kib));
        }
        if start.elapsed() > bench.load_for + Duration::from_mins(5) {
            bail!("the fleet does not end; see {}", fleet.log().display());
        }
    }
    let status = vehicles.wait(Duration::from_secs(1))?;
    if !status.success() {
        bail!("the fleet ended with {status}; see {}", fleet.log().display());
    }
    Ok(load)
}

/// The fleet's mean speed by the hour.
const QUESTION: &str = "SELECT time, sum(count) AS samples, sum(sum) / sum(count) AS mean \
                        FROM rollup_1h WHERE signal = 'Vehicle.Speed' GROUP BY time LIMIT 24";

fn add(row: &mut Value, key: &str, value: impl serde::Serialize) {
    if let Value::Object(members) = row {
        members.insert(key.to_owned(), json!(value));
    }
}
