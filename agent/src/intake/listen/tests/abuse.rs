//! Bytes that make no sense: nobody panics, nobody else notices.

use proptest::prelude::*;

use super::super::greeting::{Claim, Greeting};
use super::super::session::{PACKET_LEN_MAX, Session};
use super::super::{End, Refusal};
use super::*;

/// A stream of bytes that is the same in every run (xorshift64).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(byte).collect()
}

#[tokio::test]
async fn noise_harms_nobody_else() {
    const STRANGERS: u64 = 64;
    let mut listening = Listening::start(config());
    let (mut device, _, outbound) = listening.device("dev1").await;
    for seed in 1..=STRANGERS {
        let mut stranger = listening.socket().await;
        let mut bytes = noise(seed, 16 * 1024);
        if seed % 2 == 0 {
            // Half of them get past the first look.
            bytes[..2].copy_from_slice(&[0x10, 0x70]);
        }
        // It may be closed before all is sent.
        let _closed = stranger.stream.write_all(&bytes).await.is_err();
        stranger.ended().await;
    }
    assert_eq!(listening.gauges.refused(Refusal::Malformed), STRANGERS);

    let packet_id = 1;
    device.send(&publish(QOS_1, "m0/dev1/b", packet_id, b"sealed")).await;
    assert_eq!(listening.published().await, (BULK, b"sealed".to_vec(), Some(packet_id)));
    outbound.try_send(Outbound::PubAck(packet_id)).unwrap();
    assert_eq!(device.packet().await, (0x40, vec![0, 1]));
}

#[tokio::test]
async fn a_million_bytes_of_noise_in_a_session_end_it() {
    let mut listening = Listening::start(config());
    let (mut device, session, _outbound) = listening.device("dev1").await;
    let noise = noise(1, 1_000_000);
    let _closed = device.stream.write_all(&noise).await.is_err();
    device.rest().await;
    listening.closed(session).await;
    assert!(listening.inbound.is_empty());
}

fn session(out: &mut Vec<u8>) -> Session {
    let mut greeting = Greeting::new();
    let connect = connect("dev1", "secret");
    let claim = greeting.feed(&mut &connect[..]).unwrap().unwrap();
    Session::open(greeting, &claim, claim.keep_alive_s, out)
}

/// Feeds all of it in pieces of these lengths; how many publishes came, and how it ended.
fn feed(
    session: &mut Session,
    bytes: &[u8],
    piece: usize,
    out: &mut Vec<u8>,
) -> (u64, Option<End>) {
    let mut published = 0;
    for mut piece in bytes.chunks(piece.max(1)) {
        loop {
            match session.feed(&mut piece, out) {
                Ok(Some(_)) => published += 1,
                Ok(None) => break,
                Err(end) => return (published, Some(end)),
            }
        }
        assert!(piece.is_empty(), "all input is used up");
    }
    (published, None)
}

fn conversation() -> Vec<u8> {
    [
        subscribe(1, &["m0/dev1/a", "m0/dev1/d"]),
        publish(QOS_0, "m0/dev1/h", 0, b"hello"),
        publish(QOS_1, "m0/dev1/b", 1, &[7; 300]),
        vec![0xc0, 0],
        publish(QOS_1, "m0/dev1/c", 2, b"event"),
        packet(0xa2, &[vec![0, 2, 0], text("m0/dev1/a")].concat()),
    ]
    .concat()
}

#[test]
fn pieces_of_any_length_make_the_same_packets() {
    let bytes = conversation();
    for piece in 1..=bytes.len() {
        let mut out = Vec::new();
        let mut session = session(&mut out);
        out.clear();
        assert_eq!(feed(&mut session, &bytes, piece, &mut out), (3, None), "in pieces of {piece}");
        assert_eq!(
            out,
            [&[0x90, 5, 0, 1, 0, 0, 0][..], &[0xd0, 0], &[0xb0, 4, 0, 2, 0, 0],].concat()
        );
    }
}

#[test]
fn a_topic_alias_maximum_of_zero_is_fine() {
    let body = [text("MQTT"), vec![5, 0b1100_0010, 0, 60, 3, 0x22, 0, 0]].concat();
    let body = [body, text("dev1"), text("dev1"), text("secret")].concat();
    let connect = packet(0x10, &body);
    let claim = Greeting::new().feed(&mut &connect[..]).unwrap().unwrap();
    assert_eq!(
        claim,
        Claim {
            device: "dev1".parse().unwrap(),
            password: b"secret".to_vec(),
            keep_alive_s: 60,
            packet_len_max: u32::MAX,
            asks_for_expiry: false,
        }
    );
}

#[test]
fn an_overlong_connect_is_refused_by_its_header() {
    let mut greeting = Greeting::new();
    assert_eq!(greeting.feed(&mut &[0x10, 0x80, 0x08][..]), Err(Refusal::Malformed));
}

proptest! {
    #[test]
    fn no_first_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut greeting = Greeting::new();
        let mut out = Vec::new();
        if let Err(reason) = greeting.feed(&mut &packet(0x10, &body)[..]) {
            greeting.refuse(reason, &mut out);
        }
    }

    #[test]
    fn no_mutated_connect_panics(at in 0_usize..40, byte: u8, cut in 0_usize..40) {
        let mut bytes = connect("dev1", "secret");
        let len = bytes.len();
        bytes[at % len] = byte;
        let _outcome = Greeting::new().feed(&mut &bytes[..len - cut % len]);
    }

    #[test]
    fn no_packet_panics(first: u8, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut out = Vec::new();
        let mut session = session(&mut out);
        feed(&mut session, &packet(first, &body), 64, &mut out);
    }

    #[test]
    fn no_mutated_conversation_panics(
        mutations in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8),
        piece in 1_usize..100,
    ) {
        let mut bytes = conversation();
        for (at, byte) in mutations {
            let len = bytes.len();
            bytes[usize::from(at) % len] = byte;
        }
        let mut out = Vec::new();
        let mut session = session(&mut out);
        out.clear();
        feed(&mut session, &bytes, piece, &mut out);
        prop_assert!(out.len() <= bytes.len() + 4, "answers are no longer than what they answer");
        prop_assert!(bytes.len() < usize::try_from(PACKET_LEN_MAX).unwrap());
    }
}
