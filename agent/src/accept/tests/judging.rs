//! What is made of each frame, and how it is counted.

use protocol::Clock;
use protocol::codec::{SamplesContext, SamplesHeader};
use protocol::event::{Attributes, Event};
use protocol::frame::compact;
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
    // As release 0.1.0 sent them, and as they are sent now.
    let old = SamplesHeader { context: CONTEXT, count: 3 };
    bench.send(bench.seal(Kind::Samples, 1, &old.bytes()));
    assert_eq!(doings(&bench).samples, 3);
    bench.send(samples(&bench, 2));
    assert_eq!(doings(&bench).samples, 6);
    assert_eq!(doings(&bench).last_changed_ms, Some(NOW));
}

/// What the samples of a greeted device are of.
const CONTEXT: SamplesContext = SamplesContext {
    catalogue: CatalogueId(9),
    clock: Clock::Agent,
    coding: protocol::codec::Coding::Learning,
    boot: 0,
};

/// A frame of three samples.
fn samples(bench: &Bench, seq: u64) -> Vec<u8> {
    let body = SamplesHeader { context: CONTEXT, count: 3 }.count_bytes();
    bench.seal_as(&Header::of_samples(Generation::FIRST, Seq(seq), CONTEXT), &body)
}

/// A frame on its way.
fn shortened(mut frame: Vec<u8>, acknowledged: u64) -> Vec<u8> {
    let context = compact::Context { catalogue: CONTEXT.catalogue, boot: CONTEXT.boot };
    let message = compact::shorten(&mut frame, context, Seq(acknowledged)).to_vec();
    assert!(compact::is_compact(&message));
    message
}

#[test]
fn a_frame_with_a_compact_header_is_journaled_as_it_was_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    let (first, second) = (samples(&bench, 1), samples(&bench, 2));
    bench.send(shortened(first.clone(), 0));
    assert_eq!(bench.acceptor.counters().rejected_before_hello.get(), 1);
    bench.hello(1, Counts::ZERO, 0);
    // In order, again, and one that is not to be had yet.
    for (frame, acknowledged) in [(&first, 0), (&second, 1), (&first, 0), (&samples(&bench, 4), 1)]
    {
        bench.send(shortened(frame.clone(), acknowledged));
    }
    let ack = bench.commit().unwrap();
    assert_eq!((ack.durable, ack.tag, ack.repeat), (Seq(2), frame::tag_of(&second), true));
    assert_eq!(bench.acceptor.counters.duplicates.get(), 1);
    assert_eq!(bench.payloads(), [first, second]);
}

#[test]
fn a_frame_with_a_compact_header_is_another_behind_another_hello() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = greeted(dir.path());
    let frame = samples(&bench, 1);
    bench.catalogue = CatalogueId(10);
    bench.hello(1, Counts::ZERO, 0);
    bench.commit();
    bench.send(shortened(frame.clone(), 0));
    assert_eq!(bench.acceptor.counters().rejected_unauthentic.get(), 1);
    assert_eq!(bench.commit(), None, "and not acknowledged");
    bench.send(frame);
    assert_eq!(bench.commit().unwrap().durable, Seq(1), "it opens behind any, as it is kept");
    let mut unknown = shortened(samples(&bench, 2), 1);
    unknown[0] ^= 0x10;
    bench.send(unknown);
    assert_eq!(bench.acceptor.counters().rejected_version.get(), 1);
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
