//! `verify`.

use std::collections::HashMap;

use anyhow::Context as _;
use protocol::DeviceId;

use super::args::VerifyArgs;
use super::{DIFFERENCES, DONE, made, say, to_json};
use crate::fleet::state::{self, MadeFleet};
use crate::oracle::{Oracle, ledger, sink};
use crate::vehicle::Vehicle;

pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<u8> {
    let vehicles = vehicles_of(args)?;
    let admitted = admitted_of(args, &vehicles)?;
    let ledger = args
        .ledger
        .as_deref()
        .map(|path| ledger::read(path, args.ledger_sink.as_deref()))
        .transpose()?;
    if let Some(buffered) =
        ledger.as_ref().map(ledger::SinkLedger::buffered).filter(|left| *left > 0)
    {
        eprintln!(
            "milepost-sim: not yet: by the ledger {buffered} samples and events are still on their \
             way to the sink; draw it again with `milepost ledger --wait --json`"
        );
        return Ok(DIFFERENCES);
    }
    let mut oracle = Oracle::new(vehicles, |device| admitted.get(device).copied());
    if args.others {
        oracle = oracle.beside_others();
    }
    read_sink(args, &mut oracle)?;
    let mut verdict = oracle.finish();
    if let Some(ledger) = &ledger {
        ledger::compare(ledger, &mut verdict);
    }
    if args.json {
        say(&format_args!("{}\n", to_json(&verdict)?))?;
    } else {
        say(&format_args!("{verdict}\n"))?;
    }
    if verdict.is_clean() {
        return Ok(DONE);
    }
    if ledger.is_none() {
        eprintln!(
            "milepost-sim: if the agent still delivers, wait for it with `milepost ledger --wait` first"
        );
    }
    Ok(DIFFERENCES)
}

/// Gives the oracle what the sink holds.
fn read_sink(args: &VerifyArgs, oracle: &mut Oracle) -> anyhow::Result<()> {
    match args.sink.as_slice() {
        [only] if only.as_os_str() == "store" => {
            let export = sink::StoreExport {
                milepost: args.milepost.clone(),
                config: args.config.clone(),
                data_dir: args.data_dir.clone(),
            };
            export.read(oracle)?;
            return Ok(());
        }
        [only] if only.as_os_str() == "-" => {
            sink::read_lines(oracle, 0, "standard input", std::io::stdin().lock())
                .context("cannot read standard input")?;
            return Ok(());
        }
        _ => {}
    }
    let files = sink::files(&args.sink).context("cannot list the sink's files")?;
    if files.is_empty() {
        let folders: Vec<_> = args.sink.iter().map(|path| path.display().to_string()).collect();
        anyhow::bail!("no *.ndjson in {}", folders.join(", "));
    }
    for (number, file) in files.iter().enumerate() {
        sink::read_file(oracle, number, file)
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(())
}

fn vehicles_of(args: &VerifyArgs) -> anyhow::Result<Vec<Vehicle>> {
    if !args.files.is_empty() {
        let (options, count) = (args.traces.options(), args.vehicles);
        return made::vehicles(&args.files, &options, count, args.rounds, &args.made_from);
    }
    let noted = args.state.as_deref().and_then(MadeFleet::read);
    match (args.synthetic, noted) {
        (false, Some(noted)) => Ok(noted.vehicles()?),
        (true, _) => {
            let count = args.vehicles.context("--synthetic needs --vehicles")?;
            Ok(made::vans(count, &args.made_from).vehicles()?)
        }
        (false, None) => anyhow::bail!(
            "name the recordings, the scenario, or --synthetic, or the --state folder of a `run`"
        ),
    }
}

fn admitted_of(args: &VerifyArgs, vehicles: &[Vehicle]) -> anyhow::Result<HashMap<DeviceId, u64>> {
    let Some(dir) = &args.state else { return Ok(HashMap::new()) };
    let mut admitted = HashMap::new();
    for vehicle in vehicles {
        admitted.insert(vehicle.device, state::admitted(dir, &vehicle.device)?);
    }
    Ok(admitted)
}
