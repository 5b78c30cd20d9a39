//! Thousands of real TCP clients: the agent is killed, and all of them reconnect at once.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use world::agent::AgentHome;
use world::process::{Process, now, until};

use super::players::{Player, Players};
use super::{Ground, balanced, configure, mib, refusals, report, seconds};

/// How many, and what they do.
pub struct Storm {
    pub clients: u32,
    /// Frames that each device measures before the kill, and again after it.
    pub frames: u64,
    /// Processes that they are spread over: a process may have only so many open files.
    pub processes: u32,
    /// The agent's own bound.
    pub connections_max: u32,
    pub release: bool,
    pub json: bool,
}

/// How long everything may take.
const PATIENCE: Duration = Duration::from_mins(5);
/// Nobody was held for so long: whoever is not connected is refused.
const STILL: Duration = Duration::from_secs(5);

pub fn run(load: &Storm) -> Result<()> {
    for herd in [false, true] {
        let ground = Ground::new("clients", load.release)?;
        report(load.json, &one(load, &ground, herd)?)?;
        ground.clear()?;
    }
    Ok(())
}

/// One storm, with the jitter of real devices or without any; its figures.
fn one(load: &Storm, ground: &Ground, herd: bool) -> Result<Value> {
    let home = AgentHome::new(&ground.binaries, &ground.dir, "")?;
    configure(&home, "listen", &format!("connections_max = {}", load.connections_max))?;
    let keys = ground.register(&home, load.clients)?;
    let agent = home.start()?;
    let mut players = start(load, ground, &home, &keys.to_string_lossy(), herd)?;
    let begun = now();
    players.measure(load.frames)?;
    settle(&mut players, load.clients)?;
    let connected_s = seconds(begun.elapsed());
    let (connected, refused) = (players.count("connected"), players.count("busy"));
    let before = memory(&agent)?;
    let counted = ["attempts", "failed", "busy", "hellos"].map(|what| players.count(what));

    agent.kill()?;
    players.measure(load.frames)?;
    players.order("leave")?;
    let (restarted, restarted_ms) = (now(), unix_ms());
    let mut agent = home.spawn()?;
    let ready_s = ready(&home, &mut agent, restarted)?;
    until_all_are_held(&mut players, &mut agent, load.clients)?;
    let after = memory(&agent)?;
    let (cpu_s, refusals) = (agent.cpu_seconds()?, refusals(&home)?);
    let times = players.held_at()?;
    let at = |part: usize| {
        let index = times.len().saturating_sub(1) * part / 100;
        times.get(index).map(|at| at.saturating_sub(restarted_ms))
    };
    let [attempts, failed, busy, hellos] = ["attempts", "failed", "busy", "hellos"]
        .map(|what| players.count(what))
        .into_iter()
        .zip(counted)
        .map(|(now, then)| now - then)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_default();
    let frames = players.count("frames");
    drop(players);
    let verified = verified(load, ground, &home, agent)?;
    Ok(json!({
        "load": "clients",
        "jitter": !herd,
        "clients": load.clients,
        "connections_max": load.connections_max,
        "connected_before_the_kill": connected,
        "connected_s": connected_s,
        "refused_busy_before_the_kill": refused,
        "rss_mib_before_the_kill": mib(before),
        "ready_s": ready_s,
        "held_ms_median": at(50),
        "held_ms_99th": at(99),
        "held_ms_last": at(100),
        "connections_attempted": attempts,
        "connections_not_answered": failed,
        "connections_refused_busy": busy,
        "refused_by_agent": refusals,
        "hellos": hellos,
        "frames_sent": frames,
        "frames_measured": u64::from(load.clients) * load.frames * 2,
        "rss_mib_most": mib(after),
        "agent_cpu_s": cpu_s,
        "verified": verified,
    }))
}

fn start(
    load: &Storm,
    ground: &Ground,
    home: &AgentHome,
    keys: &str,
    herd: bool,
) -> Result<Players> {
    let mut players = Players::default();
    let each = load.clients.div_ceil(load.processes);
    for process in 0..load.processes {
        let first = process * each;
        let devices = each.min(load.clients.saturating_sub(first));
        let listen = home.listen.to_string();
        let (first, devices) = (first.to_string(), devices.to_string());
        // An address of its own: one has 28,000 ports, and those in use before are not free at once.
        let from = format!("127.0.0.{}", 2 + process);
        let mut arguments = [
            "clients",
            "--connect",
            &listen,
            "--from",
            &from,
            "--keys",
            keys,
            "--first",
            &first,
            "--devices",
            &devices,
        ]
        .map(str::to_owned)
        .to_vec();
        if herd {
            arguments.push("--herd".to_owned());
        }
        let log = ground.dir.join("clients.log");
        players.all.push(Player::start(&ground.load, &arguments, &log)?);
    }
    Ok(players)
}

/// Waits until the agent holds what all devices have, or nobody more gets in.
fn settle(players: &mut Players, clients: u32) -> Result<()> {
    let (mut held, mut since) = (0, now());
    until("the clients' connections", PATIENCE, || {
        players.are_alive()?;
        let now_held = players.count("held");
        if now_held != held {
            (held, since) = (now_held, now());
        }
        Ok(held >= u64::from(clients) || (held > 0 && since.elapsed() > STILL))
    })
}

fn until_all_are_held(players: &mut Players, agent: &mut Process, clients: u32) -> Result<()> {
    until("the last acknowledgement", PATIENCE, || {
        players.are_alive()?;
        if let Some(status) = agent.ended()? {
            bail!("the agent ended: {status}");
        }
        Ok(players.count("held") >= u64::from(clients))
    })
}

/// Seconds from the restart until the agent is healthy.
fn ready(home: &AgentHome, agent: &mut Process, since: Instant) -> Result<f64> {
    super::until_it_answers(home, agent)?;
    Ok(seconds(since.elapsed()))
}

/// Highest resident memory, in KiB.
fn memory(agent: &Process) -> Result<u64> {
    Ok(agent.rss_kib()?.1)
}

/// The ledger balances and every frame is in the sink once; what was found.
fn verified(load: &Storm, ground: &Ground, home: &AgentHome, agent: Process) -> Result<Value> {
    home.wait_delivered(PATIENCE)?;
    balanced(home, &ground.dir)?;
    let status = agent.stop(Duration::from_mins(1))?;
    if !status.success() {
        bail!("the agent ended with {status}; see {}", home.log().display());
    }
    let sink = home.sink();
    let (devices, frames) = (load.clients.to_string(), (2 * load.frames).to_string());
    ground.say(&[
        "verify",
        "--sink",
        &sink.to_string_lossy(),
        "--devices",
        &devices,
        "--frames",
        &frames,
    ])
}

#[allow(clippy::disallowed_methods, reason = "a driver: clients in other processes, one clock")]
fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
