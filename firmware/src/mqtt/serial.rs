//! Transports over a serial line: any UART that reads and writes bytes, under the packets and the
//! streams of [`protocol::serial`]. No I/O of its own, and no time but its clock's.

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use protocol::serial::stream::{CHUNK_LEN_MAX, PACKET_LEN_MAX, Packet, Received, Session, Stream};
use protocol::serial::{CHECKSUM_LEN, Decoder, encode, encoded_len_max};

use super::drive::{Clock, Connect, first_of};

/// How long an answer is waited for until the opening is said again.
const AGAIN_MS: u64 = 1_000;
/// Bytes taken off the UART at once.
const READ_LEN: usize = 64;
/// Bytes of a stream that came and were not read: of the packets that may end in one reading.
const CAME_LEN: usize = CHUNK_LEN_MAX + READ_LEN;

/// The line: a UART, and what is on its way in and out of it. There is one stream at a time.
#[derive(Debug)]
pub struct Line<U> {
    uart: U,
    decoder: Decoder<{ PACKET_LEN_MAX + CHECKSUM_LEN }>,
    came: heapless::Vec<u8, CAME_LEN>,
    outgoing: [u8; encoded_len_max(PACKET_LEN_MAX)],
    outgoing_at: usize,
    outgoing_end: usize,
    /// Somebody said so, since that was asked last.
    is_listened_to: bool,
}

/// What is left of a line's readings.
enum Heard {
    /// The other side accepted this one.
    Accepted(Session),
    /// The stream is over.
    Ended,
}

impl<U: Read + Write> Line<U> {
    /// A line on which nothing was said yet.
    pub const fn new(uart: U) -> Self {
        Self {
            uart,
            decoder: Decoder::new(),
            came: heapless::Vec::new(),
            outgoing: [0; encoded_len_max(PACKET_LEN_MAX)],
            outgoing_at: 0,
            outgoing_end: 0,
            is_listened_to: false,
        }
    }

    /// Whether somebody has asked for lines of log since this was asked last.
    pub const fn was_asked(&mut self) -> bool {
        core::mem::replace(&mut self.is_listened_to, false)
    }

    /// Says a line of log, the first [`PACKET_LEN_MAX`] - 1 bytes of it; whether the packet before it was
    /// out of the way. [`Line::push`] sends it out, and whatever else moves the line.
    pub fn log(&mut self, text: &str) -> bool {
        let len = text.floor_char_boundary(PACKET_LEN_MAX - 1);
        self.say(&Packet::Log(text.get(..len).unwrap_or_default()))
    }

    /// Lets what is to go out go, as far as the UART takes it.
    pub fn push(&mut self, cx: &mut Context<'_>) -> Result<(), ErrorKind> {
        self.poll_out(cx)
    }

    /// Hears what comes, where no stream does: of all of it only that somebody listens counts.
    pub fn pull(&mut self, cx: &mut Context<'_>) -> Result<(), ErrorKind> {
        while let Poll::Ready(heard) = self.poll_in(cx, None) {
            heard?;
        }
        Ok(())
    }

    /// Writes a packet behind nothing else; whether the one before it was out of the way.
    fn say(&mut self, packet: &Packet<'_>) -> bool {
        if self.outgoing_at < self.outgoing_end {
            return false;
        }
        let mut payload = [0; PACKET_LEN_MAX];
        let len = packet.write(&mut payload).unwrap_or_default();
        let payload = payload.get(..len).unwrap_or_default();
        self.outgoing_at = 0;
        self.outgoing_end = encode(payload, &mut self.outgoing).unwrap_or_default();
        true
    }

    /// Moves what is to go out to the UART, as far as that takes it.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Result<(), ErrorKind> {
        while let Some(rest) = self.outgoing.get(self.outgoing_at..self.outgoing_end)
            && !rest.is_empty()
        {
            match pin!(self.uart.write(rest)).poll(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(ErrorKind::Other),
                Poll::Ready(Ok(len)) => self.outgoing_at = self.outgoing_at.saturating_add(len),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Takes bytes off the UART until something is heard, or there are none. What a packet is without
    /// a stream, or for another one, goes unheard: its sender is told nothing by a device.
    fn poll_in(
        &mut self,
        cx: &mut Context<'_>,
        mut stream: Option<&mut Stream>,
    ) -> Poll<Result<Option<Heard>, ErrorKind>> {
        let mut bytes = [0; READ_LEN];
        let len = match pin!(self.uart.read(&mut bytes)).poll(cx) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(ErrorKind::Other)),
            Poll::Ready(Ok(len)) => len,
            Poll::Pending => return Poll::Pending,
        };
        let mut rest = bytes.get(..len).unwrap_or_default();
        let mut heard = None;
        while let Some(payload) = self.decoder.feed(&mut rest) {
            // A garbled packet is missing: the next one shows it.
            let Some(packet) = payload.ok().and_then(Packet::read) else { continue };
            match (&mut stream, packet) {
                (_, Packet::Listen) => self.is_listened_to = true,
                (None, Packet::Accept(session)) => heard = Some(Heard::Accepted(session)),
                (None, _) => {}
                (Some(stream), packet) => match stream.receive(&packet) {
                    Received::Bytes(bytes) if self.came.extend_from_slice(bytes).is_ok() => {}
                    Received::Bytes(_) | Received::Ended => heard = Some(Heard::Ended),
                    Received::Other => {}
                },
            }
        }
        Poll::Ready(Ok(heard))
    }
}

