//! What comes of a hello.

use protocol::downlink::{Downlink, Envelope, Welcome};

use super::*;

/// What the device was told besides acknowledgements, in order.
fn welcomes(bench: &mut Bench) -> Vec<(Envelope, Welcome)> {
    bench.acceptor.commit(NOW + 5).unwrap();
    let mut welcomes = Vec::new();
    while let Some(outbound) = bench.out.try_recv() {
        if let Outbound::Publish(Channel::Downlink, mut payload) = outbound {
            let challenge = Challenge([1; 16]);
            let opened = Envelope::open(&bench.secret, &bench.device, &challenge, &mut payload);
            let (envelope, Downlink::Welcome(welcome)) = opened.unwrap();
            welcomes.push((envelope, welcome));
        }
    }
    welcomes
}

/// The agent's word for what is gone, as the journal has it.
fn gaps(bench: &mut Bench) -> Vec<Loss> {
    bench.commit();
    let mut reader = bench.acceptor.journal.tail().reader(Lane::Bulk, Position(0));
    let mut gaps = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        if let Item::Entry { entry, .. } = item
            && entry.kind == EntryKind::Gap
        {
            gaps.push(postcard::from_bytes(entry.payload).unwrap());
        }
    }
    gaps
}

#[test]
fn each_hello_is_welcomed_under_a_number_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    for number in 0..2 {
        bench.hello(1, Counts::ZERO, 0);
        let [(envelope, welcome)] = &welcomes(&mut bench)[..] else { panic!("one welcome") };
        assert_eq!((envelope.salt, envelope.number), ([3; 16], number));
        assert_eq!(welcome.unix_ms, NOW + 5);
    }
    assert!(welcomes(&mut bench).is_empty(), "it is said once");
    assert_eq!(bench.acceptor.counters().hellos.get(), 2);
}

#[test]
fn a_catalogue_is_asked_for_until_it_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    let signal = protocol::Signal {
        path: "Vehicle.Speed",
        unit: "km/h",
        step: protocol::Step::ONE,
        raw_min: 0,
        raw_max: 9,
    };
    let signals = [signal];
    let catalogue = protocol::Catalogue::new(1, &signals);
    let mut encoded = [0; 256];
    let len = catalogue.encode(&mut encoded).unwrap();
    bench.catalogue = protocol::Catalogue::id_of(&encoded[..len]);
    bench.hello(1, Counts::ZERO, 0);
    assert!(welcomes(&mut bench)[0].1.wants_catalogue);
    bench.send(bench.records(1, &[Record::Catalogue(&encoded[..len])]));
    bench.hello(1, Counts::ZERO, 0);
    assert!(!welcomes(&mut bench)[0].1.wants_catalogue);
    assert_eq!(bench.acceptor.counters().catalogues_refused.get(), 0);
}

#[test]
fn what_another_agent_holds_is_not_unexplained() {
    for (acknowledged, reason) in
        [(3, LossReason::Unexplained), (4, LossReason::AcknowledgedElsewhere)]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(dir.path(), 1 << 30);
        bench.hello(5, events(8), acknowledged);
        let [gap] = &gaps(&mut bench)[..] else { panic!("one gap") };
        assert_eq!((gap.first, gap.last, gap.through), (Seq(1), Seq(4), events(8)));
        assert_eq!(gap.reason, reason, "acknowledged up to {acknowledged}");
        assert_eq!(bench.acceptor.counters().gaps.get(), 1);
    }
}

#[test]
fn what_a_device_says_that_it_took_is_declared() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.hello(1, events(8), 0);
    assert_eq!(bench.acceptor.rings().sums().unwrap(), (events(8), Counts::ZERO));
}

#[test]
fn a_ring_that_was_taken_from_its_device_is_its_own_again_once_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.hello(1, events(8), 0);
    bench.commit();
    bench.acceptor.erase(NOW, &bench.device).unwrap();
    bench.hello(1, events(8), 0);
    let sums = bench.acceptor.rings().sums_of(bench.device).unwrap();
    assert_eq!(sums, Some((events(8), Counts::ZERO)));
}

#[test]
fn a_ring_stays_in_its_lane() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.hello(1, Counts::ZERO, 0);
    bench.lane = Lane::Critical;
    bench.hello(1, Counts::ZERO, 0);
    assert_eq!(bench.acceptor.counters().rejected_ring.get(), 1);
    bench.send(bench.frame(1));
    assert_eq!(bench.acceptor.counters().rejected_before_hello.get(), 1, "it has none there");
}

#[test]
fn a_hello_that_nobody_can_open_is_counted_by_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.publish(Channel::Hello, Vec::new()).unwrap();
    let mut forged = [0; 64];
    bench.publish(Channel::Hello, forged.to_vec()).unwrap();
    // Of the second generation, which this device has no secret of.
    forged[0] = 1 << 2;
    bench.publish(Channel::Hello, forged.to_vec()).unwrap();
    let counters = bench.acceptor.counters();
    assert_eq!(counters.rejected_malformed.get(), 1);
    assert_eq!(counters.rejected_unauthentic.get(), 1);
    assert_eq!(counters.rejected_key.get(), 1);
    assert_eq!(counters.hellos.get(), 0);
}

#[test]
fn a_session_of_its_own_that_cannot_be_answered_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.hello(1, Counts::ZERO, 0);
    bench.acceptor.registry.remove(bench.device).unwrap();
    bench.acceptor.commit(NOW).unwrap();
    assert!(bench.out.is_closed());
}
