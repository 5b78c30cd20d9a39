//! The command line: what was asked for, done, and told; the exit code.

mod args;
mod show;
mod fleet;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use crate::trace::{FileReport, TraceOptions};
use crate::vehicle::{self, Vehicle};
use args::{Args, Command, DevicesArgs};

/// Exit code: done, everything accounted for.
pub const DONE: u8 = 0;
/// Exit code: differences, or something not sent in time.
pub const DIFFERENCES: u8 = 1;
/// Exit code: the command, a file or a key is wrong.
pub const USAGE: u8 = 2;
/// Exit code: stopped by a signal, in order, before everything was sent.
pub const INTERRUPTED: u8 = 3;

/// Does what the process was called for.
pub fn run() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no errors; where they cannot be printed nobody is listening.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { USAGE } else { DONE });
        }
    };
    let done = match args.command {
        Command::Devices(args) => devices(&args),
        Command::Show(args) => show::show(&args),
        Command::Replay(args) => fleet::replay(&args),
        Command::Run(args) => fleet::run(&args),
        Command::Verify(args) => verify::verify(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("milepost-sim: {error:#}");
            ExitCode::from(USAGE)
        }
    }
}

fn devices(args: &DevicesArgs) -> anyhow::Result<u8> {
    use std::io::Write as _;
    let vehicles = match args.vehicles {
        Some(count) if args.files.is_empty() => vehicle::synthetic(count, 0, 0, 0),
        count => read_traces(&args.files, &args.traces.options(), count, 1)?,
    };
    let mut out = std::io::stdout().lock();
    for vehicle in vehicles {
        writeln!(out, "{}", vehicle.device).context("cannot write to standard output")?;
    }
    Ok(DONE)
}

/// Reads trace files; says on standard error what was left out of them.
fn read_traces(
    files: &[PathBuf],
    options: &TraceOptions,
    count: Option<usize>,
    rounds: u32,
) -> anyhow::Result<Vec<Vehicle>> {
    let (vehicles, reports) = vehicle::from_traces(files, options, count, rounds)?;
    for FileReport { path, malformed, first_malformed, notes, .. } in reports {
        for note in notes {
            eprintln!("milepost-sim: {}: {note}", path.display());
        }
        if let Some((line, reason)) = first_malformed {
            eprintln!(
                "milepost-sim: {malformed} row(s) or values left out, the first at {}:{line}: {reason}",
                path.display()
            );
        }
    }
    Ok(vehicles)
}

fn to_json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    serde_json::to_string(value).context("cannot write JSON")
}
