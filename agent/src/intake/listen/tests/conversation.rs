//! What a device that keeps to the rules sees.

use std::sync::atomic::Ordering::Relaxed;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{Event, role};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, SubEntry, SubOpts, v5_0};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, DisconnectReasonCode, SubackReasonCode,
};
use mqtt_protocol_core::mqtt::{Connection, Version};

use super::super::{End, ListenHealth, PACKET_LEN_MAX, Refusal};
use super::*;

#[tokio::test]
async fn a_frame_goes_in_and_its_puback_and_an_ack_come_out() {
    let mut listening = Listening::start(config());
    let (mut client, session, outbound) = listening.device("dev1").await;
    client.subscribe("dev1").await;

    client.send(&publish(QOS_1, "m0/dev1/b", 7, b"sealed")).await;
    client.send(&publish(QOS_0, "m0/dev1/h", 0, b"hello")).await;
    assert_eq!(listening.published().await, (BULK, b"sealed".to_vec(), Some(7)));
    assert_eq!(listening.published().await, (Channel::Hello, b"hello".to_vec(), None));

    // No PUBACK until the acceptor says so: the PINGRESP comes first.
    client.ping().await;
    outbound.try_send(Outbound::PubAck(7)).unwrap();
    outbound.try_send(Outbound::Publish(Channel::Ack, b"durable".to_vec())).unwrap();
    assert_eq!(client.packet().await, (0x40, vec![0, 7]));
    let (first, body) = client.packet().await;
    assert_eq!((first, body), (0x30, [text("m0/dev1/a"), vec![0], b"durable".to_vec()].concat()));

    client.send(&[0xe0, 0]).await;
    listening.closed(session).await;
    client.ended().await;
    assert_eq!(listening.gauges.ended(End::Left), 1);
    assert_eq!(listening.gauges.publishes.load(Relaxed), 2);
    assert_eq!(listening.gauges.connections.load(Relaxed), 0);
    assert_eq!(listening.gauges.malformed(), 0);
}

#[tokio::test]
async fn the_connack_tells_the_limits() {
    let listening = Listening::start(config());
    let mut client = listening.socket().await;
    // No keep alive, and a session that should live for an hour.
    let mut body = text("MQTT");
    body.extend([5, 0b1100_0000, 0, 0, 5, 0x11, 0, 0, 0x0e, 0x10]);
    body.extend([text("dev1"), text("dev1"), text("secret")].concat());
    client.send(&packet(0x10, &body)).await;

    let (first, body) = client.packet().await;
    assert_eq!((first, &body[..3]), (0x20, &[0, 0, 29][..]), "no session present");
    let [high, low] = u16::try_from(PACKET_LEN_MAX).unwrap().to_be_bytes();
    let properties = [
        &[0x21, 0, 16][..],       // receive maximum
        &[0x27, 0, 0, high, low], // maximum packet size
        &[0x24, 1],               // maximum QoS
        &[0x22, 0, 4],            // topic alias maximum
        &[0x25, 0],               // retain available
        &[0x28, 0],               // wildcard subscription available
        &[0x29, 0],               // subscription identifiers available
        &[0x2a, 0],               // shared subscription available
        &[0x11, 0, 0, 0, 0],      // session expiry interval
        &[0x13, 0x0e, 0x10],      // server keep alive
    ];
    assert_eq!(body[3..], properties.concat());
}

#[tokio::test]
async fn an_alias_stands_for_the_topic_that_it_was_sent_with_last() {
    let mut listening = Listening::start(config());
    let (mut client, _, _outbound) = listening.device("dev1").await;
    let aliased = |topic, payload: &[u8]| {
        packet(0x30, &[text(topic), vec![3, 0x23, 0, 4], payload.to_vec()].concat())
    };
    let critical = Channel::Frames(protocol::Lane::Critical);
    for (topic, channel) in
        [("m0/dev1/b", BULK), ("", BULK), ("m0/dev1/c", critical), ("", critical)]
    {
        client.send(&aliased(topic, b"x")).await;
        assert_eq!(listening.published().await, (channel, b"x".to_vec(), None));
    }
}

