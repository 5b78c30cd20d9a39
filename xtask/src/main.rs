//! Milepost's chores. `cargo xtask --help` lists them.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum as _};

mod bench;
mod ci;
mod demo;
mod firmware;
mod fuzz;
mod load;
mod mutants;
mod needs;
mod prove;
mod replay;
mod test;
mod torture;

/// Milepost's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Start the agent and a simulated fleet against it; nothing to install.
    Demo {
        /// Stop by itself after this long (like 60s or 5m) and print the ledger; the exit code is 0
        /// only if it balances and every sample is accounted for.
        #[arg(long = "for", value_parser = duration)]
        stop_after: Option<Duration>,
        /// No live status line.
        #[arg(long)]
        headless: bool,
        /// Vehicles in the fleet.
        #[arg(long, default_value_t = 25)]
        vehicles: u32,
        /// What the fleet does is drawn from this.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// One of the fleet is a board under QEMU, running the real image.
        #[arg(long)]
        qemu: bool,
    },
    /// The one test command: everything that can be tested here.
    Test {
        /// Skip nothing: what is missing is an error. The same as CI=true.
        #[arg(long)]
        all: bool,
    },
    /// Measure. Figures, not verdicts.
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
    /// Kill agent and devices at random under load, cut links, then hold every sample to account.
    Torture {
        /// Processes that are killed by `kill -9`; links cut and disks filled come on top.
        #[arg(long, default_value_t = 100)]
        kills: u32,
        /// What is drawn; printed, so that a failure can be repeated.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where the recordings are; default: ../shared/data, or `MILEPOST_DATA`.
        #[arg(long)]
        data: Option<PathBuf>,
        /// Keep the run's directory.
        #[arg(long)]
        keep: bool,
        /// One JSON object at the end; how it goes is said on standard error.
        #[arg(long)]
        json: bool,
        /// At the end, plant faults in what the file sink has: each has to be found.
        #[arg(long)]
        planted: bool,
    },
    /// Real processes, more clients than anybody wants, hours, gibibytes: a figure for each.
    Load {
        #[command(subcommand)]
        load: load::Load,
    },
    /// Try every state that a fault can leave behind: `prove --help` lists the proofs, and
    /// `prove --planted` has each find the faults that are planted for it.
    #[command(disable_help_flag = true)]
    Prove {
        /// What milepost-prove takes: a proof and its options; --help.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// The boards' images: build them, measure them, run one.
    Firmware {
        #[command(subcommand)]
        firmware: firmware::Firmware,
    },
    /// Replay every recording through the agent's own port and through Mosquitto, with TLS and
    /// without, and hold file sink and store against what the devices took.
    Replay {
        /// Where the recordings are; default: ../shared/data, or `MILEPOST_DATA`.
        #[arg(long)]
        data: Option<PathBuf>,
        /// Which ways; default: all.
        #[arg(long, value_enum, num_args = 1..)]
        way: Vec<replay::Way>,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Try mutants of the pure stages: whether a test notices. Resumes where it stopped.
    #[command(disable_help_flag = true)]
    Mutants {
        /// What milepost-mutants takes: `mutants --help` lists it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Fuzz the parsers of bytes from outside, each with its oracle and a bound on memory.
    Fuzz {
        /// Which; default: all.
        targets: Vec<String>,
        /// How long each (like 10s or 1h).
        #[arg(long = "for", value_parser = duration, default_value = "10s")]
        fuzz_for: Duration,
        /// How many inputs each, instead.
        #[arg(long, conflicts_with = "fuzz_for")]
        inputs: Option<u64>,
        /// How many targets at once.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// One JSON object per target.
        #[arg(long)]
        json: bool,
        /// Find the faults planted on purpose, instead.
        #[arg(long, conflicts_with_all = ["targets", "minimize", "repeat"])]
        planted: bool,
        /// Write the committed corpora anew, from what has grown, instead.
        #[arg(long, conflicts_with = "repeat")]
        minimize: bool,
        /// Put this one input through the target, instead.
        #[arg(long, value_name = "FILE")]
        repeat: Option<PathBuf>,
    },
    /// What CI runs: formatting, lints, licences, docs, tests, fuzzing, torture, loads.
    Ci,
}

#[derive(Subcommand)]
enum Bench {
    /// Simulator, MQTT, agent, fsync, sink on one machine; every sample verified afterwards.
    Ingest {
        /// Where the recordings are; default: ../shared/data, or `MILEPOST_DATA`.
        #[arg(long, num_args = 1..)]
        data: Vec<PathBuf>,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
        /// How long to load.
        #[arg(long = "for", value_parser = duration, default_value = "60s")]
        load_for: Duration,
        /// Vehicles.
        #[arg(long, default_value_t = 1000)]
        vehicles: u32,
        /// Samples a second that the fleet offers; 0 for as many as it can.
        #[arg(long, default_value_t = 510_000)]
        rate: u32,
        /// Which sink the agent has; default: the file sink, and then the store.
        #[arg(long, value_enum)]
        sink: Option<bench::SinkKind>,
        /// Afterwards the same samples as JSON, through rumqttc and Mosquitto into a file.
        #[arg(long)]
        peers: bool,
    },
    /// Bytes that the local store takes for the recordings, per set.
    Store {
        /// Where the recordings are; default: ../shared/data, or `MILEPOST_DATA`.
        #[arg(long, num_args = 1..)]
        data: Vec<PathBuf>,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Bytes a sample on the wire, our codec's and others', of recordings; and the codec's speed.
    #[command(disable_help_flag = true)]
    Wire {
        /// What milepost-bench takes: --data, --seconds, --set, --all, --ours, --peer, --repeat, --cortex-m, --json, --help.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// The local store, asked: a made-up fleet's day, medians in milliseconds.
    Query {
        /// Samples of the day, of all vehicles together.
        #[arg(long, default_value_t = 100_000_000)]
        samples: u64,
        /// Vehicles.
        #[arg(long, default_value_t = 1000)]
        vehicles: u32,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    if let Some(code) = fuzz::rustc::wrapped() {
        return code;
    }
    match run(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    match chore {
        Chore::Demo { stop_after, headless, vehicles, seed, qemu } => {
            demo::run(&demo::Demo { stop_after, headless, vehicles, seed, qemu })
        }
        Chore::Test { all } => {
            test::run(all || std::env::var_os("CI").is_some_and(|ci| ci == "true"))
        }
        Chore::Bench { bench } => measure(bench),
        Chore::Torture { kills, seed, data, keep, json, planted } => {
            torture::run(&torture::Torture { kills, seed, data, keep, json, planted })
        }
        Chore::Load { load } => load::run(&load),
        Chore::Prove { options } => prove::run(&options),
        Chore::Replay { data, way, json } => {
            let ways = if way.is_empty() { replay::Way::value_variants().to_vec() } else { way };
            replay::run(&replay::Replay { data, ways, json })
        }
        Chore::Firmware { firmware } => firmware::run(firmware),
        Chore::Mutants { options } => mutants::run(&options),
        Chore::Fuzz { targets, repeat: Some(input), .. } => fuzz::repeat(&targets, &input),
        Chore::Fuzz { targets, minimize: true, .. } => fuzz::minimize(&targets),
        Chore::Fuzz { planted: true, json, .. } => fuzz::planted(json),
        Chore::Fuzz { targets, fuzz_for, inputs, jobs, json, .. } => {
            let limit = inputs.map_or(fuzz::Limit::Time(fuzz_for), fuzz::Limit::Inputs);
            fuzz::fuzz(&fuzz::Fuzz { targets, limit, jobs, json })
        }
        Chore::Ci => ci::run(),
    }
}

fn measure(bench: Bench) -> Result<()> {
    match bench {
        Bench::Ingest { data, json, load_for, vehicles, rate, sink, peers } => {
            let sinks =
                sink.map_or(vec![bench::SinkKind::File, bench::SinkKind::Store], |sink| vec![sink]);
            bench::ingest::run(&bench::ingest::Ingest {
                data,
                json,
                load_for,
                vehicles,
                rate,
                sinks,
                peers,
            })
        }
        Bench::Store { data, json } => bench::store::run(&bench::store::Store { data, json }),
        Bench::Wire { options } => bench::wire::run(&options),
        Bench::Query { samples, vehicles, json } => {
            bench::query::query(&bench::query::Query { samples, vehicles, json })
        }
    }
}

/// A duration like `60s`, `5m` or `1h`.
fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds: u64 = match text.strip_prefix(digits) {
        Some("s" | "") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        _ => bail!("a duration is a number and s, m or h, like 60s"),
    };
    Ok(Duration::from_secs(digits.parse::<u64>()?.saturating_mul(seconds)))
}
