//! What is bounded: sessions, bytes on their way to the acceptor, and every wait.

use std::sync::atomic::Ordering::Relaxed;

use protocol::frame::FRAME_LEN_MAX;
use tokio::net::TcpSocket;

use super::super::descriptors::LOBBY_MAX;
use super::super::session::RECEIVE_MAXIMUM;
use super::super::{End, OUTBOUND_MESSAGES_MAX, Refusal};
use super::*;

#[tokio::test]
async fn no_more_sessions_than_allowed() {
    let mut listening = Listening::start(ListenConfig { connections_max: 1, ..config() });
    let (mut one, session_one, _outbound) = listening.device("dev1").await;
    let mut two = listening.socket().await;
    two.send(&connect("dev2", "secret")).await;
    two.refused(0x97).await;
    assert_eq!(listening.gauges.refused(Refusal::Full), 1);

    // Who is in may take itself over.
    let (mut again, again_session, _outbound) = listening.device("dev1").await;
    one.disconnected(0x8e).await;
    listening.closed(session_one).await;
    again.send(&[0xe0, 0]).await;
    listening.closed(again_session).await;
    listening.device("dev2").await;
}

#[tokio::test]
async fn beyond_the_lobby_whoever_is_silent_longest_makes_room() {
    let mut listening = Listening::start(ListenConfig { connections_max: 2, ..config() });
    let (mut device, _, _outbound) = listening.device("dev1").await;
    let mut silent = std::collections::VecDeque::new();
    for _ in 0..=LOBBY_MAX {
        silent.push_back(listening.socket().await);
    }
    assert_eq!(listening.gauges.turned_away.load(Relaxed), 0);
    // However many come and say nothing, there are never more; and who speaks gets in.
    for gone in 1..=3 {
        silent.push_back(listening.socket().await);
        silent.pop_front().unwrap().ended().await;
        assert_eq!(listening.gauges.turned_away.load(Relaxed), gone);
    }
    let (mut other, _, _outbound_too) = listening.device("dev2").await;
    silent.pop_front().unwrap().ended().await;
    assert_eq!(listening.gauges.turned_away.load(Relaxed), 4);
    assert_eq!(listening.gauges.healthy(), Ok(()));
    device.ping().await;
    other.ping().await;
    // The rest are still there.
    let mut last = silent.pop_back().unwrap();
    last.send(&connect("dev3", "secret")).await;
    last.refused(0x97).await;
}

#[tokio::test]
async fn beyond_the_lobby_nobody_is_put_out_who_has_spoken() {
    let refusal_delay = Duration::from_hours(1);
    let listening =
        Listening::start(ListenConfig { connections_max: 1, refusal_delay, ..config() });
    let mut refused = Vec::new();
    for _ in 0..=LOBBY_MAX {
        let mut stranger = listening.socket().await;
        stranger.send(&connect("stranger", "secret")).await;
        refused.push(stranger);
    }
    while listening.gauges.refused(Refusal::Unknown) <= LOBBY_MAX as u64 {
        tokio::task::yield_now().await;
    }
    listening.socket().await.ended().await;
    assert_eq!(listening.gauges.turned_away.load(Relaxed), 1);
}

#[tokio::test]
async fn a_full_queue_stops_reading_and_refuses_new_sessions() {
    let mut listening = Listening::with_queue(config(), 1);
    let (mut client, _, outbound) = listening.device("dev1").await;
    for packet_id in 1..=RECEIVE_MAXIMUM {
        client.send(&publish(QOS_1, "m0/dev1/b", packet_id, &[0; 1000])).await;
    }
    client.send(&[0xc0, 0]).await;

    // Once the first is queued, the queue is full: new sessions are refused.
    let mut refused = 0;
    while listening.inbound.is_empty() {
        tokio::task::yield_now().await;
        refused += 1;
        assert!(refused < 100_000, "nothing arrives");
    }
    let mut other = listening.socket().await;
    other.send(&connect("dev2", "secret")).await;
    other.refused(0x89).await;
    assert_eq!(listening.gauges.refused(Refusal::Busy), 1);

    // What the acceptor says gets through meanwhile; what comes behind the publishes does not.
    outbound.try_send(Outbound::PubAck(1)).unwrap();
    assert_eq!(client.packet().await, (0x40, vec![0, 1]));

    for packet_id in 1..=RECEIVE_MAXIMUM {
        let (_, payload, id) = listening.published().await;
        assert_eq!((payload.len(), id), (1000, Some(packet_id)));
    }
    assert_eq!(client.packet().await, (0xd0, vec![]), "the PINGREQ was read last");
}

