//! `milepost devices acl`: a broker told who may say and hear what.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};

use super::mosquitto::{Login, Mosquitto, Tls};
use super::reach::{Agent, Missing};
use crate::admin::{DEVICES_MAX, Request, Response};
use crate::config::Config;
use crate::intake::broker::BrokerConfig;
use crate::owner;
use crate::registry::{DeviceEntry, Entropy as _, OsEntropy, is_exposed};

/// Connections besides one for each device: those on their way out, and operators.
const SPARE_CONNECTIONS: usize = 64;

#[derive(Subcommand, Debug)]
pub(super) enum Acl {
    /// Write a configuration for Mosquitto 2: users, topics and TLS, so that a device says and
    /// hears what is its own and no more, and this agent everything
    Mosquitto(MosquittoArgs),
}

#[derive(Args, Debug)]
pub(super) struct MosquittoArgs {
    /// Where to: a folder, made if need be
    #[arg(long, value_name = "DIR", default_value = "mosquitto")]
    out: PathBuf,
    /// Which [[broker]] of the configuration this is for: gives the agent's name and password there
    /// [default: the first, if there is one]
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
    /// Where Mosquitto listens [default: 127.0.0.1:1883, with TLS 0.0.0.0:8883]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// With TLS: Mosquitto's own certificate, as Mosquitto finds it
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// With TLS: its private key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Who signs the devices' and the agent's certificates: each is known by its common name, and
    /// there are no passwords
    #[arg(long, value_name = "FILE", requires = "certificate")]
    client_ca: Option<PathBuf>,
}

impl Acl {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<()> {
        let Self::Mosquitto(arguments) = self;
        arguments.execute(config, out)
    }
}

impl MosquittoArgs {
    fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<()> {
        let broker = self.broker(config)?;
        let login = broker.and_then(|broker| broker.login.as_ref());
        let agent = login.map_or("milepost", |login| login.username.as_str()).to_owned();
        let mut reached = Agent::reach(config, Missing::Refuse)?;
        let devices = all_devices(&mut reached)?;
        ensure!(
            devices.iter().all(|entry| entry.device.as_str() != agent),
            "a device has the agent's name at the broker, `{agent}`: set another `username` under [[broker]]"
        );
        fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make {}", self.out.display()))?;
        let mut logins = Vec::new();
        if self.client_ca.is_none() {
            logins = all_logins(&mut reached)?;
            logins.push((agent.clone(), self.agent_password(broker, out)?));
        }
        let tls = self.certificate.clone().zip(self.key.clone()).map(|(certificate, key)| Tls {
            certificate,
            key,
            client_ca: self.client_ca.clone(),
        });
        let (admitted, revoked): (Vec<_>, Vec<_>) =
            devices.iter().partition(|entry| entry.revoked_ms.is_none());
        let default = if tls.is_some() { "0.0.0.0:8883" } else { "127.0.0.1:1883" };
        let mosquitto = Mosquitto {
            dir: std::path::absolute(&self.out)?,
            listen: self.listen.map_or_else(|| default.parse(), Ok)?,
            tls,
            agent,
            devices: admitted.len(),
            connections_max: admitted.len().saturating_mul(2).saturating_add(SPARE_CONNECTIONS),
            revoked: revoked.iter().map(|entry| entry.device).collect(),
        };
        self.write("milepost.conf", 0o644, &mosquitto.config())?;
        self.write("milepost.acl", 0o640, &mosquitto.acl())?;
        if mosquitto.has_passwords() {
            let hashed = Login::hash_all(&logins, &mut OsEntropy)?;
            self.write("milepost.passwd", 0o640, &hashed)?;
        }
        let shown = mosquitto.dir.display();
        writeln!(out, "wrote {shown}/milepost.conf for {} devices", mosquitto.devices)?;
        writeln!(
            out,
            "Let Mosquitto read what is in there (once: chgrp -R mosquitto {shown}), name the folder \
             in mosquitto.conf (include_dir {shown}), and after each change here write it anew and \
             send Mosquitto a SIGHUP."
        )?;
        Ok(())
    }

    fn broker<'a>(&self, config: &'a Config) -> anyhow::Result<Option<&'a BrokerConfig>> {
        let Some(name) = &self.broker else { return Ok(config.brokers.first()) };
        let found = config.brokers.iter().find(|broker| broker.name == *name);
        Ok(Some(found.with_context(|| format!("the configuration has no broker `{name}`"))?))
    }

    /// The agent's own password: the configured one, or a new one beside what is written.
    fn agent_password(
        &self,
        broker: Option<&BrokerConfig>,
        out: &mut impl Write,
    ) -> anyhow::Result<String> {
        if let Some(login) = broker.and_then(|broker| broker.login.as_ref())
            && login.password_file.is_some()
        {
            let password = login.password().map_err(anyhow::Error::msg)?;
            return Ok(password.as_str().to_owned());
        }
        let path = self.out.join("agent.password");
        if let Ok(found) = fs::metadata(&path) {
            let shown = path.display();
            ensure!(!is_exposed(&found), "{shown} can be read by others: chmod 600 {shown}");
            let kept = fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
            return Ok(kept.trim_end().to_owned());
        }
        let mut bytes = [0; 16];
        OsEntropy.fill(&mut bytes)?;
        let password = bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        self.write("agent.password", 0o600, &format!("{password}\n"))?;
        let shown = std::path::absolute(&path)?;
        writeln!(out, "a new password for the agent: password_file = \"{}\"", shown.display())?;
        Ok(password)
    }

    /// Writes a file whole or not at all. One that takes another's place belongs to whom that one
    /// belonged to: Mosquitto may read it, and goes on doing so.
    fn write(&self, name: &str, mode: u32, text: &str) -> anyhow::Result<()> {
        let path = self.out.join(name);
        let fresh = self.out.join(format!(".{name}.new"));
        let replaced = fs::metadata(&path).ok();
        write_new(&fresh, mode, replaced.as_ref(), text)
            .and_then(|()| fs::rename(&fresh, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn write_new(
    path: &Path,
    mode: u32,
    replaced: Option<&fs::Metadata>,
    text: &str,
) -> std::io::Result<()> {
    // One left behind by an interrupted call may have another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    if let Some(replaced) = replaced {
        owner::like(&file, replaced)?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn all_devices(agent: &mut Agent) -> anyhow::Result<Vec<DeviceEntry>> {
    let mut all: Vec<DeviceEntry> = Vec::new();
    loop {
        let after = all.last().map(|entry| entry.device);
        let Response::Devices { devices } = agent.ask(Request::DevicesList { after })? else {
            bail!(super::reach::ANOTHER_ANSWER);
        };
        let is_last = devices.len() < DEVICES_MAX;
        all.extend(devices);
        if is_last {
            return Ok(all);
        }
    }
}

fn all_logins(agent: &mut Agent) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let Response::Logins { logins, last } = agent.ask(Request::DevicesLogins { after })? else {
            bail!(super::reach::ANOTHER_ANSWER);
        };
        all.extend(logins.into_iter().map(|login| (login.device.to_string(), login.password)));
        after = last;
        if after.is_none() {
            return Ok(all);
        }
    }
}
