//! An agent while it runs: what ships, driven as its own drivers do it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use agent::accept::{Acceptor, Blocked};
use agent::catalogues::Catalogues;
use agent::intake::outbox::Outbox;
use agent::intake::{Inbound, Message as Told, Outbound, SessionId};
use agent::journal::{AppendError, JournalTail, Positions};
use agent::registry::Registry;
use agent::rings::RingTable;
use agent::storage::SharedStorage;
use protocol::DeviceId;

use super::host::{Arriving, Said};
use super::network::Message;
use super::planted::Planted;
use super::sink::Running;
use super::slot::Slot;
use super::truth::Violation;

/// Messages that are taken between two commits: so few that no group is longer than a segment.
const GROUP_MAX: u32 = 24;
/// As the agent does it.
const CHECKPOINT_EVERY_S: u64 = 10;

/// A life of an agent.
#[derive(Debug)]
pub(super) struct Life {
    pub acceptor: Acceptor,
    pub registry: Registry,
    pub catalogues: Catalogues,
    pub ring_table: RingTable,
    pub storage: SharedStorage,
    pub tail: JournalTail,
    /// One for each sink of the host's, in their order.
    pub sinks: Vec<Running>,
    pub sessions: BTreeMap<u64, (DeviceId, Outbox)>,
    pub held: Option<Inbound>,
    pub saved_s: u64,
    pub moved: bool,
}

/// Where an agent keeps its own.
pub(super) fn data_dir() -> PathBuf {
    PathBuf::from("/data")
}

impl Life {
    /// As the agent's own driver does it: what cannot be taken now is held, and nothing after it.
    pub(super) fn accept(&mut self, now_ms: i64, inbox: &mut VecDeque<Arriving>, full: &mut u64) {
        for taken in 1_u32.. {
            if taken.is_multiple_of(GROUP_MAX) {
                drop(self.acceptor.commit(now_ms));
            }
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

    /// What it says to whom.
    pub(super) fn hear(&mut self) -> Vec<(u64, Said)> {
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

    /// Up to where no sink needs the journal; as the agent's own.
    fn floor(&self, now_s: u64, slots: &[Slot]) -> Positions {
        let is_full = self.held.is_some();
        let may_lose = |at: usize| at > 0 && is_full && slots.get(at).is_some_and(|s| s.may_lose);
        let counted = self.sinks.iter().enumerate().filter_map(|(at, sink)| {
            if may_lose(at) { sink.keep_when_full(now_s) } else { Some(sink.keep_from()) }
        });
        counted.reduce(|one, other| one.min(&other)).unwrap_or_default()
    }

    pub(super) fn keep_house(&mut self, now_s: u64, slots: &[Slot], planted: Option<Planted>) {
        let every = if self.held.is_some() { 1 } else { CHECKPOINT_EVERY_S };
        if self.moved && !self.acceptor.is_waiting() && now_s >= self.saved_s + every {
            self.moved = self.acceptor.checkpoint().is_err();
            self.saved_s = now_s;
        }
        let floor = match planted {
            Some(Planted::CursorAfterUnlink) => self.tail.ends().positions,
            _ => self.floor(now_s, slots),
        };
        // Tried again in the next second.
        drop(self.acceptor.prune(&floor));
    }

    /// Lets every sink have what there is; one that is not open is tried again now and then.
    pub(super) fn forward(
        &mut self,
        now_s: u64,
        slots: &[Slot],
        (drops, trusts): (u16, bool),
    ) -> Result<(), Violation> {
        for at in 0..self.sinks.len() {
            let Some(slot) = slots.get(at) else { continue };
            if self.sinks.get(at).is_some_and(|sink| sink.is_to_open(now_s)) {
                let opened = slot.open(self, drops, trusts);
                if let Some(sink) = self.sinks.get_mut(at) {
                    sink.opened(now_s, opened);
                }
            }
            if let Some(sink) = self.sinks.get_mut(at) {
                sink.step(now_s, &self.tail, slot)?;
            }
        }
        Ok(())
    }

    /// Whether every sink has all that the journal has.
    pub(super) fn is_delivered(&self) -> bool {
        self.held.is_none() && self.sinks.iter().all(|sink| sink.is_delivered(&self.tail))
    }

    /// Stops in order.
    pub(super) fn stop(mut self, now_ms: i64) {
        // What fails now costs time at the next start.
        drop(self.acceptor.commit(now_ms));
        drop(self.acceptor.checkpoint());
        self.sinks.iter_mut().for_each(Running::end);
    }

    /// How it fares, for whoever finds it not at rest.
    pub(super) fn condition(&self) -> String {
        let sinks: Vec<String> = self.sinks.iter().map(|sink| sink.condition(&self.tail)).collect();
        let (held, bytes) = (self.held.is_some(), self.acceptor.journal_bytes());
        format!("held {held}, {bytes} bytes of journal, {}", sinks.join(", "))
    }
}

impl From<Arriving> for Inbound {
    fn from(arriving: Arriving) -> Self {
        let Arriving { session, device, message: Message { channel, payload }, packet } = arriving;
        let message = Told::Published { channel, payload, packet_id: Some(packet) };
        Self { session: SessionId(session), device, message, room: None }
    }
}

/// Kept apart from the agent's own disk: a sink's files.
pub(super) fn sinks_dir(storage: &str) -> PathBuf {
    PathBuf::from("/sinks").join(storage)
}

/// A disk as the agent knows it.
pub(super) fn shared(disk: &agent::storage::faulty::Faulty) -> SharedStorage {
    Arc::new(disk.clone())
}
