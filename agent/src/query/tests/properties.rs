//! Whatever is in the store and whatever is asked: the answer is that of a list.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::value::Amount;

/// A sample as a list has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Known {
    device: usize,
    signal: &'static str,
    time_ms: Option<i64>,
    raw: i64,
    seq: u64,
    ordinal: u32,
    tenths: bool,
}

#[derive(Clone, Debug)]
struct MadeBlock {
    device: usize,
    ring: u8,
    catalogue: usize,
    clock: Ticks,
    level: u8,
    /// Tick in seconds, raw, column, and whether another frame begins.
    samples: Vec<(i64, i64, u8, bool)>,
}

/// What ticks count from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ticks {
    Epoch,
    /// A boot that nobody knows the time of.
    Boot,
    /// A boot at this time.
    PlacedBoot(i64),
}

const DEVICES: [&str; 3] = ["a", "b-1", "c"];
/// Per catalogue: paths, and whether steps are tenths.
const CATALOGUES: [&[(&str, bool)]; 2] =
    [&[(SPEED, true), (DOORS, false)], &[(RANGE, false), (SPEED, false)]];
const START_S: i64 = 1_211_068_800;

fn made_block() -> impl Strategy<Value = MadeBlock> {
    let sample = (0..20_000_i64, -300..300_i64, 0..2_u8, prop::bool::weighted(0.2));
    let samples = prop_oneof![
        prop::collection::vec(sample.clone(), 1..40),
        prop::collection::vec(sample, 1..40).prop_map(|mut samples| {
            samples.sort_by_key(|(tick, ..)| *tick);
            samples
        }),
    ];
    let clock = prop_oneof![
        4 => Just(Ticks::Epoch),
        1 => Just(Ticks::Boot),
        1 => (0..20_000_i64).prop_map(|s| Ticks::PlacedBoot((START_S + s) * 1000 + 7)),
    ];
    (0..3_usize, 0..2_u8, 0..2_usize, clock, 0..2_u8, samples).prop_map(
        |(device, ring, catalogue, clock, level, samples)| MadeBlock {
            device,
            ring,
            catalogue,
            clock,
            level,
            samples,
        },
    )
}

fn make(blocks: &[MadeBlock]) -> (TempDir, Query, Vec<Known>) {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(dir.path()).unwrap();
    let catalogues = CATALOGUES.map(|paths| {
        let step = |tenths| if tenths { Step::new(1, 10) } else { Step::ONE };
        let signals: Vec<Signal<'_>> =
            paths.iter().map(|(path, tenths)| signal(path, step(*tenths))).collect();
        maker.catalogue(&Catalogue::new(1000, &signals)).unwrap()
    });
    let mut known = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        let ring = u8::try_from(block.device).unwrap() * 2 + block.ring;
        let stream = Stream {
            boot: (block.clock != Ticks::Epoch).then_some(3),
            seat: None,
            ..stream(DEVICES[block.device], ring, catalogues[block.catalogue], 1000)
        };
        let mut samples = Samples::default();
        let mut seq = u64::try_from(number).unwrap() * 1000;
        for (tick, raw, column, is_next) in &block.samples {
            if samples.runs.is_empty() || *is_next {
                seq += 1;
                samples.runs.push(run(seq));
            }
            let tick = if block.clock == Ticks::Epoch { START_S + tick } else { *tick };
            let ordinal = u32::try_from(samples.entries.len()).unwrap();
            let run = u16::try_from(samples.runs.len() - 1).unwrap();
            samples.entries.push(Entry {
                tick,
                amount: Amount::Steps(*raw),
                ordinal,
                run,
                column: *column,
            });
            let (path, tenths) = CATALOGUES[block.catalogue][usize::from(*column)];
            let time_ms = match block.clock {
                Ticks::Epoch => Some(tick * 1000),
                Ticks::Boot => None,
                Ticks::PlacedBoot(offset) => Some(offset + tick * 1000),
            };
            let device = block.device;
            known.push(Known { device, signal: path, time_ms, raw: *raw, seq, ordinal, tenths });
        }
        let placed = if let Ticks::PlacedBoot(offset) = block.clock { Some(offset) } else { None };
        maker.block(&stream, &samples, block.level, placed).unwrap();
    }
    maker.finish().unwrap();
    let query = Query::open(dir.path()).unwrap();
    (dir, query, known)
}

