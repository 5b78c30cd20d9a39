//! The agent's MQTT port, at the mercy of whoever connects: the very greeting and session, without a
//! socket.
//!
//! What a client's bytes come to does not depend on how the network cuts them; only what it may say
//! gets past; and what is answered is bounded by what was said.

use agent::fuzzing::{Conversation, Heard};
use agent::intake::listen::{PACKET_LEN_MAX, RECEIVE_MAXIMUM};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Qos, SubEntry, SubOpts, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use protocol::frame::FRAME_LEN_MAX;
use protocol::topic::Channel;

use crate::bound::{NETWORK_MAX, bounded};
use crate::input::{Input, pieces};

/// Bytes of a CONNACK at most.
const CONNACK_MAX: usize = 64;

/// The first byte says how the rest is to be taken: as a client's bytes, behind a CONNECT, or as bodies
/// of packets whose lengths are right.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let cuts = std::array::from_fn(|_| input.byte());
    let mut said = if mode & 0x80 == 0 { Vec::new() } else { connect() };
    if mode & 0x40 == 0 {
        said.extend_from_slice(input.rest());
    } else {
        while !input.is_empty() {
            packet(&mut said, &mut input);
        }
    }
    let whole = converse(std::iter::once(&said[..]));
    let cut = converse(pieces(&said, cuts));
    assert_eq!(whole, cut, "the network's cuts make a difference");
}

/// A packet of any kind with the right length before its body; now and then of a full frame.
fn packet(said: &mut Vec<u8>, input: &mut Input<'_>) {
    let first = input.byte();
    let body = input.piece();
    let filling = if body.len() == 255 { FRAME_LEN_MAX } else { 0 };
    said.push(first);
    let mut len = body.len() + filling;
    loop {
        let low = u8::try_from(len & 0x7f).unwrap();
        len >>= 7;
        said.push(if len > 0 { low | 0x80 } else { low });
        if len == 0 {
            break;
        }
    }
    said.extend_from_slice(body);
    said.resize(said.len() + filling, 0x55);
}

/// All that came of a client's bytes, and what it was answered.
fn converse<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Heard>, Vec<u8>) {
    let mut conversation = Conversation::default();
    let (mut heard, mut answered, mut said) = (Vec::new(), Vec::new(), 0);
    let mut waiting: Vec<u16> = Vec::new();
    for mut piece in pieces {
        said += piece.len();
        while !piece.is_empty() {
            let mut out = Vec::new();
            let came = bounded(NETWORK_MAX, || {
                let came = conversation.feed(&mut piece, &mut out);
                (came, std::mem::take(&mut out))
            });
            let (came, out) = came;
            answered.extend_from_slice(&out);
            match &came {
                Heard::Nothing => {
                    assert!(piece.is_empty());
                    continue;
                }
                Heard::LetIn(_, password) => assert!(password.len() <= 1024),
                Heard::Published(channel, payload, packet_id) => {
                    assert!(channel.is_uplink() && payload.len() <= FRAME_LEN_MAX);
                    waiting.extend(packet_id);
                    assert!(waiting.len() <= usize::from(RECEIVE_MAXIMUM), "more than may wait");
                    if waiting.len() == usize::from(RECEIVE_MAXIMUM) {
                        for packet_id in waiting.drain(..8) {
                            conversation.puback(packet_id, &mut answered);
                        }
                    }
                }
                Heard::Refused(_) | Heard::Ended(_) => {
                    heard.push(came);
                    assert!(answered.len() <= said + CONNACK_MAX, "more answered than was said");
                    return (heard, answered);
                }
            }
            heard.push(came);
        }
        assert!(answered.len() <= said + CONNACK_MAX, "more answered than was said");
    }
    let spoken = bounded(NETWORK_MAX, || {
        let mut out = Vec::new();
        conversation.publish(Channel::Ack, vec![1; 60], &mut out).then_some(out)
    });
    answered.extend(spoken.into_iter().flatten());
    (heard, answered)
}

fn bytes<P: GenericPacketTrait>(packet: Result<P, MqttError>) -> Vec<u8> {
    packet.expect("a packet that can be built").to_continuous_buffer()
}

fn connect() -> Vec<u8> {
    let connect = v5_0::Connect::builder().client_id("van-7").and_then(|connect| {
        connect.clean_start(true).keep_alive(60).user_name("van-7")?.password(&[b'a'; 32])?.build()
    });
    bytes(connect)
}

fn publish(topic: &str, payload: &[u8], packet_id: Option<u16>) -> Vec<u8> {
    let qos = if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    let publish = v5_0::Publish::builder().topic_name(topic).and_then(|publish| {
        let publish = publish.qos(qos).payload(payload.to_vec());
        match packet_id {
            Some(packet_id) => publish.packet_id(packet_id).build(),
            None => publish.build(),
        }
    });
    bytes(publish)
}

fn subscribe() -> Vec<u8> {
    let entry = |filter| SubEntry::new(filter, SubOpts::default());
    let entries = ["m0/van-7/a", "m0/van-7/d", "m0/other/a"].map(entry);
    let entries: Result<Vec<_>, _> = entries.into_iter().collect();
    bytes(v5_0::Subscribe::builder().packet_id(1_u16).entries(entries.unwrap()).build())
}

pub fn seeds() -> Vec<Vec<u8>> {
    let frame = publish("m0/van-7/b", &[7; 90], Some(2));
    let hello = publish("m0/van-7/h", &[6; 120], Some(3));
    let foreign = publish("m0/van-8/b", &[7; 9], Some(4));
    let ping = [0xc0, 0];
    let told = [&subscribe()[..], &hello, &frame, &ping, &[0xe0, 0]].concat();
    let head = |mode: u8| vec![mode, 255, 7, 0, 90];
    let packets = |packets: &[&[u8]]| {
        let behind = |packet: &&[u8]| [&packet[..1], &packet[1..]].concat();
        packets.iter().flat_map(behind).collect::<Vec<u8>>()
    };
    vec![
        [&head(0)[..], &connect(), &told].concat(),
        [&head(0x80)[..], &told].concat(),
        [&head(0x80)[..], &foreign].concat(),
        [&head(0xc0)[..], &packets(&[&subscribe(), &frame, &hello, &ping])].concat(),
        [&head(0x40)[..], &packets(&[&connect(), &frame])].concat(),
        [&head(0)[..], &[0x10, 12, 0, 6], b"MQIsdp", &[3, 2, 0, 60]].concat(),
    ]
}

pub const WORDS: &[&[u8]] = &[
    b"m0/van-7/b",
    b"m0/van-7/h",
    b"m0/van-7/a",
    b"m0/van-7/d",
    b"van-7",
    b"\x00\x04MQTT\x05",
    b"\x00\x04MQTT\x04",
    b"\x11\x00\x00\x00\x0a",
    b"\x21\x00\x10",
    b"\x23\x00\x01",
    b"\x27\x00\x00\x21\x00",
    b"\x26\x00\x01a\x00\x01b",
];

const _: () = assert!(PACKET_LEN_MAX as usize + 1024 < NETWORK_MAX);
