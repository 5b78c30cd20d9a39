//! The beginning of a connection: bytes in, a claim to be some device out, or why not.
//!
//! Pure: the driver reads, asks the registry and sends what is written here.

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, RawPacket};
use mqtt_protocol_core::mqtt::packet::{FixedHeader, GenericPacketTrait, Property, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, ConnectReturnCode, MqttError};
use protocol::DeviceId;

use super::reason::Refusal;

/// The longest CONNECT, header included: 200 bytes of ours, and room for a client that adds user
/// properties. Small, because anyone can make us hold one.
pub(super) const CONNECT_LEN_MAX: u32 = 1024;

const CONNECT: u8 = FixedHeader::Connect as u8;
const VERSION_5: u8 = 5;

/// A connection before its CONNECT.
pub(super) struct Greeting {
    packets: PacketBuilder,
    begun: bool,
    /// The protocol level in the CONNECT, once it came.
    level: Option<u8>,
}

/// What a CONNECT says, before anyone believes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub device: DeviceId,
    pub password: Vec<u8>,
    /// Zero: none.
    pub keep_alive_s: u16,
    /// The longest packet that the device takes.
    pub packet_len_max: u32,
    /// Whether it asks for a session that outlives the connection; there is none.
    pub asks_for_expiry: bool,
}

impl Greeting {
    pub(super) fn new() -> Self {
        let packets = PacketBuilder::with_maximum_packet_size(CONNECT_LEN_MAX);
        Self { packets, begun: false, level: None }
    }

    /// Takes bytes off `input` until the CONNECT is whole; what follows it stays.
    pub(super) fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Claim>, Refusal> {
        match input.first() {
            None => return Ok(None),
            Some(&first) if !self.begun && first != CONNECT => return Err(Refusal::Malformed),
            Some(_) => self.begun = true,
        }
        match next_packet(&mut self.packets, input) {
            Ok(None) => Ok(None),
            Ok(Some(packet)) => self.read(&packet).map(Some),
            Err(_) => Err(Refusal::Malformed),
        }
    }

    fn read(&mut self, packet: &RawPacket) -> Result<Claim, Refusal> {
        let level = protocol_level(packet.data_as_slice()).ok_or(Refusal::Malformed)?;
        self.level = Some(level);
        if level != VERSION_5 {
            return Err(Refusal::Version);
        }
        let connect = packet.parse_exact(v5_0::Connect::parse).map_err(|_| Refusal::Malformed)?;
        claim(&connect)
    }

    /// Writes the CONNACK that refuses, in the client's version of MQTT; nothing to a client that
    /// sent no CONNECT or is not to be told.
    pub(super) fn refuse(&self, reason: Refusal, out: &mut Vec<u8>) {
        let (Some(level), Some(code)) = (self.level, reason.code()) else { return };
        if level < VERSION_5 {
            let code = ConnectReturnCode::UnacceptableProtocolVersion;
            let connack = v3_1_1::Connack::builder().session_present(false).return_code(code);
            write(connack.build(), out);
        } else {
            let connack = v5_0::Connack::builder().session_present(false).reason_code(code);
            write(connack.build(), out);
        }
    }

    /// Writes the CONNACK that accepts, and gives the parser up to the session.
    pub(super) fn accept(self, properties: Vec<Property>, out: &mut Vec<u8>) -> PacketBuilder {
        let connack = v5_0::Connack::builder()
            .session_present(false)
            .reason_code(ConnectReasonCode::Success)
            .props(properties);
        write(connack.build(), out);
        self.packets
    }
}

/// The protocol level of a CONNECT's body, in MQTT 3.1 (as `MQIsdp`), 3.1.1 and 5.
fn protocol_level(body: &[u8]) -> Option<u8> {
    match body {
        [0, 4, b'M', b'Q', b'T', b'T', level, ..]
        | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..] => Some(*level),
        _ => None,
    }
}

fn claim(connect: &v5_0::Connect) -> Result<Claim, Refusal> {
    let mut packet_len_max = u32::MAX;
    let mut asks_for_expiry = false;
    for property in connect.props() {
        match property {
            Property::MaximumPacketSize(max) if max.val() == 0 => return Err(Refusal::Malformed),
            Property::MaximumPacketSize(max) => packet_len_max = max.val(),
            Property::SessionExpiryInterval(expiry) => asks_for_expiry = expiry.val() != 0,
            Property::AuthenticationMethod(_) => return Err(Refusal::Unsupported),
            _ => {}
        }
    }
    if connect.will_flag() {
        return Err(Refusal::Unsupported);
    }
    let (Some(user), Some(password)) = (connect.user_name(), connect.password()) else {
        return Err(Refusal::Identity);
    };
    if user != connect.client_id() {
        return Err(Refusal::Identity);
    }
    Ok(Claim {
        device: user.parse().map_err(|_| Refusal::Identity)?,
        password: password.to_vec(),
        keep_alive_s: connect.keep_alive(),
        packet_len_max,
        asks_for_expiry,
    })
}

/// The next whole packet at the head of `input`, taken off it; none when it is used up.
pub(super) fn next_packet(
    packets: &mut PacketBuilder,
    input: &mut &[u8],
) -> Result<Option<RawPacket>, MqttError> {
    let mut cursor = Cursor::new(*input);
    let built = packets.feed(&mut cursor);
    let used = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
    *input = input.get(used..).unwrap_or_default();
    match built {
        PacketBuildResult::Complete(packet) => Ok(Some(packet)),
        PacketBuildResult::Incomplete => Ok(None),
        PacketBuildResult::Error(error) => Err(error),
    }
}

/// Appends a packet of ours. All are made from checked parts, so none fails to build.
pub(super) fn write<P: GenericPacketTrait>(packet: Result<P, MqttError>, out: &mut Vec<u8>) {
    debug_assert!(packet.is_ok(), "a packet of ours that cannot be built");
    if let Ok(packet) = packet {
        out.append(&mut packet.to_continuous_buffer());
    }
}
