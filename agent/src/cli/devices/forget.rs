//! `milepost devices forget` and `milepost vehicles forget`, and what is kept of them.

use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::Args;
use protocol::DeviceId;

use crate::admin::{Request, Response};
use crate::cli::reach::{ANOTHER_ANSWER, Agent, Missing};
use crate::cli::table::{Table, time};
use crate::cli::write_json;
use crate::config::Config;
use crate::erasure::SignedProof;
use crate::vehicles::VehicleId;

#[derive(Args, Debug)]
pub(in crate::cli) struct Forget {
    /// Which device
    id: DeviceId,
    /// Do not ask on a terminal
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ForgetVehicle {
    /// Which vehicle
    vehicle: VehicleId,
    /// Do not ask on a terminal
    #[arg(long)]
    yes: bool,
}

impl Forget {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        confirm(self.yes, &format!("device {}", self.id), self.id.as_str())?;
        forget(config, Request::DevicesErase { device: self.id }, out)
    }
}

impl ForgetVehicle {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let what = format!("vehicle {} and every device that sat in no other", self.vehicle);
        confirm(self.yes, &what, self.vehicle.as_str())?;
        forget(config, Request::VehiclesErase { vehicle: self.vehicle }, out)
    }
}

/// Asks whoever sits at a terminal; a script knows what it does.
fn confirm(yes: bool, what: &str, name: &str) -> anyhow::Result<()> {
    if yes || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(());
    }
    eprint!("Forget {what} for good? Nothing brings this back. Type `{name}` to go on: ");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    ensure!(line.trim() == name, "nothing was forgotten");
    Ok(())
}

fn forget(config: &Config, request: Request, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut agent = Agent::reach(config, Missing::Refuse)?;
    let Response::Erased { proofs, kept } = agent.ask(request)? else { bail!(ANOTHER_ANSWER) };
    for proof in &proofs {
        write_json(out, proof)?;
        tell(proof);
    }
    for device in kept {
        eprintln!(
            "milepost: {device} sat in other vehicles too and stays: `milepost devices forget {device}`"
        );
    }
    let is_complete = proofs.iter().all(|proof| proof.proof.complete);
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is not done, and what is left elsewhere.
fn tell(proof: &SignedProof) {
    for sink in &proof.proof.sinks {
        if let Some(why) = &sink.failed {
            eprintln!("milepost: not done in sink {}: {why}", sink.sink);
        }
        for remains in &sink.erased.remains {
            let documents = remains.documents.map(|count| format!(", {count} documents"));
            eprintln!(
                "milepost: sink {} cannot erase: {}{}",
                sink.sink,
                remains.place,
                documents.unwrap_or_default()
            );
        }
    }
    if !proof.proof.complete {
        eprintln!(
            "milepost: the secret is gone; the agent's next start goes on with the rest, or the same command"
        );
    }
}

pub(super) fn erasures(
    config: &Config,
    json: bool,
    of: Option<DeviceId>,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut agent = Agent::reach(config, Missing::Refuse)?;
    let Response::Erasures { mut erasures } = agent.ask(Request::Erasures { of })? else {
        bail!(ANOTHER_ANSWER)
    };
    erasures.sort_by_key(|erasure| erasure.at_ms);
    if let Some(device) = of.filter(|_| erasures.is_empty()) {
        eprintln!("milepost: nothing of {device} was forgotten");
        return Ok(ExitCode::FAILURE);
    }
    if json {
        for erasure in erasures.iter().filter(|erasure| !erasure.proof.is_empty()) {
            writeln!(out, "{}", erasure.proof)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["AT", "SUBJECT", "STATE"]);
    for erasure in &erasures {
        let state = if erasure.pending.is_some() { "under way" } else { "done" };
        table.row([time(erasure.at_ms), erasure.subject.clone(), state.to_owned()]);
    }
    table.write(out)?;
    Ok(ExitCode::SUCCESS)
}
