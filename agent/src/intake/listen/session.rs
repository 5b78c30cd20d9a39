//! One device's MQTT 5 session at the agent's end: packets in, publishes and answers out.
//!
//! Pure: bytes go in, bytes come out, and time is the driver's business. The packets are
//! mqtt-protocol-core's, the rules of the session ours. Its own state machine does not fit: it
//! panics on a CONNECT with a topic alias maximum of zero, and cannot hold a CONNECT to a smaller
//! limit than a frame.
//!
//! What a session cannot do, on purpose: QoS 2, retained messages, wills, wildcard or shared
//! subscriptions, subscription identifiers, and outliving its connection.

use mqtt_protocol_core::mqtt::connection::{PacketBuilder, PacketData, RawPacket};
use mqtt_protocol_core::mqtt::packet::{
    FixedHeader, MaximumPacketSize, MaximumQos, Property, Qos, ReceiveMaximum, RetainAvailable,
    ServerKeepAlive, SessionExpiryInterval, SharedSubscriptionAvailable,
    SubscriptionIdentifierAvailable, TopicAliasMaximum, WildcardSubscriptionAvailable, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    DisconnectReasonCode, MqttError, SubackReasonCode, UnsubackReasonCode,
};
use protocol::DeviceId;
use protocol::frame::FRAME_LEN_MAX;
use protocol::topic::{Channel, Topic};

use super::greeting::{Claim, Greeting, next_packet, write};
use super::reason::End;

/// The most publishes of one device that may wait for their PUBACK.
pub const RECEIVE_MAXIMUM: u16 = 16;

/// Topic aliases of one device: it publishes to so many topics.
pub const TOPIC_ALIAS_MAXIMUM: u16 = 4;

/// The longest packet that a device may send: a frame, and room for topic and properties.
#[allow(clippy::cast_possible_truncation, reason = "a constant far below u32::MAX")]
pub const PACKET_LEN_MAX: u32 = FRAME_LEN_MAX as u32 + 256;

/// A session from CONNACK to DISCONNECT.
pub(super) struct Session {
    device: DeviceId,
    packets: PacketBuilder,
    /// Packet ids that wait for their PUBACK; at most [`RECEIVE_MAXIMUM`].
    unacknowledged: Vec<u16>,
    /// What each topic alias stands for, from alias 1 on.
    aliases: [Option<Channel>; TOPIC_ALIAS_MAXIMUM as usize],
    reads_acks: bool,
    reads_downlink: bool,
    /// The longest packet that the device takes.
    packet_len_max: u32,
    heard: bool,
}

/// A frame or hello from the device.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub channel: Channel,
    pub payload: Vec<u8>,
    pub packet_id: Option<u16>,
}

impl Session {
    /// Begins a session with a CONNACK, which tells the device all limits.
    ///
    /// `keep_alive_s` is what the device has to keep to: told only if it asked for another.
    pub(super) fn open(
        greeting: Greeting,
        claim: &Claim,
        keep_alive_s: u16,
        out: &mut Vec<u8>,
    ) -> Self {
        let mut packets = greeting.accept(connack_properties(claim, keep_alive_s), out);
        packets.set_maximum_packet_size(PACKET_LEN_MAX);
        Self {
            device: claim.device,
            packets,
            unacknowledged: Vec::new(),
            aliases: [None; TOPIC_ALIAS_MAXIMUM as usize],
            reads_acks: false,
            reads_downlink: false,
            packet_len_max: claim.packet_len_max,
            heard: false,
        }
    }