#[tokio::test]
async fn pubacks_of_one_commit_leave_together_and_only_once() {
    let mut listening = Listening::start(config());
    let (mut client, _, outbound) = listening.device("dev1").await;
    for packet_id in 1..=16 {
        client.send(&publish(QOS_1, "m0/dev1/c", packet_id, b"x")).await;
    }
    for packet_id in 1..=16 {
        assert_eq!(listening.published().await.2, Some(packet_id));
    }
    for packet_id in [1, 1, 99] {
        outbound.try_send(Outbound::PubAck(packet_id)).unwrap();
    }
    for packet_id in 2..=16 {
        outbound.try_send(Outbound::PubAck(packet_id)).unwrap();
    }
    let mut all = [0; 64];
    let read = timeout(PATIENCE, client.stream.read(&mut all)).await.unwrap().unwrap();
    assert_eq!(read, 64, "sixteen in one write");
    client.ping().await;
    // The window is open again.
    client.send(&publish(QOS_1, "m0/dev1/c", 1, b"y")).await;
    assert_eq!(listening.published().await.1, b"y");
}

#[tokio::test]
async fn only_what_is_subscribed_and_fits_is_published() {
    let mut listening = Listening::start(config());
    let mut client = listening.socket().await;
    // Takes packets of up to 64 bytes.
    let mut body = text("MQTT");
    body.extend([5, 0b1100_0010, 0, 60, 5, 0x27, 0, 0, 0, 64]);
    body.extend([text("dev1"), text("dev1"), text("secret")].concat());
    client.send(&packet(0x10, &body)).await;
    client.packet().await;
    let outbound = opened(listening.next().await);

    let filters = ["m0/dev1/a", "m0/dev2/a", "m0/dev1/b", "m0/dev1/+", "#", "$share/x/m0/dev1/d"];
    client.send(&subscribe(9, &filters)).await;
    let denied = 0x87;
    let codes = vec![0, 9, 0, 0, denied, denied, denied, denied, denied];
    assert_eq!(client.packet().await, (0x90, codes));

    outbound.try_send(Outbound::Publish(Channel::Downlink, b"no".to_vec())).unwrap();
    outbound.try_send(Outbound::Publish(BULK, b"no".to_vec())).unwrap();
    outbound.try_send(Outbound::Publish(Channel::Ack, vec![0; 64])).unwrap();
    outbound.try_send(Outbound::Publish(Channel::Ack, b"yes".to_vec())).unwrap();
    assert!(client.packet().await.1.ends_with(b"yes"));
    assert_eq!(listening.gauges.unsent.load(Relaxed), 3);

    let mut unsubscribe = vec![0, 10, 0];
    unsubscribe.extend([text("m0/dev1/a"), text("m0/dev1/d"), text("m0/dev2/a")].concat());
    client.send(&packet(0xa2, &unsubscribe)).await;
    assert_eq!(client.packet().await, (0xb0, vec![0, 10, 0, 0, 0x11, denied]));
    outbound.try_send(Outbound::Publish(Channel::Ack, b"no".to_vec())).unwrap();
    client.ping().await;
    assert_eq!(listening.gauges.unsent.load(Relaxed), 4);
}

#[tokio::test]
async fn a_device_takes_its_own_session_over() {
    let mut listening = Listening::start(config());
    let (mut first, first_session, _first_outbound) = listening.device("dev1").await;
    let (mut second, second_session, _outbound) = listening.device("dev1").await;
    assert!(second_session > first_session);
    first.disconnected(0x8e).await;
    listening.closed(first_session).await;
    second.ping().await;
    assert_eq!(listening.gauges.ended(End::TakenOver), 1);
    assert_eq!(listening.gauges.connections.load(Relaxed), 1);
}

#[tokio::test]
async fn the_acceptor_closes_or_gives_up() {
    let mut listening = Listening::start(config());
    let (mut client, session, outbound) = listening.device("dev1").await;
    outbound.try_send(Outbound::Close).unwrap();
    client.disconnected(0x98).await;
    listening.closed(session).await;

    let (mut client, session, outbound) = listening.device("dev2").await;
    drop(outbound);
    client.disconnected(0x98).await;
    listening.closed(session).await;
    assert_eq!(listening.gauges.ended(End::Closed), 2);
}

