//! The device's MQTT client, at the mercy of whoever answers the port.
//!
//! Not up before it was let in; a message no longer than the room for it; no PUBACK for what was not
//! published; and the bytes to be written stay within their bound.

use firmware::mqtt::{IN_FLIGHT_MAX, Mqtt, Transport};
use firmware::ports::{Link, LinkEvent};
use protocol::topic::{Channel, Topic};
use protocol::{Lane, Secret};

use super::world::WORLD;
use crate::bound::bounded;
use crate::input::{Input, pieces};

const TX: usize = 512;
const RX: usize = 384;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let cuts = std::array::from_fn(|_| input.byte());
    let mut client = Mqtt::<TX, RX>::new(WORLD.device, &Secret::new([1; 32]));
    let mut conversation = Conversation::default();
    client.connect(0);
    client.opened(0);
    if mode >= 0x80 {
        // Let in: what follows is said to a client that is up.
        conversation.hear(&mut client, &[0x20, 3, 0, 0, 0, 0x90, 5, 0, 1, 0, 0, 0], mode);
        assert!(conversation.up);
    }
    for piece in pieces(input.rest(), cuts) {
        conversation.hear(&mut client, piece, mode);
    }
}

/// What was seen of a client.
#[derive(Default)]
struct Conversation {
    up: bool,
    published: usize,
    now_ms: u64,
}

impl Conversation {
    /// The client reads some bytes, and the app does with it what apps do.
    fn hear(&mut self, client: &mut Mqtt<TX, RX>, mut bytes: &[u8], mode: u8) {
        while !bytes.is_empty() && client.transport() == Transport::Keep {
            let room = client.room();
            let len = room.len().min(bytes.len());
            assert!(len > 0, "no room, and nothing taken");
            let (piece, rest) = bytes.split_at(len);
            room[..len].copy_from_slice(piece);
            client.received(len);
            bytes = rest;
            self.events(client);
            if mode & 1 == 0 {
                client.written(client.outgoing().len() / 2 + 1);
            }
            if mode & 2 == 0 && client.publish(Channel::Frames(Lane::Bulk), &[7; 90]).is_ok() {
                assert!(self.up);
                self.published += 1;
            }
            if mode & 4 == 0 {
                self.now_ms += 10_000;
            }
            assert!(client.outgoing().len() <= TX && self.published <= IN_FLIGHT_MAX);
        }
    }

    fn events(&mut self, client: &mut Mqtt<TX, RX>) {
        let mut message = [0; 256];
        while let Some(event) = bounded(0, || client.event(self.now_ms, &mut message)) {
            match event {
                LinkEvent::Up => {
                    assert!(!self.up, "up twice");
                    self.up = true;
                }
                LinkEvent::Down { .. } => assert_eq!(client.transport(), Transport::Close),
                LinkEvent::Published => {
                    self.published = self.published.checked_sub(1).expect("never published");
                }
                LinkEvent::Message { channel, len } => {
                    assert!(self.up && !channel.is_uplink() && len <= message.len());
                }
            }
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let publish = |channel, payload: &[u8]| {
        let topic = Topic { device: WORLD.device, channel }.name();
        let len = u8::try_from(2 + topic.len() + 1 + payload.len()).unwrap();
        let topic_len = u16::try_from(topic.len()).unwrap().to_be_bytes();
        [&[0x30, len][..], &topic_len, topic.as_bytes(), &[0], payload].concat()
    };
    // Receive maximum 16, largest packet 8,448, keep alive 30; a reason string.
    let conn_ack = [
        &[0x20, 21, 0, 0, 18, 0x21, 0, 16, 0x27, 0, 0, 0x21, 0, 0x13, 0, 30, 0x1f, 0, 4][..],
        b"well",
    ]
    .concat();
    let downlink = publish(Channel::Downlink, &[9; 60]);
    let ack = publish(Channel::Ack, &[8; 40]);
    let sub_ack = [0x90, 5, 0, 1, 0, 0, 0];
    let let_in = [&conn_ack[..], &sub_ack, &ack, &downlink, &[0xd0, 0]].concat();
    let busy = [&[0x20, 3, 0, 0x89, 0][..]].concat();
    let head = |mode: u8| vec![mode, 255, 3, 0, 255];
    vec![
        [&head(0)[..], &let_in].concat(),
        [&head(1)[..], &busy].concat(),
        [&head(0x80)[..], &ack, &[0x40, 2, 0, 2, 0x40, 4, 0, 3, 0, 0], &downlink].concat(),
        [&head(0x86)[..], &downlink, &[0xe0, 1, 0x8e]].concat(),
    ]
}
