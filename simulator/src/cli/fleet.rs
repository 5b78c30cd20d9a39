//! `replay` and `run`.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;

use super::args::{FleetArgs, ReplayArgs, RunArgs};
use super::{DIFFERENCES, DONE, INTERRUPTED, read_traces, to_json};
use crate::civil::rfc3339_ms;
use crate::fleet::feed::Pace;
use crate::fleet::state::Scenario;
use crate::fleet::{self, FleetConfig, Outcome, keys};
use crate::vehicle::Vehicle;

pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<u8> {
    let vehicles = read_traces(&args.files, args.vehicles, args.rounds)?;
    let pace = match args.rate {
        Some(rate) => Pace::of_fleet(rate, vehicles.len()),
        None => args.speed,
    };
    run_fleet(vehicles, pace, args.sample_for, &args.fleet)
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let scenario = scenario(args.vehicles, args.seed, args.start, args.drive_for);
    if let Some(dir) = &args.fleet.state {
        let before = Scenario::read(dir);
        if before.is_some_and(|before| before != scenario) {
            anyhow::bail!(
                "{} was filled by another scenario ({before:?}); take its numbers or another folder",
                dir.display()
            );
        }
        scenario.write(dir)?;
    }
    eprintln!(
        "seed {}, {} vehicles, {} s from {}",
        scenario.seed,
        scenario.vehicles,
        scenario.length_ms / 1000,
        rfc3339_ms(scenario.start_unix_ms)
    );
    run_fleet(scenario.vehicles(), args.speed, None, &args.fleet)
}

pub(super) fn scenario(
    vehicles: usize,
    seed: u64,
    start_unix_ms: i64,
    length: Duration,
) -> Scenario {
    let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    Scenario { vehicles, seed, start_unix_ms, length_ms }
}

fn run_fleet(
    vehicles: Vec<Vehicle>,
    pace: Pace,
    sample_for: Option<Duration>,
    args: &FleetArgs,
) -> anyhow::Result<u8> {
    let keys = keys::read(&args.keys)?;
    let config = FleetConfig {
        connect: args.connect.clone(),
        tls: args.tls(),
        pace,
        frame_bytes: args.frame_bytes,
        frame_age: Duration::from_secs(u64::from(args.frame_seconds)),
        flash_kib: args.flash_kib,
        heartbeat: args.heartbeat,
        reconnect_within: args.reconnect_within,
        sample_for,
        drain_for: args.drain_for,
        state: args.state.clone(),
        terminal: std::io::stderr().is_terminal(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let (outcome, totals) = runtime.block_on(fleet::run(vehicles, keys, &config))?;
    if args.json {
        println!("{}", to_json(&totals)?);
    } else {
        println!("{totals}");
    }
    Ok(match outcome {
        Outcome::Drained => DONE,
        Outcome::Interrupted if totals.outstanding_frames == 0 => DONE,
        Outcome::Interrupted => INTERRUPTED,
        Outcome::Left => {
            eprintln!(
                "milepost-sim: {} frames were not acknowledged within {} s after the last sample",
                totals.outstanding_frames,
                args.drain_for.as_secs()
            );
            DIFFERENCES
        }
    })
}
