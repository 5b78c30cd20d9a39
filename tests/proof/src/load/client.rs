//! One client: the firmware's session and MQTT client over a real socket, and a light ring.

use std::io;
use std::rc::Rc;

use firmware::mqtt::{Mqtt, Transport};
use firmware::ports::{Link as _, LinkEvent};
use firmware::session::{RingView, Session, SessionConfig, Step, fork_reason};
use milepost_proof::light::{Keys, LANE, Ring, Shape};
use protocol::Lane;
use protocol::downlink::DOWNLINK_LEN_MAX;
use protocol::topic::Channel;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{sleep_until, timeout_at};

use super::Way;
use super::tally::{Tally, add};

/// Room for the largest frame of a light device, and for what the agent says.
type Client5 = Mqtt<512, 512>;

/// Frames that a device keeps: more than it ever measures here.
const KEPT_MAX: u64 = 1 << 20;
/// Steps in a row.
const STEPS_MAX: u32 = 64;

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub session: SessionConfig,
    /// Connections are begun at full seconds only: all at once.
    pub herd: bool,
}

/// A client.
pub struct Client {
    keys: Keys,
    ring: Ring,
    session: Session,
    mqtt: Box<Client5>,
    tally: Rc<Tally>,
    manner: Manner,
    way: Way,
    chance: u64,
    is_up: bool,
    /// Of so many frames an agent holds everything.
    held: u64,
}

/// What a socket's two halves are.
type Socket = (OwnedReadHalf, OwnedWriteHalf);

impl Client {
    pub fn new(number: u32, keys: Keys, (way, manner): (Way, Manner), tally: &Rc<Tally>) -> Self {
        let chance = (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            ring: Ring::new(number, Shape::SMALL),
            session: Session::new(manner.session, chance),
            mqtt: Box::new(Client5::new(keys.device, &keys.secret)),
            keys,
            tally: Rc::clone(tally),
            manner,
            way,
            chance,
            is_up: false,
            held: 0,
        }
    }

