//! The firmware's image, run by QEMU, against a real agent: what it measured arrives, each reading once,
//! whenever the power goes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use firmware::provision::LinkChoice;
use serde_json::Value;
use tempfile::TempDir;
use world::agent::AgentHome;
use world::binaries::Binaries;
use world::board::{self, Board, Running, Serial};
use world::chance::Chance;
use world::line::Line;
use world::mosquitto::{self, Mosquitto};
use world::process::{Process, until};
use world::proxy::Proxy;
use world::rows::{self, Rows, SIGNALS, TEMPERATURE, raw};

const PATIENCE: Duration = Duration::from_mins(2);
/// Bytes of a board's 64 KiB that stay unused: its budget is 56 KiB.
const STACK_LEFT_MIN: u32 = 8 * 1024;
/// How often the power goes, and the link before that.
const CUTS: u64 = 20;
/// Milliseconds between two readings of a channel where there is to be load: 500 samples a second.
const LOAD_MS: u16 = 20;

/// What a board's device is called.
const DEVICE: &str = "board-1";

/// The documents that a file sink has written so far of it.
fn documents(sink: &Path) -> Vec<Value> {
    rows::documents(sink, DEVICE).unwrap()
}

/// The way from the board to the agent.
enum Way {
    Ethernet,
    /// The same, by a link that a test can cut, and with load.
    Link,
    /// So, to a broker.
    Broker,
    /// A serial line, through a cable that a test can have its way with.
    Cable(Line),
    /// A serial port of this machine.
    Port,
}

/// A board, its device, and the agent that it sends to.
struct Bench {
    board: Board,
    image: PathBuf,
    dir: TempDir,
    home: AgentHome,
    way: Way,
    link: Option<Proxy>,
    mosquitto: Option<Mosquitto>,
}

impl Bench {
    /// None where there is no QEMU, or no image: `cargo xtask test` says why.
    fn new(board: Board, way: Way) -> Option<Self> {
        Self::with(board, way, "")
    }

    /// With this in its agent's configuration, too.
    fn with(board: Board, way: Way, configured: &str) -> Option<Self> {
        let has_images = std::env::var_os(board::IMAGES).is_none_or(|dir| !dir.is_empty());
        let has_broker = !matches!(way, Way::Broker) || mosquitto::installed().is_some();
        if !board::has_qemu() || !has_images || !has_broker {
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped");
            eprintln!(
                "skipped: the firmware on its boards (QEMU, an image, or mosquitto is missing)"
            );
            return None;
        }
        let images = Board::ALL.into_iter().zip(board::images().unwrap());
        let (_, image) = images.into_iter().find(|(of, _)| *of == board).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let port = match &way {
            Way::Ethernet | Way::Link | Way::Broker => None,
            Way::Cable(line) => Some(format!("tcp://{}", line.host)),
            Way::Port => Some(dir.path().join("tty").display().to_string()),
        };
        let serial = port.map(|port| format!("[[serial]]\nname = \"bay\"\nport = \"{port}\"\n"));
        let mosquitto = matches!(way, Way::Broker).then(|| {
            Mosquitto::open(&dir.path().join("broker"), "max_packet_size 9216\n").unwrap()
        });
        let broker = mosquitto.as_ref().map(|broker| {
            format!("[[broker]]\nname = \"plant\"\nurl = \"mqtt://{}\"\n", broker.address)
        });
        let besides = [serial, broker].into_iter().flatten().collect::<String>();
        let configured = format!("{besides}{configured}");
        let binaries = Binaries::build(false).unwrap();
        let home = AgentHome::new(&binaries, dir.path(), &configured).unwrap();
        let keys = dir.path().join("keys");
        home.add_devices(&format!("{DEVICE}\n"), &keys).unwrap();
        let link = match &way {
            Way::Link => Some(Proxy::start(home.listen).unwrap()),
            Way::Broker => mosquitto.as_ref().map(|broker| Proxy::start(broker.address).unwrap()),
            _ => None,
        };
        let choice = match (&way, &link) {
            (Way::Cable(_) | Way::Port, _) => LinkChoice::Serial,
            (_, Some(link)) => board::ethernet(link.address()),
            _ => board::ethernet(home.listen),
        };
        let key_line = std::fs::read_to_string(&keys).unwrap();
        let mut provision = board::provision(key_line.trim(), choice, 1).unwrap();
        if link.is_some() {
            provision.simulated_ms = LOAD_MS;
        }
        let bench = Self { board, image, dir, home, way, link, mosquitto };
        board::write_flash(&bench.flash(), &provision).unwrap();
        Some(bench)
    }

    fn flash(&self) -> PathBuf {
        self.dir.path().join("nor.img")
    }

    fn console(&self) -> PathBuf {
        self.dir.path().join("console")
    }

