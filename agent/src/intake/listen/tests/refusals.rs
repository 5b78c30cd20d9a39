//! Who does not get in, and what ends a session.

use std::sync::atomic::Ordering::Relaxed;

use super::super::{End, ListenError, PACKET_LEN_MAX, Refusal};
use super::*;

#[tokio::test]
async fn wrong_credentials_are_refused_by_reason() {
    let listening = Listening::start(config());
    for (bytes, code, reason) in [
        (connect("dev1", "guess"), 0x86, Refusal::WrongPassword),
        (connect("nobody", "secret"), 0x86, Refusal::Unknown),
        (connect("revoked", "secret"), 0x87, Refusal::Revoked),
        (connect("broken", "secret"), 0x88, Refusal::Unavailable),
        (connect_as("dev1", "dev2", "secret", 60), 0x86, Refusal::Identity),
        (connect_as("", "", "secret", 60), 0x86, Refusal::Identity),
        (connect("dev/1", "secret"), 0x86, Refusal::Identity),
        (connect(&"dev".repeat(11), "secret"), 0x86, Refusal::Identity),
    ] {
        let before = listening.gauges.refused(reason);
        let mut client = listening.socket().await;
        client.send(&bytes).await;
        client.refused(code).await;
        assert_eq!(listening.gauges.refused(reason), before + 1, "{reason}");
    }
    assert_eq!(listening.gauges.accepted.load(Relaxed), 0);
    assert!(listening.inbound.is_empty(), "the acceptor hears nothing of it");
}

#[tokio::test]
async fn a_connect_without_user_name_is_refused() {
    let listening = Listening::start(config());
    let mut client = listening.socket().await;
    let body = [text("MQTT"), vec![5, 2, 0, 60, 0], text("dev1")].concat();
    client.send(&packet(0x10, &body)).await;
    client.refused(0x86).await;
    assert_eq!(listening.gauges.refused(Refusal::Identity), 1);
}

#[tokio::test]
async fn features_that_we_do_not_have_are_refused() {
    let listening = Listening::start(config());
    let credentials = [text("dev1"), text("secret")].concat();
    let will = [text("m0/dev1/b"), text("gone")].concat();
    let with_will =
        [text("MQTT"), vec![5, 0b1100_0110, 0, 60, 0], text("dev1"), vec![0], will, credentials];
    let method = [vec![0x15], text("SCRAM")].concat();
    let credentials = [text("dev1"), text("dev1"), text("secret")].concat();
    let with_method = [text("MQTT"), vec![5, 0b1100_0010, 0, 60, 8], method, credentials];
    for body in [with_will.concat(), with_method.concat()] {
        let mut client = listening.socket().await;
        client.send(&packet(0x10, &body)).await;
        client.refused(0x83).await;
    }
    assert_eq!(listening.gauges.refused(Refusal::Unsupported), 2);
}

#[tokio::test]
async fn a_malformed_connect_is_told_so() {
    let listening = Listening::start(config());
    let truncated = [text("MQTT"), vec![5, 0b1100_0010, 0, 60, 0], text("dev1"), text("dev1")];
    let mut client = listening.socket().await;
    client.send(&packet(0x10, &truncated.concat())).await;
    client.refused(0x81).await;
    assert_eq!(listening.gauges.malformed(), 1);
}

#[tokio::test]
async fn older_clients_are_told_in_their_own_version() {
    let listening = Listening::start(config());
    let tail = [vec![0, 60], text("dev1")].concat();
    let v3_1_1 = [text("MQTT"), vec![4, 2], tail.clone()].concat();
    let v3_1 = [text("MQIsdp"), vec![3, 2], tail.clone()].concat();
    for body in [v3_1_1, v3_1] {
        let mut client = listening.socket().await;
        client.send(&packet(0x10, &body)).await;
        assert_eq!(client.packet().await, (0x20, vec![0, 1]));
        client.ended().await;
    }
    let mut client = listening.socket().await;
    client.send(&packet(0x10, &[text("MQTT"), vec![6, 2], tail].concat())).await;
    client.refused(0x84).await;
    assert_eq!(listening.gauges.refused(Refusal::Version), 3);
}

