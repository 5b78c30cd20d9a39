//! MQTT 5, the device's side, without I/O and without a clock: bytes in, bytes out.
//!
//! Clean start, QoS 1 up, QoS 0 down, nothing retained anywhere: what a device must not lose stays
//! in its ring until the agent acknowledges it, so this client keeps no copy of what it has sent.
//! It is the [`Link`] of the core; [`drive`] puts a transport under it.
//! Why not an existing client: `docs/decisions/0002-device-mqtt-client.md`.

pub mod drive;
pub mod serial;
mod packet;

use protocol::topic::{Channel, Topic};
use protocol::{DeviceId, Lane, Secret};

use crate::ports::{Link, LinkEvent, WouldBlock};
use packet::Packet;

/// Seconds of silence that the server is told to tolerate (by half as much again: OASIS MQTT 5.0,
/// 3.1.2.10). The device speaks after three quarters of it.
pub const KEEP_ALIVE_S: u16 = 60;
/// Frames on their way to the next hop at once.
pub const IN_FLIGHT_MAX: usize = 4;
/// Hellos besides: one must get out while the next hop takes no frames over.
const HELLOS_MAX: usize = 2;
/// What a PUBLISH takes around its payload at most.
pub const PACKET_OVERHEAD: usize = 5 + 2 + protocol::topic::TOPIC_LEN_MAX + 2 + 4;

const SUBSCRIBE_ID: u16 = 1;

/// The client. `TX`: bytes of packets waiting to be written, at least the largest frame and
/// [`PACKET_OVERHEAD`]. `RX`: the largest packet taken, at least 384 bytes.
#[derive(Clone, Debug)]
pub struct Mqtt<const TX: usize, const RX: usize> {
    device: DeviceId,
    password: [u8; 32],
    state: State,
    now_ms: u64,
    last_sent_ms: u64,
    /// A PINGREQ waits for its answer since.
    pinged_ms: Option<u64>,
    keep_alive_ms: u64,
    in_flight: heapless::Vec<u16, { IN_FLIGHT_MAX + HELLOS_MAX }>,
    /// How many messages the server takes at once.
    receive_max: usize,
    /// The largest packet the server takes.
    packet_len_max: usize,
    /// The highest topic alias it takes.
    alias_max: u16,
    /// Aliases that stand for their topics in this connection, a bit each.
    aliases: u8,
    last_id: u16,
    outgoing: [u8; TX],
    /// What of it is still to be written.
    outgoing_at: usize,
    outgoing_end: usize,
    incoming: [u8; RX],
    incoming_end: usize,
}

/// What a client wants of its driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// None: close what is open.
    Close,
    /// A fresh one, whatever is open: then [`Mqtt::opened`], or [`Mqtt::closed`] if it fails.
    Open,
    /// The one that is open.
    Keep,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nobody asked.
    Idle,
    /// A transport is wanted.
    Wanted,
    /// CONNECT is on its way.
    Connecting,
    /// SUBSCRIBE is on its way.
    Subscribing,
    Up,
    /// To be told.
    Failed {
        busy: bool,
    },
}

impl<const TX: usize, const RX: usize> Mqtt<TX, RX> {
    /// A client that is not connected.
    pub fn new(device: DeviceId, secret: &Secret) -> Self {
        const { assert!(TX >= 256 && RX >= 384, "CONNECT and the largest downlink message must fit") };
        Self {
            device,
            password: protocol::keys::mqtt_password(secret, &device),
            state: State::Idle,
            now_ms: 0,
            last_sent_ms: 0,
            pinged_ms: None,
            keep_alive_ms: u64::from(KEEP_ALIVE_S) * 1_000,
            in_flight: heapless::Vec::new(),
            receive_max: usize::from(u16::MAX),
            packet_len_max: usize::MAX,
            alias_max: 0,
            aliases: 0,
            last_id: SUBSCRIBE_ID,
            outgoing: [0; TX],
            outgoing_at: 0,
            outgoing_end: 0,
            incoming: [0; RX],
            incoming_end: 0,
        }
    }

