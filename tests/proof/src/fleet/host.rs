//! An agent's machine: its disks, its sinks, and the agent while it runs.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use agent::accept::{AcceptCounters, Acceptor, Begun};
use agent::catalogues::Catalogues;
use agent::intake::outbox::outbox;
use agent::intake::{Admission, Admit as _, Inbound, Message as Told, SessionId};
use agent::journal::JournalConfig;
use agent::registry::{Entropy, EntropyError, Registry, WrappingKey};
use agent::rings::Rings;
use agent::state;
use agent::storage::faulty::{Faulty, Leaves};
use protocol::{DeviceId, RingId, Secret, keys};

use super::errands::Errands;
use super::fault::Kind;
use super::life::{Life, shared};
use super::network::Message;
use super::planted::Planted;
use super::sink::{Running, Upstream};
use super::slot::Slot;
use super::truth::{Truth, Violation};
use crate::chance::Chance;

/// 2026-11-21T07:00:00Z in milliseconds: when a world begins.
const BEGIN_MS: i64 = 1_795_244_400_000;
/// Messages for a session that wait, at most.
const OUTBOX_MAX: usize = 64;
/// Rings whose watermark is kept in memory: few, so that others are read.
const RINGS_CACHED_MAX: usize = 8;

/// What an agent is configured with, besides its sinks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Settings {
    /// Bytes of its journal, at most.
    pub journal_bytes: u64,
    /// Signals that leave no more, a bit each.
    pub drops: u16,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Host {
    /// The agent's own disk, and the one with its sinks' files.
    pub disk: Faulty,
    pub sinks_disk: Faulty,
    pub kept: Option<Faulty>,
    pub slots: Vec<Slot>,
    /// Sinks that were removed.
    pub retired: Vec<Slot>,
    /// Per device, the critical lane's ring and the events that it had taken, when it had told this agent all.
    pub told: Vec<Option<(RingId, u64)>>,
    /// What no sink has been given: what a new one begins with.
    pub blank: Truth,
    pub settings: Settings,
    pub errands: Errands,
    /// What the next power cut around a disk call leaves, and for how long it is down then.
    pub next_cut: (u64, u64),
    pub life: Option<Life>,
    pub up_at_s: u64,
    clock_s: i64,
    pub entropy: Dice,
    pub planted: Option<Planted>,
    /// What waits for the agent: by session, with the number of its packet.
    pub inbox: VecDeque<Arriving>,
    next_session: u64,
    pub sinks_named: u32,
    pub lives: u64,
    pub failed_starts: u64,
    pub full: u64,
}

/// A message on its way into the agent.
#[derive(Clone, Debug)]
pub(super) struct Arriving {
    pub session: u64,
    pub device: DeviceId,
    pub message: Message,
    pub packet: u16,
}

/// What the agent says to a session.
#[derive(Debug)]
pub(super) enum Said {
    Taken(u16),
    Message(Message),
    Close,
}

/// Chance as the product asks for it.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub Chance);

impl Entropy for Dice {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(8) {
            for (byte, drawn) in chunk.iter_mut().zip(self.0.draw().to_le_bytes()) {
                *byte = drawn;
            }
        }
        Ok(())
    }
}

impl Dice {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        drop(self.fill(&mut bytes));
        bytes
    }
}

