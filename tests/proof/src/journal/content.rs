//! A file's bytes, sector by sector, shared between the many states of a disk.

use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

/// What the power leaves whole of a write.
pub(super) const SECTOR_LEN: usize = 512;

#[derive(Debug)]
struct Sector {
    bytes: [u8; SECTOR_LEN],
    /// Of the bytes; none if they are all zero.
    hash: OnceLock<Option<[u8; 16]>>,
}

impl Sector {
    fn hash(&self) -> Option<[u8; 16]> {
        *self.hash.get_or_init(|| {
            if self.bytes.iter().all(|byte| *byte == 0) {
                return None;
            }
            Sha256::digest(self.bytes).first_chunk().copied()
        })
    }
}

/// The bytes of a file. A sector that is not there is zero, and so is what lies beyond the length.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    sectors: Vec<Option<Arc<Sector>>>,
    len: usize,
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.write(0, bytes);
        content
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.read(0, &mut bytes);
        bytes
    }

    pub(super) fn read(&self, at: usize, into: &mut [u8]) -> usize {
        let read = into.len().min(self.len.saturating_sub(at));
        let mut rest = into.get_mut(..read).unwrap_or_default();
        let mut at = at;
        while !rest.is_empty() {
            let (index, from) = (at / SECTOR_LEN, at % SECTOR_LEN);
            let (part, after) = rest.split_at_mut(rest.len().min(SECTOR_LEN - from));
            match self.sectors.get(index) {
                Some(Some(sector)) => {
                    let bytes = sector.bytes.get(from..from + part.len());
                    part.copy_from_slice(bytes.unwrap_or_default());
                }
                _ => part.fill(0),
            }
            at += part.len();
            rest = after;
        }
        read
    }

    /// Writes, and grows if need be.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.put(at, bytes);
        self.len = self.len.max(at.saturating_add(bytes.len()));
    }

    /// Writes without growing: what lies beyond the length shows only if [`Self::resize`] makes it
    /// longer before [`Self::hide`].
    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        for (at, part) in sectors_of(at, bytes) {
            let (index, from) = (at / SECTOR_LEN, at % SECTOR_LEN);
            if self.sectors.len() <= index {
                self.sectors.resize(index + 1, None);
            }
            let Some(slot) = self.sectors.get_mut(index) else { continue };
            if slot.is_none() && part.iter().all(|byte| *byte == 0) {
                continue;
            }
            let mut bytes = slot.as_ref().map_or([0; SECTOR_LEN], |sector| sector.bytes);
            if let Some(into) = bytes.get_mut(from..from + part.len()) {
                into.copy_from_slice(part);
            }
            *slot = Some(Arc::new(Sector { bytes, hash: OnceLock::new() }));
        }
    }

    /// Makes it so long, and nothing else.
    pub(super) const fn resize(&mut self, len: usize) {
        self.len = len;
    }

    /// Forgets what lies beyond the length.
    pub(super) fn hide(&mut self) {
        self.sectors.truncate(self.len.div_ceil(SECTOR_LEN));
        let from = self.len % SECTOR_LEN;
        if from == 0 || self.sectors.len() * SECTOR_LEN < self.len {
            return;
        }
        if let Some(Some(last)) = self.sectors.last()
            && last.bytes.iter().skip(from).any(|byte| *byte != 0)
        {
            let zeros = [0; SECTOR_LEN];
            let len = self.len;
            self.put(len, zeros.get(from..).unwrap_or_default());
        }
    }

    /// Cuts or grows it.
    pub(super) fn set_len(&mut self, len: usize) {
        self.resize(len);
        self.hide();
    }

    /// Turns one bit over.
    pub(super) fn flip(&mut self, at: usize, bit: u8) {
        let mut byte = [0];
        if self.read(at, &mut byte) == 1 {
            let [byte] = byte;
            self.put(at, &[byte ^ (1 << bit)]);
        }
    }

    /// Whether these bytes, which lie in one sector, stand there already.
    pub(super) fn holds(&self, at: usize, bytes: &[u8]) -> bool {
        match self.sectors.get(at / SECTOR_LEN) {
            Some(Some(sector)) => {
                let from = at % SECTOR_LEN;
                sector.bytes.get(from..from + bytes.len()) == Some(bytes)
            }
            _ => bytes.iter().all(|byte| *byte == 0),
        }
    }

    /// Takes it into a hash: two files are the same if length and all bytes are.
    pub(super) fn hash_into(&self, hash: &mut Sha256) {
        hash.update(self.len.to_le_bytes());
        for (index, sector) in self.sectors.iter().enumerate() {
            if let Some(of) = sector.as_ref().and_then(|sector| sector.hash()) {
                hash.update(index.to_le_bytes());
                hash.update(of);
            }
        }
        hash.update(usize::MAX.to_le_bytes());
    }
}

/// The parts of a write, one per sector, with where each stands.
pub(super) fn sectors_of(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = at;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (part, after) = rest.split_at(rest.len().min(SECTOR_LEN - at % SECTOR_LEN));
        let stands = at;
        at += part.len();
        rest = after;
        Some((stands, part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(content: &Content) -> Vec<u8> {
        let mut hash = Sha256::new();
        content.hash_into(&mut hash);
        hash.finalize().to_vec()
    }

    #[test]
    fn like_a_vector() {
        let (mut content, mut bytes) = (Content::default(), Vec::new());
        let writes =
            [(0, 3), (700, 900), (10, 513), (5000, 1), (4000, 0), (511, 2), (1024, 512), (0, 512)];
        for (step, (at, len)) in writes.into_iter().enumerate() {
            let written = vec![u8::try_from(step).unwrap(); len];
            content.write(at, &written);
            if bytes.len() < at + len {
                bytes.resize(at + len, 0);
            }
            bytes[at..at + len].copy_from_slice(&written);
            assert_eq!(content.bytes(), bytes);
            assert_eq!(hash(&content), hash(&Content::of(&bytes)));
            let cut = bytes.len() * 3 / 4;
            content.set_len(cut);
            bytes.truncate(cut);
            assert_eq!(hash(&content), hash(&Content::of(&bytes)));
            content.set_len(cut + 600);
            bytes.resize(cut + 600, 0);
            assert_eq!(content.bytes(), bytes);
            assert_eq!(hash(&content), hash(&Content::of(&bytes)));
        }
    }
}