    /// What is to be done about the transport.
    pub fn transport(&self) -> Transport {
        match self.state {
            State::Idle | State::Failed { .. } => Transport::Close,
            State::Wanted => Transport::Open,
            State::Connecting | State::Subscribing | State::Up => Transport::Keep,
        }
    }

    /// A fresh transport is open, as was asked for.
    pub fn opened(&mut self, now_ms: u64) {
        self.reset(now_ms);
        let packet_len_max = u32::try_from(RX).unwrap_or(u32::MAX);
        let (device, password) = (self.device, self.password);
        let written = self.append(|into| {
            packet::connect(into, device.as_str(), &password, KEEP_ALIVE_S, packet_len_max)
        });
        self.state = if written { State::Connecting } else { State::Failed { busy: false } };
    }

    /// The transport failed, ended, or could not be opened.
    pub fn closed(&mut self) {
        if self.transport() != Transport::Close {
            self.state = State::Failed { busy: false };
        }
    }

    /// Bytes to be written to the transport.
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.get(self.outgoing_at..self.outgoing_end).unwrap_or_default()
    }

    /// So many of them were written.
    pub fn written(&mut self, len: usize) {
        self.outgoing_at = self.outgoing_at.saturating_add(len).min(self.outgoing_end);
    }

    /// Where bytes from the transport go. Empty only until the next [`Link::event`].
    pub fn room(&mut self) -> &mut [u8] {
        self.incoming.get_mut(self.incoming_end..).unwrap_or_default()
    }

    /// So many were read into it. Ask [`Link::event`] next.
    pub fn received(&mut self, len: usize) {
        self.incoming_end = self.incoming_end.saturating_add(len).min(RX);
    }

    /// When the client must be asked next, in uptime milliseconds: its keep alive.
    pub fn deadline(&self) -> Option<u64> {
        match self.state {
            State::Failed { .. } => Some(0),
            State::Up => {
                Some(self.pinged_ms.map_or_else(|| self.ping_ms(), |at| self.give_up_ms(at)))
            }
            _ => None,
        }
    }

    fn has_slot(&self, in_flight_max: usize) -> bool {
        self.state == State::Up && self.in_flight.len() < in_flight_max.min(self.receive_max)
    }

    fn ping_ms(&self) -> u64 {
        self.last_sent_ms.saturating_add(self.keep_alive_ms / 4 * 3)
    }

    fn give_up_ms(&self, pinged_ms: u64) -> u64 {
        pinged_ms.saturating_add(self.keep_alive_ms / 2)
    }

    fn reset(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.last_sent_ms = now_ms;
        self.pinged_ms = None;
        self.keep_alive_ms = u64::from(KEEP_ALIVE_S) * 1_000;
        self.in_flight.clear();
        self.receive_max = usize::from(u16::MAX);
        (self.alias_max, self.aliases) = (0, 0);
        (self.outgoing_at, self.outgoing_end, self.incoming_end) = (0, 0, 0);
    }

    /// Appends a packet to what is to be written; whether it fitted.
    fn append(&mut self, packet: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        if self.outgoing_at > 0 {
            let end = self.outgoing_end.min(TX);
            self.outgoing.copy_within(self.outgoing_at.min(end)..end, 0);
            self.outgoing_end = end.saturating_sub(self.outgoing_at);
            self.outgoing_at = 0;
        }
        let room = self.outgoing.get_mut(self.outgoing_end..).unwrap_or_default();
        let Some(len) = packet(room) else { return false };
        self.outgoing_end = self.outgoing_end.saturating_add(len);
        self.last_sent_ms = self.now_ms;
        true
    }

    fn keep_alive(&mut self) {
        if self.state != State::Up {
            return;
        }
        match self.pinged_ms {
            Some(at) if self.now_ms >= self.give_up_ms(at) => {
                self.state = State::Failed { busy: false };
            }
            None if self.now_ms >= self.ping_ms() => {
                // No room: what fills it is as good a sign of life.
                let _fits = self.append(|into| {
                    into.get_mut(..packet::PINGREQ.len())?.copy_from_slice(&packet::PINGREQ);
                    Some(packet::PINGREQ.len())
                });
                self.pinged_ms = Some(self.now_ms);
            }
            _ => {}
        }
    }

    /// Takes the first packet off the incoming bytes; what it tells.
    fn take(&mut self, into: &mut [u8]) -> Taken {
        let bytes = self.incoming.get(..self.incoming_end).unwrap_or_default();
        let len = match packet::len(bytes) {
            Ok(None) => return Taken::Nothing,
            Ok(Some(len)) if len > RX => return Taken::Failure { busy: false },
            Ok(Some(len)) if len > bytes.len() => return Taken::Nothing,
            Ok(Some(len)) => len,
            Err(_) => return Taken::Failure { busy: false },
        };
        let taken = match bytes.get(..len).ok_or(packet::Malformed).and_then(packet::read) {
            Ok(Packet::Publish { topic, payload }) => message(self.device, topic, payload, into),
            Ok(packet) => Taken::of(&packet),
            Err(_) => Taken::Failure { busy: false },
        };
        self.incoming.copy_within(len..self.incoming_end, 0);
        self.incoming_end = self.incoming_end.saturating_sub(len);
        taken
    }

    fn on_conn_ack(&mut self, limits: Limits) {
        self.receive_max = usize::from(limits.receive_max.max(1));
        self.packet_len_max = usize::try_from(limits.packet_len_max).unwrap_or(usize::MAX);
        self.alias_max = limits.alias_max;
        if let Some(seconds) = limits.keep_alive_s {
            self.keep_alive_ms = u64::from(seconds.max(1)) * 1_000;
        }
        let names = [Channel::Ack, Channel::Downlink]
            .map(|channel| Topic { device: self.device, channel }.name());
        let [ack, downlink] = &names;
        let written = self.append(|into| packet::subscribe(into, SUBSCRIBE_ID, &[ack, downlink]));
        self.state = if written { State::Subscribing } else { State::Failed { busy: false } };
    }
}