impl Host {
    /// A machine; its number tells it from others in the same world.
    pub(super) fn new(
        (seed, number): (u64, u64),
        journal_bytes: u64,
        planted: Option<Planted>,
    ) -> Self {
        let disk = Faulty::default();
        if planted == Some(Planted::AckBeforeFsync) {
            disk.lie_in("/data/journal".as_ref());
        }
        Self {
            disk,
            sinks_disk: Faulty::default(),
            kept: None,
            slots: Vec::new(),
            retired: Vec::new(),
            told: Vec::new(),
            blank: Truth::default(),
            settings: Settings { journal_bytes, drops: 0 },
            errands: Errands::default(),
            next_cut: (0, 1),
            life: None,
            up_at_s: 0,
            clock_s: 0,
            entropy: Dice(Chance::new(seed, 2 + (number << 8))),
            planted,
            inbox: VecDeque::new(),
            next_session: 1,
            sinks_named: 0,
            lives: 0,
            failed_starts: 0,
            full: 0,
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.life.is_some()
    }

    pub(super) const fn leap(&mut self, by_s: i64) {
        self.clock_s = self.clock_s.saturating_add(by_s);
    }

    pub(super) fn now_ms(&self, now_s: u64) -> i64 {
        let now_s = i64::try_from(now_s).unwrap_or(0).saturating_add(self.clock_s);
        BEGIN_MS.saturating_add(now_s.saturating_mul(1000))
    }

    /// One more sink, for the next start.
    pub(super) fn add_sink(&mut self, kind: Kind, may_lose: bool) {
        self.sinks_named += 1;
        let name = format!("sink-{}", self.sinks_named);
        let mut truth = self.blank.clone();
        truth.drops_at_any_time = kind != Kind::Model;
        self.slots.push(Slot::new(name, kind, may_lose, self.sinks_disk.clone(), truth));
    }

    /// Every sink that there is or was.
    pub(super) fn all_slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().chain(&self.retired)
    }

    /// What has been given to each, and what a new one would begin with.
    pub(super) fn each_truth(&mut self, mut act: impl FnMut(&mut Truth)) {
        act(&mut self.blank);
        for slot in self.slots.iter().chain(&self.retired) {
            act(&mut slot.model.upstream().truth);
        }
    }

    /// The same of upstreams.
    pub(super) fn each_upstream(&self, mut act: impl FnMut(&mut Upstream)) {
        self.all_slots().for_each(|slot| act(&mut slot.model.upstream()));
    }

    /// Starts the agent, if it is time and it does not run.
    pub(super) fn start(&mut self, now_s: u64) {
        if self.life.is_some() || now_s < self.up_at_s {
            return;
        }
        if let Ok(life) = self.begin() {
            self.life = Some(life);
            self.lives += 1;
            return;
        }
        self.failed_starts += 1;
        // As a service manager does it; a disk that lost its power is on again then.
        self.up_at_s = now_s + 5;
        if self.is_off() {
            let seed = self.entropy.0.draw();
            self.cycle(seed);
        } else {
            self.disk.restart();
            self.sinks_disk.restart();
        }
    }

    fn begin(&mut self) -> Result<Life, Box<dyn std::error::Error>> {
        let storage = shared(&self.disk);
        let database = state::open(&storage, &PathBuf::from("/data/state.redb"))?;
        let registry = Registry::open(database.clone(), WrappingKey::new([9; 32]))?;
        let catalogues = Catalogues::open(database.clone())?;
        let mut rings = Rings::open(database, RINGS_CACHED_MAX)?;
        let config = JournalConfig {
            // Two for each lane, and some more, beside the table of lives.
            segment_bytes: (self.settings.journal_bytes.saturating_sub(256 << 10) / 8)
                .min(64 << 10),
            bytes_max: self.settings.journal_bytes,
            ..JournalConfig::new(PathBuf::from("/data/journal"))
        };
        let entropy = (self.entropy.bytes(), self.entropy.0.draw());
        if self.planted == Some(Planted::WatermarkNotPersisted) {
            rings.clear()?;
        }
        let mut begun = Begun::open(&storage, config, entropy, rings)?;
        if self.planted == Some(Planted::WatermarkNotPersisted) {
            begun.rings.clear()?;
        }
        let ring_table = begun.rings.table();
        let tail = begun.journal.tail();
        let acceptor = Acceptor::new(
            begun.journal,
            begun.rings,
            registry.clone(),
            catalogues.clone(),
            AcceptCounters::default(),
            self.entropy.bytes(),
        );
        Ok(Life {
            acceptor,
            registry,
            catalogues,
            ring_table,
            storage,
            tail,
            sinks: self.slots.iter().map(|_| Running::new()).collect(),
            sessions: BTreeMap::new(),
            held: None,
            saved_s: 0,
            moved: true,
        })
    }

