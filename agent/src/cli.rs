//! The command line: what can be asked, and how the answer looks.
//!
//! Every command but `run`, `check`, `signals` and `monitor` works on a data directory whether an agent
//! runs on it or not: see `reach`. Tables are for people; `--json` gives one object a line instead.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Loaded};
use crate::logging::{self, Log};
use crate::run;

mod acl;
mod backup;
mod check;
mod crash;
mod devices;
mod export;
mod journal;
mod ledger;
mod monitor;
mod mosquitto;
mod query;
mod reach;
mod reload;
mod signals;
mod store;
mod table;
mod upkeep;
mod vehicles;
#[cfg(feature = "model")]
pub(crate) use vehicles::fuzzing;

const EXIT_CODES: &str = "\
Exit codes:
  0  it is done, or the answer is yes
  1  it failed, or the answer is no; why is on standard error
  2  the command line is not understood";

/// Milepost's agent: takes in what devices send, loses nothing, doubles nothing, forwards it.
#[derive(Parser, Debug)]
#[command(name = "milepost", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Debug)]
struct Place {
    /// Configuration file [default: ./milepost.toml, then /etc/milepost/milepost.toml, then none]
    #[arg(long, global = true, value_name = "FILE", env = "MILEPOST_CONFIG")]
    config: Option<PathBuf>,
    /// Data directory, instead of the one configured
    #[arg(long, global = true, value_name = "DIR", env = "MILEPOST_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the agent until it is told to stop (SIGTERM, SIGINT)
    Run(Run),
    /// Look for mistakes in a configuration file, and say where they are
    Check(check::Check),
    /// Add, list and shut out devices
    #[command(subcommand)]
    Devices(devices::Devices),
    /// Say which device sits in which vehicle, and whose that is
    #[command(subcommand)]
    Vehicles(vehicles::Vehicles),
    /// Show what became of everything accepted; exit code 1 if it does not balance
    Ledger(ledger::Ledger),
    /// Ask the local store in SQL
    Query(query::QueryCommand),
    /// Show what crashes of devices left
    #[command(subcommand)]
    Crash(crash::CrashCommand),
    Monitor(monitor::Monitor),
    /// See to the local store
    #[command(subcommand)]
    Store(store::Store),
    /// See to the journal
    #[command(subcommand)]
    Journal(journal::Journal),
    /// See to signal catalogues, as people write them
    #[command(subcommand)]
    Signals(signals::Signals),
    /// Have the running agent read its configuration again; exit code 1 if it cannot be used
    Reload(reload::Reload),
    /// Make a backup of the data directory, with the agent running or stopped; or check one
    Backup(backup::Backup),
    /// Make a data directory from a backup
    Restore(backup::Restore),
    /// Show the versions of program and wire
    Version(Version),
}

#[derive(Args, Debug)]
struct Run {
    /// Where devices connect to, instead of the address configured
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Write documents to standard output too
    #[arg(long)]
    stdout: bool,
    /// What to log to standard error: a level or filter, "json", or both; counts instead of [log]
    #[arg(long, value_name = "LEVEL|json", env = "MILEPOST_LOG")]
    log: Option<String>,
    /// Forget, when killed, every write not synced: an aid of the tests
    #[arg(long, hide = true)]
    hold_unsynced_writes: bool,
}

#[derive(Args, Debug)]
struct Version {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// What this command logs.
    pub fn log(&self) -> Log {
        let said = match &self.command {
            Command::Run(run) => run.log(),
            _ => Some(Log { filter: "warn".to_owned(), json: false }),
        };
        said.unwrap_or_else(|| Log { filter: "info".to_owned(), json: false })
    }

