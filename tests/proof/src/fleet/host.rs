//! An agent's machine: its disk, and the agent while it runs.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::accept::{AcceptCounters, Acceptor, Begun, Blocked};
use agent::catalogues::Catalogues;
use agent::forward::{ForwardOpener, Forwarder, ForwarderConfig, ForwarderStatus, Step};
use agent::intake::outbox::{Outbox, outbox};
use agent::intake::{Inbound, Message as Told, Outbound, SessionId};
use agent::journal::{AppendError, JournalConfig, JournalTail, Positions};
use agent::privacy::Policy;
use agent::registry::{Credentials, Entropy, EntropyError, Registry, WrappingKey};
use agent::rings::Rings;
use agent::state;
use agent::storage::SharedStorage;
use agent::storage::faulty::{Faulty, Leaves};
use protocol::{DeviceId, Generation, Secret};

use super::network::Message;
use super::planted::Planted;
use super::sink::ModelSink;
use super::truth::Violation;
use crate::chance::Chance;

/// 2026-11-21T07:00:00Z in milliseconds: when a world begins.
const BEGIN_MS: i64 = 1_795_244_400_000;
/// As the agent does it.
const CHECKPOINT_EVERY_S: u64 = 10;
/// Messages for a session that wait, at most.
const OUTBOX_MAX: usize = 64;
/// Rings whose watermark is kept in memory: few, so that others are read.
const RINGS_CACHED_MAX: usize = 8;
/// Steps of the forwarder in a second, at most.
const STEPS_MAX: u32 = 10_000;

