use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::sample::{CONTENT_LEN_MAX, Sample, Value};
use crate::signal::SignalIndex;

/// A sample, and what stands beside it.
type Measured = (Sample, Vec<u8>);

fn collect<const N: usize>(mut samples: Samples<'_, N>) -> Result<Vec<Measured>, CodecError> {
    let mut all = Vec::new();
    while let Some(sample) = samples.next() {
        all.push((sample?, samples.content().to_vec()));
    }
    Ok(all)
}

fn encode(samples: &[Sample]) -> Vec<u8> {
    let mut buffer = std::vec![0; samples.len() * SAMPLE_BYTES_MAX + SAMPLE_BYTES_MAX];
    let mut encoder = Encoder::<10>::new(Hints::NONE, 10);
    for sample in samples {
        encoder.push(&mut buffer, *sample).unwrap();
    }
    let len = encoder.finish(&mut buffer).unwrap();
    buffer.truncate(len);
    buffer
}

fn decode(bytes: &[u8], count: usize) -> Result<Vec<Sample>, CodecError> {
    let count = u16::try_from(count).unwrap();
    Decoder::<64>::default().batch(Hints::NONE, bytes, count, 10).collect()
}

prop_compose! {
    fn any_sample()(tick in prop_oneof![any::<i64>(), 1_500_000_000_000..1_500_000_060_000_i64],
                    signal in 0_u8..10,
                    raw in prop_oneof![any::<i64>(), -1000..1000_i64]) -> Sample {
        Sample::new(tick, SignalIndex(signal), raw)
    }
}

prop_compose! {
    /// Most of it steps, as it is with sensors.
    fn any_measured()(sample in any_sample(), kind in 0_u8..20, bits in any::<u64>(),
                      content in prop::collection::vec(any::<u8>(), 0..=CONTENT_LEN_MAX),
                      text in "\\PC{0,16}") -> Measured {
        let of = |value| Sample { value, ..sample };
        let len = |content: &[u8]| u8::try_from(content.len()).unwrap();
        match kind {
            0 => (of(Value::Missing), Vec::new()),
            1 => (of(Value::Single(u32::try_from(bits >> 32).unwrap())), Vec::new()),
            2 => (of(Value::Double(bits)), Vec::new()),
            3 => (of(Value::Bytes(len(&content))), content),
            4 => (of(Value::Text(len(text.as_bytes()))), text.into_bytes()),
            _ => (sample, Vec::new()),
        }
    }
}

proptest! {
    #[test]
    fn every_batch_comes_back_as_it_was(samples in prop::collection::vec(any_sample(), 1..300)) {
        let bytes = encode(&samples);
        prop_assert_eq!(decode(&bytes, samples.len()).unwrap(), samples);
    }

    #[test]
    fn no_bytes_can_do_more_than_fail(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 1_usize..2000) {
        if let Ok(samples) = decode(&bytes, count) {
            prop_assert_eq!(samples.len(), count);
        }
    }
}

#[test]
fn a_steady_poller_costs_little() {
    let samples: Vec<Sample> = (0..1000_i64)
        .map(|at| Sample {
            tick: 1_500_000_000_000 + at * 90 + (at % 3),
            signal: SignalIndex(u8::try_from(at % 10).unwrap()),
            value: Value::Steps(800 + (at / 10) % 4),
        })
        .collect();
    let bytes = encode(&samples);
    assert_eq!(decode(&bytes, 1000).unwrap(), samples);
    assert!(bytes.len() < 1400, "{} bytes for 1000 samples", bytes.len());
}

#[test]
fn a_full_buffer_refuses_and_keeps_what_it_has() {
    let mut buffer = [0; 200];
    let mut encoder = Encoder::<4>::new(Hints::NONE, 4);
    let sample = |tick| Sample::new(tick, SignalIndex(1), i64::MAX);
    let taken = (0..100)
        .take_while(|tick| encoder.push(&mut buffer, sample(tick * 1_000_000)).is_ok())
        .count();
    assert!(taken > 1);
    assert_eq!(usize::from(encoder.count()), taken);
    let len = encoder.finish(&mut buffer).unwrap();
    let mut decoder = Decoder::<4>::default();
    let count = u16::try_from(taken).unwrap();
    let back: Result<Vec<_>, _> = decoder.batch(Hints::NONE, &buffer[..len], count, 4).collect();
    assert_eq!(back.unwrap().len(), taken);
}

