//! The other direction, for the tests: enough to read back what the encoders wrote.

/// One protobuf field, not looked into.
#[derive(Debug, PartialEq)]
pub enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl Field<'_> {
    pub fn double(&self) -> f64 {
        match self {
            Field::Fixed64(bits) => f64::from_bits(*bits),
            other => panic!("{other:?} is no double"),
        }
    }
}

/// Takes a varint off the front.
pub fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut n, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        n |= u64::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return n;
        }
    }
}

/// The other way round.
pub fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

/// The fields of a message, in order.
pub fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let mut take = |n: usize| {
            let (front, rest) = bytes.split_at(n);
            bytes = rest;
            front
        };
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            1 => Field::Fixed64(u64::from_le_bytes(take(8).try_into().unwrap())),
            5 => Field::Fixed32(u32::from_le_bytes(take(4).try_into().unwrap())),
            2 => {
                let len = usize::try_from(varint(&mut bytes)).unwrap();
                let (front, rest) = bytes.split_at(len);
                bytes = rest;
                Field::Bytes(front)
            }
            other => panic!("wire type {other}"),
        };
        out.push((tag >> 3, field));
    }
    out
}

/// The only field of that number in a message.
pub fn inner(bytes: &[u8], number: u64) -> &[u8] {
    let mut found = fields(bytes).into_iter().filter(|(n, _)| *n == number);
    match (found.next(), found.next()) {
        (Some((_, Field::Bytes(bytes))), None) => bytes,
        other => panic!("field {number}: {other:?}"),
    }
}

/// Bits, highest first.
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn take(&mut self, width: u32) -> u64 {
        (0..width).fold(0, |n, _| n << 1 | u64::from(self.bit()))
    }

    pub fn bit(&mut self) -> bool {
        let bit = self.bytes[self.at / 8] << (self.at % 8) & 128 != 0;
        self.at += 1;
        bit
    }

    /// How many ones come before a zero, or `max` of them without one.
    pub fn ones(&mut self, max: u32) -> u32 {
        (0..max).find(|_| !self.bit()).unwrap_or(max)
    }

    /// What is left after the byte that was last read from.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at.div_ceil(8)..]
    }
}
