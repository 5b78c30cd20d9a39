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
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use world::agent::AgentHome;
use world::binaries::{Binaries, csv_files, recordings, root};
use world::chance::Chance;
use world::fleet::Fleet;
use world::mosquitto::{self, Mosquitto};
use world::process::Process;
use world::proxy::Proxy;

/// The small disk's size.
const DISK_MIB: u32 = 192;

/// What to do to them.
pub struct Torture {
    pub kills: u32,
    pub seed: u64,
    pub data: Option<PathBuf>,
    pub keep: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    agent: u32,
    devices: u32,
    both: u32,
    broker: u32,
    links: u32,
    disk: u32,
}

pub fn run(torture: &Torture) -> Result<()> {
    let data = torture.data.clone().or_else(recordings);
    let data = data.context("no recordings: give --data PATH or set MILEPOST_DATA")?;
    let binaries = Binaries::build(false)?;
    let dir = root().join(format!("target/torture-{}", torture.seed));
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    println!("torture: {} kills, seed {}", torture.kills, torture.seed);
    let tally = Run::begin(&binaries, &dir, &data, torture)?.go(torture)?;
    println!(
        "killed: agent {}, devices {}, both {}, broker {}; links cut {}; disk filled {}",
        tally.agent, tally.devices, tally.both, tally.broker, tally.links, tally.disk
    );
    if !torture.keep {
        fs::remove_dir_all(&dir)?;
    }
    Ok(())
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
        let disk = SmallDisk::mount(&dir.join("agent"))?;
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
        let fleet = Fleet::replay(binaries, &dir.join("fleet"), &files, None)?;
        home.add_devices(&fleet.names()?, &fleet.keys())?;
        let direct = Proxy::start(home.listen)?;
        // The drives last about an hour each: as fast as the kills take, so that there is load all
        // along, about 1.2 s a kill.
        let speed = (3600 / u64::from(torture.kills.max(10))).clamp(10, 200).to_string();
        Ok(Self { home, fleet, direct, broker, disk, dir: dir.to_owned(), speed })
    }

    fn go(&self, torture: &Torture) -> Result<Tally> {
        let mut chance = Chance::new(torture.seed);
        let mut tally = Tally::default();
        let mut running = Running::default();
        if let Some(broker) = &self.broker {
            running.broker = Some(broker.mosquitto.start()?);
        }
        running.agent = Some(self.home.start()?);
        running.devices = Some(self.drive(&self.speed, &mut chance)?);
        for kill in 1..=torture.kills {
            pause(&mut chance, 200..1800);
            self.strike(&mut chance, &mut running, &mut tally)?;
            pause(&mut chance, 0..600);
            self.mend(&mut chance, &mut running)?;
            if kill % 10 == 0 {
                println!("  {kill} of {}", torture.kills);
            }
        }
        self.settle(&mut chance, running)?;
        Ok(tally)
    }

    fn strike(&self, chance: &mut Chance, running: &mut Running, tally: &mut Tally) -> Result<()> {
        match chance.within(0..14) {
            0..=3 => {
                tally.agent += 1;
                kill_it(&mut running.agent)
            }
            4..=6 => {
                tally.devices += 1;
                kill_it(&mut running.devices)
            }
            7 => {
                tally.both += 1;
                kill_it(&mut running.agent)?;
                kill_it(&mut running.devices)
            }
            8..=9 if self.broker.is_some() => {
                tally.broker += 1;
                kill_it(&mut running.broker)
            }
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
    fn settle(&self, chance: &mut Chance, mut running: Running) -> Result<()> {
        kill_it(&mut running.devices)?;
        let mut rest = self.drive("max", chance)?;
        let status = rest.wait(Duration::from_mins(10))?;
        if !status.success() {
            bail!("the fleet ended with {status}; see {}", self.fleet.log().display());
        }
        self.home.wait_delivered(Duration::from_mins(2))?;
        let ledger = self.home.ledger()?;
        let file = self.dir.join("ledger.json");
        fs::write(&file, serde_json::to_vec(&ledger)?)?;
        println!("{}", String::from_utf8_lossy(&self.home.call(&["ledger"])?.stdout));
        if ledger.get("balanced") != Some(&serde_json::Value::Bool(true)) {
            bail!("the ledger does not balance; everything is in {}", self.dir.display());
        }
        for (name, sink) in [("file", self.home.sink()), ("store", PathBuf::from("store"))] {
            println!("verify {name}:");
            let verdict = self.fleet.verify_sink(&self.home, (name, &sink), &file)?;
            println!("{}", String::from_utf8_lossy(&verdict.stdout).trim());
            if !verdict.status.success() {
                bail!(
                    "sink {name} differs from what the vehicles admitted\n{}\neverything is in {}",
                    String::from_utf8_lossy(&verdict.stderr),
                    self.dir.display()
                );
            }
        }
        if let Some(agent) = running.agent.take() {
            agent.stop(Duration::from_secs(30))?;
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

/// A small file system of its own for the agent's directory, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None, said aloud, where nothing may be mounted; under CI that is an error.
    fn mount(at: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let size = format!("size={DISK_MIB}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "milepost-torture"]).arg(at).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Ok(Some(Self(at.to_owned())));
        }
        if std::env::var_os("CI").is_some() {
            bail!("CI must be able to mount a small tmpfs");
        }
        eprintln!("left out: full disks: no permission to mount a small tmpfs");
        Ok(None)
    }

    /// Takes all the room there is, to the last block.
    fn fill(&self) -> Result<()> {
        let ballast = format!("of={}", self.0.join("ballast").display());
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=4096", &ballast]).stderr(Stdio::null());
        // It ends when there is no room.
        dd.status().context("filling the disk")?;
        Ok(())
    }

    fn free(&self) -> Result<()> {
        match fs::remove_file(self.0.join("ballast")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

fn kill_it(process: &mut Option<Process>) -> Result<()> {
    process.take().map_or(Ok(()), Process::kill)
}

fn pause(chance: &mut Chance, ms: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(chance.within(ms)));
}
