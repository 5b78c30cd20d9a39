//! Values as the agent holds them: mostly a whole number of steps, and otherwise what the device sent.

use std::fmt::Write as _;

use protocol::Value;

/// A value, in whatever holds it together with a list of [`Exact`] ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    /// So many steps of the signal; of a coarse place the bits of its cell.
    Steps(i64),
    /// This one of the list.
    Exact(u32),
}

/// A value that is no whole number of steps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Exact {
    /// There is none, and the sensor says so.
    Missing,
    /// The bits of a binary32 number, or of none.
    Single(u32),
    /// Those of a binary64 one.
    Double(u64),
    /// Bytes of any kind.
    Bytes(Box<[u8]>),
    /// Text.
    Text(Box<str>),
}

impl Amount {
    /// How many steps; nothing of a value that is none.
    pub const fn steps(self) -> Option<i64> {
        match self {
            Self::Steps(steps) => Some(steps),
            Self::Exact(_) => None,
        }
    }

    /// The value in the list that belongs to it.
    pub fn exact(self, of: &[Exact]) -> Option<&Exact> {
        match self {
            Self::Steps(_) => None,
            Self::Exact(at) => of.get(usize::try_from(at).ok()?),
        }
    }

    /// The same in another list, to which it is appended.
    #[must_use]
    pub fn moved(self, from: &[Exact], to: &mut Vec<Exact>) -> Self {
        self.exact(from).map_or(self, |exact| exact.clone().appended(to))
    }
}

impl Exact {
    /// What a device sent, with what stands beside it; nothing if that is so many steps.
    pub fn of(value: Value, content: &[u8]) -> Option<Self> {
        Some(match value {
            Value::Steps(_) => return None,
            Value::Missing => Self::Missing,
            Value::Single(bits) => Self::Single(bits),
            Value::Double(bits) => Self::Double(bits),
            Value::Bytes(_) => Self::Bytes(content.into()),
            // The codec lets nothing else pass.
            Value::Text(_) => Self::Text(str::from_utf8(content).ok()?.into()),
        })
    }

    /// Appends it to a list.
    pub fn appended(self, to: &mut Vec<Self>) -> Amount {
        let at = u32::try_from(to.len()).unwrap_or(u32::MAX);
        to.push(self);
        Amount::Exact(at)
    }

    /// The name of what it is.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Single(_) => "float32",
            Self::Double(_) => "float64",
            Self::Bytes(_) => "bytes",
            Self::Text(_) => "text",
        }
    }

    /// As a number, if it is one; binary64 holds every binary32.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Single(bits) => Some(f64::from(f32::from_bits(*bits))),
            Self::Double(bits) => Some(f64::from_bits(*bits)),
            Self::Missing | Self::Bytes(_) | Self::Text(_) => None,
        }
    }

    /// The memory beside it, in bytes.
    pub fn beside(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
            Self::Missing | Self::Single(_) | Self::Double(_) => 0,
        }
    }

    /// Appends it as JSON (RFC 8259), so that it can be read back bit by bit: a number with as many
    /// digits as tell it from its neighbours in binary64; what JSON has no word for as an object.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Missing => out.extend_from_slice(b"null"),
            Self::Text(text) => {
                // Writing to memory does not fail.
                let written = serde_json::to_writer(&mut *out, &**text);
                debug_assert!(written.is_ok(), "text is JSON");
            }
            Self::Bytes(bytes) => {
                let mut object = "{\"hex\":\"".to_owned();
                for byte in bytes {
                    let written = write!(object, "{byte:02x}");
                    debug_assert!(written.is_ok(), "memory takes it");
                }
                object.push_str("\"}");
                out.extend_from_slice(object.as_bytes());
            }
            Self::Single(_) | Self::Double(_) => match self.number() {
                Some(number) if number.is_finite() => {
                    let written = serde_json::to_writer(&mut *out, &number);
                    debug_assert!(written.is_ok(), "a finite number is JSON");
                }
                _ => out.extend_from_slice(format!("{{\"float\":\"{}\"}}", self.name()).as_bytes()),
            },
        }
    }

    /// Of a number that is none.
    fn name(&self) -> String {
        let (number, bits) = match self {
            Self::Single(bits) => (f64::from(f32::from_bits(*bits)), format!("{bits:08x}")),
            Self::Double(bits) => (f64::from_bits(*bits), format!("{bits:016x}")),
            Self::Missing | Self::Bytes(_) | Self::Text(_) => return String::new(),
        };
        match number {
            f64::INFINITY => "Infinity".to_owned(),
            f64::NEG_INFINITY => "-Infinity".to_owned(),
            // Which of the many that are none.
            _ => format!("NaN({bits})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(exact: &Exact) -> String {
        let mut out = Vec::new();
        exact.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_is_json_from_which_it_can_be_had_again() {
        let double = |number: f64| Exact::Double(number.to_bits());
        for (exact, expected) in [
            (Exact::Missing, "null"),
            (double(0.1), "0.1"),
            (double(-0.0), "-0.0"),
            (double(1e300), "1e+300"),
            (Exact::Single(0.1_f32.to_bits()), "0.10000000149011612"),
            (double(f64::NEG_INFINITY), r#"{"float":"-Infinity"}"#),
            (Exact::Single(f32::INFINITY.to_bits()), r#"{"float":"Infinity"}"#),
            (Exact::Double(0x7ff8_0000_0000_0001), r#"{"float":"NaN(7ff8000000000001)"}"#),
            (Exact::Single(0x7fc0_0000), r#"{"float":"NaN(7fc00000)"}"#),
            (Exact::Bytes([0, 0xab].into()), r#"{"hex":"00ab"}"#),
            (Exact::Text("é \"x\"\n".into()), r#""é \"x\"\n""#),
        ] {
            assert_eq!(json(&exact), expected);
            serde_json::from_str::<serde_json::Value>(expected).unwrap();
        }
    }

    #[test]
    fn an_amount_moves_with_what_it_stands_for() {
        let from = [Exact::Missing, Exact::Text("a".into())];
        let mut to = vec![Exact::Double(1)];
        assert_eq!(Amount::Steps(7).moved(&from, &mut to), Amount::Steps(7));
        assert_eq!(Amount::Exact(1).moved(&from, &mut to), Amount::Exact(1));
        assert_eq!(to, [Exact::Double(1), from[1].clone()]);
        assert_eq!(Amount::Exact(1).exact(&to), Some(&from[1]));
        assert_eq!((Amount::Exact(9).exact(&to), Amount::Steps(0).exact(&to)), (None, None));
    }

    #[test]
    fn what_a_device_sent_is_what_is_held() {
        assert_eq!(Exact::of(Value::Steps(3), &[]), None);
        assert_eq!(Exact::of(Value::Single(9), &[]), Some(Exact::Single(9)));
        assert_eq!(Exact::of(Value::Bytes(2), &[1, 2]), Some(Exact::Bytes([1, 2].into())));
        assert_eq!(Exact::of(Value::Text(1), b"a").map(|exact| exact.beside()), Some(1));
    }
}