#[tokio::test]
async fn bytes_on_their_way_are_bounded() {
    let config = ListenConfig { queued_bytes_max: FRAME_LEN_MAX, ..config() };
    let mut listening = Listening::start(config);
    let (mut one, session_one, _outbound) = listening.device("dev1").await;
    one.send(&publish(QOS_0, "m0/dev1/b", 0, &[1; FRAME_LEN_MAX])).await;
    let held = listening.next().await;
    let (mut two, _, _outbound_two) = listening.device("dev2").await;
    two.send(&publish(QOS_0, "m0/dev2/b", 0, &[2])).await;
    // A third device's conversation: the second publish had its chance meanwhile.
    let (mut three, _, _outbound_three) = listening.device("dev3").await;
    three.ping().await;
    assert!(listening.inbound.is_empty(), "no room while the first message is held");
    drop(held);
    assert_eq!(listening.published().await.1, [2]);

    // A session that ends with a publish waiting for room ends all the same.
    one.send(&publish(QOS_0, "m0/dev1/b", 0, &[3; FRAME_LEN_MAX])).await;
    let held = listening.next().await;
    one.send(&publish(QOS_0, "m0/dev1/b", 0, &[4])).await;
    let (mut again, _, _outbound) = {
        let device = listening.device("dev1").await;
        one.disconnected(0x8e).await;
        listening.closed(session_one).await;
        device
    };
    drop(held);
    again.send(&publish(QOS_0, "m0/dev1/b", 0, &[5; FRAME_LEN_MAX])).await;
    assert_eq!(listening.published().await.1.first(), Some(&5), "its room was given back");
}

#[tokio::test]
async fn more_unacknowledged_than_the_receive_maximum_end_the_session() {
    let mut listening = Listening::start(config());
    let (mut client, _, _outbound) = listening.device("dev1").await;
    for packet_id in 1..=RECEIVE_MAXIMUM + 1 {
        client.send(&publish(QOS_1, "m0/dev1/b", packet_id, b"x")).await;
    }
    client.disconnected(0x93).await;
    assert_eq!(listening.gauges.ended(End::ReceiveMaximum), 1);
    assert_eq!(listening.gauges.publishes.load(Relaxed), u64::from(RECEIVE_MAXIMUM));
}

#[tokio::test]
async fn who_says_nothing_is_closed() {
    let listening = Listening::start(config());
    let mut client = listening.socket().await;
    tokio::time::pause();
    client.ended().await;
    assert_eq!(listening.gauges.refused(Refusal::Late), 1);
}

#[tokio::test]
async fn who_says_a_byte_per_second_is_closed() {
    let mut listening = Listening::start(config());
    let mut stranger = listening.socket().await;
    let (mut device, session, _outbound) = listening.device("dev1").await;
    tokio::time::pause();

    for byte in connect("dev2", "secret") {
        if stranger.stream.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stranger.ended().await;
    assert_eq!(listening.gauges.refused(Refusal::Late), 1);

    // Bytes are no life sign, whole packets are.
    for byte in publish(QOS_1, "m0/dev1/b", 1, &[0; 200]) {
        if device.stream.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    device.disconnected(0x8d).await;
    listening.closed(session).await;
    assert_eq!(listening.gauges.ended(End::Silent), 1);
}

#[tokio::test]
async fn a_keep_alive_that_is_kept_keeps_the_session() {
    let mut listening = Listening::start(config());
    let (mut client, session, _outbound) = listening.device("dev1").await;
    tokio::time::pause();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        client.ping().await;
    }
    client.disconnected(0x8d).await;
    listening.closed(session).await;
}

#[tokio::test]
async fn who_does_not_read_is_given_up() {
    let mut listening = Listening::start(config());
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = Client { stream: socket.connect(listening.address).await.unwrap() };
    client.send(&connect("dev1", "secret")).await;
    client.packet().await;
    let inbound = listening.next().await;
    let outbound = opened(inbound);
    client.subscribe("dev1").await;

    // Fill the system's buffers, then ours.
    let message = || Outbound::Publish(Channel::Downlink, vec![0; FRAME_LEN_MAX]);
    let mut unmoved = 0;
    for _ in 0..100_000 {
        if outbound.try_send(message()).is_ok() {
            unmoved = 0;
        } else {
            unmoved += 1;
        }
        if unmoved == 100 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(outbound.capacity(), 0, "{OUTBOUND_MESSAGES_MAX} wait, no more");

    tokio::time::pause();
    let closed = listening.next().await;
    assert!(matches!(closed.message, Message::Closed));
    assert_eq!(listening.gauges.ended(End::Slow), 1);
}
