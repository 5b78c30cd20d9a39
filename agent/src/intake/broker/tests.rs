//! The desk by hand: what it tells the acceptor and the broker, in every order of events.

use std::sync::Arc;

use protocol::frame::FRAME_LEN_MAX;
use protocol::topic::Channel;
use protocol::{DeviceId, Lane};

use super::desk::{Arrival, Broken, Desk};
use super::gauges::{BrokerGauges, Unheard};
use crate::intake::{
    Admission, Admit, Inbound, Message, Outbound, Replies, Reply, SharedReceiver, SharedReplies,
};

/// Knows `dev...`, has shut out `revoked`, and cannot tell about `broken`.
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
            name if name.starts_with("dev") => Admission::Admitted,
            _ => Admission::Unknown,
        }
    }
}

/// A desk, the broker's end of it and the acceptor's.
struct Office {
    desk: Desk<Known>,
    gauges: Arc<BrokerGauges>,
    replies: SharedReceiver,
}

impl Office {
    fn new(in_flight_max: u16, sessions_max: usize) -> Self {
        let gauges = Arc::new(BrokerGauges::default());
        let (shared, replies) = SharedReplies::new(gauges.unsent.clone());
        let desk = Desk::new(Known, Arc::clone(&gauges), shared, in_flight_max, sessions_max);
        Self { desk, gauges, replies }
    }

    fn arrive(&mut self, topic: &str, packet_id: u16) -> Result<(), Broken> {
        let packet_id = (packet_id != 0).then_some(packet_id);
        self.desk.arrive(Arrival { topic: topic.as_bytes(), payload: b"sealed", packet_id })
    }

    /// All that the acceptor is told now.
    fn told(&mut self) -> Vec<Inbound> {
        std::iter::from_fn(|| self.desk.next_inbound()).collect()
    }

    /// The PUBACKs that are due now.
    fn pubacks(&mut self) -> Vec<u16> {
        std::iter::from_fn(|| {
            let packet_id = self.desk.next_puback()?;
            self.desk.acknowledged();
            Some(packet_id)
        })
        .collect()
    }

    /// Hands the acceptor's replies over; what is to be published.
    async fn listen(&mut self, replies: usize) -> Result<Vec<String>, Broken> {
        let mut published = Vec::new();
        for _ in 0..replies {
            let (session, reply) = self.replies.recv().await.unwrap();
            let publish = self.desk.reply(session, reply)?;
            published.extend(publish.map(|(topic, _)| topic.name().as_str().to_owned()));
        }
        Ok(published)
    }
}

fn opened(inbound: &mut Vec<Inbound>) -> Replies {
    match inbound.remove(0).message {
        Message::Opened(replies) => replies,
        other => panic!("{other:?}"),
    }
}

