//! The MQTT 5 packets that a device sends and reads, as bytes.
//!
//! Source: OASIS MQTT Version 5.0, chapters 2 and 3; section numbers below.

use protocol::varint;

/// Appends to a buffer; remembers whether everything fitted.
#[derive(Debug)]
struct Writer<'a> {
    into: &'a mut [u8],
    at: usize,
    fits: bool,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        if let Some(slot) = self.into.get_mut(self.at..end) {
            slot.copy_from_slice(bytes);
            self.at = end;
        } else {
            self.fits = false;
        }
    }

    /// Behind its length in two bytes (1.5.4, 1.5.6).
    fn field(&mut self, bytes: &[u8]) {
        if let Ok(len) = u16::try_from(bytes.len()) {
            self.bytes(&len.to_be_bytes());
            self.bytes(bytes);
        } else {
            self.fits = false;
        }
    }
}

/// Writes a packet whose body is made of `parts`; its length, or nothing if it does not fit.
fn write(
    into: &mut [u8],
    first: u8,
    body_len: usize,
    body: impl FnOnce(&mut Writer<'_>),
) -> Option<usize> {
    let mut writer = Writer { into, at: 0, fits: true };
    let mut number = [0; varint::LEN_MAX];
    let number_len = varint::write(u64::try_from(body_len).ok()?, &mut number)?;
    writer.bytes(&[first]);
    writer.bytes(number.get(..number_len)?);
    let body_at = writer.at;
    body(&mut writer);
    let whole = writer.fits && writer.at == body_at.checked_add(body_len)?;
    whole.then_some(writer.at)
}

/// CONNECT (3.1): clean start, user name and password, and the largest packet taken.
pub fn connect(
    into: &mut [u8],
    client_id: &str,
    password: &[u8],
    keep_alive_s: u16,
    packet_len_max: u32,
) -> Option<usize> {
    let client_id = client_id.as_bytes();
    // Protocol name and version, flags, keep alive; properties; client id, user name, password.
    let body_len = 10 + 6 + 3 * 2 + 2 * client_id.len() + password.len();
    write(into, 0x10, body_len, |writer| {
        writer.field(b"MQTT");
        writer.bytes(&[5, 0xc2]);
        writer.bytes(&keep_alive_s.to_be_bytes());
        writer.bytes(&[5, 0x27]);
        writer.bytes(&packet_len_max.to_be_bytes());
        for field in [client_id, client_id, password] {
            writer.field(field);
        }
    })
}

/// SUBSCRIBE (3.8) to topics at QoS 0, retained messages not wanted.
pub fn subscribe(into: &mut [u8], packet_id: u16, topics: &[&str]) -> Option<usize> {
    let body_len = topics.iter().fold(3, |sum, topic| sum + 3 + topic.len());
    write(into, 0x82, body_len, |writer| {
        writer.bytes(&packet_id.to_be_bytes());
        writer.bytes(&[0]);
        for topic in topics {
            writer.field(topic.as_bytes());
            writer.bytes(&[0x20]);
        }
    })
}

/// PUBLISH (3.3) at QoS 1; with an alias of the topic (3.3.2.3.4), or 0 for none. An empty topic is
/// what the alias stands for since it was sent with one.
pub fn publish(
    into: &mut [u8],
    packet_id: u16,
    topic: &str,
    alias: u16,
    payload: &[u8],
) -> Option<usize> {
    let [high, low] = alias.to_be_bytes();
    let properties: &[u8] = if alias == 0 { &[0] } else { &[3, 0x23, high, low] };
    let body_len = 2 + topic.len() + 2 + properties.len() + payload.len();
    write(into, 0x32, body_len, |writer| {
        writer.field(topic.as_bytes());
        writer.bytes(&packet_id.to_be_bytes());
        writer.bytes(properties);
        writer.bytes(payload);
    })
}

/// PINGREQ (3.12).
pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// What a server sends to a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// Answer to CONNECT.
    ConnAck {
        /// 0 is success.
        reason: u8,
        /// Unacknowledged PUBLISH packets the server takes at once.
        receive_max: u16,
        /// The largest packet it takes, in bytes.
        packet_len_max: u32,
        /// The keep alive it wants instead, in seconds.
        keep_alive_s: Option<u16>,
        /// The highest topic alias it takes; 0 for none.
        alias_max: u16,
    },
    /// Answer to SUBSCRIBE.
    SubAck {
        /// Whether every topic was granted.
        granted: bool,
    },
    /// Answer to PUBLISH.
    PubAck {
        /// Of the PUBLISH.
        packet_id: u16,
    },
    /// A message at QoS 0.
    Publish {
        /// Where to.
        topic: &'a str,
        /// The message.
        payload: &'a [u8],
    },
    /// Answer to PINGREQ.
    PingResp,
    /// The server ends the connection.
    Disconnect {
        /// Why.
        reason: u8,
    },
}

