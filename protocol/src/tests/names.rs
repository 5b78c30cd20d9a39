use std::format;
use std::string::ToString as _;

use proptest::prelude::*;

use crate::identity::{
    Counts, DeviceId, Generation, JournalInstance, Lane, RingId, RingIdError, Seq,
};
use crate::keys::Secret;
use crate::loss::LossReason;
use crate::signal::{Catalogue, CatalogueError, CatalogueId, Signal, SignalIndex, Step};
use crate::thinning::{Skip, Take, Thin, Thinning, Window, finer};
use crate::time::{Clock, DeviceTime};
use crate::topic::{Channel, TOPIC_LEN_MAX, Topic};
use crate::varint;

#[test]
fn a_device_id_is_shown_as_text_and_for_debugging_as_what_it_is() {
    let id: DeviceId = "taxi-1".parse().unwrap();
    assert_eq!(id.to_string(), "taxi-1");
    assert_eq!(format!("{id:?}"), "DeviceId(taxi-1)");
    assert_eq!(format!("[{id:8}]"), "[taxi-1  ]");
}

#[test]
fn what_is_no_device_id_is_refused_with_what_was_expected() {
    use serde::Deserialize as _;
    use serde::de::value::{BoolDeserializer, Error};
    let refused = DeviceId::deserialize(BoolDeserializer::<Error>::new(true)).unwrap_err();
    assert!(refused.to_string().ends_with("expected a device id"), "{refused}");
}

proptest! {
    #[test]
    fn a_ring_id_reads_back_as_it_is_shown(bytes in any::<[u8; 16]>()) {
        let id = RingId(bytes);
        prop_assert_eq!(id.to_string().len(), 32);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }
}

#[test]
fn a_ring_id_has_32_hexadecimal_digits() {
    let text = "000102030405060708090a0b0c0d0eff";
    let id = RingId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
    assert_eq!(text.parse(), Ok(id));
    assert_eq!(format!("{id:?}"), format!("RingId({text})"));
    let long = format!("{text}0");
    // Sixteen characters of two bytes are 32 bytes, too.
    let wide = "\u{e9}".repeat(16);
    for wrong in [&text[1..], &long, &text.replace('f', "g"), &wide, ""] {
        assert_eq!(wrong.parse::<RingId>(), Err(RingIdError), "{wrong}");
    }
}

#[test]
fn sequence_numbers_go_up_and_down_by_one_and_stop_at_their_ends() {
    assert_eq!((Seq(7).next(), Seq(7).prev()), (Seq(8), Seq(6)));
    assert_eq!((Seq(u64::MAX).next(), Seq::ZERO.prev()), (Seq(u64::MAX), Seq::ZERO));
    assert_eq!(Seq(300).to_string(), "300");
}

#[test]
fn each_lane_has_a_number_and_a_name() {
    for (at, lane, name) in
        [(0, Lane::Critical, "critical"), (1, Lane::Bulk, "bulk"), (2, Lane::Latest, "latest")]
    {
        assert_eq!(lane.index(), usize::from(at));
        assert_eq!(Lane::from_index(at), Some(lane));
        assert_eq!((lane.name(), lane.to_string().as_str()), (name, name));
    }
    assert_eq!(Lane::from_index(3), None);
}

#[test]
fn generations_go_round() {
    let all: std::vec::Vec<Generation> = (0..4).filter_map(Generation::new).collect();
    let next = |generation: &Generation| generation.next().number();
    assert_eq!(all.iter().map(next).collect::<std::vec::Vec<_>>(), [1, 2, 3, 0]);
    for (number, generation) in (0_u8..).zip(&all) {
        assert_eq!(Generation::try_from(number), Ok(*generation));
        assert_eq!(u8::from(*generation), number);
        assert_eq!(Generation::from_bits(number | 0xfc), *generation);
    }
    assert!(Generation::try_from(4).is_err());
}

#[test]
fn a_journal_and_a_catalogue_are_shown_in_hexadecimal_digits() {
    assert_eq!(JournalInstance([0, 1, 2, 3, 4, 5, 6, 255]).to_string(), "00010203040506ff");
    assert_eq!(CatalogueId(0xbeef).to_string(), "0000beef");
}

