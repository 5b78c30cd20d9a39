//! The batch codec: any bytes for any catalogue, and any samples there and back.

use std::cell::RefCell;

use protocol::codec::{
    Decoder, Encoder, Guess, Hints, SAMPLE_BYTES_MAX, Samples, SignalHint, Timing, table_len,
};
use protocol::sample::CONTENT_LEN_MAX;
use protocol::{Sample, SignalIndex, Value};

use super::world::{columns, samples};
use crate::bound::bounded;
use crate::input::Input;

/// Most samples of one input.
const SAMPLES_MAX: usize = 128;
/// Most inputs have no more than so many.
const SAMPLES_USUAL: usize = 24;
/// Most samples that a header claims, and that most claim.
const SAMPLES_CLAIMED: u16 = 256;
const SAMPLES_USUAL_CLAIMED: u16 = 24;
const NONE: Sample = Sample::new(0, SignalIndex(0), 0);

/// Kept from input to input, as an agent does from frame to frame: a new one each time would take longer
/// than most inputs.
#[derive(Default)]
struct Kept {
    small: Decoder<16>,
    large: Decoder<64>,
}

thread_local! {
    static KEPT: RefCell<Box<Kept>> = RefCell::default();
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let shape = input.byte();
    let drawn = if shape & 0x40 == 0 { Drawn::default() } else { Drawn::new(&mut input) };
    let hints = drawn.hints();
    if shape < 0x80 {
        let (signals, count) = (input.byte() & 63, input.short());
        let how = input.byte();
        let count = claimed(how, count);
        let columns = input.rest();
        KEPT.with_borrow_mut(|kept| {
            bounded(0, || match signals {
                0..16 => decode(kept.small.batch(hints, columns, count, signals), signals),
                _ => decode(kept.large.batch(hints, columns, count, signals + 1), signals + 1),
            });
            if how == 253 && count < 1024 {
                // It keeps nothing of the batches before.
                let signals = signals + 1;
                let again = kept.large.batch(hints, columns, count, signals);
                let mut fresh = Decoder::<64>::default();
                let anew = fresh.batch(hints, columns, count, signals);
                assert!(again.eq(anew), "a decoder that was used reads something else");
            }
        });
    } else {
        round_trip(hints, &mut input);
    }
}

/// How many samples a header claims. Any columns decode to as many, and libFuzzer prefers inputs that
/// claim many: most claim few, and none so many that it takes as long as a hundred others. The largest
/// claim has a test of the codec's own.
fn claimed(how: u8, count: u16) -> u16 {
    match how {
        0..=253 => count % SAMPLES_USUAL_CLAIMED,
        _ => count % SAMPLES_CLAIMED,
    }
}

/// Hints as the input says, right or wrong.
#[derive(Debug, Default)]
struct Drawn {
    timing: Timing,
    signals: Vec<SignalHint>,
    levels: Vec<u8>,
}

impl Drawn {
    fn new(input: &mut Input<'_>) -> Self {
        let timing = match input.byte() % 4 {
            0 => Timing::Any,
            1 => Timing::Sequence,
            _ => Timing::Beats([input.short(), input.short()]),
        };
        let signals = input.byte() % 65;
        let signals: Vec<_> = (0..signals).map(|_| hint(input)).collect();
        let table = input.piece();
        let len = if table.is_empty() { 0 } else { table_len(signals.len()) };
        let levels = table.iter().copied().cycle().take(len).collect();
        Self { timing, signals, levels }
    }

    fn hints(&self) -> Hints<'_> {
        Hints { timing: self.timing, signals: &self.signals, levels: &self.levels }
    }
}

fn hint(input: &mut Input<'_>) -> SignalHint {
    let guesses = [Guess::Last, Guess::Linear, Guess::Half, Guess::Mean, Guess::Related];
    let narrow = |number: i64| i32::try_from(number).unwrap_or(i32::MIN);
    SignalHint {
        guess: guesses[usize::from(input.byte()) % guesses.len()],
        related: input.byte(),
        follower: input.byte(),
        expected: input.number(),
        spread: input.byte(),
        interval: narrow(input.number()),
        period: narrow(input.number()),
    }
}

/// Decodes to the end, or to an error, which ends it; holds every sample against the catalogue.
pub fn decode<const N: usize>(mut samples: Samples<'_, N>, signals: u8) {
    let mut left = samples.size_hint().1.unwrap();
    while let Some(decoded) = samples.next() {
        let Ok(sample) = decoded else {
            assert!(samples.next().is_none(), "an error that is not the end");
            return;
        };
        assert!(sample.signal.0 < signals, "a signal that the catalogue does not have");
        assert_eq!(samples.content().len(), sample.value.content_len());
        if let Value::Text(_) = sample.value {
            assert!(str::from_utf8(samples.content()).is_ok());
        }
        left -= 1;
    }
    assert_eq!(left, 0, "fewer samples than were said to be there, and no error");
}

