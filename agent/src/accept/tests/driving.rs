//! The thread's pace, on a clock that moves only when nothing else is left to do.

use std::path::PathBuf;
use std::sync::Mutex;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::accept::driver::{
    AcceptStatus, CHECKPOINT_EVERY, CHECKPOINT_WHEN_HELD, Control, GROUP_MAX, Ports, TICK, drive,
};
use crate::notify::Vigil;

/// What the driver saw of the sinks, and they of it.
#[derive(Default)]
struct Sinks {
    /// What the driver is told that they need of the journal.
    floor: Option<Positions>,
    /// When they were asked first.
    asked_at: Option<Duration>,
    /// Whether a message was held when they were asked last.
    is_held: bool,
    state: Vec<u8>,
    /// When the state file was found to be another.
    writes: Vec<Duration>,
}

struct Driven {
    driver: JoinHandle<Acceptor>,
    inbound: mpsc::Sender<Inbound>,
    control: mpsc::Sender<Control>,
    status: AcceptStatus,
    stop: CancellationToken,
    sinks: Arc<Mutex<Sinks>>,
    begun: Instant,
}

impl Driven {
    fn new(acceptor: Acceptor, dir: &Path) -> Self {
        let (inbound, from_intakes) = mpsc::channel(4 * GROUP_MAX);
        let (control, from_operator) = mpsc::channel(8);
        let (status, stop, begun) =
            (AcceptStatus::default(), CancellationToken::new(), Instant::now());
        let state: PathBuf = dir.join("state.redb");
        let content = std::fs::read(&state).unwrap();
        let sinks = Arc::new(Mutex::new(Sinks { state: content, ..Sinks::default() }));
        let asked = Arc::clone(&sinks);
        let floor = move |is_held| {
            let mut sinks = asked.lock().unwrap();
            let content = std::fs::read(&state).unwrap();
            if sinks.state != content {
                sinks.writes.push(begun.elapsed());
                sinks.state = content;
            }
            sinks.asked_at.get_or_insert(begun.elapsed());
            sinks.is_held = is_held;
            sinks.floor
        };
        let ports = Ports {
            inbound: from_intakes,
            control: from_operator,
            floor: Box::new(floor),
            status: status.clone(),
            stop: stop.clone(),
        };
        let driver = tokio::spawn(drive(acceptor, ports));
        Self { driver, inbound, control, status, stop, sinks, begun }
    }

    /// When checkpoints were found.
    fn writes(&self) -> Vec<Duration> {
        self.sinks.lock().unwrap().writes.clone()
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Control) -> T {
        let (reply, answer) = oneshot::channel();
        self.control.send(question(reply)).await.unwrap();
        answer.await.unwrap()
    }

    /// Ends it, as if all intakes were gone.
    async fn end(self) -> Acceptor {
        drop(self.inbound);
        self.driver.await.unwrap()
    }
}

/// A bench whose journal is full, and the message that found no room.
fn full(dir: &Path) -> (Bench, Inbound) {
    let mut bench = Bench::new(dir, 400 * 1024);
    bench.hello(1, Counts::ZERO, 0);
    let refused = bench.fill().1;
    (bench, refused.inbound)
}

#[tokio::test(start_paused = true)]
async fn what_came_in_is_durable_and_answered_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    let hello = bench.sealed_hello(1, Counts::ZERO, 0);
    let mut messages = vec![bench.inbound(Channel::Hello, hello)];
    for seq in 1..=3 {
        let frame = bench.frame(seq);
        messages.push(bench.inbound(Channel::Frames(Lane::Bulk), frame));
    }
    let Bench { acceptor, mut out, ring, .. } = bench;
    let driven = Driven::new(acceptor, dir.path());
    for message in messages {
        driven.inbound.send(message).await.unwrap();
    }
    let (status, begun) = (driven.status.clone(), driven.begun);
    let mut acceptor = driven.end().await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "nothing was waited for");
    assert_eq!(acceptor.rings.get(&ring).unwrap().unwrap().watermark.durable, Seq(3));
    let answers = std::iter::from_fn(|| out.try_recv());
    let acknowledged = answers.filter(|said| matches!(said, Outbound::PubAck(_)));
    assert_eq!(acknowledged.count(), 4);
    assert_eq!(status.blocked(), None);
    // Nobody takes it to hang now.
    let (mut vigil, pulse) = (Vigil::new(TICK), status.pulse().clone());
    let hangs = [Duration::ZERO, TICK]
        .map(|now| vigil.look(now, vec![("accept".to_owned(), pulse.clone())]).map(str::to_owned));
    assert_eq!(hangs, [None, None]);
    // The last checkpoint has it all, with the time of this very century.
    let mut reader = acceptor.journal.tail().reader(Lane::Bulk, Position(0));
    let Some(Item::Entry { entry, .. }) = reader.next().unwrap() else { panic!("an entry") };
    assert!(entry.received_ms > 1_500_000_000_000, "{}", entry.received_ms);
    let checkpoint = acceptor.rings.checkpoint().unwrap().unwrap();
    assert_eq!(checkpoint.positions, acceptor.journal.ends().positions);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_finds_no_room_waits_until_the_journal_has_some() {
    let dir = tempfile::tempdir().unwrap();
    let (bench, message) = full(dir.path());
    let (ends, bytes) = (bench.acceptor.journal.ends(), bench.acceptor.journal_bytes());
    let driven = Driven::new(bench.acceptor, dir.path());
    driven.inbound.send(message).await.unwrap();
    sleep(CHECKPOINT_WHEN_HELD + 2 * TICK).await;
    assert_eq!(driven.status.blocked().unwrap(), "the journal is full");
    assert_eq!(driven.status.journal_bytes(), bytes);
    assert!(driven.sinks.lock().unwrap().is_held);
    // Nothing is pruned that the checkpoint lacks: it is early.
    let writes = driven.writes();
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert!((CHECKPOINT_WHEN_HELD..=CHECKPOINT_WHEN_HELD + TICK).contains(&writes[0]));
    driven.sinks.lock().unwrap().floor = Some(ends.positions);
    sleep(3 * TICK).await;
    assert_eq!(driven.status.blocked(), None);
    assert!(!driven.sinks.lock().unwrap().is_held);
    assert!(driven.status.journal_bytes() < bytes);
    let acceptor = driven.end().await;
    assert_ne!(acceptor.journal.ends().positions, ends.positions, "it was taken");
}

