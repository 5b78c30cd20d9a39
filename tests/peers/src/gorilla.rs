//! Gorilla: delta-of-delta times and floats as XOR with the last, a column a signal.
//!
//! Source: T. Pelkonen et al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database", VLDB
//! 2015, sections 4.1.1 (time stamps) and 4.1.2 (values). The paper codes seconds in blocks of two
//! hours; here times are in the source's ticks, so a first difference has 20 bits, not 14. All
//! columns share one run of times, each has its length in 16 bits, and after the bits comes the
//! order of the signals, as in [`columns`](crate::columns). The 32-bit variant has the same codes
//! over float32 words.

use crate::bits::BitWriter;
use crate::columns::order;
use crate::message::{Column, Message};

/// All ones: the first difference did not fit and follows in 64 bits.
const FIRST_ESCAPE: u64 = (1 << FIRST_WIDTH) - 1;
const FIRST_WIDTH: u32 = 20;
/// Of the count of leading zeros, which is cut down to fit.
const LEADING_WIDTH: u32 = 5;

/// The words of one column.
#[derive(Clone, Copy)]
struct Width {
    bits: u32,
    /// Bits to tell how long the meaningful part is.
    length: u32,
}

const SINGLE: Width = Width { bits: 32, length: 5 };
const DOUBLE: Width = Width { bits: 64, length: 6 };

/// A float32 where the signal allows one, else a float64.
pub fn encode_single(message: &Message) -> Vec<u8> {
    encode(message, |column| column.signal.single)
}

/// A float64 for all.
pub fn encode_double(message: &Message) -> Vec<u8> {
    encode(message, |_| false)
}

fn encode(message: &Message, single: impl Fn(&Column) -> bool) -> Vec<u8> {
    let mut bits = BitWriter::default();
    let ticks = message.stream.times(message.points);
    times(&mut bits, ticks.into_iter());
    for column in message.columns() {
        bits.put(column.points.len() as u64, 16);
        let values = column.points.iter().map(|p| p.steps);
        if single(&column) {
            let words = values.map(|v| u64::from(column.signal.value_single(v).to_bits()));
            words_xored(&mut bits, words, SINGLE);
        } else {
            let words = values.map(|v| column.signal.value(v).to_bits());
            words_xored(&mut bits, words, DOUBLE);
        }
    }
    let mut out = bits.finish();
    out.extend(order(message.points));
    out
}

/// Section 4.1.1: the first time, the first difference, then what differences differ by.
fn times(bits: &mut BitWriter, mut ticks: impl Iterator<Item = i64>) {
    let Some(first) = ticks.next() else { return };
    bits.put(first.cast_unsigned(), 64);
    let mut last = first;
    let mut step = None;
    for tick in ticks {
        let next = tick.wrapping_sub(last);
        match step {
            None => first_difference(bits, next),
            Some(step) => difference_of_differences(bits, next.wrapping_sub(step)),
        }
        step = Some(next);
        last = tick;
    }
}

fn first_difference(bits: &mut BitWriter, step: i64) {
    match u64::try_from(step) {
        Ok(step) if step < FIRST_ESCAPE => bits.put(step, FIRST_WIDTH),
        _ => {
            bits.put(FIRST_ESCAPE, FIRST_WIDTH);
            bits.put(step.cast_unsigned(), 64);
        }
    }
}

/// The paper's ranges, one wider above zero than below.
fn difference_of_differences(bits: &mut BitWriter, change: i64) {
    match change {
        0 => bits.put(0, 1),
        -63..=64 => bits.put(0b10 << 7 | (change + 63).cast_unsigned(), 9),
        -255..=256 => bits.put(0b110 << 9 | (change + 255).cast_unsigned(), 12),
        -2047..=2048 => bits.put(0b1110 << 12 | (change + 2047).cast_unsigned(), 16),
        // 32 bits of milliseconds are 24 days to either side, more than a message spans.
        _ => {
            bits.put(0b1111, 4);
            bits.put(change.cast_unsigned(), 32);
        }
    }
}