/// Samples as the input says, through encoder and decoder.
fn round_trip(hints: Hints<'_>, input: &mut Input<'_>) {
    let signals = (input.byte() & 63) + 1;
    let mut samples = [(NONE, &[][..]); SAMPLES_MAX];
    let mut buffer = [0; SAMPLES_MAX * SAMPLE_BYTES_MAX];
    // A smaller buffer fills up: what was refused must have changed nothing.
    let room = usize::from(input.short()) % buffer.len();
    let buffer = &mut buffer[..room];
    let mut encoder = Encoder::<64>::new(hints, signals);
    let most = if input.byte() == u8::MAX { SAMPLES_MAX } else { SAMPLES_USUAL };
    let mut pushed = 0;
    let mut last = NONE;
    while !input.is_empty() && pushed < most {
        let shape = input.byte();
        // One in eight is no whole number of steps.
        let (signal, is_exact) = (SignalIndex(shape & 0x7f), shape & 0x83 == 0x83);
        let tick = last.tick.wrapping_add(input.number());
        let (value, content) = if is_exact { exact(input) } else { (steps(last, input), &[][..]) };
        let sample = Sample { tick, signal, value };
        last = sample;
        if encoder.push_with(buffer, sample, content).is_ok() {
            assert!(signal.0 < signals && content.len() <= CONTENT_LEN_MAX);
            samples[pushed] = (sample, content);
            pushed += 1;
        }
    }
    assert_eq!(usize::from(encoder.count()), pushed);
    let Ok(len) = encoder.finish(buffer) else {
        assert!(pushed == 0 || room < SAMPLE_BYTES_MAX, "no room to end what had room");
        return;
    };
    let count = u16::try_from(pushed).unwrap();
    KEPT.with_borrow_mut(|kept| {
        let mut back = kept.large.batch(hints, &buffer[..len], count, signals);
        for (sample, content) in &samples[..pushed] {
            assert_eq!(back.next(), Some(Ok(*sample)));
            assert_eq!(back.content(), *content);
        }
        assert_eq!(back.next(), None);
    });
}

fn steps(last: Sample, input: &mut Input<'_>) -> Value {
    Value::Steps(last.steps().unwrap_or_default().wrapping_add(input.number()))
}

/// A value that is no number of steps, and what stands beside it, right or wrong.
fn exact<'a>(input: &mut Input<'a>) -> (Value, &'a [u8]) {
    let kind = input.byte();
    match kind % 5 {
        0 => (Value::Missing, &[]),
        1 => (Value::Single(u32::from(input.short()) << 16 | u32::from(input.short())), &[]),
        2 => (Value::Double(input.number().cast_unsigned()), &[]),
        of => {
            let content = input.piece();
            let len = if kind < 250 { u8::try_from(content.len()).unwrap() } else { kind };
            (if of == 3 { Value::Bytes(len) } else { Value::Text(len) }, content)
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let coded = columns(&samples());
    let count = u16::try_from(samples().len()).unwrap().to_le_bytes();
    let own = [1, 2, 0, 0, 4, 7, 1, 1, 0, 0x82, 3, 4, 0, 0, 9, 2, 0, 0x87, 1, 2, 3, 4, 5, 6, 7, 8];
    vec![
        [&[0x30, 63][..], &[0xff, 0xff], &coded].concat(),
        [&[0, 63][..], &count, &coded].concat(),
        [&[0, 3][..], &count, &coded].concat(),
        [&[0, 63][..], &count, &coded[..coded.len() / 2]].concat(),
        [
            &[0x40, 2, 0xe0, 1, 0xb8, 1, 1, 4, 0, 1, 0, 9, 5, 0, 30, 0, 90, 1, 0x73, 63][..],
            &count,
            &coded,
        ]
        .concat(),
        [&[0x80, 3, 0xff, 2][..], &own, &own].concat(),
        [
            &[0xc0, 2, 0xe0, 1, 0xb8, 1, 1, 1, 0, 1, 0, 9, 5, 0, 30, 0, 90, 0, 3, 0xff, 2][..],
            &own,
            &own,
        ]
        .concat(),
        [&[0x80, 63, 40, 0][..], &own, &own, &own].concat(),
    ]
}
