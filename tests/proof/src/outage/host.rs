//! The agent's cores on real files, driven as its own threads drive them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::accept::{AcceptCounters, Acceptor, Begun, Blocked};
use agent::catalogues::Catalogues;
use agent::forward::{ForwardOpener, Forwarder, ForwarderConfig, ForwarderStatus, Step};
use agent::intake::outbox::{Outbox, outbox};
use agent::intake::{Inbound, Message, Outbound, SessionId};
use agent::journal::{AppendError, JournalConfig, JournalTail, Positions};
use agent::privacy::Policy;
use agent::registry::{OsEntropy, Registry};
use agent::rings::Rings;
use agent::sink::Resume;
use agent::state;
use agent::storage::{Disk, SharedStorage};
use protocol::DeviceId;
use protocol::topic::Channel;

use super::planted::Planted;
use super::sink::{PipeSink, Upstreams, lock};
use super::wire::{Begin, Book, Told, Turn, Turned, Uplink, What};
use crate::light::{LANE, Shape, catalogue, name};

/// 2026-11-21T07:00:00Z in milliseconds: when virtual time begins.
const BEGIN_MS: i64 = 1_795_244_400_000;
/// As the agent has it: messages between intakes and acceptor.
const INBOUND_MAX: usize = 1024;
/// As the agent has it: messages that wait for a session.
const OUTBOX_MAX: usize = 64;
/// As the agent has it.
const RINGS_CACHED_MAX: usize = 65_536;
/// As the agent does it.
const CHECKPOINT_EVERY_S: u64 = 10;
/// Batches that a forwarder offers in a turn: bounds what is told to the oracle at once.
const STEPS_MAX: u32 = 8;
/// Devices that are registered at once.
const ADDED_MAX: usize = 1000;

/// Why it cannot go on.
type Fault = Box<dyn std::error::Error>;

/// The agent.
#[derive(Debug)]
pub(super) struct Host {
    acceptor: Acceptor,
    forwarders: Vec<(Forwarder<ForwardOpener, Catalogues>, Arc<ForwarderStatus>)>,
    tail: JournalTail,
    upstreams: Arc<Mutex<Upstreams>>,
    sessions: HashMap<u64, Outbox>,
    inbox: VecDeque<Uplink>,
    held: Option<Inbound>,
    saved_s: u64,
    moved: bool,
    planted: Option<Planted>,
    packet: u16,
}

impl Host {
    /// Starts on an empty directory; the devices' secrets.
    pub(super) fn begin(begin: &Begin) -> Result<(Self, Vec<[u8; 32]>), Fault> {
        let dir = begin.dir.as_path();
        let storage: SharedStorage = Arc::new(Disk);
        let database = state::open(&storage, &dir.join(state::FILE_NAME))?;
        let key = dir.join("registry.key");
        let registry = Registry::open_with_key_file(database.clone(), &key, &mut OsEntropy)?;
        let secrets = add_devices(&registry, begin.devices)?;
        let catalogues = Catalogues::open(database.clone())?;
        catalogues.learn(&catalogue())?;
        let rings = Rings::open(database, RINGS_CACHED_MAX)?;
        let ring_table = rings.table();
        let config = JournalConfig {
            segment_bytes: JournalConfig::SEGMENT_BYTES.min(begin.journal_bytes / 32),
            bytes_max: begin.journal_bytes,
            ..JournalConfig::new(dir.join("journal"))
        };
        let begun = Begun::open(&storage, config, ([7; 16], 7), rings)?;
        let tail = begun.journal.tail();
        let upstreams = Upstreams::new(Shape { ticks: begin.ticks }, begin.planted);
        let upstreams = Arc::new(Mutex::new(upstreams));
        let mut forwarders = Vec::new();
        for number in 0..begin.sinks {
            let sink = PipeSink::new(number, &upstreams);
            let forwarder = Forwarder::open(
                &storage,
                ForwarderConfig::new(&format!("sink{number}"), dir.to_owned()),
                tail.clone(),
                (Box::new(sink), Resume::Fresh),
                (
                    ForwardOpener::new(registry.clone(), ring_table.clone()),
                    catalogues.clone(),
                    Box::new(ring_table.clone()),
                    Policy::none(),
                ),
            )?;
            let status = forwarder.status();
            forwarders.push((forwarder, status));
        }
        let counters = AcceptCounters::default();
        let acceptor =
            Acceptor::new(begun.journal, begun.rings, registry, catalogues, counters, [3; 16]);
        let host = Self {
            acceptor,
            forwarders,
            tail,
            upstreams,
            sessions: HashMap::new(),
            inbox: VecDeque::new(),
            held: None,
            saved_s: 0,
            moved: true,
            planted: begin.planted,
            packet: 0,
        };
        Ok((host, secrets))
    }

    /// Does all that there is to do now.
    pub(super) fn turn(&mut self, turn: Turn) -> Result<Turned, Fault> {
        let Turn { now_s, sinks_up, uplinks } = turn;
        let now_ms = BEGIN_MS.saturating_add_unsigned(now_s.saturating_mul(1000));
        lock(&self.upstreams).switch(sinks_up);
        self.inbox.extend(uplinks);
        let heard = self.accept(now_ms)?;
        let told = self.hear(&heard);
        self.keep_house(now_s)?;
        self.forward(now_s);
        let mut upstreams = lock(&self.upstreams);
        if let Some(wrong) = upstreams.wrong.take() {
            return Err(format!("a sink was given {wrong}").into());
        }
        let delivered = std::mem::take(&mut upstreams.delivered);
        drop(upstreams);
        Ok(Turned {
            room: self.room(),
            told,
            delivered,
            is_blocked: self.held.is_some(),
            journal_bytes: self.acceptor.journal_bytes(),
            books: self.books(),
        })
    }