/// Bytes that are no packet a device may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed or unexpected packet")]
pub struct Malformed;

/// The length of the packet at the front of `from`, once its header is complete.
pub fn len(from: &[u8]) -> Result<Option<usize>, Malformed> {
    let rest = from.get(1..).unwrap_or_default();
    // 1.5.5: at most four bytes.
    let number = rest.get(..rest.len().min(4)).unwrap_or_default();
    match varint::read(number) {
        Some((body_len, after)) => {
            let header_len = 1 + number.len() - after.len();
            let body_len = usize::try_from(body_len).map_err(|_| Malformed)?;
            Ok(Some(header_len.checked_add(body_len).ok_or(Malformed)?))
        }
        None if number.len() < 4 && number.iter().all(|byte| byte & 0x80 != 0) => Ok(None),
        None => Err(Malformed),
    }
}

/// Reads one whole packet.
pub fn read(packet: &[u8]) -> Result<Packet<'_>, Malformed> {
    parse(packet).ok_or(Malformed)
}

fn parse(packet: &[u8]) -> Option<Packet<'_>> {
    let (first, rest) = packet.split_first()?;
    let (_, body) = varint::read(rest)?;
    match first {
        0x20 => conn_ack(body),
        0x90 => {
            let (_, rest) = body.split_first_chunk::<2>()?;
            let (_, codes) = properties(rest)?;
            Some(Packet::SubAck {
                granted: !codes.is_empty() && codes.iter().all(|code| *code < 0x80),
            })
        }
        0x40 => {
            let (id, _) = body.split_first_chunk::<2>()?;
            Some(Packet::PubAck { packet_id: u16::from_be_bytes(*id) })
        }
        // QoS 0, whatever the retain flag says.
        0x30 | 0x31 => {
            let (len, rest) = body.split_first_chunk::<2>()?;
            let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
            let (_, payload) = properties(rest)?;
            Some(Packet::Publish { topic: core::str::from_utf8(topic).ok()?, payload })
        }
        0xd0 => Some(Packet::PingResp),
        0xe0 => Some(Packet::Disconnect { reason: body.first().copied().unwrap_or_default() }),
        _ => None,
    }
}

fn conn_ack(body: &[u8]) -> Option<Packet<'_>> {
    let ([_, reason], rest) = body.split_first_chunk::<2>()?;
    let (mut properties, _) = properties(rest)?;
    let (mut receive_max, mut packet_len_max, mut keep_alive_s) = (u16::MAX, u32::MAX, None);
    let mut alias_max = 0;
    while let Some((id, rest)) = properties.split_first() {
        let value_len = property_len(*id, rest)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        match id {
            0x13 => keep_alive_s = Some(u16::from_be_bytes(value.try_into().ok()?)),
            0x21 => receive_max = u16::from_be_bytes(value.try_into().ok()?),
            0x22 => alias_max = u16::from_be_bytes(value.try_into().ok()?),
            0x27 => packet_len_max = u32::from_be_bytes(value.try_into().ok()?),
            _ => {}
        }
        properties = rest;
    }
    let reason = *reason;
    Some(Packet::ConnAck { reason, receive_max, packet_len_max, keep_alive_s, alias_max })
}

/// The properties (2.2.2) and what is behind them.
fn properties(from: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = varint::read(from)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

/// The length of a CONNACK property's value, by its identifier (2.2.2.2).
fn property_len(id: u8, rest: &[u8]) -> Option<usize> {
    let text_len = |rest: &[u8]| {
        let (len, _) = rest.split_first_chunk::<2>()?;
        Some(2 + usize::from(u16::from_be_bytes(*len)))
    };
    match id {
        0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Some(1),
        0x13 | 0x21 | 0x22 => Some(2),
        0x11 | 0x27 => Some(4),
        0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => text_len(rest),
        0x26 => {
            let name_len = text_len(rest)?;
            Some(name_len + text_len(rest.get(name_len..)?)?)
        }
        _ => None,
    }
}