    fn power_on(&self) -> Running {
        let serial = match &self.way {
            Way::Ethernet | Way::Link | Way::Broker => None,
            Way::Cable(line) => Some(Serial::Tcp(line.device)),
            Way::Port => Some(Serial::Port(self.dir.path().join("tty"))),
        };
        Running::start(self.board, &self.image, &self.flash(), &self.console(), serial).unwrap()
    }

    fn rows(&self) -> Rows {
        Rows::read(&self.home.sink(), DEVICE).unwrap()
    }

    /// Waits until so many rows of a boot came.
    fn came(&self, boot: u64, wanted: u64) {
        let what = format!("{wanted} rows of boot {boot}");
        let has_come = || Ok(self.rows().of(boot) >= wanted);
        let arrived = until(&what, PATIENCE, has_come);
        assert!(arrived.is_ok(), "{arrived:?}; {}", self.said());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.console()).unwrap_or_default()
    }

    /// Every row came once, in order and none is missing; and the board stayed within its memory.
    fn verify(&self) {
        let said = self.said();
        assert!(!said.contains("stopped"), "{said}");
        let left =
            said.lines().filter_map(|line| line.rsplit_once("stack_left_bytes=")?.1.parse().ok());
        let left = left.min();
        assert!(left >= Some(STACK_LEFT_MIN), "{left:?} bytes; {said}");
        let beats: Vec<Value> = documents(&self.home.sink())
            .into_iter()
            .filter(|document| document["type"] == "milepost.health")
            .collect();
        let free = |beat: &Value| beat["data"]["stack_free"].as_u64();
        let is_within = |beat: &Value| free(beat) >= Some(u64::from(STACK_LEFT_MIN));
        assert!(!beats.is_empty() && beats.iter().all(is_within), "{beats:?}");
        let rows = Rows::read(&self.home.sink(), DEVICE);
        assert!(rows.is_ok(), "{rows:?}; {said}");
        let ledger = self.home.call(&["ledger", "--json"]).unwrap();
        let ledger: Value = serde_json::from_slice(&ledger.stdout).unwrap();
        assert!(ledger.to_string().contains("\"balanced\":true"), "{ledger}");
    }
}

/// Does it with each board, at once.
fn on_each_board(work: fn(Board)) {
    std::thread::scope(|scope| {
        for board in Board::ALL {
            scope.spawn(move || work(board));
        }
    });
}

#[test]
fn what_a_board_measured_arrives_once_however_often_its_power_and_its_link_go() {
    on_each_board(|board| power_goes(board, Way::Link));
}

#[test]
fn behind_a_broker_as_well() {
    on_each_board(|board| power_goes(board, Way::Broker));
}

fn power_goes(board: Board, way: Way) {
    let Some(bench) = Bench::new(board, way) else { return };
    let broker = bench.mosquitto.as_ref().map(|broker| broker.start().unwrap());
    let mut agent = bench.home.start().unwrap();
    let mut chance = Chance::new(board as u64);
    for boot in 1..=CUTS + 1 {
        let running = bench.power_on();
        bench.came(boot, 1);
        let link = bench.link.as_ref().unwrap();
        link.cut();
        std::thread::sleep(Duration::from_millis(chance.within(0..1500)));
        link.mend();
        if boot.is_multiple_of(8) {
            // The agent goes as well: what was not acknowledged comes again.
            agent.kill().unwrap();
            agent = bench.home.start().unwrap();
        }
        // Now and then it has connected again before its power goes.
        if boot.is_multiple_of(4) {
            bench.came(boot, bench.rows().of(boot) + 1);
        }
        if board == Board::Lm3s6965evb && boot == CUTS {
            warm_up(&bench, &running);
        }
        std::thread::sleep(Duration::from_millis(chance.within(0..500)));
        running.kill().unwrap();
    }
    bench.verify();
    agent.kill().unwrap();
    broker.map_or(Ok(()), Process::kill).unwrap();
}

/// It gets warmer where the board is, and the agent hears of it.
fn warm_up(bench: &Bench, running: &Running) {
    running.monitor("qom-set /machine/peripheral/sensor temperature 21500").unwrap();
    let is_warm = |document: &Value| document["data"][TEMPERATURE].as_f64() == Some(21.5);
    let arrived = || Ok(documents(&bench.home.sink()).iter().any(is_warm));
    until("21.5 degrees", PATIENCE, arrived).unwrap();
}

#[test]
fn over_a_serial_line_everything_arrives_as_well_whatever_it_garbles() {
    on_each_board(line_garbles);
}