    /// Runs until nobody says any more what to measure.
    pub async fn run(mut self) {
        let mut measured = self.tally.measured.clone();
        let mut socket: Option<Socket> = None;
        loop {
            let target = *measured.borrow_and_update();
            while self.ring.frames() < target {
                self.ring.take(KEPT_MAX, 1);
            }
            let wake_ms = self.poll();
            if self.leaves() {
                self.hang_up();
                socket = None;
                if measured.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let sleep = sleep_until(self.tally.instant(wake_ms));
            match (self.mqtt.transport(), &mut socket) {
                (Transport::Keep, Some(open)) => tokio::select! {
                    moved = exchange(&mut self.mqtt, open) => {
                        if moved.is_err() {
                            self.mqtt.closed();
                        }
                    }
                    () = sleep => {}
                    more = measured.changed() => if more.is_err() { return },
                },
                (Transport::Keep, None) => self.mqtt.closed(),
                (Transport::Close, _) => {
                    socket = None;
                    tokio::select! {
                        () = sleep => {}
                        more = measured.changed() => if more.is_err() { return },
                    }
                }
                (Transport::Open, _) => {
                    drop(socket.take());
                    socket = self.open().await;
                }
            }
        }
    }

    fn leaves(&self) -> bool {
        let has_all = self.ring.first() == self.ring.next();
        self.tally.leaves.get() && has_all && self.held > 0 && self.held == self.ring.frames()
    }

    fn hang_up(&mut self) {
        let now_ms = self.tally.now_ms();
        self.mqtt.disconnect(now_ms);
        self.session = Session::new(self.manner.session, self.chance);
        self.went_down();
    }

    fn went_down(&mut self) {
        if std::mem::take(&mut self.is_up) {
            self.tally.connected.set(self.tally.connected.get().saturating_sub(1));
        }
    }

    async fn open(&mut self) -> Option<Socket> {
        if self.manner.herd {
            let second_ms = self.tally.now_ms().next_multiple_of(1000);
            sleep_until(self.tally.instant(second_ms)).await;
        }
        add(&self.tally.attempts, 1);
        let patience = u64::from(self.manner.session.connect_timeout_ms);
        let late = self.tally.instant(self.tally.now_ms() + patience);
        if let Ok(Ok(stream)) = timeout_at(late, self.way.open()).await {
            self.mqtt.opened(self.tally.now_ms());
            Some(stream.into_split())
        } else {
            add(&self.tally.failed, 1);
            self.mqtt.closed();
            None
        }
    }

    /// Takes what came and does what the session asks for; when to be asked again.
    fn poll(&mut self) -> u64 {
        let now_ms = self.tally.now_ms();
        let mut bytes = [0; DOWNLINK_LEN_MAX];
        while let Some(event) = self.mqtt.event(now_ms, &mut bytes) {
            match event {
                LinkEvent::Up => {
                    self.is_up = true;
                    add(&self.tally.connected, 1);
                    self.session.up(now_ms);
                }
                LinkEvent::Down { busy } => {
                    add(if busy { &self.tally.busy } else { &self.tally.down }, 1);
                    self.went_down();
                    self.session.down(now_ms, busy);
                }
                LinkEvent::Message { channel: Channel::Ack, len } => {
                    self.acknowledged(now_ms, bytes.get(..len).unwrap_or_default());
                }
                LinkEvent::Message { .. } | LinkEvent::Published => {}
            }
        }
        let due = self.step(now_ms);
        self.mqtt.deadline().map_or(due, |other| other.min(due))
    }

    fn step(&mut self, now_ms: u64) -> u64 {
        for _ in 0..STEPS_MAX {
            let views = self.views();
            let done = match self.session.step(now_ms, &views) {
                Step::Wait(until_ms) => return until_ms,
                Step::Connect => {
                    self.mqtt.connect(now_ms);
                    true
                }
                Step::Disconnect => {
                    self.mqtt.disconnect(now_ms);
                    add(&self.tally.down, 1);
                    self.went_down();
                    self.session.down(now_ms, false);
                    true
                }
                Step::Hello => self.hello(now_ms),
                Step::Send(lane, seq) => {
                    let frame = self.ring.frame(&self.keys, seq).filter(|_| self.mqtt.is_ready());
                    let sent = frame.is_some_and(|frame| {
                        self.mqtt.publish(Channel::Frames(lane), &frame).is_ok()
                    });
                    if sent {
                        add(&self.tally.frames, 1);
                        self.session.sent(now_ms, lane, seq);
                    }
                    sent
                }
            };
            if !done {
                return self.session.patience_ms(now_ms);
            }
        }
        now_ms
    }

    fn views(&self) -> [RingView; 3] {
        let first = protocol::Seq::FIRST;
        let mut views = [RingView { said_first: first, first, next: first, unsent: first }; 3];
        if let Some(view) = views.get_mut(LANE.index()) {
            let first = self.ring.first();
            let next = self.ring.next();
            *view = RingView { said_first: first, first, next, unsent: next };
        }
        views
    }

    fn hello(&mut self, now_ms: u64) -> bool {
        self.chance = self.chance.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(now_ms | 1);
        let acknowledged = self.session.acknowledged_since_boot(LANE);
        let Some(hello) = self.keys.hello(&self.ring, acknowledged, self.chance) else {
            return false;
        };
        if self.mqtt.publish(Channel::Hello, &hello).is_err() {
            return false;
        }
        add(&self.tally.hellos, 1);
        self.session.said_hello(now_ms, &self.views());
        true
    }

    fn acknowledged(&mut self, now_ms: u64, bytes: &[u8]) {
        let Some(ack) = self.keys.ack(self.ring.device(), bytes) else { return };
        let views = self.views();
        let Some(view) = views.get(ack.lane.index()) else { return };
        if fork_reason(&ack, view, None).is_some() {
            return;
        }
        self.session.acknowledged(now_ms, &ack, view);
        if ack.lane == Lane::Bulk {
            self.ring.release(ack.durable);
            let frames = self.ring.frames();
            if self.ring.first() == self.ring.next() && self.held < frames {
                self.held = frames;
                self.tally.holds();
            }
        }
    }
}

/// Moves bytes either way, until some moved.
async fn exchange(mqtt: &mut Client5, (read, write): &mut Socket) -> io::Result<()> {
    let has_more = !mqtt.outgoing().is_empty();
    let mut input = [0; 512];
    let room = mqtt.room().len().min(input.len());
    let into = input.get_mut(..room).unwrap_or_default();
    tokio::select! {
        wrote = write.write(mqtt.outgoing()), if has_more => {
            mqtt.written(wrote?);
        }
        got = read.read(into) => {
            let len = got?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for (slot, byte) in mqtt.room().iter_mut().zip(&input) {
                *slot = *byte;
            }
            mqtt.received(len);
        }
    }
    Ok(())
}
