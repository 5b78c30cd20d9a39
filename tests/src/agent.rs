//! The agent as a process.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::binaries::Binaries;
use crate::process::{Process, until};

/// Where an agent lives and listens, and how it is started.
#[derive(Clone, Debug)]
pub struct AgentHome {
    binaries: Binaries,
    /// Its data directory.
    pub data: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Where devices connect.
    pub listen: SocketAddr,
    /// Where its page, health and metrics are.
    pub http: SocketAddr,
    /// Keep writes in the process's memory until they are synced, so that a kill loses them.
    pub hold_unsynced: bool,
    /// What its process has in its environment besides.
    pub environment: Vec<(String, String)>,
}

/// A loopback address nobody listens on, never the same one twice in a process.
///
/// Below the range from which the kernel picks ports for outgoing connections: one of those could
/// take the port between this call and the listener's, or while an agent is down.
pub fn free_address() -> Result<SocketAddr> {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU32::new(std::process::id().wrapping_mul(64)));
    for _ in 0..PORTS {
        let step = next.fetch_add(1, Ordering::Relaxed) % PORTS;
        let port = u16::try_from(FIRST_PORT + step)?;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no free port from {FIRST_PORT} on")
}

const FIRST_PORT: u32 = 12_000;
const PORTS: u32 = 20_000;

impl AgentHome {
    /// A home under `dir`, with a file sink in `dir/out`, and `extra` lines of configuration.
    pub fn new(binaries: &Binaries, dir: &Path, extra: &str) -> Result<Self> {
        let sink = dir.join("out");
        let sinks = format!(
            "[[sink]]\nname = \"file\"\ntype = \"file\"\npath = \"{}\"\n\n{extra}",
            sink.display()
        );
        Self::with_sinks(binaries, dir, &sinks)
    }

    /// A home under `dir`, with these sinks, and whatever else is configured.
    pub fn with_sinks(binaries: &Binaries, dir: &Path, sinks: &str) -> Result<Self> {
        let (listen, http) = (free_address()?, free_address()?);
        let data = dir.join("agent");
        let config = dir.join("milepost.toml");
        let text = format!(
            "[agent]\ndata_dir = \"{}\"\n\n[listen]\naddress = \"{listen}\"\n\n[http]\naddress = \"{http}\"\n\n\
             {sinks}\n",
            data.display(),
        );
        std::fs::create_dir_all(dir)?;
        std::fs::write(&config, text)?;
        Ok(Self {
            binaries: binaries.clone(),
            data,
            config,
            listen,
            http,
            hold_unsynced: false,
            environment: Vec::new(),
        })
    }

    /// The file sink's directory.
    pub fn sink(&self) -> PathBuf {
        self.config.with_file_name("out")
    }

    /// Where the agent's own log goes.
    pub fn log(&self) -> PathBuf {
        self.config.with_file_name("agent.log")
    }

    /// `milepost ARGS`, with this home's configuration.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binaries.agent);
        command.args(args).arg("--config").arg(&self.config);
        command
    }

    /// Runs `milepost ARGS` to its end; fails if it does.
    pub fn call(&self, args: &[&str]) -> Result<Output> {
        let output = self.command(args).output().context("running milepost")?;
        if !output.status.success() {
            bail!(
                "milepost {}: {}\n{}{}",
                args.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(output)
    }

    /// Registers devices by name, their keys into `keys`.
    pub fn add_devices(&self, names: &str, keys: &Path) -> Result<()> {
        let list = keys.with_extension("names");
        std::fs::write(&list, names)?;
        let (list, keys) = (list.to_string_lossy(), keys.to_string_lossy());
        self.call(&["devices", "add", "--from", &list, "--keys", &keys])?;
        Ok(())
    }

    /// Starts the agent and waits until it is healthy.
    pub fn start(&self) -> Result<Process> {
        let mut process = self.spawn()?;
        until("the agent's health", Duration::from_mins(1), || {
            if let Some(status) = process.ended()? {
                bail!("the agent ended at its start: {status}; see {}", self.log().display());
            }
            Ok(self.get("/healthz").is_ok_and(|(status, _)| status == 200))
        })?;
        Ok(process)
    }

    /// Starts the agent.
    pub fn spawn(&self) -> Result<Process> {
        let mut command = self.command(&["run"]);
        if self.hold_unsynced {
            command.arg("--hold-unsynced-writes");
        }
        command.envs(self.environment.iter().cloned());
        Process::start("milepost", &mut command, &self.log())
    }

    /// The ledger.
    pub fn ledger(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.call(&["ledger", "--json"])?.stdout)?)
    }

    /// Waits until every sink has everything: nothing is left in the journal, and nothing waits for a
    /// catalogue.
    pub fn wait_delivered(&self, at_most: Duration) -> Result<()> {
        until("delivery to all sinks", at_most, || {
            let ledger = self.ledger()?;
            let sinks = ledger.get("sinks").and_then(Value::as_array).context("no sinks")?;
            let is_none = |sink: &Value, what: &str| {
                let count = |unit| sink.pointer(&format!("/{what}/{unit}"))?.as_u64();
                count("samples") == Some(0) && count("events") == Some(0)
            };
            let has_all = |sink| is_none(sink, "buffered") && is_none(sink, "quarantined");
            Ok(!sinks.is_empty() && sinks.iter().all(has_all))
        })
    }

    /// GET from the agent's HTTP port: status and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.http, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
        let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
        Ok((status.context("no HTTP status")?, body.to_owned()))
    }

    /// The value of a metric, summed over its labels.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let (_, body) = self.get("/metrics")?;
        let values = body.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = match rest.strip_prefix('{') {
                Some(labelled) => labelled.split_once('}')?.1,
                None => rest.strip_prefix(' ')?,
            };
            value.trim().parse::<f64>().ok()
        });
        Ok(values.sum())
    }
}
