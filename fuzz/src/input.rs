//! Fuzzed bytes as numbers and pieces: every byte string is some input, and a short one reads as
//! zeros at its end.

use arbitrary::Unstructured;

/// What is left of an input.
#[derive(Debug)]
pub struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    /// All of it.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// The next two.
    pub fn short(&mut self) -> u16 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// The next eight, or fewer for a number of fewer bits: small numbers are as likely as large.
    pub fn number(&mut self) -> i64 {
        let shape = self.byte();
        let bytes = usize::from(shape & 7) + 1;
        let mut value = [0; 8];
        for slot in value.iter_mut().take(bytes) {
            *slot = self.byte();
        }
        let number = i64::from_le_bytes(value);
        if shape & 0x80 == 0 { number } else { number.wrapping_neg() }
    }

    /// So many bytes of it, or what is left.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let len = len.min(self.0.len());
        self.0.bytes(len).unwrap_or_default()
    }

    /// A piece behind its length in a byte.
    pub fn piece(&mut self) -> &'a [u8] {
        let len = self.byte();
        self.bytes(usize::from(len))
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0.take_rest()
    }
}

/// Cuts bytes into pieces of 1 to 256 bytes, as the first bytes of `cuts` say, over and over.
pub fn pieces(bytes: &[u8], cuts: [u8; 4]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    (0_usize..).map_while(move |turn| {
        let len = (usize::from(cuts[turn % cuts.len()]) + 1).min(rest.len());
        let (piece, after) = rest.split_at(len);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Lines, each with its end.
#[cfg(feature = "hosts")]
pub fn text<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.fold(String::new(), |text, line| text + line + "\n")
}