#[tokio::test]
async fn stopping_says_so_to_everyone() {
    let mut listening = Listening::start(config());
    let mut silent = listening.socket().await;
    let (mut one, session_one, _outbound_one) = listening.device("dev1").await;
    let (mut two, session_two, _outbound_two) = listening.device("dev2").await;
    assert_eq!(listening.gauges.healthy(), Ok(()));

    listening.stop.cancel();
    one.disconnected(0x8b).await;
    two.disconnected(0x8b).await;
    silent.ended().await;
    drop((one, two));
    timeout(PATIENCE, &mut listening.server).await.expect("a stop").unwrap();
    let mut closed = [listening.next().await, listening.next().await].map(|inbound| {
        assert!(matches!(inbound.message, Message::Closed));
        inbound.session
    });
    closed.sort();
    assert_eq!(closed, [session_one, session_two]);
    assert!(listening.inbound.recv().await.is_none(), "nothing after the last Closed");
    assert_eq!(listening.gauges.health(), ListenHealth::Stopped);
    assert_eq!(listening.gauges.refused(Refusal::Unavailable), 1);
    assert!(TcpStream::connect(listening.address).await.is_err());
}

/// The other side of the library that our packets are from: its own client, not bytes of ours.
#[tokio::test]
async fn an_independent_client_is_understood() {
    let mut listening = Listening::start(config());
    let mut client =
        Independent { client: listening.socket().await, mqtt: Connection::new(Version::V5_0) };

    let connect = v5_0::Connect::builder().clean_start(true).keep_alive(30).client_id("dev1");
    let connect = connect.and_then(|c| c.user_name("dev1")).and_then(|c| c.password(b"secret"));
    client.send(connect.unwrap().build().unwrap().into()).await;
    let Packet::V5_0Connack(connack) = client.receive().await else { panic!("no CONNACK") };
    assert_eq!(connack.reason_code(), ConnectReasonCode::Success);
    let outbound = opened(listening.next().await);

    let packet_id = client.mqtt.acquire_packet_id().unwrap();
    let entry = SubEntry::new("m0/dev1/a", SubOpts::new().set_qos(Qos::AtLeastOnce)).unwrap();
    let subscribe = v5_0::Subscribe::builder().packet_id(packet_id).entries(vec![entry]);
    client.send(subscribe.build().unwrap().into()).await;
    let Packet::V5_0Suback(suback) = client.receive().await else { panic!("no SUBACK") };
    assert_eq!(suback.reason_codes(), [SubackReasonCode::GrantedQos0]);

    let packet_id = client.mqtt.acquire_packet_id().unwrap();
    let publish = v5_0::Publish::builder().topic_name("m0/dev1/l").unwrap();
    let publish = publish.qos(Qos::AtLeastOnce).packet_id(packet_id).payload(vec![7; 8192]);
    client.send(publish.build().unwrap().into()).await;
    let latest = Channel::Frames(Lane::Latest);
    assert_eq!(listening.published().await, (latest, vec![7; 8192], Some(packet_id)));

    outbound.try_send(Outbound::PubAck(packet_id)).unwrap();
    outbound.try_send(Outbound::Publish(Channel::Ack, b"durable".to_vec())).unwrap();
    let Packet::V5_0Puback(puback) = client.receive().await else { panic!("no PUBACK") };
    assert_eq!(puback.packet_id(), packet_id);
    let Packet::V5_0Publish(ack) = client.receive().await else { panic!("no PUBLISH") };
    assert_eq!((ack.topic_name(), ack.payload().as_slice()), ("m0/dev1/a", &b"durable"[..]));

    outbound.try_send(Outbound::Close).unwrap();
    let Packet::V5_0Disconnect(disconnect) = client.receive().await else { panic!("no end") };
    assert_eq!(disconnect.reason_code(), Some(DisconnectReasonCode::AdministrativeAction));
}

struct Independent {
    client: Client,
    mqtt: Connection<role::Client>,
}

impl Independent {
    async fn send(&mut self, packet: Packet) {
        for event in self.mqtt.send(packet) {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.client.send(&packet.to_continuous_buffer()).await;
                }
                Event::NotifyError(error) => panic!("{error}"),
                _ => {}
            }
        }
    }

    async fn receive(&mut self) -> Packet {
        let (first, body) = self.client.packet().await;
        let bytes = packet(first, &body);
        let mut cursor = Cursor::new(&bytes[..]);
        let events = self.mqtt.recv(&mut cursor);
        let received = events.into_iter().find_map(|event| match event {
            Event::NotifyPacketReceived(packet) => Some(packet),
            Event::NotifyError(error) => panic!("{error}"),
            _ => None,
        });
        received.expect("a whole packet")
    }
}
