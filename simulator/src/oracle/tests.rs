use std::sync::Arc;

use protocol::{DeviceTime, Lane, Sample, SignalIndex};
use recordings::civil::rfc3339_ms;
use recordings::{Recording, taxi};

use super::track::Tally;
use super::*;
use crate::source::{Reading, Source};
use crate::vehicle;

const RING: &str = "000102030405060708090a0b0c0d0e0f";
const OTHER_RING: &str = "f00102030405060708090a0b0c0d0e0f";
const FIXES: u64 = 40;

/// A taxi with forty fixes, a minute apart; the clock steps back once.
fn taxi() -> Vehicle {
    let mut recording = Recording::new(&taxi::CATALOGUE);
    for fix in 0..i64::try_from(FIXES).unwrap() {
        let tick = 1_211_267_046 + if fix == 20 { 1100 } else { 60 * fix };
        for (signal, raw) in (0..).zip([3_765_273 + 7 * fix, -12_240_682 - fix * fix, fix / 9 % 2])
        {
            recording.push(Sample::new(tick, SignalIndex(signal), raw)).unwrap();
        }
    }
    let source = Source::Recorded(Arc::new(recording));
    Vehicle { device: "taxi-a".parse().unwrap(), source }
}

/// What a sink would hold of a vehicle: `per_frame` readings of a lane in a frame, one document per
/// fix. The boot is raised with frame `boot_at`.
struct Sink {
    lines: Vec<String>,
}

impl Sink {
    fn of_taxi() -> Self {
        let lines = (0..FIXES).map(|fix| Self::fix(fix, RING, 1 + fix / 4, fix % 4, 1)).collect();
        Self { lines }
    }

    /// The document of a fix.
    fn fix(fix: u64, ring: &str, seq: u64, index: u64, boot: u32) -> String {
        let vehicle = taxi();
        let mut cursor = vehicle.source.cursor();
        cursor.skip_to(&vehicle.source, 3 * fix);
        let mut next = || match cursor.next(&vehicle.source) {
            Some(Reading::Sample(_, sample)) => sample,
            other => panic!("{other:?}"),
        };
        let (latitude, longitude, occupied) = (next(), next(), next());
        let data = format!(
            r#"{{"Vehicle.CurrentLocation.Latitude":{},"Vehicle.CurrentLocation.Longitude":{},"Vehicle.Cabin.IsOccupied":{}}}"#,
            decimal(latitude.steps().unwrap()),
            decimal(longitude.steps().unwrap()),
            occupied.steps().unwrap()
        );
        let id = format!("{ring}/{seq}/{index}");
        line(&id, "samples", Lane::Bulk, latitude.tick * 1000, boot, &data)
    }

    fn loss(seq: u64, index: &str, samples: u64, events: u64, lane: Lane) -> String {
        let data = format!(
            r#"{{"first":1,"last":2,"samples":{samples},"events":{events},"reason":"full","by":"agent"}}"#
        );
        line(&format!("{RING}/{seq}/{index}"), "loss", lane, 1_211_267_046_000, 1, &data)
    }

    fn boot(boot: u32, samples: u64, events: u64) -> String {
        let data = format!(
            r#"{{"reset":"power","unsealed_samples_max":[0,{samples},0],"unsealed_events_max":[{events},0,0],"next":[1,2,3]}}"#
        );
        let id = format!("{OTHER_RING}/{boot}/0");
        line(&id, "boot", Lane::Critical, 1_211_267_046_000, boot, &data)
    }

    fn verdict(&self, vehicle: Vehicle, admitted: Option<u64>) -> Verdict {
        self.verdict_by(Oracle::new(vec![vehicle], |_| admitted))
    }

    fn verdict_by(&self, mut oracle: Oracle) -> Verdict {
        for (line, number) in self.lines.iter().zip(1..) {
            oracle.read(0, "sink.ndjson", number, line.as_bytes());
        }
        oracle.finish()
    }

