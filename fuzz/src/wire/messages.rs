//! Hellos, acknowledgements and downlink messages: short, sealed, and never believed without the key.

use protocol::ack::{ACK_LEN_MAX, Ack};
use protocol::downlink::{DOWNLINK_LEN_MAX, Downlink, Envelope, Welcome};
use protocol::hello::{HELLO_LEN_MAX, Hello};
use protocol::{FrameTag, Generation, JournalInstance, Lane, Seq};

use super::world::{CHALLENGE, WORLD, hello as example};
use crate::bound::bounded;
use crate::input::Input;

/// A hello from a stranger, or the content of one that the device sealed.
pub fn hello(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let mut room = [0; HELLO_LEN_MAX];
    if *mode < 0x80 {
        let Some(copy) = room.get_mut(..rest.len()) else { return };
        copy.copy_from_slice(rest);
        std::hint::black_box(bounded(0, || Hello::generation(rest)).is_ok());
        let opened = bounded(0, || Hello::open(&WORLD.hello_key, &WORLD.device, copy));
        let Ok(hello) = opened else { return };
        let nonce = rest[1..13].try_into().unwrap();
        let (key, device) = (&WORLD.hello_key, &WORLD.device);
        let mut again = [0; HELLO_LEN_MAX];
        let len = hello.seal(key, device, Generation::FIRST, nonce, &mut again).unwrap();
        assert_eq!(again[..len], *rest, "opened, and not what the key seals");
        return;
    }
    let mut input = Input::new(rest);
    let (at, mask) = (usize::from(input.short()), input.byte());
    let plain = input.rest();
    let Ok(said) = bounded(0, || postcard::from_bytes::<Hello>(plain)) else { return };
    let (key, device) = (&WORLD.hello_key, &WORLD.device);
    let len = said.seal(key, device, Generation::FIRST, [*mode; 12], &mut room).unwrap();
    room[at % len] ^= mask;
    match bounded(0, || Hello::open(key, device, &mut room[..len])) {
        Ok(opened) => assert!(mask == 0 && opened == said, "a changed hello opened"),
        Err(error) => assert!(mask != 0, "the device's own hello does not open: {error}"),
    }
}

pub fn hello_seeds() -> Vec<Vec<u8>> {
    let mut room = [0; HELLO_LEN_MAX];
    let plain = postcard::to_slice(&example(), &mut room).unwrap().to_vec();
    let (key, device) = (&WORLD.hello_key, &WORLD.device);
    let len = example().seal(key, device, Generation::FIRST, [2; 12], &mut room).unwrap();
    vec![
        [&[0][..], &room[..len]].concat(),
        [&[0x80, 0, 0, 0][..], &plain].concat(),
        [&[0x80, 20, 0, 8][..], &plain].concat(),
    ]
}

/// An acknowledgement from a stranger, or one of the agent's, changed on the way.
pub fn ack(bytes: &[u8]) {
    let (key, device, ring) = (&WORLD.ack_key, &WORLD.device, &WORLD.ring);
    let Some((mode, rest)) = bytes.split_first() else { return };
    let mut room = [0; ACK_LEN_MAX];
    if *mode < 0x80 {
        let peeked = bounded(0, || Ack::peek(rest));
        if let Ok(opened) = bounded(0, || Ack::open(key, device, ring, rest)) {
            assert_eq!(peeked, Ok(opened));
            let len = opened.seal(key, device, ring, &mut room);
            assert_eq!(room[..len], *rest, "opened, and not what the key says");
        }
        return;
    }
    let mut input = Input::new(rest);
    let (at, mask, flags) = (usize::from(input.byte()), input.byte(), input.byte());
    let said = Ack {
        generation: Generation::new(flags & 3).unwrap(),
        lane: Lane::from_index(flags >> 2 & 1).unwrap(),
        durable: Seq(input.number().cast_unsigned()),
        tag: FrameTag(std::array::from_fn(|_| input.byte())),
        instance: JournalInstance(std::array::from_fn(|_| input.byte())),
        repeat: flags & 0x80 != 0,
    };
    let len = bounded(0, || said.seal(key, device, ring, &mut room));
    room[at % len] ^= mask;
    match bounded(0, || Ack::open(key, device, ring, &room[..len])) {
        Ok(opened) => assert!(mask == 0 && opened == said, "a changed acknowledgement opened"),
        Err(error) => assert!(mask != 0, "the agent's own does not open: {error}"),
    }
}

pub fn ack_seeds() -> Vec<Vec<u8>> {
    let ack = Ack {
        generation: Generation::FIRST,
        lane: Lane::Bulk,
        durable: Seq(300),
        tag: FrameTag([4; 8]),
        instance: JournalInstance([3; 8]),
        repeat: true,
    };
    let mut room = [0; ACK_LEN_MAX];
    let len = ack.seal(&WORLD.ack_key, &WORLD.device, &WORLD.ring, &mut room);
    vec![
        [&[0][..], &room[..len]].concat(),
        [&[0x80, 0, 0, 4, 1, 44, 1][..], &[4; 8], &[3; 8]].concat(),
        [&[0x80, 9, 8, 0x84, 7][..], &[255; 8], &[4; 8], &[3; 8]].concat(),
    ]
}

/// A downlink message from a stranger, or the content of one that the agent sealed.
pub fn downlink(bytes: &[u8]) {
    let (secret, device) = (&WORLD.secret, &WORLD.device);
    let Some((mode, rest)) = bytes.split_first() else { return };
    let mut room = [0; DOWNLINK_LEN_MAX];
    if *mode < 0x80 {
        let Some(copy) = room.get_mut(..rest.len()) else { return };
        copy.copy_from_slice(rest);
        let opened = bounded(0, || Envelope::open(secret, device, &CHALLENGE, copy));
        let Ok((envelope, message)) = opened else { return };
        let mut again = [0; DOWNLINK_LEN_MAX];
        let len = envelope.seal(secret, device, &CHALLENGE, &message, &mut again).unwrap();
        assert_eq!(again[..len], *rest, "opened, and not what the key seals");
        return;
    }
    let mut input = Input::new(rest);
    let (at, mask) = (usize::from(input.byte()), input.byte());
    let plain = input.rest();
    let Ok(said) = bounded(0, || postcard::from_bytes::<Downlink>(plain)) else { return };
    let envelope = Envelope { generation: Generation::FIRST, salt: [*mode; 16], number: 5 };
    let len = envelope.seal(secret, device, &CHALLENGE, &said, &mut room).unwrap();
    room[at % len] ^= mask;
    match bounded(0, || Envelope::open(secret, device, &CHALLENGE, &mut room[..len])) {
        Ok(opened) => assert!(mask == 0 && opened == (envelope, said), "a changed one opened"),
        Err(error) => assert!(mask != 0, "the agent's own does not open: {error}"),
    }
}

pub fn downlink_seeds() -> Vec<Vec<u8>> {
    let welcome =
        Welcome { unix_ms: 1_211_094_008_000, hello_uptime_ms: 61_000, wants_catalogue: true };
    let message = Downlink::Welcome(welcome);
    let mut room = [0; DOWNLINK_LEN_MAX];
    let plain = postcard::to_slice(&message, &mut room).unwrap().to_vec();
    let envelope = Envelope { generation: Generation::FIRST, salt: [5; 16], number: 9 };
    let len = envelope.seal(&WORLD.secret, &WORLD.device, &CHALLENGE, &message, &mut room).unwrap();
    vec![
        [&[0][..], &room[..len]].concat(),
        [&[0x80, 0, 0][..], &plain].concat(),
        [&[0x80, 30, 1][..], &plain].concat(),
    ]
}
