//! `milepost devices`.

use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use protocol::{Counts, DeviceId, Generation};
use serde_json::json;

mod forget;

pub(super) use forget::ForgetVehicle;

use super::reach::{ANOTHER_ANSWER, Agent, Missing};
use super::table::{Table, time};
use super::write_json;
use crate::admin::{DEVICES_MAX, Request, Response};
use crate::config::Config;
use crate::registry::{Credentials, DeviceEntry, is_exposed};

#[derive(Subcommand, Debug)]
pub(super) enum Devices {
    /// Add devices, each with a fresh secret
    Add(Add),
    /// List all devices by name; LAST SEEN is their latest hello, noted every 10 seconds
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one device
    Show {
        /// Which device
        id: DeviceId,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Give a device a new secret; the old ones stay valid
    Rotate {
        /// Which device
        id: DeviceId,
        #[command(flatten)]
        keys: Keys,
    },
    /// Destroy an old secret of a device that has a new one; what was sealed with it and is not yet
    /// delivered stays unreadable
    DestroyKey {
        /// Which device
        id: DeviceId,
        /// The secret's generation, as `devices show` lists them; not the current one
        #[arg(long, value_name = "0-3", value_parser = generation)]
        generation: Generation,
    },
    /// Shut devices out, at once; what is known of them stays
    Revoke {
        /// Which devices
        #[arg(required = true, value_name = "ID")]
        ids: Vec<DeviceId>,
    },
    /// Take devices out of use: their time in a vehicle ends, and they are shut out; their secrets
    /// stay, so that what they sent is read
    Decommission {
        /// Which devices
        #[arg(required = true, value_name = "ID")]
        ids: Vec<DeviceId>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Bring decommissioned devices back into use
    Recommission {
        /// Which devices
        #[arg(required = true, value_name = "ID")]
        ids: Vec<DeviceId>,
    },
    /// Write what a broker must know of the devices
    #[command(subcommand)]
    Acl(super::acl::Acl),
    /// Destroy devices' secrets and take them off the list: what is sealed with them, in journals
    /// too, stays unreadable; refused while a sink has not got all that they sent
    Remove {
        /// Which devices
        #[arg(required = true, value_name = "ID")]
        ids: Vec<DeviceId>,
        /// Even if sinks have not got everything
        #[arg(long)]
        force: bool,
    },
    /// Forget a device for good: secrets, assignments, what was set aside, and its samples and
    /// records in the local store; prints a proof (one JSON object)
    Forget(forget::Forget),
    /// Show what was forgotten so far, without names
    Erasures {
        /// One JSON object a line: the proofs as they are kept
        #[arg(long)]
        json: bool,
        /// Only those of this device; exit code 1 if there are none
        #[arg(long, value_name = "ID")]
        of: Option<DeviceId>,
    },
}

#[derive(Args, Debug)]
pub(super) struct Add {
    #[command(flatten)]
    which: Which,
    /// What the names begin with, with --count
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["ids", "from"], default_value = "device-")]
    prefix: String,
    #[command(flatten)]
    keys: Keys,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// Their names: 1 to 32 of A-Z a-z 0-9 _ - each
    #[arg(value_name = "ID")]
    ids: Vec<DeviceId>,
    /// A file of names, one a line; - for standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// So many, numbered from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: Option<u32>,
}