    fn of_taxis(&self) -> Verdict {
        self.verdict(taxi(), None)
    }

    fn of_taxis_and_others(&self) -> Verdict {
        self.verdict_by(Oracle::new(vec![taxi()], |_| None).beside_others())
    }
}

fn line(id: &str, kind: &str, lane: Lane, unix_ms: i64, boot: u32, data: &str) -> String {
    line_of("taxi-a", id, kind, lane, unix_ms, boot, data)
}

fn line_of(
    device: &str,
    id: &str,
    kind: &str,
    lane: Lane,
    unix_ms: i64,
    boot: u32,
    data: &str,
) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{device}/{id}","source":"/devices/{device}","type":"milepost.{kind}","time":"{}","lane":"{lane}","clock":"reference","boot":{boot},"received":"2026-11-22T07:30:00.123Z","data":{data}}}"#,
        rfc3339_ms(unix_ms)
    )
}

fn decimal(raw: i64) -> String {
    let digits = format!(
        "{}{}.{:05}",
        if raw < 0 { "-" } else { "" },
        raw.abs() / 100_000,
        raw.abs() % 100_000
    );
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Exactly one kind of fault, with the first difference at a line.
fn assert_first(verdict: &Verdict, kind: FaultKind, line: u64, words: &[&str]) {
    let first = verdict.first_difference.as_ref().unwrap();
    assert_eq!(first.kind, kind, "{verdict}");
    assert_eq!(first.place, format!("sink.ndjson:{line}"), "{verdict}");
    for word in words {
        assert!(first.to_string().contains(word), "no {word:?} in: {first}");
    }
    assert!(!verdict.is_clean());
    assert_eq!(verdict.differing_devices.len(), 1);
}

#[test]
fn a_whole_stream_is_clean() {
    let verdict = Sink::of_taxi().of_taxis();
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.samples, Tally { accepted: 120, delivered: 120, ..Tally::default() });
    assert_eq!((verdict.devices, verdict.documents, verdict.found.samples), (1, 40, 120));
    assert!(verdict.to_string().ends_with("all accounted for"));
}

#[test]
fn a_missing_document_is_found_and_named() {
    let mut sink = Sink::of_taxi();
    sink.lines.remove(7);
    let verdict = sink.of_taxis();
    assert_eq!((verdict.samples.missing, verdict.samples.delivered), (3, 117));
    let id = format!("taxi-a/{RING}/3/0");
    let words = [
        &id,
        "3 left out",
        "expected Vehicle.CurrentLocation.Latitude 37.65322 at 2008-05-20T07:11:06.000Z",
    ];
    assert_first(&verdict, FaultKind::Missing, 8, &words);
}

#[test]
fn a_cut_off_end_is_missing() {
    let mut sink = Sink::of_taxi();
    sink.lines.truncate(38);
    let verdict = sink.of_taxis();
    assert_eq!((verdict.samples.missing, verdict.samples.accepted), (6, 120));
    let first = verdict.first_difference.unwrap();
    assert_eq!((first.kind, first.place.as_str()), (FaultKind::Missing, "end of the sink"));
    assert!(first.text.contains("6 short"), "{first}");
}

#[test]
fn an_empty_sink_misses_everything() {
    let verdict = Sink { lines: Vec::new() }.of_taxis();
    assert_eq!((verdict.samples.missing, verdict.samples.accepted), (120, 120));
    assert!(!verdict.is_clean());
}

#[test]
fn what_was_not_admitted_is_not_expected() {
    let mut sink = Sink::of_taxi();
    sink.lines.truncate(20);
    let verdict = sink.verdict(taxi(), Some(60));
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.samples.accepted, 60);
    let verdict = sink.verdict(taxi(), Some(57));
    assert_first(&verdict, FaultKind::Unequal, 20, &["expected nothing more"]);
    assert_eq!(verdict.samples.unequal, 3);
}

