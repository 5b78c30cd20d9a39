//! A realistic fleet for an hour, and what the agent's memory does meanwhile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use world::agent::AgentHome;
use world::fleet::Fleet;
use world::process::{Process, now};

use super::{Ground, balanced, mib, report};

/// How long, with how many.
pub struct Soak {
    pub lasts: Duration,
    pub vehicles: u32,
    pub release: bool,
    pub json: bool,
}

/// How often memory is looked at.
const SAMPLED_EVERY: Duration = Duration::from_secs(10);
/// How long everything may take, besides the soak.
const PATIENCE: Duration = Duration::from_mins(5);

/// Resident memory at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at_s: f64,
    kib: u64,
}

pub fn run(load: &Soak) -> Result<()> {
    let ground = Ground::new("soak", load.release)?;
    let store = "[[sink]]\nname = \"store\"\ntype = \"store\"\non_full = \"block\"\n";
    let home = AgentHome::new(&ground.binaries, &ground.dir, store)?;
    let dir = ground.dir.join("fleet");
    let fleet = Fleet::synthetic(&ground.binaries, &dir, load.vehicles, 1, load.lasts)?;
    home.add_devices(&fleet.names()?, &fleet.keys())?;
    let agent = home.start()?;
    let summary = ground.dir.join("fleet.json");
    let samples = drive(load, &home, &fleet, &agent, &summary)?;
    home.wait_delivered(PATIENCE)?;
    let ledger = balanced(&home, &ground.dir)?;
    let (cpu_s, most) = (agent.cpu_seconds()?, agent.rss_kib()?.1);
    let status = agent.stop(Duration::from_mins(1))?;
    if !status.success() {
        bail!("the agent ended with {status}; see {}", home.log().display());
    }
    let said: Value = serde_json::from_slice(&std::fs::read(&summary)?)?;
    let mut figures = figures(&samples, load)?;
    let verified = verified(&fleet, &home, &ledger)?;
    if let Value::Object(members) = &mut figures {
        members.insert("rss_mib_most".to_owned(), json!(mib(most)));
        members.insert("agent_cpu_s".to_owned(), json!(cpu_s));
        members.insert("samples".to_owned(), said.get("samples").cloned().unwrap_or_default());
        members.insert("frames".to_owned(), said.get("frames").cloned().unwrap_or_default());
        members.insert("verified".to_owned(), verified);
    }
    report(load.json, &figures)?;
    ground.clear()
}

/// Runs the fleet to its end, looking at the agent's memory.
fn drive(
    load: &Soak,
    home: &AgentHome,
    fleet: &Fleet,
    agent: &Process,
    summary: &Path,
) -> Result<Vec<Sample>> {
    let mut vehicles = fleet.start(&home.listen.to_string(), &[], summary)?;
    let (begun, mut samples) = (now(), Vec::new());
    let mut due = Duration::ZERO;
    while vehicles.ended()?.is_none() {
        std::thread::sleep(Duration::from_millis(250));
        let passed = begun.elapsed();
        if passed >= due {
            due += SAMPLED_EVERY;
            let sample = Sample { at_s: passed.as_secs_f64(), kib: agent.rss_kib()?.0 };
            samples.push(sample);
            if !load.json && samples.len() % 30 == 1 {
                eprintln!("{:5.0} s  agent {:.1} MiB", sample.at_s, mib(sample.kib));
            }
        }
        if passed > load.lasts + PATIENCE {
            bail!("the fleet does not end; see {}", fleet.log().display());
        }
    }
    let status = vehicles.wait(Duration::from_secs(1))?;
    if !status.success() {
        bail!("the fleet ended with {status}; see {}", fleet.log().display());
    }
    Ok(samples)
}

/// First, last and slope, the first sixth being the warm-up.
fn figures(samples: &[Sample], load: &Soak) -> Result<Value> {
    let warm: Vec<Sample> = samples.iter().skip(samples.len() / 6).copied().collect();
    let (first, last) = warm.first().zip(warm.last()).context("no samples")?;
    Ok(json!({
        "load": "soak",
        "seconds": load.lasts.as_secs(),
        "vehicles": load.vehicles,
        "sampled": samples.len(),
        "rss_mib_at_the_start": samples.first().map(|sample| mib(sample.kib)),
        "rss_mib_warm": mib(first.kib),
        "rss_mib_last": mib(last.kib),
        "rss_kib_per_hour": slope(&warm).round(),
    }))
}

/// Least squares, in KiB an hour.
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn slope(samples: &[Sample]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean_s = samples.iter().map(|sample| sample.at_s).sum::<f64>() / count;
    let mean_kib = samples.iter().map(|sample| sample.kib as f64).sum::<f64>() / count;
    let fold = |part: fn(f64, f64) -> f64| {
        let parts =
            samples.iter().map(|sample| (sample.at_s - mean_s, sample.kib as f64 - mean_kib));
        parts.map(|(s, kib)| part(s, kib)).sum::<f64>()
    };
    let spread = fold(|s, _| s * s);
    if spread > 0.0 { fold(|s, kib| s * kib) / spread * 3600.0 } else { 0.0 }
}

/// Holds both sinks against what the vehicles took.
fn verified(fleet: &Fleet, home: &AgentHome, ledger: &Path) -> Result<Value> {
    let mut verdicts = serde_json::Map::new();
    for (name, sink) in [("file", home.sink()), ("store", PathBuf::from("store"))] {
        let verdict = fleet.verify_sink(home, (name, &sink), ledger)?;
        if !verdict.status.success() {
            bail!("sink {name}: {}", String::from_utf8_lossy(&verdict.stderr));
        }
        let said: Value = serde_json::from_slice(&verdict.stdout)?;
        verdicts.insert(name.to_owned(), said.get("samples").cloned().unwrap_or_default());
    }
    Ok(Value::Object(verdicts))
}
