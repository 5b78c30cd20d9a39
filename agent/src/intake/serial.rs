//! Devices without a network, one at the other end of each serial line.
//!
//! A line has packets ([`protocol::serial`]), and over these a stream of bytes at a time
//! ([`protocol::serial::stream`]). Each stream is a connection to the listener like one over TCP, under the
//! same rules: nothing here knows MQTT. A line that garbles a packet costs that stream, and the device
//! opens another; a port that is unplugged is opened again once it is there.
//!
//! `bridge` is what packets come to, `port` what a line is, and this file moves the bytes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::listen::Visit;

mod bridge;
#[cfg(feature = "model")]
pub(crate) mod fuzzing;
mod gauges;
mod port;
#[cfg(test)]
mod tests;

pub use gauges::{SerialGauges, SerialHealth};
pub use port::Place;

use bridge::{Bridge, Heard};
#[cfg(test)]
use port::NoPlace;
use port::Wire;

/// What may wait between a line and the listener, either way, in bytes: two frames.
const PIPE_LEN: usize = 16 * 1024;
/// With this much unsent nothing more is taken from the listener, and nothing from the device, which may
/// have to be answered.
const UNSENT_LEN_MAX: usize = 2 * 1024;
/// Read from a port at once.
const READ_LEN: usize = 4 * 1024;
/// How long until a port that cannot be opened, or that failed, is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a stop waits for the listener's last words to its device.
const FAREWELL_MAX: Duration = Duration::from_millis(700);

/// `[[serial]]`: one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SerialConfig {
    /// Its name in health, metrics and log; unique.
    pub name: String,
    /// Where it is.
    pub port: Place,
    /// Bits a second, 8N1; without meaning for a line behind TCP.
    pub baud: u32,
}

impl SerialConfig {
    /// All that has a default, for this line.
    pub const fn new(name: String, port: Place) -> Self {
        Self { name, port, baud: 115_200 }
    }
}

/// Serves one line until `stop`.
///
/// Not cancel safe: stop it by `stop`.
pub async fn serve(
    config: SerialConfig,
    visits: mpsc::Sender<Visit>,
    gauges: Arc<SerialGauges>,
    stop: CancellationToken,
) {
    let SerialConfig { name, port, baud } = config;
    let name: Arc<str> = name.into();
    while !stop.is_cancelled() {
        let opened = tokio::select! {
            () = stop.cancelled() => break,
            opened = port.open(baud) => opened,
        };
        let failed = match opened {
            Ok(wire) => {
                gauges.set_health(SerialHealth::Open);
                info!(serial = &*name, %port, "serial port open");
                let desk = Desk::new(&name, &visits, &gauges);
                converse(wire, desk, &stop).await.err()
            }
            Err(error) => Some(error),
        };
        let Some(error) = failed else { continue };
        gauges.failed.fetch_add(1, Relaxed);
        let error = port.explained(&error);
        if gauges.set_health(SerialHealth::Waiting(error.clone())) {
            warn!(serial = &*name, error, "serial port not open; trying again every second");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(RETRY) => {}
        }
    }
    gauges.set_health(SerialHealth::Stopped);
}

/// A line's state while its port is open.
struct Desk<'a> {
    name: &'a Arc<str>,
    visits: &'a mpsc::Sender<Visit>,
    gauges: &'a SerialGauges,
    bridge: Bridge,
    /// The stream's end with the listener.
    stream: Option<(ReadHalf<DuplexStream>, WriteHalf<DuplexStream>)>,
    /// For the listener, and not yet taken.
    unread: Vec<u8>,
    /// For the device, and not yet taken.
    unsent: Vec<u8>,
}

impl<'a> Desk<'a> {
    fn new(name: &'a Arc<str>, visits: &'a mpsc::Sender<Visit>, gauges: &'a SerialGauges) -> Self {
        let (unread, unsent) = (Vec::new(), Vec::new());
        Self { name, visits, gauges, bridge: Bridge::new(), stream: None, unread, unsent }
    }

