//! The bytes of batches of all shapes, by their number and checksum.
//!
//! An encoder and a decoder that are changed alike still agree, and no longer with those that are out there.
//! So here is a line for each shape of clock with each way in which samples follow each other, and for each
//! shape of values with each guess. The lines are in `golden/batches`, which is as final as the files in
//! `golden/v1` are.

mod clocks;
mod values;

use core::fmt::Write as _;
use std::string::String;
use std::vec::Vec;

use crc::{CRC_32_ISCSI, Crc};

use super::final_text;
use crate::codec::{
    Decoder, Encoder, Guess, Hints, Learning, Odds, SAMPLE_BYTES_MAX, SamplesContext,
    SamplesHeader, SignalHint, Still, Timing, table_len,
};
use crate::sample::{CONTENT_LEN_MAX, Sample, Value};
use crate::signal::{CatalogueId, SignalIndex};
use crate::time::Clock;

/// A sample, and what stands beside it.
type Measured = (Sample, Vec<u8>);

/// 2008-05-18 07:00:08 UTC, in milliseconds.
const EPOCH_MS: i64 = 1_211_094_008_000;

/// The same numbers at every run (Marsaglia's xorshift).
struct Noise(u64);

impl Noise {
    fn new() -> Self {
        Self(20_080_518)
    }

    /// From 0 on, below this.
    fn below(&mut self, end: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 1).cast_signed() % end
    }

    /// Not further from 0 than this.
    fn around(&mut self, most: i64) -> i64 {
        self.below(2 * most + 1) - most
    }
}

/// Codes samples in three batches, of which the second is chained to the first; each batch.
fn coded<O: Odds + Default>(
    decoder: &mut Decoder<64>,
    hints: Hints<'_>,
    signals: u8,
    samples: &[Measured],
) -> [Vec<u8>; 3] {
    let mut encoder = Encoder::<64, O>::new(hints, signals);
    let mut parts = samples.chunks(samples.len().div_ceil(3));
    core::array::from_fn(|at| {
        let part = parts.next().unwrap();
        let mut columns = std::vec![0; (part.len() + 1) * (SAMPLE_BYTES_MAX + CONTENT_LEN_MAX)];
        for (sample, content) in part {
            encoder.push_with(&mut columns, *sample, content).unwrap();
        }
        let count = encoder.count();
        let len = match at {
            0 => encoder.finish_chained(&mut columns),
            _ => encoder.finish(&mut columns),
        };
        columns.truncate(len.unwrap());
        let catalogue = CatalogueId(0x1234_5678);
        let context = SamplesContext { catalogue, clock: Clock::Rtc, coding: O::CODING, boot: 3 };
        let mut back = match at {
            1 => decoder.next_batch(hints, &columns, count),
            _ => decoder.behind(&SamplesHeader { context, count }, hints, &columns, signals),
        };
        for (sample, content) in part {
            assert_eq!(back.next(), Some(Ok(*sample)));
            assert_eq!(back.content(), content);
        }
        assert_eq!(back.next(), None);
        columns
    })
}

/// A line says how many bytes each batch has, and their checksum: with odds that are learnt, and that stay.
fn line(
    text: &mut String,
    decoder: &mut Decoder<64>,
    name: &str,
    (hints, signals): (Hints<'_>, u8),
    samples: &[Measured],
) {
    let learnt = coded::<Learning<64>>(decoder, hints, signals, samples);
    let still = coded::<Still>(decoder, hints, signals, samples);
    write!(text, "{name}").unwrap();
    for (odds, batches) in [("learnt", learnt), ("still", still)] {
        let checksum = Crc::<u32>::new(&CRC_32_ISCSI).checksum(&batches.concat());
        let [one, two, three] = batches.map(|batch| batch.len());
        write!(text, "; {odds} {one}+{two}+{three} {checksum:08x}").unwrap();
    }
    text.push('\n');
}

#[test]
fn clocks_of_all_shapes_are_these_bytes() {
    let hint = |signal: u8| SignalHint {
        related: 0,
        follower: signal / 2,
        expected: 90 * i64::from(signal),
        spread: 7,
        interval: 30,
        period: 1600,
        ..SignalHint::default()
    };
    let (mut text, mut decoder) = (String::new(), Decoder::default());
    for clocks::Shape { name, signals, instants } in clocks::SHAPES {
        let measured = |(at, (tick, signal)): (i64, (i64, u8))| {
            let steps = 100 * i64::from(signal) + at / 5;
            (Sample::new(tick, SignalIndex(signal), steps), Vec::new())
        };
        let samples: Vec<_> = (0..).zip(instants(&mut Noise::new())).map(measured).collect();
        let said: Vec<_> = (0..signals).map(hint).collect();
        let table = table_len(usize::from(signals));
        let levels: Vec<u8> = (0..table).map(|at| u8::try_from(at * 7 % 256).unwrap()).collect();
        let any = Hints { signals: &said, levels: &levels, ..Hints::NONE };
        let of = |timing| Hints { timing, ..Hints::NONE };
        for (timing, hints) in [
            ("any", Hints::NONE),
            ("any, as said", any),
            ("sequence", of(Timing::Sequence)),
            ("one clock", of(Timing::Beats([480, 0]))),
            ("two clocks", of(Timing::Beats([480, 440]))),
        ] {
            let name = std::format!("{name}; {timing}");
            line(&mut text, &mut decoder, &name, (hints, signals), &samples);
        }
    }
    final_text("batches/clocks", &text);
}

#[test]
fn values_of_all_shapes_are_these_bytes() {
    let (mut text, mut decoder) = (String::new(), Decoder::default());
    for values::Shape { name, value } in values::SHAPES {
        let mut noise = Noise::new();
        // The second signal moves as the first one does, but twice as far.
        let both = (0..75).flat_map(|at| {
            let (value, content) = value(at, &mut noise);
            let twice = match value {
                Value::Steps(steps) => Value::Steps(steps.wrapping_mul(2)),
                value => value,
            };
            [(0, value), (1, twice)].map(|(signal, value)| {
                let tick = EPOCH_MS + 100 * at;
                (Sample { tick, signal: SignalIndex(signal), value }, content.clone())
            })
        });
        let samples: Vec<Measured> = both.collect();
        for guess in [Guess::Last, Guess::Linear, Guess::Half, Guess::Mean, Guess::Related] {
            let hint = |related| SignalHint { guess, related, ..SignalHint::default() };
            let hints = Hints { signals: &[hint(1), hint(0)], ..Hints::NONE };
            let name = std::format!("{name}; {guess:?}");
            line(&mut text, &mut decoder, &name, (hints, 2), &samples);
        }
    }
    final_text("batches/values", &text);
}
