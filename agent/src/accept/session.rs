//! What the acceptor knows of a connection, and what it says to it after a commit.

use protocol::ack::{ACK_LEN_MAX, Ack};
use protocol::downlink::{DOWNLINK_LEN_MAX, Downlink, Envelope, Welcome};
use protocol::frame::compact::Context;
use protocol::hello::Challenge;
use protocol::keys::AckKey;
use protocol::topic::Channel;
use protocol::{DeviceId, Generation, Lane, RingId};

use super::Acceptor;
use crate::intake::{Deaf, Outbound, Replies, SessionId};

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    pub device: DeviceId,
    pub out: Replies,
    pub lanes: [Option<LaneSession>; 3],
    pub generation: Generation,
    /// What the latest hello said of the samples behind it.
    pub context: Option<Context>,
    pub pubacks: Vec<u16>,
    /// A hello to be answered.
    pub hello: Option<HelloAnswer>,
}

/// The ring that a session said it sends on a lane.
#[derive(Debug)]
pub(super) struct LaneSession {
    pub ring: RingId,
    pub key: AckKey,
    pub answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Answer {
    None,
    Ack,
    /// And go back: something was missing.
    Repeat,
}

#[derive(Debug)]
pub(super) struct HelloAnswer {
    pub challenge: Challenge,
    pub uptime_ms: u64,
    pub wants_catalogue: bool,
}

/// Why a session was not told everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unanswered {
    /// It is not listening.
    Deaf,
    /// It has its PUBACKs; what else there was to say is not known: a table cannot be read, or the
    /// secret is gone.
    Unknown,
}

impl From<Deaf> for Unanswered {
    fn from(_: Deaf) -> Self {
        Self::Deaf
    }
}

impl Acceptor {
    /// Says to a session what is now durable.
    pub(super) fn answer(&mut self, now_ms: i64, id: SessionId) -> Result<(), Unanswered> {
        // Gone: nobody is waiting.
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        for packet_id in session.pubacks.drain(..) {
            session.out.say(Outbound::PubAck(packet_id))?;
        }
        for (lane, state) in Lane::ALL.into_iter().zip(&mut session.lanes) {
            let Some(state) = state else { continue };
            let answer = std::mem::replace(&mut state.answer, Answer::None);
            if answer == Answer::None {
                continue;
            }
            let ring = self.rings.get(&state.ring).ok().flatten().ok_or(Unanswered::Unknown)?;
            let watermark = ring.watermark;
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
            let payload = bytes.get(..len).unwrap_or_default().to_vec();
            session.out.say(Outbound::Publish(Channel::Ack, payload))?;
        }
        let Some(hello) = session.hello.take() else { return Ok(()) };
        let secret = self.registry.secret(session.device, session.generation);
        let secret = secret.ok().flatten().ok_or(Unanswered::Unknown)?;
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
        let len = envelope.seal(&secret, &session.device, &hello.challenge, &welcome, &mut bytes);
        let len = len.map_err(|_| Unanswered::Unknown)?;
        let payload = bytes.get(..len).unwrap_or_default().to_vec();
        Ok(session.out.say(Outbound::Publish(Channel::Downlink, payload))?)
    }
}
