//! A child process that does not outlive its owner.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts it, its standard error appended to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// kill -9.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) -> Result<()> {
        self.signal("TERM")
    }

    /// Sends it a signal by name: `HUP`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status()?;
        if !status.success() {
            bail!("{} is not there to be told", self.name);
        }
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(&mut self, at_most: Duration) -> Result<ExitStatus> {
        let start = now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > at_most {
                bail!("{} still runs after {} s", self.name, at_most.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to stop and waits for it.
    pub fn stop(mut self, at_most: Duration) -> Result<ExitStatus> {
        self.terminate()?;
        self.wait(at_most)
    }

    /// Resident set and its high-water mark, in KiB (`/proc/PID/status`).
    pub fn rss_kib(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Option<u64> {
            status.lines().find_map(|line| {
                line.strip_prefix(name)?.trim_end_matches("kB").trim().parse().ok()
            })
        };
        let current = field("VmRSS:").context("no VmRSS")?;
        Ok((current, field("VmHWM:").context("no VmHWM")?))
    }

    /// Seconds of processor time used so far, user and system (`/proc/PID/stat`).
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in brackets may hold blanks; counting starts behind it.
        let (_, rest) = stat.rsplit_once(')').context("malformed stat")?;
        let mut fields = rest.split_whitespace().skip(11);
        let mut ticks = || -> Option<f64> { fields.next()?.parse().ok() };
        let (user, system) = (ticks().context("no utime")?, ticks().context("no stime")?);
        Ok((user + system) / 100.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Best effort: the owner is on its way out.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// The monotonic clock, for deadlines of tests.
#[allow(clippy::disallowed_methods, reason = "driver: waits for real processes")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits until `done` says so.
pub fn until(what: &str, at_most: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = now();
    while !done()? {
        if start.elapsed() > at_most {
            bail!("{what}: not within {} s", at_most.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