#[derive(Args, Debug)]
pub(super) struct Keys {
    /// Append the secrets to this file (NDJSON, mode 0600) instead of showing them, once
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

impl Devices {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match self {
            Self::Add(add) => add.execute(config, out)?,
            Self::List { json } => list(config, json, out)?,
            Self::Acl(acl) => acl.execute(config, out)?,
            Self::Show { id, json } => show(config, id, json, out)?,
            Self::Rotate { id, keys } => {
                // Opened first: a secret that can't be kept must not be made.
                let mut keys = keys.open()?;
                let mut agent = Agent::reach(config, Missing::Refuse)?;
                let credentials =
                    ask_credentials(&mut agent, Request::DevicesRotate { device: id })?;
                keys.keep(&credentials, out)?;
                keys.tell(&format!("{id} has a new secret"), out)?;
            }
            Self::DestroyKey { id, generation } => {
                let request = |device| Request::DevicesDestroyKey { device, generation };
                return each(config, &[id], "old secret destroyed", request, out);
            }
            Self::Revoke { ids } => {
                let request = |device| Request::DevicesRevoke { device };
                return each(config, &ids, "revoked", request, out);
            }
            Self::Decommission { ids, json } => return decommission(config, &ids, json, out),
            Self::Recommission { ids } => {
                let request = |device| Request::DevicesRecommission { device };
                return each(config, &ids, "in use again:", request, out);
            }
            Self::Remove { ids, force } => {
                let request = |device| Request::DevicesRemove { device, force };
                return each(config, &ids, "removed", request, out);
            }
            Self::Forget(forget) => return forget.execute(config, out),
            Self::Erasures { json, of } => return forget::erasures(config, json, of, out),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Add {
    fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<()> {
        let devices = self.which.devices(&self.prefix)?;
        let mut keys = self.keys.open()?;
        let mut agent = Agent::reach(config, Missing::Make)?;
        for devices in devices.chunks(DEVICES_MAX) {
            let request = Request::DevicesAdd { devices: devices.to_vec() };
            keys.keep(&ask_credentials(&mut agent, request)?, out)?;
        }
        keys.tell(&format!("added {}", counted(devices.len())), out)
    }
}

impl Which {
    fn devices(self, prefix: &str) -> anyhow::Result<Vec<DeviceId>> {
        if let Some(count) = self.count {
            let width = count.to_string().len().max(4);
            let name = |number| format!("{prefix}{number:0width$}");
            let parse = |name: String| name.parse().with_context(|| format!("`{name}`"));
            return (1..=count).map(|number| parse(name(number))).collect();
        }
        match self.from.as_deref() {
            None => Ok(self.ids),
            Some(path) if path == Path::new("-") => {
                read_names(io::stdin().lock(), "standard input")
            }
            Some(path) => {
                let name = path.display().to_string();
                let file = fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
                read_names(io::BufReader::new(file), &name)
            }
        }
    }
}

/// Names, one a line; empty lines and those that begin with # are passed over.
fn read_names(lines: impl BufRead, name: &str) -> anyhow::Result<Vec<DeviceId>> {
    let mut devices = Vec::new();
    for (index, line) in lines.lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        let id = line.trim();
        if !id.is_empty() && !id.starts_with('#') {
            let place = || format!("{name}:{}: `{id}`", index + 1);
            devices.push(id.parse().with_context(place)?);
        }
    }
    ensure!(!devices.is_empty(), "{name} names no device");
    Ok(devices)
}

/// Where secrets go.
struct OpenKeys {
    file: Option<(PathBuf, fs::File)>,
}

impl Keys {
    fn open(self) -> anyhow::Result<OpenKeys> {
        let Some(path) = self.keys else { return Ok(OpenKeys { file: None }) };
        let shown = path.display();
        let mut options = fs::OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot write {shown}"))?;
        let found = file.metadata().with_context(|| format!("cannot write {shown}"))?;
        ensure!(!is_exposed(&found), "{shown} can be read or written by others: chmod 600 {shown}");
        Ok(OpenKeys { file: Some((path, file)) })
    }
}

impl OpenKeys {
    fn keep(&mut self, credentials: &[Credentials], out: &mut impl Write) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for credentials in credentials {
            serde_json::to_writer(&mut lines, credentials)?;
            lines.push(b'\n');
        }
        match &mut self.file {
            Some((path, file)) => {
                file.write_all(&lines).and_then(|()| file.sync_all()).with_context(|| {
                    let path = path.display();
                    format!("cannot write {path}: devices were given secrets that are not in it")
                })
            }
            // Nobody can show them again: they leave at once, whatever comes next.
            None => Ok(out.write_all(&lines).and_then(|()| out.flush())?),
        }
    }

