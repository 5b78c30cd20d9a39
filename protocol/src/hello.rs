//! The hello: what a device states, sealed, at each connection.
//!
//! ```text
//! | version:4 generation:2 0:2 | nonce (12) | Hello in postcard, encrypted | tag (16) |
//! ```
//!
//! The nonce is random: a hello's counters live in flash, and flash can be rolled back.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};
use serde::{Deserialize, Serialize};

use crate::MESSAGE_VERSION;
use crate::frame::{FrameError, TAG_LEN};
use crate::identity::{Counts, DeviceId, Generation, JournalInstance, Lane, RingId, Seq};
use crate::keys::HelloKey;
use crate::signal::CatalogueId;
use crate::time::DeviceTime;

/// The largest hello, in bytes.
pub const HELLO_LEN_MAX: usize = 512;
const PREFIX_LEN: usize = 1 + 12;

/// What a device draws anew for every hello; the agent's downlink is bound to the latest one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Challenge(pub [u8; 16]);

/// The state of one ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RingState {
    /// Its lane; one ring a lane.
    pub lane: Lane,
    /// Its id.
    pub ring: RingId,
    /// First sequence number that the device still has.
    pub first_retained: Seq,
    /// The next it will assign.
    pub next: Seq,
    /// What the ring had taken before `first_retained`.
    pub before_first: Counts,
    /// What it had taken before `next`.
    pub before_next: Counts,
    /// Highest sequence number acknowledged since the boot; 0 if none was.
    pub acknowledged: Seq,
    /// Who said so; zero if nobody has.
    pub acknowledged_by: JournalInstance,
}

/// The states of a device's rings, at most one a lane.
pub type Rings = heapless::Vec<RingState, 3>;

/// A device's statement about itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// When, by its own clocks.
    pub time: DeviceTime,
    /// To be answered by every downlink message.
    pub challenge: Challenge,
    /// The catalogue of the samples it takes now.
    pub catalogue: CatalogueId,
    /// The campaign it runs.
    pub campaign: u32,
    /// First four bytes of its image's hash; 0 where there is none.
    pub image: u32,
    /// Its rings.
    pub rings: Rings,
}

impl Hello {
    /// Seals it into `into`; its length.
    pub fn seal(
        &self,
        key: &HelloKey,
        device: &DeviceId,
        generation: Generation,
        nonce: [u8; 12],
        into: &mut [u8],
    ) -> Result<usize, FrameError> {
        let first = (MESSAGE_VERSION << 4) | (generation.number() << 2);
        let (prefix, rest) = into.split_at_mut_checked(PREFIX_LEN).ok_or(FrameError::Room)?;
        for (slot, byte) in prefix.iter_mut().zip([first].into_iter().chain(nonce)) {
            *slot = byte;
        }
        let text_len = postcard::to_slice(self, rest).map_err(|_| FrameError::Room)?.len();
        let (text, rest) = rest.split_at_mut_checked(text_len).ok_or(FrameError::Room)?;
        let tag_slot = rest.get_mut(..TAG_LEN).ok_or(FrameError::Room)?;
        let tag = ChaCha20Poly1305::new(&key.0.into())
            .encrypt_inout_detached(&nonce.into(), &associated(device, first), text.into())
            .map_err(|_| FrameError::Oversized)?;
        tag_slot.copy_from_slice(&tag);
        Ok(PREFIX_LEN + text_len + TAG_LEN)
    }

    /// The generation a hello claims, before it is opened.
    pub fn generation(bytes: &[u8]) -> Result<Generation, FrameError> {
        let first = bytes.first().ok_or(FrameError::Truncated)?;
        if first >> 4 != MESSAGE_VERSION {
            return Err(FrameError::Version);
        }
        Ok(Generation::from_bits(first >> 2))
    }

    /// Opens a hello in place.
    pub fn open(key: &HelloKey, device: &DeviceId, bytes: &mut [u8]) -> Result<Self, FrameError> {
        if bytes.len() > HELLO_LEN_MAX {
            return Err(FrameError::Oversized);
        }
        Self::generation(bytes)?;
        let (prefix, rest) =
            bytes.split_first_chunk_mut::<PREFIX_LEN>().ok_or(FrameError::Truncated)?;
        let [first, nonce @ ..] = *prefix;
        let text_len = rest.len().checked_sub(TAG_LEN).ok_or(FrameError::Truncated)?;
        let (text, tag) = rest.split_at_mut_checked(text_len).ok_or(FrameError::Truncated)?;
        let tag = Tag::try_from(&*tag).map_err(|_| FrameError::Truncated)?;
        ChaCha20Poly1305::new(&key.0.into())
            .decrypt_inout_detached(
                &nonce.into(),
                &associated(device, first),
                (&mut *text).into(),
                &tag,
            )
            .map_err(|_| FrameError::Unauthentic)?;
        postcard::from_bytes(text).map_err(|_| FrameError::Malformed)
    }
}

fn associated(device: &DeviceId, first: u8) -> heapless::Vec<u8, 40> {
    let mut bytes = heapless::Vec::new();
    for part in [&b"h"[..], &[first], device.as_bytes()] {
        let fits = bytes.extend_from_slice(part).is_ok();
        debug_assert!(fits, "associated data is bounded");
    }
    bytes
}
