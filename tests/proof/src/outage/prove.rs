//! The outage: a fleet becomes known, all sinks go, come back, and everything drains.

use std::path::{Path, PathBuf};

use super::fleet::{Flash, Fleet, SAID_MAX};
use super::planted::Planted;
use super::process::{AgentProcess, Rss};
use super::report::{Moment, Report};
use super::truth::Truth;
use super::wire::{Answer, Ask, Begin, Turn, Turned};
use crate::light::Shape;
use crate::table::Row;

/// What to run.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// What is drawn.
    pub seed: u64,
    /// How long all sinks are down.
    pub hours: u64,
    /// How many devices there are.
    pub devices: u32,
    /// A device's time from frame to frame, in seconds; in tens.
    pub every_s: u64,
    /// The journal's bound.
    pub journal_bytes: u64,
    /// How many sinks there are.
    pub sinks: u8,
    /// Frames that a device keeps.
    pub kept_frames: u64,
    /// Where the agent's files are: empty, or not there; removed afterwards.
    pub dir: PathBuf,
    /// Plant a fault, to see it found.
    pub planted: Option<Planted>,
}

/// One step of virtual time.
const TICK_S: u64 = 10;
/// Rounds until the fleet is known: each device has measured twice.
const ROUNDS_BEFORE: u64 = 2;
/// Turns of the agent in a step of time, at most: a thousand messages each.
const TURNS_MAX: u32 = 256;
/// Frames that go at once when a device is full.
const SECTOR: u64 = 16;
/// Most that resident memory may move: a part of it in percent, or so many KiB.
const FLAT_PERCENT: u64 = 5;
const FLAT_KIB: u64 = 4 << 10;
/// Time in which everything has to come to rest, in rounds.
const REST_ROUNDS_MAX: u64 = 2000;

/// Runs it. `so_far` is called at every virtual hour, and at what is worth a word.
pub fn prove(settings: &Settings, mut so_far: impl FnMut(&Moment)) -> Report {
    let mut report = Report::new(settings.planted);
    if let Err(found) = is_vacant(&settings.dir) {
        report.found = Some(found);
        return report;
    }
    let outcome = Outage::begin(settings, &mut report, &mut so_far).and_then(|mut outage| {
        let lived = outage.live();
        outage.note();
        lived
    });
    report.found = outcome.err();
    if let Err(error) = clean(&settings.dir) {
        report.found.get_or_insert(error);
    }
    report
}

/// Tries every fault planted for this harness, at reduced size.
pub fn find_planted(seed: u64, row: &mut dyn FnMut(Row)) {
    for fault in Planted::ALL {
        let dir = std::env::temp_dir();
        let dir = dir.join(format!("milepost-outage-{}-{fault}", std::process::id()));
        let settings = Settings { planted: Some(fault), ..Settings::small(seed, dir) };
        let report = prove(&settings, |_| {});
        let states = report.known_frames();
        // One that could not run at all found nothing.
        let said = report.found.filter(|_| states > 0);
        row(Row { harness: "outage", fault: fault.name(), states, said });
    }
}

/// Whatever stands there is somebody's.
fn is_vacant(dir: &Path) -> Result<(), String> {
    let found = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if found { Err(format!("{} is not empty", dir.display())) } else { Ok(()) }
}

fn clean(dir: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", dir.display()))
        }
        _ => Ok(()),
    }
}

impl Settings {
    /// What a test can afford: four hours of 2,000 devices, with a journal that is full in one.
    pub const fn small(seed: u64, dir: PathBuf) -> Self {
        Self {
            seed,
            hours: 4,
            devices: 2000,
            every_s: 600,
            journal_bytes: 3 << 20,
            sinks: 2,
            kept_frames: 8,
            dir,
            planted: None,
        }
    }
}

struct Outage<'a> {
    settings: &'a Settings,
    agent: AgentProcess,
    fleet: Fleet,
    truth: Truth,
    report: &'a mut Report,
    so_far: &'a mut dyn FnMut(&Moment),
    now_s: u64,
    sinks_up: bool,
    /// Messages that the agent takes.
    room: usize,
    last: Turned,
}

impl<'a> Outage<'a> {
    fn begin(
        settings: &'a Settings,
        report: &'a mut Report,
        so_far: &'a mut dyn FnMut(&Moment),
    ) -> Result<Self, String> {
        let shape = Shape::SMALL;
        std::fs::create_dir_all(&settings.dir).map_err(|error| error.to_string())?;
        let mut agent = AgentProcess::start().map_err(|error| error.to_string())?;
        let begin = Begin {
            dir: settings.dir.clone(),
            devices: settings.devices,
            journal_bytes: settings.journal_bytes,
            sinks: settings.sinks,
            samples: shape.samples(),
            ticks: shape.ticks,
            planted: settings.planted,
        };
        let answer = agent.ask(&Ask::Begin(begin)).map_err(|error| error.to_string())?;
        let Answer::Begun(secrets) = answer else { return Err("no secrets".to_owned()) };
        let flash =
            Flash { kept_max: settings.kept_frames, sector: SECTOR.min(settings.kept_frames / 2) };
        Ok(Self {
            settings,
            agent,
            fleet: Fleet::new(&secrets, shape, flash, settings.seed),
            truth: Truth::new(shape, settings.devices, settings.sinks),
            report,
            so_far,
            now_s: 0,
            sinks_up: true,
            room: SAID_MAX,
            last: Turned::default(),
        })
    }

