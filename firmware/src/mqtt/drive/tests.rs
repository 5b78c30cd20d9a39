//! A device, driver and all, against an agent behind a server that talks MQTT.

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::task::Waker;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec::Vec;

use embedded_io_async::ErrorType;
use protocol::Lane;
use protocol::topic::Topic;

use super::*;
use crate::app::tests::agent::Agent;
use crate::app::tests::world::{Counting, Device, Random, blank_flash, config, device};
use crate::mqtt::packet;

/// The other end of a connection: a server with an agent behind it.
struct Server {
    agent: Agent,
    random: Random,
    incoming: Vec<u8>,
    outgoing: VecDeque<u8>,
    open: bool,
    connects: usize,
    /// Connections that are refused or cut, in percent of chances.
    trouble: u64,
}

impl Server {
    fn receive(&mut self, bytes: &[u8]) {
        self.incoming.extend(bytes);
        while let Ok(Some(len)) = packet::len(&self.incoming) {
            if len > self.incoming.len() {
                break;
            }
            let packet: Vec<u8> = self.incoming.drain(..len).collect();
            self.answer(&packet);
        }
    }

    fn answer(&mut self, packet: &[u8]) {
        let header_len = packet.len() - body_len(packet);
        let body = &packet[header_len..];
        match packet[0] {
            0x10 => {
                assert_eq!(&body[..8], b"\x00\x04MQTT\x05\xc2");
                let refused = self.random.percent(self.trouble);
                self.outgoing.extend([0x20, 3, 0, if refused { 0x89 } else { 0 }, 0]);
            }
            0x82 => self.outgoing.extend([0x90, 5, body[0], body[1], 0, 0, 0]),
            0x32 => {
                let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let (topic, rest) = body[2..].split_at(topic_len);
                let topic = Topic::parse(core::str::from_utf8(topic).unwrap()).unwrap();
                self.outgoing.extend([0x40, 2, rest[0], rest[1]]);
                assert_eq!(rest[2], 0, "no properties");
                for (channel, message) in self.agent.take(topic.channel, rest[3..].to_vec()) {
                    let name = Topic { channel, ..topic }.name();
                    let len = 3 + name.len() + message.len();
                    let mut number = [0; protocol::varint::LEN_MAX];
                    let number_len =
                        protocol::varint::write(u64::try_from(len).unwrap(), &mut number).unwrap();
                    self.outgoing.extend([0x30].iter().chain(&number[..number_len]));
                    self.outgoing.extend([0, name.len().to_le_bytes()[0]]);
                    self.outgoing.extend(name.bytes().chain([0]).chain(message));
                }
            }
            0xc0 => self.outgoing.extend([0xd0, 0]),
            other => panic!("unexpected packet {other:x}"),
        }
    }
}

fn body_len(packet: &[u8]) -> usize {
    usize::try_from(protocol::varint::read(&packet[1..]).unwrap().0).unwrap()
}

/// A stream that takes and gives a few bytes at a time.
struct Stream(Rc<RefCell<Server>>);

impl ErrorType for Stream {
    type Error = Infallible;
}

impl Read for Stream {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            let mut server = self.0.borrow_mut();
            let trouble = server.trouble;
            if server.random.below(50) == 0 && server.random.percent(trouble) {
                server.open = false;
            }
            if !server.open {
                return Poll::Ready(Ok(0));
            }
            let most = usize::try_from(1 + server.random.below(40)).unwrap().min(into.len());
            let len = most.min(server.outgoing.len());
            for (slot, byte) in into.iter_mut().zip(server.outgoing.drain(..len)) {
                *slot = byte;
            }
            if len == 0 { Poll::Pending } else { Poll::Ready(Ok(len)) }
        })
        .await
    }
}

impl Write for Stream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            let mut server = self.0.borrow_mut();
            let len = usize::try_from(server.random.below(200)).unwrap().min(bytes.len());
            server.receive(&bytes[..len]);
            if len == 0 { Poll::Pending } else { Poll::Ready(Ok(len)) }
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Dial(Rc<RefCell<Server>>);

impl Connect for Dial {
    type Io = Stream;
    type Error = ();

    async fn connect(&mut self) -> Result<Stream, ()> {
        let mut server = self.0.borrow_mut();
        server.connects += 1;
        let trouble = server.trouble;
        if server.random.percent(trouble) {
            return Err(());
        }
        (server.open, server.incoming, server.outgoing) = (true, Vec::new(), VecDeque::new());
        Ok(Stream(self.0.clone()))
    }
}

/// A millisecond passes with each turn of the executor.
struct Turns(Rc<Cell<u64>>);

impl Clock for Turns {
    fn now(&self) -> Now {
        Now { uptime_ms: self.0.get(), wall: None }
    }

    async fn sleep_until(&self, uptime_ms: u64) {
        poll_fn(|_| if self.0.get() >= uptime_ms { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Runs a future to its end, time passing all the while; the device's flash work is in between.
fn turn(future: impl Future<Output = ()>, time: &Cell<u64>) {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..5_000_000 {
        if future.as_mut().poll(&mut cx).is_ready() {
            return;
        }
        time.set(time.get() + 1);
    }
    panic!("never ends");
}

#[test]
fn a_device_delivers_everything_over_a_stream_that_breaks() {
    let (id, secret) = device();
    let time = Rc::new(Cell::new(0));
    let server = Rc::new(RefCell::new(Server {
        agent: Agent::new(id, secret.clone()),
        random: Random(4),
        incoming: Vec::new(),
        outgoing: VecDeque::new(),
        open: false,
        connects: 0,
        trouble: 20,
    }));
    let (mut flash, mut entropy) = (blank_flash(1), Random(2));
    let mut app: Device = App::start(config(), &Now::default(), &mut flash, &mut entropy).unwrap();
    let mut mqtt = Mqtt::<640, 384>::new(id, &secret);
    let source = Counting { next_raw: 1, ready: 3_000, clock: protocol::Clock::Uptime, signals: 3 };
    let (connect, clock) = (Dial(server.clone()), Turns(time.clone()));
    let mut board = Board { flash, source, entropy, connect, clock };
    let mut polls = 0;
    let until = |_, app: &mut Device, _: &mut _| {
        polls += 1;
        polls == 100 && app.boot() == 1
    };
    turn(run(&mut app, &mut mqtt, &mut board, until), &time);
    assert!(!app.idle());
    // The run before was given up, and its connection with it.
    let until = |now, app: &mut Device, flash: &mut _| {
        if app.counters().accepted[Lane::Bulk.index()].samples == 2_000 {
            app.flush(now, flash);
        }
        app.idle()
    };
    turn(run(&mut app, &mut mqtt, &mut board, until), &time);

    let server = server.borrow();
    for lane in [Lane::Critical, Lane::Bulk] {
        let held = server.agent.held(lane);
        assert_eq!(held.through, app.counters().accepted[lane.index()], "{lane:?}");
        assert_eq!(u64::try_from(held.samples.len()).unwrap(), held.through.samples);
    }
    assert!(server.connects > 2, "it broke at times");
    assert!(app.counters().link_up > 1);
}
