//! Pieces: what block files are made of.
//!
//! ```text
//! | "MPpc" | kind (1) | length of the content (4, little endian) | CRC32C (4) | content |
//! ```
//!
//! The checksum covers kind, length and content. A file is pieces from its first byte to its end.

use super::error::StoreError;

/// What a piece is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PieceKind {
    /// A catalogue's encoding; before the first block of its file that needs it.
    Catalogue = 1,
    /// A block of samples.
    Block = 2,
    /// A chapter of records.
    Chapter = 3,
    /// The number of the commit whose pieces follow.
    Commit = 4,
    /// Nothing: zeros in the place of what was erased.
    Void = 5,
    /// A seat's number and what it stands for; before the first block of its file that needs it.
    Seat = 6,
}

/// Bytes before the content.
pub const HEAD_LEN: usize = 13;
/// The longest content: far more than 65,535 samples take at their worst.
pub const CONTENT_MAX: usize = 16 << 20;

const MAGIC: [u8; 4] = *b"MPpc";

impl PieceKind {
    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Catalogue),
            2 => Some(Self::Block),
            3 => Some(Self::Chapter),
            4 => Some(Self::Commit),
            5 => Some(Self::Void),
            6 => Some(Self::Seat),
            _ => None,
        }
    }
}

/// A piece's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What it is.
    pub kind: PieceKind,
    /// Bytes of content behind it.
    pub len: usize,
    checksum: u32,
}

impl Head {
    /// Reads a head; none if there is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (checksum, _) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let kind = PieceKind::from_number(*kind)?;
        let is_sound = *magic == MAGIC && len <= CONTENT_MAX;
        is_sound.then_some(Self { kind, len, checksum: u32::from_le_bytes(*checksum) })
    }

    /// Whether this is the content that belongs to it.
    pub fn fits(&self, content: &[u8]) -> bool {
        content.len() == self.len && self.checksum == checksum(self.kind, content)
    }
}

/// Appends a piece to `out`; its content is what `write` appends.
pub fn append(
    out: &mut Vec<u8>,
    kind: PieceKind,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), StoreError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_LEN]);
    write(out);
    let (_, piece) = out.split_at_mut(start);
    let Some((head, content)) = piece.split_first_chunk_mut::<HEAD_LEN>() else { return Ok(()) };
    let len = u32::try_from(content.len()).ok().filter(|_| content.len() <= CONTENT_MAX);
    let len = len.ok_or_else(|| StoreError::damaged("a piece is too long to be written"))?;
    let numbers = [len.to_le_bytes(), checksum(kind, content).to_le_bytes()].concat();
    let bytes = MAGIC.into_iter().chain([kind as u8]).chain(numbers);
    head.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = byte);
    Ok(())
}

/// The content of a whole piece, checked.
pub fn content(piece: &[u8], kind: PieceKind) -> Result<&[u8], StoreError> {
    let damaged = || StoreError::damaged("a piece of a block file does not match its checksum");
    let head = Head::read(piece).filter(|head| head.kind == kind).ok_or_else(damaged)?;
    let content = piece.get(HEAD_LEN..).unwrap_or_default();
    if head.fits(content) { Ok(content) } else { Err(damaged()) }
}

fn checksum(kind: PieceKind, content: &[u8]) -> u32 {
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    let head = crc32c::crc32c_append(crc32c::crc32c(&[kind as u8]), &len);
    crc32c::crc32c_append(head, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_shows() {
        let mut bytes = Vec::new();
        append(&mut bytes, PieceKind::Catalogue, |out| out.extend_from_slice(b"tick")).unwrap();
        assert_eq!(content(&bytes, PieceKind::Catalogue).unwrap(), b"tick");
        content(&bytes, PieceKind::Block).unwrap_err();
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            content(&damaged, PieceKind::Catalogue).unwrap_err();
        }
        content(&bytes[..bytes.len() - 1], PieceKind::Catalogue).unwrap_err();
    }

    #[test]
    fn an_overlong_one_is_not_written() {
        let mut bytes = Vec::new();
        let too_long = |out: &mut Vec<u8>| out.resize(CONTENT_MAX + 100, 0);
        append(&mut bytes, PieceKind::Block, too_long).unwrap_err();
    }
}
