//! Frames of samples beyond the plain one: odds that stay, values that are no number of steps, and what
//! a catalogue says beforehand.

use std::vec::Vec;

use super::{binding, frame_golden, read_golden};
use crate::codec::{
    Decoder, Encoder, Hints, Learning, Odds, SAMPLE_BYTES_MAX, SamplesContext, SamplesHeader, Still,
};
use crate::frame::{Body, Header};
use crate::identity::{Generation, Seq};
use crate::sample::{CONTENT_LEN_MAX, Sample, Value};
use crate::signal::{Catalogue, CatalogueId, SignalIndex};
use crate::time::Clock;

const ROOM: usize = 64 * (SAMPLE_BYTES_MAX + CONTENT_LEN_MAX);

/// Seals samples under the golden keys, and reads them again.
fn samples_golden<O: Odds + Default>(
    name: &str,
    seq: u64,
    (hints, signals): (Hints<'_>, u8),
    samples: &[(Sample, &[u8])],
) {
    let mut columns = [0; ROOM];
    let mut encoder = Encoder::<3, O>::new(hints, signals);
    for (sample, content) in samples {
        encoder.push_with(&mut columns, *sample, content).unwrap();
    }
    let catalogue = CatalogueId(0x1234_5678);
    let context = SamplesContext { catalogue, clock: Clock::Rtc, coding: O::CODING, boot: 3 };
    let header = SamplesHeader { context, count: encoder.count() };
    let len = encoder.finish(&mut columns).unwrap();
    let body = [&header.count_bytes()[..], &columns[..len]].concat();
    let frame = Header::of_samples(Generation::FIRST, Seq(seq), context);
    frame_golden(name, frame, &body);
    let (Body::Samples(read, columns), None) = Body::read(&frame, &body).unwrap() else {
        panic!("not samples of {:?}", binding());
    };
    let mut decoder = Decoder::<64>::default();
    let mut back = decoder.behind(&read, hints, columns, signals);
    for (sample, content) in samples {
        assert_eq!(back.next(), Some(Ok(*sample)));
        assert_eq!(back.content(), *content);
    }
    assert_eq!(back.next(), None);
}

fn steps(tick: i64, signal: u8, steps: i64) -> (Sample, &'static [u8]) {
    (Sample::new(tick, SignalIndex(signal), steps), &[])
}

#[test]
fn odds_that_stay() {
    let samples: Vec<_> =
        (0..5).map(|at| steps(1_211_094_008_000 + at * 900, 0, at * at)).collect();
    samples_golden::<Still>("samples-frame-still", 301, (Hints::NONE, 3), &samples);
}

#[test]
fn values_that_are_no_number_of_steps() {
    let of = |at: i64, value, content: &'static [u8]| {
        let tick = 1_211_094_008_000 + at * 100;
        (Sample { tick, signal: SignalIndex(1), value }, content)
    };
    let samples = [
        of(0, Value::Steps(5), &[]),
        of(1, Value::Missing, &[]),
        of(2, Value::Single(0.1_f32.to_bits()), &[]),
        of(3, Value::Double(f64::NAN.to_bits()), &[]),
        of(4, Value::Bytes(3), &[0x0a, 0x00, 0xff]),
        of(5, Value::Text(3), b"VIN"),
        of(6, Value::Text(0), &[]),
        of(7, Value::Steps(i64::MIN), &[]),
        of(8, Value::Steps(6), &[]),
    ];
    samples_golden::<Learning<3>>("samples-frame-exact", 302, (Hints::NONE, 3), &samples);
}

#[test]
fn what_a_catalogue_says_beforehand() {
    let encoded = read_golden("catalogue-with-hints");
    let catalogue = Catalogue::decode::<3>(&encoded).unwrap();
    let hints = catalogue.catalogue().hints;
    assert_ne!(hints, Hints::NONE);
    // A poller's replies, 27 or 28 ms apart, once 81; then a clock that steps back far.
    let tick = |at: i64| {
        let late = if at > 20 { 54 } else { 0 };
        let back = if at > 40 { 1 << 40 } else { 0 };
        1_211_094_008_000 + at * 55 / 2 + late - back
    };
    let samples: Vec<_> = (0..48_i64)
        .map(|at| steps(tick(at), u8::try_from(at % 2).unwrap(), 1000 + at * at - at % 7))
        .collect();
    samples_golden::<Learning<3>>("samples-frame-hinted", 303, (hints, 2), &samples);
}