fn line_garbles(board: Board) {
    let Some(bench) = Bench::new(board, Way::Cable(Line::start().unwrap())) else { return };
    let Way::Cable(line) = &bench.way else { return };
    let agent = bench.home.start().unwrap();
    let running = bench.power_on();
    bench.came(1, 1);
    running.kill().unwrap();
    let running = bench.power_on();
    bench.came(2, 1);
    let streams = || bench.home.metric("agent_serial_streams_total");
    let opened = streams().unwrap();
    line.garble();
    until("another stream", PATIENCE, || Ok(streams()? > opened)).unwrap();
    let rows = || bench.rows().of(2);
    bench.came(2, rows() + 1);
    let plugged_in = line.plugged_in();
    line.unplug();
    until("another plug", PATIENCE, || Ok(line.plugged_in() > plugged_in)).unwrap();
    bench.came(2, rows() + 1);
    // The device goes on in the stream that it has; the agent that began anew knows of none.
    agent.kill().unwrap();
    let agent = bench.home.start().unwrap();
    bench.came(2, rows() + 1);
    running.kill().unwrap();
    bench.verify();
    agent.kill().unwrap();
}

#[test]
fn a_port_of_this_machine_may_come_and_go() {
    let Some(bench) = Bench::new(Board::EmcraftSf2, Way::Port) else { return };
    // It is not healthy until the port is there.
    let agent = bench.home.spawn().unwrap();
    let is_missed = || {
        let health = bench.home.get("/healthz");
        Ok(health.is_ok_and(|(status, said)| status != 200 && said.contains("is it plugged in?")))
    };
    until("the port to be missed", PATIENCE, is_missed).unwrap();
    for boot in 1..=2 {
        let running = bench.power_on();
        bench.came(boot, 1);
        let open = || bench.home.metric("agent_serial_up");
        assert!(open().unwrap() > 0.0);
        running.kill().unwrap();
        until("the port to be gone", PATIENCE, || Ok(open()? < 1.0)).unwrap();
    }
    bench.verify();
    agent.kill().unwrap();
}

