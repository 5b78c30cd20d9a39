//! `milepost-prove`: runs a proof and prints what was tried. Behind `cargo xtask prove`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use milepost_proof::device::{Planted, Replay, prove};
use milepost_proof::table::{self, Row};
use milepost_proof::wear::wear;

mod fleet_command;
mod journal_command;
mod outage_command;

use fleet_command::FleetArguments;
use journal_command::JournalProof;
use outage_command::OutageArguments;

/// How often a run says where it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Tries every state that a fault can leave behind.
#[derive(Parser)]
#[command(name = "milepost-prove")]
struct Arguments {
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Subcommand)]
enum Proof {
    /// The device's store: every flash operation x torn word x second cut in what follows.
    Device {
        /// Go on until there are so many distinct states.
        #[arg(long, default_value_t = 1_000_000)]
        states: u64,
        /// What is drawn; printed, so that a failure can be repeated.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only this history.
        #[arg(long)]
        history: Option<u64>,
        /// Plant a fault, to see it found.
        #[arg(long)]
        planted: Option<Planted>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Journal(JournalProof),
    /// The whole system, in one process and in virtual time, under faults of all kinds.
    Fleet(FleetArguments),
    /// All sinks down for days, with a large fleet and a journal that fills: the agent's memory, and
    /// what comes of every number.
    Outage(OutageArguments),
    /// The agent's process of an outage.
    #[command(hide = true)]
    OutageAgent,
    /// How fast a board's flash wears out, and so how long it lasts: a measurement.
    Wear {
        /// Days that the device measures, each of them one boot.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_650))]
        days: u32,
        /// What is drawn.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Every planted fault, of every harness that should find it: whether it does, and what it says.
    Planted {
        /// What is drawn.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
}

/// What the last panic said, and where.
static PANIC: Mutex<String> = Mutex::new(String::new());

fn main() -> ExitCode {
    let proof = Arguments::parse().proof;
    // A panic under proof is a violation, and reported as one; any other is the harness's own.
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut said) = PANIC.lock() {
            *said = panic.to_string();
        }
    }));
    match std::panic::catch_unwind(|| run(proof)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) => {
            let said = PANIC.lock().map(|said| said.clone()).unwrap_or_default();
            eprintln!("a fault of the harness itself: {said}");
            ExitCode::from(101)
        }
    }
}

/// Whether it holds.
fn run(proof: Proof) -> bool {
    match proof {
        Proof::Device { states, seed, history, planted, json } => {
            device(&Replay { seed, states, history, planted }, json)
        }
        Proof::Journal(proof) => proof.run(),
        Proof::Fleet(arguments) => fleet_command::run(arguments),
        Proof::Outage(arguments) => outage_command::run(arguments),
        Proof::OutageAgent => outage_command::agent(),
        Proof::Wear { days, seed, json } => worn(days, seed, json),
        Proof::Planted { seed, json } => find_planted(seed, json),
    }
}

#[allow(clippy::disallowed_methods, reason = "what a run takes is for its reader, not for a proof")]
fn device(replay: &Replay, json: bool) -> bool {
    let begun = Instant::now();
    let mut said = begun;
    let report = prove(replay, |so_far| {
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            eprintln!("{} distinct states, {} histories", so_far.states_distinct, so_far.histories);
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    if json {
        println!("{}", report.to_json(seconds));
    } else {
        println!("{report}\n  {seconds:.1} s");
    }
    report.found.is_none()
}

fn worn(days: u32, seed: u64, json: bool) -> bool {
    match wear(days, seed) {
        Ok(wear) if json => println!("{}", wear.to_json()),
        Ok(wear) => println!("{wear}"),
        Err(error) => {
            eprintln!("error: {error}");
            return false;
        }
    }
    true
}

fn find_planted(seed: u64, json: bool) -> bool {
    if !json {
        println!("{}", Row::heading());
    }
    table::fill(seed, |row| if json { println!("{}", row.to_json()) } else { println!("{row}") })
}
