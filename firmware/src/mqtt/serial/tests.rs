use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::vec::Vec;

use core::cell::Cell;
use core::task::Waker;

use super::*;
use crate::ports::Now;

/// A wire, and the host at its other end.
#[derive(Default)]
struct Wire {
    to_host: VecDeque<u8>,
    to_device: VecDeque<u8>,
    /// Bytes that the UART takes or gives at once.
    at_once: usize,
    decoder: Decoder<{ PACKET_LEN_MAX + CHECKSUM_LEN }>,
    stream: Option<Stream>,
    /// Does not answer openings.
    deaf: bool,
    opened: Vec<u16>,
    closed: Vec<u16>,
    lines: Vec<std::string::String>,
    came: Vec<u8>,
}

impl Wire {
    fn say(&mut self, packet: &Packet<'_>) {
        let mut payload = [0; PACKET_LEN_MAX];
        let len = packet.write(&mut payload).unwrap();
        let mut room = [0; encoded_len_max(PACKET_LEN_MAX)];
        let len = encode(&payload[..len], &mut room).unwrap();
        self.to_device.extend(&room[..len]);
    }

    /// What the host does with what came.
    fn host(&mut self) {
        let bytes: Vec<u8> = self.to_host.drain(..).collect();
        let mut rest = &bytes[..];
        let mut decoder = core::mem::take(&mut self.decoder);
        while let Some(payload) = decoder.feed(&mut rest) {
            let Some(packet) = payload.ok().and_then(Packet::read) else { continue };
            match packet {
                Packet::Open(session) => {
                    self.opened.push(session.0);
                    if !self.deaf {
                        self.stream = Some(Stream::new(session));
                        self.say(&Packet::Accept(session));
                    }
                }
                Packet::Close(session) => self.closed.push(session.0),
                Packet::Log(line) => self.lines.push(line.into()),
                packet => {
                    if let Some(stream) = &mut self.stream
                        && let Received::Bytes(bytes) = stream.receive(&packet)
                    {
                        self.came.extend_from_slice(bytes);
                    }
                }
            }
        }
        self.decoder = decoder;
    }

    fn host_sends(&mut self, bytes: &[u8]) {
        let mut stream = self.stream.unwrap();
        let mut rest = bytes;
        while let Some((packet, len)) = stream.send(rest) {
            self.say(&packet);
            rest = &rest[len..];
        }
        self.stream = Some(stream);
    }
}

#[derive(Clone)]
struct Uart(Rc<RefCell<Wire>>);

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            let mut wire = self.0.borrow_mut();
            wire.host();
            let len = into.len().min(wire.at_once).min(wire.to_device.len());
            for (slot, byte) in into.iter_mut().zip(wire.to_device.drain(..len)) {
                *slot = byte;
            }
            if len == 0 { Poll::Pending } else { Poll::Ready(Ok(len)) }
        })
        .await
    }
}

impl Write for Uart {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let mut wire = self.0.borrow_mut();
        let len = bytes.len().min(wire.at_once);
        wire.to_host.extend(&bytes[..len]);
        Ok(len)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Time passes with each look at it.
#[derive(Clone, Default)]
struct Steps(Rc<Cell<u64>>);

impl Clock for Steps {
    fn now(&self) -> Now {
        Now { uptime_ms: self.0.get(), wall: None }
    }

