use recordings::{Entry, Kind, ReadOptions, read_file};

use super::*;
use crate::source::Reading;

const RING: &str = "000102030405060708090a0b0c0d0e0f";

fn line(kind: &str, seq: u32, lane: &str, time: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"van-1/{RING}/{seq}/0","source":"/devices/van-1","type":"milepost.{kind}",{time},"lane":"{lane}","clock":"reference","boot":1,"received":"2026-11-22T07:30:00.123Z","data":{data}}}"#
    )
}

const TIME: &str = r#""time":"2008-05-18T07:00:08.000Z""#;

fn record(lines: &[String]) -> (tempfile::TempDir, Recorded) {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(&folder.path().join("x.mprec")).unwrap();
    for line in lines {
        recorder.take(line.as_bytes()).unwrap();
    }
    let recorded = recorder.finish().unwrap();
    (folder, recorded)
}

#[test]
fn what_was_recorded_is_read_again() {
    let event = r#"{"action":"open","actor":"driver","attributes":{"a":"t","b":-7,"c":true,"d":1.25},"object":"door","resource":"x"}"#;
    let (folder, recorded) = record(&[
        line("boot", 1, "bulk", TIME, "{}"),
        line("samples", 2, "bulk", TIME, r#"{"Vehicle.Speed":41.3,"Vehicle.X":-7}"#),
        line("samples", 2, "bulk", TIME, r#"{"Vehicle.Speed":41.3,"Vehicle.X":-7}"#),
        line("samples", 3, "bulk", TIME, r#"{"Vehicle.Speed":41.25}"#),
        line("event", 4, "bulk", TIME, event),
        line("samples", 5, "bulk", r#""uptimems":12"#, r#"{"Vehicle.Speed":1}"#),
        line("samples", 6, "latest", TIME, r#"{"Vehicle.Charge":9,"Vehicle.Speed":2}"#),
        line("samples", 7, "bulk", TIME, r#"{"Vehicle.Cell":"87283472bffffff"}"#),
        "no document".to_owned(),
    ]);
    let counts = (recorded.instants, recorded.events, recorded.repeated, recorded.without_time);
    assert_eq!(counts, (4, 1, 1, 1));
    assert_eq!((recorded.devices, recorded.malformed, recorded.others["boot"]), (1, 1, 1));

    let path = folder.path().join("x.mprec");
    let (tracks, report) = read_file(&path, &ReadOptions::default()).unwrap();
    assert_eq!(report.kind, Kind::Recording);
    let [track] = tracks.as_slice() else { panic!("{tracks:?}") };
    let recording = &track.recording;
    let mut cursor = recording.cursor();
    let shown: Vec<_> = std::iter::from_fn(|| cursor.next(recording))
        .map(|entry| {
            let reading = Reading::recorded(entry, recording.catalogue());
            let lane = reading.lane().unwrap();
            format!("{lane} {}", crate::oracle::got::Shown(&reading, recording.catalogue()))
        })
        .collect();
    let at = "at 2008-05-18T07:00:08.000Z";
    assert_eq!(
        shown,
        [
            format!("bulk Vehicle.Speed 41.3 {at}"),
            format!("bulk Vehicle.X -7 {at}"),
            format!("bulk Vehicle.Speed 41.25 {at}"),
            format!("critical event {event}"),
            format!("latest Vehicle.Charge 9 {at}"),
        ]
    );
    assert_eq!((track.name.as_str(), report.samples), ("van-1", 4));
    assert_eq!(report.malformed, 1, "a cell is no number");
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    assert!(matches!(recording.cursor().next(recording), Some(Entry::Sample(..))));
}

#[test]
fn a_recording_that_was_cut_off_is_an_error() {
    let (folder, _) = record(&[line("samples", 2, "bulk", TIME, r#"{"Vehicle.Speed":41.3}"#)]);
    let path = folder.path().join("x.mprec");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    assert!(read_file(&path, &ReadOptions::default()).is_err());
}
