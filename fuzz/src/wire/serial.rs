//! A serial line: noise, packets, and packets in noise, in whatever pieces they come.

use protocol::serial::{CHECKSUM_LEN, DELIMITER, Decoder, SerialError, encode, encoded_len_max};

use crate::bound::bounded;
use crate::input::{Input, pieces};

/// The longest payload of the decoder under test.
const PAYLOAD_MAX: usize = 256;
const ROOM: usize = PAYLOAD_MAX + CHECKSUM_LEN;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let cuts = std::array::from_fn(|_| input.byte());
    if mode < 0x80 {
        whole_and_in_pieces(input.rest(), cuts);
    } else {
        let payload = input.piece();
        packet_in_noise(payload, input.rest(), cuts);
    }
}

/// What is heard does not depend on how the line cuts it.
fn whole_and_in_pieces(line: &[u8], cuts: [u8; 4]) {
    let (mut whole, mut cut) = (Decoder::<ROOM>::new(), Decoder::<ROOM>::new());
    let mut rest = line;
    for mut piece in pieces(line, cuts) {
        while let Some(heard) = bounded(0, || cut.feed(&mut piece)) {
            let at_once = bounded(0, || whole.feed(&mut rest));
            assert_eq!(Some(heard), at_once);
            if let Ok(payload) = heard {
                assert!(payload.len() <= PAYLOAD_MAX);
                again(payload);
            }
        }
    }
    assert_eq!(whole.feed(&mut rest), None);
    // A zero ends whatever was under way: the decoder is as new.
    let ended = cut.feed(&mut &[DELIMITER][..]);
    assert_eq!(whole.feed(&mut &[DELIMITER][..]), ended);
    assert!(!matches!(ended, Some(Ok([])) if line.is_empty()));
}

/// A payload that was heard is heard again.
fn again(payload: &[u8]) {
    let mut room = [DELIMITER; encoded_len_max(PAYLOAD_MAX)];
    let len = bounded(0, || encode(payload, &mut room)).unwrap();
    assert!(len <= encoded_len_max(payload.len()));
    assert_eq!(room[..len].iter().position(|byte| *byte == DELIMITER), Some(len - 1));
    assert_eq!(Decoder::<ROOM>::new().feed(&mut &room[..len]), Some(Ok(payload)));
}

/// After any noise and a zero, a packet is heard whole.
fn packet_in_noise(payload: &[u8], noise: &[u8], cuts: [u8; 4]) {
    again(payload);
    let mut decoder = Decoder::<ROOM>::new();
    for mut piece in pieces(noise, cuts) {
        while bounded(0, || decoder.feed(&mut piece)).is_some() {}
    }
    let ended = decoder.feed(&mut &[DELIMITER][..]).map(|ended| ended.map(<[u8]>::len));
    assert!(!matches!(ended, Some(Err(SerialError::Oversized))) || noise.len() > PAYLOAD_MAX);
    let mut room = [0; encoded_len_max(PAYLOAD_MAX)];
    let len = encode(payload, &mut room).unwrap();
    let (last, first) = room[..len].split_last().unwrap();
    for mut piece in pieces(first, cuts) {
        assert_eq!(decoder.feed(&mut piece), None, "heard before its end");
    }
    assert_eq!(decoder.feed(&mut &[*last][..]), Some(Ok(payload)));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let packet = |payload: &[u8]| {
        let mut room = vec![0; encoded_len_max(payload.len())];
        let len = encode(payload, &mut room).unwrap();
        room.truncate(len);
        room
    };
    let line = [&packet(b"first")[..], &[0, 7], &packet(&[0; 9]), &packet(&[5; 256])].concat();
    vec![
        [&[0, 3, 0, 90, 255][..], &line].concat(),
        [&[0, 0, 0, 0, 0][..], &packet(&[])].concat(),
        [&[0x80, 1, 2, 3, 4, 5][..], b"hello", &line[..20]].concat(),
        [&[0x80, 255, 255, 255, 255, 255][..], &[1; 255]].concat(),
    ]
}
