//! A byte stream over the packets of a serial line: what TCP is to Ethernet, without sending anything
//! again.
//!
//! ```text
//! | kind (1) | session (2, LE) |                             opens, accepts, closes
//! | kind (1) | session (2, LE) | number (1) | bytes (1..) |  carries
//! | kind (1) | text in UTF-8 |                               says a line of log
//! | kind (1) |                                               wants lines of log
//! ```
//!
//! The device opens a stream under a number that it draws, and again until the host accepts it. Each
//! side counts its packets of bytes; one that is missing, or comes twice, ends the stream on both
//! sides, as a connection ends that was cut: whoever is above it begins anew with what was not
//! acknowledged. So a line that garbles a packet now and then costs a reconnection, and no more
//! memory than one packet. A line has one stream at a time: a device that opens another one has
//! forgotten the first.

/// The most bytes that a packet carries.
pub const CHUNK_LEN_MAX: usize = 256;
/// Bytes in front of them.
const HEADER_LEN: usize = 4;
/// The longest payload of a packet.
pub const PACKET_LEN_MAX: usize = HEADER_LEN + CHUNK_LEN_MAX;

/// For how long a device says lines of log after it was asked to, in milliseconds.
pub const LISTEN_MS: u64 = 10_000;

/// Which stream: drawn by the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session(pub u16);

/// What a packet says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// Device to host: a stream is to begin.
    Open(Session),
    /// Host to device: it has begun.
    Accept(Session),
    /// Bytes of a stream.
    Data {
        /// Which stream.
        session: Session,
        /// Counts a side's packets of bytes, from 0, modulo 256.
        number: u8,
        /// The bytes, [`CHUNK_LEN_MAX`] at most.
        bytes: &'a [u8],
    },
    /// The stream is over, or was never there.
    Close(Session),
    /// Device to whoever listens: a line of log.
    Log(&'a str),
    /// Host to device: somebody listens. To be said again within [`LISTEN_MS`] for as long as that is so:
    /// a device says no line that nobody reads.
    Listen,
}

mod kind {
    pub(super) const OPEN: u8 = 1;
    pub(super) const ACCEPT: u8 = 2;
    pub(super) const DATA: u8 = 3;
    pub(super) const CLOSE: u8 = 4;
    pub(super) const LOG: u8 = 5;
    pub(super) const LISTEN: u8 = 6;
}

impl<'a> Packet<'a> {
    /// What a payload says; none if that is nothing known.
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let (kind, rest) = payload.split_first()?;
        if *kind == kind::LOG {
            return str::from_utf8(rest).ok().map(Self::Log);
        }
        if payload == [kind::LISTEN] {
            return Some(Self::Listen);
        }
        let (session, rest) = rest.split_first_chunk::<2>()?;
        let session = Session(u16::from_le_bytes(*session));
        match (*kind, rest) {
            (kind::OPEN, []) => Some(Self::Open(session)),
            (kind::ACCEPT, []) => Some(Self::Accept(session)),
            (kind::CLOSE, []) => Some(Self::Close(session)),
            (kind::DATA, [number, bytes @ ..]) if (1..=CHUNK_LEN_MAX).contains(&bytes.len()) => {
                Some(Self::Data { session, number: *number, bytes })
            }
            _ => None,
        }
    }

    /// Writes it as a payload to the front of `into`; its length, or nothing if it does not fit.
    pub fn write(&self, into: &mut [u8]) -> Option<usize> {
        let of = |kind: u8, session: &Session| {
            let [low, high] = session.0.to_le_bytes();
            [kind, low, high]
        };
        match self {
            Self::Open(session) => join(into, &of(kind::OPEN, session), &[], &[]),
            Self::Accept(session) => join(into, &of(kind::ACCEPT, session), &[], &[]),
            Self::Close(session) => join(into, &of(kind::CLOSE, session), &[], &[]),
            Self::Data { session, number, bytes } => {
                join(into, &of(kind::DATA, session), &[*number], bytes)
            }
            Self::Log(text) => join(into, &[kind::LOG], &[], text.as_bytes()),
            Self::Listen => join(into, &[kind::LISTEN], &[], &[]),
        }
    }
}

/// Writes three pieces one after the other.
fn join(into: &mut [u8], first: &[u8], second: &[u8], third: &[u8]) -> Option<usize> {
    let mut at = 0;
    for piece in [first, second, third] {
        let end = at + piece.len();
        into.get_mut(at..end)?.copy_from_slice(piece);
        at = end;
    }
    Some(at)
}

/// A stream that has begun, as one of its two sides sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream {
    session: Session,
    next_in: u8,
    next_out: u8,
}

/// What a packet does to a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received<'a> {
    /// Bytes came.
    Bytes(&'a [u8]),
    /// It is over: the other side says so, or a packet is missing. The other side is to be told.
    Ended,
    /// It is none of this stream's business.
    Other,
}

impl Stream {
    /// One that has just begun.
    pub const fn new(session: Session) -> Self {
        Self { session, next_in: 0, next_out: 0 }
    }

    /// Which.
    pub const fn session(&self) -> Session {
        self.session
    }