    /// Does as told; the exit code says whether the answer is yes.
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let Self { place, command } = self;
        match command {
            // Standard output is left alone: a sink may write to it, from another thread.
            Command::Run(run) => run.execute(place.read()?),
            Command::Check(check) => on_stdout(|out| check.execute(place.config, out)),
            Command::Devices(devices) => on_stdout(|out| devices.execute(&place.load()?, out)),
            Command::Vehicles(vehicles) => on_stdout(|out| vehicles.execute(&place.load()?, out)),
            Command::Ledger(ledger) => on_stdout(|out| ledger.execute(&place.load()?, out)),
            Command::Query(query) => on_stdout(|out| query.execute(&place.load()?, out)),
            Command::Crash(crash) => on_stdout(|out| crash.execute(&place.load()?, out)),
            Command::Monitor(monitor) => on_stdout(|out| monitor.execute(out)),
            Command::Store(store) => on_stdout(|out| store.execute(&place.load()?, out)),
            Command::Journal(journal) => on_stdout(|out| journal.execute(&place.load()?, out)),
            Command::Signals(signals) => on_stdout(|out| signals.execute(out)),
            Command::Reload(reload) => on_stdout(|out| reload.execute(&place.data_dir()?, out)),
            Command::Backup(backup) => on_stdout(|out| backup.execute(&place.load()?, out)),
            Command::Restore(restore) => on_stdout(|out| restore.execute(&place.load()?, out)),
            Command::Version(version) => on_stdout(|out| version.execute(out)),
        }
    }
}

/// Answers on standard output; that whoever reads it has seen enough is no failure.
fn on_stdout(
    answer: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    let answered = answer(&mut out);
    // What was said before a failure is said, too.
    let flushed = out.flush();
    match answered.and_then(|code| Ok(flushed.map(|()| code)?)) {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        done => done,
    }
}

impl Place {
    fn load(&self) -> anyhow::Result<Config> {
        Ok(self.read()?.config)
    }

    /// Where the agent is, also if the rest of the file cannot be used.
    fn data_dir(&self) -> anyhow::Result<PathBuf> {
        match (&self.data_dir, Config::load(self.config.as_deref())) {
            (Some(data_dir), _) => Ok(data_dir.clone()),
            (None, Ok(loaded)) => Ok(loaded.config.agent.data_dir),
            (None, Err(error)) => {
                Config::data_dir_in(self.config.as_deref()).ok_or_else(|| error.into())
            }
        }
    }

    fn read(&self) -> anyhow::Result<Loaded> {
        let mut loaded = Config::load(self.config.as_deref())?;
        loaded.at(self.data_dir.as_deref());
        Ok(loaded)
    }
}

impl Run {
    /// What the command line says about the log.
    fn log(&self) -> Option<Log> {
        let said = self.log.as_deref()?;
        let (formats, filters): (Vec<&str>, Vec<&str>) =
            said.split(',').partition(|part| *part == "json");
        let filter = if filters.is_empty() { "info".to_owned() } else { filters.join(",") };
        Some(Log { filter, json: !formats.is_empty() })
    }

    fn execute(self, loaded: Loaded) -> anyhow::Result<ExitCode> {
        let is_log_said = self.log.is_some();
        let Loaded { mut config, path, text, .. } = loaded;
        if !is_log_said {
            logging::apply(&Log::from(&config.log))?;
        }
        if let Some(address) = self.listen {
            config.listen.address = Some(address);
        }
        if self.stdout {
            config.sinks.add_stdout();
        }
        run::run(run::Options {
            config,
            source: run::Source { path, text, is_log_said },
            hold_unsynced_writes: self.hold_unsynced_writes,
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Version {
    fn execute(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let (version, wire) = (env!("CARGO_PKG_VERSION"), protocol::WIRE_VERSION);
        if self.json {
            writeln!(out, "{}", serde_json::json!({ "version": version, "wire": wire }))?;
        } else {
            writeln!(out, "milepost {version}, wire version {wire}")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// One line of JSON.
fn write_json(out: &mut impl Write, value: &impl serde::Serialize) -> anyhow::Result<()> {
    let line = serde_json::to_string(value).context("not representable as JSON")?;
    writeln!(out, "{line}")?;
    Ok(())
}
