//! The host's end of a serial line, at the mercy of noise and of whatever device is at the other end.
//!
//! What comes does not depend on how the line cuts it; bytes come of streams alone that were accepted and are
//! not over; and no more is answered than was said.

use agent::fuzzing::{Came, Host};
use protocol::serial::stream::{PACKET_LEN_MAX, Packet, Session};
use protocol::serial::{encode, encoded_len_max};

use crate::bound::{NETWORK_MAX, bounded};
use crate::input::{Input, pieces};

/// The first byte says whether the rest is taken as it is, or as payloads of packets; the low bits, which
/// streams are accepted.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let cuts = std::array::from_fn(|_| input.byte());
    let mut said = Vec::new();
    if mode & 0x80 == 0 {
        said.extend_from_slice(input.rest());
    } else {
        while !input.is_empty() {
            let payload = input.piece();
            packet(payload.get(..PACKET_LEN_MAX).unwrap_or(payload), &mut said);
        }
    }
    let whole = hear(std::iter::once(&said[..]), mode);
    let cut = hear(pieces(&said, cuts), mode);
    assert_eq!(whole, cut, "the line's cuts make a difference");
    assert!(whole.1.len() <= said.len(), "more answered than was said");
}

/// All that came, and all that was answered.
fn hear<'a>(pieces: impl Iterator<Item = &'a [u8]>, mode: u8) -> (Vec<Came>, Vec<u8>) {
    let (mut host, mut all, mut answered) = (Host::default(), Vec::new(), Vec::new());
    let (mut asked, mut is_open) = (0, false);
    for mut piece in pieces {
        loop {
            let accepts = mode >> (asked % 7) & 1 == 0;
            let mut out = Vec::new();
            let Some(came) = bounded(NETWORK_MAX, || host.hear(&mut piece, accepts, &mut out))
            else {
                assert!(piece.is_empty());
                break;
            };
            answered.extend(out);
            match &came {
                Came::Opens(accepted) => (asked, is_open) = (asked + 1, *accepted),
                Came::OpensAgain => assert!(is_open, "asked again for nothing"),
                Came::Bytes(bytes) => assert!(is_open && !bytes.is_empty(), "bytes of no stream"),
                Came::Over => is_open = false,
                Came::Stray | Came::Log(_) | Came::Garbled | Came::Nothing => {}
            }
            all.push(came);
        }
    }
    let mut out = Vec::new();
    host.say(&[1; 300], &mut out);
    assert!(is_open || out.is_empty(), "said to nobody");
    (all, answered)
}

fn packet(payload: &[u8], line: &mut Vec<u8>) {
    let mut room = [0; encoded_len_max(PACKET_LEN_MAX)];
    let len = encode(payload, &mut room).unwrap();
    line.extend_from_slice(&room[..len]);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let (one, two) = (Session(7), Session(8));
    let data = |session, number, bytes| Packet::Data { session, number, bytes };
    let packets = [
        data(one, 0, b"stray"),
        Packet::Open(one),
        Packet::Open(one),
        data(one, 0, b"hello"),
        Packet::Log("fine"),
        Packet::Listen,
        data(one, 1, b"again"),
        data(one, 3, b"a gap"),
        Packet::Open(two),
        data(two, 0, b"more"),
        Packet::Close(two),
    ];
    let mut structured = vec![0x80, 3, 0, 90, 255];
    let mut line = vec![0, 3, 0, 90, 255];
    for said in packets {
        let mut payload = [0; PACKET_LEN_MAX];
        let len = said.write(&mut payload).unwrap();
        structured.push(u8::try_from(len).unwrap());
        structured.extend_from_slice(&payload[..len]);
        packet(&payload[..len], &mut line);
    }
    vec![structured, line, vec![0x81, 1, 1, 1, 1, 3, 1, 7, 0, 3, 1, 8, 0]]
}
