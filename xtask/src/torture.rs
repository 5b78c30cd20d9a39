//! `cargo xtask torture`: kill, cut, fill, restart under load; then every sample is held to account.
//!
//! The page cache survives a kill, so the agent runs on a storage that keeps unsynced writes in its
//! own memory: whatever it forgot to sync is gone with it. Devices come to the agent's own port at
//! one time and through a broker at another, and the broker forgets everything when it is killed.
//! Where a small tmpfs can be mounted, the agent's directory lies on one, and is filled to the last
//! block now and then.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use world::agent::AgentHome;
use world::binaries::{Binaries, csv_files, recordings, root};
use world::chance::Chance;
use world::fleet::Fleet;
use world::mosquitto::{self, Mosquitto};
use world::process::{Process, now};
use world::proxy::Proxy;

mod disk;
mod planted;

use disk::SmallDisk;
use planted::Planted;

/// The agent's directory, in a run's.
const AGENT: &str = "agent";
/// What a kill takes, with all that is done besides, in seconds; rounded up.
const SECONDS_PER_KILL: u32 = 2;
/// About how long the drives are, in seconds.
const DRIVE_S: u32 = 3600;

/// What to do to them.
pub struct Torture {
    /// Processes that are killed while they run, by `kill -9`; cut links and full disks come on top.
    pub kills: u32,
    pub seed: u64,
    pub data: Option<PathBuf>,
    pub keep: bool,
    /// One JSON object at the end.
    pub json: bool,
    /// At the end, alter what is in the file sink: it has to be found.
    pub planted: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Processes that were running when they were killed.
    agent: u32,
    devices: u32,
    broker: u32,
    links: u32,
    disk: u32,
}

impl Tally {
    const fn kills(&self) -> u32 {
        self.agent + self.devices + self.broker
    }
}

