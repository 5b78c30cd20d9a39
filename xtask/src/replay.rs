//! `cargo xtask replay`: every recording through every way in, and both sinks held to account.
//!
//! Four ways: the agent's own port and a real Mosquitto, each with TLS and without. Each way gets
//! all CSV files and CAN logs (decoded by their DBC) as one fleet, and the CAN logs once more as raw
//! frames as another; each fleet has an agent of its own, with a file sink and a store.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use world::agent::AgentHome;
use world::binaries::{Binaries, files_in, recordings, root};
use world::certificates::Authority;
use world::fleet::Fleet;
use world::mosquitto::Mosquitto;
use world::process::{Process, now};

/// The folders that are replayed.
const FOLDERS: [&str; 5] = ["small", "taxi", "obd_car", "ev_twizy", "can"];
/// What the CAN logs' channels speak: a car's GNSS and inertial box, and its OBD answers, a truck's
/// J1939, another car's own messages.
const DBC: [(&str, &str); 4] = [
    ("can0", "rav4_2017.dbc"),
    ("can1", "truck_j1939.dbc"),
    ("can1", "car_obd_gps_imu.dbc"),
    ("can2", "car_obd_gps_imu.dbc"),
];
/// How long a fleet may take.
const PATIENCE: Duration = Duration::from_mins(20);

/// What to replay, and how to say what came of it.
pub struct Replay {
    pub data: Option<PathBuf>,
    pub ways: Vec<Way>,
    pub json: bool,
}

/// How devices reach the agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Way {
    /// The agent's own port.
    Listen,
    /// The same with TLS.
    ListenTls,
    /// A Mosquitto.
    Mosquitto,
    /// The same with TLS, devices and agent known by their certificates.
    MosquittoTls,
}