/// The machine.
#[derive(Debug)]
pub(super) struct Host {
    pub disk: Faulty,
    pub kept: Option<Faulty>,
    pub sink: ModelSink,
    life: Option<Life>,
    up_at_s: u64,
    journal_bytes: u64,
    clock_s: i64,
    entropy: Dice,
    planted: Option<Planted>,
    /// What waits for the agent: by session, with the number of its packet.
    pub inbox: VecDeque<Arriving>,
    next_session: u64,
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

#[derive(Debug)]
struct Life {
    acceptor: Acceptor,
    forwarder: Forwarder<ForwardOpener, Catalogues>,
    status: Arc<ForwarderStatus>,
    tail: JournalTail,
    registry: Registry,
    sessions: BTreeMap<u64, (DeviceId, Outbox)>,
    held: Option<Inbound>,
    saved_s: u64,
    moved: bool,
}

#[derive(Clone, Debug)]
struct Dice(Chance);

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
    pub(super) fn new(seed: u64, journal_bytes: u64, planted: Option<Planted>) -> Self {
        let disk = Faulty::default();
        if planted == Some(Planted::AckBeforeFsync) {
            disk.lie_in("/data/journal".as_ref());
        }
        Self {
            disk,
            kept: None,
            sink: ModelSink::default(),
            life: None,
            up_at_s: 0,
            journal_bytes,
            clock_s: 0,
            entropy: Dice(Chance::new(seed, 2)),
            planted,
            inbox: VecDeque::new(),
            next_session: 1,
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

    fn now_ms(&self, now_s: u64) -> i64 {
        let now_s = i64::try_from(now_s).unwrap_or(0).saturating_add(self.clock_s);
        BEGIN_MS.saturating_add(now_s.saturating_mul(1000))
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
        if self.disk.is_off() {
            let seed = self.entropy.0.draw();
            self.disk.power_cycle(Leaves::Some(seed));
        } else {
            self.disk.restart();
        }
    }

    fn begin(&mut self) -> Result<Life, Box<dyn std::error::Error>> {
        let storage: SharedStorage = Arc::new(self.disk.clone());
        let database = state::open(&storage, &PathBuf::from("/data/state.redb"))?;
        let registry = Registry::open(database.clone(), WrappingKey::new([9; 32]))?;
        let catalogues = Catalogues::open(database.clone())?;
        let mut rings = Rings::open(database, RINGS_CACHED_MAX)?;
        let config = JournalConfig {
            segment_bytes: 64 << 10,
            bytes_max: self.journal_bytes,
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
        let tail = begun.journal.tail();
        let trusts = self.planted == Some(Planted::StaleCursorTrusted);
        let resume = self.sink.resume(&tail, trusts);
        let forwarder = Forwarder::open(
            &storage,
            ForwarderConfig::new("upstream", PathBuf::from("/data")),
            tail.clone(),
            (Box::new(self.sink.clone()), resume),
            (ForwardOpener::new(registry.clone()), catalogues.clone(), Policy::none()),
        )?;
        let acceptor = Acceptor::new(
            begun.journal,
            begun.rings,
            registry.clone(),
            catalogues,
            AcceptCounters::default(),
            self.entropy.bytes(),
        );
        Ok(Life {
            acceptor,
            status: forwarder.status(),
            forwarder,
            tail,
            registry,
            sessions: BTreeMap::new(),
            held: None,
            saved_s: 0,
            moved: true,
        })
    }

    /// Adds a device, while the agent runs.
    pub(super) fn add_device(&mut self, device: DeviceId) -> Option<Credentials> {
        let now_ms = self.now_ms(0);
        let registry = &self.life.as_ref()?.registry;
        registry.add(device, now_ms, &mut self.entropy).ok()
    }

    /// A new secret for a device, while the agent runs.
    pub(super) fn rotate(&mut self, device: DeviceId) -> Option<(Secret, Generation)> {
        let registry = &self.life.as_ref()?.registry;
        let rotated = registry.rotate(device, &mut self.entropy).ok()?;
        Some((rotated.secret, rotated.generation))
    }

    /// A session of a device begins; none if no agent answers.
    pub(super) fn open_session(&mut self, now_s: u64, device: DeviceId) -> Option<u64> {
        let now_ms = self.now_ms(now_s);
        let life = self.life.as_mut()?;
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

    /// The agent's machine loses its power.
    pub(super) fn cut(&mut self, leaves: u64, up_at_s: u64) {
        self.die(up_at_s);
        self.disk.power_cycle(Leaves::Some(leaves));
    }

    /// The agent is gone; the machine is not.
    pub(super) fn kill(&mut self, up_at_s: u64) {
        self.die(up_at_s);
        self.disk.restart();
    }

    fn die(&mut self, up_at_s: u64) {
        self.life = None;
        self.inbox.clear();
        self.up_at_s = up_at_s;
    }

    /// Stops in order.
    pub(super) fn stop(&mut self, now_s: u64, up_at_s: u64) {
        let now_ms = self.now_ms(now_s);
        if let Some(mut life) = self.life.take() {
            // What fails now costs time at the next start.
            drop(life.acceptor.commit(now_ms));
            drop(life.acceptor.checkpoint());
            life.forwarder.end(None);
        }
        self.inbox.clear();
        self.up_at_s = up_at_s;
    }

    /// The disk as it was when it was kept, in a machine that was off.
    pub(super) fn restore(&mut self, up_at_s: u64) {
        let Some(kept) = self.kept.take() else { return };
        self.die(up_at_s);
        kept.restart();
        self.disk = kept;
    }

    /// Does all that there is to do in this second: what it says to whom.
    pub(super) fn turn(&mut self, now_s: u64) -> Result<Vec<(u64, Said)>, Violation> {
        let now_ms = self.now_ms(now_s);
        let Self { life: Some(life), inbox, planted, full, .. } = self else {
            return Ok(Vec::new());
        };
        life.accept(now_ms, inbox, full);
        let said = life.hear();
        life.keep_house(now_s, *planted);
        life.forward(now_s)?;
        Ok(said)
    }

    /// Whether the sink has all that the journal has.
    pub(super) fn is_delivered(&self) -> bool {
        self.inbox.is_empty()
            && self.life.as_ref().is_some_and(|life| {
                life.held.is_none()
                    && life.status.ledger(&life.tail.ends()).buffered.is_zero()
                    && life.forwarder.is_between_batches()
            })
    }

    /// How it fares, for whoever finds it not at rest.
    pub(super) fn condition(&self) -> String {
        let Some(life) = &self.life else { return "no agent runs".to_owned() };
        let ledger = life.status.ledger(&life.tail.ends());
        let held = life.held.is_some();
        format!("held {held}, {:?}, {:?}", life.status.condition(), ledger.buffered)
    }
}

impl Life {
    /// As the agent's own driver does it: what cannot be taken now is held, and nothing after it.
    fn accept(&mut self, now_ms: i64, inbox: &mut VecDeque<Arriving>, full: &mut u64) {
        loop {
            let inbound = match self.held.take() {
                Some(held) => held,
                None => match inbox.pop_front() {
                    Some(arriving) => arriving.into(),
                    None => break,
                },
            };
            self.moved = true;
            let mut refused = self.acceptor.take(now_ms, inbound);
            if let Err(blocked) = &refused
                && matches!(blocked.reason, Blocked::Journal(AppendError::Pending))
            {
                drop(self.acceptor.commit(now_ms));
                refused = match refused {
                    Err(blocked) => self.acceptor.take(now_ms, blocked.inbound),
                    Ok(()) => Ok(()),
                };
            }
            if let Err(blocked) = refused {
                *full += u64::from(matches!(blocked.reason, Blocked::Journal(_)));
                self.held = Some(blocked.inbound);
                break;
            }
        }
        // What could not be written is tried again in the next second.
        drop(self.acceptor.commit(now_ms));
    }

    fn hear(&mut self) -> Vec<(u64, Said)> {
        let mut said = Vec::new();
        for (session, (_, out)) in &mut self.sessions {
            while let Some(outbound) = out.try_recv() {
                said.push((
                    *session,
                    match outbound {
                        Outbound::PubAck(packet) => Said::Taken(packet),
                        Outbound::Publish(channel, payload) => {
                            Said::Message(Message { channel, payload })
                        }
                        Outbound::Close => Said::Close,
                    },
                ));
            }
        }
        // Given up by the acceptor, which an intake passes on.
        let ended = self.sessions.extract_if(.., |_, (_, out)| out.is_closed());
        said.extend(ended.map(|(session, _)| (session, Said::Close)));
        said
    }

    fn keep_house(&mut self, now_s: u64, planted: Option<Planted>) {
        let every = if self.held.is_some() { 1 } else { CHECKPOINT_EVERY_S };
        if self.moved && !self.acceptor.is_waiting() && now_s >= self.saved_s + every {
            self.moved = self.acceptor.checkpoint().is_err();
            self.saved_s = now_s;
        }
        let floor: Positions = match planted {
            Some(Planted::CursorAfterUnlink) => self.tail.ends().positions,
            _ => self.status.keep_from(),
        };
        // Tried again in the next second.
        drop(self.acceptor.prune(&floor));
    }

    fn forward(&mut self, now_s: u64) -> Result<(), Violation> {
        for _ in 0..STEPS_MAX {
            let step = self.forwarder.step(Duration::from_secs(now_s), false);
            let ledger = self.status.ledger(&self.tail.ends());
            if !ledger.balanced() {
                return Err(Violation(format!("the ledger does not balance:\n{}", ledger.table())));
            }
            if step != Step::Again {
                break;
            }
        }
        Ok(())
    }
}

impl From<Arriving> for Inbound {
    fn from(arriving: Arriving) -> Self {
        let Arriving { session, device, message: Message { channel, payload }, packet } = arriving;
        let message = Told::Published { channel, payload, packet_id: Some(packet) };
        Self { session: SessionId(session), device, message, room: None }
    }
}
