//! Our codec on a set's messages: bytes, and time.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, bail};
use protocol::Sample;
use protocol::codec::{Decoder, Encoder, Hints};
use protocol::frame::FRAME_LEN_MAX;

use crate::message::Messages;
use crate::sealed;

/// Most signals of a catalogue.
const SIGNALS: usize = 64;
/// What of the largest frame its head and its seal take.
const AROUND: usize = 64;

/// What a set's messages came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coded {
    /// Bytes of payload: the columns, and the count of each batch.
    pub bytes: usize,
    /// Bytes of the MQTT packets.
    pub sealed: usize,
    /// Samples.
    pub samples: usize,
}

/// A batch.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Its samples.
    pub samples: &'a [Sample],
    /// What they are coded as.
    pub columns: Vec<u8>,
}

/// How the batches follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Each for itself.
    Alone,
    /// Each goes on from the one before.
    Chained,
}

/// Codes all messages, reads them again, and compares. A message that is larger than a frame becomes
/// several.
pub fn bytes(messages: &Messages<'_>, hints: Hints<'_>, mode: Mode) -> Result<Coded> {
    let mut coded = Coded::default();
    let signals = messages.signals()?;
    let mut decoder = Decoder::<SIGNALS>::default();
    for (vehicle, lens) in &messages.vehicles {
        let batches = encode(&vehicle.samples, lens, hints, signals, mode)?;
        for (at, batch) in batches.iter().enumerate() {
            let count = u16::try_from(batch.samples.len()).unwrap_or(u16::MAX);
            let samples = match mode {
                Mode::Chained if at > 0 => decoder.next_batch(hints, &batch.columns, count),
                _ => decoder.batch(hints, &batch.columns, count, signals),
            };
            let mut expected = batch.samples.iter();
            for sample in samples {
                if Some(&sample?) != expected.next() {
                    bail!("{}: a batch does not come back as it was", vehicle.name);
                }
            }
            if expected.next().is_some() {
                bail!("{}: a batch comes back short", vehicle.name);
            }
            coded.bytes += batch.columns.len() + if count < 128 { 1 } else { 2 };
            coded.sealed += sealed::ours(batch.columns.len(), count);
            coded.samples += batch.samples.len();
        }
    }
    Ok(coded)
}

/// A vehicle's batches: a message each, or several where one is larger than a frame.
pub fn encode<'a>(
    mut samples: &'a [Sample],
    lens: &[usize],
    hints: Hints<'_>,
    signals: u8,
    mode: Mode,
) -> Result<Vec<Batch<'a>>> {
    let mut buffer = [0; FRAME_LEN_MAX - AROUND];
    let mut encoder = Encoder::<SIGNALS>::new(hints, signals);
    let mut batches = Vec::with_capacity(lens.len());
    for len in lens {
        let (mut message, rest) = samples.split_at_checked(*len).unwrap_or((samples, &[]));
        samples = rest;
        while !message.is_empty() {
            let taken = message
                .iter()
                .position(|sample| encoder.push(&mut buffer, *sample).is_err())
                .unwrap_or(message.len());
            let len = match mode {
                Mode::Alone => encoder.finish(&mut buffer),
                Mode::Chained => encoder.finish_chained(&mut buffer),
            }?;
            let (batch, rest) = message.split_at_checked(taken).unwrap_or((message, &[]));
            if batch.is_empty() {
                bail!("a sample does not go into an empty frame");
            }
            let columns = buffer.get(..len).unwrap_or_default().to_vec();
            batches.push(Batch { samples: batch, columns });
            message = rest;
        }
    }
    Ok(batches)
}

/// Nanoseconds a sample, to encode and to decode: the median of so many runs over all messages.
pub fn times(messages: &Messages<'_>, hints: Hints<'_>, repeat: u32) -> Result<(f64, f64)> {
    let signals = messages.signals()?;
    let (mut encoding, mut decoding) = (Vec::new(), Vec::new());
    let mut decoder = Decoder::<SIGNALS>::default();
    for _ in 0..repeat {
        let (mut encode_ns, mut decode_ns, mut samples) = (0.0, 0.0, 0_usize);
        for (vehicle, lens) in &messages.vehicles {
            let start = now();
            let batches = encode(&vehicle.samples, lens, hints, signals, Mode::Alone)?;
            encode_ns += start.elapsed().as_secs_f64() * 1e9;
            let start = now();
            for Batch { samples, columns } in &batches {
                let count = u16::try_from(samples.len()).unwrap_or(u16::MAX);
                for sample in decoder.batch(hints, columns, count, signals) {
                    black_box(sample?);
                }
            }
            decode_ns += start.elapsed().as_secs_f64() * 1e9;
            samples += vehicle.samples.len();
        }
        let per_sample = |ns: f64| ns / real(samples.max(1));
        encoding.push(per_sample(encode_ns));
        decoding.push(per_sample(decode_ns));
    }
    Ok((median(encoding), median(decoding)))
}

#[allow(clippy::disallowed_methods, reason = "what is measured is the time")]
fn now() -> Instant {
    Instant::now()
}

/// For a figure.
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
pub const fn real(number: usize) -> f64 {
    number as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