#[test]
fn counts_add_up_and_never_go_below_zero() {
    let counts = |samples, events| Counts { samples, events };
    let mut sum = counts(1, 20);
    sum += counts(300, 4);
    assert_eq!(sum, counts(301, 24));
    assert_eq!(sum.since(counts(1, 20)), counts(300, 4));
    assert_eq!(sum.since(counts(400, 4)), counts(0, 20));
    let zero = |samples, events| counts(samples, events).is_zero();
    assert_eq!([zero(0, 0), zero(1, 0), zero(0, 1), zero(1, 1)], [true, false, false, false]);
}

#[test]
fn a_secret_is_not_shown() {
    assert_eq!(format!("{:?}", Secret::new([7; 32])), "Secret(..)");
}

#[test]
fn what_is_taken_of_a_window_is_named_as_it_is_written() {
    assert_eq!([Take::Min, Take::Mean, Take::Max].map(Take::name), ["min", "mean", "max"]);
}

#[test]
fn a_reason_for_a_loss_is_named_as_it_is_written() {
    let reasons = [
        (LossReason::Full, "full"),
        (LossReason::Torn, "torn"),
        (LossReason::Damaged, "damaged"),
        (LossReason::Expired, "expired"),
        (LossReason::Superseded, "superseded"),
        (LossReason::Unexplained, "unexplained"),
        (LossReason::AcknowledgedElsewhere, "acknowledged-elsewhere"),
        (LossReason::Journal, "journal"),
        (LossReason::Overrun, "overrun"),
        (LossReason::Forked, "forked"),
    ];
    for (reason, name) in reasons {
        assert_eq!(reason.name(), name);
        assert_eq!(reason.is_exclusion(), name == "superseded");
    }
}

#[test]
fn each_clock_has_a_number_and_a_name_and_all_but_the_first_tell_the_time() {
    let clocks = [
        (Clock::Uptime, "uptime"),
        (Clock::Rtc, "rtc"),
        (Clock::Agent, "agent"),
        (Clock::Reference, "reference"),
    ];
    for (number, (clock, name)) in (0_u8..).zip(clocks) {
        assert_eq!((Clock::from_number(number), clock.name()), (Some(clock), name));
        let time = DeviceTime { boot: 1, uptime_ms: 5, unix_ms: 1_211_094_008_000, clock };
        let told = (number > 0).then_some(1_211_094_008_000);
        assert_eq!(time.wall_ms(), told);
    }
    assert_eq!(Clock::from_number(4), None);
}

fn signal() -> Signal<'static> {
    Signal { path: "Vehicle.Speed", unit: "km/h", step: Step::ONE, raw_min: 0, raw_max: 250 }
}

#[test]
fn a_catalogue_finds_its_signals_by_their_place() {
    let signals = [signal(), Signal { path: "Vehicle.Width", ..signal() }];
    let catalogue = Catalogue::new(1, &signals);
    assert_eq!(catalogue.get(SignalIndex(1)).map(|signal| signal.path), Some("Vehicle.Width"));
    assert_eq!(catalogue.get(SignalIndex(2)), None);
}

#[test]
fn a_catalogue_refuses_what_is_out_of_range() {
    let encode = |tick_ms, signals: &[Signal<'_>]| {
        Catalogue::new(tick_ms, signals).encode(&mut [0; Catalogue::ENCODED_MAX]).map(|_| ())
    };
    let with = |change: &dyn Fn(&mut Signal<'_>)| {
        let mut signal = signal();
        change(&mut signal);
        encode(1, &[signal])
    };
    let longest = "V".repeat(Signal::PATH_MAX);
    let too_long = "V".repeat(Signal::PATH_MAX + 1);
    assert_eq!(encode(1, &[signal(); Catalogue::SIGNALS_MAX]), Ok(()));
    assert_eq!(encode(1, &[signal(); Catalogue::SIGNALS_MAX + 1]), Err(CatalogueError::Range));
    assert_eq!(encode(0, &[signal()]), Err(CatalogueError::Range));
    assert_eq!(with(&|signal| signal.step.numerator = 0), Err(CatalogueError::Range));
    assert_eq!(with(&|signal| signal.step.denominator = 0), Err(CatalogueError::Range));
    assert_eq!(with(&|signal| signal.raw_min = signal.raw_max), Ok(()));
    assert_eq!(with(&|signal| signal.raw_min = signal.raw_max + 1), Err(CatalogueError::Range));
    assert_eq!(with(&|signal| signal.path = ""), Err(CatalogueError::Range));
    let path = |path: &str| encode(1, &[Signal { path, ..signal() }]);
    assert_eq!((path(&longest), path(&too_long)), (Ok(()), Err(CatalogueError::Range)));
    let unit = |len| encode(1, &[Signal { unit: &longest[..len], ..signal() }]);
    assert_eq!((unit(32), unit(33)), (Ok(()), Err(CatalogueError::Range)));
}