#[tokio::test]
async fn a_forbidden_packet_ends_the_session_with_its_reason() {
    let mut listening = Listening::start(config());
    let own = "m0/dev1/b";
    let aliased = |topic, alias| {
        packet(0x30, &[text(topic), vec![3, 0x23, 0, alias], b"x".to_vec()].concat())
    };
    let with_identifier = [vec![0, 1, 2, 0x0b, 1], text("m0/dev1/a"), vec![0]].concat();
    for (bytes, code, end) in [
        (publish(QOS_1, "m0/dev2/b", 1, b"x"), 0x87, End::ForeignTopic),
        (publish(QOS_1, "m0/dev1/a", 1, b"x"), 0x87, End::ForeignTopic),
        (publish(QOS_0, "m0/dev1/d", 0, b"x"), 0x87, End::ForeignTopic),
        (publish(QOS_1, "m0/dev1/x", 1, b"x"), 0x90, End::UnknownTopic),
        (publish(QOS_1, "weather", 1, b"x"), 0x90, End::UnknownTopic),
        (publish(QOS_0, "", 0, b"x"), 0x82, End::Protocol),
        (publish(QOS_2, own, 1, b"x"), 0x9b, End::Qos),
        (publish(QOS_1 | RETAIN, own, 1, b"x"), 0x9a, End::Retain),
        (publish(QOS_1, own, 0, b"x"), 0x82, End::Protocol),
        (publish(QOS_1, own, 1, &[0; 8193]), 0x95, End::TooLarge),
        (aliased(own, 5), 0x94, End::TopicAlias),
        (aliased("", 0), 0x82, End::Protocol),
        (aliased("", 1), 0x82, End::Protocol),
        (aliased("m0/dev2/b", 1), 0x87, End::ForeignTopic),
        (packet(0x82, &with_identifier), 0xa1, End::SubscriptionIdentifier),
        (subscribe(0, &["m0/dev1/a"]), 0x82, End::Protocol),
        (packet(0x82, &[0, 1, 0]), 0x82, End::Protocol),
        (packet(0x80, &[0, 1, 0]), 0x81, End::Malformed),
        (packet(0x36, b"QoS 3"), 0x81, End::Malformed),
        (packet(0x30, &[0xff; 9]), 0x81, End::Malformed),
        (packet(0x00, &[]), 0x81, End::Malformed),
        (packet(0xc0, &[1]), 0x81, End::Malformed),
        (packet(0x40, &[0, 1]), 0x82, End::Protocol),
        (packet(0x62, &[0, 1]), 0x82, End::Protocol),
        (packet(0xf0, &[0x18, 0]), 0x82, End::Protocol),
        (connect("dev1", "secret"), 0x82, End::Protocol),
        (vec![0xc0, 0xff, 0xff, 0xff, 0xff, 0x7f], 0x81, End::Malformed),
    ] {
        let before = listening.gauges.ended(end);
        let (mut client, session, _outbound) = listening.device("dev1").await;
        client.send(&bytes).await;
        client.disconnected(code).await;
        listening.closed(session).await;
        assert_eq!(listening.gauges.ended(end), before + 1, "{end} after {bytes:02x?}");
    }
    assert!(listening.gauges.malformed() > 0);
}

#[tokio::test]
async fn a_packet_beyond_the_limit_is_refused_by_its_header() {
    let mut listening = Listening::start(config());
    let (mut client, session, _outbound) = listening.device("dev1").await;
    // Header only: the body is never waited for.
    let whole = packet(0x30, &vec![0; usize::try_from(PACKET_LEN_MAX).unwrap()]);
    client.send(&whole[..3]).await;
    client.disconnected(0x95).await;
    listening.closed(session).await;
}

#[tokio::test]
async fn what_was_sent_before_the_forbidden_packet_counts() {
    let mut listening = Listening::start(config());
    let (mut client, session, _outbound) = listening.device("dev1").await;
    let both = [publish(QOS_1, "m0/dev1/b", 1, b"good"), publish(QOS_2, "m0/dev1/b", 2, b"bad")];
    client.send(&both.concat()).await;
    assert_eq!(listening.published().await, (BULK, b"good".to_vec(), Some(1)));
    listening.closed(session).await;
}

#[tokio::test]
async fn errors_at_start_say_what_to_do() {
    let listening = Listening::start(config());
    let mut taken = config();
    taken.address = listening.address;
    let error = Listener::bind(taken).unwrap_err();
    assert!(matches!(error, ListenError::InUse(address) if address == listening.address));
    let told = error.to_string();
    for part in [&listening.address.to_string(), "already in use", "choose another address"] {
        assert!(told.contains(part), "{told}");
    }

    let mut elsewhere = config();
    elsewhere.address = "192.0.2.1:0".parse().unwrap();
    let error = Listener::bind(elsewhere).unwrap_err();
    assert!(matches!(error, ListenError::NoSuchAddress(_)), "{error}");
}
