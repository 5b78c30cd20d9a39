//! What is drawn.

use milepost_protocol::{Sample, SignalIndex, Value};
use serde_json::{Value as Json, json};

/// A small generator: `splitmix64`, by Steele, Lea and Flood (OOPSLA 2014).
pub struct Chance(pub u64);

impl Chance {
    /// 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Below an end.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.draw().to_le_bytes()[0]
    }

    /// Small as often as large, and of either sign.
    pub fn number(&mut self) -> i64 {
        let bits = self.below(64);
        self.draw().cast_signed() >> bits
    }

    /// The same, in 32 bits.
    pub fn narrow(&mut self) -> i32 {
        let bits = self.below(32);
        i32::from_le_bytes(self.draw().to_le_bytes()[..4].try_into().unwrap()) >> bits
    }
}

/// A sample, and what stands beside it.
pub type Measured = (Sample, Vec<u8>);

/// A value that is no whole number of steps.
fn exact(chance: &mut Chance) -> (Value, Vec<u8>) {
    let len = chance.byte() % 65;
    match chance.below(5) {
        0 => (Value::Missing, vec![]),
        1 => (Value::Single(chance.narrow().cast_unsigned()), vec![]),
        2 => (Value::Double(chance.draw()), vec![]),
        3 => (Value::Bytes(len), (0..len).map(|_| chance.byte()).collect()),
        _ => {
            let text: String =
                (0..len / 2).map(|_| if chance.below(2) == 0 { 'é' } else { 'e' }).collect();
            (Value::Text(u8::try_from(text.len()).unwrap()), text.into_bytes())
        }
    }
}

/// A value as the Python reads it.
pub fn said((sample, content): &Measured) -> Json {
    let value = match sample.value {
        Value::Steps(steps) => json!(steps),
        Value::Missing => Json::Null,
        Value::Single(bits) => json!({ "single": bits }),
        Value::Double(bits) => json!({ "double": bits }),
        Value::Bytes(_) => json!({ "bytes": content }),
        Value::Text(_) => json!({ "text": str::from_utf8(content).unwrap() }),
    };
    json!([sample.tick, sample.signal.0, value])
}

/// A poller's rounds, or a bus, or nothing that follows from anything.
pub fn samples(chance: &mut Chance, signals: u8) -> Vec<Measured> {
    let kind = chance.below(4);
    let mut at = Sample::new(1_700_000_000_000, SignalIndex(0), 0);
    if kind == 3 {
        at.tick = chance.number();
    }
    let mut raws = [0_i64; 64];
    let count = 1 + chance.below(120);
    (0..count)
        .map(|_| {
            let gap = match kind {
                0 => 30 * i64::from(chance.byte() % 4) + i64::from(chance.byte() % 3),
                1 => i64::from(chance.byte() % 2) * 1000,
                2 => chance.number() >> 40,
                _ => chance.number(),
            };
            let turn = (at.signal.0 + 1) % signals;
            let signal = if chance.below(6) == 0 { chance.byte() % signals } else { turn };
            let moved = match chance.below(3) {
                0 => 0,
                1 => i64::from(chance.byte() % 5) - 2,
                _ if kind == 3 => chance.number(),
                _ => i64::from(chance.byte()) - 128,
            };
            let raw = &mut raws[usize::from(signal)];
            *raw = raw.wrapping_add(moved);
            at = Sample::new(at.tick.wrapping_add(gap), SignalIndex(signal), *raw);
            if chance.below(12) > 0 {
                return (at, vec![]);
            }
            let (value, content) = exact(chance);
            (Sample { value, ..at }, content)
        })
        .collect()
}