#[test]
fn a_catalogue_thins_what_it_has_and_says_how() {
    let half = Step::new(1, 2);
    let signals = [
        signal(),
        Signal { path: "Vehicle.Speed.Mean", step: half, ..signal() },
        Signal { path: "Vehicle.Speed.Max", ..signal() },
        Signal { path: "Vehicle.Width", unit: "m", ..signal() },
    ];
    let encode = |thinning: &[Thinning]| {
        let catalogue = Catalogue { thinning, ..Catalogue::new(10, &signals) };
        catalogue.encode(&mut [0; Catalogue::ENCODED_MAX]).map(|_| ())
    };
    let skip = |signal, dead_band, interval_ms, silence_ms| {
        let how = Thin::Skip(Skip { dead_band, interval_ms, silence_ms });
        Thinning { signal: SignalIndex(signal), how }
    };
    let window = |signal, of, take, length_ms| {
        let how = Thin::Window(Window { of: SignalIndex(of), take, length_ms });
        Thinning { signal: SignalIndex(signal), how }
    };
    let max = window(2, 0, Take::Max, 1000);
    for fine in [
        &[skip(0, Some(0), 0, 0), window(1, 0, Take::Mean, 10), max][..],
        &[skip(0, None, 1, 0), skip(3, Some(5), 100, 100)],
        &[window(1, 0, Take::Mean, 1000), window(2, 0, Take::Min, 2000)],
    ] {
        assert_eq!(encode(fine), Ok(()), "{fine:?}");
    }
    for wrong in [
        &[skip(4, Some(0), 0, 0)][..],       // No such signal.
        &[max, skip(0, Some(0), 0, 0)],      // Not in order.
        &[max, max],                         // Twice.
        &[skip(0, None, 0, 0)],              // Nothing.
        &[skip(0, None, 10, 20)],            // The silence of what is never silent.
        &[skip(0, Some(1), 20, 10)],         // Silent for less than the interval.
        &[window(2, 2, Take::Max, 1000)],    // Of itself.
        &[window(2, 4, Take::Max, 1000)],    // Of none.
        &[window(2, 3, Take::Max, 1000)],    // Of another unit.
        &[window(1, 0, Take::Max, 1000)],    // Of another step.
        &[window(0, 1, Take::Mean, 1000)],   // A mean coarser than what it is of.
        &[window(2, 0, Take::Max, 1005)],    // No whole number of ticks.
        &[window(2, 0, Take::Max, 0)],       // No time.
        &[window(0, 2, Take::Max, 10), max], // A window of a window.
    ] {
        assert_eq!(encode(wrong), Err(CatalogueError::Range), "{wrong:?}");
    }
}

#[test]
fn a_mean_is_a_whole_number_of_times_as_fine_and_a_thousand_times_at_most() {
    let of =
        |numerator, denominator| Signal { step: Step::new(numerator, denominator), ..signal() };
    for (source, window, times) in [
        ((1, 1), (1, 1), Some(1)),
        ((2, 4), (1, 2), Some(1)),
        ((1, 1), (1, 1000), Some(1000)),
        ((1, 1), (1, 1001), None),
        ((1, 1), (1, 4_000_000_000), None),
        ((3, 1), (2, 1), None),
        ((1, 1), (2, 1), None),
        ((1, 3), (1, 10), None),
        ((2001, 1), (2, 1), None),
    ] {
        let (source, window) = (of(source.0, source.1), of(window.0, window.1));
        assert_eq!(finer(&source, &window), times, "{source:?}, {window:?}");
    }
}

#[test]
fn a_number_above_64_bits_is_none() {
    let bytes = |last| [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, last];
    assert_eq!(varint::read(&bytes(1)), Some((u64::MAX, &[][..])));
    assert_eq!(varint::read(&bytes(2)), None);
}

#[test]
fn the_longest_topic_takes_all_the_room_there_is() {
    let device = "v".repeat(DeviceId::LEN_MAX).parse().unwrap();
    let name = Topic { device, channel: Channel::Hello }.name();
    assert_eq!((name.len(), name.capacity()), (TOPIC_LEN_MAX, TOPIC_LEN_MAX));
}