    async fn sleep_until(&self, uptime_ms: u64) {
        poll_fn(|_| {
            self.0.set(self.0.get() + 100);
            if self.0.get() >= uptime_ms { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

struct Bench {
    wire: Rc<RefCell<Wire>>,
    line: RefCell<Line<Uart>>,
    clock: Steps,
}

impl Bench {
    fn new(at_once: usize) -> Self {
        let wire = Rc::new(RefCell::new(Wire { at_once, ..Wire::default() }));
        Self { line: RefCell::new(Line::new(Uart(wire.clone()))), wire, clock: Steps::default() }
    }

    fn serial(&self) -> Serial<'_, Uart, Steps> {
        Serial::new(&self.line, self.clock.clone(), 6)
    }
}

/// Polls a future so often at most; what it ends with.
fn within<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    (0..polls).find_map(|_| match future.as_mut().poll(&mut cx) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// Writes all of it, and lets the line do so.
fn send(stream: &mut SerialStream<'_, Uart>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let len = within(10, stream.write(bytes)).unwrap().unwrap();
        assert!(len > 0);
        bytes = &bytes[len..];
    }
    within(10, stream.flush()).unwrap().unwrap();
}

/// Everything that there is to read.
fn read(stream: &mut SerialStream<'_, Uart>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut into = [0; 100];
    while let Some(len) = within(3, stream.read(&mut into)) {
        bytes.extend_from_slice(&into[..len.unwrap()]);
    }
    bytes
}

#[test]
fn bytes_go_both_ways_however_the_uart_cuts_them() {
    let sent: Vec<u8> = (0..3000_u32).map(|number| number.to_le_bytes()[0]).collect();
    for at_once in [1, 3, 64, 1000] {
        let bench = Bench::new(at_once);
        let mut serial = bench.serial();
        let mut stream = within(100, serial.connect()).unwrap().unwrap();
        send(&mut stream, &sent);
        bench.wire.borrow_mut().host();
        assert_eq!(bench.wire.borrow().came, sent, "{at_once} at once");
        bench.wire.borrow_mut().host_sends(&sent);
        assert_eq!(read(&mut stream), sent, "{at_once} at once");
    }
}

#[test]
fn who_does_not_answer_is_asked_again_each_second() {
    let bench = Bench::new(100);
    bench.wire.borrow_mut().deaf = true;
    let mut serial = bench.serial();
    assert!(within(35, serial.connect()).is_none(), "3.5 s");
    let asked = bench.wire.borrow().opened.clone();
    assert_eq!(asked, [7; 4], "at once, and each second");
    // Noise, and an answer to another one, are none.
    bench.wire.borrow_mut().to_device.extend([1, 0, 9, 9, 0]);
    bench.wire.borrow_mut().say(&Packet::Accept(Session(7)));
    assert!(within(5, serial.connect()).is_none(), "that was for the attempt before");
    bench.wire.borrow_mut().deaf = false;
    assert!(within(50, serial.connect()).unwrap().is_ok());
    assert_eq!(bench.wire.borrow().opened.last(), Some(&9));
}

#[test]
fn a_packet_that_is_lost_or_garbled_ends_the_stream_and_the_next_one_begins_anew() {
    for is_garbled in [false, true] {
        let bench = Bench::new(64);
        let mut serial = bench.serial();
        let mut stream = within(10, serial.connect()).unwrap().unwrap();
        bench.wire.borrow_mut().host_sends(b"one");
        assert_eq!(read(&mut stream), b"one");
        bench.wire.borrow_mut().host_sends(b"two");
        let mut wire = bench.wire.borrow_mut();
        if is_garbled {
            wire.to_device[3] ^= 0x10;
        } else {
            wire.to_device.clear();
        }
        wire.host_sends(b"three");
        drop(wire);
        assert_eq!(within(5, stream.read(&mut [0; 10])), Some(Ok(0)), "it is over");
        drop(stream);
        let mut stream = within(20, serial.connect()).unwrap().unwrap();
        assert_eq!(bench.wire.borrow().closed, [7], "the other side was told");
        bench.wire.borrow_mut().host_sends(b"four");
        assert_eq!(read(&mut stream), b"four");
    }
}

#[test]
fn a_stream_that_the_other_side_closes_is_over() {
    let bench = Bench::new(64);
    let mut serial = bench.serial();
    let mut stream = within(10, serial.connect()).unwrap().unwrap();
    bench.wire.borrow_mut().say(&Packet::Close(Session(6)));
    assert_eq!(within(3, stream.read(&mut [0; 10])), None, "another one's");
    bench.wire.borrow_mut().say(&Packet::Close(Session(7)));
    assert_eq!(within(3, stream.read(&mut [0; 10])), Some(Ok(0)));
}

/// Lets the line move where no stream does.
fn idle(bench: &Bench) {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..400 {
        bench.line.borrow_mut().push(&mut cx).unwrap();
        bench.line.borrow_mut().pull(&mut cx).unwrap();
    }
    bench.wire.borrow_mut().host();
}

#[test]
fn who_listens_is_heard_with_a_stream_and_without() {
    for has_stream in [false, true] {
        let bench = Bench::new(5);
        let mut serial = bench.serial();
        let mut stream = has_stream.then(|| within(100, serial.connect()).unwrap().unwrap());
        assert!(!bench.line.borrow_mut().was_asked());
        bench.wire.borrow_mut().say(&Packet::Listen);
        match &mut stream {
            Some(stream) => assert_eq!(read(stream), b""),
            None => idle(&bench),
        }
        assert!(bench.line.borrow_mut().was_asked());
        assert!(!bench.line.borrow_mut().was_asked(), "that was said");

        // The last character stands across the end of what a packet holds.
        let long = "x".repeat(PACKET_LEN_MAX - 2) + "ä";
        assert!(bench.line.borrow_mut().log(&long));
        assert!(!bench.line.borrow_mut().log("the one before is not out of the way"));
        match &mut stream {
            Some(stream) => {
                send(stream, b"bytes");
                assert_eq!(read(stream), b"");
            }
            None => idle(&bench),
        }
        assert!(bench.line.borrow_mut().log("two"));
        match &mut stream {
            Some(stream) => send(stream, b" of it"),
            None => idle(&bench),
        }
        bench.wire.borrow_mut().host();
        let wire = bench.wire.borrow();
        assert_eq!(wire.lines, [&long[..PACKET_LEN_MAX - 2], "two"]);
        assert_eq!(wire.came, if has_stream { &b"bytes of it"[..] } else { b"" });
    }
}
