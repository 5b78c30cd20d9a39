use std::vec::Vec;

use proptest::prelude::*;

use super::bits::BitWriter;
use super::*;
use crate::sample::Sample;
use crate::signal::SignalIndex;

fn encode(samples: &[Sample]) -> Vec<u8> {
    let mut buffer = std::vec![0; samples.len() * SAMPLE_BYTES_MAX + SAMPLE_BYTES_MAX];
    let mut encoder = Encoder::<10>::new(10);
    for sample in samples {
        encoder.push(&mut buffer, *sample).unwrap();
    }
    let len = encoder.finish(&mut buffer).unwrap();
    buffer.truncate(len);
    buffer
}

fn decode(bytes: &[u8], count: usize) -> Result<Vec<Sample>, CodecError> {
    Decoder::<64>::new(bytes, u16::try_from(count).unwrap(), 10).collect()
}

prop_compose! {
    fn any_sample()(tick in prop_oneof![any::<i64>(), 1_500_000_000_000..1_500_000_060_000_i64],
                    signal in 0_u8..10,
                    raw in prop_oneof![any::<i64>(), -1000..1000_i64]) -> Sample {
        Sample { tick, signal: SignalIndex(signal), raw }
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

    #[test]
    fn a_cut_batch_is_an_error(samples in prop::collection::vec(any_sample(), 1..100)) {
        let bytes = encode(&samples);
        prop_assert!(decode(&bytes[..bytes.len() - 1], samples.len()).is_err());
    }
}

#[test]
fn a_steady_poller_costs_little() {
    let samples: Vec<Sample> = (0..1000_i64)
        .map(|at| Sample {
            tick: 1_500_000_000_000 + at * 90 + (at % 3),
            signal: SignalIndex(u8::try_from(at % 10).unwrap()),
            raw: 800 + (at / 10) % 4,
        })
        .collect();
    let bytes = encode(&samples);
    assert_eq!(decode(&bytes, 1000).unwrap(), samples);
    assert!(bytes.len() < 1400, "{} bytes for 1000 samples", bytes.len());
}

#[test]
fn a_full_buffer_refuses_and_keeps_what_it_has() {
    let mut buffer = [0; 60];
    let mut encoder = Encoder::<4>::new(4);
    let sample = |tick| Sample { tick, signal: SignalIndex(1), raw: i64::MAX };
    let taken = (0..100)
        .take_while(|tick| encoder.push(&mut buffer, sample(tick * 1_000_000)).is_ok())
        .count();
    assert!(taken > 1);
    assert_eq!(usize::from(encoder.count()), taken);
    let len = encoder.finish(&mut buffer).unwrap();
    let back: Result<Vec<_>, _> =
        Decoder::<4>::new(&buffer[..len], u16::try_from(taken).unwrap(), 4).collect();
    assert_eq!(back.unwrap().len(), taken);
}

#[test]
fn header_round_trips() {
    let header = SamplesHeader {
        catalogue: CatalogueId(0xdead_beef),
        clock: Clock::Reference,
        boot: u32::MAX,
        count: u16::MAX,
    };
    let mut bytes = [0; SamplesHeader::LEN_MAX];
    let len = header.write(&mut bytes);
    assert_eq!(len, SamplesHeader::LEN_MAX);
    assert_eq!(SamplesHeader::read(&bytes[..len]).unwrap(), (header, &[][..]));
    for cut in 0..len {
        assert!(SamplesHeader::read(&bytes[..cut]).is_err());
    }
}

#[test]
fn a_length_counts_the_byte_that_is_begun() {
    let mut buffer = [0; 8];
    let mut bits = BitWriter::default();
    assert_eq!(bits.len(), 0);
    for (count, len) in [(3, 1), (5, 1), (1, 2), (7, 2), (8, 3)] {
        bits.put(&mut buffer, 0, count).unwrap();
        assert_eq!(bits.len(), len);
    }
    assert_eq!(bits.finish(&mut buffer), Ok(3));
}

#[test]
fn an_encoder_says_how_much_it_has() {
    let mut buffer = [0; 200];
    let mut encoder = Encoder::<4>::new(4);
    assert!(encoder.is_empty());
    assert_eq!(encoder.len(), 0);
    for tick in [0, i64::MAX] {
        encoder.push(&mut buffer, Sample { tick, signal: SignalIndex(0), raw: tick }).unwrap();
    }
    assert!(!encoder.is_empty());
    let said = encoder.len();
    assert!(said > 1);
    assert_eq!(encoder.finish(&mut buffer), Ok(said));
}

#[test]
fn a_push_is_refused_whole() {
    let sample = |signal| Sample { tick: 5, signal: SignalIndex(signal), raw: 7 };
    let mut encoder = Encoder::<4>::new(3);
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
    let mut encoder = Encoder::<1>::new(1);
    let sample = |tick| Sample { tick, signal: SignalIndex(0), raw: 0 };
    for tick in 0..i64::from(u16::MAX) {
        encoder.push(&mut buffer, sample(tick)).unwrap();
    }
    assert_eq!(encoder.push(&mut buffer, sample(0)), Err(Full));
    assert_eq!(encoder.count(), u16::MAX);
}

#[test]
fn a_decoder_says_how_many_it_may_give() {
    let samples: Vec<Sample> =
        (0..3).map(|tick| Sample { tick, signal: SignalIndex(0), raw: 1 }).collect();
    let bytes = encode(&samples);
    let mut decoder = Decoder::<10>::new(&bytes, 3, 10);
    for left in [3, 2, 1] {
        assert_eq!(decoder.size_hint(), (0, Some(left)));
        assert!(decoder.next().unwrap().is_ok());
    }
    assert_eq!(decoder.size_hint(), (0, Some(0)));
}

#[test]
fn a_header_counts_its_samples_as_samples() {
    let header =
        SamplesHeader { catalogue: CatalogueId(1), clock: Clock::Rtc, boot: 1, count: 250 };
    assert_eq!(header.counts(), Counts { samples: 250, events: 0 });
}