    fn tell(&self, what: &str, out: &mut impl Write) -> anyhow::Result<()> {
        match &self.file {
            Some((path, _)) => writeln!(out, "{what}; secrets in {}", path.display())?,
            None => eprintln!("{what}; the secrets are above and will not be shown again"),
        }
        Ok(())
    }
}

fn ask_credentials(agent: &mut Agent, request: Request) -> anyhow::Result<Vec<Credentials>> {
    match agent.ask(request)? {
        Response::Credentials { credentials } => Ok(credentials),
        _ => bail!(ANOTHER_ANSWER),
    }
}

fn ask_devices(agent: &mut Agent, request: Request) -> anyhow::Result<Vec<DeviceEntry>> {
    match agent.ask(request)? {
        Response::Devices { devices } => Ok(devices),
        _ => bail!(ANOTHER_ANSWER),
    }
}

fn counted(devices: usize) -> String {
    if devices == 1 { "1 device".to_owned() } else { format!("{devices} devices") }
}

fn list(config: &Config, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut agent = Agent::reach(config, Missing::Refuse)?;
    let mut after = None;
    let mut count = 0_usize;
    loop {
        let devices = ask_devices(&mut agent, Request::DevicesList { after })?;
        if json {
            devices.iter().try_for_each(|entry| write_json(out, entry))?;
        } else if !devices.is_empty() {
            write_table(&devices, out)?;
        }
        count += devices.len();
        after = devices.last().map(|entry| entry.device);
        if devices.len() < DEVICES_MAX {
            break;
        }
    }
    if !json {
        writeln!(out, "{}", counted(count))?;
    }
    Ok(())
}

/// One page; each has its own headings and widths, since all of them need not fit in memory.
fn write_table(devices: &[DeviceEntry], out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(["DEVICE", "STATE", "KEY", "ADDED", "LAST SEEN"]);
    for entry in devices {
        let state = match (entry.revoked_ms, entry.decommissioned_ms) {
            (Some(_), _) => "revoked",
            (None, Some(_)) => "decommissioned",
            (None, None) => "admitted",
        };
        let seen = entry.last_seen_ms.map_or_else(|| "never".to_owned(), time);
        let key = entry.current.number().to_string();
        let name = entry.device.to_string();
        table.row([name, state.to_owned(), key, time(entry.added_ms), seen]);
    }
    table.write(out)
}

fn show(config: &Config, device: DeviceId, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut agent = Agent::reach(config, Missing::Refuse)?;
    let devices = ask_devices(&mut agent, Request::DevicesShow { device })?;
    let entry = devices.first().context(ANOTHER_ANSWER)?;
    if json {
        return write_json(out, entry);
    }
    let or = |at_ms: Option<i64>, otherwise: &str| at_ms.map_or(otherwise.to_owned(), time);
    let generations: Vec<String> =
        entry.generations.iter().map(|generation| generation.number().to_string()).collect();
    writeln!(out, "device          {}", entry.device)?;
    writeln!(out, "added           {}", time(entry.added_ms))?;
    writeln!(out, "last seen       {}", or(entry.last_seen_ms, "never"))?;
    writeln!(out, "revoked         {}", or(entry.revoked_ms, "no"))?;
    writeln!(out, "decommissioned  {}", or(entry.decommissioned_ms, "no"))?;
    writeln!(out, "current key     {}", entry.current.number())?;
    writeln!(out, "live keys       {}", generations.join(" "))?;
    Ok(())
}

fn decommission(
    config: &Config,
    devices: &[DeviceId],
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut agent = Agent::reach(config, Missing::Refuse)?;
    let mut code = ExitCode::SUCCESS;
    for device in devices {
        let answer = agent.ask(Request::DevicesDecommission { device: *device });
        let (vehicle, unsent) = match answer {
            Ok(Response::Decommissioned { vehicle, unsent }) => (vehicle, unsent),
            Ok(_) => bail!(ANOTHER_ANSWER),
            Err(error) => {
                eprintln!("milepost: {error:#}");
                code = ExitCode::FAILURE;
                continue;
            }
        };
        if json {
            let unsent =
                unsent.map(|unsent| json!({ "samples": unsent.samples, "events": unsent.events }));
            write_json(out, &json!({ "device": device, "vehicle": vehicle, "unsent": unsent }))?;
            continue;
        }
        let was = vehicle.map_or_else(String::new, |vehicle| format!("; it sat in {vehicle}"));
        writeln!(out, "decommissioned {device}{was}")?;
        if let Some(Counts { samples, events }) = unsent.filter(|unsent| !unsent.is_zero()) {
            eprintln!(
                "milepost: by its latest word {device} still holds {samples} samples and {events} events;                  to get them: `milepost devices recommission {device}`, and let it send"
            );
        }
    }
    Ok(code)
}

/// Asks the same for each device; goes on after a refusal, and then the answer is no.
fn each(
    config: &Config,
    devices: &[DeviceId],
    done: &str,
    request: impl Fn(DeviceId) -> Request,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut agent = Agent::reach(config, Missing::Refuse)?;
    let mut code = ExitCode::SUCCESS;
    for device in devices {
        match agent.ask(request(*device)) {
            Ok(_) => writeln!(out, "{done} {device}")?,
            Err(error) => {
                eprintln!("milepost: {error:#}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn generation(text: &str) -> Result<Generation, String> {
    let number = text.parse().ok().and_then(Generation::new);
    number.ok_or_else(|| format!("`{text}` is no key generation: 0 to 3"))
}
