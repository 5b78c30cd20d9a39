//! The acceptor: the one owner of watermarks and of the journal's pen.
//!
//! What an intake hands over is opened, judged against its ring's watermark and put into the
//! journal; after the group commit, and only then, everything that was waiting for it goes out:
//! PUBACKs, which pace, and acknowledgements, which free (I1). [`Acceptor`] is a plain state
//! machine; [`driver`] gives it a thread, a clock and a queue.

use std::collections::HashMap;
use std::io;

use protocol::ack::{ACK_LEN_MAX, Ack};
use protocol::downlink::{DOWNLINK_LEN_MAX, Downlink, Envelope, Welcome};
use protocol::frame::{self, Binding, Body};
use protocol::hello::{Challenge, Hello, RingState};
use protocol::keys::{AckKey, ack_key, hello_key};
use protocol::loss::LossReason;
use protocol::record::Record;
use protocol::topic::Channel;
use protocol::{Counts, DeviceId, FrameTag, Generation, Lane, Loss, RingId};
use tokio::sync::mpsc;

use crate::catalogues::{Catalogues, LearnError};
use crate::dedup::{Verdict, Watermark};
use crate::intake::{Inbound, Message, Outbound, SessionId};
use crate::journal::{
    AppendError, CommitError, Entry, EntryKind, Journal, JournalCursor, Positions,
};
use crate::open::{OpenError, Opener, Purpose};
use crate::registry::{Registry, RegistryError};
use crate::rings::{Ring, Rings, RingsError};

mod counters;
pub mod driver;

pub use counters::AcceptCounters;

#[cfg(test)]
mod tests;

