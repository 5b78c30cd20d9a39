//! The batch codec against a decoder that was written from `docs/codec.md` alone, in Python: what the
//! page says is what the code does.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers are not known as such by the lint"
)]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use milepost_protocol::codec::{
    Encoder, Guess, Hints, SAMPLE_BYTES_MAX, SignalHint, StillEncoder, Timing, table_len,
};
use milepost_protocol::{Sample, SignalIndex};

/// Catalogues, each with hints of its own and three batches.
const CATALOGUES: u64 = 350;

/// A small generator: `splitmix64`, by Steele, Lea and Flood (OOPSLA 2014).
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    fn byte(&mut self) -> u8 {
        self.draw().to_le_bytes()[0]
    }

    /// Small as often as large, and of either sign.
    fn number(&mut self) -> i64 {
        let bits = self.below(64);
        self.draw().cast_signed() >> bits
    }

    fn narrow(&mut self) -> i32 {
        let bits = self.below(32);
        i32::from_le_bytes(self.draw().to_le_bytes()[..4].try_into().unwrap()) >> bits
    }
}

fn hint(chance: &mut Chance, signals: u8) -> SignalHint {
    let guesses = [Guess::Last, Guess::Linear, Guess::Half, Guess::Mean, Guess::Related];
    let is_sane = chance.below(8) > 0;
    let signal = |chance: &mut Chance| {
        if is_sane { chance.byte() % signals } else { chance.byte() }
    };
    SignalHint {
        guess: guesses[usize::from(chance.byte()) % 5],
        related: signal(chance),
        follower: signal(chance),
        expected: chance.number(),
        spread: chance.byte() % if is_sane { 20 } else { 255 },
        interval: if is_sane { chance.narrow() % 2000 } else { chance.narrow() },
        period: if is_sane { chance.narrow() % 100_000 } else { chance.narrow() },
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

/// A poller's rounds, or a bus, or nothing that follows from anything.
fn samples(chance: &mut Chance, signals: u8) -> Vec<Sample> {
    let kind = chance.below(4);
    let mut at = Sample { tick: 1_700_000_000_000, signal: SignalIndex(0), raw: 0 };
    if kind == 3 {
        at.tick = chance.number();
    }
    let mut raws = [0_i64; 64];
    let count = 1 + chance.below(120);
    (0..count)
        .map(|_| {
            let gap = match kind {
                0 => 30 * i64::from(chance.byte() % 4) + i64::from(chance.byte() % 3),
                1 => i64::from(chance.byte() % 2) * 1000,
                2 => chance.number() >> 40,
                _ => chance.number(),
            };
            let turn = (at.signal.0 + 1) % signals;
            let signal = if chance.below(6) == 0 { chance.byte() % signals } else { turn };
            let moved = match chance.below(3) {
                0 => 0,
                1 => i64::from(chance.byte() % 5) - 2,
                _ if kind == 3 => chance.number(),
                _ => i64::from(chance.byte()) - 128,
            };
            let raw = &mut raws[usize::from(signal)];
            *raw = raw.wrapping_add(moved);
            at = Sample { tick: at.tick.wrapping_add(gap), signal: SignalIndex(signal), raw: *raw };
            at
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
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
        let mut buffer = vec![0; (samples.len() + 1) * SAMPLE_BYTES_MAX];
        for sample in &samples {
            if is_still {
                still.push(&mut buffer, *sample).unwrap();
            } else {
                learning.push(&mut buffer, *sample).unwrap();
            }
        }
        let len = if is_still {
            still.finish_chained(&mut buffer).unwrap()
        } else {
            learning.finish_chained(&mut buffer).unwrap()
        };
        batches.push(format!("\"{}\"", hex(&buffer[..len])));
        let samples =
            join(&samples, |Sample { tick, signal, raw }| format!("[{tick},{},{raw}]", signal.0));
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
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = std::env::temp_dir().join(format!("milepost-codec-{}.json", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let script = root.join("tests/wire/check.py");
    let output = Command::new("python3").arg(script).arg(&path).output();
    std::fs::remove_file(&path).unwrap();
    let output = output.expect("python3, of version 3.10 or later, is needed for this test");
    let (said, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{error}");
    assert!(said.contains("\"batches\": 1050"), "{said}");
}