#[test]
fn header_round_trips() {
    let header = SamplesHeader {
        context: SamplesContext {
            catalogue: CatalogueId(0xdead_beef),
            clock: Clock::Reference,
            coding: Coding::Learning,
            boot: u32::MAX,
        },
        count: u16::MAX,
    };
    let bytes = header.bytes();
    assert_eq!(bytes.len(), SamplesHeader::LEN_MAX);
    assert_eq!(SamplesHeader::read(&bytes[..]).unwrap(), (header, &[][..]));
    for cut in 0..bytes.len() {
        assert!(SamplesHeader::read(&bytes[..cut]).is_err());
    }
}

#[test]
fn an_encoder_says_how_much_it_has() {
    let mut buffer = [0; 200];
    let mut encoder = Encoder::<4>::new(Hints::NONE, 4);
    assert!(encoder.is_empty());
    assert_eq!(encoder.len(), 0);
    for tick in [0, i64::MAX] {
        encoder.push(&mut buffer, Sample::new(tick, SignalIndex(0), tick)).unwrap();
    }
    assert!(!encoder.is_empty());
    let said = encoder.len();
    assert!(said > 1);
    let len = encoder.finish(&mut buffer).unwrap();
    assert!(len > said / 2 && len <= said, "{len} of {said}");
    assert_eq!((encoder.count(), encoder.len()), (0, 0), "the next one begins");
}

#[test]
fn a_push_is_refused_whole() {
    let sample = |signal| Sample::new(5, SignalIndex(signal), 7);
    let mut encoder = Encoder::<4>::new(Hints::NONE, 3);
    let mut buffer = [0; SAMPLE_BYTES_MAX];
    assert_eq!(encoder.push(&mut buffer, sample(3)), Err(Full), "not in the catalogue");
    for room in [1, SAMPLE_BYTES_MAX - 1] {
        assert_eq!(encoder.push(&mut buffer[..room], sample(0)), Err(Full), "{room} bytes");
    }
    assert_eq!((encoder.count(), encoder.len()), (0, 0));
    encoder.push(&mut buffer, sample(0)).unwrap();
    assert_eq!(encoder.count(), 1);
}

#[test]
fn a_batch_has_65535_samples_at_most() {
    let mut buffer = std::vec![0; 100_000];
    let mut encoder = Encoder::<1>::new(Hints::NONE, 1);
    let sample = |tick| Sample::new(tick, SignalIndex(0), 0);
    for tick in 0..i64::from(u16::MAX) {
        encoder.push(&mut buffer, sample(tick)).unwrap();
    }
    assert_eq!(encoder.push(&mut buffer, sample(0)), Err(Full));
    assert_eq!(encoder.count(), u16::MAX);
}

#[test]
fn a_decoder_says_how_many_it_may_give() {
    let samples: Vec<Sample> = (0..3).map(|tick| Sample::new(tick, SignalIndex(0), 1)).collect();
    let bytes = encode(&samples);
    let mut decoder = Decoder::<10>::default();
    let mut samples = decoder.batch(Hints::NONE, &bytes, 3, 10);
    for left in [3, 2, 1] {
        assert_eq!(samples.size_hint(), (0, Some(left)));
        assert!(samples.next().unwrap().is_ok());
    }
    assert_eq!(samples.size_hint(), (0, Some(0)));
}

#[test]
fn a_header_counts_its_samples_as_samples() {
    let header = SamplesHeader {
        context: SamplesContext {
            catalogue: CatalogueId(1),
            clock: Clock::Rtc,
            coding: Coding::Learning,
            boot: 1,
        },
        count: 250,
    };
    assert_eq!(header.counts(), Counts { samples: 250, events: 0 });
}

prop_compose! {
    fn any_hint()(guess in prop_oneof![Just(Guess::Last), Just(Guess::Linear), Just(Guess::Half),
                                       Just(Guess::Mean), Just(Guess::Related)],
                  related in any::<u8>(), follower in any::<u8>(), expected in any::<i64>(),
                  spread in any::<u8>(), interval in any::<i32>(), period in any::<i32>()) -> SignalHint {
        SignalHint { guess, related, follower, expected, spread, interval, period }
    }
}

fn any_timing() -> impl Strategy<Value = Timing> {
    prop_oneof![
        Just(Timing::Any),
        Just(Timing::Sequence),
        any::<[u16; 2]>().prop_map(Timing::Beats),
        (1..700_u16).prop_map(|period| Timing::Beats([period, 0])),
    ]
}

