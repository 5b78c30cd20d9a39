//! `milepost vehicles`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use protocol::DeviceId;

use super::devices::ForgetVehicle;
use super::reach::{ANOTHER_ANSWER, Agent, Missing};
use super::table::{Table, time};
use super::write_json;
use crate::admin::{Request, Response};
use crate::config::Config;
use crate::document::rfc3339;
use crate::vehicles::{
    Assignment, Change, Said, VEHICLES_MAX, VehicleAnswer, VehicleEntry, VehicleId, VehicleOrder,
};

mod file;
#[cfg(feature = "model")]
pub(crate) mod fuzzing;

const TIMES: &str = "\
Times are RFC 3339, like 2026-11-22T07:30:00Z or 2026-11-22T08:30+01:00; a day alone is its first
moment in UTC.";

#[derive(Subcommand, Debug)]
pub(super) enum Vehicles {
    /// List all vehicles by key, and what sits in them now
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one vehicle and every device that ever sat in it
    Show {
        /// Which vehicle
        vehicle: VehicleId,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Put a device into a vehicle; a vehicle that is not there is made
    #[command(after_help = TIMES)]
    Assign(Assign),
    /// End a device's time in a vehicle
    #[command(after_help = TIMES)]
    Release {
        /// Which vehicle
        vehicle: VehicleId,
        /// Which device
        device: DeviceId,
        #[command(flatten)]
        end: End,
    },
    /// Take one device out of a vehicle and put another in its place, at one instant
    #[command(after_help = TIMES)]
    Swap {
        /// In which vehicle
        vehicle: VehicleId,
        /// Which device goes
        #[arg(long, value_name = "DEVICE")]
        out: DeviceId,
        /// Which device comes
        #[arg(long = "in", value_name = "DEVICE")]
        new: DeviceId,
        #[command(flatten)]
        end: End,
    },
    /// Say what a vehicle is called and belongs to, from a time on; a vehicle that is not there is
    /// made
    #[command(after_help = TIMES)]
    Set {
        /// Which vehicle
        vehicle: VehicleId,
        #[command(flatten)]
        said: Belongs,
        #[command(flatten)]
        end: End,
    },
    /// Take a vehicle out of use: every device's time in it ends, what it was stays known
    #[command(after_help = TIMES)]
    Decommission {
        /// Which vehicle
        vehicle: VehicleId,
        #[command(flatten)]
        end: End,
    },
    /// Forget a vehicle that was entered by mistake; documents that were written keep naming it
    Remove {
        /// Which vehicle
        vehicle: VehicleId,
        /// Even if devices sat in it
        #[arg(long)]
        force: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Forget a vehicle for good, and every device that sat in no other; prints proofs (one JSON
    /// object a line)
    Forget(ForgetVehicle),
    /// Take in a whole fleet from a CSV file, all of it or nothing
    #[command(after_help = file::FORMAT)]
    Import(file::Import),
    /// Write everything as CSV, as `import` reads it
    Export {
        /// One JSON object a line instead: a vehicle with its assignments
        #[arg(long)]
        json: bool,
        /// Into this file instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub(super) struct Assign {
    /// Into which vehicle
    vehicle: VehicleId,
    /// Which device
    device: DeviceId,
    /// Since when, or "always" [default: now]
    #[arg(long, value_name = "TIME", value_parser = time_or_always)]
    from: Option<i64>,
    /// Until when, if that is over [default: it still sits there]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<i64>,
    #[command(flatten)]
    said: Belongs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct Belongs {
    /// What people call the vehicle; "" takes it away
    #[arg(long, value_name = "TEXT")]
    label: Option<Said>,
    /// Its group; "" takes it away
    #[arg(long, value_name = "NAME")]
    group: Option<Said>,
    /// Its tenant; "" takes it away
    #[arg(long, value_name = "NAME")]
    tenant: Option<Said>,
    /// Its region; "" takes it away
    #[arg(long, value_name = "NAME")]
    region: Option<Said>,
}

#[derive(Args, Debug)]
pub(super) struct End {
    /// When [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<i64>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl From<Belongs> for Change {
    fn from(Belongs { label, group, tenant, region }: Belongs) -> Self {
        Self { label, group, tenant, region }
    }
}

impl Vehicles {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match self {
            Self::List { json } => list(config, json, out)?,
            Self::Show { vehicle, json } => show(config, vehicle, json, out)?,
            Self::Forget(forget) => return forget.execute(config, out),
            Self::Import(import) => return import.execute(config, out),
            Self::Export { json, output } => file::export(config, json, output, out)?,
            Self::Assign(Assign { vehicle, device, from, to, said, json }) => {
                let done = format!("{device} sits in {vehicle}");
                let (from_ms, to_ms, change) = (from, to, said.into());
                let order = VehicleOrder::Assign { device, vehicle, from_ms, to_ms, change };
                obey(config, Missing::Make, order, json, &done, out)?;
            }
            Self::Release { vehicle, device, end } => {
                let done = format!("{device} no longer sits in {vehicle}");
                let order = VehicleOrder::Release { device, vehicle, at_ms: end.at };
                obey(config, Missing::Refuse, order, end.json, &done, out)?;
            }
            Self::Swap { vehicle, out: old, new, end } => {
                let done = format!("{new} sits in {vehicle} in place of {old}");
                let order = VehicleOrder::Swap { vehicle, out: old, new, at_ms: end.at };
                obey(config, Missing::Refuse, order, end.json, &done, out)?;
            }
            Self::Set { vehicle, said, end } => {
                let done = format!("changed {vehicle}");
                let order = VehicleOrder::Set { vehicle, change: said.into(), at_ms: end.at };
                obey(config, Missing::Make, order, end.json, &done, out)?;
            }
            Self::Decommission { vehicle, end } => {
                let done = format!("decommissioned {vehicle}");
                let order = VehicleOrder::Decommission { vehicle, at_ms: end.at };
                obey(config, Missing::Refuse, order, end.json, &done, out)?;
            }
            Self::Remove { vehicle, force, json } => {
                let done = format!("removed {vehicle}");
                let order = VehicleOrder::Remove { vehicle, force };
                obey(config, Missing::Refuse, order, json, &done, out)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks, and takes a refusal for an error.
fn ask(agent: &mut Agent, order: VehicleOrder) -> anyhow::Result<VehicleAnswer> {
    match agent.ask(Request::Vehicles { order })? {
        Response::Vehicles { answer: VehicleAnswer::Refused { reason } } => bail!(reason),
        Response::Vehicles { answer } => Ok(answer),
        _ => bail!(ANOTHER_ANSWER),
    }
}

/// Gives one order and says what came of it.
fn obey(
    config: &Config,
    missing: Missing,
    order: VehicleOrder,
    json: bool,
    done: &str,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let answer = ask(&mut Agent::reach(config, missing)?, order)?;
    if json {
        return write_json(out, &answer);
    }
    match answer {
        VehicleAnswer::Done { note } => {
            writeln!(out, "{done}")?;
            if let Some(note) = note {
                eprintln!("milepost: {note}");
            }
        }
        VehicleAnswer::Released { devices } if devices.is_empty() => {
            writeln!(out, "{done}; no device sat in it")?;
        }
        VehicleAnswer::Released { devices } => {
            let names: Vec<&str> = devices.iter().map(DeviceId::as_str).collect();
            writeln!(out, "{done}; in no vehicle now: {}", names.join(", "))?;
        }
        VehicleAnswer::Removed { assignments } => {
            writeln!(out, "{done}, {}", counted(assignments, "assignment"))?;
        }
        _ => bail!(ANOTHER_ANSWER),
    }
    Ok(())
}

/// Every vehicle, page by page.
fn each_page(
    config: &Config,
    mut take: impl FnMut(Vec<VehicleEntry>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut agent = Agent::reach(config, Missing::Refuse)?;
    let mut after = None;
    loop {
        let VehicleAnswer::Vehicles { vehicles } = ask(&mut agent, VehicleOrder::List { after })?
        else {
            bail!(ANOTHER_ANSWER)
        };
        after = vehicles.last().map(|entry| entry.vehicle.clone());
        let is_last = vehicles.len() < VEHICLES_MAX;
        take(vehicles)?;
        if is_last {
            return Ok(());
        }
    }
}

fn list(config: &Config, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut count = 0_usize;
    each_page(config, |vehicles| {
        count += vehicles.len();
        if json {
            return vehicles.iter().try_for_each(|entry| write_json(out, entry));
        }
        if !vehicles.is_empty() {
            write_table(&vehicles, out)?;
        }
        Ok(())
    })?;
    if !json {
        writeln!(out, "{}", counted(count, "vehicle"))?;
    }
    Ok(())
}

fn write_table(vehicles: &[VehicleEntry], out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(["VEHICLE", "LABEL", "GROUP", "TENANT", "REGION", "DEVICES NOW"]);
    for entry in vehicles {
        let now = if entry.decommissioned_ms.is_some() {
            "decommissioned".to_owned()
        } else {
            let open = entry.assignments.iter().filter(|span| span.to_ms.is_none());
            open.map(|span| span.device.as_str()).collect::<Vec<_>>().join(" ")
        };
        let belonging = &entry.belonging;
        table.row([
            entry.vehicle.to_string(),
            or_dash(entry.label.as_ref()),
            or_dash(belonging.group.as_ref()),
            or_dash(belonging.tenant.as_ref()),
            or_dash(belonging.region.as_ref()),
            if now.is_empty() { "-".to_owned() } else { now },
        ]);
    }
    table.write(out)
}

fn show(
    config: &Config,
    vehicle: VehicleId,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut agent = Agent::reach(config, Missing::Refuse)?;
    let answer = ask(&mut agent, VehicleOrder::Show { vehicle })?;
    let VehicleAnswer::Vehicles { vehicles } = answer else { bail!(ANOTHER_ANSWER) };
    let entry = vehicles.first().context(ANOTHER_ANSWER)?;
    if json {
        return write_json(out, entry);
    }
    let belonging = &entry.belonging;
    writeln!(out, "vehicle         {}", entry.vehicle)?;
    writeln!(out, "label           {}", or_dash(entry.label.as_ref()))?;
    writeln!(out, "group           {}", or_dash(belonging.group.as_ref()))?;
    writeln!(out, "tenant          {}", or_dash(belonging.tenant.as_ref()))?;
    writeln!(out, "region          {}", or_dash(belonging.region.as_ref()))?;
    writeln!(out, "added           {}", time(entry.added_ms))?;
    let decommissioned = entry.decommissioned_ms.map_or_else(|| "no".to_owned(), time);
    writeln!(out, "decommissioned  {decommissioned}")?;
    writeln!(out)?;
    let mut table = Table::new(["DEVICE", "FROM", "TO", "GROUP", "TENANT", "REGION"]);
    for Assignment { device, from_ms, to_ms, belonging, .. } in &entry.assignments {
        table.row([
            device.to_string(),
            from_ms.map_or_else(|| "always".to_owned(), time),
            to_ms.map_or_else(|| "now".to_owned(), time),
            or_dash(belonging.group.as_ref()),
            or_dash(belonging.tenant.as_ref()),
            or_dash(belonging.region.as_ref()),
        ]);
    }
    Ok(table.write(out)?)
}

fn or_dash(text: Option<&impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    rfc3339::parse(text).ok_or_else(|| {
        format!(
            "`{text}` is no time like 2026-11-22T07:30:00Z, 2026-11-22T08:30+01:00 or 2026-11-22"
        )
    })
}

fn time_or_always(text: &str) -> Result<i64, String> {
    if text == "always" { Ok(i64::MIN) } else { parse_time(text) }
}
