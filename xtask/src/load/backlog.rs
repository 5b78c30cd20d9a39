//! A journal of gibibytes behind a sink that was away: how soon an agent that was killed delivers
//! again, and with how much memory.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use world::agent::AgentHome;
use world::process::{Process, now};

use super::{Ground, configure, mib, report, seconds, until_it_answers};

/// How much.
pub struct Backlog {
    pub mib: u64,
    pub devices: u32,
    /// How long it may drain; then what came is verified.
    pub drain_for: Duration,
    pub release: bool,
    pub json: bool,
}

/// How long a first delivery is waited for.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often the sink is looked at.
const LOOKED_EVERY: Duration = Duration::from_millis(2);
/// Time in which the agent is left alone with its sink away.
const AWAY: Duration = Duration::from_secs(3);

pub fn run(load: &Backlog) -> Result<()> {
    let ground = Ground::new("backlog", load.release)?;
    let home = AgentHome::new(&ground.binaries, &ground.dir, "[journal]\nsize_max_gib = 64\n")?;
    configure(&home, "listen", "connections_max = 100")?;
    let keys = ground.register(&home, load.devices)?;
    let (data, keys) = (home.data.to_string_lossy(), keys.to_string_lossy());
    let (devices, size) = (load.devices.to_string(), load.mib.to_string());
    let made = ground.say(&[
        "backlog",
        "--data",
        &data,
        "--keys",
        &keys,
        "--devices",
        &devices,
        "--mib",
        &size,
    ])?;
    // The sink is away: its directory is a file.
    let sink = home.sink();
    fs::write(&sink, "in the way")?;
    let mut agent = home.spawn()?;
    until_it_answers(&home, &mut agent)?;
    std::thread::sleep(AWAY);
    let rss_away = agent.rss_kib()?.1;
    agent.kill()?;
    fs::remove_file(&sink)?;
    let (restarted, mut agent) = (now(), home.spawn()?);
    let first_s = first_delivery(&sink, &mut agent, restarted)?;
    let rss_first = agent.rss_kib()?.1;
    std::thread::sleep(load.drain_for.saturating_sub(restarted.elapsed()));
    let (rss, cpu_s) = (agent.rss_kib()?.1, agent.cpu_seconds()?);
    let ledger = home.ledger()?;
    agent.kill()?;
    let frames = made.get("rounds").and_then(Value::as_u64).context("no rounds")?;
    let verified = ground.say(&[
        "verify",
        "--sink",
        &sink.to_string_lossy(),
        "--devices",
        &devices,
        "--frames",
        &frames.to_string(),
        "--large",
        "--so-far",
    ])?;
    let figures = json!({
        "load": "backlog",
        "journal_bytes": made.get("journal_bytes"),
        "frames": made.get("frames"),
        "made_s": made.get("seconds"),
        "first_delivery_s": first_s,
        "rss_mib_most_while_away": mib(rss_away),
        "rss_mib_most_at_first_delivery": mib(rss_first),
        "rss_mib_most": mib(rss),
        "drained_s": load.drain_for.as_secs(),
        "delivered_samples": ledger.pointer("/sinks/0/delivered/samples"),
        "buffered_samples": ledger.pointer("/sinks/0/buffered/samples"),
        "balanced": ledger.get("balanced"),
        "agent_cpu_s": cpu_s,
        "verified": verified,
    });
    if ledger.get("balanced") != Some(&Value::Bool(true)) {
        bail!("the ledger does not balance; everything is in {}", ground.dir.display());
    }
    report(load.json, &figures)?;
    ground.clear()
}

/// Seconds until there is a document in the sink.
fn first_delivery(sink: &Path, agent: &mut Process, since: Instant) -> Result<f64> {
    while since.elapsed() < PATIENCE {
        let files = fs::read_dir(sink).into_iter().flatten().flatten();
        let mut documents = files
            .filter(|file| file.path().extension().is_some_and(|extension| extension == "ndjson"));
        if documents.any(|file| file.metadata().is_ok_and(|metadata| metadata.len() > 0)) {
            return Ok(seconds(since.elapsed()));
        }
        if let Some(status) = agent.ended()? {
            bail!("the agent ended at its start: {status}");
        }
        std::thread::sleep(LOOKED_EVERY);
    }
    bail!("nothing was delivered within {} s", PATIENCE.as_secs())
}
