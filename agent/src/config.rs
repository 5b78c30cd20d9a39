//! The configuration file: found, read, checked, split into what each stage needs, forgotten.
//!
//! TOML; every key has a default, so no file at all is a configuration too. Nothing unknown is
//! passed over: a key, a value or a combination that is not understood is an error with its place
//! in the file, and all of them are told at once. `milepost.example.toml` has every key with its
//! default; a test holds it to that.
//!
//! The values are in bytes and [`Duration`]s here; the file says MiB, GiB and `"10s"`.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::intake::broker::BrokerConfig;
use crate::intake::serial::SerialConfig;
use crate::tls::ServerFiles;

mod check;
mod links;
mod log;
mod privacy;
mod read;
mod report;
mod sections;
#[cfg(test)]
mod tests;

pub(crate) use read::parse_duration;

pub use log::Log;
pub use privacy::{Location, Privacy, Pseudonym};
pub use report::{Problem, Report};

const MIB: u64 = 1024 * 1024;

/// Where a file is looked for, in this order, if none is named.
pub const PLACES: [&str; 2] = ["milepost.toml", "/etc/milepost/milepost.toml"];

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[agent]`
    pub agent: Agent,
    /// `[registry]`
    pub registry: Registry,
    /// `[listen]`
    pub listen: Listen,
    /// `[[broker]]`, in the order of the file; none is usual.
    pub brokers: Vec<BrokerConfig>,
    /// `[[serial]]`, in the order of the file; none is usual.
    pub serials: Vec<SerialConfig>,
    /// `[http]`
    pub http: Http,
    /// `[journal]`
    pub journal: Journal,
    /// `[[sink]]`, in the order of the file; the first is the primary one.
    pub sinks: Sinks,
    /// `[privacy]`
    pub privacy: Privacy,
    /// `[log]`
    pub log: Log,
}

/// `[agent]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Where everything durable lies; one agent per directory.
    pub data_dir: PathBuf,
}

/// `[registry]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// The wrapping key's file; `registry.key` in the data directory if not given.
    pub key_file: Option<PathBuf>,
}

/// `[listen]`: the intake that terminates the devices' MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where devices connect to; none if it is off.
    pub address: Option<SocketAddr>,
    /// `[listen.tls]`; none: without TLS.
    pub tls: Option<ServerFiles>,
    /// Most connections at once; further ones are refused.
    pub connections_max: u32,
    /// How long a connection may take until its CONNECT is whole.
    pub connect_timeout: Duration,
    /// How long a device may leave what it was sent in our hands.
    pub write_timeout: Duration,
    /// How long the answer to a wrong name or password is held back.
    pub refusal_delay: Duration,
    /// Longest MQTT keep alive that is granted.
    pub keep_alive_max: Duration,
    /// Most bytes received and not yet journaled, over all connections; then reading pauses.
    pub queued_bytes_max: u64,
}

/// `[http]`: metrics and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where to; none if it is off.
    pub address: Option<SocketAddr>,
}

/// `[journal]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Size of a segment file.
    pub segment_bytes: u64,
    /// Most bytes of all segments together.
    pub bytes_max: u64,
}

/// `[[sink]]`, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sinks(pub Vec<Sink>);

/// One upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Its name in ledger, metrics and cursors; unique.
    pub name: String,
    /// What it is.
    pub kind: SinkKind,
    /// What happens when the journal is full because of it.
    pub on_full: OnFull,
}

/// The kinds of sink and what each needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// NDJSON files in a directory.
    File {
        /// The directory; a relative one lies in the data directory.
        path: PathBuf,
        /// A new file is begun at this size.
        rotate_bytes: u64,
    },
    /// NDJSON on standard output.
    Stdout,
    /// The local store: blocks of samples, and an index to ask.
    Store {
        /// The directory; a relative one lies in the data directory.
        path: PathBuf,
        /// A new block file is begun at this size.
        file_bytes: u64,
        /// What is kept for how long.
        keep: Keep,
    },
}

/// What a store keeps for how many days; without a number, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Samples.
    pub samples_days: Option<u64>,
    /// Hours and minutes rolled up.
    pub rollups_days: Option<u64>,
    /// Events and losses.
    pub events_days: Option<u64>,
    /// Logs.
    pub logs_days: Option<u64>,
    /// Heartbeats, boots, forks, crashes.
    pub health_days: Option<u64>,
    /// Most bytes of everything.
    pub bytes_max: Option<u64>,
}

/// What happens when the journal is full and a sink is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Nothing new is acknowledged: the devices keep theirs.
    Block,
    /// The sink loses the oldest, with a durable loss record.
    Lose,
}

impl Default for Agent {
    fn default() -> Self {
        Self { data_dir: "milepost-data".into() }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: Some(loopback(1883)),
            tls: None,
            connections_max: 4096,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(20),
            refusal_delay: Duration::from_millis(200),
            keep_alive_max: Duration::from_hours(1),
            queued_bytes_max: 4 * MIB,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { address: Some(loopback(9464)) }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self { segment_bytes: 64 * MIB, bytes_max: 8 * 1024 * MIB }
    }
}

