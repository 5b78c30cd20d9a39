use std::vec::Vec;

use super::*;

type Client = Mqtt<512, 384>;

const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
const SUBACK: &[u8] = &[0x90, 5, 0, 1, 0, 0, 0];

fn client() -> Client {
    Mqtt::new("truck-1".parse().unwrap(), &Secret::new([1; 32]))
}

fn drain(client: &mut Client) -> Vec<u8> {
    let bytes = client.outgoing().to_vec();
    client.written(bytes.len());
    bytes
}

fn feed(client: &mut Client, bytes: &[u8]) {
    client.room()[..bytes.len()].copy_from_slice(bytes);
    client.received(bytes.len());
}

fn event(client: &mut Client, now_ms: u64) -> Option<LinkEvent> {
    client.event(now_ms, &mut [0; 256])
}

fn up() -> Client {
    let mut client = client();
    client.connect(0);
    assert_eq!(client.transport(), Transport::Open);
    client.opened(0);
    drain(&mut client);
    feed(&mut client, CONNACK);
    assert_eq!(event(&mut client, 0), None);
    drain(&mut client);
    feed(&mut client, SUBACK);
    assert_eq!(event(&mut client, 0), Some(LinkEvent::Up));
    client
}

#[test]
fn connects_and_subscribes_byte_for_byte() {
    let mut client = client();
    client.connect(0);
    client.opened(0);
    let password =
        protocol::keys::mqtt_password(&Secret::new([1; 32]), &"truck-1".parse().unwrap());
    let mut expected = b"\x10\x44\x00\x04MQTT\x05\xc2\x00\x3c\x05\x27\x00\x00\x01\x80".to_vec();
    expected.extend(b"\x00\x07truck-1\x00\x07truck-1\x00\x20");
    expected.extend(password);
    assert_eq!(drain(&mut client), expected);
    feed(&mut client, CONNACK);
    assert_eq!(event(&mut client, 0), None);
    let expected = b"\x82\x21\x00\x01\x00\x00\x0cm0/truck-1/a\x20\x00\x0cm0/truck-1/d\x20";
    assert_eq!(drain(&mut client), expected.to_vec()[..]);
}

#[test]
fn publishes_a_few_at_once_and_counts_their_acknowledgements() {
    let mut client = up();
    let bulk = Channel::Frames(protocol::Lane::Bulk);
    for _ in 0..IN_FLIGHT_MAX {
        client.publish(bulk, b"hi").unwrap();
    }
    assert!(!client.is_ready());
    assert_eq!(client.publish(bulk, b"hi"), Err(WouldBlock));
    assert_eq!(client.publish(Channel::Hello, b"hi"), Ok(()), "a hello still goes out");
    let first = b"\x32\x13\x00\x0cm0/truck-1/b\x00\x02\x00hi";
    assert_eq!(drain(&mut client)[..first.len()], first[..]);
    feed(&mut client, &[0x40, 2, 0, 9]);
    assert_eq!(event(&mut client, 0), None, "never sent");
    for (id, ready) in [(2, false), (3, true)] {
        feed(&mut client, &[0x40, 3, 0, id, 0x10]);
        assert_eq!(event(&mut client, 0), Some(LinkEvent::Published));
        assert_eq!(client.is_ready(), ready);
    }
    feed(&mut client, &[0x40, 2, 0, 2]);
    assert_eq!(event(&mut client, 0), None, "twice");
}

#[test]
fn a_topic_is_said_once_in_a_connection_if_the_server_takes_aliases() {
    let up = |alias_max| {
        let mut client = client();
        client.connect(0);
        client.opened(0);
        drain(&mut client);
        feed(&mut client, &[0x20, 6, 0, 0, 3, 0x22, 0, alias_max]);
        assert_eq!(event(&mut client, 0), None);
        drain(&mut client);
        feed(&mut client, SUBACK);
        assert_eq!(event(&mut client, 0), Some(LinkEvent::Up));
        client
    };
    let (bulk, hello) = (Channel::Frames(Lane::Bulk), Channel::Hello);
    let mut client = up(3);
    for channel in [bulk, hello, bulk, hello] {
        client.publish(channel, b"hi").unwrap();
    }
    let mut expected = b"\x32\x16\x00\x0cm0/truck-1/b\x00\x02\x03\x23\x00\x02hi".to_vec();
    // The hello's would be 4.
    expected.extend(b"\x32\x13\x00\x0cm0/truck-1/h\x00\x03\x00hi");
    expected.extend(b"\x32\x0a\x00\x00\x00\x04\x03\x23\x00\x02hi");
    expected.extend(b"\x32\x13\x00\x0cm0/truck-1/h\x00\x05\x00hi");
    assert_eq!(drain(&mut client), expected);
    // A new connection knows none of the old one's.
    let mut client = up(4);
    client.publish(bulk, b"hi").unwrap();
    assert!(drain(&mut client).starts_with(b"\x32\x16\x00\x0cm0/truck-1/b"));
}

