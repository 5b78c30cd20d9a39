//! Thousands of clients in one process.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use agent::registry::Credentials;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use firmware::session::SessionConfig;
use milepost_proof::light::{Keys, name};
use protocol::{DeviceId, Secret};
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::Fleet;
use super::client::{Client, Manner};
use super::tally::Tally;

/// What they are, and how they behave.
#[derive(Args)]
pub struct Clients {
    #[command(flatten)]
    fleet: Fleet,
    /// No jitter and no growing wait: whoever is not connected tries at every full second.
    #[arg(long)]
    herd: bool,
}

/// How often it is said how they fare.
const SAID_EVERY: Duration = Duration::from_millis(200);

impl Clients {
    pub fn run(self) -> Result<()> {
        super::raise_descriptor_limit()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.serve())
    }

    async fn serve(self) -> Result<()> {
        let (target, measured) = watch::channel(0);
        let tally = Rc::new(Tally::new(measured));
        let manner = self.manner();
        let secrets = secrets(&self.fleet.keys)?;
        for number in self.fleet.first..self.fleet.first + self.fleet.devices {
            let device = name(number).context("no such name")?;
            let secret =
                secrets.get(&device).cloned().with_context(|| format!("{device}: no key"))?;
            let keys = Keys { device, secret };
            let client = Client::new(number, keys, (self.fleet.way, manner), &tally);
            tokio::task::spawn_local(client.run());
        }
        obey(&target, &tally).await
    }

    fn manner(&self) -> Manner {
        let jitterless =
            SessionConfig { backoff_ms_base: 0, backoff_ms_max: 0, ..SessionConfig::default() };
        let session = if self.herd { jitterless } else { SessionConfig::default() };
        Manner { session, herd: self.herd }
    }
}

/// Does as standard input says, line by line, until it ends: `measure N`, so many frames more for
/// each device; `leave`, whoever has nothing left to say; `times`, when each of them was held.
async fn obey(target: &watch::Sender<u64>, tally: &Tally) -> Result<()> {
    let mut lines = super::lines_of_stdin()?;
    let mut due = tokio::time::interval(SAID_EVERY);
    loop {
        tokio::select! {
            line = lines.recv() => {
                let Some(line) = line else { return Ok(()) };
                match line.split_once(' ') {
                    Some(("measure", frames)) => {
                        let frames: u64 = frames.trim().parse()?;
                        tally.forget();
                        target.send_modify(|target| *target += frames);
                    }
                    None if line == "leave" => tally.leaves.set(true),
                    None if line == "times" => {
                        println!("{}", serde_json::json!({ "held_at": *tally.held_at.borrow() }));
                    }
                    _ => bail!("what is {line:?}?"),
                }
            }
            _ = due.tick() => println!("{}", tally.to_json()),
        }
    }
}

/// The secrets of a key file's devices.
pub fn secrets(keys: &Path) -> Result<HashMap<DeviceId, Secret>> {
    let file = File::open(keys).with_context(|| keys.display().to_string())?;
    let mut secrets = HashMap::new();
    for line in BufReader::new(file).lines() {
        let credentials: Credentials = serde_json::from_str(&line?)?;
        secrets.insert(credentials.device, credentials.secret);
    }
    Ok(secrets)
}
