//! Values that are no whole number of steps: what they are is an escape in the place of the number, and
//! then they stand as they are, each bit as likely 0 as 1.

use super::CodecError;
use super::number::Escape;
use super::range::Coder;
use crate::sample::{CONTENT_LEN_MAX, Value};

const MISSING: Escape = Escape(1);
const SINGLE: Escape = Escape(2);
const DOUBLE: Escape = Escape(3);
const BYTES: Escape = Escape(4);
const TEXT: Escape = Escape(5);

/// Bits of a length.
const LEN_BITS: u32 = 8;

/// What stands beside a sample.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    bytes: [u8; CONTENT_LEN_MAX],
    len: usize,
}

impl Content {
    /// Nothing.
    pub const EMPTY: Self = Self { bytes: [0; CONTENT_LEN_MAX], len: 0 };

    /// What a value has beside it: nothing if that is of another length, too long, or no text.
    pub fn of(value: Value, content: &[u8]) -> Option<Self> {
        let is_text = matches!(value, Value::Text(_));
        if content.len() != value.content_len() || is_text && str::from_utf8(content).is_err() {
            return None;
        }
        let mut own = Self { len: content.len(), ..Self::EMPTY };
        own.bytes.get_mut(..content.len())?.copy_from_slice(content);
        Some(own)
    }

    /// Takes them away.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What is coded in the place of a value's number.
pub const fn coded(value: Value) -> (i64, Escape) {
    match value {
        Value::Steps(steps) => (steps, Escape::NONE),
        Value::Missing => (0, MISSING),
        Value::Single(_) => (0, SINGLE),
        Value::Double(_) => (0, DOUBLE),
        Value::Bytes(_) => (0, BYTES),
        Value::Text(_) => (0, TEXT),
    }
}

/// Codes what is behind the escape.
pub fn value<C: Coder>(
    coder: &mut C,
    escape: Escape,
    value: Value,
    content: Option<&mut Content>,
) -> Result<Value, CodecError> {
    let bits = match value {
        Value::Single(bits) => u64::from(bits),
        Value::Double(bits) => bits,
        _ => 0,
    };
    match escape {
        MISSING => Ok(Value::Missing),
        SINGLE => {
            let bits = coder.flat(bits, u32::BITS);
            Ok(Value::Single(u32::try_from(bits).unwrap_or(0)))
        }
        DOUBLE => Ok(Value::Double(coder.flat(bits, u64::BITS))),
        BYTES => beside(coder, content).map(Value::Bytes),
        TEXT => {
            let content = content.ok_or(CodecError::Malformed)?;
            let len = beside(coder, Some(&mut *content))?;
            str::from_utf8(content.bytes()).map_err(|_| CodecError::Malformed)?;
            Ok(Value::Text(len))
        }
        _ => Err(CodecError::Malformed),
    }
}

fn beside<C: Coder>(coder: &mut C, content: Option<&mut Content>) -> Result<u8, CodecError> {
    let content = content.ok_or(CodecError::Malformed)?;
    let len = coder.flat(u64::try_from(content.len).unwrap_or(0), LEN_BITS);
    content.len = usize::try_from(len).unwrap_or(0);
    for byte in content.bytes.get_mut(..content.len).ok_or(CodecError::Malformed)? {
        *byte = u8::try_from(coder.flat(u64::from(*byte), u8::BITS)).unwrap_or(0);
    }
    u8::try_from(len).map_err(|_| CodecError::Malformed)
}