fn ticket(inbound: &Inbound) -> u16 {
    match inbound.message {
        Message::Published { packet_id, .. } => packet_id.unwrap(),
        ref other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_is_a_session_and_pubacks_keep_the_brokers_order() {
    let mut office = Office::new(16, 16);
    office.arrive("m0/dev1/h", 5).unwrap();
    office.arrive("m0/dev2/h", 6).unwrap();
    office.arrive("m0/dev1/b", 7).unwrap();
    let mut told = office.told();
    let one = opened(&mut told);
    let hello = told.remove(0);
    let two = opened(&mut told);
    let [second, frame] = &told[..] else { panic!("{told:?}") };
    assert_eq!(frame.session, hello.session, "one session for a device");
    assert_ne!(second.session, hello.session);
    let Message::Published { channel, payload, .. } = &frame.message else { panic!("{frame:?}") };
    assert_eq!((*channel, &payload[..]), (Channel::Frames(Lane::Bulk), &b"sealed"[..]));

    one.say(Outbound::PubAck(ticket(frame))).unwrap();
    two.say(Outbound::PubAck(ticket(second))).unwrap();
    two.say(Outbound::Publish(Channel::Ack, vec![1])).unwrap();
    assert_eq!(office.listen(3).await.unwrap(), ["m0/dev2/a"]);
    assert!(office.pubacks().is_empty(), "the first is not durable");
    one.say(Outbound::PubAck(ticket(&hello))).unwrap();
    office.listen(1).await.unwrap();
    assert_eq!(office.pubacks(), [5, 6, 7]);
}

#[tokio::test]
async fn what_nobody_wants_is_acknowledged_in_its_turn_and_told_to_nobody() {
    let mut office = Office::new(16, 16);
    office.arrive("m0/dev1/h", 1).unwrap();
    for (topic, packet_id) in [
        ("m0/stranger/h", 2),
        ("m0/revoked/h", 3),
        ("m0/dev1/a", 4),
        ("other", 5),
        ("m0/dev 1/h", 6),
    ] {
        office.arrive(topic, packet_id).unwrap();
    }
    let payload = vec![0; FRAME_LEN_MAX + 1];
    let long = Arrival { topic: b"m0/dev1/b", payload: &payload, packet_id: Some(7) };
    office.desk.arrive(long).unwrap();
    let mut told = office.told();
    let replies = opened(&mut told);
    assert_eq!(told.len(), 1);
    assert!(office.pubacks().is_empty());
    replies.say(Outbound::PubAck(ticket(&told[0]))).unwrap();
    office.listen(1).await.unwrap();
    assert_eq!(office.pubacks(), [1, 2, 3, 4, 5, 6, 7]);
    let counted = Unheard::ALL.map(|reason| office.gauges.unheard(reason));
    assert_eq!(counted, [3, 1, 1, 1, 0]);
}

#[test]
fn a_broker_may_overstep_and_what_is_far_too_much_is_acknowledged_and_not_taken() {
    let mut office = Office::new(2, 16);
    assert_eq!(office.arrive("m0/broken/h", 1), Err(Broken::Registry));
    office.desk.disconnected();
    // Twice what was allowed, and some.
    let taken = 2 * 2 + 64;
    office.arrive("m0/dev1/b", 1).unwrap();
    assert_eq!(office.told().len(), 2, "and the session's beginning");
    for packet_id in 2..=taken + 3 {
        office.arrive("m0/dev1/b", packet_id).unwrap();
    }
    assert_eq!(office.gauges.unheard(Unheard::Full), 3);
    assert_eq!(office.told().len(), usize::from(taken) - 1);
    assert!(office.pubacks().is_empty(), "in their turn");
    for packet_id in taken + 4..=60_000 {
        office.arrive("m0/dev1/b", packet_id).unwrap();
    }
    assert_eq!(office.arrive("m0/dev1/b", 60_001), Err(Broken::Flood));
}

#[test]
fn at_qos_0_nobody_bounds_the_broker_but_us() {
    let mut office = Office::new(2, 16);
    for _ in 0..100 {
        office.arrive("m0/dev1/b", 0).unwrap();
    }
    let taken = office.told().len();
    assert_eq!(taken + usize::try_from(office.gauges.unheard(Unheard::Full)).unwrap(), 101);
    assert_eq!(taken, 2 * 2 + 64);
    office.arrive("m0/dev1/b", 0).unwrap();
    assert_eq!(office.told().len(), 1);
}

#[tokio::test]
async fn a_new_connection_keeps_the_sessions_and_forgets_the_packets() {
    let mut office = Office::new(4, 16);
    office.arrive("m0/dev1/h", 1).unwrap();
    let mut told = office.told();
    let replies = opened(&mut told);
    let old = ticket(&told[0]);
    let session = told[0].session;
    // Not handed over yet: the broker will send it again.
    office.arrive("m0/dev1/b", 2).unwrap();
    office.desk.disconnected();
    assert!(office.told().is_empty());

    // The same packet ids again, with other messages behind them.
    office.arrive("m0/dev1/b", 1).unwrap();
    replies.say(Outbound::PubAck(old)).unwrap();
    office.listen(1).await.unwrap();
    assert!(office.pubacks().is_empty(), "an answer to the connection before");
    let told = office.told();
    assert_eq!((told.len(), told[0].session), (1, session));
    replies.say(Outbound::PubAck(ticket(&told[0]))).unwrap();
    office.listen(1).await.unwrap();
    assert_eq!(office.pubacks(), [1]);
}

#[tokio::test]
async fn a_device_that_is_shut_out_ends_once_its_messages_are_settled() {
    let mut office = Office::new(4, 16);
    office.arrive("m0/dev1/h", 1).unwrap();
    let mut told = office.told();
    let replies = opened(&mut told);
    replies.say(Outbound::Close).unwrap();
    office.listen(1).await.unwrap();
    assert!(office.told().is_empty(), "the acceptor still owes an answer");
    office.arrive("m0/dev1/b", 2).unwrap();
    assert_eq!(office.gauges.unheard(Unheard::Revoked), 1);
    replies.say(Outbound::PubAck(ticket(&told[0]))).unwrap();
    office.listen(1).await.unwrap();
    assert!(matches!(office.told()[..], [Inbound { message: Message::Closed, .. }]));
    assert_eq!(office.pubacks(), [1, 2]);
    drop(replies);
    assert!(office.listen(1).await.unwrap().is_empty(), "its end is known");
    // Back with a new secret: a session of its own.
    office.arrive("m0/dev1/h", 3).unwrap();
    assert_ne!(opened_session(&mut office), told[0].session);
}

fn opened_session(office: &mut Office) -> crate::intake::SessionId {
    let told = office.told();
    assert!(matches!(told[0].message, Message::Opened(_)));
    told[0].session
}

#[tokio::test]
async fn a_session_given_up_with_messages_on_their_way_makes_the_broker_send_again() {
    let mut office = Office::new(4, 16);
    office.arrive("m0/dev1/h", 1).unwrap();
    let mut told = office.told();
    drop(opened(&mut told));
    assert_eq!(office.listen(1).await, Err(Broken::GivenUp));
    office.desk.disconnected();
    assert!(matches!(office.told()[..], [Inbound { message: Message::Closed, .. }]));
    office.arrive("m0/dev1/h", 1).unwrap();
    assert_eq!(office.told().len(), 2, "opened again");
}

#[tokio::test]
async fn when_there_is_no_room_those_silent_longest_make_it() {
    let mut office = Office::new(64, 4);
    let mut ways = Vec::new();
    for device in 1..=4 {
        office.arrive(&format!("m0/dev{device}/h"), device).unwrap();
        let mut told = office.told();
        let replies = opened(&mut told);
        // The first one's hello is never answered: it may not be forgotten.
        if device > 1 {
            replies.say(Outbound::PubAck(ticket(&told[0]))).unwrap();
            office.listen(1).await.unwrap();
        }
        ways.push(replies);
    }
    office.arrive("m0/dev5/h", 5).unwrap();
    let told = office.told();
    let [closed, opened, _] = &told[..] else { panic!("{told:?}") };
    assert!(matches!(closed.message, Message::Closed) && closed.device.as_str() == "dev2");
    assert!(matches!(opened.message, Message::Opened(_)) && opened.device.as_str() == "dev5");
    let open = office.gauges.sessions.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(open, 4);
    assert!(matches!(ways.pop(), Some(Replies::Shared(_))));
}

#[test]
fn at_the_end_every_session_is_closed() {
    let mut office = Office::new(64, 4);
    for device in 1..=3 {
        office.arrive(&format!("m0/dev{device}/h"), device).unwrap();
    }
    office.told();
    office.desk.close_all();
    let closed = office.told();
    assert!(closed.len() == 3 && closed.iter().all(|m| matches!(m.message, Message::Closed)));
    let reply = office.desk.reply(closed[0].session, Reply::GivenUp);
    assert_eq!(reply, Ok(None));
}