    /// Takes what the device said.
    fn take(&mut self, mut input: &[u8]) {
        let gauges = self.gauges;
        gauges.bytes_in.fetch_add(u64::try_from(input.len()).unwrap_or(0), Relaxed);
        while let Some(heard) = self.bridge.hear(&mut input) {
            match heard {
                Heard::Bytes(bytes) => self.unread.extend_from_slice(bytes),
                Heard::Log(line) => debug!(serial = &**self.name, line, "the device says"),
                Heard::Opens => self.open(),
                Heard::OpensAgain => self.bridge.accept(&mut self.unsent),
                Heard::Over => self.hang_up(),
                Heard::Stray(session) => Bridge::deny(session, &mut self.unsent),
                Heard::Garbled => {
                    gauges.garbled.fetch_add(1, Relaxed);
                }
                Heard::Nothing => {}
            }
        }
    }

    /// The device wants a stream; what there was of another one is nobody's any more.
    fn open(&mut self) {
        self.drop_stream();
        let (ours, theirs) = tokio::io::duplex(PIPE_LEN);
        let visit = Visit { stream: theirs, port: Arc::clone(self.name) };
        if self.visits.try_send(visit).is_err() {
            // It stops, or is behind: the device tries again.
            self.bridge.close(&mut self.unsent);
            return;
        }
        self.gauges.streams.fetch_add(1, Relaxed);
        self.stream = Some(split(ours));
        self.bridge.accept(&mut self.unsent);
    }

    /// The stream is over: both sides are told.
    fn hang_up(&mut self) {
        self.drop_stream();
        self.bridge.close(&mut self.unsent);
    }

    fn drop_stream(&mut self) {
        self.stream = None;
        self.unread.clear();
    }
}

/// Moves bytes between a line and the listener, until the line fails; or all that is to be said was, once
/// `stop` is.
async fn converse(wire: Wire, desk: Desk<'_>, stop: &CancellationToken) -> io::Result<()> {
    let mut desk = desk;
    let (mut from_port, mut to_port) = split(wire);
    let (mut heard, mut said) = ([0; READ_LEN], [0; READ_LEN / 4]);
    let mut over_at: Option<Instant> = None;
    loop {
        if over_at.is_some_and(|at| at <= Instant::now())
            || over_at.is_some() && desk.stream.is_none() && desk.unsent.is_empty()
        {
            return Ok(());
        }
        let Desk { stream, unread, unsent, .. } = &mut desk;
        let (has_stream, may_say_more) = (stream.is_some(), unsent.len() < UNSENT_LEN_MAX);
        let (reader, writer) = stream.as_mut().map_or((None, None), |(r, w)| (Some(r), Some(w)));
        tokio::select! {
            () = stop.cancelled(), if over_at.is_none() => {
                over_at = Some(Instant::now() + FAREWELL_MAX);
            }
            () = until(over_at), if over_at.is_some() => {}
            read = from_port.read(&mut heard), if unread.is_empty() && may_say_more => {
                let len = read?;
                let Some(heard) = heard.get(..len).filter(|heard| !heard.is_empty()) else {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                };
                desk.take(heard);
            }
            written = to_port.write(unsent), if !unsent.is_empty() => {
                let written = written?;
                unsent.drain(..written);
            }
            read = read(reader, &mut said), if has_stream && may_say_more => {
                match read {
                    Ok(len) if len > 0 => {
                        desk.bridge.say(said.get(..len).unwrap_or_default(), &mut desk.unsent);
                    }
                    // The listener ended it.
                    _ => desk.hang_up(),
                }
            }
            written = write(writer, unread), if has_stream && !unread.is_empty() => {
                match written {
                    Ok(len) if len > 0 => drop(unread.drain(..len)),
                    _ => desk.hang_up(),
                }
            }
        }
    }
}

/// Cancel safe.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Cancel safe.
async fn read(from: Option<&mut ReadHalf<DuplexStream>>, into: &mut [u8]) -> io::Result<usize> {
    match from {
        Some(from) => from.read(into).await,
        None => std::future::pending().await,
    }
}

/// Cancel safe.
async fn write(to: Option<&mut WriteHalf<DuplexStream>>, bytes: &[u8]) -> io::Result<usize> {
    match to {
        Some(to) => to.write(bytes).await,
        None => std::future::pending().await,
    }
}