/// What a packet means, with nothing borrowed.
#[derive(Clone, Copy, Debug)]
enum Taken {
    Nothing,
    Ignored,
    ConnAck(Limits),
    Subscribed,
    PubAck(u16),
    Message { channel: Channel, len: usize },
    Failure { busy: bool },
}

/// What a server takes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    receive_max: u16,
    packet_len_max: u32,
    keep_alive_s: Option<u16>,
    alias_max: u16,
}

impl Taken {
    fn of(packet: &Packet<'_>) -> Self {
        match *packet {
            Packet::ConnAck { reason: 0, receive_max, packet_len_max, keep_alive_s, alias_max } => {
                Self::ConnAck(Limits { receive_max, packet_len_max, keep_alive_s, alias_max })
            }
            Packet::ConnAck { reason, .. } | Packet::Disconnect { reason } => {
                Self::Failure { busy: is_busy(reason) }
            }
            Packet::SubAck { granted: true } => Self::Subscribed,
            Packet::SubAck { granted: false } => Self::Failure { busy: false },
            Packet::PubAck { packet_id } => Self::PubAck(packet_id),
            Packet::PingResp | Packet::Publish { .. } => Self::Ignored,
        }
    }
}

/// Server busy, quota exceeded (OASIS MQTT 5.0, 2.4).
const fn is_busy(reason: u8) -> bool {
    matches!(reason, 0x89 | 0x97)
}

/// The alias of the topic that a channel is published to.
const fn alias(channel: Channel) -> u16 {
    match channel {
        Channel::Frames(Lane::Critical) => 1,
        Channel::Frames(Lane::Bulk) => 2,
        Channel::Frames(Lane::Latest) => 3,
        Channel::Hello | Channel::Ack | Channel::Downlink => 4,
    }
}

