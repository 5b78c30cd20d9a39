//! Arguments, logging, exit code; nothing else.
#![forbid(unsafe_code)]

use std::io::IsTerminal as _;
use std::process::ExitCode;

use agent::cli::{Cli, Log};
use agent::telemetry;
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = start_logging(&cli.log()) {
        eprintln!("milepost: --log: {error}");
        return ExitCode::from(2);
    }
    telemetry::watch_panics();
    cli.execute().unwrap_or_else(|error| {
        eprintln!("milepost: {error:#}");
        ExitCode::FAILURE
    })
}

/// To standard error: standard output is for answers and documents.
fn start_logging(log: &Log) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::try_new(&log.filter)?;
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if log.json {
        logging.json().flatten_event(true).init();
    } else {
        logging.init();
    }
    Ok(())
}