#[test]
fn the_server_may_ask_for_fewer_at_once() {
    let mut client = client();
    client.connect(0);
    client.opened(0);
    feed(&mut client, &[0x20, 9, 0, 0, 6, 0x21, 0, 1, 0x13, 0, 20]);
    event(&mut client, 0);
    feed(&mut client, SUBACK);
    assert_eq!(event(&mut client, 0), Some(LinkEvent::Up));
    client.publish(Channel::Hello, b"hi").unwrap();
    assert!(!client.is_ready());
    assert_eq!(client.deadline(), Some(15_000), "three quarters of its keep alive");
}

#[test]
fn messages_come_in_whatever_pieces() {
    let mut client = up();
    let message = b"\x30\x14\x00\x0cm0/truck-1/a\x00hello";
    let foreign = b"\x30\x14\x00\x0cm0/truck-2/a\x00hello";
    for piece in foreign.chunks(3).chain(message.chunks(1)) {
        assert_eq!(event(&mut client, 0), None);
        feed(&mut client, piece);
    }
    let mut into = [0; 256];
    let event = client.event(0, &mut into);
    assert_eq!(event, Some(LinkEvent::Message { channel: Channel::Ack, len: 5 }));
    assert_eq!(&into[..5], b"hello");
}

#[test]
fn a_full_server_is_told_from_a_broken_one() {
    for (bytes, busy) in [
        (&[0x20, 3, 0, 0x97, 0][..], true),
        (&[0x20, 3, 0, 0x89, 0], true),
        (&[0x20, 3, 0, 0x86, 0], false),
        (&[0xe0, 1, 0x89], true),
        (&[0xe0, 0], false),
        (&[0x30, 0xff, 0xff, 0xff, 0xff, 1], false),
        (&[0x30, 0xff, 0x7f], false),
        (&[0x60, 0], false),
        (SUBACK, false),
    ] {
        let mut client = client();
        client.connect(0);
        client.opened(0);
        feed(&mut client, bytes);
        assert_eq!(event(&mut client, 0), Some(LinkEvent::Down { busy }), "{bytes:x?}");
        assert_eq!(client.transport(), Transport::Close);
        assert_eq!(event(&mut client, 0), None);
    }
}

#[test]
fn pings_when_idle_and_gives_up_without_an_answer() {
    let mut client = up();
    drain(&mut client);
    assert_eq!(client.deadline(), Some(45_000));
    event(&mut client, 44_999);
    assert_eq!(drain(&mut client), []);
    event(&mut client, 45_000);
    assert_eq!(drain(&mut client), packet::PINGREQ);
    feed(&mut client, &[0xd0, 0]);
    assert_eq!(event(&mut client, 46_000), None);
    assert_eq!(client.deadline(), Some(90_000));
    event(&mut client, 90_000);
    assert_eq!(client.deadline(), Some(120_000));
    assert_eq!(event(&mut client, 120_000), Some(LinkEvent::Down { busy: false }));
}

#[test]
fn a_frame_that_does_not_fit_waits_for_room() {
    let mut client = up();
    drain(&mut client);
    client.publish(Channel::Hello, &[0; 400]).unwrap();
    assert_eq!(client.publish(Channel::Hello, &[0; 400]), Err(WouldBlock));
    client.written(200);
    assert_eq!(client.publish(Channel::Hello, &[0; 100]), Ok(()));
    assert_eq!(drain(&mut client).len(), 420 - 200 + 119);
}

#[test]
fn nothing_survives_a_reconnect() {
    let mut client = up();
    client.publish(Channel::Hello, b"hi").unwrap();
    client.closed();
    assert_eq!(event(&mut client, 0), Some(LinkEvent::Down { busy: false }));
    client.connect(5);
    client.opened(5);
    let connect = drain(&mut client);
    assert_eq!(connect[0], 0x10);
    assert_eq!(connect.len(), 70, "CONNECT alone");
}
