//! The batch codec, every hint, alone and chained.

use milepost_protocol::codec::{
    Encoder, Guess, Hints, SAMPLE_BYTES_MAX, SignalHint, StillEncoder, Timing, table_len,
};
use milepost_protocol::sample::CONTENT_LEN_MAX;

use super::chance::{Chance, said, samples};
use super::{hex, opinion};

/// Catalogues, each with hints of its own and three batches.
const CATALOGUES: u64 = 350;

fn hint(chance: &mut Chance, signals: u8) -> SignalHint {
    let guesses = [Guess::Last, Guess::Linear, Guess::Half, Guess::Mean, Guess::Related];
    let is_sane = chance.below(8) > 0;
    let signal = |chance: &mut Chance| {
        if is_sane { chance.byte() % signals } else { chance.byte() }
    };
    let far = |chance: &mut Chance| match chance.below(3) {
        0 => i32::MAX - i32::from(chance.byte()),
        1 => i32::MIN + i32::from(chance.byte()),
        _ => chance.narrow(),
    };
    SignalHint {
        guess: guesses[usize::from(chance.byte()) % 5],
        related: signal(chance),
        follower: signal(chance),
        expected: chance.number(),
        spread: chance.byte() % if is_sane { 20 } else { 255 },
        interval: if is_sane { chance.narrow() % 2000 } else { far(chance) },
        period: if is_sane { chance.narrow() % 100_000 } else { far(chance) },
    }
}

fn timing(chance: &mut Chance) -> Timing {
    match chance.below(4) {
        0 => Timing::Any,
        1 => Timing::Sequence,
        2 => Timing::Beats([480, 440]),
        _ => Timing::Beats([u16::from(chance.byte()) * 7, u16::from(chance.byte() % 2)]),
    }
}

fn join<T>(items: &[T], each: impl Fn(&T) -> String) -> String {
    items.iter().map(each).collect::<Vec<_>>().join(",")
}

/// A line of what the Python reads.
fn line(chance: &mut Chance) -> String {
    let signals = 1 + chance.byte() % 64;
    let timing = timing(chance);
    let hints: Vec<_> = match chance.below(3) {
        0 => Vec::new(),
        _ => (0..signals).map(|_| hint(chance, signals)).collect(),
    };
    let levels: Vec<u8> = match chance.below(2) {
        0 => Vec::new(),
        _ => (0..table_len(usize::from(signals))).map(|_| chance.byte()).collect(),
    };
    let known = Hints { timing, signals: &hints, levels: &levels };
    let is_still = chance.below(4) == 0;
    let mut learning = Encoder::<64>::new(known, signals);
    let mut still = StillEncoder::<64>::new(known, signals);
    let (mut batches, mut all) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let samples = samples(chance, signals);
        let mut buffer = vec![0; (samples.len() + 1) * (SAMPLE_BYTES_MAX + CONTENT_LEN_MAX)];
        for (sample, content) in &samples {
            if is_still {
                still.push_with(&mut buffer, *sample, content).unwrap();
            } else {
                learning.push_with(&mut buffer, *sample, content).unwrap();
            }
        }
        let len = if is_still {
            still.finish_chained(&mut buffer).unwrap()
        } else {
            learning.finish_chained(&mut buffer).unwrap()
        };
        batches.push(format!("\"{}\"", hex(&buffer[..len])));
        let samples = join(&samples, |measured| said(measured).to_string());
        all.push(format!("[{samples}]"));
    }
    let timing = match timing {
        Timing::Any => "\"any\"".to_owned(),
        Timing::Sequence => "\"sequence\"".to_owned(),
        Timing::Beats([first, second]) => format!("[{first},{second}]"),
    };
    let hints = join(&hints, |hint| {
        let SignalHint { guess, related, follower, expected, spread, interval, period } = hint;
        let guess = *guess as u8;
        format!("[{guess},{related},{follower},{expected},{spread},{interval},{period}]")
    });
    format!(
        "{{\"signals\":{signals},\"timing\":{timing},\"hints\":[{hints}],\"table\":\"{}\",\"still\":{is_still},\
         \"batches\":[{}],\"samples\":[{}]}}\n",
        hex(&levels),
        batches.join(","),
        all.join(",")
    )
}

#[test]
fn a_decoder_from_the_page_alone_reads_a_thousand_batches() {
    let mut chance = Chance(20_261_129);
    let text: String = (0..CATALOGUES).map(|_| line(&mut chance)).collect();
    let said = opinion("check.py", &text);
    assert!(said.contains("\"batches\": 1050"), "{said}");
}