    /// A session of a device begins; none if no agent answers, or the device may not. With a secret
    /// if the agent itself asks for its password; behind a broker it knows the name alone.
    pub(super) fn open_session(
        &mut self,
        now_s: u64,
        device: DeviceId,
        secret: Option<&Secret>,
    ) -> Option<u64> {
        let now_ms = self.now_ms(now_s);
        let life = self.life.as_mut()?;
        let admission = match secret {
            Some(secret) => life.registry.admit(&device, &keys::mqtt_password(secret, &device)),
            None => life.registry.recognise(&device),
        };
        if admission != Admission::Admitted {
            return None;
        }
        let session = self.next_session;
        self.next_session += 1;
        let (sender, out) = outbox(OUTBOX_MAX);
        let message = Told::Opened(sender.into());
        let inbound = Inbound { session: SessionId(session), device, message, room: None };
        life.acceptor.take(now_ms, inbound).ok()?;
        life.sessions.insert(session, (device, out));
        Some(session)
    }

    /// A session ended.
    pub(super) fn close_session(&mut self, now_s: u64, session: u64) {
        let now_ms = self.now_ms(now_s);
        self.inbox.retain(|arriving| arriving.session != session);
        let Some(life) = &mut self.life else { return };
        if let Some((device, _)) = life.sessions.remove(&session) {
            let (session, message) = (SessionId(session), Told::Closed);
            drop(life.acceptor.take(now_ms, Inbound { session, device, message, room: None }));
        }
    }

    /// Whether one of the disks has lost its power.
    pub(super) fn is_off(&self) -> bool {
        self.disk.is_off() || self.sinks_disk.is_off()
    }

    fn cycle(&self, leaves: u64) {
        self.disk.power_cycle(Leaves::Some(leaves));
        self.sinks_disk.power_cycle(Leaves::Some(leaves.rotate_left(17)));
    }

    /// The machine loses its power.
    pub(super) fn cut(&mut self, leaves: u64, up_at_s: u64) {
        self.die(up_at_s);
        self.cycle(leaves);
        if self.planted == Some(Planted::JournalForgotten) {
            for (path, _) in self.disk.files() {
                if path.starts_with("/data/journal") {
                    self.disk.lose(&path);
                }
            }
        }
    }

    /// The agent is gone; the machine is not.
    pub(super) fn kill(&mut self, up_at_s: u64) {
        self.die(up_at_s);
        self.disk.restart();
        self.sinks_disk.restart();
    }

    fn die(&mut self, up_at_s: u64) {
        self.life = None;
        self.inbox.clear();
        self.up_at_s = up_at_s;
    }

    /// Stops in order.
    pub(super) fn stop(&mut self, now_s: u64, up_at_s: u64) {
        let now_ms = self.now_ms(now_s);
        if let Some(life) = self.life.take() {
            life.stop(now_ms);
        }
        self.inbox.clear();
        self.up_at_s = up_at_s;
    }

    /// The disk as it was when it was kept, in a machine that was off. Its sinks' is not.
    pub(super) fn restore(&mut self, up_at_s: u64) {
        let Some(kept) = self.kept.take() else { return };
        self.die(up_at_s);
        kept.restart();
        self.sinks_disk.restart();
        self.disk = kept;
    }

    /// Does all that there is to do in this second: what it says to whom.
    pub(super) fn turn(&mut self, now_s: u64) -> Result<Vec<(u64, Said)>, Violation> {
        self.run_errands(now_s);
        let now_ms = self.now_ms(now_s);
        let Self { life: Some(life), inbox, planted, full, slots, settings, errands, .. } = self
        else {
            return Ok(Vec::new());
        };
        life.accept(now_ms, inbox, full);
        let said = life.hear();
        errands.check(now_s, life, &said)?;
        life.keep_house(now_s, slots, *planted);
        for slot in slots.iter().filter(|_| planted.is_some()) {
            slot.model.upstream().truth.planted = *planted;
        }
        let trusts = *planted == Some(Planted::StaleCursorTrusted);
        life.forward(now_s, slots, (settings.drops, trusts))?;
        Ok(said)
    }

    /// Whether every sink has all that the journal has, and nothing is left to be told.
    pub(super) fn is_delivered(&self) -> bool {
        let is_delivered = self.life.as_ref().is_some_and(Life::is_delivered);
        is_delivered && self.inbox.is_empty() && self.errands.is_empty()
    }

    /// How it fares, for whoever finds it not at rest.
    pub(super) fn condition(&self) -> String {
        self.life.as_ref().map_or_else(|| "no agent runs".to_owned(), Life::condition)
    }
}
