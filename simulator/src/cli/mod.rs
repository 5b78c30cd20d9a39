//! The command line: what was asked for, done, and told; the exit code.

mod args;
mod made;
mod show;
mod record;
mod fleet;
mod verify;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use crate::scenario::Scenario;
use crate::vehicle;
use args::{Args, Command, DevicesArgs, MadeFrom, ScenarioCommand};

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
        Command::Record(args) => record::record(&args),
        Command::Scenario(command) => scenario(&command),
        Command::Verify(args) => verify::verify(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("milepost-sim: {}", sentence(&error));
            ExitCode::from(USAGE)
        }
    }
}

/// The error and its causes, each said once: many say their cause themselves.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| {
        if said.is_empty() {
            cause
        } else if said.contains(&cause) {
            said
        } else {
            format!("{said}: {cause}")
        }
    })
}

fn devices(args: &DevicesArgs) -> anyhow::Result<u8> {
    let vehicles = match args.vehicles {
        Some(count) if args.files.is_empty() => vehicle::synthetic(count, 0, 0, 0),
        count => {
            let options = args.traces.options();
            made::vehicles(&args.files, &options, count, 1, &MadeFrom::default())?
        }
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut names = vehicles.iter().map(|vehicle| vehicle.device);
    let written = names.try_for_each(|name| writeln!(out, "{name}"));
    heard(written.and_then(|()| out.flush()))?;
    Ok(DONE)
}

fn scenario(command: &ScenarioCommand) -> anyhow::Result<u8> {
    match command {
        ScenarioCommand::Check { file } => {
            let scenario = Scenario::load(file)?;
            let vehicles: usize = scenario.classes.iter().map(|class| class.vehicles).sum();
            say(&format_args!("{}: {vehicles} vehicles, no mistakes\n", file.display()))?;
        }
        ScenarioCommand::Describe { file } => say(&Scenario::load(file)?.describe())?,
    }
    Ok(DONE)
}

/// Says this on standard output.
fn say(text: &impl Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    heard(write!(out, "{text}").and_then(|()| out.flush()))
}

/// That whoever reads standard output has seen enough is no failure.
fn heard(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

fn to_json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    serde_json::to_string(value).context("cannot write JSON")
}
