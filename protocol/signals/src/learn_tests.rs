use protocol::{SignalIndex, Step};

use super::*;
use crate::owned::OwnedSignal;

fn catalogue(signals: usize) -> OwnedCatalogue {
    let signal = |at| OwnedSignal {
        path: format!("Vehicle.S{at}"),
        unit: String::new(),
        step: Step::ONE,
        raw_min: i64::MIN,
        raw_max: i64::MAX,
    };
    let hints = OwnedHints::default();
    let signals = (0..signals).map(signal).collect();
    let id = protocol::CatalogueId::default();
    OwnedCatalogue { id, tick_ms: 1, signals, hints, thinning: Vec::new() }
}

/// A poller of three signals at the beats of 30 ms: one goes on as it went, one follows another.
fn poller() -> Vec<Sample> {
    let (mut tick, mut speed, mut chance) = (1_700_000_000_000_i64, 400_i64, 1_u64);
    let mut samples = Vec::new();
    for round in 0..4000_i64 {
        speed += if round / 40 % 2 == 0 { 3 } else { -3 };
        let pedal = 10 * ((round * round / 7) % 13);
        for (signal, raw) in (0_u8..).zip([speed, pedal, pedal * 2 + 5]) {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            tick += 30 * (1 + i64::from((chance >> 33).is_multiple_of(4)));
            let jitter = (chance >> 40).cast_signed() % 7 - 3;
            samples.push(Sample::new(tick + jitter, SignalIndex(signal), raw));
        }
    }
    samples
}

#[test]
fn a_poller_is_understood() {
    let recordings = [poller()];
    let recorded = Recorded { recordings: &recordings, batch_ticks: 60_000 };
    let mut asked = Vec::new();
    let learnt = learn(&catalogue(3), recorded, &mut |at, of| asked.push((at, of))).unwrap();
    let Timing::Beats([period, 0]) = learnt.hints.timing else {
        panic!("{:?}", learnt.hints.timing)
    };
    assert!(period.abs_diff(480) <= 2, "{period}");
    let [speed, pedal, copy] = learnt.hints.signals[..] else { panic!() };
    assert_eq!((speed.guess, speed.follower), (Guess::Linear, 1));
    assert_eq!((copy.related, copy.follower, pedal.follower), (1, 0, 2));
    assert_eq!(learnt.multiples, [3, 10, 20]);
    assert_eq!(learnt.samples, 12_000);
    assert!(learnt.bytes * 10 < learnt.bytes_before * 8, "{learnt:?}");
    assert_eq!((asked.first(), asked.last()), (Some(&(0, 6)), Some(&(6, 6))));
}

#[test]
fn a_catalogue_without_room_goes_without_a_start_table() {
    let recordings = [poller().into_iter().take(300).collect()];
    let recorded = Recorded { recordings: &recordings, batch_ticks: 60_000 };
    let catalogue = catalogue(64);
    let learnt = learn(&catalogue, recorded, &mut |_, _| {}).unwrap();
    assert_eq!((learnt.hints.levels.len(), learnt.hints.signals.len()), (0, 64));
    let whole = OwnedCatalogue { hints: learnt.hints, ..catalogue };
    crate::read(&crate::write(&whole, "")).unwrap();
}

#[test]
fn nothing_is_learnt_of_nothing() {
    let recorded = Recorded { recordings: &[], batch_ticks: 60_000 };
    assert_eq!(learn(&catalogue(3), recorded, &mut |_, _| {}), None);
}

#[test]
fn batches_end_with_their_time() {
    let at = |tick| Sample::new(tick, SignalIndex(0), 0);
    let recording = [5, 7, 14, 15, 16, 40].map(at);
    let ends: Vec<i64> = batches(&recording, 10).map(|batch| batch.last().unwrap().tick).collect();
    assert_eq!(ends, [14, 16, 40]);
    let many = [&recording[..]; 5 * RUN];
    assert_eq!(spread(&many, many.len() * 6).len(), 5 * RUN, "all of them");
    assert_eq!(spread(&many, many.len() * 6 / 2).len(), 3 * RUN, "every second run");
}
