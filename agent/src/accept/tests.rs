use std::path::Path;
use std::sync::Arc;

use protocol::ack::Ack;
use protocol::frame::{HEADER_LEN_MAX, Header, Kind, TAG_LEN};
use protocol::hello::{Challenge, Hello, RingState, Rings as HelloRings};
use protocol::keys::{Secret, ack_key, frame_key, hello_key};
use protocol::loss::LossReason;
use protocol::{CatalogueId, DeviceTime, JournalInstance, Loss, RingId, Seq};

use super::*;
use crate::intake::outbox::{Outbox, outbox};
use crate::intake::{Replies, Reply, SharedReceiver, SharedReplies};
use crate::journal::{Item, JournalConfig, Position, Positions};
use crate::registry::OsEntropy;
use crate::storage::{Disk, SharedStorage};

mod driving;
mod hellos;
mod judging;
mod keeping;

const SESSION: SessionId = SessionId(1);
const NOW: i64 = 1_700_000_000_000;

/// An acceptor and one device that talks to it.
struct Bench {
    acceptor: Acceptor,
    device: DeviceId,
    secret: Secret,
    ring: RingId,
    out: Outbox,
    packet_id: u16,
    /// Which lane it uses, and the catalogue that its hellos name.
    lane: Lane,
    catalogue: CatalogueId,
}

fn acceptor(dir: &Path, bytes_max: u64) -> (Acceptor, Registry) {
    acceptor_on(Arc::new(Disk), dir, bytes_max)
}

/// One whose journal, and nothing else, is on that storage.
fn acceptor_on(storage: SharedStorage, dir: &Path, bytes_max: u64) -> (Acceptor, Registry) {
    let disk: SharedStorage = Arc::new(Disk);
    let database = crate::state::open(&disk, &dir.join("state.redb")).unwrap();
    let registry =
        Registry::open_with_key_file(database.clone(), &dir.join("registry.key"), &mut OsEntropy)
            .unwrap();
    let mut rings = Rings::open(database.clone(), 100).unwrap();
    let segment_bytes = bytes_max / 16;
    let config =
        JournalConfig { segment_bytes, bytes_max, ..JournalConfig::new(dir.join("journal")) };
    let mut replayed =
        |lane, entry: &Entry<'_>, _: Position| replay(&mut rings, lane, entry).unwrap();
    let (journal, _) =
        Journal::open(storage, config, [1; 16], 7, &Positions::default(), &mut replayed).unwrap();
    let catalogues = Catalogues::open(database).unwrap();
    let counters = AcceptCounters::default();
    let acceptor = Acceptor::new(journal, rings, registry.clone(), catalogues, counters, [3; 16]);
    (acceptor, registry)
}

impl Bench {
    fn new(dir: &Path, bytes_max: u64) -> Self {
        Self::on(Arc::new(Disk), dir, bytes_max)
    }

    fn on(storage: SharedStorage, dir: &Path, bytes_max: u64) -> Self {
        let (acceptor, registry) = acceptor_on(storage, dir, bytes_max);
        let device: DeviceId = "bench".parse().unwrap();
        let secret = registry.add(device, NOW, &mut OsEntropy).unwrap().secret;
        Self::join(acceptor, device, secret)
    }

    fn join(mut acceptor: Acceptor, device: DeviceId, secret: Secret) -> Self {
        let (sender, out) = outbox(64);
        let opened = Message::Opened(sender.into());
        acceptor
            .take(NOW, Inbound { session: SESSION, device, message: opened, room: None })
            .unwrap();
        let (lane, catalogue) = (Lane::Bulk, CatalogueId(9));
        Self { acceptor, device, secret, ring: RingId([5; 16]), out, packet_id: 0, lane, catalogue }
    }

    fn inbound(&mut self, channel: Channel, payload: Vec<u8>) -> Inbound {
        self.packet_id += 1;
        let message = Message::Published { channel, payload, packet_id: Some(self.packet_id) };
        Inbound { session: SESSION, device: self.device, message, room: None }
    }

    fn publish(&mut self, channel: Channel, payload: Vec<u8>) -> Result<(), Box<Refused>> {
        let inbound = self.inbound(channel, payload);
        self.acceptor.take(NOW, inbound)
    }

