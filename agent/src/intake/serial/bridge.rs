//! What a line's packets come to, and the packets that answer them.

use protocol::serial::stream::{PACKET_LEN_MAX, Packet, Received, Session, Stream};
use protocol::serial::{CHECKSUM_LEN, Decoder, encode, encoded_len_max};

/// The host's side of one line: one stream at a time.
pub(super) struct Bridge {
    decoder: Decoder<{ PACKET_LEN_MAX + CHECKSUM_LEN }>,
    /// That the device asked for last.
    session: Option<Session>,
    stream: Option<Stream>,
    /// Bytes of it came: the device knows that it was accepted.
    is_known: bool,
}

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard<'a> {
    /// The device wants a stream: [`Bridge::accept`] or [`Bridge::close`].
    Opens,
    /// It has not heard that it has one.
    OpensAgain,
    /// Bytes of the stream.
    Bytes(&'a [u8]),
    /// The stream is over: [`Bridge::close`].
    Over,
    /// Bytes of a stream that is not there, as a device sends that does not know yet that the agent began
    /// anew: [`Bridge::deny`].
    Stray(Session),
    /// A line of its log.
    Log(&'a str),
    /// Noise, or a packet that noise changed.
    Garbled,
    /// Nothing that anybody has to hear of.
    Nothing,
}

impl Bridge {
    pub(super) const fn new() -> Self {
        Self { decoder: Decoder::new(), session: None, stream: None, is_known: false }
    }

    /// Takes bytes off `input` up to the next thing that somebody may have to hear of; nothing once they
    /// are used up.
    pub(super) fn hear<'a>(&'a mut self, input: &mut &[u8]) -> Option<Heard<'a>> {
        let Ok(payload) = self.decoder.feed(input)? else { return Some(Heard::Garbled) };
        let Some(packet) = Packet::read(payload) else { return Some(Heard::Garbled) };
        Some(match packet {
            Packet::Log(line) => Heard::Log(line),
            Packet::Open(session) => {
                let is_open = self.stream.is_some_and(|stream| stream.session() == session);
                if is_open && !self.is_known {
                    Heard::OpensAgain
                } else {
                    (self.session, self.stream) = (Some(session), None);
                    Heard::Opens
                }
            }
            packet => match (self.stream.as_mut().map(|stream| stream.receive(&packet)), packet) {
                (Some(Received::Bytes(bytes)), _) => {
                    self.is_known = true;
                    Heard::Bytes(bytes)
                }
                (Some(Received::Ended), _) => Heard::Over,
                (_, Packet::Data { session, .. }) => Heard::Stray(session),
                _ => Heard::Nothing,
            },
        })
    }

    /// The stream that the device asked for last is there.
    pub(super) fn accept(&mut self, out: &mut Vec<u8>) {
        let Some(session) = self.session else { return };
        if self.stream.is_none() {
            (self.stream, self.is_known) = (Some(Stream::new(session)), false);
        }
        append(&Packet::Accept(session), out);
    }

    /// There is none, or no more.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        self.stream = None;
        if let Some(session) = self.session.take() {
            append(&Packet::Close(session), out);
        }
    }

    /// There is no such stream.
    pub(super) fn deny(session: Session, out: &mut Vec<u8>) {
        append(&Packet::Close(session), out);
    }

    /// Says this on the stream.
    pub(super) fn say(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        let Some(stream) = &mut self.stream else { return };
        while let Some((packet, len)) = stream.send(bytes) {
            append(&packet, out);
            bytes = bytes.get(len..).unwrap_or_default();
        }
    }
}

fn append(packet: &Packet<'_>, out: &mut Vec<u8>) {
    let (mut payload, mut bytes) = ([0; PACKET_LEN_MAX], [0; encoded_len_max(PACKET_LEN_MAX)]);
    // Ours all fit.
    let len = packet.write(&mut payload).unwrap_or_default();
    let len = encode(payload.get(..len).unwrap_or_default(), &mut bytes).unwrap_or_default();
    out.extend_from_slice(bytes.get(..len).unwrap_or_default());
}