/// Section 4.1.2: the first word as it is, then what differs from the last.
fn words_xored(bits: &mut BitWriter, mut words: impl Iterator<Item = u64>, width: Width) {
    let Some(mut last) = words.next() else { return };
    bits.put(last, width.bits);
    let mut window: Option<(u32, u32)> = None;
    for word in words {
        let changed = word ^ last;
        last = word;
        if changed == 0 {
            bits.put(0, 1);
            continue;
        }
        let clear = changed.leading_zeros() + width.bits - 64;
        let (leading, trailing) = (clear.min((1 << LEADING_WIDTH) - 1), changed.trailing_zeros());
        let kept = window.filter(|(l, t)| leading >= *l && trailing >= *t);
        let (leading, trailing) = kept.unwrap_or((leading, trailing));
        let length = width.bits - leading - trailing;
        if kept.is_some() {
            bits.put(0b10, 2);
        } else {
            bits.put(0b11, 2);
            bits.put(u64::from(leading), LEADING_WIDTH);
            bits.put(u64::from(length - 1), width.length);
            window = Some((leading, trailing));
        }
        bits.put(changed >> trailing, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{points, stream};
    use crate::reader::BitReader;

    fn read_times(bits: &mut BitReader, count: usize) -> Vec<i64> {
        let mut times = vec![bits.take(64).cast_signed()];
        let mut step = 0;
        for n in 1..count {
            if n == 1 {
                step = match bits.take(20) {
                    FIRST_ESCAPE => bits.take(64).cast_signed(),
                    short => short.cast_signed(),
                };
            } else {
                let sized = |bits: &mut BitReader, n| bits.take(n).cast_signed();
                step += match bits.ones(4) {
                    0 => 0,
                    1 => sized(bits, 7) - 63,
                    2 => sized(bits, 9) - 255,
                    3 => sized(bits, 12) - 2047,
                    _ => (sized(bits, 32) << 32) >> 32,
                };
            }
            times.push(times[n - 1] + step);
        }
        times
    }

    fn read_words(bits: &mut BitReader, width: Width) -> Vec<u64> {
        let count = bits.take(16);
        let mut words = vec![bits.take(width.bits)];
        let (mut leading, mut length) = (0, 0);
        for _ in 1..count {
            let mut changed = 0;
            if bits.bit() {
                if bits.bit() {
                    leading = u32::try_from(bits.take(5)).unwrap();
                    length = u32::try_from(bits.take(width.length)).unwrap() + 1;
                }
                changed = bits.take(length) << (width.bits - leading - length);
            }
            words.push(words.last().unwrap() ^ changed);
        }
        words
    }

    #[test]
    fn round_trip() {
        let mut stream = stream(&[("speed", 1), ("lat", 6)], true);
        let times = [1_500_000_000_000_i64, 30, 60, 91, 300, 2000, 2000, 90_000, 80_000, 80_001];
        let mut list = Vec::new();
        for (n, offset) in times.iter().enumerate() {
            let tick = if n == 0 { *offset } else { times[0] + offset };
            let n = i64::try_from(n).unwrap();
            list.push((tick, 0, [413, 413, 415, -7, 0][usize::try_from(n % 5).unwrap()]));
            list.push((tick, 1, 48_137_154 + n * n * 1000));
        }
        let points = points(&list);
        stream.note_range(&points);
        let message = Message::new(&stream, &points).unwrap().unwrap();
        let values = |index: usize| -> Vec<f64> {
            let signal = &stream.signals[index];
            let columns = message.columns();
            columns[index].points.iter().map(|p| signal.value(p.steps)).collect()
        };
        let doubles = |words: Vec<u64>| words.into_iter().map(f64::from_bits).collect::<Vec<_>>();

        let bytes = encode_double(&message);
        let mut bits = BitReader::new(&bytes);
        assert_eq!(read_times(&mut bits, 9), stream.times(&points));
        assert_eq!(doubles(read_words(&mut bits, DOUBLE)), values(0));
        assert_eq!(doubles(read_words(&mut bits, DOUBLE)), values(1));
        assert_eq!(bits.rest(), order(&points));

        let bytes = encode_single(&message);
        let mut bits = BitReader::new(&bytes);
        assert_eq!(read_times(&mut bits, 9), stream.times(&points));
        let speed = &message.columns()[0];
        let singles = speed.points.iter().map(|p| speed.signal.value_single(p.steps).to_bits());
        let words = read_words(&mut bits, SINGLE);
        assert_eq!(words, singles.map(u64::from).collect::<Vec<_>>());
        assert_eq!(doubles(read_words(&mut bits, DOUBLE)), values(1));
        assert_eq!(bits.rest(), order(&points));
    }

    #[test]
    fn a_first_difference_of_any_size() {
        for far in [1_048_574, 1_048_575, 4_000_000, -1] {
            let mut bits = BitWriter::default();
            times(&mut bits, [5, 5 + far, 5 + 2 * far].into_iter());
            let bytes = bits.finish();
            let read = read_times(&mut BitReader::new(&bytes), 3);
            assert_eq!(read, [5, 5 + far, 5 + 2 * far]);
        }
    }

    #[test]
    fn the_papers_example() {
        // Section 4.1.2's figure: from 12 to 24, one bit of the exponent changes.
        let mut bits = BitWriter::default();
        words_xored(&mut bits, [12.0, 24.0].map(f64::to_bits).into_iter(), DOUBLE);
        // 64 as they are, '11', 11 leading zeros in 5 bits, a length of 1 in 6, the bit itself.
        let expected = [0x40, 0x28, 0, 0, 0, 0, 0, 0, 0b1101_0110, 0b0000_0100];
        assert_eq!(bits.finish(), expected);
    }
}