proptest! {
    /// Hints may be wrong: that costs bytes, and nothing else. A batch may go on from the one before.
    #[test]
    fn whatever_is_hinted_all_comes_back(
        timing in any_timing(),
        signals in prop_oneof![Just(Vec::new()), prop::collection::vec(any_hint(), 10)],
        levels in prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), table_len(10))],
        first in prop::collection::vec(any_measured(), 1..100),
        second in prop::collection::vec(any_measured(), 1..100),
        is_chained in any::<bool>(),
    ) {
        let hints = Hints { timing, signals: &signals, levels: &levels };
        prop_assert!(hints.fit(10));
        let mut buffers = [&first, &second]
            .map(|samples| std::vec![0; (samples.len() + 1) * (SAMPLE_BYTES_MAX + CONTENT_LEN_MAX)]);
        let mut encoder = Encoder::<10>::new(hints, 10);
        for (buffer, samples) in buffers.iter_mut().zip([&first, &second]) {
            for (sample, content) in samples {
                encoder.push_with(buffer, *sample, content).unwrap();
            }
            let most = encoder.len();
            let len =
                if is_chained { encoder.finish_chained(buffer) } else { encoder.finish(buffer) };
            prop_assert!(len.unwrap() <= most && encoder.is_empty());
            buffer.truncate(len.unwrap());
        }
        let count = |samples: &[Measured]| u16::try_from(samples.len()).unwrap();
        let mut decoder = Decoder::<10>::default();
        let one = decoder.batch(hints, &buffers[0], count(&first), 10);
        prop_assert_eq!(collect(one).unwrap(), first);
        let other = if is_chained {
            decoder.next_batch(hints, &buffers[1], count(&second))
        } else {
            decoder.batch(hints, &buffers[1], count(&second), 10)
        };
        prop_assert_eq!(collect(other).unwrap(), second);
    }
}

#[test]
fn a_decoder_keeps_nothing_of_a_batch_with_more_signals() {
    // They are related to one, and followed by one, that this catalogue does not have.
    let hint =
        SignalHint { guess: Guess::Related, related: 7, follower: 7, ..SignalHint::default() };
    let hints = Hints { signals: &[hint; 2], ..Hints::NONE };
    let samples: Vec<Sample> =
        (0..40).map(|tick| Sample::new(tick, SignalIndex(0), tick * tick)).collect();
    let mut buffer = std::vec![0; 4096];
    let mut encoder = Encoder::<10>::new(hints, 2);
    for sample in &samples {
        encoder.push(&mut buffer, *sample).unwrap();
    }
    let len = encoder.finish(&mut buffer).unwrap();
    let others: Vec<Sample> =
        (0..40).map(|tick| Sample::new(tick, SignalIndex(7), tick << 40)).collect();
    let mut decoder = Decoder::<10>::default();
    let before = encode(&others);
    // Of a catalogue with as many as it has room for, and with more.
    for signals in [10, 12] {
        assert_eq!(decoder.batch(Hints::NONE, &before, 40, signals).count(), 40);
        let back: Result<Vec<_>, _> = decoder.batch(hints, &buffer[..len], 40, 2).collect();
        assert_eq!(back.unwrap(), samples, "{signals}");
    }
}

#[test]
fn any_first_tick_comes_back() {
    for tick in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
        let samples = [tick, 5, tick].map(|tick| Sample::new(tick, SignalIndex(0), 7));
        assert_eq!(decode(&encode(&samples), 3).unwrap(), samples, "{tick}");
    }
}

#[test]
fn a_value_as_far_as_can_be_from_what_was_guessed_comes_back() {
    for first in [0_i64, 5, -1] {
        let far = first.wrapping_add(i64::MIN);
        for steps in [[i64::MIN, 0, i64::MIN], [first, far, first], [i64::MAX, -1, i64::MAX]] {
            let samples: Vec<Sample> = (0..)
                .zip(steps)
                .map(|(at, steps)| Sample::new(at, SignalIndex(0), steps))
                .collect();
            assert_eq!(decode(&encode(&samples), 3).unwrap(), samples);
        }
    }
}

/// The clock that the next batch follows.
fn chosen_after(ticks: &[i64]) -> u64 {
    let hints = Hints { timing: Timing::Beats([480, 320]), ..Hints::NONE };
    let mut buffer = std::vec![0; (ticks.len() + 1) * SAMPLE_BYTES_MAX];
    let mut encoder = Encoder::<1>::new(hints, 1);
    for tick in ticks {
        encoder.push(&mut buffer, Sample::new(*tick, SignalIndex(0), 0)).unwrap();
    }
    encoder.finish(&mut buffer).unwrap();
    encoder.push(&mut buffer, Sample::new(0, SignalIndex(0), 0)).unwrap();
    let len = encoder.finish(&mut buffer).unwrap();
    range::Coder::flat(&mut range::Reader::new(&buffer[..len]), 0, 1)
}

