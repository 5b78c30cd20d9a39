//! The real Mosquitto as a process, with a configuration of its own.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::agent::free_address;
use crate::process::{Process, until};

/// Where a broker lives and listens.
#[derive(Clone, Debug)]
pub struct Mosquitto {
    binary: PathBuf,
    dir: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Mosquitto's binary; none if it is not installed (Debian: `apt-get install mosquitto`).
pub fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian installs it where only root looks.
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    dirs.map(|dir| dir.join("mosquitto")).find(|binary| binary.is_file())
}

impl Mosquitto {
    /// A broker under `dir` that lets everyone do everything, with `extra` lines of configuration;
    /// `{dir}` in them is its directory.
    pub fn open(dir: &Path, extra: &str) -> Result<Self> {
        Self::with(dir, &format!("allow_anonymous true\n{extra}"))
    }

    /// A broker under `dir` with these lines of configuration besides its listener; they may begin
    /// with what belongs to the listener.
    pub fn with(dir: &Path, lines: &str) -> Result<Self> {
        let broker = Self::at(dir, free_address()?)?;
        let lines = lines.replace("{dir}", &dir.to_string_lossy());
        let SocketAddr::V4(address) = broker.address else { bail!("not an IPv4 address") };
        let listener = format!("listener {} {}\n", address.port(), address.ip());
        // It drops root otherwise, and then cannot read what the tests wrote.
        let text = format!("user root\nlog_dest stderr\n{listener}{lines}\n");
        std::fs::write(broker.config(), text)?;
        Ok(broker)
    }

    /// A broker under `dir` at this address, whose `mosquitto.conf` somebody else writes.
    pub fn at(dir: &Path, address: SocketAddr) -> Result<Self> {
        let binary = installed().context("mosquitto is not installed")?;
        std::fs::create_dir_all(dir)?;
        Ok(Self { binary, dir: dir.to_owned(), address })
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("mosquitto.conf")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("mosquitto.log")
    }

    /// Starts it and waits until it listens.
    pub fn start(&self) -> Result<Process> {
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(self.config()).current_dir(&self.dir).stdout(Stdio::null());
        let mut process = Process::start("mosquitto", &mut command, &self.log())?;
        until("mosquitto's port", Duration::from_secs(20), || {
            if let Some(status) = process.ended()? {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                bail!("mosquitto ended at its start ({status}): {log}");
            }
            Ok(TcpStream::connect(self.address).is_ok())
        })?;
        Ok(process)
    }

    /// Forgets everything that it knows, as if its disk had died; it must not be running.
    pub fn forget(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "db") {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}