    /// Takes packets off `input`, answering into `out`, up to a publish or the end of the input.
    ///
    /// Answers are never longer than what they answer. After an [`End`] nothing more may be fed.
    pub(super) fn feed(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Published>, End> {
        while let Some(packet) = next_packet(&mut self.packets, input).map_err(End::from_parser)? {
            self.heard = true;
            if let Some(published) = self.receive(&packet, out)? {
                return Ok(Some(published));
            }
        }
        Ok(None)
    }

    /// Whether a whole packet came since this was asked last.
    pub(super) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    fn receive(&mut self, packet: &RawPacket, out: &mut Vec<u8>) -> Result<Option<Published>, End> {
        const PUBLISH: u8 = FixedHeader::Publish as u8;
        const SUBSCRIBE: u8 = FixedHeader::Subscribe as u8;
        const UNSUBSCRIBE: u8 = FixedHeader::Unsubscribe as u8;
        const PINGREQ: u8 = FixedHeader::Pingreq as u8;
        const DISCONNECT: u8 = FixedHeader::Disconnect as u8;

        // The low half of the first byte is fixed for all but PUBLISH (MQTT 5, 2.1.3).
        match packet.packet_type() << 4 | packet.flags() {
            first if first & 0xf0 == PUBLISH => return self.published(packet).map(Some),
            SUBSCRIBE => self.subscribe(&parse(packet, v5_0::Subscribe::parse)?, out)?,
            UNSUBSCRIBE => self.unsubscribe(&parse(packet, v5_0::Unsubscribe::parse)?, out)?,
            PINGREQ => {
                parse(packet, v5_0::Pingreq::parse)?;
                write(v5_0::Pingresp::builder().build(), out);
            }
            DISCONNECT => {
                parse(packet, v5_0::Disconnect::parse)?;
                return Err(End::Left);
            }
            first if legal_first_byte(first) => return Err(End::Protocol),
            _ => return Err(End::Malformed),
        }
        Ok(None)
    }

    fn published(&mut self, packet: &RawPacket) -> Result<Published, End> {
        let PacketData::Publish(bytes) = &packet.data else { return Err(End::Malformed) };
        let (publish, _) =
            v5_0::Publish::parse(packet.flags(), bytes.clone()).map_err(End::from_parser)?;
        if publish.qos() == Qos::ExactlyOnce {
            return Err(End::Qos);
        }
        if publish.retain() {
            return Err(End::Retain);
        }
        let mut alias = None;
        for property in publish.props() {
            match property {
                Property::TopicAlias(number) => {
                    let number = usize::from(number.val()).checked_sub(1);
                    let slot = number.and_then(|number| self.aliases.get_mut(number));
                    alias = Some(slot.ok_or(End::TopicAlias)?);
                }
                Property::SubscriptionIdentifier(_) => return Err(End::Protocol),
                _ => {}
            }
        }
        let channel = match publish.topic_name() {
            // What the alias stands for was said before (MQTT 5, 3.3.2.3.4).
            "" => alias.and_then(|known| *known).ok_or(End::Protocol)?,
            topic => {
                let channel = uplink(self.device, topic)?;
                if let Some(known) = alias {
                    *known = Some(channel);
                }
                channel
            }
        };
        if publish.payload().len() > FRAME_LEN_MAX {
            return Err(End::TooLarge);
        }
        if let Some(packet_id) = publish.packet_id() {
            self.await_puback(packet_id)?;
        }
        Ok(Published {
            channel,
            payload: publish.payload().as_slice().to_vec(),
            packet_id: publish.packet_id(),
        })
    }

    fn await_puback(&mut self, packet_id: u16) -> Result<(), End> {
        // Within one connection nothing is sent twice (MQTT 5, 4.4), so an id is used once at a time.
        if packet_id == 0 || self.unacknowledged.contains(&packet_id) {
            return Err(End::Protocol);
        }
        if self.unacknowledged.len() >= usize::from(RECEIVE_MAXIMUM) {
            return Err(End::ReceiveMaximum);
        }
        self.unacknowledged.push(packet_id);
        Ok(())
    }

    fn subscribe(&mut self, packet: &v5_0::Subscribe, out: &mut Vec<u8>) -> Result<(), End> {
        if packet.packet_id() == 0 {
            return Err(End::Protocol);
        }
        if packet.props().iter().any(|p| matches!(p, Property::SubscriptionIdentifier(_))) {
            return Err(End::SubscriptionIdentifier);
        }
        let codes = packet.entries().iter().map(|entry| {
            if let Some(reads) = self.subscription(entry.topic_filter()) {
                *reads = true;
                SubackReasonCode::GrantedQos0
            } else {
                SubackReasonCode::NotAuthorized
            }
        });
        let codes = codes.collect();
        let suback = v5_0::Suback::builder().packet_id(packet.packet_id()).reason_codes(codes);
        write(suback.build(), out);
        Ok(())
    }

    fn unsubscribe(&mut self, packet: &v5_0::Unsubscribe, out: &mut Vec<u8>) -> Result<(), End> {
        if packet.packet_id() == 0 {
            return Err(End::Protocol);
        }
        let codes = packet.entries().iter().map(|filter| {
            match self.subscription(filter.as_str()).map(std::mem::take) {
                Some(true) => UnsubackReasonCode::Success,
                Some(false) => UnsubackReasonCode::NoSubscriptionExisted,
                None => UnsubackReasonCode::NotAuthorized,
            }
        });
        let codes = codes.collect();
        let unsuback = v5_0::Unsuback::builder().packet_id(packet.packet_id()).reason_codes(codes);
        write(unsuback.build(), out);
        Ok(())
    }

    /// The subscription that a topic filter stands for, if it is one of the device's own two.
    fn subscription(&mut self, filter: &str) -> Option<&mut bool> {
        match Topic::parse(filter) {
            Some(Topic { device, channel }) if device == self.device => match channel {
                Channel::Ack => Some(&mut self.reads_acks),
                Channel::Downlink => Some(&mut self.reads_downlink),
                Channel::Frames(_) | Channel::Hello => None,
            },
            _ => None,
        }
    }

    /// Writes a PUBACK, if the packet id waits for one.
    pub(super) fn puback(&mut self, packet_id: u16, out: &mut Vec<u8>) {
        let waiting = self.unacknowledged.iter().position(|waiting| *waiting == packet_id);
        if let Some(at) = waiting {
            self.unacknowledged.swap_remove(at);
            write(v5_0::Puback::builder().packet_id(packet_id).build(), out);
        }
    }

    /// Writes a PUBLISH at QoS 0; false if the device has not subscribed or does not take as much.
    pub(super) fn publish(&self, channel: Channel, payload: Vec<u8>, out: &mut Vec<u8>) -> bool {
        let subscribed = match channel {
            Channel::Ack => self.reads_acks,
            Channel::Downlink => self.reads_downlink,
            Channel::Frames(_) | Channel::Hello => false,
        };
        let topic = Topic { device: self.device, channel }.name();
        let publish = v5_0::Publish::builder()
            .topic_name(topic.as_str())
            .and_then(|publish| publish.qos(Qos::AtMostOnce).payload(payload).build());
        let fits = |publish: &v5_0::Publish| {
            u32::try_from(publish.size()).is_ok_and(|len| len <= self.packet_len_max)
        };
        let send = subscribed && publish.as_ref().is_ok_and(fits);
        if send {
            write(publish, out);
        }
        send
    }
}

/// The channel that a device publishes to.
fn uplink(own: DeviceId, topic: &str) -> Result<Channel, End> {
    match Topic::parse(topic) {
        None => Err(End::UnknownTopic),
        Some(Topic { device, channel }) if device == own && channel.is_uplink() => Ok(channel),
        Some(_) => Err(End::ForeignTopic),
    }
}

/// Writes a DISCONNECT.
pub(super) fn disconnect(code: DisconnectReasonCode, out: &mut Vec<u8>) {
    write(v5_0::Disconnect::builder().reason_code(code).build(), out);
}

fn parse<T>(
    packet: &RawPacket,
    parser: impl FnOnce(&[u8]) -> Result<(T, usize), MqttError>,
) -> Result<T, End> {
    packet.parse_exact(parser).map_err(End::from_parser)
}

/// Whether a packet may begin like this at all (MQTT 5, 2.1.2 and 2.1.3), allowed here or not.
const fn legal_first_byte(first: u8) -> bool {
    match (first >> 4, first & 0x0f) {
        (0, _) => false,
        (6 | 8 | 10, flags) => flags == 2,
        (_, flags) => flags == 0,
    }
}

fn connack_properties(claim: &Claim, keep_alive_s: u16) -> Vec<Property> {
    let limits = [
        ReceiveMaximum::new(RECEIVE_MAXIMUM).map(Property::from),
        MaximumPacketSize::new(PACKET_LEN_MAX).map(Property::from),
        MaximumQos::new(1).map(Property::from),
        TopicAliasMaximum::new(TOPIC_ALIAS_MAXIMUM).map(Property::from),
        RetainAvailable::new(0).map(Property::from),
        WildcardSubscriptionAvailable::new(0).map(Property::from),
        SubscriptionIdentifierAvailable::new(0).map(Property::from),
        SharedSubscriptionAvailable::new(0).map(Property::from),
    ];
    let expiry = claim.asks_for_expiry.then(|| SessionExpiryInterval::new(0).map(Property::from));
    let keep_alive = (claim.keep_alive_s != keep_alive_s)
        .then(|| ServerKeepAlive::new(keep_alive_s).map(Property::from));
    limits.into_iter().chain(expiry).chain(keep_alive).flatten().collect()
}
