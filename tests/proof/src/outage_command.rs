//! `milepost-prove outage`.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, value_parser};
use milepost_proof::outage::{Planted, Settings, prove, serve};

/// What to run.
#[derive(Args)]
pub struct OutageArguments {
    /// What is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long all sinks are down, in virtual hours.
    #[arg(long, default_value_t = 72, value_parser = value_parser!(u64).range(1..=8_760))]
    hours: u64,
    /// Devices, each with a frame of 200 bytes every ten minutes.
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u32).range(1..))]
    devices: u32,
    /// The journal's bound, in MiB.
    #[arg(long, default_value_t = 2048, value_parser = value_parser!(u64).range(1..=1_048_576))]
    journal_mib: u64,
    /// Sinks.
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u8).range(1..))]
    sinks: u8,
    /// Frames that a device keeps; then the oldest go.
    #[arg(long, default_value_t = 48, value_parser = value_parser!(u64).range(1..))]
    kept_frames: u64,
    /// Where the agent's files are: an empty directory or none; it is removed afterwards. Not set: a new
    /// one among the system's temporary files.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Plant a fault, to see it found.
    #[arg(long)]
    planted: Option<Planted>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs it; whether all held.
#[allow(clippy::disallowed_methods, reason = "what a run takes is for its reader, not for a proof")]
pub fn run(arguments: OutageArguments) -> bool {
    let json = arguments.json;
    let begun = Instant::now();
    let report = prove(&arguments.into(), |moment| eprintln!("{moment}"));
    let seconds = begun.elapsed().as_secs_f64();
    if json {
        println!("{}", report.to_json(seconds));
    } else {
        println!("{report}\n  {seconds:.1} s");
    }
    report.found.is_none()
}

/// Is the agent of an outage.
pub fn agent() -> bool {
    let served = serve();
    if let Err(error) = &served {
        eprintln!("the agent's process: {error}");
    }
    served.is_ok()
}

impl From<OutageArguments> for Settings {
    fn from(arguments: OutageArguments) -> Self {
        let OutageArguments { seed, hours, devices, journal_mib, sinks, kept_frames, .. } =
            arguments;
        let own = || std::env::temp_dir().join(format!("milepost-outage-{}", std::process::id()));
        Self {
            seed,
            hours,
            devices,
            every_s: 600,
            journal_bytes: journal_mib << 20,
            sinks,
            kept_frames,
            dir: arguments.dir.unwrap_or_else(own),
            planted: arguments.planted,
        }
    }
}
