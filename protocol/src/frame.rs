//! The frame: a device's sealed batch. Header, seal, open.
//!
//! ```text
//! | version:4 generation:2 kind:2 | seq (varint) | body, encrypted | tag (16) |
//! ```
//!
//! ChaCha20-Poly1305 (RFC 8439). Key: per ring and generation; nonce: the sequence number, which a
//! ring never uses twice. Associated data: device, ring, lane and the header, so that a frame's own
//! header names none of them and yet a frame opens nowhere else.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};

use crate::WIRE_VERSION;
use crate::codec::SamplesHeader;
use crate::identity::{Counts, DeviceId, FrameTag, Generation, Lane, RingId, Seq};
use crate::keys::FrameKey;
use crate::loss::Loss;
use crate::record;
use crate::varint;

/// Bytes of the authentication tag.
pub const TAG_LEN: usize = 16;
/// Most bytes of a header.
pub const HEADER_LEN_MAX: usize = 1 + varint::LEN_MAX;
/// The largest frame an agent takes, in bytes. A device may be set lower, never higher.
pub const FRAME_LEN_MAX: usize = 8192;

/// What a frame's body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// [`SamplesHeader`] and coded columns.
    Samples = 0,
    /// [`record::Records`].
    Records = 1,
    /// One [`Loss`].
    Loss = 2,
    /// [`Origin`], and the body of a frame of another ring, sealed anew.
    Resealed = 3,
}

impl Kind {
    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Samples,
            1 => Self::Records,
            2 => Self::Loss,
            _ => Self::Resealed,
        }
    }
}

/// The clear part of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Which of the device's secrets seals it.
    pub generation: Generation,
    /// What the body is.
    pub kind: Kind,
    /// Its number in the ring; never 0.
    pub seq: Seq,
}

/// What a frame is bound to besides its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// Whose frame.
    pub device: DeviceId,
    /// Which ring's.
    pub ring: RingId,
    /// Which lane's.
    pub lane: Lane,
}

/// Why bytes are no frame, or not this ring's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Cut off, or too short to hold a tag.
    #[error("truncated frame")]
    Truncated,
    /// More than [`FRAME_LEN_MAX`] bytes.
    #[error("oversized frame")]
    Oversized,
    /// Another wire version.
    #[error("unknown wire version")]
    Version,
    /// Sequence number 0 or not in its shortest form.
    #[error("malformed header")]
    Malformed,
    /// The tag does not match: wrong key, wrong ring, or changed on the way.
    #[error("authentication failed")]
    Unauthentic,
    /// Sealing: the buffer has no room in front or behind.
    #[error("no room for header or tag")]
    Room,
}

impl Header {
    /// Reads the header of a frame; the rest is ciphertext and tag.
    pub fn read(frame: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        if frame.len() > FRAME_LEN_MAX {
            return Err(FrameError::Oversized);
        }
        let (first, rest) = frame.split_first().ok_or(FrameError::Truncated)?;
        if first >> 4 != WIRE_VERSION {
            return Err(FrameError::Version);
        }
        let (seq, rest) = varint::read(rest).ok_or(FrameError::Malformed)?;
        if seq == 0 {
            return Err(FrameError::Malformed);
        }
        if rest.len() < TAG_LEN {
            return Err(FrameError::Truncated);
        }
        let header = Self {
            generation: Generation::from_bits(first >> 2),
            kind: Kind::from_bits(*first),
            seq: Seq(seq),
        };
        Ok((header, rest))
    }

    fn write(&self) -> ([u8; HEADER_LEN_MAX], usize) {
        let mut bytes = [0; HEADER_LEN_MAX];
        let [first, number @ ..] = &mut bytes;
        *first = (WIRE_VERSION << 4) | (self.generation.number() << 2) | self.kind as u8;
        let len = 1 + varint::write(self.seq.0, number).unwrap_or_default();
        (bytes, len)
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        for (slot, byte) in nonce.iter_mut().zip(self.seq.0.to_le_bytes()) {
            *slot = byte;
        }
        nonce
    }
}

impl Binding {
    /// Associated data: "f", the length of the device id, the id, ring, lane, header.
    fn associated(&self, header: &[u8]) -> heapless::Vec<u8, 80> {
        let mut bytes = heapless::Vec::new();
        let device = self.device.as_bytes();
        let len = u8::try_from(device.len()).unwrap_or_default();
        for part in [&b"f"[..], &[len], device, &self.ring.0, &[self.lane as u8], header] {
            let fits = bytes.extend_from_slice(part).is_ok();
            debug_assert!(fits, "associated data is bounded");
        }
        bytes
    }
}

/// Seals the body that stands at `body` in `buffer`, in place. Needs [`HEADER_LEN_MAX`] bytes in
/// front of it and [`TAG_LEN`] behind. Returns where the frame stands, and its tag.
pub fn seal(
    key: &FrameKey,
    binding: &Binding,
    header: &Header,
    buffer: &mut [u8],
    body: core::ops::Range<usize>,
) -> Result<(core::ops::Range<usize>, FrameTag), FrameError> {
    let (header_bytes, header_len) = header.write();
    let header_bytes = header_bytes.get(..header_len).ok_or(FrameError::Room)?;
    let start = body.start.checked_sub(header_len).ok_or(FrameError::Room)?;
    let end = body.end.checked_add(TAG_LEN).ok_or(FrameError::Room)?;
    let frame = buffer.get_mut(start..end).ok_or(FrameError::Room)?;
    let (head, rest) = frame.split_at_mut_checked(header_len).ok_or(FrameError::Room)?;
    let (text, tag_slot) =
        rest.split_at_mut_checked(body.end - body.start).ok_or(FrameError::Room)?;
    head.copy_from_slice(header_bytes);
    let tag = ChaCha20Poly1305::new(&key.0.into())
        .encrypt_inout_detached(
            &header.nonce().into(),
            &binding.associated(header_bytes),
            text.into(),
        )
        .map_err(|_| FrameError::Oversized)?;
    tag_slot.copy_from_slice(&tag);
    Ok((start..end, short_tag(&tag)))
}