/// Opens streams over a line.
#[derive(Debug)]
pub struct Serial<'a, U, T> {
    line: &'a RefCell<Line<U>>,
    clock: T,
    session: Session,
}

impl<'a, U: Read + Write, T: Clock> Serial<'a, U, T> {
    /// Over this line, the first one under the number `first`, drawn at random.
    pub const fn new(line: &'a RefCell<Line<U>>, clock: T, first: u16) -> Self {
        Self { line, clock, session: Session(first) }
    }

    /// Asks once for this stream, and waits until the other side accepts it.
    async fn open(&self, session: Session) -> Result<(), ErrorKind> {
        let mut is_said = false;
        poll_fn(|cx| {
            let mut line = self.line.borrow_mut();
            loop {
                if let Err(error) = line.poll_out(cx) {
                    return Poll::Ready(Err(error));
                }
                if !is_said && line.say(&Packet::Open(session)) {
                    is_said = true;
                    continue;
                }
                match line.poll_in(cx, None) {
                    Poll::Ready(Ok(Some(Heard::Accepted(by)))) if by == session => {
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }
}

impl<'a, U: Read + Write, T: Clock> Connect for Serial<'a, U, T> {
    type Io = SerialStream<'a, U>;
    type Error = ErrorKind;

    async fn connect(&mut self) -> Result<SerialStream<'a, U>, ErrorKind> {
        let Session(before) = self.session;
        let session = Session(before.wrapping_add(1));
        self.session = session;
        self.line.borrow_mut().came.clear();
        loop {
            let until_ms = self.clock.now().uptime_ms.saturating_add(AGAIN_MS);
            let opening = pin!(self.open(session));
            if let Some(opened) = first_of(opening, self.clock.sleep_until(until_ms)).await {
                opened?;
                return Ok(SerialStream { line: self.line, stream: Stream::new(session) });
            }
        }
    }
}

/// A stream over a line.
#[derive(Debug)]
pub struct SerialStream<'a, U: Read + Write> {
    line: &'a RefCell<Line<U>>,
    stream: Stream,
}

impl<U: Read + Write> ErrorType for SerialStream<'_, U> {
    type Error = ErrorKind;
}

impl<U: Read + Write> Read for SerialStream<'_, U> {
    /// Nothing once the stream is over.
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|cx| {
            let mut line = self.line.borrow_mut();
            loop {
                if let Err(error) = line.poll_out(cx) {
                    return Poll::Ready(Err(error));
                }
                let len = line.came.len().min(into.len());
                if len > 0 {
                    for (slot, byte) in into.iter_mut().zip(&line.came) {
                        *slot = *byte;
                    }
                    line.came.drain(..len);
                    return Poll::Ready(Ok(len));
                }
                match line.poll_in(cx, Some(&mut self.stream)) {
                    Poll::Ready(Ok(Some(Heard::Ended))) => return Poll::Ready(Ok(0)),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }
}

impl<U: Read + Write> Write for SerialStream<'_, U> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        poll_fn(|cx| {
            let mut line = self.line.borrow_mut();
            if let Err(error) = line.poll_out(cx) {
                return Poll::Ready(Err(error));
            }
            if line.outgoing_at < line.outgoing_end {
                return Poll::Pending;
            }
            let Some((packet, len)) = self.stream.send(bytes) else { return Poll::Ready(Ok(0)) };
            line.say(&packet);
            Poll::Ready(line.poll_out(cx).map(|()| len))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        poll_fn(|cx| {
            let mut line = self.line.borrow_mut();
            match line.poll_out(cx) {
                Err(error) => Poll::Ready(Err(error)),
                Ok(()) if line.outgoing_at < line.outgoing_end => Poll::Pending,
                Ok(()) => Poll::Ready(Ok(())),
            }
        })
        .await
    }
}

impl<U: Read + Write> Drop for SerialStream<'_, U> {
    /// Says that it is over, if the line is free; otherwise the next opening does.
    fn drop(&mut self) {
        let session = self.stream.session();
        if let Ok(mut line) = self.line.try_borrow_mut() {
            line.say(&Packet::Close(session));
        }
    }
}

#[cfg(test)]
mod tests;
