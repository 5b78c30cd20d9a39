//! Frames that are not what they seem: counted, never acknowledged, nothing else lost.

use protocol::event::Level;
use protocol::frame::{self, Binding, HEADER_LEN_MAX, Header, Kind, TAG_LEN};
use protocol::hello::{Challenge, HELLO_LEN_MAX, Hello, RingState, Rings};
use protocol::keys::{ack_key, frame_key, hello_key, ring_id};
use protocol::record::Record;
use protocol::topic::{Channel, Topic};
use protocol::{
    CatalogueId, Counts, DeviceId, DeviceTime, Generation, JournalInstance, Lane, RingId, Secret,
    Seq,
};

use crate::raw_mqtt::RawClient;
use crate::world_of_one::World;

struct Device {
    id: DeviceId,
    secret: Secret,
    ring: RingId,
}

impl Device {
    fn topic(&self, channel: Channel) -> String {
        Topic { device: self.id, channel }.name().as_str().to_owned()
    }

    fn hello(&self) -> Vec<u8> {
        let mut rings = Rings::new();
        rings
            .push(RingState {
                lane: Lane::Bulk,
                ring: self.ring,
                first_retained: Seq(1),
                next: Seq(10),
                before_first: Counts::ZERO,
                before_next: Counts { samples: 0, events: 9 },
                acknowledged: Seq(0),
                acknowledged_by: JournalInstance::default(),
            })
            .unwrap();
        let hello = Hello {
            time: DeviceTime::default(),
            challenge: Challenge([1; 16]),
            catalogue: CatalogueId(0),
            campaign: 0,
            image: 0,
            rings,
        };
        let key = hello_key(&self.secret, &self.id, Generation::FIRST);
        let mut bytes = [0; HELLO_LEN_MAX];
        let len = hello.seal(&key, &self.id, Generation::FIRST, [3; 12], &mut bytes).unwrap();
        bytes[..len].to_vec()
    }

    fn frame(&self, seq: u64) -> Vec<u8> {
        let mut buffer = [0; 256];
        let log = protocol::event::Log {
            time: DeviceTime::default(),
            level: Level::Info,
            target: "test",
            message: "here",
        };
        let end = Record::Log(log).append(&mut buffer, HEADER_LEN_MAX).unwrap();
        let binding = Binding { device: self.id, ring: self.ring, lane: Lane::Bulk };
        let key = frame_key(&self.secret, &self.id, &self.ring, Generation::FIRST);
        let header = Header::new(Generation::FIRST, Kind::Records, Seq(seq));
        assert!(end + TAG_LEN <= buffer.len());
        let (range, _) =
            frame::seal(&key, &binding, &header, &mut buffer, HEADER_LEN_MAX..end).unwrap();
        buffer[range].to_vec()
    }

    /// Sends one payload as a bulk frame; what the agent then says it holds, if it says anything.
    fn send(&self, client: &mut RawClient, packet_id: u16, payload: &[u8]) {
        client.publish(&self.topic(Channel::Frames(Lane::Bulk)), packet_id, payload);
        client.wait_puback(packet_id);
    }

    /// Asks by a hello what the agent holds.
    fn durable(&self, client: &mut RawClient, packet_id: u16) -> protocol::ack::Ack {
        client.publish(&self.topic(Channel::Hello), packet_id, &self.hello());
        let key = ack_key(&self.secret, &self.id, &self.ring, Generation::FIRST);
        let (mut latest, mut told) = (None, false);
        while !told {
            let (kind, body) = client.read().expect("an answer to the hello");
            if kind == 0x30 {
                let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = std::str::from_utf8(&body[2..2 + topic_len]).unwrap();
                let payload = &body[2 + topic_len + 1..];
                match Topic::parse(topic).unwrap().channel {
                    Channel::Ack => {
                        latest = Some(
                            protocol::ack::Ack::open(&key, &self.id, &self.ring, payload).unwrap(),
                        );
                    }
                    // The welcome comes behind the acknowledgements.
                    _ => told = true,
                }
            }
        }
        latest.expect("an acknowledgement before the welcome")
    }
}

#[test]
fn only_real_frames_count_and_each_once() {
    let world = World::synthetic(1, 21, "");
    let agent = world.home.start().unwrap();
    let (id, secret) = world.first_key();
    let ring = ring_id(&secret, &id, Lane::Bulk, 1, &[0; 16]);
    let device = Device { id, secret: secret.clone(), ring };
    let (mut client, code) = RawClient::connect(world.home.listen, &id, &secret);
    assert_eq!(code, 0);
    // SUBSCRIBE to the acknowledgements and the downlink, at QoS 0.
    let mut subscribe = vec![0, 1, 0];
    for channel in [Channel::Ack, Channel::Downlink] {
        let topic = device.topic(channel);
        subscribe.extend_from_slice(&u16::try_from(topic.len()).unwrap().to_be_bytes());
        subscribe.extend_from_slice(topic.as_bytes());
        subscribe.push(0);
    }
    client.send(0x82, &subscribe);
    assert_eq!(client.read().unwrap().0, 0x90, "SUBACK");

    let rejected = |reason: &str| {
        let name = format!("agent_frame_rejected_total{{reason=\"{reason}\"}}");
        world.home.metric(&name).unwrap()
    };
    device.send(&mut client, 1, &device.frame(1));
    assert!(rejected("before-hello") >= 1.0, "a frame before the hello has no ring");
    assert_eq!(device.durable(&mut client, 2).durable, Seq(0));

    device.send(&mut client, 3, &device.frame(1));
    let held = device.durable(&mut client, 4);
    assert_eq!(held.durable, Seq(1));
    assert_eq!(held.tag, frame::tag_of(&device.frame(1)));

    let good = device.frame(2);
    for cut in [0, 1, 5, good.len() - 1] {
        device.send(&mut client, 5, &good[..cut]);
    }
    for bit in 0..good.len() * 8 {
        let mut bent = good.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        device.send(&mut client, 6, &bent);
    }
    let mut versioned = good.clone();
    versioned[0] |= 0xf0;
    device.send(&mut client, 7, &versioned);
    let other = Device { id, secret: Secret::new([9; 32]), ring };
    device.send(&mut client, 8, &other.frame(2));
    // Replayed, and one that runs ahead.
    device.send(&mut client, 9, &device.frame(1));
    device.send(&mut client, 10, &device.frame(5));
    assert_eq!(device.durable(&mut client, 11).durable, Seq(1), "nothing of that was taken");
    assert!(rejected("malformed") >= 4.0);
    assert!(rejected("unauthentic") >= 1.0);
    assert!(rejected("version") >= 1.0);
    assert!(world.home.metric("agent_frame_duplicate_total").unwrap() >= 1.0);
    assert!(world.home.metric("agent_frame_ahead_total").unwrap() >= 1.0);

    device.send(&mut client, 12, &good);
    assert_eq!(device.durable(&mut client, 13).durable, Seq(2), "the real one still is");

    // Oversized: the connection is closed, the agent goes on.
    let oversized = vec![0; frame::FRAME_LEN_MAX + 1];
    client.publish(&device.topic(Channel::Frames(Lane::Bulk)), 14, &oversized);
    assert!(client.is_closed());
    let (_, code) = RawClient::connect(world.home.listen, &id, &secret);
    assert_eq!(code, 0);
    world.home.wait_delivered(std::time::Duration::from_secs(30)).unwrap();
    assert_eq!(world.home.ledger().unwrap()["balanced"], true);
    World::stop(agent);
}
