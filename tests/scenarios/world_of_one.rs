//! An agent and a fleet in a directory of their own.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use world::agent::AgentHome;
use world::binaries::{Binaries, recordings};
use world::fleet::Fleet;
use world::process::Process;

/// The binaries, built once for all scenarios.
pub fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| Binaries::build(false).unwrap())
}

/// The small recordings. None, said aloud, where they are not there; under CI that is an error.
pub fn small_recordings() -> Option<PathBuf> {
    let small = recordings().map(|data| data.join("small")).filter(|small| small.is_dir());
    if small.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs the recordings");
        eprintln!("skipped: the recordings are not here (../shared/data, or MILEPOST_DATA)");
    }
    small
}

/// Whether Mosquitto is here. If not that is said aloud; under CI it is an error.
pub fn has_mosquitto() -> bool {
    let has_it = world::mosquitto::installed().is_some();
    if !has_it {
        assert!(std::env::var_os("CI").is_none(), "CI needs mosquitto");
        eprintln!("skipped: mosquitto is not installed (apt-get install mosquitto)");
    }
    has_it
}

/// How long synthetic drives are.
const DRIVE: Duration = Duration::from_secs(4);

/// One agent, one fleet.
pub struct World {
    pub home: AgentHome,
    pub fleet: Fleet,
    /// Where the fleet connects to; the agent's port if nothing else is said.
    pub connect: String,
    dir: tempfile::TempDir,
}

impl World {
    /// Replays the taxis of the small set.
    pub fn taxis(extra_config: &str) -> Option<Self> {
        Some(Self::replay(&[small_recordings()?.join("taxi_small.csv.gz")], extra_config))
    }

    /// Replays recordings.
    pub fn replay(files: &[PathBuf], extra_config: &str) -> Self {
        Self::with(extra_config, |dir| {
            Fleet::replay(binaries(), &dir.join("fleet"), files, None).unwrap()
        })
    }

    /// A synthetic fleet.
    pub fn synthetic(vehicles: u32, seed: u64, extra_config: &str) -> Self {
        Self::synthetic_for(DRIVE, vehicles, seed, extra_config)
    }

    /// A synthetic fleet on longer drives, for `--speed max`.
    pub fn synthetic_for(drive: Duration, vehicles: u32, seed: u64, extra_config: &str) -> Self {
        Self::with(extra_config, |dir| {
            Fleet::synthetic(binaries(), &dir.join("fleet"), vehicles, seed, drive).unwrap()
        })
    }

    /// Any fleet, made in the folder it is given.
    pub fn with(extra_config: &str, fleet: impl FnOnce(&Path) -> Fleet) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = AgentHome::new(binaries(), dir.path(), extra_config).unwrap();
        let fleet = fleet(dir.path());
        home.add_devices(&fleet.names().unwrap(), &fleet.keys()).unwrap();
        let connect = home.listen.to_string();
        Self { home, fleet, connect, dir }
    }

    /// With more lines of configuration, once it is known where everything is.
    pub fn configure(&self, lines: &str) {
        let mut text = std::fs::read_to_string(&self.home.config).unwrap();
        text.push_str(lines);
        std::fs::write(&self.home.config, text).unwrap();
    }

    /// What an older release left, with its fleet in the midst of a recording: an archive of
    /// `agent`, `out`, `fleet` and the recording.
    pub fn left_by(archive: &Path, recording: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let unpacked = std::process::Command::new("tar")
            .arg("-xzf")
            .arg(archive)
            .current_dir(dir.path())
            .status()
            .unwrap();
        assert!(unpacked.success(), "{}", archive.display());
        let home = AgentHome::new(binaries(), dir.path(), "").unwrap();
        let files = vec![dir.path().join(recording)];
        let fleet = Fleet::replay(binaries(), &dir.path().join("fleet"), &files, None).unwrap();
        let connect = home.listen.to_string();
        Self { home, fleet, connect, dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the fleet to its end, or for as long as the arguments say.
    pub fn drive(&self, arguments: &[&str]) -> Value {
        let summary = self.path().join("fleet.json");
        let mut fleet = self.start_fleet(arguments);
        let status = fleet.wait(Duration::from_mins(3)).unwrap();
        assert!(
            status.success(),
            "{status}: {}",
            std::fs::read_to_string(self.fleet.log()).unwrap()
        );
        serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap()
    }

    pub fn start_fleet(&self, arguments: &[&str]) -> Process {
        let summary = self.path().join("fleet.json");
        self.fleet.start(&self.connect, arguments, &summary).unwrap()
    }

    /// Waits for delivery, then holds the sink to account; the agent must be running.
    pub fn verify(&self) -> Value {
        let output = self.verify_output();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{text}\n{}", self.agent_log());
        serde_json::from_slice(&output.stdout).expect(&text)
    }

    pub fn verify_output(&self) -> Output {
        self.home.wait_delivered(Duration::from_mins(2)).unwrap();
        let ledger = self.home.ledger().unwrap();
        assert_eq!(ledger["balanced"], true, "{ledger:#}");
        let file = self.path().join("ledger.json");
        std::fs::write(&file, ledger.to_string()).unwrap();
        self.fleet.verify(&self.home.sink(), Some(&file), true).unwrap()
    }

    pub fn agent_log(&self) -> String {
        std::fs::read_to_string(self.home.log()).unwrap_or_default()
    }

    pub fn stop(agent: Process) {
        let status = agent.stop(Duration::from_secs(20)).unwrap();
        assert!(status.success(), "{status}");
    }

    /// The first device and its secret, from the key file.
    pub fn first_key(&self) -> (protocol::DeviceId, protocol::Secret) {
        let keys = std::fs::read_to_string(self.fleet.keys()).unwrap();
        let first: Value = serde_json::from_str(keys.lines().next().unwrap()).unwrap();
        let hex = first["secret"].as_str().unwrap();
        let mut secret = [0; 32];
        for (at, byte) in secret.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        }
        (first["device"].as_str().unwrap().parse().unwrap(), protocol::Secret::new(secret))
    }
}

/// A sink that takes nothing, so that the journal keeps everything: its directory is a file.
pub fn block_sink(world: &World) -> PathBuf {
    let (sink, aside) = (world.home.sink(), world.path().join("aside"));
    if sink.exists() {
        std::fs::rename(&sink, &aside).unwrap();
    }
    std::fs::write(&sink, "in the way").unwrap();
    aside
}

pub fn unblock_sink(world: &World, aside: &Path) {
    std::fs::remove_file(world.home.sink()).unwrap();
    if aside.exists() {
        std::fs::rename(aside, world.home.sink()).unwrap();
    }
}
