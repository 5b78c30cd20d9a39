//! The table: a row an encoding, a column a length of message.

use std::fmt::Write as _;

use anyhow::Result;
use peers::{Encoder, Encoding, Point};
use protocol::codec::Hints;
use serde::Serialize;

use crate::cortex_m::Counted;
use crate::message::Messages;
use crate::ours::{self, Mode, real};
use crate::sealed;
use crate::sets::Set;

/// The peer that all are compared with.
const PEER: Encoding = Encoding::SparkplugZlib;

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Bench {
    /// Which bench.
    #[serde(rename = "bench")]
    pub what: &'static str,
    /// State of an encoder for 10 signals, in bytes.
    pub encoder_bytes_10: usize,
    /// And for 22.
    pub encoder_bytes_22: usize,
    /// Each set's figures.
    pub sets: Vec<Measured>,
}

/// One set's figures.
#[derive(Debug, Serialize)]
pub struct Measured {
    set: String,
    vehicles: usize,
    signals: usize,
    samples: usize,
    lengths: Vec<Length>,
    /// Our encoder on a Cortex-M3, if it was asked for.
    pub cortex_m: Option<Counted>,
}

/// Figures of messages of one length.
#[derive(Debug, Serialize)]
struct Length {
    seconds: u32,
    messages: usize,
    rows: Vec<Row>,
    /// Frame, seal and MQTT of ours, a message.
    overhead_bytes: f64,
    /// Bytes a sample with all that.
    sealed: f64,
    /// Bytes a sample of Sparkplug B + zlib in its MQTT packet, over ours.
    sealed_ratio: Option<f64>,
    encode_ns: f64,
    decode_ns: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    encoding: String,
    bytes_per_sample: f64,
    /// Of Sparkplug B + zlib, over this one.
    ratio: Option<f64>,
}

impl Measured {
    /// Nothing measured yet.
    pub fn new(set: &Set) -> Self {
        Self {
            set: set.name.clone(),
            vehicles: set.vehicles.len(),
            signals: set.catalogue.signals.len(),
            samples: set.samples(),
            lengths: Vec::new(),
            cortex_m: None,
        }
    }

    /// Our codec, for one length.
    pub fn ours(
        &mut self,
        set: &Set,
        seconds: u32,
        messages: &Messages<'_>,
        repeat: u32,
    ) -> Result<()> {
        let hints = set.catalogue.hints.borrowed();
        let modes = [
            ("milepost, each message alone", hints, Mode::Alone),
            ("milepost, chained", hints, Mode::Chained),
            ("milepost, nothing known", Hints::NONE, Mode::Alone),
        ];
        let mut rows = Vec::new();
        let (mut sealed, mut overhead_bytes) = (0.0, 0.0);
        let count: usize = messages.vehicles.iter().map(|(_, lens)| lens.len()).sum();
        for (name, hints, mode) in modes {
            let coded = ours::bytes(messages, hints, mode)?;
            let samples = real(coded.samples.max(1));
            if rows.is_empty() {
                sealed = real(coded.sealed) / samples;
                overhead_bytes = real(coded.sealed - coded.bytes) / real(count.max(1));
            }
            let bytes_per_sample = real(coded.bytes) / samples;
            rows.push(Row { encoding: name.to_owned(), bytes_per_sample, ratio: None });
        }
        let (encode_ns, decode_ns) = ours::times(messages, hints, repeat)?;
        self.lengths.push(Length {
            seconds,
            messages: count,
            rows,
            overhead_bytes,
            sealed,
            sealed_ratio: None,
            encode_ns,
            decode_ns,
        });
        Ok(())
    }

    /// These peers, for the length that was measured last.
    pub fn peers(
        &mut self,
        set: &Set,
        seconds: u32,
        messages: &Messages<'_>,
        peers: &[Encoding],
    ) -> Result<()> {
        let mut stream = messages.stream.clone();
        if let Some(teacher) = &set.teacher {
            stream.train(&messages.points_of(teacher));
        }
        let Some(length) = self.lengths.last_mut() else { return Ok(()) };
        let mut encoder = Encoder::new(&stream)?;
        let samples = real(set.samples().max(1));
        for encoding in peers.iter().filter(|row| row.seconds_min() <= seconds) {
            let (mut bytes, mut packets) = (0, 0);
            for message in messages.each() {
                let len = encoder.bytes(*encoding, message)?;
                bytes += len;
                packets += sealed::sparkplug(len);
            }
            let bytes_per_sample = real(bytes) / samples;
            let encoding_name = encoding.name().to_owned();
            length.rows.push(Row { encoding: encoding_name, bytes_per_sample, ratio: None });
            if *encoding == PEER {
                length.sealed_ratio = Some(real(packets) / samples / length.sealed);
            }
        }
        let of_peer = length.rows.iter().find(|row| row.encoding == PEER.name());
        let of_peer = of_peer.map(|row| row.bytes_per_sample);
        for row in &mut length.rows {
            row.ratio = of_peer.map(|bytes| bytes / row.bytes_per_sample);
        }
        Ok(())
    }

    /// The set's table, for a person.
    pub fn table(&self) -> String {
        let Self { set, vehicles, signals, samples, lengths, cortex_m } = self;
        let mut table =
            format!("{set}: {samples} samples, {signals} signals, {vehicles} vehicles or drives\n");
        let mut names: Vec<&str> = Vec::new();
        for row in lengths.iter().flat_map(|length| &length.rows) {
            if !names.contains(&row.encoding.as_str()) {
                names.push(&row.encoding);
            }
        }
        let mut line = |name: &str, figure: &dyn Fn(&Length) -> Option<String>| {
            let cells =
                lengths.iter().map(|length| figure(length).unwrap_or_else(|| "-".to_owned()));
            let cells = cells.fold(String::new(), |line, cell| line + &format!(" {cell:>9}"));
            let written = writeln!(table, "{name:<38}{cells}");
            debug_assert!(written.is_ok(), "a string takes every write");
        };
        line("bytes a sample, messages of", &|length| Some(format!("{} s", length.seconds)));
        for name in names {
            line(name, &|length| {
                let row = length.rows.iter().find(|row| row.encoding == name)?;
                Some(format!("{:.4}", row.bytes_per_sample))
            });
        }
        line("milepost, sealed, with MQTT", &|length| Some(format!("{:.4}", length.sealed)));
        line("  beside the payload, bytes a message", &|length| {
            Some(format!("{:.1}", length.overhead_bytes))
        });
        line("  sparkplug b + zlib so, times as much", &|length| {
            length.sealed_ratio.map(|ratio| format!("{ratio:.2}"))
        });
        line("encode, ns a sample", &|length| Some(format!("{:.0}", length.encode_ns)));
        line("decode, ns a sample", &|length| Some(format!("{:.0}", length.decode_ns)));
        line("encode, instructions on a Cortex-M3", &|length| {
            let counted = cortex_m.filter(|counted| counted.seconds == length.seconds)?;
            Some(format!("{:.0}", counted.instructions))
        });
        table
    }
}

impl Messages<'_> {
    /// Each message's points.
    fn each(&self) -> impl Iterator<Item = &[Point]> {
        self.vehicles.iter().zip(&self.points).flat_map(|((_, lens), points)| {
            let mut rest = points.as_slice();
            lens.iter().map(move |len| {
                let (message, after) = rest.split_at_checked(*len).unwrap_or((rest, &[]));
                rest = after;
                message
            })
        })
    }
}