/// What a technician at the line sees of a board, for a while.
fn monitored(home: &AgentHome, line: &Line) -> Vec<Value> {
    let port = format!("tcp://{}", line.host);
    let shown = home.call(&["monitor", &port, "--for", "8s", "--json"]).unwrap();
    let lines = String::from_utf8(shown.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_technician_at_the_line_sees_health_and_values_whichever_way_frames_go() {
    on_each_board(technician_looks);
}

fn technician_looks(board: Board) {
    let Some(bench) = Bench::new(board, Way::Cable(Line::start().unwrap())) else { return };
    let Way::Cable(line) = &bench.way else { return };
    let over_ethernet = Bench::new(board, Way::Ethernet).unwrap();
    for (bench, line) in [(&bench, line), (&over_ethernet, &Line::start().unwrap())] {
        let serial = Some(Serial::Tcp(line.device));
        let running =
            Running::start(bench.board, &bench.image, &bench.flash(), &bench.console(), serial)
                .unwrap();
        until("a boot", PATIENCE, || Ok(bench.said().contains("boot 1 of"))).unwrap();
        let shown = monitored(&bench.home, line);
        let health: Vec<_> = shown.iter().filter(|line| line["kind"] == "health").collect();
        assert!(health.len() >= 2, "{shown:?}");
        let last = &health.last().unwrap()["health"];
        assert_eq!((&last["device"], &last["boot"]), (&DEVICE.into(), &1.into()), "{last}");
        assert!(last["samples"].as_u64() > health[0]["health"]["samples"].as_u64(), "{shown:?}");
        // Each signal; a row's channels belong to its readings.
        let values = |path: &str| {
            let of = shown.iter().filter(|line| line["signal"] == path);
            of.map(|line| line["value"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        let readings = values("Milepost.Simulated.Readings");
        assert!(readings.is_sorted() && readings.first() < readings.last(), "{readings:?}");
        for channel in 1..SIGNALS {
            let shown = values(&format!("Milepost.Simulated.Channel{channel}"));
            let rows = 0..=readings.last().unwrap() / 10 + 1;
            let made: Vec<u64> = rows.map(|row| raw(channel, row)).collect();
            assert!(!shown.is_empty() && shown.iter().all(|value| made.contains(value)));
        }
        // Nobody listens any more, and frames go their way.
        let agent = bench.home.start().unwrap();
        bench.came(1, 1);
        running.kill().unwrap();
        bench.verify();
        agent.kill().unwrap();
    }
}

/// Where nothing is on these boards.
const NOWHERE: u32 = 0x9000_0000;
/// CPSIE or CPSID, of all interrupts, and B to itself (Armv7-M Architecture Reference Manual, B5.2.1 and
/// A7.7.12): where the core is stopped, they are off.
const LOOP: [u8; 4] = [0x62, 0xB6, 0xFE, 0xE7];
const MASKED_LOOP: [u8; 4] = [0x72, 0xB6, 0xFE, 0xE7];
/// UDF (A7.7.194).
const UNDEFINED: [u8; 2] = [0x00, 0xDE];

#[test]
fn a_panic_a_fault_and_a_loop_without_an_end_are_told_and_shown_with_their_lines() {
    on_each_board(crashes);
}

fn crashes(board: Board) {
    let store = "[[sink]]\nname = \"store\"\ntype = \"store\"\n";
    let Some(bench) = Bench::with(board, Way::Ethernet, store) else { return };
    let agent = bench.home.start().unwrap();
    let running = bench.power_on();
    let boots = |boot: u32| {
        let said = format!("boot {boot} of board-1, image ");
        let is_said = until(&said, PATIENCE, || Ok(bench.said().contains(&said)));
        is_said.unwrap_or_else(|error| panic!("{error}: {}", bench.said()));
    };

    // An index beyond its end: as the compiler calls it.
    boots(1);
    let (panics, _) = board::function(&bench.image, "panic_bounds_check").unwrap();
    let (location, file) = board::location(&bench.image).unwrap();
    let mut core = running.stop_core().unwrap();
    for (register, value) in [(0, 7), (1, 3), (2, location), (15, panics)] {
        core.set(register, value).unwrap();
    }
    core.go_on().unwrap();
    // A fault, twice, called from a function that has lines: a copy to nowhere, where QEMU's board notices it.
    let (copies, _) = board::function(&bench.image, "memcpy").unwrap();
    let caller = board::return_address(&bench.image, "reserve_for").unwrap();
    let unused = board::stack_end(&bench.image).unwrap();
    let jump = |code: Option<&[u8]>| {
        let mut core = running.stop_core().unwrap();
        if let Some(code) = code {
            core.write(unused, code).unwrap();
        }
        let to = if code.is_some() { unused } else { copies };
        for (register, value) in [(0, NOWHERE), (1, 0), (2, 64), (14, caller), (15, to)] {
            core.set(register, value).unwrap();
        }
        core.go_on().unwrap();
    };
    let (fault, said): (_, &[&str]) = match board {
        Board::EmcraftSf2 => (None, &["BFAR 0x90000000", "a wild pointer", "memcpy"]),
        Board::Lm3s6965evb => (Some(&UNDEFINED[..]), &["CFSR 0x00010000", "undefined"]),
    };
    for boot in 2..=3 {
        boots(boot);
        jump(fault);
    }
    boots(4);
    assert!(bench.said().contains("3 crashes in a row: starts in 1000 ms"), "{}", bench.said());
    // A loop without an end.
    jump(Some(&LOOP));
    boots(5);
    let mut expected = vec!["power", "crash", "crash", "crash", "watchdog"];
    if board == Board::Lm3s6965evb {
        // Nothing comes any more, and the part's own watchdog bites: QEMU does not say that it was it.
        jump(Some(&MASKED_LOOP));
        boots(6);
        expected.push("unknown");
    }

    let listed = || {
        let listed = bench.home.call(&["crash", "list", "--json"])?;
        anyhow::Ok(String::from_utf8(listed.stdout)?)
    };
    let are_listed = until("four crashes", PATIENCE, || Ok(listed()?.lines().count() == 4));
    are_listed.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", listed(), bench.said()));
    let image = bench.image.display().to_string();
    let shown = |boot: &str, image: &str| {
        let called =
            bench.home.call(&["crash", "show", "board-1", "--boot", boot, "--image", image]);
        String::from_utf8(called.unwrap().stdout).unwrap()
    };
    let panicked = shown("1", &image);
    let reason = "panic: index out of bounds: the len is 3 but the index is 7";
    assert!(panicked.contains(reason) && panicked.contains(&format!("({file}:")), "{panicked}");
    assert!(panicked.contains("core::panicking"), "{panicked}");
    let faulted = shown("3", bench.image.parent().unwrap().to_str().unwrap());
    assert!(said.iter().all(|said| faulted.contains(said)), "{faulted}");
    let called_from = |line: &str| line.contains("reserve_for") && line.contains("ring.rs:");
    assert!(faulted.lines().any(called_from), "{faulted}");
    let hung = shown("4", &image);
    assert!(hung.contains("watchdog: the main loop did not come round in 20 s"), "{hung}");
    assert!(hung.lines().any(called_from), "{hung}");
    // This sink may have less yet than the store.
    let resets = || -> Vec<Value> {
        let documents = documents(&bench.home.sink());
        let boots = documents.iter().filter(|document| document["type"] == "milepost.boot");
        boots.map(|document| document["data"]["reset"].clone()).collect()
    };
    until("each boot", PATIENCE, || Ok(resets().len() == expected.len())).unwrap();
    assert_eq!(resets(), expected, "{}", bench.said());
    running.kill().unwrap();
    bench.verify();
    agent.kill().unwrap();
}
