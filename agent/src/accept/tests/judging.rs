//! What is made of each frame, and how it is counted.

use protocol::Clock;
use protocol::codec::SamplesHeader;
use protocol::event::{Attributes, Event};
use protocol::health::Heartbeat;

use super::*;
use crate::activity::Doings;

/// A session whose hello was heard.
fn greeted(dir: &Path) -> Bench {
    let mut bench = Bench::new(dir, 1 << 30);
    bench.hello(1, Counts::ZERO, 0);
    bench.commit();
    bench
}

fn doings(bench: &Bench) -> Doings {
    bench.acceptor.counters().activity.since(0, "", 10).1[0].1
}

fn event() -> Record<'static> {
    Record::Event(Event {
        time: DeviceTime::default(),
        actor: "driver",
        action: "open",
        object: "door",
        context: "",
        resource: "",
        attributes: Attributes::new(),
    })
}

#[test]
fn a_frame_is_counted_under_its_lane_with_its_bytes_and_what_it_adds() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    let frame = bench.records(1, &[event(), event()]);
    let len = u64::try_from(frame.len()).unwrap();
    bench.send(frame);
    let counters = bench.acceptor.counters();
    assert_eq!(counters.frames.each_ref().map(crate::telemetry::Counter::get), [0, 1, 0]);
    assert_eq!((counters.frame_bytes.get(), counters.events.get()), (len, 2));
    assert_eq!(counters.samples.get(), 0);
    // Lost ones that a loss record names are counted with them.
    bench.send(bench.loss_through(4, (2, 3), Counts { samples: 5, events: 2 + 3 }));
    let counters = bench.acceptor.counters();
    assert_eq!((counters.samples.get(), counters.events.get()), (5, 5));
}

#[test]
fn a_frame_that_nobody_can_open_is_counted_by_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    let sealed = bench.frame(1);
    bench.send(sealed[..5].to_vec());
    let mut newer = sealed.clone();
    newer[0] |= 0xf0;
    bench.send(newer);
    let mut forged = sealed.clone();
    *forged.last_mut().unwrap() ^= 1;
    bench.send(forged);
    let mut second = sealed.clone();
    second[0] |= 1 << 2;
    bench.send(second);
    let counters = bench.acceptor.counters();
    assert_eq!(counters.rejected_malformed.get(), 1);
    assert_eq!(counters.rejected_version.get(), 1);
    assert_eq!(counters.rejected_unauthentic.get(), 1);
    assert_eq!(counters.rejected_key.get(), 1);
    assert_eq!(bench.commit(), None, "and not acknowledged");
    assert!(bench.journaled().is_empty());
}

#[test]
fn an_authentic_frame_that_does_not_read_as_it_should_is_kept_and_adds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    bench.send(bench.seal(Kind::Loss, 1, b"x"));
    assert_eq!(bench.commit().unwrap().durable, Seq(1));
    assert_eq!(bench.journaled(), [(EntryKind::Frame, 1, 0)]);
}

#[test]
fn a_malformed_catalogue_is_counted_and_its_frame_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    bench.send(bench.records(1, &[Record::Catalogue(b"\xff")]));
    assert_eq!(bench.acceptor.counters().catalogues_refused.get(), 1);
    assert_eq!(bench.commit().unwrap().durable, Seq(1));
}

#[test]
fn what_only_shows_that_a_device_is_alive_is_no_news() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    bench.send(bench.frame(1));
    bench.send(bench.records(2, &[Record::Catalogue(b"\xff")]));
    let quiet = doings(&bench);
    assert_eq!((quiet.last_seen_ms, quiet.last_changed_ms), (Some(NOW), None));
    assert_eq!((quiet.frames, quiet.events), (2, 1));
    bench.send(bench.records(3, &[event(), Record::Heartbeat(Heartbeat::default())]));
    assert_eq!(doings(&bench).last_changed_ms, Some(NOW));
}

#[test]
fn samples_are_news() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    let header = SamplesHeader {
        catalogue: CatalogueId(9),
        clock: Clock::Agent,
        coding: protocol::codec::Coding::Learning,
        boot: 1,
        count: 3,
    };
    let mut body = [0; SamplesHeader::LEN_MAX];
    let len = header.write(&mut body);
    bench.send(bench.seal(Kind::Samples, 1, &body[..len]));
    assert_eq!(doings(&bench).samples, 3);
    assert_eq!(doings(&bench).last_changed_ms, Some(NOW));
}

#[test]
fn what_devices_are_told_counts_for_nothing_when_a_device_says_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    for channel in [Channel::Ack, Channel::Downlink] {
        bench.publish(channel, bench.frame(1)).unwrap();
    }
    assert_eq!(bench.commit(), None);
    assert!(bench.journaled().is_empty());
}