/// A message on the device's own downlink; anything else is none of its business.
fn message(device: DeviceId, topic: &str, payload: &[u8], into: &mut [u8]) -> Taken {
    let own =
        Topic::parse(topic).filter(|topic| topic.device == device && !topic.channel.is_uplink());
    match (own, into.get_mut(..payload.len())) {
        (Some(Topic { channel, .. }), Some(room)) => {
            room.copy_from_slice(payload);
            Taken::Message { channel, len: payload.len() }
        }
        _ => Taken::Ignored,
    }
}

impl<const TX: usize, const RX: usize> Link for Mqtt<TX, RX> {
    fn connect(&mut self, now_ms: u64) {
        self.reset(now_ms);
        self.state = State::Wanted;
    }

    fn disconnect(&mut self, now_ms: u64) {
        self.reset(now_ms);
        self.state = State::Idle;
    }

    fn is_ready(&self) -> bool {
        self.has_slot(IN_FLIGHT_MAX)
    }

    fn publish(&mut self, channel: Channel, payload: &[u8]) -> Result<(), WouldBlock> {
        let hellos = if channel == Channel::Hello { HELLOS_MAX } else { 0 };
        if !self.has_slot(IN_FLIGHT_MAX + hellos) {
            return Err(WouldBlock);
        }
        if payload.len().saturating_add(PACKET_OVERHEAD) > self.packet_len_max {
            // Waiting would not help: this server takes no frames of this device.
            self.state = State::Failed { busy: true };
            return Err(WouldBlock);
        }
        let mut id = self.last_id;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains(&id) {
                break;
            }
        }
        let alias = Some(alias(channel)).filter(|alias| *alias <= self.alias_max).unwrap_or(0);
        let bit = if alias == 0 { 0 } else { 1 << alias };
        let mut topic = Topic { device: self.device, channel }.name();
        if self.aliases & bit != 0 {
            topic.clear();
        }
        if !self.append(|into| packet::publish(into, id, &topic, alias, payload)) {
            return Err(WouldBlock);
        }
        self.aliases |= bit;
        self.last_id = id;
        self.in_flight.push(id).map_err(|_| WouldBlock)
    }

    fn event(&mut self, now_ms: u64, into: &mut [u8]) -> Option<LinkEvent> {
        self.now_ms = now_ms;
        loop {
            if let State::Failed { busy } = self.state {
                self.state = State::Idle;
                return Some(LinkEvent::Down { busy });
            }
            if self.transport() != Transport::Keep {
                return None;
            }
            let taken = self.take(into);
            if !matches!(taken, Taken::Nothing) {
                // Whatever came shows that the other side lives.
                self.pinged_ms = None;
            }
            match (taken, self.state) {
                (Taken::Nothing, _) => {
                    self.keep_alive();
                    if !matches!(self.state, State::Failed { .. }) {
                        return None;
                    }
                }
                (Taken::ConnAck(limits), State::Connecting) => self.on_conn_ack(limits),
                (Taken::Subscribed, State::Subscribing) => {
                    self.state = State::Up;
                    return Some(LinkEvent::Up);
                }
                (Taken::PubAck(id), State::Up) => {
                    if let Some(at) = self.in_flight.iter().position(|in_flight| *in_flight == id) {
                        self.in_flight.swap_remove(at);
                        return Some(LinkEvent::Published);
                    }
                }
                (Taken::Message { channel, len }, State::Up) => {
                    return Some(LinkEvent::Message { channel, len });
                }
                (Taken::Ignored | Taken::Message { .. } | Taken::PubAck(_), _) => {}
                (Taken::Failure { busy }, _) => self.state = State::Failed { busy },
                (Taken::ConnAck(_) | Taken::Subscribed, _) => {
                    self.state = State::Failed { busy: false };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