pub fn run(replay: &Replay) -> Result<()> {
    let data = replay.data.clone().or_else(recordings);
    let data = data.context("no recordings: give --data PATH or set MILEPOST_DATA")?;
    let binaries = Binaries::build(true)?;
    let dir = root().join("target/replay");
    let all = files_in(&data, &FOLDERS, &[".csv", ".log"])?;
    let logs = files_in(&data, &FOLDERS, &[".log"])?;
    let dbc = DBC.map(|(channel, file)| {
        ["--dbc".to_owned(), format!("{channel}={}", data.join("can").join(file).display())]
    });
    let dbc: Vec<&str> = dbc.as_flattened().iter().map(String::as_str).collect();
    for way in &replay.ways {
        for (what, files, words) in
            [("all", &all, dbc.as_slice()), ("raw-can", &logs, &["--raw-can"])]
        {
            if dir.exists() {
                fs::remove_dir_all(&dir)?;
            }
            let fleet = Fleet::replay(&binaries, &dir.join("fleet"), files, None)?.reading(words);
            let row = one(&binaries, &dir, &fleet, *way)
                .with_context(|| format!("{what}, {way:?}; see {}", dir.display()))?;
            say(replay.json, what, files.len(), *way, &row);
        }
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// One fleet one way; the oracle's verdicts on both sinks.
fn one(binaries: &Binaries, dir: &Path, fleet: &Fleet, way: Way) -> Result<Value> {
    let sinks = "[[sink]]\nname = \"file\"\ntype = \"file\"\n\n\
                 [[sink]]\nname = \"store\"\ntype = \"store\"\n";
    let home = AgentHome::with_sinks(binaries, dir, sinks)?;
    let road = Road::lay(dir, &home, fleet, way)?;
    home.add_devices(&fleet.names()?, &fleet.keys())?;
    let agent = home.start()?;
    let summary = dir.join("fleet.json");
    let more: Vec<&str> = road.words.iter().map(String::as_str).collect();
    let start = now();
    let status = fleet.start(&road.connect, &more, &summary)?.wait(PATIENCE)?;
    if !status.success() {
        bail!("the fleet ended with {status}: {}", fs::read_to_string(fleet.log())?);
    }
    home.wait_delivered(PATIENCE)?;
    let seconds = start.elapsed().as_secs_f64();
    let ledger = dir.join("ledger.json");
    fs::write(&ledger, serde_json::to_vec(&home.ledger()?)?)?;
    let status = agent.stop(Duration::from_mins(1))?;
    if !status.success() {
        bail!("the agent ended with {status}; see {}", home.log().display());
    }
    let file = home.data.join("file");
    let mut row = json!({ "seconds": seconds });
    for sink in [("file", file.as_path()), ("store", Path::new("store"))] {
        let verdict = fleet.verify_sink(&home, sink, &ledger)?;
        let (said, errors) = (&verdict.stdout, String::from_utf8_lossy(&verdict.stderr));
        if !verdict.status.success() {
            bail!("{} is not clean:\n{}{errors}", sink.0, String::from_utf8_lossy(said));
        }
        if let Some(row) = row.as_object_mut() {
            row.insert(sink.0.to_owned(), serde_json::from_slice(said)?);
        }
    }
    drop(road);
    Ok(row)
}

/// The way from the devices to the agent, and what runs on it.
struct Road {
    connect: String,
    /// What the simulator is told besides.
    words: Vec<String>,
    broker: Option<Process>,
}

impl Road {
    /// Adds what the way needs to the agent's configuration, and starts what is on it.
    fn lay(dir: &Path, home: &AgentHome, fleet: &Fleet, way: Way) -> Result<Self> {
        let mut road = Self { connect: home.listen.to_string(), words: Vec::new(), broker: None };
        let has_tls = matches!(way, Way::ListenTls | Way::MosquittoTls);
        let tls = has_tls.then(|| Authority::new(&dir.join("tls"))).transpose()?;
        if let Some(authority) = &tls {
            for device in fleet.names()?.lines() {
                authority.client(device)?;
            }
            let (ca, dir) = (authority.ca(), authority.dir());
            let words = ["--ca".into(), text(&ca), "--cert-dir".into(), text(dir)];
            road.words.extend(words);
        }
        match (way, &tls) {
            (Way::ListenTls, Some(authority)) => {
                let own = authority.server("port")?;
                let (certificate, key) = (own.certificate.display(), own.key.display());
                let ca = authority.ca();
                append(
                    &home.config,
                    &format!(
                        "\n[listen.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n\
                         client_ca = \"{}\"\n",
                        ca.display()
                    ),
                )?;
                road.connect = format!("mqtts://{}", home.listen);
            }
            (Way::Mosquitto | Way::MosquittoTls, _) => {
                let broker = broker(dir, tls.as_ref())?;
                road.broker = Some(broker.start()?);
                let scheme = if has_tls { "mqtts" } else { "mqtt" };
                road.connect = format!("{scheme}://{}", broker.address);
                let mut section =
                    format!("\n[[broker]]\nname = \"plant\"\nurl = \"{}\"\n", road.connect);
                if let Some(authority) = &tls {
                    let own = authority.client("milepost")?;
                    let (certificate, key) = (own.certificate.display(), own.key.display());
                    let ca = authority.ca();
                    writeln!(section, "ca = \"{}\"", ca.display())?;
                    writeln!(section, "certificate = \"{certificate}\"\nkey = \"{key}\"")?;
                }
                append(&home.config, &section)?;
            }
            _ => {}
        }
        Ok(road)
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            // It is killed in any case; how it ends is of no interest.
            drop(broker.kill());
        }
    }
}

/// A broker that keeps what comes while the agent is busy.
fn broker(dir: &Path, tls: Option<&Authority>) -> Result<Mosquitto> {
    let roomy = "max_queued_messages 100000\nmax_packet_size 9216\n";
    let at = dir.join("broker");
    let Some(authority) = tls else { return Mosquitto::open(&at, roomy) };
    let own = authority.server("broker")?;
    let lines = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
         use_identity_as_username true\n{roomy}",
        authority.ca().display(),
        own.certificate.display(),
        own.key.display()
    );
    Mosquitto::with(&at, &lines)
}

fn say(as_json: bool, what: &str, files: usize, way: Way, row: &Value) {
    if as_json {
        println!("{}", json!({"replay": what, "files": files, "way": name(way), "result": row}));
        return;
    }
    let count = |sink: &str, unit: &str| row.pointer(&format!("/{sink}/{unit}")).cloned();
    let shown = |value: Option<Value>| value.unwrap_or_default().to_string();
    println!(
        "{what}, {}: {files} files, {} samples; file and store clean; {} s",
        name(way),
        shown(count("store", "samples/delivered")),
        row.get("seconds").and_then(Value::as_f64).unwrap_or_default().round()
    );
}

const fn name(way: Way) -> &'static str {
    match way {
        Way::Listen => "listen",
        Way::ListenTls => "listen with TLS",
        Way::Mosquitto => "Mosquitto",
        Way::MosquittoTls => "Mosquitto with TLS",
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn append(file: &Path, lines: &str) -> Result<()> {
    let before = fs::read_to_string(file)?;
    Ok(fs::write(file, before + lines)?)
}
