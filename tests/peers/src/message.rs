//! One message, with the views of it that the encodings share.

use std::io;

use crate::stream::{Point, Signal, Stream};

/// Points that go out together; never empty, and each of a known signal.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub stream: &'a Stream,
    pub points: &'a [Point],
    pub first: Point,
    pub last: Point,
}

/// What a message has of one signal, in the order of time.
pub struct Column<'a> {
    pub index: usize,
    pub signal: &'a Signal,
    pub points: Vec<Point>,
}

impl<'a> Message<'a> {
    /// A message of at least one point, or none.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for a signal that the stream has not.
    pub fn new(stream: &'a Stream, points: &'a [Point]) -> io::Result<Option<Self>> {
        if let Some(unknown) = points.iter().find(|p| p.signal >= stream.signals.len()) {
            let text = format!("no signal {} in the stream", unknown.signal);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let ends = points.first().zip(points.last());
        Ok(ends.map(|(first, last)| Self { stream, points, first: *first, last: *last }))
    }

    /// Each point with its signal.
    pub fn samples(&self) -> impl Iterator<Item = (Point, &'a Signal)> {
        let signals = &self.stream.signals;
        self.points.iter().filter_map(|p| Some((*p, signals.get(p.signal)?)))
    }

    /// Milliseconds since the Unix epoch.
    pub fn unix_ms(&self, point: Point) -> i64 {
        point.tick.wrapping_mul(self.stream.tick_ms)
    }

    /// The same where a format has no sign.
    pub fn unix_ms_unsigned(&self, point: Point) -> u64 {
        self.unix_ms(point).cast_unsigned()
    }

    /// Signals that have points, in the order in which they come up.
    pub fn columns(&self) -> Vec<Column<'a>> {
        let mut places = vec![None; self.stream.signals.len()];
        let mut columns: Vec<Column> = Vec::new();
        for (point, signal) in self.samples() {
            let Some(place) = places.get_mut(point.signal) else { continue };
            if let Some(column) = place.and_then(|p: usize| columns.get_mut(p)) {
                column.points.push(point);
            } else {
                *place = Some(columns.len());
                columns.push(Column { index: point.signal, signal, points: vec![point] });
            }
        }
        columns
    }

    /// The same, in the order of the stream's signals.
    pub fn columns_sorted(&self) -> Vec<Column<'a>> {
        let mut columns = self.columns();
        columns.sort_by_key(|c| c.index);
        columns
    }
}

impl Column<'_> {
    /// The sensor's own integers.
    pub fn codes(&self) -> impl Iterator<Item = i64> {
        self.points.iter().map(|p| self.signal.code(p.steps))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn stream(signals: &[(&str, u32)], rows: bool) -> Stream {
        Stream {
            signals: signals.iter().map(|(name, decimals)| Signal::new(*name, *decimals)).collect(),
            vehicle: "VEH00001234".into(),
            tick_ms: 1,
            rows,
            rice_time: None,
        }
    }

    pub fn points(list: &[(i64, usize, i64)]) -> Vec<Point> {
        list.iter().map(|&(tick, signal, steps)| Point { tick, signal, steps }).collect()
    }

    #[test]
    fn columns_come_in_both_orders() {
        let stream = stream(&[("a", 0), ("b", 0), ("c", 0)], false);
        let points = points(&[(1, 2, 7), (2, 0, 8), (3, 2, 9)]);
        let message = Message::new(&stream, &points).unwrap().unwrap();
        let view = |columns: Vec<Column>| -> Vec<(usize, Vec<i64>)> {
            columns.iter().map(|c| (c.index, c.codes().collect())).collect()
        };
        assert_eq!(view(message.columns()), [(2, vec![7, 9]), (0, vec![8])]);
        assert_eq!(view(message.columns_sorted()), [(0, vec![8]), (2, vec![7, 9])]);
    }

    #[test]
    fn refuses_an_unknown_signal() {
        let stream = stream(&[("a", 0)], false);
        let refused = Message::new(&stream, &points(&[(1, 1, 0)])).err().map(|e| e.kind());
        assert_eq!(refused, Some(io::ErrorKind::InvalidInput));
        assert!(Message::new(&stream, &[]).unwrap().is_none());
    }
}
