//! Shapes of values.

use std::vec;
use std::vec::Vec;

use super::Noise;
use crate::sample::{CONTENT_LEN_MAX, Value};

pub struct Shape {
    pub name: &'static str,
    /// The value at a place, and what stands beside it.
    pub value: fn(i64, &mut Noise) -> (Value, Vec<u8>),
}

const fn shape(name: &'static str, value: fn(i64, &mut Noise) -> (Value, Vec<u8>)) -> Shape {
    Shape { name, value }
}

pub const SHAPES: [Shape; 16] = [
    shape("constant", |_, _| steps(21)),
    shape("a step now and then", |at, _| steps(at / 7)),
    shape("rising", |at, _| steps(1000 * at)),
    shape("falling, rough", |at, noise| steps(-5 * at + noise.around(3))),
    shape("up and down", |at, _| steps((at % 30 - 15).abs())),
    shape("jumping", |at, _| steps(70_000 * (at / 20 % 2) - 3 * (at % 2))),
    shape("switching", |_, noise| steps(noise.below(2))),
    shape("noise of 4 bits", |_, noise| steps(noise.around(8))),
    shape("noise of 8 bits", |_, noise| steps(noise.around(128))),
    shape("noise of 13 bits", |_, noise| steps(noise.around(1 << 12))),
    shape("noise of 24 bits", |_, noise| steps(noise.around(1 << 23))),
    shape("noise of 42 bits", |_, noise| steps(noise.around(1 << 41))),
    shape("noise of any number of bits", |_, noise| {
        let bits = noise.below(62);
        steps(noise.around(1 << bits))
    }),
    shape("the ends of all numbers", |at, _| {
        let ends = [i64::MIN, i64::MAX, 0, i64::MIN, -1, i64::MIN + 1, 1 << 62, 4096];
        steps(ends[usize::try_from(at).unwrap() % ends.len()])
    }),
    shape("single precision", |at, _| match u8::try_from(at).unwrap() {
        at if at % 4 == 0 => steps(at.into()),
        at => (Value::Single((f32::from(at) / 8.0).to_bits()), Vec::new()),
    }),
    shape("all kinds", kind),
];

fn steps(steps: i64) -> (Value, Vec<u8>) {
    (Value::Steps(steps), Vec::new())
}

fn kind(at: i64, noise: &mut Noise) -> (Value, Vec<u8>) {
    match at % 9 {
        0 => (Value::Missing, Vec::new()),
        2 => (Value::Double(f64::NAN.to_bits()), Vec::new()),
        3 => (Value::Double(noise.below(i64::MAX).cast_unsigned()), Vec::new()),
        5 => {
            let len = u8::try_from(noise.below(65)).unwrap();
            let byte = |at: u8| at.wrapping_mul(37);
            (Value::Bytes(len), (0..len).map(byte).collect())
        }
        6 => (Value::Text(3), b"VIN".to_vec()),
        7 => (Value::Text(64), vec![b'x'; CONTENT_LEN_MAX]),
        _ => steps(300 + at),
    }
}
