//! The host's end of a serial line: gives each stream of a device a TCP connection to an agent; and
//! noise, if that is wanted.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;
use protocol::serial::stream::{PACKET_LEN_MAX, Packet, Received, Session, Stream};
use protocol::serial::{CHECKSUM_LEN, Decoder, encode, encoded_len_max};

/// The host's end, in threads of its own, until the device's end is closed.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    agent: SocketAddr,
    opened: AtomicU64,
    /// The next byte from the device is to be turned over.
    garble: AtomicBool,
}

/// Where packets to the device are written, and the stream that they are of.
#[derive(Debug)]
struct Out {
    wire: TcpStream,
    stream: Option<Stream>,
}

impl Line {
    /// A line whose device's end is a TCP port on the loopback.
    pub fn start(agent: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (opened, garble) = (AtomicU64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { agent, opened, garble });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for wire in listener.incoming().map_while(Result::ok) {
                // A board that lost its power: the line is another one's.
                drop(serve(wire, &served));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where the device's end is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Streams that were opened so far.
    pub fn opened(&self) -> u64 {
        self.shared.opened.load(Ordering::Relaxed)
    }

    /// Garbles the next byte that the device says.
    pub fn garble(&self) {
        self.shared.garble.store(true, Ordering::Relaxed);
    }
}

fn serve(mut wire: TcpStream, shared: &Shared) -> Result<()> {
    wire.set_nodelay(true)?;
    let out = Arc::new(Mutex::new(Out { wire: wire.try_clone()?, stream: None }));
    let mut agent: Option<TcpStream> = None;
    let mut decoder = Decoder::<{ PACKET_LEN_MAX + CHECKSUM_LEN }>::new();
    let mut bytes = [0; 4096];
    loop {
        let len = wire.read(&mut bytes)?;
        let Some(heard) = bytes.get_mut(..len).filter(|heard| !heard.is_empty()) else {
            return Ok(());
        };
        if shared.garble.swap(false, Ordering::Relaxed)
            && let Some(byte) = heard.last_mut()
        {
            *byte ^= 0x20;
        }
        let mut rest = &*heard;
        while let Some(payload) = decoder.feed(&mut rest) {
            let Some(packet) = payload.ok().and_then(Packet::read) else { continue };
            if let Packet::Open(session) = packet {
                let connection = TcpStream::connect(shared.agent);
                lock(&out).stream = connection.is_ok().then_some(Stream::new(session));
                hang_up(agent.take());
                let Ok(connection) = connection else { continue };
                shared.opened.fetch_add(1, Ordering::Relaxed);
                say(&mut lock(&out).wire, &Packet::Accept(session))?;
                let (from, out) = (connection.try_clone()?, Arc::clone(&out));
                thread::spawn(move || downlink(from, session, &out));
                agent = Some(connection);
                continue;
            }
            let received = lock(&out).stream.as_mut().map(|stream| stream.receive(&packet));
            let is_over = match (received, &mut agent) {
                (Some(Received::Bytes(bytes)), Some(agent)) => agent.write_all(bytes).is_err(),
                (Some(Received::Ended), _) => true,
                _ => false,
            };
            if is_over {
                end(&out)?;
                hang_up(agent.take());
            }
        }
    }
}

/// Passes on what the agent says, until it or the stream is over.
fn downlink(mut from: TcpStream, session: Session, out: &Mutex<Out>) -> Result<()> {
    let mut bytes = [0; 1024];
    loop {
        let len = from.read(&mut bytes).unwrap_or(0);
        let mut out = lock(out);
        let Out { wire, stream } = &mut *out;
        let Some(stream) = stream.as_mut().filter(|stream| stream.session() == session) else {
            return Ok(());
        };
        let mut rest = bytes.get(..len).unwrap_or_default();
        if rest.is_empty() {
            out.stream = None;
            return say(&mut out.wire, &Packet::Close(session));
        }
        while let Some((packet, len)) = stream.send(rest) {
            say(wire, &packet)?;
            rest = rest.get(len..).unwrap_or_default();
        }
    }
}

/// The stream is over: says so.
fn end(out: &Mutex<Out>) -> Result<()> {
    let mut out = lock(out);
    match out.stream.take() {
        Some(stream) => say(&mut out.wire, &Packet::Close(stream.session())),
        None => Ok(()),
    }
}

fn hang_up(agent: Option<TcpStream>) {
    if let Some(agent) = agent {
        // It may be gone already.
        agent.shutdown(Shutdown::Both).ok();
    }
}

fn say(wire: &mut TcpStream, packet: &Packet<'_>) -> Result<()> {
    let (mut payload, mut bytes) = ([0; PACKET_LEN_MAX], [0; encoded_len_max(PACKET_LEN_MAX)]);
    let len = packet.write(&mut payload).unwrap_or_default();
    let len = encode(payload.get(..len).unwrap_or_default(), &mut bytes).unwrap_or_default();
    Ok(wire.write_all(bytes.get(..len).unwrap_or_default())?)
}

fn lock(out: &Mutex<Out>) -> std::sync::MutexGuard<'_, Out> {
    out.lock().unwrap_or_else(PoisonError::into_inner)
}
