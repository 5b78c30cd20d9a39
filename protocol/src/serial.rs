//! Packets on a serial line: COBS between zeros, and a checksum.
//!
//! ```text
//! | COBS( payload | CRC-32/ISCSI of it (4, LE) ) | 0 |
//! ```
//!
//! A UART has no packets, loses bytes and garbles them. Consistent Overhead Byte Stuffing (Cheshire
//! and Baker, IEEE/ACM Transactions on Networking 7(2), 1999) takes all zeros out of a packet, so
//! that a zero ends one and nothing else: whoever listens from the middle, or through noise, is in
//! step again after the next zero. The checksum tells a garbled packet from a whole one. It is
//! against noise alone; who says what is the seal's business.
//!
//! A packet that does not read is gone. Nothing is asked for again here: what carries frames over
//! the line does that.

use crc::{CRC_32_ISCSI, Crc, Table};

pub mod stream;

/// CRC-32/ISCSI, with a table of 1 KiB in flash.
static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// Ends a packet. A sender may also begin with one, to part its packet from noise before it.
pub const DELIMITER: u8 = 0;
/// Bytes of the checksum.
pub const CHECKSUM_LEN: usize = 4;
/// Bytes that stand together between two code bytes.
const RUN_LEN_MAX: usize = 254;
/// The code byte of a run of [`RUN_LEN_MAX`] bytes: no zero follows it.
const CODE_MAX: u8 = 255;

/// The most bytes that a payload of `len` bytes takes on the line, delimiter included.
pub const fn encoded_len_max(len: usize) -> usize {
    let whole = len.saturating_add(CHECKSUM_LEN);
    whole.saturating_add(whole / RUN_LEN_MAX).saturating_add(2)
}

/// Writes a payload as a packet to the front of `into`; its length, or nothing if it does not fit.
/// [`encoded_len_max`] bytes are always enough.
pub fn encode(payload: &[u8], into: &mut [u8]) -> Option<usize> {
    let checksum = CRC.checksum(payload).to_le_bytes();
    let mut packet = Stuffer { into, code_at: 0, len: 1, code: 1 };
    for byte in payload.iter().copied().chain(checksum) {
        packet.push(byte)?;
    }
    packet.finish()
}

/// Takes zeros out: each run of other bytes stands behind a code byte, one more than its length.
struct Stuffer<'a> {
    into: &'a mut [u8],
    /// Where the run's code byte belongs.
    code_at: usize,
    len: usize,
    code: u8,
}

impl Stuffer<'_> {
    fn push(&mut self, byte: u8) -> Option<()> {
        // A full run ends without a zero, and only once something follows it.
        if self.code == CODE_MAX {
            self.end_run()?;
        }
        if byte == DELIMITER {
            return self.end_run();
        }
        *self.into.get_mut(self.len)? = byte;
        self.len += 1;
        self.code += 1;
        Some(())
    }

    fn end_run(&mut self) -> Option<()> {
        *self.into.get_mut(self.code_at)? = self.code;
        self.code_at = self.len;
        self.len += 1;
        self.code = 1;
        Some(())
    }

    fn finish(mut self) -> Option<usize> {
        self.end_run()?;
        // Where the next code byte would stand.
        *self.into.get_mut(self.code_at)? = DELIMITER;
        Some(self.len)
    }
}

/// Why the bytes before a delimiter are no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// More bytes than the decoder has room for.
    #[error("oversized packet")]
    Oversized,
    /// The delimiter came in the middle of a run, or before a checksum.
    #[error("truncated packet")]
    Truncated,
    /// The checksum does not match.
    #[error("garbled packet")]
    Garbled,
}

/// Reads packets out of a stream of bytes, in whatever pieces it comes.
///
/// `N`: room for the longest payload and its [`CHECKSUM_LEN`] bytes of checksum.
#[derive(Clone, Debug)]
pub struct Decoder<const N: usize> {
    bytes: [u8; N],
    len: usize,
    /// Of the run under way; 0 before the first.
    code: u8,
    /// Bytes of it that are still to come.
    left: u8,
    oversized: bool,
}

impl<const N: usize> Default for Decoder<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Decoder<N> {
    /// A decoder that has heard nothing yet.
    pub const fn new() -> Self {
        const { assert!(N >= CHECKSUM_LEN, "no room for a checksum") };
        Self { bytes: [0; N], len: 0, code: 0, left: 0, oversized: false }
    }