#[derive(Clone, Debug)]
struct Question {
    devices: Option<Vec<usize>>,
    signals: Option<Vec<&'static str>>,
    from_s: Option<i64>,
    to_s: Option<i64>,
    as_text: bool,
    order: &'static str,
}

fn question() -> impl Strategy<Value = Question> {
    let devices = prop::option::of(prop::collection::vec(0..3_usize, 0..3));
    let signal = prop::sample::select(vec![SPEED, DOORS, RANGE, "Vehicle.Other"]);
    let signals = prop::option::of(prop::collection::vec(signal, 0..3));
    let bound = || prop::option::of(-100..21_000_i64);
    let order = prop::sample::select(vec![
        "",
        "ORDER BY time",
        "ORDER BY time DESC",
        "ORDER BY device, time",
        "ORDER BY device DESC, time_ms DESC",
        "ORDER BY signal, time",
    ]);
    (devices, signals, bound(), bound(), any::<bool>(), order).prop_map(
        |(devices, signals, from_s, to_s, as_text, order)| Question {
            devices,
            signals,
            from_s,
            to_s,
            as_text,
            order,
        },
    )
}

impl Question {
    fn sql(&self) -> String {
        let quoted = |names: Vec<&str>| {
            let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
            if let [one] = names.as_slice() {
                format!("= {one}")
            } else {
                format!("IN ({})", names.join(", "))
            }
        };
        let mut terms = vec!["TRUE".to_owned()];
        if let Some(devices) = &self.devices {
            let names = devices.iter().map(|device| DEVICES[*device]).collect();
            terms.push(format!("device {}", quoted(names)));
        }
        if let Some(signals) = &self.signals {
            terms.push(format!("signal {}", quoted(signals.clone())));
        }
        for (bound, comparison) in [(self.from_s, ">="), (self.to_s, "<")] {
            let Some(bound) = bound else { continue };
            let unix_ms = (START_S + bound) * 1000;
            let mut text = Vec::new();
            crate::document::Rfc3339::default().write(&mut text, unix_ms);
            let text = String::from_utf8(text).unwrap();
            terms.push(if self.as_text {
                format!("time {comparison} '{text}'")
            } else {
                format!("time_ms {comparison} {unix_ms}")
            });
        }
        format!("WHERE {}", terms.join(" AND "))
    }

    fn wants(&self, known: &Known) -> bool {
        let is_timed = self.from_s.is_some() || self.to_s.is_some();
        let is_in_time = known.time_ms.map_or(!is_timed, |ms| {
            self.from_s.is_none_or(|from| ms >= (START_S + from) * 1000)
                && self.to_s.is_none_or(|to| ms < (START_S + to) * 1000)
        });
        is_in_time
            && self.devices.as_ref().is_none_or(|devices| devices.contains(&known.device))
            && self.signals.as_ref().is_none_or(|signals| signals.contains(&known.signal))
    }
}

fn value(known: &Known) -> Value {
    #[allow(clippy::cast_precision_loss, reason = "small")]
    let tenths = known.raw as f64 / 10.0;
    if known.tenths { Value::Real(tenths) } else { Value::Integer(known.raw) }
}

fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort_by_cached_key(|row| format!("{row:?}"));
    rows
}

