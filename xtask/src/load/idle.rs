//! Thousands of clients that only hold connections, beside a small honest fleet.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use world::agent::AgentHome;
use world::fleet::Fleet;
use world::process::until;

use super::players::{Player, Players};
use super::{Ground, balanced, configure, mib, refusals, report};

/// How many, beside whom.
pub struct Idle {
    pub clients: u32,
    /// The honest.
    pub vehicles: u32,
    /// How long these drive.
    pub drive: Duration,
    pub release: bool,
    pub json: bool,
}

/// Clients in a process.
const EACH_MAX: u32 = 5000;
/// How long everything may take, besides the drive.
const PATIENCE: Duration = Duration::from_mins(5);

/// Whether those who do not finish their CONNECT are all there are, or half of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Half {
    /// The others are connected, and silent.
    Connected,
    /// And with the agent's default bound there is no room for all.
    Unfinished,
}

pub fn run(load: &Idle) -> Result<()> {
    for half in [Half::Connected, Half::Unfinished] {
        let ground = Ground::new("idle", load.release)?;
        report(load.json, &one(load, &ground, half)?)?;
        ground.clear()?;
    }
    Ok(())
}

fn one(load: &Idle, ground: &Ground, half: Half) -> Result<Value> {
    let home = AgentHome::new(&ground.binaries, &ground.dir, "")?;
    let room = load.clients + load.vehicles;
    if half == Half::Connected {
        configure(&home, "listen", &format!("connections_max = {room}"))?;
    }
    let keys = ground.register(&home, load.clients)?;
    let fleet = Fleet::synthetic(
        &ground.binaries,
        &ground.dir.join("fleet"),
        load.vehicles,
        1,
        load.drive,
    )?;
    home.add_devices(&fleet.names()?, &fleet.keys())?;
    let mut agent = home.start()?;
    let rss_before = agent.rss_kib()?.0;
    // The idle are there first: the honest have to get past them.
    let mut idle = start(load, ground, (&home, &keys), half)?;
    until("the idle clients", PATIENCE, || {
        idle.are_alive()?;
        Ok(idle.count("opened") >= u64::from(load.clients))
    })?;
    let summary = ground.dir.join("fleet.json");
    let mut vehicles = fleet.start(&home.listen.to_string(), &[], &summary)?;
    let mut open_most = 0;
    until("the honest fleet", load.drive + PATIENCE, || {
        idle.are_alive()?;
        if let Some(status) = agent.ended()? {
            bail!("the agent ended: {status}; see {}", home.log().display());
        }
        open_most = open_most.max(idle.count("open"));
        Ok(vehicles.ended()?.is_some())
    })?;
    let status = vehicles.wait(Duration::from_secs(1))?;
    if !status.success() {
        bail!("the honest fleet ended with {status}; see {}", fleet.log().display());
    }
    let (opened, ended) = (idle.count("opened"), idle.count("ended"));
    let (refused, cpu_s) = (refusals(&home)?, agent.cpu_seconds()?);
    drop(idle);
    home.wait_delivered(PATIENCE)?;
    let ledger = balanced(&home, &ground.dir)?;
    let (rss, rss_most) = agent.rss_kib()?;
    let status = agent.stop(Duration::from_mins(1))?;
    if !status.success() {
        bail!("the agent ended with {status}; see {}", home.log().display());
    }
    let verdict = fleet.verify(&home.sink(), Some(&ledger), true)?;
    if !verdict.status.success() {
        bail!("the honest fleet lost something: {}", String::from_utf8_lossy(&verdict.stderr));
    }
    let verdict: Value = serde_json::from_slice(&verdict.stdout).context("no verdict")?;
    let said: Value = serde_json::from_slice(&std::fs::read(&summary)?)?;
    Ok(json!({
        "load": "idle",
        "idle": format!("{half:?}").to_lowercase(),
        "clients": load.clients,
        "idle_connections_opened": opened,
        "idle_connections_put_out": ended,
        "idle_connections_open_most": open_most,
        "refused_by_agent": refused,
        "honest_vehicles": load.vehicles,
        "honest_drive_s": load.drive.as_secs(),
        "honest_fleet_s": said.get("seconds"),
        "honest_samples_delivered": verdict.pointer("/samples/delivered"),
        "honest_samples_missing": verdict.pointer("/samples/missing"),
        "honest_samples_doubled": verdict.pointer("/samples/doubled"),
        "honest_samples_lost": verdict.pointer("/samples/lost"),
        "rss_mib_before": mib(rss_before),
        "rss_mib_most": mib(rss_most),
        "rss_mib_after": mib(rss),
        "agent_cpu_s": cpu_s,
    }))
}

fn start(
    load: &Idle,
    ground: &Ground,
    (home, keys): (&AgentHome, &Path),
    half: Half,
) -> Result<Players> {
    // Half of them never begin, or never finish, their CONNECT.
    let kinds = match half {
        Half::Connected => ["connected", "half", "connected", "dribble"],
        Half::Unfinished => ["silent", "half", "noise", "dribble"],
    };
    let mut players = Players::default();
    let mut first = 0;
    while first < load.clients {
        let clients = EACH_MAX.min(load.clients - first);
        let listen = home.listen.to_string();
        let (from, process) = (first.to_string(), players.all.len() + 2);
        let (clients_said, address) = (clients.to_string(), format!("127.0.0.{process}"));
        let mut arguments = [
            "idle",
            "--connect",
            &listen,
            "--from",
            &address,
            "--clients",
            &clients_said,
            "--first",
            &from,
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(["--keys".to_owned(), keys.to_string_lossy().into_owned()]);
        for kind in kinds {
            arguments.extend(["--kind", kind].map(str::to_owned));
        }
        players.all.push(Player::start(&ground.load, &arguments, &ground.dir.join("idle.log"))?);
        first += clients;
    }
    Ok(players)
}