impl Default for Sinks {
    fn default() -> Self {
        let kind =
            SinkKind::Store { path: "store".into(), file_bytes: 16 * MIB, keep: Keep::default() };
        Self(vec![Sink { name: "store".to_owned(), kind, on_full: OnFull::Block }])
    }
}

impl Sinks {
    /// The default goes on with the documents that an earlier release's default has begun.
    fn go_on_with_documents(&mut self, data_dir: &Path) {
        if data_dir.join("documents").is_dir() {
            let kind = SinkKind::File { path: "documents".into(), rotate_bytes: 64 * MIB };
            let name = "documents".to_owned();
            self.0.push(Sink { name, kind, on_full: OnFull::Block });
        }
    }

    /// Adds a sink to standard output, if there is none; for `milepost run --stdout`.
    pub fn add_stdout(&mut self) {
        if self.0.iter().all(|sink| sink.kind != SinkKind::Stdout) {
            let name = "stdout".to_owned();
            self.0.push(Sink { name, kind: SinkKind::Stdout, on_full: OnFull::Lose });
        }
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Resource: the file can't be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Config: what it says can't be used.
    #[error("{0}")]
    Invalid(Report),
}

/// A configuration and where it came from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// What is set.
    pub config: Config,
    /// The file; none if there was none and everything has its default.
    pub path: Option<PathBuf>,
    /// Its text; empty if there was none.
    pub text: String,
    /// Keys that the file left to their defaults, like `listen.address`.
    pub defaulted: Vec<String>,
}

impl Loaded {
    /// For another data directory than the one configured, if one is given; with the sinks that go
    /// with it, if none is configured.
    pub fn at(&mut self, data_dir: Option<&Path>) {
        if let Some(data_dir) = data_dir {
            data_dir.clone_into(&mut self.config.agent.data_dir);
        }
        if self.path.is_none() || self.defaulted.iter().any(|key| key == "sink") {
            self.config.sinks.go_on_with_documents(&self.config.agent.data_dir);
        }
    }
}

impl Config {
    /// Reads the file at `path`, or if none is named the first of [`PLACES`] that there is; if
    /// there is none either, everything has its default.
    ///
    /// Errors: a named file that can't be read; every mistake in the file, together.
    pub fn load(path: Option<&Path>) -> Result<Loaded, ConfigError> {
        let Some((path, text)) = find(path)? else {
            return Ok(Loaded { config: Self::default(), ..Loaded::default() });
        };
        let (config, defaulted) = Self::parse(&text, &path.display().to_string())?;
        Ok(Loaded { config, path: Some(path), text, defaulted })
    }

    /// Like [`Config::load`], and looks at the machine too: whether directories can be written and
    /// key files used.
    pub fn load_and_check_here(path: Option<&Path>) -> Result<Loaded, ConfigError> {
        let Some((path, text)) = find(path)? else {
            let config = Self::default();
            let mut report = Report::new("defaults", "");
            check::environment(&config, &read::Notes::default(), &mut report);
            return report.into_result(Loaded { config, ..Loaded::default() });
        };
        let mut report = Report::new(&path.display().to_string(), &text);
        let (config, notes) = sections::read(&text, &mut report);
        if report.is_empty() {
            check::environment(&config, &notes, &mut report);
        }
        let defaulted = notes.absent();
        report.into_result(Loaded { config, path: Some(path), text, defaulted })
    }

    /// Reads a file's text; `name` is what the report calls it. Returns also the keys that the
    /// text leaves to their defaults.
    pub fn parse(text: &str, name: &str) -> Result<(Self, Vec<String>), ConfigError> {
        let mut report = Report::new(name, text);
        let (config, notes) = sections::read(text, &mut report);
        report.into_result((config, notes.absent()))
    }

    /// The data directory that a file names, also if it cannot be used otherwise; none if it is not
    /// TOML, or cannot be read.
    pub fn data_dir_in(path: Option<&Path>) -> Option<PathBuf> {
        let (_, text) = find(path).ok()??;
        let table: toml::Table = text.parse().ok()?;
        let named = table.get("agent").and_then(|agent| agent.get("data_dir"));
        Some(named.and_then(toml::Value::as_str).map_or(Agent::default().data_dir, PathBuf::from))
    }

    /// The wrapping key's file.
    pub fn key_file(&self) -> PathBuf {
        let default = || self.agent.data_dir.join("registry.key");
        self.registry.key_file.clone().unwrap_or_else(default)
    }
}

fn find(path: Option<&Path>) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let read = |path: &Path| {
        String::from_utf8(fs::read(path)?).map_err(|error| {
            let good = error.as_bytes().get(..error.utf8_error().valid_up_to());
            let lines = good.unwrap_or_default().split(|byte| *byte == b'\n').count();
            io::Error::new(io::ErrorKind::InvalidData, format!("line {lines} is not UTF-8"))
        })
    };
    if let Some(path) = path {
        let failed = |error| ConfigError::Read { path: path.to_owned(), error };
        return Ok(Some((path.to_owned(), read(path).map_err(failed)?)));
    }
    for place in PLACES.map(Path::new) {
        match read(place) {
            Ok(text) => return Ok(Some((place.to_owned(), text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ConfigError::Read { path: place.to_owned(), error }),
        }
    }
    Ok(None)
}