/// Whether rows of (device, signal, time, ...) stand in an order.
fn is_in_order(rows: &[Vec<Value>], order: &str) -> bool {
    let shown =
        |value: &Value| if let Value::Text(text) = value { text.clone() } else { String::new() };
    let key = |row: &Vec<Value>| (shown(&row[0]), shown(&row[1]), shown(&row[2]));
    rows.is_sorted_by(|a, b| {
        let (a, b) = (key(a), key(b));
        match order {
            "ORDER BY time" => a.2 <= b.2,
            "ORDER BY time DESC" => a.2 >= b.2,
            "ORDER BY device, time" => (&a.0, &a.2) <= (&b.0, &b.2),
            "ORDER BY device DESC, time_ms DESC" => (&a.0, &a.2) >= (&b.0, &b.2),
            "ORDER BY signal, time" => (&a.1, &a.2) <= (&b.1, &b.2),
            _ => true,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn samples_are_those_of_a_list(blocks in prop::collection::vec(made_block(), 0..12),
                                   questions in prop::collection::vec(question(), 1..12)) {
        let (_dir, mut query, known) = make(&blocks);
        for question in questions {
            let order = question.order;
            let sql = format!(
                "SELECT device, signal, time, value, raw, time_ms, seq, ordinal FROM samples {} {order}",
                question.sql()
            );
            let rows = ask(&mut query, &sql);
            prop_assert!(is_in_order(&rows, order), "{}", sql);
            let wanted: Vec<&Known> = known.iter().filter(|known| question.wants(known)).collect();
            let want = wanted.iter().map(|known| {
                let mut time = Vec::new();
                if let Some(ms) = known.time_ms {
                    crate::document::Rfc3339::default().write(&mut time, ms);
                }
                let time = String::from_utf8(time).unwrap();
                vec![
                    text(DEVICES[known.device]),
                    text(known.signal),
                    if time.is_empty() { Value::Null } else { Value::Text(time) },
                    value(known),
                    Value::Integer(known.raw),
                    known.time_ms.map_or(Value::Null, Value::Integer),
                    Value::Integer(i64::try_from(known.seq).unwrap()),
                    Value::Integer(i64::from(known.ordinal)),
                ]
            });
            prop_assert_eq!(sorted(rows), sorted(want.collect()), "{}", sql);
            let count = number(&mut query, &format!("SELECT count(*) FROM samples {}", question.sql()));
            prop_assert_eq!(usize::try_from(count).unwrap(), wanted.len());
        }
    }

    #[test]
    fn buckets_are_those_of_a_list(blocks in prop::collection::vec(made_block(), 0..12),
                                   from_s in -100..21_000_i64, length_s in 0..21_000_i64,
                                   width in prop::sample::select(vec![("1h", 3600), ("2h", 7200), ("1m", 60), ("7m", 420), ("90s", 90)])) {
        let (_dir, mut query, known) = make(&blocks);
        let (from_ms, to_ms) = ((START_S + from_s) * 1000, (START_S + from_s + length_s) * 1000);
        let (width, width_s) = width;
        let sql = format!(
            "SELECT device, signal, bucket_ms, count, min, max, sum FROM \
             buckets('{SPEED}', '{width}', {from_ms}, {to_ms})"
        );
        let rows = ask(&mut query, &sql);
        let mut want: BTreeMap<(usize, i64), Vec<f64>> = BTreeMap::new();
        for known in known.iter().filter(|known| known.signal == SPEED) {
            let Some(ms) = known.time_ms.filter(|ms| (from_ms..to_ms).contains(ms)) else { continue };
            let width_ms = width_s * 1000;
            let value = match value(known) {
                Value::Integer(whole) => f64::from(i32::try_from(whole).unwrap()),
                Value::Real(real) => real,
                other => panic!("{other:?}"),
            };
            want.entry((known.device, ms.div_euclid(width_ms) * width_ms)).or_default().push(value);
        }
        prop_assert_eq!(rows.len(), want.len());
        for (row, ((device, bucket_ms), values)) in rows.iter().zip(want) {
            prop_assert_eq!(&row[..3], [text(DEVICES[device]), text(SPEED), Value::Integer(bucket_ms)]);
            prop_assert_eq!(&row[3], &Value::Integer(i64::try_from(values.len()).unwrap()));
            let real = |value: &Value| match value {
                Value::Integer(whole) => f64::from(i32::try_from(*whole).unwrap()),
                Value::Real(real) => *real,
                other => panic!("{other:?}"),
            };
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(real(&row[4]).total_cmp(&least), Ordering::Equal);
            prop_assert_eq!(real(&row[5]).total_cmp(&most), Ordering::Equal);
            prop_assert!((real(&row[6]) - values.iter().sum::<f64>()).abs() < 1e-6);
        }
    }
}