    fn room(&self) -> usize {
        match self.planted {
            Some(Planted::QueueUnbounded) => INBOUND_MAX,
            _ => INBOUND_MAX.saturating_sub(self.inbox.len()),
        }
    }

    /// What cannot be taken now is held, and nothing after it. Whom there may be something to tell.
    fn accept(&mut self, now_ms: i64) -> Result<Vec<u64>, Fault> {
        let mut heard = Vec::new();
        loop {
            let inbound = match self.held.take() {
                Some(held) => held,
                None => match self.inbox.pop_front() {
                    Some(uplink) => self.inbound(uplink)?,
                    None => break,
                },
            };
            let session = inbound.session.0;
            let mut taken = self.acceptor.take(now_ms, inbound);
            if let Err(refused) = &taken
                && matches!(refused.reason, Blocked::Journal(AppendError::Pending))
            {
                self.acceptor.commit(now_ms)?;
                taken = match taken {
                    Err(refused) => self.acceptor.take(now_ms, refused.inbound),
                    Ok(()) => Ok(()),
                };
            }
            match taken {
                Ok(()) => {
                    self.moved = true;
                    heard.push(session);
                }
                Err(refused) if matches!(refused.reason, Blocked::Journal(AppendError::Full)) => {
                    self.held = Some(refused.inbound);
                    break;
                }
                Err(refused) => return Err(refused.reason.into()),
            }
        }
        self.acceptor.commit(now_ms)?;
        heard.sort_unstable();
        heard.dedup();
        Ok(heard)
    }

    fn inbound(&mut self, uplink: Uplink) -> Result<Inbound, Fault> {
        let Uplink { device, session, what } = uplink;
        let device = name(device).ok_or("no such name")?;
        let publish = |channel, payload, packet: u16| Message::Published {
            channel,
            payload,
            packet_id: Some(packet),
        };
        let message = match what {
            What::Opened => {
                let (sender, out) = outbox(OUTBOX_MAX);
                self.sessions.insert(session, out);
                Message::Opened(sender.into())
            }
            What::Closed => {
                self.sessions.remove(&session);
                Message::Closed
            }
            What::Hello(payload) => publish(Channel::Hello, payload, self.next_packet()),
            What::Frame(payload) => publish(Channel::Frames(LANE), payload, self.next_packet()),
        };
        Ok(Inbound { session: SessionId(session), device, message, room: None })
    }

    fn next_packet(&mut self) -> u16 {
        self.packet = self.packet.checked_add(1).unwrap_or(1);
        self.packet
    }

    fn hear(&mut self, heard: &[u64]) -> Vec<(u64, Told)> {
        let mut told = Vec::new();
        for session in heard {
            let Some(out) = self.sessions.get_mut(session) else { continue };
            while let Some(outbound) = out.try_recv() {
                match outbound {
                    Outbound::PubAck(_) => told.push((*session, Told::PubAck)),
                    Outbound::Publish(Channel::Ack, payload) => {
                        told.push((*session, Told::Ack(payload)));
                    }
                    Outbound::Publish(..) => {}
                    Outbound::Close => told.push((*session, Told::Close)),
                }
            }
            // Given up by the acceptor.
            if out.is_closed() {
                told.push((*session, Told::Close));
            }
        }
        told
    }

    fn keep_house(&mut self, now_s: u64) -> Result<(), Fault> {
        let due = now_s >= self.saved_s + CHECKPOINT_EVERY_S || self.held.is_some();
        if self.moved && due && !self.acceptor.is_waiting() {
            self.acceptor.checkpoint()?;
            self.moved = false;
            self.saved_s = now_s;
        }
        let floors = self.forwarders.iter().map(|(_, status)| status.keep_from());
        let floor: Option<Positions> = floors.reduce(|one, other| one.min(&other));
        self.acceptor.prune(&floor.unwrap_or_default())?;
        Ok(())
    }

    fn forward(&mut self, now_s: u64) {
        for (forwarder, _) in &mut self.forwarders {
            for _ in 0..STEPS_MAX {
                if forwarder.step(Duration::from_secs(now_s), false) != Step::Again {
                    break;
                }
            }
        }
    }

    fn books(&self) -> Vec<Book> {
        let ends = self.tail.ends();
        let book = |(forwarder, status): &(Forwarder<_, _>, Arc<ForwarderStatus>)| {
            let ledger = status.ledger(&ends);
            Book {
                accepted: ledger.accepted.samples,
                delivered: ledger.delivered.samples,
                buffered: ledger.buffered.samples,
                lost: ledger.lost.samples,
                is_at_rest: forwarder.is_between_batches(),
                balances: ledger.balanced(),
            }
        };
        self.forwarders.iter().map(book).collect()
    }
}

fn add_devices(registry: &Registry, devices: u32) -> Result<Vec<[u8; 32]>, Fault> {
    let names: Option<Vec<DeviceId>> = (0..devices).map(name).collect();
    let mut secrets = Vec::new();
    for names in names.ok_or("too many devices")?.chunks(ADDED_MAX) {
        let added = registry.add_all(names, BEGIN_MS, &mut OsEntropy)?;
        secrets.extend(added.iter().map(|credentials| *credentials.secret.expose()));
    }
    Ok(secrets)
}
