//! Arguments, logging, exit code; nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use agent::cli::Cli;
use agent::{logging, telemetry};
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = logging::start(&cli.log()) {
        eprintln!("milepost: --log, MILEPOST_LOG: {error}");
        return ExitCode::from(2);
    }
    telemetry::watch_panics();
    cli.execute().unwrap_or_else(|error| {
        eprintln!("milepost: {}", sentence(&error));
        ExitCode::FAILURE
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let disk = std::io::Error::other("disk on fire");
        let error =
            anyhow::Error::new(agent::forward::ForwardError::Io(disk)).context("cannot start");
        assert_eq!(sentence(&error), "cannot start: the forwarder's files: disk on fire");
    }
}