pub fn run(torture: &Torture) -> Result<()> {
    let data = torture.data.clone().or_else(recordings);
    let data = data.context("no recordings: give --data PATH or set MILEPOST_DATA")?;
    let binaries = Binaries::build(false)?;
    let dir = root().join(format!("target/torture-{}", torture.seed));
    SmallDisk::unmount_stale(&dir.join(AGENT))?;
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    say(torture, &format!("torture: {} kills, seed {}", torture.kills, torture.seed));
    let begun = now();
    let run = Run::begin(&binaries, &dir, &data, torture)?;
    let ended = run.go(torture);
    run.disk.map_or(Ok(()), |disk| disk.end(ended.is_err() || torture.keep))?;
    let (tally, verified) = ended.with_context(|| {
        let (kills, seed, dir) = (torture.kills, torture.seed, dir.display());
        format!("everything is in {dir}; again: cargo xtask torture --kills {kills} --seed {seed}")
    })?;
    let Tally { agent, devices, broker, links, disk } = tally;
    let (kills, seconds) = (tally.kills(), begun.elapsed().as_secs());
    say(
        torture,
        &format!(
            "kill -9: {kills} (agent {agent}, devices {devices}, broker {broker}); links cut \
             {links}; disk filled {disk}; {seconds} s"
        ),
    );
    if torture.json {
        println!(
            "{}",
            json!({
                "torture": torture.seed,
                "kills": kills,
                "agent": agent,
                "devices": devices,
                "broker": broker,
                "links_cut": links,
                "disk_filled": disk,
                "seconds": seconds,
                // Whoever was down was started again, and nothing else was done.
                "repairs_by_hand": 0,
                "verified": verified,
            })
        );
    }
    if !torture.keep {
        fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

/// Says how it goes: beside the figures, if these are for a program.
fn say(torture: &Torture, what: &str) {
    if torture.json {
        eprintln!("{what}");
    } else {
        println!("{what}");
    }
}

struct Run {
    home: AgentHome,
    fleet: Fleet,
    /// In front of the agent's own port.
    direct: Proxy,
    broker: Option<Broker>,
    disk: Option<SmallDisk>,
    dir: PathBuf,
    speed: String,
}

struct Broker {
    mosquitto: Mosquitto,
    /// Between devices and broker.
    devices: Proxy,
    /// Between broker and agent.
    agent: Proxy,
}

/// What runs at the moment.
#[derive(Default)]
struct Running {
    agent: Option<Process>,
    devices: Option<Process>,
    broker: Option<Process>,
}

impl Run {
    fn begin(binaries: &Binaries, dir: &Path, data: &Path, torture: &Torture) -> Result<Self> {
        let broker = Broker::new(dir)?;
        let disk = SmallDisk::mount(&dir.join(AGENT))?;
        // Small segments and files, so that rolling, pruning and rotating happen under fire too.
        let mut extra = String::from(
            "[[sink]]\nname = \"store\"\ntype = \"store\"\non_full = \"block\"\n\n\
             [journal]\nsegment_mib = 1\nsize_max_gib = 0.1\n",
        );
        if let Some(broker) = &broker {
            let url = broker.agent.address();
            write!(extra, "\n[[broker]]\nname = \"plant\"\nurl = \"mqtt://{url}\"\n")?;
        }
        let mut home = AgentHome::new(binaries, dir, &extra)?;
        home.hold_unsynced = true;
        let files = csv_files(data, &["obd_car", "ev_twizy"])?;
        // The drives last about an hour each: as fast as the kills take, so that there is load all
        // along; and over and over, if the kills take longer.
        let seconds = torture.kills.max(10) * SECONDS_PER_KILL;
        let speed = (DRIVE_S / seconds).clamp(10, 200);
        let rounds = (seconds * speed).div_ceil(DRIVE_S).max(1);
        let fleet = Fleet::replay(binaries, &dir.join("fleet"), &files, None)?.rounds(rounds);
        home.add_devices(&fleet.names()?, &fleet.keys())?;
        let direct = Proxy::start(home.listen)?;
        Ok(Self {
            home,
            fleet,
            direct,
            broker,
            disk,
            dir: dir.to_owned(),
            speed: speed.to_string(),
        })
    }

    fn go(&self, torture: &Torture) -> Result<(Tally, Value)> {
        let mut chance = Chance::new(torture.seed);
        let mut tally = Tally::default();
        let mut running = Running::default();
        if let Some(broker) = &self.broker {
            running.broker = Some(broker.mosquitto.start()?);
        }
        running.agent = Some(self.home.start()?);
        running.devices = Some(self.drive(&self.speed, &mut chance)?);
        let mut said = 0;
        while tally.kills() < torture.kills {
            pause(&mut chance, 50..1200);
            self.strike(&mut chance, &mut running, &mut tally)?;
            pause(&mut chance, 0..400);
            self.mend(&mut chance, &mut running)?;
            if tally.kills() >= said + 10 {
                said = tally.kills();
                say(torture, &format!("  {said} of {}", torture.kills));
            }
        }
        let verified = self.settle(torture, &mut chance, running)?;
        Ok((tally, verified))
    }

    fn strike(&self, chance: &mut Chance, running: &mut Running, tally: &mut Tally) -> Result<()> {
        match chance.within(0..14) {
            0..=3 => kill_it(&mut running.agent, &mut tally.agent),
            4..=6 => kill_it(&mut running.devices, &mut tally.devices),
            7 => {
                kill_it(&mut running.agent, &mut tally.agent)?;
                kill_it(&mut running.devices, &mut tally.devices)
            }
            8..=9 if self.broker.is_some() => kill_it(&mut running.broker, &mut tally.broker),
            10 if self.disk.is_some() => {
                tally.disk += 1;
                self.disk.as_ref().map_or(Ok(()), SmallDisk::fill)
            }
            _ => {
                tally.links += 1;
                self.direct.cut();
                self.broker.iter().for_each(|broker| {
                    broker.devices.cut();
                    broker.agent.cut();
                });
                Ok(())
            }
        }
    }

    /// Everything up again, room on the disk.
    fn mend(&self, chance: &mut Chance, running: &mut Running) -> Result<()> {
        self.direct.mend();
        self.disk.as_ref().map_or(Ok(()), SmallDisk::free)?;
        if let Some(broker) = &self.broker {
            broker.devices.mend();
            broker.agent.mend();
            if running.broker.is_none() {
                broker.mosquitto.forget()?;
                running.broker = Some(broker.mosquitto.start()?);
            }
        }
        if running.agent.is_none() {
            running.agent = Some(self.home.spawn()?);
        }
        let devices = running.devices.as_mut();
        if devices.is_none_or(|devices| devices.ended().is_ok_and(|ended| ended.is_some())) {
            running.devices = Some(self.drive(&self.speed, chance)?);
        }
        Ok(())
    }

    /// The rest as fast as it goes, then the books.
    fn settle(
        &self,
        torture: &Torture,
        chance: &mut Chance,
        mut running: Running,
    ) -> Result<Value> {
        kill_it(&mut running.devices, &mut 0)?;
        let mut rest = self.drive("max", chance)?;
        let status = rest.wait(Duration::from_mins(10))?;
        if !status.success() {
            bail!("the fleet ended with {status}; see {}", self.fleet.log().display());
        }
        self.home.wait_delivered(Duration::from_mins(2))?;
        let ledger = self.home.ledger()?;
        let file = self.dir.join("ledger.json");
        fs::write(&file, serde_json::to_vec(&ledger)?)?;
        say(torture, &String::from_utf8_lossy(&self.home.call(&["ledger"])?.stdout));
        if ledger.get("balanced") != Some(&Value::Bool(true)) {
            bail!("the ledger does not balance");
        }
        let mut verified = serde_json::Map::new();
        for (name, sink) in [("file", self.home.sink()), ("store", PathBuf::from("store"))] {
            let verdict = self.fleet.verify_sink(&self.home, (name, &sink), &file)?;
            say(
                torture,
                &format!("verify {name}:\n{}", String::from_utf8_lossy(&verdict.stdout).trim()),
            );
            if !verdict.status.success() {
                bail!(
                    "sink {name} differs from what the vehicles admitted\n{}",
                    String::from_utf8_lossy(&verdict.stderr)
                );
            }
            let said: Value = serde_json::from_slice(&verdict.stdout)?;
            verified.insert(name.to_owned(), said.get("samples").cloned().unwrap_or_default());
        }
        if torture.planted {
            self.find_planted(torture, &file)?;
        }
        if let Some(agent) = running.agent.take() {
            agent.stop(Duration::from_secs(30))?;
        }
        Ok(Value::Object(verified))
    }

    /// Each fault planted in the file sink has to be found by the same oracle.
    fn find_planted(&self, torture: &Torture, ledger: &Path) -> Result<()> {
        for planted in Planted::ALL {
            let undo = planted.plant(&self.home.sink())?;
            let verdict =
                self.fleet.verify_sink(&self.home, ("file", &self.home.sink()), ledger)?;
            let said: Value = serde_json::from_slice(&verdict.stdout)?;
            let first = said.get("first_difference").filter(|first| !first.is_null());
            let Some(first) = first.filter(|_| !verdict.status.success()) else {
                bail!("the planted fault was not found: {}", planted.name());
            };
            say(torture, &format!("planted {}, found: {first}", planted.name()));
            undo.undo()?;
        }
        Ok(())
    }

    /// Starts the devices, by one way or the other.
    fn drive(&self, speed: &str, chance: &mut Chance) -> Result<Process> {
        let way = self.broker.as_ref().filter(|_| chance.within(0..2) == 0);
        let address = way.map_or(self.direct.address(), |broker| broker.devices.address());
        let connect = format!("mqtt://{address}");
        let arguments = ["--speed", speed, "--frame-bytes", "512", "--reconnect-within", "1s"];
        self.fleet.start(&connect, &arguments, &self.dir.join("fleet.json"))
    }
}

impl Broker {
    /// None, said aloud, where Mosquitto is not installed; under CI that is an error.
    fn new(dir: &Path) -> Result<Option<Self>> {
        if mosquitto::installed().is_none() {
            if std::env::var_os("CI").is_some() {
                bail!("CI needs mosquitto");
            }
            eprintln!("left out: the broker: mosquitto is not installed");
            return Ok(None);
        }
        let roomy = "max_queued_messages 100000\nmax_packet_size 9216\n";
        let mosquitto = Mosquitto::open(&dir.join("broker"), roomy)?;
        let devices = Proxy::start(mosquitto.address)?;
        let agent = Proxy::start(mosquitto.address)?;
        Ok(Some(Self { mosquitto, devices, agent }))
    }
}

/// kill -9; counted only of a process that runs.
fn kill_it(process: &mut Option<Process>, count: &mut u32) -> Result<()> {
    let Some(mut process) = process.take() else { return Ok(()) };
    if process.ended()?.is_none() {
        *count += 1;
    }
    process.kill()
}

fn pause(chance: &mut Chance, ms: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(chance.within(ms)));
}
