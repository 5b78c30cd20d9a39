//! Adaptive Rice coding, the least that a microcontroller could do: 12 bytes of state a signal.
//!
//! Source: R. F. Rice, "Some Practical Universal Noiseless Coding Techniques", JPL 79-22, for the
//! code; M. J. Weinberger et al., "The LOCO-I Lossless Image Compression Algorithm", IEEE
//! Transactions on Image Processing 9 (2000), section III-C, for the running mean that picks its
//! parameter. Residuals are zigzag differences of integers; for times, of differences. Every
//! message starts anew, from what [`Stream::train`](crate::Stream::train) learnt.

use crate::bits::BitWriter;
use crate::columns::order;
use crate::message::Message;
use crate::stream::RiceStart;
use crate::varint::{varint_bytes, zigzag, zigzag_difference};

/// So many ones say that the residual follows in full.
const ESCAPE: u32 = 20;
/// Bits of such a residual. In a message of telemetry none is larger.
const ESCAPE_WIDTH: u32 = 32;
/// From this count on, sum and count are halved, to follow the signal.
const COUNT_MAX: u64 = 32;
/// Without training.
const START: RiceStart = RiceStart { sum: 8, count: 2 };

/// The first time in 64 bits; a residual of the time if it is a new one, a residual of the value,
/// and so on; then the order.
pub fn encode(message: &Message) -> Vec<u8> {
    let stream = message.stream;
    let mut bits = BitWriter::default();
    bits.put(message.first.tick.cast_unsigned(), 64);
    let mut time = Context(stream.rice_time.unwrap_or(START));
    let mut values: Vec<(Context, Option<i64>)> =
        stream.signals.iter().map(|s| (Context(s.rice.unwrap_or(START)), None)).collect();
    let (mut last_tick, mut last_step, mut is_first) = (message.first.tick, 0_i64, true);
    for (point, signal) in message.samples() {
        if is_first || !stream.rows || point.tick != last_tick {
            let step = point.tick.wrapping_sub(last_tick);
            time.code(&mut bits, zigzag_difference(last_step, step));
            (last_tick, last_step, is_first) = (point.tick, step, false);
        }
        let Some((context, last)) = values.get_mut(point.signal) else { continue };
        let code = signal.code(point.steps);
        match last.replace(code) {
            Some(last) => context.code(&mut bits, zigzag_difference(last, code)),
            None => varint_bytes(zigzag(code)).for_each(|byte| bits.put(u64::from(byte), 8)),
        }
    }
    let mut out = bits.finish();
    out.extend(order(message.points));
    out
}

/// The mean of late residuals, as a sum and a count.
struct Context(RiceStart);

impl Context {
    fn code(&mut self, bits: &mut BitWriter, residual: u64) {
        let parameter = self.parameter();
        match u32::try_from(residual >> parameter) {
            Ok(ones) if ones < ESCAPE => {
                // The ones and the zero that ends them.
                bits.put((1 << (ones + 1)) - 2, ones + 1);
                bits.put(residual, parameter);
            }
            _ => {
                bits.put((1 << ESCAPE) - 1, ESCAPE);
                bits.put(residual, ESCAPE_WIDTH);
            }
        }
        self.learn(residual);
    }

    /// The least power of two that the mean does not exceed.
    fn parameter(&self) -> u32 {
        let RiceStart { sum, count } = self.0;
        (0..63).find(|k| count.max(1) << k >= sum).unwrap_or(63)
    }

    fn learn(&mut self, residual: u64) {
        let RiceStart { sum, count } = &mut self.0;
        *sum = sum.saturating_add(residual);
        *count += 1;
        if *count >= COUNT_MAX {
            *sum = sum.div_ceil(2);
            *count /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{points, stream};
    use crate::reader::{BitReader, unzigzag, varint};

    fn read(context: &mut Context, bits: &mut BitReader) -> i64 {
        let parameter = context.parameter();
        let residual = match bits.ones(ESCAPE) {
            ESCAPE => bits.take(ESCAPE_WIDTH),
            ones => u64::from(ones) << parameter | bits.take(parameter),
        };
        context.learn(residual);
        unzigzag(residual)
    }

    #[test]
    fn round_trip() {
        let mut stream = stream(&[("a", 0), ("b", 0)], false);
        let mut list = Vec::new();
        for n in 0..100_i64 {
            list.push((n * 30 + n % 3, 0, n * n % 37));
            list.push((n * 30 + 15, 1, if n == 50 { 1_000_000 } else { n / 10 }));
        }
        let points = points(&list);
        stream.train(&points);
        let message = Message::new(&stream, &points).unwrap().unwrap();
        let bytes = encode(&message);

        let mut bits = BitReader::new(&bytes);
        let mut time = Context(stream.rice_time.unwrap());
        let mut values = [0, 1].map(|n: usize| (Context(stream.signals[n].rice.unwrap()), None));
        let (mut tick, mut step) = (bits.take(64).cast_signed(), 0);
        for point in &points {
            step += read(&mut time, &mut bits);
            tick += step;
            assert_eq!(tick, point.tick);
            let (context, last) = &mut values[point.signal];
            let steps = match last {
                Some(last) => *last + read(context, &mut bits),
                None => unzigzag(varint(&mut &[bits.take(8).try_into().unwrap()][..])),
            };
            assert_eq!(steps, point.steps);
            *last = Some(steps);
        }
        assert_eq!(bits.rest(), order(&points));
    }

    #[test]
    fn known_bits() {
        let stream = stream(&[("a", 0)], true);
        let points = points(&[(7, 0, 3), (7, 0, 4), (9, 0, 4)]);
        let message = Message::new(&stream, &points).unwrap().unwrap();
        // The time 7. The parameter is 2 at first. A time step of 0: '0 00'. 3: the byte 6. +1:
        // '0 10'; no time, as it is the same row. Step 2, residual 4: '10 00'. +0: '0 00'.
        let first = [0, 0, 0, 0, 0, 0, 0, 7];
        let residuals = [0b0000_0000, 0b1100_1010, 0b0000_0000];
        let order = [1, 0];
        assert_eq!(encode(&message), [&first[..], &residuals, &order].concat());
    }
}
