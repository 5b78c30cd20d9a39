//! The core of a broker intake, without I/O: messages in, what the acceptor is told out; replies in,
//! what the broker is told out.
//!
//! A device's session begins with its first message here and ends when it is shut out, when the
//! acceptor gives it up, or when many others need the room; connections to the broker come and go
//! meanwhile. Who the device is, the broker says and the seal proves: a registered name is enough to
//! be heard, and without the secret nothing that is said has any effect.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use protocol::DeviceId;
use protocol::frame::FRAME_LEN_MAX;
use protocol::topic::Topic;

use super::gauges::{BrokerGauges, Unheard};
use super::window::Window;
use crate::intake::{
    Admission, Admit, Inbound, Message, Outbound, Replies, Reply, SessionId, SharedReplies,
};

/// Messages beyond twice the receive maximum that are taken all the same. Mosquitto oversteps it, and
/// sends again after a reconnection all that it had sent: to hang up on it would be for ever.
const EXCESS_MAX: usize = 64;

/// Messages of one connection that wait for their PUBACK, taken or not; fewer than there are tickets.
const WINDOW_MAX: usize = 60_000;

/// Why the connection must be begun anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the broker sends without end and waits for no acknowledgement")]
    Flood,
    #[error("the registry does not answer")]
    Registry,
    /// The broker is to send again what was never said to be durable.
    #[error("the acceptor gave a session up")]
    GivenUp,
}

/// One message of the broker's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub topic: &'a [u8],
    pub payload: &'a [u8],
    /// None at QoS 0.
    pub packet_id: Option<u16>,
}

pub(super) struct Desk<A> {
    admit: A,
    gauges: Arc<BrokerGauges>,
    replies: SharedReplies,
    /// Messages on their way to the acceptor beyond which none is taken.
    taken_max: usize,
    sessions_max: usize,
    window: Window,
    /// For the acceptor, in order.
    outbox: VecDeque<Inbound>,
    by_device: HashMap<DeviceId, Entry>,
    by_session: HashMap<SessionId, DeviceId>,
    /// Counts messages: tells who was heard last.
    clock: u64,
}

/// A message that is heard.
struct Heard {
    session: SessionId,
    topic: Topic,
}

/// One that is not.
enum Turned {
    /// Nobody wants it.
    Away(Unheard),
    /// It cannot be told now: it must come again.
    Over(Broken),
}

impl From<Unheard> for Turned {
    fn from(unheard: Unheard) -> Self {
        Self::Away(unheard)
    }
}

struct Entry {
    session: SessionId,
    heard: u64,
    /// Messages that the acceptor has not settled.
    in_flight: usize,
    /// Shut out as soon as they are.
    closing: bool,
}

impl<A: Admit> Desk<A> {
    pub(super) fn new(
        admit: A,
        gauges: Arc<BrokerGauges>,
        replies: SharedReplies,
        in_flight_max: u16,
        sessions_max: usize,
    ) -> Self {
        Self {
            admit,
            gauges,
            replies,
            taken_max: usize::from(in_flight_max) * 2 + EXCESS_MAX,
            sessions_max: sessions_max.max(1),
            window: Window::default(),
            outbox: VecDeque::new(),
            by_device: HashMap::new(),
            by_session: HashMap::new(),
            clock: 0,
        }
    }

    /// Takes a message in.
    pub(super) fn arrive(&mut self, arrival: Arrival<'_>) -> Result<(), Broken> {
        let Arrival { topic, payload, packet_id } = arrival;
        if self.window.len() >= WINDOW_MAX {
            return Err(Broken::Flood);
        }
        self.gauges.messages.fetch_add(1, Relaxed);
        self.gauges.bytes_in.fetch_add(payload.len().try_into().unwrap_or(u64::MAX), Relaxed);
        match self.heard(topic, payload, packet_id) {
            Ok(Heard { session, topic: Topic { device, channel } }) => {
                let packet_id = packet_id.map(|packet_id| self.window.enter(packet_id, session));
                let message = Message::Published { channel, payload: payload.to_vec(), packet_id };
                self.outbox.push_back(Inbound { session, device, message, room: None });
            }
            Err(Turned::Away(unheard)) => {
                self.gauges.count_unheard(unheard);
                if let Some(packet_id) = packet_id {
                    self.window.pass(packet_id);
                }
            }
            Err(Turned::Over(broken)) => return Err(broken),
        }
        Ok(())
    }

    /// Takes what the acceptor says. Comes back what is to be published.
    pub(super) fn reply(
        &mut self,
        session: SessionId,
        reply: Reply,
    ) -> Result<Option<(Topic, Vec<u8>)>, Broken> {
        match reply {
            Reply::Said(Outbound::PubAck(ticket)) => {
                if let Some(session) = self.window.settle(ticket) {
                    self.settled(session);
                }
                Ok(None)
            }
            Reply::Said(Outbound::Publish(channel, payload)) => {
                let device = self.by_session.get(&session);
                Ok(device.map(|device| (Topic { device: *device, channel }, payload)))
            }
            Reply::Said(Outbound::Close) => {
                let device = self.by_session.get(&session).copied();
                let entry = device.and_then(|device| self.by_device.get_mut(&device));
                if let Some(entry) = entry {
                    entry.closing = true;
                    self.close_if_due(session);
                }
                Ok(None)
            }
            Reply::GivenUp => match self.close(session) {
                Some(entry) if entry.in_flight > 0 => Err(Broken::GivenUp),
                _ => Ok(None),
            },
        }
    }

