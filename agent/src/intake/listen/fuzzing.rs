//! A connection's rules without a connection: greeting and session, as `connection` runs them.

use protocol::DeviceId;
use protocol::topic::Channel;

use super::greeting::Greeting;
use super::reason::{End, Refusal};
use super::session::{Published, Session, disconnect};

/// One client's side of a conversation.
pub struct Conversation(Stage);

enum Stage {
    Greeting(Option<Greeting>),
    Session(Box<Session>),
}

/// What a client's bytes came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Nothing yet.
    Nothing,
    /// It claims to be this device, with this password, and was let in.
    LetIn(DeviceId, Vec<u8>),
    /// A frame or hello.
    Published(Channel, Vec<u8>, Option<u16>),
    /// It was refused before its session.
    Refused(Refusal),
    /// Its session ended.
    Ended(End),
}

impl Default for Conversation {
    fn default() -> Self {
        Self(Stage::Greeting(Some(Greeting::new())))
    }
}

impl Conversation {
    /// Takes bytes off `input` up to the next thing that the driver would act on; lets everybody in.
    /// After `Refused` or `Ended` nothing more may be fed.
    pub fn feed(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Heard {
        match &mut self.0 {
            Stage::Greeting(greeting) => {
                let Some(begun) = greeting else { return Heard::Nothing };
                let claim = match begun.feed(input) {
                    Ok(None) => return Heard::Nothing,
                    Ok(Some(claim)) => claim,
                    Err(refusal) => {
                        begun.refuse(refusal, out);
                        return Heard::Refused(refusal);
                    }
                };
                let Some(greeting) = greeting.take() else { return Heard::Nothing };
                let session = Session::open(greeting, &claim, claim.keep_alive_s.max(1), out);
                self.0 = Stage::Session(Box::new(session));
                Heard::LetIn(claim.device, claim.password)
            }
            Stage::Session(session) => match session.feed(input, out) {
                Ok(None) => Heard::Nothing,
                Ok(Some(Published { channel, payload, packet_id })) => {
                    Heard::Published(channel, payload, packet_id)
                }
                Err(end) => {
                    if let Some(code) = end.code() {
                        disconnect(code, out);
                    }
                    Heard::Ended(end)
                }
            },
        }
    }

    /// Acknowledges a packet, as once it is durable.
    pub fn puback(&mut self, packet_id: u16, out: &mut Vec<u8>) {
        if let Stage::Session(session) = &mut self.0 {
            session.puback(packet_id, out);
        }
    }

    /// Says something to the device; whether it is heard.
    pub fn publish(&self, channel: Channel, payload: Vec<u8>, out: &mut Vec<u8>) -> bool {
        match &self.0 {
            Stage::Session(session) => session.publish(channel, payload, out),
            Stage::Greeting(_) => false,
        }
    }
}
