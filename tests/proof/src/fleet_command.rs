//! `milepost-prove fleet`.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use milepost_proof::fleet::{Planted, Replay, prove};

use crate::PROGRESS;

/// What to run.
#[derive(Args)]
pub struct FleetArguments {
    /// What is drawn; printed, so that a failure can be repeated.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Go on until so many hours were driven, by all vehicles together; 400 are a vehicle-year.
    #[arg(long, default_value_t = 400.0, value_parser = hours)]
    hours: f64,
    /// Only the world of this number.
    #[arg(long)]
    world: Option<u64>,
    /// Without the faults of these numbers, from 0.
    #[arg(long, value_delimiter = ',')]
    without: Vec<usize>,
    /// Plant a fault, to see it found.
    #[arg(long)]
    planted: Option<Planted>,
    /// Write what happens to this file: faults, starts and ends, what devices are told, every frame that
    /// comes to a sink.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

fn hours(text: &str) -> Result<f64, String> {
    let hours: f64 = text.parse().map_err(|_| "a number of hours, like 400".to_owned())?;
    if hours.is_finite() && hours > 0.0 { Ok(hours) } else { Err("more than 0 hours".to_owned()) }
}

/// Runs it; whether all held.
#[allow(clippy::disallowed_methods, reason = "what a run takes is for its reader, not for a proof")]
pub fn run(arguments: FleetArguments) -> bool {
    let FleetArguments { seed, hours, world, without, planted, trace, json } = arguments;
    let mut file = match trace.as_ref().map(File::create).transpose() {
        Ok(file) => file,
        Err(error) => {
            eprintln!("cannot write the trace: {error}");
            return false;
        }
    };
    let begun = Instant::now();
    let mut said = begun;
    let mut is_written = true;
    let write = |told: &str| {
        if let Some(file) = &mut file {
            is_written &= file.write_all(told.as_bytes()).is_ok();
        }
    };
    let report = prove(&Replay { seed, hours, world, without, planted }, write, |so_far| {
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            eprintln!("{:.0} of {hours:.0} h driven", so_far.hours());
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    if json {
        println!("{}", report.to_json(seconds));
    } else {
        println!("{report}\n  {seconds:.1} s");
    }
    if !is_written {
        eprintln!("the trace is not whole: it could not be written");
    }
    report.found.is_none() && is_written
}