    fn hello(&mut self, first_retained: u64, before_first: Counts, acknowledged: u64) {
        let sealed = self.sealed_hello(first_retained, before_first, acknowledged);
        self.publish(Channel::Hello, sealed).unwrap();
    }

    fn sealed_hello(&self, first: u64, before_first: Counts, acknowledged: u64) -> Vec<u8> {
        let mut rings = HelloRings::new();
        rings
            .push(RingState {
                lane: self.lane,
                ring: self.ring,
                first_retained: Seq(first),
                next: Seq(100),
                before_first,
                before_next: before_first,
                acknowledged: Seq(acknowledged),
                acknowledged_by: JournalInstance::default(),
            })
            .unwrap();
        let hello = Hello {
            time: DeviceTime::default(),
            challenge: Challenge([1; 16]),
            catalogue: self.catalogue,
            campaign: 0,
            image: 0,
            rings,
        };
        let key = hello_key(&self.secret, &self.device, Generation::FIRST);
        let mut bytes = [0; 512];
        let len = hello.seal(&key, &self.device, Generation::FIRST, [1; 12], &mut bytes).unwrap();
        bytes[..len].to_vec()
    }

    /// A frame of one heartbeat: one event.
    fn frame(&self, seq: u64) -> Vec<u8> {
        self.records(seq, &[Record::Heartbeat(protocol::health::Heartbeat::default())])
    }

    fn records(&self, seq: u64, records: &[Record<'_>]) -> Vec<u8> {
        let mut body = [0; 512];
        let append = |at, record: &Record<'_>| record.append(&mut body, at).unwrap();
        let len = records.iter().fold(0, append);
        self.seal(Kind::Records, seq, &body[..len])
    }

    fn loss(&self, seq: u64, first: u64, last: u64, through: u64) -> Vec<u8> {
        self.loss_through(seq, (first, last), events(through))
    }

    fn loss_through(&self, seq: u64, (first, last): (u64, u64), through: Counts) -> Vec<u8> {
        let loss = Loss {
            first: Seq(first),
            last: Seq(last),
            through,
            reason: LossReason::Full,
            time: DeviceTime::default(),
        };
        self.seal(Kind::Loss, seq, &postcard::to_extend(&loss, Vec::new()).unwrap())
    }

    fn seal(&self, kind: Kind, seq: u64, body: &[u8]) -> Vec<u8> {
        self.seal_as(&Header::new(Generation::FIRST, kind, Seq(seq)), body)
    }

    fn seal_as(&self, header: &Header, body: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; HEADER_LEN_MAX + body.len() + TAG_LEN];
        let at = HEADER_LEN_MAX..HEADER_LEN_MAX + body.len();
        buffer[at.clone()].copy_from_slice(body);
        let binding = Binding { device: self.device, ring: self.ring, lane: self.lane };
        let key = frame_key(&self.secret, &self.device, &self.ring, Generation::FIRST);
        let (range, _) = frame::seal(&key, &binding, header, &mut buffer, at).unwrap();
        buffer[range].to_vec()
    }

    fn send(&mut self, payload: Vec<u8>) {
        self.publish(Channel::Frames(self.lane), payload).unwrap();
    }

    /// Commits; the acknowledgement that came of it, if any.
    fn commit(&mut self) -> Option<Ack> {
        self.acceptor.commit(NOW).unwrap();
        let key = ack_key(&self.secret, &self.device, &self.ring, Generation::FIRST);
        let mut latest = None;
        while let Some(outbound) = self.out.try_recv() {
            if let Outbound::Publish(Channel::Ack, payload) = outbound {
                latest = Some(Ack::open(&key, &self.device, &self.ring, &payload).unwrap());
            }
        }
        latest
    }

    /// Sends frames until one is refused; its number.
    fn fill(&mut self) -> (u64, Box<Refused>) {
        for seq in 1..100_000 {
            let payload = self.frame(seq);
            if let Err(refused) = self.publish(Channel::Frames(self.lane), payload) {
                return (seq, refused);
            }
            self.acceptor.commit(NOW).unwrap();
            while self.out.try_recv().is_some() {}
        }
        panic!("it never fills");
    }