#[tokio::test(start_paused = true)]
async fn a_stop_leaves_a_message_that_finds_no_room_to_its_device() {
    let dir = tempfile::tempdir().unwrap();
    let (bench, message) = full(dir.path());
    let driven = Driven::new(bench.acceptor, dir.path());
    driven.stop.cancel();
    sleep(2 * TICK).await;
    assert!(!driven.driver.is_finished(), "what can be taken still is");
    driven.inbound.send(message).await.unwrap();
    sleep(2 * TICK).await;
    assert!(driven.driver.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_written_now_and_then_and_only_if_something_moved() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    let hello = bench.sealed_hello(1, Counts::ZERO, 0);
    let message = bench.inbound(Channel::Hello, hello);
    let driven = Driven::new(bench.acceptor, dir.path());
    sleep(3 * CHECKPOINT_EVERY).await;
    // The last life may have left something.
    let writes = driven.writes();
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert!((CHECKPOINT_EVERY..=CHECKPOINT_EVERY + TICK).contains(&writes[0]), "{writes:?}");
    driven.inbound.send(message).await.unwrap();
    sleep(3 * CHECKPOINT_EVERY).await;
    let writes = driven.writes();
    assert_eq!(writes.len(), 2, "{writes:?}");
    assert_eq!(driven.sinks.lock().unwrap().asked_at, Some(TICK));
    drop(driven.end().await);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_finds_no_room_is_not_tried_again_before_the_next_tick() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 400 * 1024);
    bench.hello(1, Counts::ZERO, 0);
    let seq = bench.fill().0;
    // Each attempt looks at the catalogue first.
    let frame = bench.records(seq, &[Record::Catalogue(b"\xff")]);
    let message = bench.inbound(Channel::Frames(Lane::Bulk), frame);
    let refused = bench.acceptor.counters().catalogues_refused.clone();
    let driven = Driven::new(bench.acceptor, dir.path());
    driven.inbound.send(message).await.unwrap();
    sleep(TICK / 2).await;
    assert_eq!(refused.get(), 1);
    sleep(TICK).await;
    assert_eq!(refused.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_more_than_a_commit_may_be_goes_on_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.hello(1, Counts::ZERO, 0);
    let frames: Vec<Vec<u8>> =
        (1..=1000).map(|seq| bench.seal(Kind::Loss, seq, &[0; 5000])).collect();
    let (device, ring, channel) = (bench.device, bench.ring, Channel::Frames(Lane::Bulk));
    let driven = Driven::new(bench.acceptor, dir.path());
    for payload in frames {
        let message = Message::Published { channel, payload, packet_id: None };
        let inbound = Inbound { session: SESSION, device, message, room: None };
        driven.inbound.try_send(inbound).unwrap();
    }
    let begun = driven.begun;
    let mut acceptor = driven.end().await;
    assert_eq!(acceptor.rings.get(&ring).unwrap().unwrap().watermark.durable, Seq(1000));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_asks_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), 1 << 30);
    bench.hello(1, events(8), 0);
    bench.send(bench.frame(1));
    bench.commit();
    let Bench { acceptor, device, mut out, .. } = bench;
    let driven = Driven::new(acceptor, dir.path());
    let sums = (events(8), events(1));
    assert_eq!(driven.ask(Control::Sums).await, Some(sums));
    let of = |device| move |reply| Control::SumsOf(device, reply);
    assert_eq!(driven.ask(of(device)).await, Some(Some(sums)));
    assert_eq!(driven.ask(of("another".parse().unwrap())).await, Some(None));
    driven.control.send(Control::Forget(device)).await.unwrap();
    assert_eq!(driven.ask(|reply| Control::Erase(device, reply)).await, Some(1));
    let closed = std::iter::from_fn(|| out.try_recv()).filter(|said| *said == Outbound::Close);
    assert_eq!(closed.count(), 2, "forgotten, and erased");
    assert_eq!(driven.ask(of(device)).await, Some(None));
}

#[test]
fn its_thread_gives_the_acceptor_back() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path(), 1 << 30);
    let (inbound, from_intakes) = mpsc::channel(1);
    let (_control, from_operator) = mpsc::channel(1);
    let ports = Ports {
        inbound: from_intakes,
        control: from_operator,
        floor: Box::new(|_| None),
        status: AcceptStatus::default(),
        stop: CancellationToken::new(),
    };
    let thread = crate::accept::driver::spawn(bench.acceptor, ports).unwrap();
    drop(inbound);
    assert_eq!(thread.thread().name(), Some("accept"));
    assert!(!thread.join().unwrap().is_waiting());
}