    /// The packet that carries the first of these bytes, as many as one takes; and how many that are.
    /// Nothing for no bytes.
    pub fn send<'a>(&mut self, bytes: &'a [u8]) -> Option<(Packet<'a>, usize)> {
        let len = bytes.len().min(CHUNK_LEN_MAX);
        let bytes = bytes.get(..len).filter(|bytes| !bytes.is_empty())?;
        let number = self.next_out;
        self.next_out = number.wrapping_add(1);
        Some((Packet::Data { session: self.session, number, bytes }, len))
    }

    /// Takes a packet.
    pub fn receive<'a>(&mut self, packet: &Packet<'a>) -> Received<'a> {
        match *packet {
            Packet::Data { session, number, bytes } if session == self.session => {
                if number != self.next_in {
                    return Received::Ended;
                }
                self.next_in = number.wrapping_add(1);
                Received::Bytes(bytes)
            }
            Packet::Close(session) if session == self.session => Received::Ended,
            _ => Received::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const SESSION: Session = Session(0xbeef);

    fn written<'a>(packet: &Packet<'_>, room: &'a mut [u8]) -> &'a [u8] {
        let len = packet.write(room).unwrap();
        &room[..len]
    }

    #[test]
    fn a_packet_is_these_bytes() {
        let mut room = [0; PACKET_LEN_MAX];
        let packets = [
            (Packet::Open(SESSION), &[1, 0xef, 0xbe][..]),
            (Packet::Accept(SESSION), &[2, 0xef, 0xbe]),
            (
                Packet::Data { session: SESSION, number: 7, bytes: b"ab" },
                &[3, 0xef, 0xbe, 7, 97, 98],
            ),
            (Packet::Close(SESSION), &[4, 0xef, 0xbe]),
            (Packet::Log("hi"), &[5, 104, 105]),
            (Packet::Listen, &[6]),
        ];
        for (packet, bytes) in packets {
            assert_eq!(written(&packet, &mut room), bytes);
            assert_eq!(Packet::read(bytes), Some(packet));
            assert_eq!(packet.write(&mut room[..bytes.len() - 1]), None, "no room");
            let short = [Some(Packet::Log("")), Some(Packet::Listen), None];
            assert!(short.contains(&Packet::read(&bytes[..1])));
        }
    }

    #[test]
    fn the_longest_packet_takes_all_the_room_that_is_said() {
        let mut room = [0; PACKET_LEN_MAX];
        let bytes = [9; CHUNK_LEN_MAX + 1];
        let (packet, len) = Stream::new(SESSION).send(&bytes).unwrap();
        assert_eq!(len, CHUNK_LEN_MAX);
        assert_eq!(written(&packet, &mut room).len(), PACKET_LEN_MAX);
    }

    #[test]
    fn what_is_no_packet_says_nothing() {
        let long = [&[3, 0, 0, 0][..], &[9; CHUNK_LEN_MAX + 1]].concat();
        let wrong: [&[u8]; 8] =
            [&[], &[0, 1, 2], &[6, 1, 2], &[1, 1], &[1, 1, 2, 3], &[3, 1, 2], &[3, 1, 2, 0], &long];
        for payload in wrong {
            assert_eq!(Packet::read(payload), None, "{payload:?}");
        }
        assert_eq!(Packet::read(&[5, 0xff]), None, "not UTF-8");
    }

    #[test]
    fn a_missing_a_doubled_and_a_strange_packet_end_a_stream_or_are_none_of_its_business() {
        let data = |session, number| Packet::Data { session, number, bytes: &[1] };
        let mut stream = Stream::new(SESSION);
        assert_eq!(stream.receive(&data(SESSION, 0)), Received::Bytes(&[1]));
        for packet in [data(SESSION, 0), data(SESSION, 2), Packet::Close(SESSION)] {
            assert_eq!(stream.clone().receive(&packet), Received::Ended, "{packet:?}");
        }
        let other = Session(1);
        for packet in
            [data(other, 1), Packet::Close(other), Packet::Open(SESSION), Packet::Log("x")]
        {
            assert_eq!(stream.receive(&packet), Received::Other, "{packet:?}");
        }
        assert_eq!(stream.receive(&data(SESSION, 1)), Received::Bytes(&[1]));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let (mut from, mut to) = (Stream::new(SESSION), Stream::new(SESSION));
            let (mut rest, mut came) = (&bytes[..], Vec::new());
            while let Some((packet, len)) = from.send(rest) {
                rest = &rest[len..];
                let mut room = [0; PACKET_LEN_MAX];
                let packet = Packet::read(written(&packet, &mut room));
                let Received::Bytes(bytes) = to.receive(&packet.unwrap()) else { panic!("bytes") };
                came.extend_from_slice(bytes);
            }
            prop_assert_eq!(came, bytes);
        }

        #[test]
        fn over_256_packets_one_lost_is_noticed(lost in 0..600_usize) {
            let (mut from, mut to) = (Stream::new(SESSION), Stream::new(SESSION));
            for number in 0..=lost {
                let (packet, _) = from.send(&[1]).unwrap();
                if number != lost {
                    prop_assert_eq!(to.receive(&packet), Received::Bytes(&[1]));
                }
            }
            let (packet, _) = from.send(&[1]).unwrap();
            prop_assert_eq!(to.receive(&packet), Received::Ended);
        }
    }
}
