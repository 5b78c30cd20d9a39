//! The acceptor: the one owner of watermarks and of the journal's pen.
//!
//! What an intake hands over is opened, judged against its ring's watermark and put into the
//! journal; after the group commit, and only then, everything that was waiting for it goes out:
//! PUBACKs, which pace, and acknowledgements, which free (I1). [`Acceptor`] is a plain state
//! machine; [`driver`] gives it a thread, a clock and a queue.

use std::collections::HashMap;
use std::io;

use protocol::frame::{self, Binding, Body, FrameError, compact};
use protocol::record::Record;
use protocol::topic::Channel;
use protocol::{Counts, DeviceId, Generation, Lane, RingId, Seq};

use crate::catalogues::{Catalogues, LearnError};
use crate::dedup::Verdict;
use crate::intake::{Inbound, Message, Outbound, SessionId};
use crate::journal::{
    AppendError, CommitError, Entry, EntryKind, Journal, JournalCursor, Positions,
};
use crate::open::{OpenError, Opener, Purpose};
use crate::registry::{Registry, RegistryError};
use crate::rings::{Rings, RingsError};

mod begin;
mod counters;
mod session;
mod hello;
mod replay;
pub mod driver;

pub use begin::{BeginError, Begun};
pub use counters::AcceptCounters;
pub use replay::{replay, replay_from};

use session::{Answer, Session, Unanswered};

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
    /// Reused for each frame that came with a compact header: as it is kept.
    restored: Vec<u8>,
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

/// Why a checkpoint was not written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Resource: the journal.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Resource: the ring table.
    #[error(transparent)]
    Rings(#[from] RingsError),
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
            restored: Vec::new(),
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
                    context: None,
                    pubacks: Vec::new(),
                    hello: None,
                };
                self.sessions.insert(session, state);
                self.counters.activity.opened(device);
            }
            Message::Closed => {
                self.sessions.remove(&session);
                self.counters.activity.closed(device);
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
        if !self.waiting.is_empty() {
            self.counters.commits.add(1);
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_unstable();
        waiting.dedup();
        for id in waiting.drain(..) {
            if let Err(why) = self.answer(now_ms, id) {
                self.end(id, why);
            }
        }
        self.waiting = waiting;
        Ok(())
    }

    /// Ends a session that was not told everything: its device comes back and starts from its hello.
    fn end(&mut self, id: SessionId, why: Unanswered) {
        let Some(session) = self.sessions.get(&id) else { return };
        // Its messages on their way here still want their PUBACKs: dropped now, it would cost all
        // devices behind the same broker their connection, since those go out in order.
        let is_ending = why == Unanswered::Unknown
            && session.out.is_shared()
            && session.out.say(Outbound::Close).is_ok();
        if !is_ending {
            self.sessions.remove(&id);
        }
    }

    /// Whether a commit would say or write anything.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes the watermarks' checkpoint, and who was heard of.
    ///
    /// Fails if the journal cannot take what was taken: the watermarks have it, and written down
    /// without it they would have it acknowledged by the next start.
    pub fn checkpoint(&mut self) -> Result<(), CheckpointError> {
        self.journal.commit()?;
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
            session.out.say(Outbound::Close).ok();
        }
    }

    /// Takes a device's name off its rings, durably; how many there were. Its secret must be gone.
    pub fn erase(&mut self, now_ms: i64, device: &DeviceId) -> Result<usize, CheckpointError> {
        self.forget(device);
        self.seen.remove(device);
        // A start reads the journal from the checkpoint on: what it would bring back lies behind.
        self.commit(now_ms)?;
        let rings = self.rings.disown(*device)?;
        self.checkpoint()?;
        Ok(rings)
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

    fn frame(
        &mut self,
        now_ms: i64,
        id: SessionId,
        device: DeviceId,
        lane: Lane,
        payload: &[u8],
    ) -> Result<(), Blocked> {
        let said = self.sessions.get(&id).and_then(|session| {
            let lane = session.lanes.get(lane.index())?.as_ref()?;
            Some((lane.ring, session.context?))
        });
        let Some((ring, context)) = said else {
            self.counters.rejected_before_hello.add(1);
            return Ok(());
        };
        let binding = Binding { device, ring, lane };
        let mut restored = std::mem::take(&mut self.restored);
        let taken = match self.restore(&ring, context, payload, &mut restored)? {
            Ok(frame) => self.take_frame(now_ms, binding, frame),
            Err(error) => {
                self.counters.reject(error);
                Ok(None)
            }
        };
        self.restored = restored;
        let answer = match taken? {
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

    /// A frame as it is kept, from what came.
    fn restore<'a>(
        &mut self,
        ring: &RingId,
        context: compact::Context,
        payload: &'a [u8],
        into: &'a mut Vec<u8>,
    ) -> Result<Result<&'a [u8], FrameError>, Blocked> {
        if !compact::is_compact(payload) {
            return Ok(Ok(payload));
        }
        let next = self.rings.get(ring)?.map_or(Seq::FIRST, |ring| ring.watermark.durable.next());
        let (header, rest) = match compact::restore(payload, context, next) {
            Ok(parts) => parts,
            Err(error) => return Ok(Err(error)),
        };
        into.clear();
        into.extend_from_slice(&header.bytes());
        into.extend_from_slice(rest);
        Ok(Ok(into))
    }

    /// Opens a frame, judges it, writes it down as it is kept. `None`: rejected and counted.
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
        let body = Body::read(&header, body).map(|(body, _)| body);
        let verdict = match &body {
            Ok(Body::Loss(loss)) => ring.watermark.judge_loss(header.seq, loss),
            Ok(body) => ring.watermark.judge(header.seq, body.counts()),
            Err(_) => ring.watermark.judge(header.seq, Counts::ZERO),
        };
        let adds = match verdict {
            Verdict::Next(adds) => adds,
            Verdict::Duplicate => {
                self.counters.duplicates.add(1);
                self.counters.activity.seen(binding.device, now_ms);
                return Ok(Some(Taken::Duplicate));
            }
            Verdict::Ahead => {
                self.counters.ahead.add(1);
                return Ok(Some(Taken::Ahead));
            }
        };
        let mut is_news = matches!(body, Ok(Body::Samples(..)));
        if let Ok(Body::Records(records)) = body {
            for record in records.flatten() {
                is_news |= !matches!(
                    record,
                    Record::Heartbeat(_) | Record::Boot(_) | Record::Catalogue(_)
                );
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
        self.counters.activity.accepted(binding.device, now_ms, adds, is_news);
        Ok(Some(Taken::Yes))
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