    /// What the acceptor is to be told next.
    pub(super) fn next_inbound(&mut self) -> Option<Inbound> {
        self.outbox.pop_front()
    }

    pub(super) fn has_inbound(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The packet that may be acknowledged next.
    pub(super) fn next_puback(&self) -> Option<u16> {
        self.window.front()
    }

    /// That one was.
    pub(super) fn acknowledged(&mut self) {
        self.window.advance();
    }

    /// The connection is gone. What was not acknowledged the broker sends again, or the device.
    pub(super) fn disconnected(&mut self) {
        self.window.clear();
        self.outbox.retain(|inbound| !matches!(inbound.message, Message::Published { .. }));
        for entry in self.by_device.values_mut() {
            entry.in_flight = 0;
        }
        let closing = self.by_device.values().filter(|entry| entry.closing);
        let closing: Vec<SessionId> = closing.map(|entry| entry.session).collect();
        for session in closing {
            self.close(session);
        }
    }

    /// Ends all sessions: the intake ends.
    pub(super) fn close_all(&mut self) {
        let sessions: Vec<SessionId> = self.by_session.keys().copied().collect();
        for session in sessions {
            self.close(session);
        }
    }

    /// Whose message it is and in which session.
    fn heard(
        &mut self,
        topic: &[u8],
        payload: &[u8],
        packet_id: Option<u16>,
    ) -> Result<Heard, Turned> {
        let topic = std::str::from_utf8(topic).ok().and_then(Topic::parse);
        let topic = topic.filter(|topic| topic.channel.is_uplink()).ok_or(Unheard::Topic)?;
        if payload.len() > FRAME_LEN_MAX {
            return Err(Unheard::TooLarge.into());
        }
        if self.window.len().max(self.outbox.len()) >= self.taken_max {
            return Err(Unheard::Full.into());
        }
        self.clock += 1;
        if !self.by_device.contains_key(&topic.device) {
            match self.admit.recognise(&topic.device) {
                Admission::Admitted => {}
                Admission::Revoked => return Err(Unheard::Revoked.into()),
                Admission::Unavailable => return Err(Turned::Over(Broken::Registry)),
                Admission::Unknown | Admission::WrongPassword => {
                    return Err(Unheard::Unknown.into());
                }
            }
            if !self.make_room() {
                return Err(Unheard::Full.into());
            }
            self.open(topic.device);
        }
        let entry = self.by_device.get_mut(&topic.device).filter(|entry| !entry.closing);
        let entry = entry.ok_or(Unheard::Revoked)?;
        entry.heard = self.clock;
        entry.in_flight += usize::from(packet_id.is_some());
        Ok(Heard { session: entry.session, topic })
    }

    fn open(&mut self, device: DeviceId) {
        let session = SessionId::next();
        let entry = Entry { session, heard: self.clock, in_flight: 0, closing: false };
        self.by_device.insert(device, entry);
        self.by_session.insert(session, device);
        self.gauges.sessions.fetch_add(1, Relaxed);
        let message = Message::Opened(Replies::Shared(self.replies.of(session)));
        self.outbox.push_back(Inbound { session, device, message, room: None });
    }

    fn settled(&mut self, session: SessionId) {
        let device = self.by_session.get(&session);
        if let Some(entry) = device.and_then(|device| self.by_device.get_mut(device)) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
            self.close_if_due(session);
        }
    }

    /// A session must not end before its last message is settled: nobody would settle it any more.
    fn close_if_due(&mut self, session: SessionId) {
        let device = self.by_session.get(&session);
        let entry = device.and_then(|device| self.by_device.get(device));
        if entry.is_some_and(|entry| entry.closing && entry.in_flight == 0) {
            self.close(session);
        }
    }

    fn close(&mut self, session: SessionId) -> Option<Entry> {
        let device = self.by_session.remove(&session)?;
        let entry = self.by_device.remove(&device);
        self.gauges.sessions.fetch_sub(1, Relaxed);
        self.outbox.push_back(Inbound { session, device, message: Message::Closed, room: None });
        entry
    }

    /// Whether one more session may be opened: if there are too many, a quarter of them ends, of
    /// those heard longest ago.
    fn make_room(&mut self) -> bool {
        if self.by_device.len() < self.sessions_max {
            return true;
        }
        let idle = self.by_device.values().filter(|entry| entry.in_flight == 0);
        let mut idle: Vec<(u64, SessionId)> =
            idle.map(|entry| (entry.heard, entry.session)).collect();
        idle.sort_unstable();
        for (_, session) in idle.iter().take(self.sessions_max.div_ceil(4)) {
            self.close(*session);
        }
        !idle.is_empty()
    }
}
