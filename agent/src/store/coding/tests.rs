use proptest::prelude::*;

use super::*;

fn round_trip(values: &[i64]) -> (Vec<i64>, usize) {
    let (mut out, mut encoder, mut number) = (vec![7, 7], Encoder::new(), Number::new());
    for value in values {
        number.put(&mut encoder, &mut out, *value);
    }
    encoder.finish(&mut out, 2);
    let (mut decoder, mut number) = (Decoder::new(&out[2..]), Number::new());
    (values.iter().map(|_| number.take(&mut decoder)).collect(), out.len() - 2)
}

proptest! {
    #[test]
    fn numbers_come_back(values in prop::collection::vec(prop_oneof![
        Just(0), -3_i64..3, -5000_i64..5000, any::<i64>(), Just(i64::MIN), Just(i64::MAX),
    ], 0..400)) {
        prop_assert_eq!(round_trip(&values).0, values);
    }

    #[test]
    fn any_bytes_decode_to_something(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut decoder, mut number) = (Decoder::new(&bytes), Number::new());
        for _ in 0..1000 {
            number.take(&mut decoder);
        }
    }

    #[test]
    fn flat_digits_come_back(values in prop::collection::vec((any::<u64>(), 0_u32..=64), 0..50)) {
        let (mut out, mut encoder) = (Vec::new(), Encoder::new());
        let cut = |value: u64, bits: u32| if bits == 64 { value } else { value & ((1 << bits) - 1) };
        for (value, bits) in &values {
            encoder.flat(&mut out, *value, *bits);
        }
        encoder.finish(&mut out, 0);
        let mut decoder = Decoder::new(&out);
        for (value, bits) in values {
            prop_assert_eq!(decoder.flat(bits), cut(value, bits));
        }
    }
}

#[test]
fn what_is_always_the_same_costs_nearly_nothing() {
    assert!(round_trip(&vec![0; 60_000]).1 < 60);
    assert_eq!(round_trip(&[]).1, 0);
}