    /// What the journal holds of the bulk lane: kind, seq, what it adds.
    fn journaled(&mut self) -> Vec<(EntryKind, u64, u64)> {
        self.entries(|entry| (entry.kind, entry.seq.0, entry.adds.events))
    }

    /// The frames that it holds.
    fn payloads(&mut self) -> Vec<Vec<u8>> {
        self.entries(|entry| entry.payload.to_vec())
    }

    fn entries<T>(&mut self, of: impl Fn(&Entry<'_>) -> T) -> Vec<T> {
        let mut reader = self.acceptor.journal.tail().reader(Lane::Bulk, Position(0));
        let mut entries = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            if let Item::Entry { entry, .. } = item {
                entries.push(of(&entry));
            }
        }
        entries
    }
}

fn events(events: u64) -> Counts {
    Counts { samples: 0, events }
}

#[test]
fn nothing_is_said_before_the_commit_i1() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.hello(1, Counts::ZERO, 0);
    assert!(bench.out.try_recv().is_none());
    assert_eq!(bench.commit().unwrap().durable, Seq(0));
    let sealed = bench.frame(1);
    bench.send(sealed.clone());
    assert!(bench.out.try_recv().is_none(), "neither PUBACK nor acknowledgement");
    let ack = bench.commit().unwrap();
    assert_eq!((ack.durable, ack.tag), (Seq(1), frame::tag_of(&sealed)));
}

#[test]
fn each_frame_is_journaled_once_and_in_order_i2() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.send(bench.frame(1));
    assert_eq!(bench.commit(), None, "before the hello there is no ring");
    bench.hello(1, Counts::ZERO, 0);
    for seq in [1, 1, 3, 2, 1, 3] {
        bench.send(bench.frame(seq));
    }
    let ack = bench.commit().unwrap();
    assert_eq!((ack.durable, ack.repeat), (Seq(3), true));
    let frame = EntryKind::Frame;
    assert_eq!(bench.journaled(), [(frame, 1, 1), (frame, 2, 1), (frame, 3, 1)]);
    assert_eq!(bench.acceptor.counters.duplicates.get(), 2);
    assert_eq!(bench.acceptor.counters.ahead.get(), 1);
}

#[test]
fn what_is_gone_is_written_down_once_with_exact_counts_i3() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.hello(1, Counts::ZERO, 0);
    bench.send(bench.frame(1));
    // The device dropped 2 to 4 (seven events), and says so in a hello, then in a loss record.
    bench.hello(5, events(8), 1);
    bench.send(bench.frame(5));
    bench.send(bench.loss(6, 2, 4, 8));
    // It drops 7 and 8 (two events more); this time the loss record comes first.
    bench.send(bench.loss(9, 7, 8, 11));
    assert_eq!(bench.commit().unwrap().durable, Seq(9));
    let (frame, gap) = (EntryKind::Frame, EntryKind::Gap);
    let expected = [(frame, 1, 1), (gap, 4, 7), (frame, 5, 1), (frame, 6, 0), (frame, 9, 2)];
    assert_eq!(bench.journaled(), expected);
}

#[test]
fn a_full_journal_takes_nothing_and_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // The journal's own files take some hundred KiB.
    let mut bench = Bench::new(dir.path(), 400 * 1024);
    bench.hello(1, Counts::ZERO, 0);
    let (seq, refused) = bench.fill();
    assert!(matches!(refused.reason, Blocked::Journal(AppendError::Full)));
    assert!(matches!(refused.inbound.message, Message::Published { .. }), "handed back");
    assert_eq!(bench.commit(), None);
    bench.hello(1, Counts::ZERO, 0);
    assert_eq!(bench.commit().unwrap().durable, Seq(seq - 1));
}

#[test]
fn a_start_knows_what_the_last_life_held() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.hello(1, Counts::ZERO, 0);
    for seq in 1..=5 {
        bench.send(bench.frame(seq));
    }
    bench.commit();
    let (device, secret) = (bench.device, bench.secret.clone());
    let tag = frame::tag_of(&bench.frame(5));
    drop(bench);
    let (acceptor, _) = acceptor(dir.path(), 1 << 30);
    let mut bench = Bench::join(acceptor, device, secret);
    bench.hello(1, Counts::ZERO, 0);
    let ack = bench.commit().unwrap();
    assert_eq!((ack.durable, ack.tag), (Seq(5), tag));
}