/// The acceptor's state.
#[derive(Debug)]
pub struct Acceptor {
    journal: Journal,
    rings: Rings,
    opener: Opener,
    registry: Registry,
    catalogues: Catalogues,
    counters: AcceptCounters,
    sessions: HashMap<SessionId, Session>,
    /// Sessions with something to say after the next commit.
    waiting: Vec<SessionId>,
    /// Drawn at each start: with it every downlink key is new.
    downlink_salt: [u8; 16],
    downlinks: u64,
    /// Up to where the checkpoint has the journal: what lies below may be pruned, what lies above
    /// is the only memory of its watermarks.
    saved: Positions,
    /// Devices that said hello since the last checkpoint, and when.
    seen: HashMap<DeviceId, i64>,
    /// Reused for each frame that is opened.
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Session {
    device: DeviceId,
    out: mpsc::Sender<Outbound>,
    lanes: [Option<LaneSession>; 3],
    generation: Generation,
    pubacks: Vec<u16>,
    /// A hello to be answered.
    hello: Option<HelloAnswer>,
}

/// The ring that a session said it sends on a lane.
#[derive(Debug)]
struct LaneSession {
    ring: RingId,
    key: AckKey,
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Answer {
    None,
    Ack,
    /// And go back: something was missing.
    Repeat,
}

#[derive(Debug)]
struct HelloAnswer {
    challenge: Challenge,
    uptime_ms: u64,
    wants_catalogue: bool,
}

/// Why a message could not be taken now; nothing is wrong with it. Hand it in again later.
#[derive(Debug, thiserror::Error)]
pub enum Blocked {
    /// The journal has no room: the primary sink is behind, or the disk is full.
    #[error(transparent)]
    Journal(#[from] AppendError),
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The ring table cannot be read.
    #[error(transparent)]
    Rings(#[from] RingsError),
    /// A catalogue cannot be stored: without it the device's samples could not be read.
    #[error("cannot store a signal catalogue: {0}")]
    Catalogues(Box<redb::Error>),
}

/// A message handed back untouched.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub reason: Blocked,
    /// The message.
    pub inbound: Inbound,
}

/// What a frame came to.
enum Taken {
    Yes,
    Duplicate,
    Ahead,
}

impl Acceptor {
    /// Takes over what it owns. `downlink_salt` must be fresh randomness.
    pub fn new(
        journal: Journal,
        rings: Rings,
        registry: Registry,
        catalogues: Catalogues,
        counters: AcceptCounters,
        downlink_salt: [u8; 16],
    ) -> Self {
        Self {
            journal,
            rings,
            opener: Opener::new(registry.clone(), Purpose::Accept),
            registry,
            catalogues,
            counters,
            sessions: HashMap::new(),
            waiting: Vec::new(),
            downlink_salt,
            downlinks: 0,
            saved: Positions::default(),
            seen: HashMap::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes one message. `Err`: not now; the message is handed back untouched.
    pub fn take(&mut self, now_ms: i64, inbound: Inbound) -> Result<(), Box<Refused>> {
        let Inbound { session, device, message, room } = inbound;
        match message {
            Message::Opened(out) => {
                let state = Session {
                    device,
                    out,
                    lanes: [None, None, None],
                    generation: Generation::FIRST,
                    pubacks: Vec::new(),
                    hello: None,
                };
                self.sessions.insert(session, state);
            }
            Message::Closed => {
                self.sessions.remove(&session);
            }
            Message::Published { channel, payload, packet_id } => {
                if let Err(reason) = self.published(now_ms, session, device, channel, &payload) {
                    let message = Message::Published { channel, payload, packet_id };
                    let inbound = Inbound { session, device, message, room };
                    return Err(Box::new(Refused { reason, inbound }));
                }
                if let (Some(id), Some(state)) = (packet_id, self.sessions.get_mut(&session)) {
                    state.pubacks.push(id);
                    self.waiting.push(session);
                }
            }
        }
        Ok(())
    }

    /// Makes durable what was taken, then says so to everyone concerned. On an error nothing is
    /// said: call again.
    pub fn commit(&mut self, now_ms: i64) -> Result<(), CommitError> {
        self.journal.commit()?;
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_unstable();
        waiting.dedup();
        for id in waiting.drain(..) {
            if self.answer(now_ms, id).is_none() {
                // Too slow, or gone: the device comes back and starts from its hello.
                self.sessions.remove(&id);
            }
        }
        self.waiting = waiting;
        Ok(())
    }

    /// Whether a commit would say or write anything.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes the watermarks' checkpoint, and who was heard of; everything taken must be committed.
    pub fn checkpoint(&mut self) -> Result<(), RingsError> {
        let ends = self.journal.ends();
        let cursor = JournalCursor {
            journal: self.journal.id(),
            epoch: self.journal.epoch(),
            positions: ends.positions,
            totals: ends.totals,
        };
        self.rings.save(&cursor)?;
        self.saved = cursor.positions;
        let seen: Vec<(DeviceId, i64)> = self.seen.drain().collect();
        if let Err(error) = self.registry.seen(&seen) {
            tracing::warn!(%error, "cannot note when devices were last heard of");
        }
        Ok(())
    }

    /// Closes a device's sessions and forgets its keys: it was revoked, rotated or removed.
    pub fn forget(&mut self, device: &DeviceId) {
        self.opener.forget(device);
        for session in self.sessions.values().filter(|session| session.device == *device) {
            // If its queue is full it is being closed anyway.
            drop(session.out.try_send(Outbound::Close));
        }
    }

    /// Removes journal segments that lie below `floor`, where no sink needs them any more, and that
    /// the checkpoint has.
    pub fn prune(&mut self, floor: &Positions) -> io::Result<()> {
        self.journal.prune(&floor.min(&self.saved))
    }

    /// Bytes of the journal's files.
    pub fn journal_bytes(&self) -> u64 {
        self.journal.usage_bytes()
    }

    /// The rings, to sum up.
    pub fn rings(&self) -> &Rings {
        &self.rings
    }

    /// The counters.
    pub fn counters(&self) -> &AcceptCounters {
        &self.counters
    }

    fn published(
        &mut self,
        now_ms: i64,
        id: SessionId,
        device: DeviceId,
        channel: Channel,
        payload: &[u8],
    ) -> Result<(), Blocked> {
        match channel {
            Channel::Frames(lane) => self.frame(now_ms, id, device, lane, payload),
            Channel::Hello => self.hello(now_ms, id, device, payload),
            Channel::Ack | Channel::Downlink => Ok(()),
        }
    }

    /// A hello: which rings this session sends, what of them is gone, what the device wants to hear.
    fn hello(
        &mut self,
        now_ms: i64,
        id: SessionId,
        device: DeviceId,
        payload: &[u8],
    ) -> Result<(), Blocked> {
        let Ok(generation) = Hello::generation(payload) else {
            self.counters.rejected_malformed.add(1);
            return Ok(());
        };
        let Some(secret) = self.registry.secret(device, generation)? else {
            self.counters.rejected_key.add(1);
            return Ok(());
        };
        self.scratch.clear();
        self.scratch.extend_from_slice(payload);
        let key = hello_key(&secret, &device, generation);
        let hello = match Hello::open(&key, &device, &mut self.scratch) {
            Ok(hello) => hello,
            Err(error) => {
                self.counters.reject(error);
                return Ok(());
            }
        };
        let mut owned = [false; 3];
        for ring in &hello.rings {
            if let Some(owned) = owned.get_mut(ring.lane.index()) {
                *owned = self.account_gap(now_ms, device, ring)?;
            }
        }
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        session.generation = generation;
        for ring in &hello.rings {
            let key = ack_key(&secret, &device, &ring.ring, generation);
            let index = ring.lane.index();
            if let (Some(lane), Some(true)) = (session.lanes.get_mut(index), owned.get(index)) {
                *lane = Some(LaneSession { ring: ring.ring, key, answer: Answer::Ack });
            }
        }
        session.hello = Some(HelloAnswer {
            challenge: hello.challenge,
            uptime_ms: hello.time.uptime_ms,
            wants_catalogue: self.catalogues.get(hello.catalogue).is_none(),
        });
        self.waiting.push(id);
        self.seen.insert(device, now_ms);
        self.counters.hellos.add(1);
        Ok(())
    }

    /// What a device no longer has and this agent never saw is written down as such, exactly, by
    /// the cumulative counts. Whether the ring is this device's.
    fn account_gap(
        &mut self,
        now_ms: i64,
        device: DeviceId,
        said: &RingState,
    ) -> Result<bool, Blocked> {
        let mut ring = match self.rings.get(&said.ring)? {
            Some(ring) if ring.device == device && ring.lane == said.lane => ring,
            Some(_) => {
                // Someone else's ring: 128 random bits do not meet by chance.
                self.counters.rejected_ring.add(1);
                return Ok(false);
            }
            None => Ring {
                device,
                lane: said.lane,
                watermark: Watermark::default(),
                declared: Counts::ZERO,
            },
        };
        ring.declared = said.before_next;
        if let Some((last, lost)) =
            ring.watermark.gap_before(said.first_retained, said.before_first)
        {
            let elsewhere = said.acknowledged >= last;
            let loss = Loss {
                first: ring.watermark.durable.next(),
                last,
                through: ring.watermark.through + lost,
                reason: if elsewhere {
                    LossReason::AcknowledgedElsewhere
                } else {
                    LossReason::Unexplained
                },
                time: protocol::DeviceTime::default(),
            };
            let payload = postcard::to_extend(&loss, Vec::new()).unwrap_or_default();
            let entry = Entry {
                kind: EntryKind::Gap,
                received_ms: now_ms,
                device,
                ring: said.ring,
                seq: last,
                adds: lost,
                through: loss.through,
                payload: &payload,
            };
            self.journal.append(said.lane, &entry)?;
            ring.watermark.advance(last, FrameTag::default(), lost);
            self.counters.gaps.add(1);
            tracing::warn!(
                %device, lane = %said.lane, first = %loss.first, %last,
                samples = lost.samples, events = lost.events, reason = loss.reason.name(),
                "frames are gone from a device without having been seen here"
            );
        }
        self.rings.put(said.ring, ring);
        Ok(true)
    }

    fn frame(
        &mut self,
        now_ms: i64,
        id: SessionId,
        device: DeviceId,
        lane: Lane,
        payload: &[u8],
    ) -> Result<(), Blocked> {
        let ring =
            self.sessions.get(&id).and_then(|session| session.lanes.get(lane.index())?.as_ref());
        let Some(ring) = ring.map(|lane| lane.ring) else {
            self.counters.rejected_before_hello.add(1);
            return Ok(());
        };
        let answer = match self.take_frame(now_ms, Binding { device, ring, lane }, payload)? {
            Some(Taken::Yes | Taken::Duplicate) => Answer::Ack,
            Some(Taken::Ahead) => Answer::Repeat,
            None => return Ok(()),
        };
        let session = self.sessions.get_mut(&id);
        if let Some(lane) =
            session.and_then(|session| session.lanes.get_mut(lane.index())?.as_mut())
        {
            lane.answer = lane.answer.max(answer);
            self.waiting.push(id);
        }
        Ok(())
    }

    /// Opens a frame, judges it, writes it down as it came. `None`: rejected and counted.
    fn take_frame(
        &mut self,
        now_ms: i64,
        binding: Binding,
        payload: &[u8],
    ) -> Result<Option<Taken>, Blocked> {
        self.scratch.clear();
        self.scratch.extend_from_slice(payload);
        let (header, body) = match self.opener.open(&binding, &mut self.scratch) {
            Ok(opened) => opened,
            Err(OpenError::Registry(error)) => return Err(error.into()),
            Err(OpenError::NoSecret) => {
                self.counters.rejected_key.add(1);
                return Ok(None);
            }
            Err(OpenError::Frame(error)) => {
                self.counters.reject(error);
                return Ok(None);
            }
        };
        let Some(mut ring) =
            self.rings.get(&binding.ring)?.filter(|ring| ring.device == binding.device)
        else {
            self.counters.rejected_ring.add(1);
            return Ok(None);
        };
        // What does not read as it should is authentic all the same: it is kept, acknowledged, and
        // goes to the dead letters when it is forwarded.
        let body = Body::read(header.kind, body).map(|(body, _)| body);
        let verdict = match &body {
            Ok(Body::Loss(loss)) => ring.watermark.judge_loss(header.seq, loss),
            Ok(body) => ring.watermark.judge(header.seq, body.counts()),
            Err(_) => ring.watermark.judge(header.seq, Counts::ZERO),
        };
        let adds = match verdict {
            Verdict::Next(adds) => adds,
            Verdict::Duplicate => {
                self.counters.duplicates.add(1);
                return Ok(Some(Taken::Duplicate));
            }
            Verdict::Ahead => {
                self.counters.ahead.add(1);
                return Ok(Some(Taken::Ahead));
            }
        };
        if let Ok(Body::Records(records)) = body {
            for record in records.flatten() {
                if let Record::Catalogue(encoded) = record {
                    learn(&self.catalogues, &self.counters, &binding.device, encoded)?;
                }
            }
        }
        ring.watermark.advance(header.seq, frame::tag_of(payload), adds);
        let entry = Entry {
            kind: EntryKind::Frame,
            received_ms: now_ms,
            device: binding.device,
            ring: binding.ring,
            seq: header.seq,
            adds,
            through: ring.watermark.through,
            payload,
        };
        self.journal.append(binding.lane, &entry)?;
        self.rings.put(binding.ring, ring);
        self.counters.accepted(binding.lane, payload.len(), adds);
        Ok(Some(Taken::Yes))
    }

    /// Says to a session what is now durable. `None`: it is not listening.
    fn answer(&mut self, now_ms: i64, id: SessionId) -> Option<()> {
        let session = self.sessions.get_mut(&id)?;
        for packet_id in session.pubacks.drain(..) {
            session.out.try_send(Outbound::PubAck(packet_id)).ok()?;
        }
        for (lane, state) in Lane::ALL.into_iter().zip(&mut session.lanes) {
            let Some(state) = state else { continue };
            let answer = std::mem::replace(&mut state.answer, Answer::None);
            if answer == Answer::None {
                continue;
            }
            let watermark = self.rings.get(&state.ring).ok().flatten()?.watermark;
            let ack = Ack {
                generation: session.generation,
                lane,
                durable: watermark.durable,
                tag: watermark.tag,
                instance: self.journal.instance(),
                repeat: answer == Answer::Repeat,
            };
            let mut bytes = [0; ACK_LEN_MAX];
            let len = ack.seal(&state.key, &session.device, &state.ring, &mut bytes);
            let payload = bytes.get(..len)?.to_vec();
            session.out.try_send(Outbound::Publish(Channel::Ack, payload)).ok()?;
        }
        let Some(hello) = session.hello.take() else { return Some(()) };
        let secret = self.registry.secret(session.device, session.generation).ok().flatten()?;
        let envelope = Envelope {
            generation: session.generation,
            salt: self.downlink_salt,
            number: self.downlinks,
        };
        self.downlinks += 1;
        let welcome = Downlink::Welcome(Welcome {
            unix_ms: now_ms,
            hello_uptime_ms: hello.uptime_ms,
            wants_catalogue: hello.wants_catalogue,
        });
        let mut bytes = [0; DOWNLINK_LEN_MAX];
        let len =
            envelope.seal(&secret, &session.device, &hello.challenge, &welcome, &mut bytes).ok()?;
        let payload = bytes.get(..len)?.to_vec();
        session.out.try_send(Outbound::Publish(Channel::Downlink, payload)).ok()
    }
}

fn learn(
    catalogues: &Catalogues,
    counters: &AcceptCounters,
    device: &DeviceId,
    encoded: &[u8],
) -> Result<(), Blocked> {
    match catalogues.learn(encoded) {
        Ok(true) => tracing::info!(%device, "learnt a signal catalogue"),
        Ok(false) => {}
        Err(LearnError::Database(error)) => return Err(Blocked::Catalogues(error)),
        Err(error) => {
            // The frame is kept; what needs the catalogue is parked by the forwarder.
            counters.catalogues_refused.add(1);
            tracing::warn!(%device, %error, "a signal catalogue was not taken");
        }
    }
    Ok(())
}

/// Brings the rings up to date with one journal entry, at a start.
pub fn replay(rings: &mut Rings, lane: Lane, entry: &Entry<'_>) -> Result<(), RingsError> {
    let known = rings.get(&entry.ring)?;
    if known.is_some_and(|ring| ring.watermark.durable >= entry.seq) {
        return Ok(());
    }
    let tag = match entry.kind {
        EntryKind::Frame => frame::tag_of(entry.payload),
        EntryKind::Gap => FrameTag::default(),
    };
    let watermark = Watermark { durable: entry.seq, tag, through: entry.through };
    let declared = known.map_or(Counts::ZERO, |ring| ring.declared);
    rings.put(entry.ring, Ring { device: entry.device, lane, watermark, declared });
    Ok(())
}

/// From where a start must read the journal again: where the ring table's checkpoint stands, if it
/// is of this journal.
pub fn replay_from(
    checkpoint: Option<JournalCursor>,
    valid: impl FnOnce(&JournalCursor) -> bool,
) -> crate::journal::Positions {
    checkpoint.filter(|cursor| valid(cursor)).map(|cursor| cursor.positions).unwrap_or_default()
}