/// Opens a frame in place: on success, its header and body. On failure the buffer's content is
/// no longer a frame.
pub fn open<'a>(
    key: &FrameKey,
    binding: &Binding,
    frame: &'a mut [u8],
) -> Result<(Header, &'a mut [u8]), FrameError> {
    let (header, rest) = Header::read(frame)?;
    let header_len = frame.len() - rest.len();
    let (head, rest) = frame.split_at_mut_checked(header_len).ok_or(FrameError::Truncated)?;
    let text_len = rest.len().checked_sub(TAG_LEN).ok_or(FrameError::Truncated)?;
    let (text, tag) = rest.split_at_mut_checked(text_len).ok_or(FrameError::Truncated)?;
    let tag = Tag::try_from(&*tag).map_err(|_| FrameError::Truncated)?;
    ChaCha20Poly1305::new(&key.0.into())
        .decrypt_inout_detached(
            &header.nonce().into(),
            &binding.associated(head),
            (&mut *text).into(),
            &tag,
        )
        .map_err(|_| FrameError::Unauthentic)?;
    Ok((header, text))
}

/// The tag of a sealed frame, short; zeros if there is none.
pub fn tag_of(frame: &[u8]) -> FrameTag {
    let tag = frame.last_chunk::<TAG_LEN>().copied().unwrap_or_default();
    short_tag(&tag.into())
}

fn short_tag(tag: &Tag) -> FrameTag {
    let mut short = FrameTag::default();
    for (slot, byte) in short.0.iter_mut().zip(tag.iter()) {
        *slot = *byte;
    }
    short
}

/// Where the content of a resealed frame comes from.
///
/// Layout: ring (16), short tag (8), seq (varint), kind (1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The ring it was sealed in first.
    pub ring: RingId,
    /// Its tag there.
    pub tag: FrameTag,
    /// Its number there.
    pub seq: Seq,
    /// What the body is.
    pub kind: Kind,
}

impl Origin {
    /// Most bytes it takes: what a device keeps free in every frame, so that any can be resealed.
    pub const LEN_MAX: usize = 16 + 8 + varint::LEN_MAX + 1;

    /// Writes it to the front of `into`; its length.
    pub fn write(&self, into: &mut [u8; Self::LEN_MAX]) -> usize {
        let mut number = [0; varint::LEN_MAX];
        let len = varint::write(self.seq.0, &mut number).unwrap_or_default();
        let bytes = self.ring.0.into_iter().chain(self.tag.0).chain(number.into_iter().take(len));
        let mut used = 0;
        for (slot, byte) in into.iter_mut().zip(bytes.chain([self.kind as u8])) {
            *slot = byte;
            used += 1;
        }
        used
    }

    /// Reads it; the original body follows.
    pub fn read(body: &[u8]) -> Option<(Self, &[u8])> {
        let (ring, rest) = body.split_first_chunk::<16>()?;
        let (tag, rest) = rest.split_first_chunk::<8>()?;
        let (seq, rest) = varint::read(rest)?;
        let (kind, rest) = rest.split_first()?;
        // A resealed frame is unwrapped before it is resealed again.
        let kind = (*kind < 3).then_some(Kind::from_bits(*kind))?;
        Some((Self { ring: RingId(*ring), tag: FrameTag(*tag), seq: Seq(seq), kind }, rest))
    }
}

/// An opened body, told apart by kind.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// Samples: header and columns.
    Samples(SamplesHeader, &'a [u8]),
    /// Records.
    Records(record::Records<'a>),
    /// A loss.
    Loss(Loss),
}

/// A body that does not read as what its frame says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed body")]
pub struct BodyError;

impl<'a> Body<'a> {
    /// Reads a body; with where it comes from, if it was resealed.
    pub fn read(kind: Kind, bytes: &'a [u8]) -> Result<(Self, Option<Origin>), BodyError> {
        match kind {
            Kind::Samples => {
                let (header, columns) = SamplesHeader::read(bytes).map_err(|_| BodyError)?;
                Ok((Self::Samples(header, columns), None))
            }
            Kind::Records => Ok((Self::Records(record::Records::new(bytes)), None)),
            Kind::Loss => {
                Ok((Self::Loss(postcard::from_bytes(bytes).map_err(|_| BodyError)?), None))
            }
            Kind::Resealed => {
                let (origin, inner) = Origin::read(bytes).ok_or(BodyError)?;
                Ok((Self::read(origin.kind, inner)?.0, Some(origin)))
            }
        }
    }

    /// What the body adds to the ledger. A loss adds nothing by itself: its counts are cumulative.
    pub fn counts(&self) -> Counts {
        match self {
            Self::Samples(header, _) => header.counts(),
            Self::Records(records) => records.counts(),
            Self::Loss(_) => Counts::ZERO,
        }
    }
}
