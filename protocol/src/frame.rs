//! The frame: a device's sealed batch. Header, seal, open.
//!
//! ```text
//! | version:4 generation:2 kind:2 | seq (varint) | of samples: context | body, encrypted | tag (16) |
//! ```
//!
//! ChaCha20-Poly1305 (RFC 8439). Key: per ring and generation; nonce: the sequence number, which a
//! ring never uses twice. Associated data: device, ring, lane and the header, so that a frame's own
//! header names none of them and yet a frame opens nowhere else.
//!
//! This is how a frame is kept. On its way it may have a [compact] header of three bytes instead.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};

use crate::WIRE_VERSION;
use crate::codec::{SamplesContext, SamplesHeader};
use crate::identity::{Counts, DeviceId, FrameTag, Generation, Lane, RingId, Seq};
use crate::keys::FrameKey;
use crate::loss::Loss;
use crate::record;
use crate::varint;

pub mod compact;

/// Bytes of the authentication tag.
pub const TAG_LEN: usize = 16;
/// Most bytes of a header.
pub const HEADER_LEN_MAX: usize = 1 + varint::LEN_MAX + SamplesContext::LEN_MAX;
/// The largest frame an agent takes, in bytes. A device may be set lower, never higher.
pub const FRAME_LEN_MAX: usize = 8192;

/// What a frame's body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// How many samples (varint), and coded columns.
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
    /// What its samples are of: in clear, so that a [compact] header can leave most of it out. In a frame of wire version 0 a [`SamplesHeader`] at the front of the
    /// body says it, and here is nothing.
    pub samples: Option<SamplesContext>,
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
    /// Sequence number 0, a number not in its shortest form, or a clock or coding that there is not.
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
    /// The header of a frame of records, of a loss, or of one that was resealed.
    pub const fn new(generation: Generation, kind: Kind, seq: Seq) -> Self {
        Self { generation, kind, seq, samples: None }
    }

    /// The header of a frame of samples.
    pub const fn of_samples(generation: Generation, seq: Seq, samples: SamplesContext) -> Self {
        Self { generation, kind: Kind::Samples, seq, samples: Some(samples) }
    }

    /// Reads the header of a frame; the rest is ciphertext and tag.
    pub fn read(frame: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        if frame.len() > FRAME_LEN_MAX {
            return Err(FrameError::Oversized);
        }
        let (first, rest) = frame.split_first().ok_or(FrameError::Truncated)?;
        let version = first >> 4;
        if version > WIRE_VERSION {
            return Err(FrameError::Version);
        }
        let (seq, rest) = varint::read(rest).ok_or(FrameError::Malformed)?;
        if seq == 0 {
            return Err(FrameError::Malformed);
        }
        let kind = Kind::from_bits(*first);
        let (samples, rest) = if kind == Kind::Samples && version > 0 {
            let (samples, rest) = SamplesContext::read(rest).map_err(|_| FrameError::Malformed)?;
            (Some(samples), rest)
        } else {
            (None, rest)
        };
        if rest.len() < TAG_LEN {
            return Err(FrameError::Truncated);
        }
        let generation = Generation::from_bits(first >> 2);
        Ok((Self { generation, kind, seq: Seq(seq), samples }, rest))
    }

    /// As it stands in front of a frame that is kept.
    pub fn bytes(&self) -> heapless::Vec<u8, HEADER_LEN_MAX> {
        // Samples without their context are those of wire version 0.
        let is_old = self.kind == Kind::Samples && self.samples.is_none();
        let version = if is_old { 0 } else { WIRE_VERSION };
        let mut bytes = heapless::Vec::new();
        let mut append = |part: &[u8]| {
            let fits = bytes.extend_from_slice(part).is_ok();
            debug_assert!(fits, "a header is bounded");
        };
        let mut number = [0; varint::LEN_MAX];
        append(&[(version << 4) | (self.generation.number() << 2) | self.kind as u8]);
        let len = varint::write(self.seq.0, &mut number).unwrap_or_default();
        append(number.get(..len).unwrap_or_default());
        if let Some(samples) = &self.samples {
            append(&samples.bytes());
        }
        bytes
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
    fn associated(&self, header: &[u8]) -> heapless::Vec<u8, 96> {
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
    let header_bytes = header.bytes();
    let header_len = header_bytes.len();
    let start = body.start.checked_sub(header_len).ok_or(FrameError::Room)?;
    let end = body.end.checked_add(TAG_LEN).ok_or(FrameError::Room)?;
    let frame = buffer.get_mut(start..end).ok_or(FrameError::Room)?;
    let (head, rest) = frame.split_at_mut_checked(header_len).ok_or(FrameError::Room)?;
    let (text, tag_slot) =
        rest.split_at_mut_checked(body.end - body.start).ok_or(FrameError::Room)?;
    head.copy_from_slice(&header_bytes);
    let tag = ChaCha20Poly1305::new(&key.0.into())
        .encrypt_inout_detached(
            &header.nonce().into(),
            &binding.associated(&header_bytes),
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
    /// Reads the body behind a header; with where it comes from, if it was resealed.
    pub fn read(header: &Header, bytes: &'a [u8]) -> Result<(Self, Option<Origin>), BodyError> {
        match (header.kind, header.samples) {
            (Kind::Samples, Some(samples)) => {
                let (header, columns) = samples.behind(bytes).map_err(|_| BodyError)?;
                Ok((Self::Samples(header, columns), None))
            }
            (Kind::Resealed, _) => {
                let (origin, inner) = Origin::read(bytes).ok_or(BodyError)?;
                Ok((Self::within(origin.kind, inner)?, Some(origin)))
            }
            (kind, _) => Ok((Self::within(kind, bytes)?, None)),
        }
    }

    /// Reads a body that says all of itself.
    fn within(kind: Kind, bytes: &'a [u8]) -> Result<Self, BodyError> {
        match kind {
            Kind::Samples => {
                let (header, columns) = SamplesHeader::read(bytes).map_err(|_| BodyError)?;
                Ok(Self::Samples(header, columns))
            }
            Kind::Records => Ok(Self::Records(record::Records::new(bytes))),
            Kind::Loss => Ok(Self::Loss(postcard::from_bytes(bytes).map_err(|_| BodyError)?)),
            // A resealed frame is unwrapped before it is resealed again.
            Kind::Resealed => Err(BodyError),
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