#[test]
fn the_first_128_samples_say_which_clock_the_next_batch_follows() {
    // In the first tick is a beat of either clock, in tick 20 only one of the second.
    let mut ticks = [0; 200];
    assert_eq!(chosen_after(&ticks), 0);
    ticks[128..].fill(20);
    assert_eq!(chosen_after(&ticks), 0);
    ticks[127] = 20;
    assert_eq!(chosen_after(&ticks), 1);
}

/// Between values that are steps stand some that are none: what is known of the signal stays as it was.
#[test]
fn what_is_no_number_of_steps_costs_itself_alone() {
    let steady: Vec<Sample> =
        (0..200).map(|at| Sample::new(at * 100, SignalIndex(0), 70_000)).collect();
    let bytes = encode(&steady);
    let mut disturbed = steady.clone();
    disturbed[100].value = Value::Missing;
    disturbed[101].value = Value::Double(f64::NAN.to_bits());
    let more = encode(&disturbed);
    assert_eq!(decode(&more, 200).unwrap(), disturbed);
    assert!(more.len() < bytes.len() + 40, "{} bytes, and {} without", more.len(), bytes.len());
}

#[test]
fn a_value_and_what_stands_beside_it_must_agree() {
    let mut buffer = [0; 512];
    let mut encoder = Encoder::<1>::new(Hints::NONE, 1);
    let of = |value| Sample { tick: 1, signal: SignalIndex(0), value };
    let long = [7; CONTENT_LEN_MAX + 1];
    for (value, content) in [
        (Value::Steps(5), &b"x"[..]),
        (Value::Missing, b"x"),
        (Value::Bytes(2), b"x"),
        (Value::Bytes(65), &long),
        (Value::Text(2), &[0xff, 0xfe]),
    ] {
        assert_eq!(encoder.push_with(&mut buffer, of(value), content), Err(Full), "{value:?}");
    }
    assert_eq!(encoder.push(&mut buffer, of(Value::Text(3))), Err(Full), "with nothing beside it");
    assert!(encoder.is_empty());
    encoder.push_with(&mut buffer, of(Value::Text(3)), b"VIN").unwrap();
    let len = encoder.finish(&mut buffer).unwrap();
    let mut decoder = Decoder::<1>::default();
    let mut samples = decoder.batch(Hints::NONE, &buffer[..len], 1, 1);
    assert_eq!(samples.next(), Some(Ok(of(Value::Text(3)))));
    assert_eq!(samples.content(), b"VIN");
}

#[test]
fn content_needs_room_of_its_own() {
    let sample = Sample { tick: 1, signal: SignalIndex(0), value: Value::Bytes(64) };
    for (room, fits) in [(SAMPLE_BYTES_MAX + 63, false), (SAMPLE_BYTES_MAX + 64, true)] {
        let mut buffer = std::vec![0; room];
        let mut encoder = Encoder::<1>::new(Hints::NONE, 1);
        assert_eq!(encoder.push_with(&mut buffer, sample, &[9; 64]).is_ok(), fits);
    }
}

/// A sample that is as unlike what was expected as can be takes no more than it may.
#[test]
fn the_worst_sample_has_room() {
    // All that is known for sure, and wrong: no number is zero, and none has few bits.
    let levels = std::vec![0xff_u8; table_len(1)];
    for (levels, raw) in [(&levels[..], 0), (&std::vec![0; table_len(1)], i64::MIN)] {
        for timing in [Timing::Any, Timing::Beats([480, 440])] {
            let hints = Hints { timing, signals: &[], levels };
            let mut buffer = [0; 4 * SAMPLE_BYTES_MAX];
            let mut encoder = Encoder::<1>::new(hints, 1);
            for tick in [i64::MIN, i64::MAX, 0] {
                let before = encoder.len();
                let sample = Sample::new(tick, SignalIndex(0), raw);
                encoder.push(&mut buffer, sample).unwrap();
                assert!(encoder.len() - before < SAMPLE_BYTES_MAX, "{}", encoder.len() - before);
            }
        }
    }
}

#[test]
fn an_encoder_is_as_small_as_it_has_to_be() {
    assert!(size_of::<Encoder<'_, 10>>() <= 4096);
    assert!(size_of::<Encoder<'_, 22>>() <= 6144);
}
