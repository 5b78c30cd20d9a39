//! `cargo xtask load`: real processes and real sockets, more of them than anybody wants, and a figure
//! for each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::{Map, Value, json};
use world::agent::AgentHome;
use world::binaries::{Binaries, root};
use world::process::{Process, until};

pub mod backlog;
pub mod clients;
pub mod idle;
pub mod players;
pub mod soak;

/// Which load.
#[derive(Subcommand)]
pub enum Load {
    /// Real TCP clients: the agent is killed, and all reconnect at once; with jitter and without.
    Clients {
        /// How many.
        #[arg(long, default_value_t = 20_000)]
        clients: u32,
        /// Frames of each before the kill, and again after it.
        #[arg(long, default_value_t = 3)]
        frames: u64,
        /// Processes that they are spread over.
        #[arg(long, default_value_t = 4)]
        processes: u32,
        /// Most connections that the agent is configured to take; default: one for each client.
        #[arg(long)]
        connections_max: Option<u32>,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Clients that only hold connections, beside a small honest fleet.
    Idle {
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        clients: u32,
        /// Honest vehicles.
        #[arg(long, default_value_t = 25)]
        vehicles: u32,
        /// How long these drive.
        #[arg(long = "for", value_parser = super::duration, default_value = "2m")]
        drive: Duration,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// A fleet for an hour, into a file sink and a store; the agent's memory every ten seconds.
    Soak {
        /// How long.
        #[arg(long = "for", value_parser = super::duration, default_value = "1h")]
        lasts: Duration,
        /// Vehicles.
        #[arg(long, default_value_t = 200)]
        vehicles: u32,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// All of these at reduced size, as CI runs them: the same oracles, no figures.
    Reduced,
    /// A backlog in the journal, a kill, and the first delivery after it.
    Backlog {
        /// Its size.
        #[arg(long, default_value_t = 10)]
        gib: u64,
        /// Devices that it is of.
        #[arg(long, default_value_t = 1000)]
        devices: u32,
        /// How long it drains; then what was delivered is verified.
        #[arg(long = "for", value_parser = super::duration, default_value = "60s")]
        drain_for: Duration,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one, on optimised programs.
pub fn run(load: &Load) -> Result<()> {
    let release = true;
    match *load {
        Load::Clients { clients, frames, processes, connections_max, json } => {
            let connections_max = connections_max.unwrap_or(clients);
            let load =
                clients::Storm { clients, frames, processes, connections_max, release, json };
            clients::run(&load)
        }
        Load::Idle { clients, vehicles, drive, json } => {
            idle::run(&idle::Idle { clients, vehicles, drive, release, json })
        }
        Load::Soak { lasts, vehicles, json } => {
            soak::run(&soak::Soak { lasts, vehicles, release, json })
        }
        Load::Reduced => reduced(),
        Load::Backlog { gib, devices, drain_for, json } => {
            let mib = gib << 10;
            backlog::run(&backlog::Backlog { mib, devices, drain_for, release, json })
        }
    }
}

/// All of them at reduced size, on the programs that tests run: the same oracles, no figures.
pub fn reduced() -> Result<()> {
    let (release, json) = (false, true);
    clients::run(&clients::Storm {
        clients: 600,
        frames: 3,
        processes: 2,
        connections_max: 500,
        release,
        json,
    })?;
    let drive = Duration::from_secs(10);
    idle::run(&idle::Idle { clients: 500, vehicles: 5, drive, release, json })?;
    let lasts = Duration::from_secs(20);
    soak::run(&soak::Soak { lasts, vehicles: 5, release, json })?;
    let drain_for = Duration::from_secs(5);
    backlog::run(&backlog::Backlog { mib: 100, devices: 20, drain_for, release, json })
}

/// What every load is made of.
pub struct Ground {
    pub binaries: Binaries,
    /// `milepost-load`.
    pub load: PathBuf,
    /// Empty, for this load alone.
    pub dir: PathBuf,
}

impl Ground {
    /// Builds everything, optimised or not, and clears the load's directory.
    pub fn new(name: &str, release: bool) -> Result<Self> {
        let (binaries, programs) = Binaries::beside(&["milepost-proof"], release)?;
        let load = programs.find("milepost-load")?;
        let dir = root().join(format!("target/load-{name}"));
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        Ok(Self { binaries, load, dir })
    }

    /// Runs `milepost-load ARGS` to its end; what it says last.
    pub fn say(&self, arguments: &[&str]) -> Result<Value> {
        let output = std::process::Command::new(&self.load).args(arguments).output()?;
        if !output.status.success() {
            bail!(
                "milepost-load {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = text.lines().next_back().context("milepost-load said nothing")?;
        serde_json::from_str(last).with_context(|| format!("milepost-load said {last}"))
    }

    /// The names of light devices, registered with the agent; where their keys are.
    pub fn register(&self, home: &AgentHome, devices: u32) -> Result<PathBuf> {
        let output = std::process::Command::new(&self.load)
            .args(["names", "--devices", &devices.to_string()])
            .output()?;
        let keys = self.dir.join("keys.ndjson");
        home.add_devices(&String::from_utf8(output.stdout)?, &keys)?;
        Ok(keys)
    }

    /// The run held; nothing of it is kept.
    pub fn clear(self) -> Result<()> {
        Ok(std::fs::remove_dir_all(&self.dir)?)
    }
}

/// Prints what came out.
pub fn report(as_json: bool, figures: &Value) -> Result<()> {
    if as_json {
        println!("{figures}");
    } else {
        println!("{}", serde_json::to_string_pretty(figures)?);
    }
    Ok(())
}

/// More lines in a section that a home's configuration has already.
fn configure(home: &AgentHome, section: &str, lines: &str) -> Result<()> {
    let text = std::fs::read_to_string(&home.config)?;
    let head = format!("[{section}]\n");
    if !text.contains(&head) {
        bail!("no {head} in {}", home.config.display());
    }
    std::fs::write(&home.config, text.replacen(&head, &format!("{head}{lines}\n"), 1))?;
    Ok(())
}

/// Waits until the agent answers, whatever it says of its health.
fn until_it_answers(home: &AgentHome, agent: &mut Process) -> Result<()> {
    until("the agent's answer", Duration::from_mins(2), || {
        if let Some(status) = agent.ended()? {
            bail!("the agent ended at its start: {status}; see {}", home.log().display());
        }
        Ok(home.get("/healthz").is_ok())
    })
}

/// Connections that the agent refused, by reason, and what else ended.
fn refusals(home: &AgentHome) -> Result<Value> {
    let (_, body) = home.get("/metrics")?;
    let mut counts = Map::new();
    for line in body.lines() {
        let Some(rest) = line.strip_prefix("agent_session_refused_total{") else { continue };
        let Some((labels, value)) = rest.split_once("} ") else { continue };
        let reason = labels.split('"').nth(1).unwrap_or(labels);
        let count: f64 = value.trim().parse()?;
        if count > 0.0 {
            counts.insert(reason.to_owned(), json!(count));
        }
    }
    Ok(Value::Object(counts))
}

/// Fails if the books do not balance.
fn balanced(home: &AgentHome, dir: &Path) -> Result<PathBuf> {
    let ledger = home.ledger()?;
    let file = dir.join("ledger.json");
    std::fs::write(&file, serde_json::to_vec(&ledger)?)?;
    if ledger.get("balanced") != Some(&Value::Bool(true)) {
        bail!("the ledger does not balance; everything is in {}", dir.display());
    }
    Ok(file)
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(kib: u64) -> f64 {
    (kib as f64 / 102.4).round() / 10.0
}

fn seconds(of: Duration) -> f64 {
    (of.as_secs_f64() * 1000.0).round() / 1000.0
}
