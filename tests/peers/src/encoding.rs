//! The rows: which layout goes with which compressor.

use std::io;

use crate::message::Message;
use crate::squeeze::{Zstd, brotli, gzip, snappy, zlib};
use crate::stream::{Point, Stream};
use crate::{columns, fleetwise, gorilla, json, otlp, rice, sparkplug};

/// An encoding to compare with: a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// An array of JSON objects.
    JsonSamples,
    /// The same, gzip at its default level.
    JsonSamplesGzip,
    /// OpenTelemetry metrics in protobuf, gzip at its default level.
    OtlpGzip,
    /// What the edge agent of AWS's `FleetWise` uploads.
    FleetwiseSnappy,
    /// A Sparkplug B DDATA payload.
    Sparkplug,
    /// The same, zlib at its default level.
    SparkplugZlib,
    /// Gorilla on float32, but for signals that need a float64.
    GorillaSingle,
    /// Gorilla on float64.
    GorillaDouble,
    /// Each column as a Pco file.
    Pco,
    /// Columns of varint differences, zstd at level 19.
    ColumnsZstd,
    /// Columns of varint differences, Brotli at quality 11.
    ColumnsBrotli,
    /// Differences in adaptive Rice codes.
    Rice,
}

impl Encoding {
    /// In the order in which a table has them.
    pub const ALL: [Self; 12] = [
        Self::JsonSamples,
        Self::JsonSamplesGzip,
        Self::OtlpGzip,
        Self::FleetwiseSnappy,
        Self::Sparkplug,
        Self::SparkplugZlib,
        Self::GorillaSingle,
        Self::GorillaDouble,
        Self::Pco,
        Self::ColumnsZstd,
        Self::ColumnsBrotli,
        Self::Rice,
    ];

    /// As the reference's `results.md` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonSamples => "json samples",
            Self::JsonSamplesGzip => "json samples + gzip",
            Self::OtlpGzip => "otlp + gzip",
            Self::FleetwiseSnappy => "fleetwise proto + snappy",
            Self::Sparkplug => "sparkplug b",
            Self::SparkplugZlib => "sparkplug b + zlib",
            Self::GorillaSingle => "gorilla float32",
            Self::GorillaDouble => "gorilla float64",
            Self::Pco => "pco a column",
            Self::ColumnsZstd => "columns of varint deltas + zstd-19",
            Self::ColumnsBrotli => "columns of varint deltas + brotli-11",
            Self::Rice => "MCU rice, each message alone",
        }
    }

    /// The shortest messages, in seconds, that the reference has a figure for. It shows `-` for
    /// shorter ones, where the compressor's own header would be most of the message.
    pub const fn seconds_min(self) -> u32 {
        match self {
            Self::ColumnsZstd | Self::ColumnsBrotli => 10,
            Self::Pco => 60,
            _ => 1,
        }
    }
}

/// Encodes messages of one stream. No message depends on another; what is kept between them are the
/// compressor's tables.
pub struct Encoder<'a> {
    stream: &'a Stream,
    zstd: Zstd,
}

impl<'a> Encoder<'a> {
    /// An encoder for a stream whose ranges are noted and start values learnt.
    ///
    /// # Errors
    ///
    /// If zstd gets no memory.
    pub fn new(stream: &'a Stream) -> io::Result<Self> {
        Ok(Self { stream, zstd: Zstd::new()? })
    }

    /// The bytes of one message, in the order of time. No points make no bytes.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for a point of a signal that the stream has not; others if a
    /// compressor fails, which none does in memory.
    pub fn encode(&mut self, encoding: Encoding, points: &[Point]) -> io::Result<Vec<u8>> {
        let Some(message) = Message::new(self.stream, points)? else { return Ok(Vec::new()) };
        match encoding {
            Encoding::JsonSamples => Ok(json::encode(&message)),
            Encoding::JsonSamplesGzip => gzip(&json::encode(&message)),
            Encoding::OtlpGzip => gzip(&otlp::encode(&message)),
            Encoding::FleetwiseSnappy => snappy(&fleetwise::encode(&message)),
            Encoding::Sparkplug => Ok(sparkplug::encode(&message)),
            Encoding::SparkplugZlib => zlib(&sparkplug::encode(&message)),
            Encoding::GorillaSingle => Ok(gorilla::encode_single(&message)),
            Encoding::GorillaDouble => Ok(gorilla::encode_double(&message)),
            Encoding::Pco => columns::encode_pco(&message),
            Encoding::ColumnsZstd => self.zstd.frame(&columns::encode(&message)),
            Encoding::ColumnsBrotli => brotli(&columns::encode(&message)),
            Encoding::Rice => Ok(rice::encode(&message)),
        }
    }

    /// How many bytes [`encode`](Self::encode) makes, with the same errors.
    pub fn bytes(&mut self, encoding: Encoding, points: &[Point]) -> io::Result<usize> {
        Ok(self.encode(encoding, points)?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{points, stream};

    #[test]
    fn every_row_has_a_name_and_a_size() {
        let stream = stream(&[("speed", 1), ("maf", 2)], false);
        let points = points(&[(5, 1, 120), (6, 0, 413), (7, 1, 121)]);
        let mut encoder = Encoder::new(&stream).unwrap();
        let mut names = std::collections::HashSet::new();
        for encoding in Encoding::ALL {
            assert!(names.insert(encoding.name()));
            let once = encoder.encode(encoding, &points).unwrap();
            assert!(!once.is_empty());
            assert_eq!(encoder.encode(encoding, &points).unwrap(), once, "nothing is kept");
            assert_eq!(encoder.bytes(encoding, &[]).unwrap(), 0);
        }
    }
}
