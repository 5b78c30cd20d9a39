//! `milepost-prove`: runs a proof and prints what was tried. Behind `cargo xtask prove`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use milepost_proof::device::{Planted, Replay, prove};

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
}

#[allow(clippy::disallowed_methods, reason = "what a run takes is for its reader, not for a proof")]
fn main() -> ExitCode {
    let Proof::Device { states, seed, history, planted, json } = Arguments::parse().proof;
    // A panic under proof is a violation, and reported as one.
    std::panic::set_hook(Box::new(|_| {}));
    let begun = Instant::now();
    let mut said = begun;
    let report = prove(&Replay { seed, states, history, planted }, |so_far| {
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
    if report.found.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