    /// Takes bytes off `input` up to the end of a packet; its payload, or why it is none. Nothing
    /// once the input is used up. Delimiters that follow each other are silence.
    pub fn feed(&mut self, input: &mut &[u8]) -> Option<Result<&[u8], SerialError>> {
        loop {
            let (byte, rest) = input.split_first()?;
            *input = rest;
            if *byte != DELIMITER {
                self.take(*byte);
            } else if self.code != 0 {
                break;
            }
        }
        Some(self.end())
    }

    fn take(&mut self, byte: u8) {
        if self.left > 0 {
            self.left -= 1;
            self.store(byte);
            return;
        }
        // A run's end stands for a zero, but for the packet's last and for a full one.
        if self.code != 0 && self.code != CODE_MAX {
            self.store(0);
        }
        self.code = byte;
        self.left = byte.saturating_sub(1);
    }

    fn store(&mut self, byte: u8) {
        match self.bytes.get_mut(self.len) {
            Some(slot) => {
                *slot = byte;
                self.len += 1;
            }
            None => self.oversized = true,
        }
    }

    /// Ends the packet and begins another.
    fn end(&mut self) -> Result<&[u8], SerialError> {
        let Self { len, left, oversized, .. } = *self;
        (self.len, self.code, self.left, self.oversized) = (0, 0, 0, false);
        if oversized {
            return Err(SerialError::Oversized);
        }
        let whole = self.bytes.get(..len).unwrap_or_default();
        let (payload, checksum) =
            whole.split_last_chunk::<CHECKSUM_LEN>().ok_or(SerialError::Truncated)?;
        if left > 0 {
            return Err(SerialError::Truncated);
        }
        if CRC.checksum(payload) != u32::from_le_bytes(*checksum) {
            return Err(SerialError::Garbled);
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn stuffed(bytes: &[u8]) -> Vec<u8> {
        let mut into = std::vec![0; bytes.len() + bytes.len() / RUN_LEN_MAX + 2];
        let mut stuffer = Stuffer { into: &mut into, code_at: 0, len: 1, code: 1 };
        for byte in bytes {
            stuffer.push(*byte).unwrap();
        }
        let len = stuffer.finish().unwrap();
        into.truncate(len);
        into
    }

    fn packet(payload: &[u8]) -> Vec<u8> {
        let mut into = std::vec![0xaa; encoded_len_max(payload.len())];
        let len = encode(payload, &mut into).unwrap();
        into.truncate(len);
        into
    }

    /// Everything that a line carries, in order.
    fn heard<const N: usize>(mut line: &[u8]) -> Vec<Result<Vec<u8>, SerialError>> {
        let mut decoder = Decoder::<N>::new();
        let mut heard = Vec::new();
        while let Some(packet) = decoder.feed(&mut line) {
            heard.push(packet.map(<[u8]>::to_vec));
        }
        heard
    }

    #[test]
    fn stuffs_as_the_paper_does() {
        // The example of Cheshire and Baker, and the boundary cases around a full run.
        let run = |first: u8, last: u8| (first..=last).collect::<Vec<u8>>();
        let joined = |parts: &[&[u8]]| parts.concat();
        let ip = [0x45, 0x00, 0x00, 0x2c, 0x4c, 0x79, 0x00, 0x00, 0x40, 0x06, 0x4f, 0x37];
        let examples: [(Vec<u8>, Vec<u8>); 10] = [
            (ip.to_vec(), [&[2, 0x45, 1, 4], &ip[3..6], &[1, 5], &ip[8..], &[0]].concat()),
            (std::vec![], std::vec![1, 0]),
            (std::vec![0], std::vec![1, 1, 0]),
            (std::vec![0, 0], std::vec![1, 1, 1, 0]),
            (std::vec![0x11, 0x22, 0, 0x33], std::vec![3, 0x11, 0x22, 2, 0x33, 0]),
            (std::vec![0x11, 0, 0, 0], std::vec![2, 0x11, 1, 1, 1, 0]),
            (run(1, 254), joined(&[&[255], &run(1, 254), &[0]])),
            (joined(&[&[0], &run(1, 254)]), joined(&[&[1, 255], &run(1, 254), &[0]])),
            (run(1, 255), joined(&[&[255], &run(1, 254), &[2, 255, 0]])),
            (joined(&[&run(2, 255), &[0]]), joined(&[&[255], &run(2, 255), &[1, 1, 0]])),
        ];
        for (plain, wanted) in examples {
            assert_eq!(stuffed(&plain), wanted, "{plain:02x?}");
        }
    }

    #[test]
    fn a_packet_is_these_bytes() {
        assert_eq!(CRC.checksum(b"123456789"), 0xe306_9283, "the check value of CRC-32/ISCSI");
        let golden = [&[14][..], b"123456789", &[0x83, 0x92, 0x06, 0xe3], &[0]].concat();
        assert_eq!(packet(b"123456789"), golden);
        assert_eq!(heard::<16>(&golden), [Ok(b"123456789".to_vec())]);
        // The checksum of nothing is zero.
        assert_eq!(packet(&[]), [1, 1, 1, 1, 1, 0]);
        assert_eq!(heard::<4>(&[1, 1, 1, 1, 1, 0]), [Ok(std::vec![])]);
    }

    #[test]
    fn who_comes_in_late_or_through_noise_is_in_step_after_a_zero() {
        let (first, second) = (packet(b"first, cut off"), packet(b"second"));
        let line = [&first[5..], &second, &[0, 0, 0], &second].concat();
        let heard = heard::<64>(&line);
        assert!(heard[0].is_err());
        assert_eq!(heard[1..], [Ok(b"second".to_vec()), Ok(b"second".to_vec())]);
    }

    #[test]
    fn what_is_wrong_is_said_and_costs_one_packet() {
        let good = packet(b"good");
        let mut garbled = good.clone();
        garbled[2] ^= 1;
        let cut = [&good[..4], &[0][..]].concat();
        let long = packet(&[7; 61]);
        let line = [&garbled[..], &cut, &long, &[5, 1, 2, 0], &good].concat();
        let wanted = [
            Err(SerialError::Garbled),
            Err(SerialError::Truncated),
            Err(SerialError::Oversized),
            Err(SerialError::Truncated),
            Ok(b"good".to_vec()),
        ];
        assert_eq!(heard::<64>(&line), wanted);
        assert_eq!(heard::<65>(&long), [Ok(std::vec![7; 61])], "the longest fits");
    }

    #[test]
    fn a_packet_that_breaks_off_is_cut_off_even_where_its_checksum_fits() {
        let mut packet = packet(b"good");
        // The run is said to be longer than it is: a byte was lost, and what came is whole by chance.
        packet[0] += 1;
        assert_eq!(heard::<64>(&packet), [Err(SerialError::Truncated)]);
    }

    #[test]
    fn the_longest_packets_take_all_the_room_that_is_said() {
        assert_eq!(encoded_len_max(0), packet(&[]).len());
        // Without a zero, checksum included, and with one more byte than fills the last run.
        for len in [251, 505, 1_521] {
            let payload = (1_u8..).map(|byte| std::vec![byte; len]);
            let has_no_zero = |payload: &Vec<u8>| !CRC.checksum(payload).to_le_bytes().contains(&0);
            let payload = payload.into_iter().find(has_no_zero).unwrap();
            assert_eq!(encoded_len_max(len), packet(&payload).len(), "{len}");
        }
    }

    #[test]
    fn no_room_is_no_packet() {
        let whole = packet(&[9; 300]);
        for room in 0..whole.len() {
            assert_eq!(encode(&[9; 300], &mut std::vec![0; room]), None, "{room}");
        }
    }

    proptest! {
        #[test]
        fn every_payload_comes_back_however_the_line_cuts_it(
            payloads in prop::collection::vec(
                prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..600), 1..5),
            cut in 1_usize..40,
        ) {
            let line: Vec<u8> = payloads.iter().flat_map(|payload| packet(payload)).collect();
            prop_assert!(line.len() <= payloads.iter().map(|p| encoded_len_max(p.len())).sum());
            let mut decoder = Decoder::<604>::new();
            let mut heard = Vec::new();
            for mut piece in line.chunks(cut) {
                while let Some(packet) = decoder.feed(&mut piece) {
                    heard.push(packet.unwrap().to_vec());
                }
            }
            prop_assert_eq!(heard, payloads);
        }

        #[test]
        fn garbage_is_no_packet_and_the_next_one_is_heard(
            garbage in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let line = [&garbage[..], &[0], &packet(b"next")].concat();
            prop_assert_eq!(heard::<64>(&line).pop(), Some(Ok(b"next".to_vec())));
        }
    }
}
