//! Everything an agent says to a device besides acknowledgements: sealed, and bound to the
//! device's latest challenge, so that it cannot be replayed.
//!
//! ```text
//! | version:4 generation:2 0:2 | salt (16) | number (8, LE) | Downlink in postcard, encrypted | tag (16) |
//! ```
//!
//! The key is derived from the salt, which an agent draws at each start; the nonce is the number,
//! which it counts up. The challenge is associated data.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};
use serde::{Deserialize, Serialize};

use crate::MESSAGE_VERSION;
use crate::frame::{FrameError, TAG_LEN};
use crate::hello::Challenge;
use crate::identity::{DeviceId, Generation};
use crate::keys::{Secret, downlink_key};

/// The largest downlink message, in bytes.
pub const DOWNLINK_LEN_MAX: usize = 256;
const PREFIX_LEN: usize = 1 + 16 + 8;

/// What an agent says. Append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Downlink {
    /// The answer to a hello.
    Welcome(Welcome),
}

/// The answer to a hello: the time, and what the agent lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The agent's wall clock when it answered, in milliseconds since 1970 UTC.
    pub unix_ms: i64,
    /// The hello's `uptime_ms`, for the device to take the round trip off.
    pub hello_uptime_ms: u64,
    /// The agent does not know the hello's catalogue: send it.
    pub wants_catalogue: bool,
}

/// The clear part of a downlink message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Which of the device's secrets.
    pub generation: Generation,
    /// Drawn by the agent at its start.
    pub salt: [u8; 16],
    /// Counts the agent's messages since then.
    pub number: u64,
}

impl Envelope {
    /// Seals a message; its length.
    pub fn seal(
        &self,
        secret: &Secret,
        device: &DeviceId,
        challenge: &Challenge,
        message: &Downlink,
        into: &mut [u8],
    ) -> Result<usize, FrameError> {
        let prefix = self.prefix();
        let (head, rest) = into.split_at_mut_checked(PREFIX_LEN).ok_or(FrameError::Room)?;
        head.copy_from_slice(&prefix);
        let text_len = postcard::to_slice(message, rest).map_err(|_| FrameError::Room)?.len();
        let (text, rest) = rest.split_at_mut_checked(text_len).ok_or(FrameError::Room)?;
        let tag_slot = rest.get_mut(..TAG_LEN).ok_or(FrameError::Room)?;
        let key = downlink_key(secret, device, self.generation, &self.salt);
        let tag = ChaCha20Poly1305::new(&key.0.into())
            .encrypt_inout_detached(
                &self.nonce().into(),
                &associated(device, challenge, self.generation),
                text.into(),
            )
            .map_err(|_| FrameError::Oversized)?;
        tag_slot.copy_from_slice(&tag);
        Ok(PREFIX_LEN + text_len + TAG_LEN)
    }

    /// Opens a message that answers `challenge`, in place.
    pub fn open(
        secret: &Secret,
        device: &DeviceId,
        challenge: &Challenge,
        bytes: &mut [u8],
    ) -> Result<(Self, Downlink), FrameError> {
        if bytes.len() > DOWNLINK_LEN_MAX {
            return Err(FrameError::Oversized);
        }
        let (prefix, rest) =
            bytes.split_first_chunk_mut::<PREFIX_LEN>().ok_or(FrameError::Truncated)?;
        let [first, salt @ .., _, _, _, _, _, _, _, _] = *prefix;
        let number = prefix.last_chunk::<8>().copied().unwrap_or_default();
        if first >> 4 != MESSAGE_VERSION {
            return Err(FrameError::Version);
        }
        // The seal covers what they mean, and these mean nothing: one message has one form.
        if first & 3 != 0 {
            return Err(FrameError::Malformed);
        }
        let envelope = Self {
            generation: Generation::from_bits(first >> 2),
            salt,
            number: u64::from_le_bytes(number),
        };
        let text_len = rest.len().checked_sub(TAG_LEN).ok_or(FrameError::Truncated)?;
        let (text, tag) = rest.split_at_mut_checked(text_len).ok_or(FrameError::Truncated)?;
        let tag = Tag::try_from(&*tag).map_err(|_| FrameError::Truncated)?;
        let key = downlink_key(secret, device, envelope.generation, &envelope.salt);
        ChaCha20Poly1305::new(&key.0.into())
            .decrypt_inout_detached(
                &envelope.nonce().into(),
                &associated(device, challenge, envelope.generation),
                (&mut *text).into(),
                &tag,
            )
            .map_err(|_| FrameError::Unauthentic)?;
        let message = postcard::from_bytes(text).map_err(|_| FrameError::Malformed)?;
        Ok((envelope, message))
    }

    fn prefix(&self) -> [u8; PREFIX_LEN] {
        let mut prefix = [0; PREFIX_LEN];
        let first = (MESSAGE_VERSION << 4) | (self.generation.number() << 2);
        let parts = [first].into_iter().chain(self.salt).chain(self.number.to_le_bytes());
        for (slot, byte) in prefix.iter_mut().zip(parts) {
            *slot = byte;
        }
        prefix
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        for (slot, byte) in nonce.iter_mut().zip(self.number.to_le_bytes()) {
            *slot = byte;
        }
        nonce
    }
}

fn associated(
    device: &DeviceId,
    challenge: &Challenge,
    generation: Generation,
) -> heapless::Vec<u8, 56> {
    let mut bytes = heapless::Vec::new();
    for part in [&b"d"[..], &[generation.number()], &challenge.0, device.as_bytes()] {
        let fits = bytes.extend_from_slice(part).is_ok();
        debug_assert!(fits, "associated data is bounded");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let secret = Secret::new([7; 32]);
        let device = "van-7".parse().unwrap();
        let challenge = Challenge([6; 16]);
        let welcome = Welcome { unix_ms: 5, hello_uptime_ms: 4, wants_catalogue: true };
        let envelope = Envelope { generation: Generation::FIRST, salt: [5; 16], number: 9 };
        let mut sealed = [0; DOWNLINK_LEN_MAX];
        let message = Downlink::Welcome(welcome);
        let len = envelope.seal(&secret, &device, &challenge, &message, &mut sealed).unwrap();
        for bit in 0..len * 8 {
            let mut changed = sealed;
            changed[bit / 8] ^= 1 << (bit % 8);
            let opened = Envelope::open(&secret, &device, &challenge, &mut changed[..len]);
            assert!(opened.is_err(), "bit {bit}");
        }
        let opened = Envelope::open(&secret, &device, &challenge, &mut sealed[..len]);
        assert_eq!(opened, Ok((envelope, message)));
    }
}
