//! `cargo xtask torture`: kill, cut, restart under load; then every sample is held to account.
//!
//! The page cache survives a kill, so the agent runs on a storage that keeps unsynced writes in its
//! own memory: whatever it forgot to sync is gone with it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use world::agent::AgentHome;
use world::binaries::{Binaries, csv_files, recordings, root};
use world::chance::Chance;
use world::fleet::Fleet;
use world::process::Process;
use world::proxy::Proxy;

/// What to do to them.
pub struct Torture {
    pub kills: u32,
    pub seed: u64,
    pub data: Option<PathBuf>,
    pub keep: bool,
}

/// What can happen between two moments of load.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    agent: u32,
    devices: u32,
    both: u32,
    links: u32,
}

pub fn run(torture: &Torture) -> Result<()> {
    let data = torture.data.clone().or_else(recordings);
    let data = data.context("no recordings: give --data PATH or set MILEPOST_DATA")?;
    let binaries = Binaries::build(false)?;
    let dir = root().join(format!("target/torture-{}", torture.seed));
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    println!("torture: {} kills, seed {}", torture.kills, torture.seed);
    let tally = Run::begin(&binaries, &dir, &data, torture)?.go(torture)?;
    println!(
        "killed: agent {}, devices {}, both {}; links cut {}",
        tally.agent, tally.devices, tally.both, tally.links
    );
    if !torture.keep {
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

struct Run {
    home: AgentHome,
    fleet: Fleet,
    proxy: Proxy,
    dir: PathBuf,
    speed: String,
}

impl Run {
    fn begin(binaries: &Binaries, dir: &Path, data: &Path, torture: &Torture) -> Result<Self> {
        // Small segments and files, so that rolling, pruning and rotating happen under fire too.
        let extra = "[journal]\nsegment_mib = 1\n";
        let mut home = AgentHome::new(binaries, dir, extra)?;
        home.hold_unsynced = true;
        let files = csv_files(data, &["obd_car", "ev_twizy"])?;
        let fleet = Fleet::replay(binaries, &dir.join("fleet"), &files, None)?;
        home.add_devices(&fleet.names()?, &fleet.keys())?;
        let proxy = Proxy::start(home.listen)?;
        // The drives last about an hour each: as fast as the kills take, so that there is load all
        // along, about 1.2 s a kill.
        let speed = (3600 / u64::from(torture.kills.max(10))).clamp(10, 200).to_string();
        Ok(Self { home, fleet, proxy, dir: dir.to_owned(), speed })
    }

    fn go(&self, torture: &Torture) -> Result<Tally> {
        let mut chance = Chance::new(torture.seed);
        let mut tally = Tally::default();
        let mut agent = Some(self.home.start()?);
        let mut devices = Some(self.drive(&self.speed)?);
        for kill in 1..=torture.kills {
            pause(&mut chance, 200..1800);
            let what = chance.within(0..10);
            match what {
                0..=3 => {
                    tally.agent += 1;
                    kill_it(&mut agent)?;
                }
                4..=6 => {
                    tally.devices += 1;
                    kill_it(&mut devices)?;
                }
                7 => {
                    tally.both += 1;
                    kill_it(&mut agent)?;
                    kill_it(&mut devices)?;
                }
                _ => {
                    tally.links += 1;
                    self.proxy.cut();
                }
            }
            pause(&mut chance, 0..600);
            self.proxy.mend();
            if agent.is_none() {
                agent = Some(self.home.spawn()?);
            }
            if devices
                .as_mut()
                .is_none_or(|devices| devices.ended().is_ok_and(|ended| ended.is_some()))
            {
                devices = Some(self.drive(&self.speed)?);
            }
            if kill % 10 == 0 {
                println!("  {kill} of {}", torture.kills);
            }
        }
        // Everything up again, the rest as fast as it goes, then the books.
        if let Some(devices) = devices.take() {
            devices.kill()?;
        }
        let mut rest = self.drive("max")?;
        let status = rest.wait(Duration::from_mins(10))?;
        if !status.success() {
            bail!("the fleet ended with {status}; see {}", self.fleet.log().display());
        }
        self.home.wait_delivered(Duration::from_mins(2))?;
        self.settle()?;
        if let Some(agent) = agent.take() {
            agent.stop(Duration::from_secs(30))?;
        }
        Ok(tally)
    }

    fn drive(&self, speed: &str) -> Result<Process> {
        let arguments = ["--speed", speed, "--frame-bytes", "512", "--reconnect-within", "1s"];
        let summary = self.dir.join("fleet.json");
        self.fleet.start(&self.proxy.address().to_string(), &arguments, &summary)
    }

    fn settle(&self) -> Result<()> {
        let ledger = self.home.ledger()?;
        let file = self.dir.join("ledger.json");
        std::fs::write(&file, serde_json::to_vec(&ledger)?)?;
        let table = self.home.call(&["ledger"])?;
        println!("{}", String::from_utf8_lossy(&table.stdout));
        let verdict = self.fleet.verify(&self.home.sink(), Some(&file), true)?;
        println!("{}", String::from_utf8_lossy(&verdict.stdout).trim());
        if !verdict.status.success() {
            let mut text = String::from("the sink differs from what the vehicles admitted\n");
            writeln!(text, "{}", String::from_utf8_lossy(&verdict.stderr))?;
            write!(text, "everything is in {}", self.dir.display())?;
            bail!(text);
        }
        if ledger.get("balanced") != Some(&serde_json::Value::Bool(true)) {
            bail!("the ledger does not balance; everything is in {}", self.dir.display());
        }
        Ok(())
    }
}

fn kill_it(process: &mut Option<Process>) -> Result<()> {
    process.take().map_or(Ok(()), Process::kill)
}

fn pause(chance: &mut Chance, ms: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(chance.within(ms)));
}
