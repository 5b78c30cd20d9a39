//! Integers column by column: what a general compressor, or Pco, makes of a message that is laid
//! out for it.
//!
//! Times are in the source's ticks, values the sensor's own integers where its grid is known. Both
//! come as differences in zigzag varints. The message's first time is taken to stand elsewhere.

use std::io;

use pco::ChunkConfig;
use pco::standalone::simple_compress;

use crate::message::Message;
use crate::stream::Point;
use crate::varint::{varint, varint_bytes, varint_len, zigzag_difference};

/// Pco's default, and what the reference has.
const PCO_LEVEL: usize = 8;

/// The times, each signal's values from 0, then the order.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    deltas(&mut out, message.first.tick, message.stream.times(message.points));
    for column in message.columns_sorted() {
        deltas(&mut out, 0, column.codes());
    }
    out.extend(order(message.points));
    out
}

/// The same columns as Pco files, one after the other; not as differences, which Pco tries itself.
///
/// Source: pcodec's `docs/format.md`. Its standalone files carry a header each, which is why short
/// messages come out large.
pub fn encode_pco(message: &Message) -> io::Result<Vec<u8>> {
    let config = ChunkConfig::default().with_compression_level(PCO_LEVEL);
    let compress = |numbers: &[i64]| simple_compress(numbers, &config).map_err(io::Error::other);
    let mut out = compress(&message.stream.times(message.points))?;
    for column in message.columns_sorted() {
        out.extend(compress(&column.codes().collect::<Vec<_>>())?);
    }
    out.extend(order(message.points));
    Ok(out)
}

/// Which signal comes when: the one that followed this one last time (at first the next number),
/// and the exceptions to that, each as the points since the last one and the signal. Ahead of them
/// the count of signals and of exceptions.
pub fn order(points: &[Point]) -> Vec<u8> {
    let signals = points.iter().map(|p| p.signal).max().map_or(0, |most| most + 1);
    let mut follower: Vec<Option<usize>> = vec![None; signals + 1];
    // Before the first point stands a signal that is none, and 0 is expected after it.
    if let Some(before) = follower.last_mut() {
        *before = Some(0);
    }
    let (mut last, mut since, mut count) = (signals, 0, 0_u64);
    let mut exceptions = Vec::new();
    for (place, point) in points.iter().enumerate() {
        let expected = follower.get(last).copied().flatten().unwrap_or((last + 1) % signals);
        if point.signal != expected {
            varint_len(&mut exceptions, place - since);
            varint_len(&mut exceptions, point.signal);
            since = place;
            count += 1;
        }
        if let Some(follower) = follower.get_mut(last) {
            *follower = Some(point.signal);
        }
        last = point.signal;
    }
    let mut out: Vec<u8> = varint_bytes(signals as u64).collect();
    varint(&mut out, count);
    out.extend(exceptions);
    out
}

fn deltas(out: &mut Vec<u8>, mut last: i64, numbers: impl IntoIterator<Item = i64>) {
    for number in numbers {
        varint(out, zigzag_difference(last, number));
        last = number;
    }
}

#[cfg(test)]
mod tests {
    use pco::standalone::simple_decompress;

    use super::*;
    use crate::message::tests::{points, stream};
    use crate::reader;

    /// The order again, of so many points.
    pub fn read_order(bytes: &mut &[u8], points: usize) -> Vec<usize> {
        let mut number = || usize::try_from(reader::varint(bytes)).unwrap();
        let (signals, mut left) = (number(), number());
        let mut exception = |since: usize| {
            left = left.checked_sub(1)?;
            Some((since + number(), number()))
        };
        let mut next = exception(0);
        let mut follower = vec![None; signals + 1];
        follower[signals] = Some(0);
        let mut out = Vec::new();
        for place in 0..points {
            let last = out.last().copied().unwrap_or(signals);
            let mut signal = follower[last].unwrap_or((last + 1) % signals);
            if let Some((_, other)) = next.filter(|(at, _)| *at == place) {
                signal = other;
                next = exception(place);
            }
            follower[last] = Some(signal);
            out.push(signal);
        }
        out
    }

    #[test]
    fn order_round_trip() {
        let lists: [&[usize]; 5] =
            [&[0, 1, 2, 0, 1, 2], &[2, 2, 2], &[1, 0, 0, 1, 0, 2, 1, 0], &[0], &[5, 3, 5, 3, 4]];
        for list in lists {
            let points: Vec<Point> =
                list.iter().map(|&signal| Point { tick: 0, signal, steps: 0 }).collect();
            let bytes = order(&points);
            let mut rest = &bytes[..];
            assert_eq!(read_order(&mut rest, list.len()), list);
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_poll_in_turn_has_no_exceptions() {
        let points = points(&[(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 0, 0), (4, 1, 0)]);
        assert_eq!(order(&points), [3, 0]);
    }

    #[test]
    fn known_bytes() {
        let stream = stream(&[("a", 0), ("b", 0)], true);
        let points = points(&[(1000, 0, 5), (1000, 1, -1), (1003, 0, 4), (1003, 1, 99)]);
        let message = Message::new(&stream, &points).unwrap().unwrap();
        // Times 0 and +3, a: 5 and -1, b: -1 and +100 (two bytes), two signals in turn.
        assert_eq!(encode(&message), [0, 6, 10, 1, 1, 0xc8, 1, 2, 0]);
    }

    #[test]
    fn pco_reads_back() {
        let stream = stream(&[("a", 0)], false);
        let points = points(&[(1000, 0, 5), (1001, 0, -1), (1003, 0, 4)]);
        let message = Message::new(&stream, &points).unwrap().unwrap();
        let bytes = encode_pco(&message).unwrap();
        let times = simple_compress(&[1000_i64, 1001, 1003], &ChunkConfig::default()).unwrap();
        let (front, rest) = bytes.split_at(times.len());
        assert_eq!(simple_decompress::<i64>(front).unwrap(), [1000, 1001, 1003]);
        let (values, order) = rest.split_at(rest.len() - 2);
        assert_eq!(simple_decompress::<i64>(values).unwrap(), [5, -1, 4]);
        assert_eq!(order, [1, 0]);
    }
}