#[test]
fn a_ring_of_another_device_cannot_be_claimed() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.hello(1, Counts::ZERO, 0);
    bench.send(bench.frame(1));
    bench.commit();
    let thief: DeviceId = "thief".parse().unwrap();
    let secret = bench.acceptor.registry.add(thief, NOW, &mut OsEntropy).unwrap().secret;
    let mut bench = Bench::join(bench.acceptor, thief, secret);
    bench.hello(1, Counts::ZERO, 0);
    bench.send(bench.frame(2));
    assert_eq!(bench.journaled().len(), 1);
    assert!(bench.acceptor.counters.rejected_ring.get() > 0);
    assert!(bench.commit().is_none_or(|ack| ack.durable == Seq(0)), "and learns nothing of it");
}

/// A session that shares its way with others, and what it is told.
fn share(bench: &mut Bench, session: SessionId) -> SharedReceiver {
    let (shared, receiver) = SharedReplies::new(crate::telemetry::Counter::default());
    let message = Message::Opened(Replies::Shared(shared.of(session)));
    let inbound = Inbound { session, device: bench.device, message, room: None };
    bench.acceptor.take(NOW, inbound).unwrap();
    receiver
}

fn close(bench: &mut Bench, session: SessionId) {
    let inbound = Inbound { session, device: bench.device, message: Message::Closed, room: None };
    bench.acceptor.take(NOW, inbound).unwrap();
}

/// Given up, it would leave messages that nobody acknowledges, and all devices behind the same
/// broker would have to wait for a new connection.
#[tokio::test]
async fn a_shared_session_that_cannot_be_answered_ends_once_its_messages_are_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    close(&mut bench, SESSION);
    let mut replies = share(&mut bench, SESSION);
    bench.hello(1, Counts::ZERO, 0);
    // Before the commit, and while another message is on its way.
    bench.acceptor.registry.remove(bench.device).unwrap();
    bench.acceptor.commit(NOW).unwrap();
    bench.send(vec![1, 2, 3]);
    bench.acceptor.commit(NOW).unwrap();
    close(&mut bench, SESSION);
    let mut said = Vec::new();
    while let Some((SESSION, reply)) = replies.recv().await {
        match reply {
            Reply::Said(Outbound::PubAck(id)) => said.push(format!("ack {id}")),
            Reply::Said(Outbound::Publish(..)) => {}
            Reply::Said(Outbound::Close) => said.push("close".to_owned()),
            Reply::GivenUp => {
                said.push("given up".to_owned());
                break;
            }
        }
    }
    assert_eq!(said, ["ack 1", "close", "ack 2", "given up"]);
}

/// A device may come by the port and by a broker in turn: each way is a session of its own, and the
/// end of one does nothing to the other.
#[tokio::test]
async fn a_device_that_changes_its_way_ends_no_session() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    close(&mut bench, SESSION);
    let mut replies = share(&mut bench, SESSION);
    bench.hello(1, Counts::ZERO, 0);
    for round in 0..5 {
        let port = SessionId(10 + round);
        let (sender, _out) = outbox(64);
        let message = Message::Opened(sender.into());
        let inbound = Inbound { session: port, device: bench.device, message, room: None };
        bench.acceptor.take(NOW, inbound).unwrap();
        // By the broker, by the port, and the port's connection breaks with both on their way.
        bench.send(bench.frame(round + 1));
        let message = Message::Published {
            channel: Channel::Frames(Lane::Bulk),
            payload: bench.frame(round + 1),
            packet_id: Some(1),
        };
        let inbound = Inbound { session: port, device: bench.device, message, room: None };
        bench.acceptor.take(NOW, inbound).unwrap();
        close(&mut bench, port);
        bench.acceptor.commit(NOW).unwrap();
    }
    close(&mut bench, SESSION);
    let mut acknowledged = 0;
    loop {
        match replies.recv().await.unwrap().1 {
            Reply::Said(Outbound::PubAck(_)) => acknowledged += 1,
            Reply::Said(Outbound::Publish(..)) => {}
            Reply::Said(Outbound::Close) => panic!("nobody shut it out"),
            Reply::GivenUp => break,
        }
    }
    assert_eq!(acknowledged, 6, "the hello and each frame, before the session ended");
}
