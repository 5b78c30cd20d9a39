//! The arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use recordings::ReadOptions;
use recordings::civil::parse_rfc3339_ms;

use crate::fleet::board::{FLASH_KIB_MIN, FRAME_BYTES_MAX};
use crate::fleet::feed::Pace;
use crate::fleet::tls::{Identity, TlsFiles};

const EXIT_CODES: &str = "Exit codes:
  0  done: everything sent and acknowledged, everything accounted for
  1  differences found, or something still not acknowledged when the time was up
  2  wrong usage, a file that cannot be read, a key that is missing
  3  stopped by SIGINT or SIGTERM, in order, before everything was sent";

/// A fleet of real device cores in one process: recorded or made-up traffic, and the oracle that
/// checks what came out at the other end.
#[derive(Debug, Parser)]
#[command(name = "milepost-sim", version, after_help = EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Name the devices of recordings, or of `run`, one a line: pipe it into `milepost devices add --from -`
    Devices(DevicesArgs),
    /// Print what recordings or a scenario say, a reading a line
    Show(ShowArgs),
    /// Replay recordings through a fleet of device cores
    #[command(after_help = EXIT_CODES)]
    Replay(ReplayArgs),
    /// Run a fleet on made-up drives: a scenario file's, or a small fleet of vans
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Record what an agent delivers, to be replayed
    Record(RecordArgs),
    /// Check or describe a scenario file
    #[command(subcommand)]
    Scenario(ScenarioCommand),
    /// Check a sink's documents against what the sources said
    #[command(after_help = EXIT_CODES)]
    Verify(VerifyArgs),
}

/// See [`Command::Devices`].
#[derive(Debug, ClapArgs)]
pub struct DevicesArgs {
    /// Recordings (taxi, OBD car or EV CSV, CAN logs; plain, .gz or .zst), or a scenario. None: the
    /// devices of `run`
    #[arg(required_unless_present = "vehicles")]
    pub files: Vec<PathBuf>,
    /// Repeat the set, or cut it, to this many vehicles; of `run`, as many
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub vehicles: Option<usize>,
    /// How files are read.
    #[command(flatten)]
    pub traces: TraceArgs,
}

/// How CAN logs are read.
#[derive(Debug, ClapArgs)]
pub struct TraceArgs {
    /// DBC for CAN logs, instead of the file beside the log; CHANNEL=FILE for one channel alone.
    /// May be given again: the first that names an id counts
    #[arg(long, value_name = "[CHANNEL=]FILE")]
    pub dbc: Vec<PathBuf>,
    /// Take only signals like this (MESSAGE.SIGNAL, with * and ?) from CAN logs; may be given again
    #[arg(long, value_name = "GLOB")]
    pub signals: Vec<String>,
    /// Keep the frames of CAN logs as they are, without a DBC
    #[arg(long, conflicts_with_all = ["dbc", "signals"])]
    pub raw_can: bool,
}

impl TraceArgs {
    /// For the reader.
    pub fn options(&self) -> ReadOptions {
        let Self { dbc, signals, raw_can } = self;
        ReadOptions { dbc: dbc.clone(), signals: signals.clone(), raw_can: *raw_can }
    }
}

/// See [`Command::Show`].
#[derive(Debug, ClapArgs)]
pub struct ShowArgs {
    /// Recordings, or a scenario
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// How files are read.
    #[command(flatten)]
    pub traces: TraceArgs,
    /// As with `run`.
    #[command(flatten)]
    pub made_from: MadeFrom,
    /// Print raw frames as `candump -L` does
    #[arg(long)]
    pub candump: bool,
}