#[test]
fn a_doubled_document_is_found_and_named() {
    let mut sink = Sink::of_taxi();
    sink.lines.insert(10, sink.lines[4].clone());
    let verdict = sink.of_taxis();
    assert_eq!((verdict.samples.doubled, verdict.samples.delivered, verdict.identity), (3, 120, 1));
    assert_first(&verdict, FaultKind::Identity, 11, &[&format!("taxi-a/{RING}/2/0")]);
}

#[test]
fn doubled_samples_under_a_new_id_are_found() {
    let mut sink = Sink::of_taxi();
    sink.lines.insert(36, Sink::fix(4, OTHER_RING, 1, 0, 1));
    let verdict = sink.of_taxis();
    assert_eq!((verdict.samples.doubled, verdict.samples.delivered, verdict.identity), (3, 120, 0));
    assert_first(&verdict, FaultKind::Doubled, 37, &["was delivered before"]);
}

#[test]
fn a_resealed_frame_that_names_its_origin_may_repeat() {
    let mut sink = Sink::of_taxi();
    let again = Sink::fix(4, OTHER_RING, 1, 0, 1);
    sink.lines.insert(36, again.replace(r#","data""#, &format!(r#","origin":"{RING}/2","data""#)));
    let verdict = sink.of_taxis();
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!((verdict.samples.resealed, verdict.samples.delivered), (3, 120));
}

#[test]
fn swapped_documents_are_found_and_named() {
    let mut sink = Sink::of_taxi();
    sink.lines.swap(5, 6);
    let verdict = sink.of_taxis();
    let samples = verdict.samples;
    assert_eq!((samples.out_of_order, samples.missing, samples.doubled), (3, 0, 0));
    assert_eq!((samples.delivered, verdict.identity), (117, 1));
    assert_first(&verdict, FaultKind::Identity, 7, &[&format!("taxi-a/{RING}/2/1")]);
}

#[test]
fn swapped_samples_under_ascending_ids_are_found() {
    let mut sink = Sink::of_taxi();
    sink.lines[5] = Sink::fix(6, RING, 2, 1, 1);
    sink.lines[6] = Sink::fix(5, RING, 2, 2, 1);
    let verdict = sink.of_taxis();
    assert_eq!(
        (verdict.samples.out_of_order, verdict.samples.missing, verdict.identity),
        (3, 0, 0)
    );
    assert_first(&verdict, FaultKind::OutOfOrder, 7, &["comes too late"]);
}

#[test]
fn a_changed_value_is_found_and_named() {
    let mut sink = Sink::of_taxi();
    sink.lines[3] = sink.lines[3].replace("37.65294", "37.65295");
    let verdict = sink.of_taxis();
    assert_eq!((verdict.samples.unequal, verdict.samples.delivered), (1, 119));
    let words = [
        "expected Vehicle.CurrentLocation.Latitude 37.65294",
        "got Vehicle.CurrentLocation.Latitude 37.65295",
    ];
    assert_first(&verdict, FaultKind::Unequal, 4, &words);
}

#[test]
fn a_value_between_two_steps_is_unequal() {
    let mut sink = Sink::of_taxi();
    sink.lines[3] = sink.lines[3].replace("37.65294", "37.652941");
    assert_eq!(sink.of_taxis().samples.unequal, 1);
}

#[test]
fn a_changed_time_is_found() {
    let mut sink = Sink::of_taxi();
    for changed in ["2008-05-20T07:07:07.000Z", "2008-05-20T07:07:06.001Z"] {
        sink.lines[3] = Sink::of_taxi().lines[3].replace("2008-05-20T07:07:06.000Z", changed);
        let verdict = sink.of_taxis();
        // Said by nobody, and what was said is missing.
        assert_eq!((verdict.samples.unequal, verdict.samples.missing), (3, 3), "{verdict}");
        assert_first(&verdict, FaultKind::Unequal, 4, &[changed]);
    }
}

#[test]
fn an_invented_document_is_found() {
    let mut sink = Sink::of_taxi();
    let data = r#"{"Vehicle.Speed":1}"#;
    sink.lines.insert(4, line(&format!("{RING}/1/9"), "samples", Lane::Bulk, 0, 1, data));
    let verdict = sink.of_taxis();
    assert_eq!((verdict.samples.unequal, verdict.samples.delivered), (1, 120));
    assert_first(&verdict, FaultKind::Unequal, 5, &["got Vehicle.Speed 1 at 1970"]);

    let mut sink = Sink::of_taxi();
    let data = r#"{"actor":"x","action":"y","object":"z","attributes":{}}"#;
    sink.lines.push(line(&format!("{OTHER_RING}/1/9"), "event", Lane::Critical, 0, 1, data));
    assert_eq!(sink.of_taxis().events.unequal, 1);
}

#[test]
fn a_loss_document_explains_exactly_what_it_counts() {
    for (stated, lost, missing, overstated) in
        [(6, 6, 0, 0), (5, 5, 1, 0), (7, 6, 0, 1), (0, 0, 6, 0)]
    {
        let mut sink = Sink::of_taxi();
        sink.lines.drain(8..10);
        sink.lines.insert(8, Sink::loss(2, "loss", stated, 0, Lane::Bulk));
        let verdict = sink.of_taxis();
        let samples = verdict.samples;
        assert_eq!(
            (samples.lost, samples.missing, samples.overstated),
            (lost, missing, overstated),
            "{verdict}"
        );
        assert_eq!(verdict.losses["full"].samples, stated);
        assert_eq!(verdict.is_clean(), stated == 6);
        match stated {
            7 => assert_first(&verdict, FaultKind::Overstated, 10, &["state 1 more"]),
            0 | 5 => assert_first(&verdict, FaultKind::Missing, 10, &["6 left out"]),
            _ => {}
        }
    }
}

#[test]
fn a_loss_of_what_was_delivered_is_overstated() {
    let mut sink = Sink::of_taxi();
    sink.lines.insert(8, Sink::loss(2, "loss", 3, 0, Lane::Bulk));
    let verdict = sink.of_taxis();
    assert_eq!((verdict.samples.overstated, verdict.samples.delivered), (3, 120));
    assert_first(&verdict, FaultKind::Overstated, 10, &["state 3 more"]);
    sink.lines.pop();
    sink.lines.push(Sink::loss(11, "loss", 3, 0, Lane::Bulk));
    assert_eq!(sink.of_taxis().samples.lost, 3, "a loss at the end");
}

#[test]
fn the_same_loss_told_twice_is_found() {
    let mut sink = Sink::of_taxi();
    sink.lines.drain(8..10);
    sink.lines.insert(8, Sink::loss(2, "loss", 6, 0, Lane::Bulk));
    sink.lines.insert(9, Sink::loss(2, "loss", 6, 0, Lane::Bulk));
    let verdict = sink.of_taxis();
    assert_first(&verdict, FaultKind::Identity, 10, &["loss"]);
}

#[test]
fn a_power_cut_explains_no_more_than_its_boot_states() {
    for (bound, unsealed, missing) in [(6, 6, 0), (100, 6, 0), (5, 5, 1), (0, 0, 6)] {
        for boot_first in [true, false] {
            let mut sink = Sink::of_taxi();
            sink.lines.truncate(8);
            let after = (10..FIXES).map(|fix| Sink::fix(fix, RING, fix, 0, 2));
            sink.lines.extend(after);
            let at = if boot_first { 0 } else { 20 };
            sink.lines.insert(at, Sink::boot(2, bound, 0));
            let verdict = sink.of_taxis();
            let samples = verdict.samples;
            assert_eq!((samples.unsealed, samples.missing), (unsealed, missing), "{verdict}");
            assert_eq!(verdict.is_clean(), missing == 0);
            assert_eq!(verdict.own_records, 1);
        }
    }
}

#[test]
fn a_power_cut_explains_nothing_within_a_boot() {
    let mut sink = Sink::of_taxi();
    sink.lines.remove(30);
    sink.lines.push(Sink::boot(1, 100, 0));
    assert_eq!(sink.of_taxis().samples.missing, 3);
}

#[test]
fn a_stream_may_go_on_in_another_ring() {
    let mut sink = Sink::of_taxi();
    sink.lines.truncate(20);
    sink.lines.extend((20..FIXES).map(|fix| Sink::fix(fix, OTHER_RING, fix - 19, 0, 1)));
    assert!(sink.of_taxis().is_clean());
}

#[test]
fn lines_that_are_no_documents_and_foreign_devices_are_found() {
    let mut sink = Sink::of_taxi();
    sink.lines.insert(2, "{\"id\":1}".to_owned());
    let verdict = sink.of_taxis();
    assert_eq!(verdict.malformed, 1);
    let first = verdict.first_difference.unwrap();
    assert_eq!((first.kind, first.place.as_str()), (FaultKind::Malformed, "sink.ndjson:3"));

    let mut sink = Sink::of_taxi();
    sink.lines.push(line_of("other", &format!("{RING}/1/0"), "samples", Lane::Bulk, 0, 1, "{}"));
    let verdict = sink.of_taxis();
    assert_eq!(verdict.foreign, 1);
    assert!(verdict.to_string().contains("1 difference(s)\nfirst: "), "{verdict}");
    assert_eq!(verdict.first_difference.unwrap().kind, FaultKind::Foreign);
}

#[test]
fn other_devices_may_be_there_and_their_documents_count_as_a_ledger_counts_them() {
    let mut sink = Sink::of_taxi();
    let alone = sink.of_taxis().found;
    let other = |seq: u64, kind, lane, data| {
        line_of("other", &format!("{RING}/{seq}/0"), kind, lane, 0, 1, data)
    };
    sink.lines.push(other(1, "samples", Lane::Bulk, r#"{"a":1,"b":2}"#));
    sink.lines.push(other(2, "event", Lane::Critical, r#"{"actor":"x"}"#));
    sink.lines.push(other(3, "boot", Lane::Critical, "{}"));
    let loss = r#"{"samples":5,"events":0,"reason":"full"}"#;
    sink.lines.push(other(4, "loss", Lane::Bulk, loss));
    let verdict = sink.of_taxis_and_others();
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.foreign, 4);
    let found = (verdict.found.samples - alone.samples, verdict.found.events - alone.events);
    assert_eq!((found, verdict.losses["full"].samples), ((2, 2), 5));
    // What cannot be counted is no document.
    sink.lines.push(other(5, "loss", Lane::Bulk, "{}"));
    assert_eq!(sink.of_taxis_and_others().differences, 1);
}

#[test]
fn samples_of_a_document_in_another_order_are_found() {
    let mut sink = Sink::of_taxi();
    let data = r#"{"Vehicle.CurrentLocation.Longitude":-122.40682,"Vehicle.CurrentLocation.Latitude":37.65273,"Vehicle.Cabin.IsOccupied":0}"#;
    sink.lines[0] = line(&format!("{RING}/1/0"), "samples", Lane::Bulk, 1_211_267_046_000, 1, data);
    let verdict = sink.of_taxis();
    assert_eq!((verdict.samples.out_of_order, verdict.samples.missing), (1, 0), "{verdict}");
}

// ------------------------------------------------------------------------- a drive, three lanes

fn van() -> Vehicle {
    vehicle::synthetic(1, 4, 1_767_225_600_000, 1_800_000).remove(0)
}

/// The readings of a drive as documents, each lane in a ring of its own.
fn of_van() -> Sink {
    let (vehicle, mut cursor, mut lines) = (van(), van().source.cursor(), Vec::new());
    let mut seqs = [0; 3];
    while let Some(reading) = cursor.next(&vehicle.source) {
        let Some(lane) = reading.lane() else { continue };
        let (seq, ring) =
            (&mut seqs[lane.index()], RING.replace("0f", &format!("a{}", lane.index())));
        *seq += 1;
        let id = format!("{ring}/{seq}/0");
        let (kind, data) = match reading {
            Reading::Sample(_, sample) => {
                let signal = crate::synthetic::CATALOGUE.get(sample.signal).unwrap();
                let shown = got::Shown(&reading, &crate::synthetic::CATALOGUE).to_string();
                let value = shown.split(' ').nth(1).unwrap().to_owned();
                ("samples", format!(r#"{{"{}":{value}}}"#, signal.path))
            }
            Reading::Event(occurrence) => {
                let shown = got::Shown(&reading, &crate::synthetic::CATALOGUE).to_string();
                assert!(!occurrence.event(DeviceTime::default()).attributes.is_empty());
                ("event", shown.strip_prefix("event ").unwrap().to_owned())
            }
            Reading::Link { .. } | Reading::Reboot { .. } => continue,
        };
        let unix_ms = reading.unix_ms(&crate::synthetic::CATALOGUE);
        lines.push(line_of("sim-00000", &id, kind, lane, unix_ms, 1, &data));
    }
    // A lane may overtake another.
    lines.sort_by_key(|line| !line.contains("milepost.event"));
    Sink { lines }
}

#[test]
fn a_drive_with_events_and_latest_values_is_clean() {
    let verdict = of_van().verdict(van(), None);
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.events.accepted > 5, "{verdict}");
    assert_eq!(verdict.samples.accepted + verdict.events.accepted, verdict.documents);
}

#[test]
fn a_changed_and_a_missing_event_are_found() {
    let mut sink = of_van();
    sink.lines[2] = sink.lines[2].replace(r#""actor":""#, r#""actor":"x"#);
    assert_first(
        &sink.verdict(van(), None),
        FaultKind::Unequal,
        3,
        &["expected event", "got event"],
    );
    let mut sink = of_van();
    sink.lines.remove(2);
    let verdict = sink.verdict(van(), None);
    assert_eq!(verdict.events.missing, 1);
    assert_first(&verdict, FaultKind::Missing, 3, &["expected event"]);
}

#[test]
fn a_loss_in_the_critical_lane_bounds_the_events_lost() {
    for (stated, lost, missing) in [(1, 1, 0), (5, 1, 0), (0, 0, 1)] {
        let mut sink = of_van();
        let ring = sink.lines[2].split('/').nth(1).unwrap().to_owned();
        sink.lines[2] = Sink::loss(3, "0", 0, stated, Lane::Critical)
            .replace(RING, &ring)
            .replace("taxi-a", "sim-00000");
        let verdict = sink.verdict(van(), None);
        assert_eq!((verdict.events.lost, verdict.events.missing), (lost, missing), "{verdict}");
        assert_eq!(verdict.is_clean(), missing == 0);
    }
}

#[test]
fn superseded_values_are_explained_by_their_loss() {
    let mut sink = of_van();
    let latest: Vec<_> =
        (0..sink.lines.len()).filter(|at| sink.lines[*at].contains(r#""lane":"latest""#)).collect();
    let (from, to) = (latest[3], latest[8]);
    let ring = sink.lines[from].split('/').nth(1).unwrap().to_owned();
    let superseded = Sink::loss(9, "0", 6, 0, Lane::Latest)
        .replace(RING, &ring)
        .replace("taxi-a", "sim-00000")
        .replace("\"full\"", "\"superseded\"");
    sink.lines[to] = superseded;
    for at in latest[3..8].iter().rev() {
        sink.lines.remove(*at);
    }
    let verdict = sink.verdict(van(), None);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!((verdict.samples.lost, verdict.losses["superseded"].samples), (6, 6));
}
