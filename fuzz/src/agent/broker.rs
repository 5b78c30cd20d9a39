//! What a broker sends, which may be anybody: topics, payloads, packet ids, in any order, with the
//! acceptor's answers in between.
//!
//! Only frames and hellos of known devices come through, of a legal length; and packets are
//! acknowledged in the order in which they came, each once.

use agent::fuzzing::Office;
use agent::intake::{Admission, Admit, Message, Outbound, SessionId};
use protocol::DeviceId;
use protocol::frame::FRAME_LEN_MAX;
use protocol::topic::{Channel, Topic};

use crate::bound::{NETWORK_MAX, bounded};
use crate::input::Input;

/// Knows `van...`, has shut out `revoked`, and cannot tell about `broken`.
#[derive(Clone)]
struct Known;

impl Admit for Known {
    fn admit(&self, _: &DeviceId, _: &[u8]) -> Admission {
        Admission::Unknown
    }

    fn recognise(&self, device: &DeviceId) -> Admission {
        match device.as_str() {
            "revoked" => Admission::Revoked,
            "broken" => Admission::Unavailable,
            name if name.starts_with("van") => Admission::Admitted,
            _ => Admission::Unknown,
        }
    }
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut office = Office::new(Known, 4, 3);
    let mut came: Vec<u16> = Vec::new();
    let mut taken: Vec<(SessionId, u16)> = Vec::new();
    let frame = [0x55; FRAME_LEN_MAX + 1];
    while !input.is_empty() {
        let act = input.byte();
        match act & 7 {
            0..4 => {
                let topic = input.piece();
                let payload = match act >> 3 {
                    30 => &frame[..FRAME_LEN_MAX],
                    31 => &frame[..],
                    len => &frame[..usize::from(len)],
                };
                let packet_id = (act & 3 != 0).then(|| input.short());
                if !bounded(NETWORK_MAX, || office.arrive(topic, payload, packet_id)) {
                    office.disconnected();
                    (came, taken) = (Vec::new(), Vec::new());
                    continue;
                }
                came.extend(packet_id);
            }
            4 => office.disconnected(),
            5 => {
                if let Some((session, _)) = taken.first() {
                    office.said(*session, Outbound::Close);
                }
            }
            _ if !taken.is_empty() => {
                let at = usize::from(input.byte()) % taken.len();
                let (session, ticket) = taken.swap_remove(at);
                assert!(office.said(session, Outbound::PubAck(ticket)));
            }
            _ => {}
        }
        if act & 7 == 4 {
            (came, taken) = (Vec::new(), Vec::new());
        }
        while let Some(inbound) = office.next_inbound() {
            assert_eq!(Known.recognise(&inbound.device), Admission::Admitted);
            if let Message::Published { channel, payload, packet_id } = inbound.message {
                assert!(channel.is_uplink() && payload.len() <= FRAME_LEN_MAX);
                taken.extend(packet_id.map(|ticket| (inbound.session, ticket)));
            }
        }
        while let Some(packet_id) = office.next_puback() {
            assert!(!came.is_empty() && came.remove(0) == packet_id, "out of order");
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let arrival = |act: u8, device: &str, channel, packet_id: u16| {
        let topic = Topic { device: device.parse().unwrap(), channel }.name();
        let len = u8::try_from(topic.len()).unwrap();
        [&[act, len][..], topic.as_bytes(), &packet_id.to_le_bytes()].concat()
    };
    let bulk = Channel::Frames(protocol::Lane::Bulk);
    let ways = [
        arrival(0xf1, "van-1", bulk, 1),
        arrival(0x09, "van-2", Channel::Hello, 2),
        arrival(0xf9, "van-1", bulk, 3),
        arrival(0x09, "revoked", bulk, 4),
        arrival(0x09, "van-1", Channel::Ack, 5),
    ];
    vec![
        [&ways.concat()[..], &[6, 1, 6, 0, 4]].concat(),
        [&ways[0][..], &[5, 6, 0], &ways[1], &ways[2]].concat(),
        arrival(0x09, "broken", bulk, 9),
        [&ways[0][..], &arrival(1, "van-3", bulk, 7), &arrival(1, "van-4", bulk, 8), &ways[1]]
            .concat(),
    ]
}

pub const WORDS: &[&[u8]] =
    &[b"m0/van-1/b", b"m0/van-2/h", b"m0/revoked/l", b"m0/broken/c", b"m0/unknown/b"];