    fn live(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_BEFORE * self.settings.every_s / TICK_S {
            self.tick(true)?;
        }
        let known = self.fleet.known();
        if known as u64 != u64::from(self.settings.devices) {
            return Err(format!("only {known} devices are known to the agent"));
        }
        self.sinks_up = false;
        let rss = self.rss()?;
        self.report.begins(rss.now);
        self.moment("the sinks are down");
        let until_s = self.now_s + self.settings.hours * 3600;
        while self.now_s < until_s {
            self.tick(true)?;
            self.report.outage(self.rss()?.now, self.last.is_blocked.then_some(TICK_S));
            if self.now_s.is_multiple_of(3600) {
                self.moment("");
            }
        }
        self.sinks_up = true;
        self.moment("the sinks are back");
        self.rest()?;
        self.finish()
    }

    /// One step of time: devices measure and speak, as far as the agent takes it.
    fn tick(&mut self, measures: bool) -> Result<(), String> {
        self.now_s += TICK_S;
        if measures {
            let every = self.settings.every_s / TICK_S;
            let turn = (self.now_s / TICK_S) % every;
            let devices = u64::from(self.settings.devices);
            for number in (turn..devices).step_by(usize::try_from(every).unwrap_or(1)) {
                self.fleet.measure(u32::try_from(number).unwrap_or(0));
            }
        }
        for _ in 0..TURNS_MAX {
            let uplinks = self.fleet.say(self.room);
            let said = !uplinks.is_empty();
            let delivered = self.turn(uplinks)?;
            if !said && !delivered {
                break;
            }
        }
        Ok(())
    }

    /// A turn of the agent; whether a sink was given something.
    fn turn(&mut self, uplinks: Vec<super::wire::Uplink>) -> Result<bool, String> {
        let turn = Turn { now_s: self.now_s, sinks_up: self.sinks_up, uplinks };
        let answer = self.agent.ask(&Ask::Turn(turn)).map_err(|error| error.to_string())?;
        let Answer::Turned(turned) = answer else { return Err("no answer".to_owned()) };
        for (session, told) in &turned.told {
            self.fleet.hear(*session, told)?;
        }
        for delivery in &turned.delivered {
            self.truth.take(delivery)?;
        }
        if let Some(book) = turned.books.iter().find(|book| !book.balances) {
            return Err(format!("the ledger does not balance: {book:?}"));
        }
        self.room = turned.room;
        self.report.journal(turned.journal_bytes);
        let delivered = !turned.delivered.is_empty();
        self.last = Turned { told: Vec::new(), delivered: Vec::new(), ..turned };
        Ok(delivered)
    }

    /// Nobody measures any more; everything drains.
    fn rest(&mut self) -> Result<(), String> {
        let round = self.settings.every_s / TICK_S;
        for step in 1..=REST_ROUNDS_MAX * round {
            self.tick(false)?;
            self.report.drain(self.rss()?.now);
            let at_rest = |book: &super::wire::Book| book.buffered == 0 && book.is_at_rest;
            if self.fleet.is_idle()
                && !self.fleet.has_queued()
                && self.last.books.iter().all(at_rest)
            {
                self.moment("everything is at rest");
                return Ok(());
            }
            if step.is_multiple_of(round) {
                self.fleet.rouse();
                self.moment("");
            }
        }
        Err(format!("does not come to rest: {:?}", self.last))
    }

    fn finish(&mut self) -> Result<(), String> {
        self.truth.finish(|device| self.fleet.frames(device))?;
        if !self.report.is_full() {
            return Err("back-pressure was not reached: the journal was never full".to_owned());
        }
        let (most, allowed) = self.report.growth(FLAT_PERCENT, FLAT_KIB);
        if most > allowed {
            return Err(format!("resident memory moved by {most} KiB, and may by {allowed} KiB"));
        }
        Ok(())
    }

    fn rss(&self) -> Result<Rss, String> {
        self.agent.rss().map_err(|error| error.to_string())
    }

    fn moment(&mut self, what: &'static str) {
        let rss_kib = self.rss().map_or(0, |rss| rss.now);
        let (taken, dropped) = self.fleet.totals();
        let moment = Moment {
            at_s: self.now_s,
            what,
            rss_kib,
            journal_bytes: self.last.journal_bytes,
            is_blocked: self.last.is_blocked,
            taken,
            dropped,
            delivered: self.truth.delivered,
        };
        (self.so_far)(&moment);
        self.report.moments.push(moment);
    }

    /// Notes what it came to.
    fn note(&mut self) {
        let (taken, dropped) = self.fleet.totals();
        self.report.virtual_s = self.now_s;
        self.report.frames = taken;
        self.report.dropped = dropped;
        self.report.sent = self.fleet.sent;
        self.report.hellos = self.fleet.hellos;
        self.report.connections = self.fleet.connections;
        self.report.delivered = self.truth.delivered;
        self.report.lost_samples = self.truth.lost;
        self.report.losses = self.truth.losses;
        self.report.rss_most_kib = self.rss().map_or(0, |rss| rss.most);
        self.report.books.clone_from(&self.last.books);
    }
}