/// See [`Command::Replay`].
#[derive(Debug, ClapArgs)]
pub struct ReplayArgs {
    /// Recordings, or folders of them: taxi, OBD car or EV CSV, CAN logs; plain, .gz or .zst
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Repeat the set, or cut it, to this many vehicles
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub vehicles: Option<usize>,
    /// How fast: so many times as fast as recorded, or `max`, which waits while rings are half full
    #[arg(long, value_name = "N|max", default_value = "max", value_parser = parse_pace)]
    pub speed: Pace,
    /// Let each vehicle do all it did this many times in a row, its clock going on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// So many samples a second of the whole fleet, evenly, instead of by the recordings' clocks
    #[arg(long, value_name = "SAMPLES/S", conflicts_with = "speed",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Sample for this long at most, then drain
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub sample_for: Option<Duration>,
    /// How files are read.
    #[command(flatten)]
    pub traces: TraceArgs,
    /// The fleet.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// See [`Command::Run`].
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// A scenario file; none: a small fleet of vans
    pub scenario: Option<PathBuf>,
    /// How many vans; they are called sim-00000 and so on [default: 10]
    #[arg(long, value_name = "N", value_parser = parse_count, conflicts_with = "scenario")]
    pub vehicles: Option<usize>,
    /// What the drives are made from.
    #[command(flatten)]
    pub made_from: MadeFrom,
    /// How fast: so many times as fast as real time, or `max`, which waits while rings are half full
    #[arg(long, value_name = "N|max", default_value = "1", value_parser = parse_pace)]
    pub speed: Pace,
    /// The fleet.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// See [`Command::Record`].
#[derive(Debug, ClapArgs)]
pub struct RecordArgs {
    /// The folder of a file sink, which is followed from its first line on; one NDJSON file; `-` for
    /// documents on standard input (`milepost run --stdout`, `milepost store export`)
    #[arg(long, value_name = "DIR|FILE|-")]
    pub from: PathBuf,
    /// The recording; overwritten
    #[arg(long, value_name = "FILE.mprec")]
    pub out: PathBuf,
    /// Follow a folder for so long [default: until SIGINT or SIGTERM]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub record_for: Option<Duration>,
    /// End when a folder has not grown for so long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub until_idle: Option<Duration>,
    /// Print what was recorded as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What made-up drives are made from.
#[derive(Debug, Clone, Copy, Default, ClapArgs)]
pub struct MadeFrom {
    /// What made-up drives are drawn from: the same seed makes the same drives [default: 1, or as in
    /// the scenario]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Their length by the vehicles' clocks [default: 60s, or as in the scenario]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub drive_for: Option<Duration>,
    /// Their begin by the vehicles' clocks, like 2026-01-01T00:00:00.000Z, or `now` [default: that
    /// one, or as in the scenario]
    #[arg(long, value_name = "TIME", value_parser = parse_start)]
    pub start: Option<i64>,
}

/// See [`Command::Scenario`].
#[derive(Debug, Subcommand)]
pub enum ScenarioCommand {
    /// Look for mistakes in a scenario file, and say where they are
    Check {
        /// The file
        file: PathBuf,
    },
    /// Say what a scenario comes to: its classes, and what one vehicle of each does in a week
    Describe {
        /// The file
        file: PathBuf,
    },
}

/// What both kinds of fleet are told.
#[derive(Debug, ClapArgs)]
pub struct FleetArgs {
    /// Address of the agent or broker: HOST:PORT or mqtt://HOST:PORT; mqtts://HOST:PORT with TLS
    #[arg(long, value_name = "ADDRESS")]
    pub connect: String,
    /// With mqtts: who signs the other side's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Each device's own certificate, in this folder: DEVICE.pem and DEVICE.key
    #[arg(long, value_name = "DIR", requires = "ca")]
    pub cert_dir: Option<PathBuf>,
    /// One certificate for all devices (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["ca", "client_key"], conflicts_with = "cert_dir")]
    pub client_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// The key file that `milepost devices add` printed
    #[arg(long, value_name = "FILE")]
    pub keys: PathBuf,
    /// Longest sealed frame in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = parse_frame_bytes)]
    pub frame_bytes: usize,
    /// Greatest age of a frame being filled, in seconds of real time
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub frame_seconds: u32,
    /// Flash of each vehicle in KiB, a multiple of 4
    #[arg(long, value_name = "KIB", default_value_t = 256, value_parser = parse_flash_kib)]
    pub flash_kib: u32,
    /// Time between two heartbeats; 0s for none
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub heartbeat: Duration,
    /// How long to wait, after the last sample, for everything to be acknowledged
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub drain_for: Duration,
    /// Longest wait before a device connects again
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub reconnect_within: Duration,
    /// Keep flash and positions here; a later run goes on from them, even after SIGKILL
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Print the totals as one JSON object
    #[arg(long)]
    pub json: bool,
}

impl FleetArgs {
    /// What TLS needs, if it was given.
    pub fn tls(&self) -> Option<TlsFiles> {
        let one = self.client_cert.clone().zip(self.client_key.clone());
        let one = one.map(|(certificate, key)| Identity::One(certificate, key));
        let identity = self.cert_dir.clone().map(Identity::Each).or(one);
        Some(TlsFiles { ca: self.ca.clone()?, identity })
    }
}

/// See [`Command::Verify`].
#[derive(Debug, ClapArgs)]
pub struct VerifyArgs {
    /// The recordings that were replayed, or the scenario that was run
    pub files: Vec<PathBuf>,
    /// As with `replay`
    #[command(flatten)]
    pub traces: TraceArgs,
    /// The file sink's folder, or its files in order; `store` for the agent's own store, `-` for
    /// documents on standard input
    #[arg(long, value_name = "PATH|store|-", required = true, num_args = 1..)]
    pub sink: Vec<PathBuf>,
    /// With `--sink store`: the agent's configuration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// With `--sink store`: the agent's data directory
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// With `--sink store`: the agent's program, if it is not beside this one nor in PATH
    #[arg(long, value_name = "PATH")]
    pub milepost: Option<PathBuf>,
    /// The fleet's state folder: expect what its devices were given, no more
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// As with `replay` or `run`
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub vehicles: Option<usize>,
    /// As with `replay`
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Expect the small fleet of vans that `run` makes without a scenario
    #[arg(long, conflicts_with = "files")]
    pub synthetic: bool,
    /// As with `run`.
    #[command(flatten)]
    pub made_from: MadeFrom,
    /// Other devices are with the agent, too: count their documents, and compare nothing of them but their sum with the ledger
    #[arg(long)]
    pub others: bool,
    /// Compare with this ledger too, as `milepost ledger --json` prints it
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Which sink's ledger, if there are more than one
    #[arg(long, value_name = "NAME", requires = "ledger")]
    pub ledger_sink: Option<String>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `500ms`, `60s`, `10m`, `2h`, `7d`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration like 500ms, 60s, 10m, 2h or 7d");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "a whole number from 1".to_owned())
}

fn parse_pace(text: &str) -> Result<Pace, String> {
    match text.parse() {
        _ if text == "max" => Ok(Pace::Max),
        Ok(times @ 1..) => Ok(Pace::Times(times)),
        _ => Err("a speed is a whole number from 1, or `max`".to_owned()),
    }
}

fn parse_start(text: &str) -> Result<i64, String> {
    if text == "now" {
        return Ok(unix_ms_now());
    }
    parse_rfc3339_ms(text.as_bytes())
        .ok_or_else(|| format!("{text:?} is no time like 2026-01-01T00:00:00.000Z, nor `now`"))
}

#[allow(clippy::disallowed_methods, reason = "driver: asked for by --start now")]
fn unix_ms_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or_default()
}

fn parse_frame_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (256..=FRAME_BYTES_MAX).contains(bytes));
    bytes.ok_or_else(|| format!("a frame has 256 to {FRAME_BYTES_MAX} bytes"))
}

fn parse_flash_kib(text: &str) -> Result<u32, String> {
    let kib = text.parse().ok();
    let kib =
        kib.filter(|kib: &u32| kib.is_multiple_of(4) && (FLASH_KIB_MIN..=65_536).contains(kib));
    kib.ok_or_else(|| format!("a flash has {FLASH_KIB_MIN} to 65536 KiB, a multiple of 4"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn values_are_read_or_refused() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_hours(2)));
        for wrong in
            ["", "s", "5", "5 s", "-5s", "1w", "99999999999999999999s", "9999999999999999h"]
        {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_pace("max"), Ok(Pace::Max));
        assert_eq!(parse_pace("60"), Ok(Pace::Times(60)));
        assert!(parse_pace("0").is_err() && parse_pace("fast").is_err());
        assert_eq!(parse_start("1970-01-01T00:00:01.000Z"), Ok(1000));
        assert!(parse_start("yesterday").is_err());
        assert!(parse_frame_bytes("10000").is_err() && parse_flash_kib("66").is_err());
    }
}
