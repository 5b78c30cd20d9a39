//! The acknowledgement: the only thing that frees a device's ring (I1).
//!
//! ```text
//! | version:4 generation:2 0:1 repeat:1 | lane | seq (varint) | short tag (8) | instance (8) | mac (16) |
//! ```
//!
//! It seals nothing: the MAC (HMAC-SHA256, cut to 16 bytes) is over device, ring, lane and the
//! bytes before it. It says: this agent's journal durably holds everything of the ring up to and
//! including `seq`, or the record of its loss, and frame `seq` there has this tag. An old one
//! replayed says less than is known and changes nothing.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::MESSAGE_VERSION;
use crate::identity::{DeviceId, FrameTag, Generation, JournalInstance, Lane, RingId, Seq};
use crate::keys::AckKey;
use crate::varint;

const MAC_LEN: usize = 16;
/// The longest acknowledgement, in bytes.
pub const ACK_LEN_MAX: usize = 2 + varint::LEN_MAX + 8 + 8 + MAC_LEN;

/// What an agent holds of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// Which of the device's secrets authenticates it.
    pub generation: Generation,
    /// The ring's lane.
    pub lane: Lane,
    /// Everything up to here is durable; 0 if nothing is.
    pub durable: Seq,
    /// Tag of the frame `durable`; zeros if it is 0, or if a loss covers it.
    pub tag: FrameTag,
    /// Whose journal.
    pub instance: JournalInstance,
    /// The agent saw a frame beyond `durable + 1`: send again from there.
    pub repeat: bool,
}

/// Why bytes are no acknowledgement of this ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// Cut off, too long, or a number out of range.
    #[error("malformed acknowledgement")]
    Malformed,
    /// Another wire version.
    #[error("unknown wire version")]
    Version,
    /// The MAC does not match: another ring's, another key's, or forged.
    #[error("authentication failed")]
    Unauthentic,
}

impl Ack {
    /// Writes it with its MAC; its length.
    pub fn seal(
        &self,
        key: &AckKey,
        device: &DeviceId,
        ring: &RingId,
        into: &mut [u8; ACK_LEN_MAX],
    ) -> usize {
        let mut number = [0; varint::LEN_MAX];
        let number_len = varint::write(self.durable.0, &mut number).unwrap_or_default();
        let first =
            (MESSAGE_VERSION << 4) | (self.generation.number() << 2) | u8::from(self.repeat);
        let said = [first, self.lane as u8]
            .into_iter()
            .chain(number.into_iter().take(number_len))
            .chain(self.tag.0)
            .chain(self.instance.0);
        let mut len = 0;
        for (slot, byte) in into.iter_mut().zip(said) {
            *slot = byte;
            len += 1;
        }
        let mac = mac(key, device, ring, into.get(..len).unwrap_or_default()).finalize();
        let room = into.get_mut(len..).unwrap_or_default();
        for (slot, byte) in room.iter_mut().zip(mac.into_bytes().into_iter().take(MAC_LEN)) {
            *slot = byte;
            len += 1;
        }
        len
    }

    /// Reads the claim without checking it: which lane's ring and key to check it with.
    pub fn peek(bytes: &[u8]) -> Result<Self, AckError> {
        Self::parse(bytes).map(|(ack, _, _)| ack)
    }

    /// Reads and authenticates it as one of this device's ring.
    pub fn open(
        key: &AckKey,
        device: &DeviceId,
        ring: &RingId,
        bytes: &[u8],
    ) -> Result<Self, AckError> {
        let (ack, said, claimed) = Self::parse(bytes)?;
        // Constant time, on the truncated MAC.
        mac(key, device, ring, said)
            .verify_truncated_left(claimed)
            .map_err(|_| AckError::Unauthentic)?;
        Ok(ack)
    }

    fn parse(bytes: &[u8]) -> Result<(Self, &[u8], &[u8]), AckError> {
        let said_len = bytes.len().checked_sub(MAC_LEN).ok_or(AckError::Malformed)?;
        let (said, claimed) = bytes.split_at_checked(said_len).ok_or(AckError::Malformed)?;
        let ([first, lane], rest) = said.split_first_chunk::<2>().ok_or(AckError::Malformed)?;
        if first >> 4 != MESSAGE_VERSION {
            return Err(AckError::Version);
        }
        let lane = Lane::from_index(*lane).ok_or(AckError::Malformed)?;
        let (durable, rest) = varint::read(rest).ok_or(AckError::Malformed)?;
        let (tag, rest) = rest.split_first_chunk::<8>().ok_or(AckError::Malformed)?;
        let instance = <[u8; 8]>::try_from(rest).map_err(|_| AckError::Malformed)?;
        let ack = Self {
            generation: Generation::from_bits(first >> 2),
            lane,
            durable: Seq(durable),
            tag: FrameTag(*tag),
            instance: JournalInstance(instance),
            repeat: first & 1 == 1,
        };
        Ok((ack, said, claimed))
    }
}

fn mac(key: &AckKey, device: &DeviceId, ring: &RingId, said: &[u8]) -> Hmac<Sha256> {
    // RFC 2104: a key shorter than the block is filled up with zeros.
    let mut block = [0; 64];
    for (slot, byte) in block.iter_mut().zip(key.0) {
        *slot = byte;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    let len = u8::try_from(device.as_bytes().len()).unwrap_or_default();
    for part in [&[len][..], device.as_bytes(), &ring.0, said] {
        mac.update(part);
    }
    mac
}
