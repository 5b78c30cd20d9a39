//! `replay` and `run`.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use recordings::can::raw;
use recordings::civil::rfc3339_ms;

use super::args::{FleetArgs, MadeFrom, ReplayArgs, RunArgs};
use super::{DIFFERENCES, DONE, INTERRUPTED, made, say, to_json};
use crate::fleet::feed::Pace;
use crate::fleet::state::MadeFleet;
use crate::fleet::{self, FleetConfig, Outcome, keys};
use crate::scenario::Scenario;
use crate::source::Source;
use crate::vehicle::Vehicle;

/// Vehicles of a `run` that names neither a number nor a scenario.
const VANS: usize = 10;

pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<u8> {
    if let Some(file) = args.files.iter().find(|file| Scenario::is_path(file)) {
        anyhow::bail!("{0} is a scenario: `milepost-sim run {0}`", file.display());
    }
    let options = args.traces.options();
    let (count, rounds) = (args.vehicles, args.rounds);
    let vehicles = made::vehicles(&args.files, &options, count, rounds, &MadeFrom::default())?;
    let pace = match args.rate {
        Some(rate) => Pace::of_fleet(rate, vehicles.len()),
        None => args.speed,
    };
    run_fleet(vehicles, pace, args.sample_for, &args.fleet)
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let made = match &args.scenario {
        Some(path) => made::scenario(path, &args.made_from)?,
        None => made::vans(args.vehicles.unwrap_or(VANS), &args.made_from),
    };
    let vehicles = made.vehicles()?;
    if let Some(dir) = &args.fleet.state {
        let before = MadeFleet::read(dir);
        if before.is_some_and(|before| before != made) {
            anyhow::bail!(
                "{} was filled by another scenario; take its numbers or another folder",
                dir.display()
            );
        }
        made.write(dir)?;
    }
    let (seed, start_unix_ms, length_s) = match made {
        MadeFleet::Vans(vans) => (vans.seed, vans.start_unix_ms, vans.length_ms / 1000),
        MadeFleet::Scenario { seed, start_unix_ms, length_ms, .. } => {
            (seed, start_unix_ms, u64::try_from(length_ms / 1000).unwrap_or_default())
        }
    };
    let (count, start) = (vehicles.len(), rfc3339_ms(start_unix_ms));
    eprintln!("seed {seed}, {count} vehicles, {length_s} s from {start}");
    run_fleet(vehicles, args.speed, None, &args.fleet)
}

fn frames_of(source: &Source) -> u64 {
    match source {
        Source::Recorded(recording) => raw::frames_of(recording),
        Source::Synthetic(_) | Source::Scenario(_) => 0,
    }
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
    let can_frames = vehicles.iter().map(|vehicle| frames_of(&vehicle.source)).sum();
    let (outcome, totals) = runtime.block_on(fleet::run(vehicles, keys, &config))?;
    let totals = totals.of_can_frames(can_frames);
    if args.json {
        say(&format_args!("{}\n", to_json(&totals)?))?;
    } else {
        say(&format_args!("{totals}\n"))?;
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
