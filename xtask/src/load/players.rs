//! Processes of `milepost-load` that hold clients: told what to do on their standard input, and
//! saying how they fare, a JSON object a line, on their standard output.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use world::process::until;

/// What a process said last.
#[derive(Debug, Default)]
struct Said {
    /// How it fares.
    fares: Value,
    /// When each of its devices was held.
    held_at: Option<Value>,
}

/// A process of clients; killed when dropped.
#[derive(Debug)]
pub struct Player {
    child: Child,
    orders: Option<ChildStdin>,
    said: Arc<Mutex<Said>>,
}

impl Player {
    /// Starts it; its complaints go to `log`.
    pub fn start(load: &Path, arguments: &[String], log: &Path) -> Result<Self> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(load);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().context("starting milepost-load")?;
        let (orders, output) = (child.stdin.take(), child.stdout.take());
        let output = output.context("no output")?;
        let said = Arc::new(Mutex::new(Said::default()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
                let mut said = heard.lock().unwrap_or_else(PoisonError::into_inner);
                match value.get("held_at") {
                    Some(times) => said.held_at = Some(times.clone()),
                    None => said.fares = value,
                }
            }
        });
        Ok(Self { child, orders, said })
    }

    fn order(&mut self, line: &str) -> Result<()> {
        let orders = self.orders.as_mut().context("it was told to end")?;
        writeln!(orders, "{line}")?;
        Ok(orders.flush()?)
    }

    fn count(&self, what: &str) -> u64 {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.fares.get(what).and_then(Value::as_u64).unwrap_or(0)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Best effort: the owner is on its way out.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Several of them, as one.
#[derive(Debug, Default)]
pub struct Players {
    pub all: Vec<Player>,
    /// Frames that each device was told to measure.
    measured: u64,
}

impl Players {
    /// Tells all of them.
    pub fn order(&mut self, line: &str) -> Result<()> {
        self.all.iter_mut().try_for_each(|player| player.order(line))
    }

    /// Tells all devices to measure so many frames more; what is counted from then on is of these.
    pub fn measure(&mut self, frames: u64) -> Result<()> {
        self.order(&format!("measure {frames}"))?;
        self.measured += frames;
        until("the clients' word", Duration::from_secs(30), || {
            self.are_alive()?;
            Ok(self.all.iter().all(|player| player.count("measured") == self.measured))
        })
    }

    /// A count, summed up.
    pub fn count(&self, what: &str) -> u64 {
        self.all.iter().map(|player| player.count(what)).sum()
    }

    /// Fails if one has ended.
    pub fn are_alive(&mut self) -> Result<()> {
        for player in &mut self.all {
            if let Some(status) = player.child.try_wait()? {
                bail!("clients ended: {status}");
            }
        }
        Ok(())
    }

    /// When each device was held, in milliseconds since 1970, in order.
    pub fn held_at(&mut self) -> Result<Vec<u64>> {
        for player in &self.all {
            player.said.lock().unwrap_or_else(PoisonError::into_inner).held_at = None;
        }
        self.order("times")?;
        let mut times = Vec::new();
        for player in &self.all {
            until("the clients' times", Duration::from_secs(30), || {
                let said = player.said.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(said.held_at.is_some())
            })?;
            let said = player.said.lock().unwrap_or_else(PoisonError::into_inner);
            let all = said.held_at.as_ref().and_then(Value::as_array).context("no times")?;
            times.extend(all.iter().filter_map(Value::as_u64));
        }
        times.sort_unstable();
        Ok(times)
    }
}
