//! One connection's bytes, with TLS or without, and what still waits to be written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// Read at once; a frame fits.
const READ_LEN: usize = 8 * 1024;

/// An empty buffer is kept up to this size: some PUBACKs.
const IDLE_LEN_MAX: usize = 64;

/// How long a connection of ours lingers after its last packet, for the device to read it.
const FAREWELL_MAX: Duration = Duration::from_millis(500);

/// What carries the bytes.
pub(super) enum Wire {
    Plain(TcpStream),
    /// Of another intake, which carries them on.
    Carried(DuplexStream),
    /// Boxed: most of it is TLS's own state, and most connections may be plain.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A wire and what is to be written to it.
pub(super) struct Line {
    wire: Wire,
    /// To be written; whoever appends keeps it short.
    pub out: Vec<u8>,
    /// TLS took bytes that the socket did not take yet.
    unflushed: bool,
}

/// What [`Line::exchange`] did.
pub(super) enum Moved<T> {
    /// Something was written.
    Written,
    /// Something was read, and this is what became of it; none at the end of the stream.
    Read(Option<T>),
}

impl Line {
    pub(super) const fn new(wire: Wire) -> Self {
        Self { wire, out: Vec::new(), unflushed: false }
    }

    /// Whether bytes wait for the socket to take them.
    pub(super) fn is_stalled(&self) -> bool {
        !self.out.is_empty() || self.unflushed
    }

    /// Writes what the socket takes now.
    ///
    /// Cancel safe: it never waits.
    pub(super) async fn flush_now(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| match self.poll_write_out(context) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Waits until something could be written that waits, or, if `may_read`, until something came:
    /// it is handed over together with the buffer of what is to be written, before anyone can lose
    /// it.
    ///
    /// Cancel safe: what was read was handed over.
    pub(super) async fn exchange<T>(
        &mut self,
        may_read: bool,
        mut take: impl FnMut(&[u8], &mut Vec<u8>) -> T,
    ) -> io::Result<Moved<T>> {
        std::future::poll_fn(|context| {
            if self.is_stalled() {
                let waiting = self.out.len();
                let written = self.poll_write_out(context)?;
                if written.is_ready() || self.out.len() < waiting {
                    return Poll::Ready(Ok(Moved::Written));
                }
            }
            if !may_read {
                return Poll::Pending;
            }
            self.poll_take(context, &mut take).map_ok(Moved::Read)
        })
        .await
    }

    /// Reads once and hands over what came; none at the end of the stream.
    ///
    /// Cancel safe: what was read was handed over.
    pub(super) async fn read<T>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> T,
    ) -> io::Result<Option<T>> {
        std::future::poll_fn(|context| self.poll_take(context, |input, _| take(input))).await
    }

    /// Gives up what is to be written: nobody would read it.
    pub(super) fn abandon(&mut self) {
        self.out.clear();
        self.unflushed = false;
    }

    /// Writes the last bytes and waits a moment for the device to close: closing first, with bytes
    /// unread, would make its system throw ours away.
    pub(super) async fn farewell(&mut self) {
        if !self.is_stalled() {
            return;
        }
        let out = std::mem::take(&mut self.out);
        let last_words = async {
            self.wire.write_all(&out).await?;
            self.wire.shutdown().await?;
            while self.read(|_| ()).await?.is_some() {}
            io::Result::Ok(())
        };
        // Whether it was heard makes no difference any more.
        drop(timeout(FAREWELL_MAX, last_words).await);
    }

    /// Writes all that waits, through TLS into the socket; pending while the socket takes no more.
    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.wire).poll_write(context, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            if written >= self.out.len() {
                self.out.clear();
            } else {
                self.out.drain(..written);
            }
        }
        if self.out.capacity() > IDLE_LEN_MAX {
            self.out = Vec::new();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.wire).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take<T>(
        &mut self,
        context: &mut Context<'_>,
        mut take: impl FnMut(&[u8], &mut Vec<u8>) -> T,
    ) -> Poll<io::Result<Option<T>>> {
        // On the stack, so that an idle connection owns no buffer.
        let mut bytes = [0; READ_LEN];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.wire).poll_read(context, &mut buffer))?;
        let filled = buffer.filled();
        if filled.is_empty() {
            return Poll::Ready(Ok(None));
        }
        Poll::Ready(Ok(Some(take(filled, &mut self.out))))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Carried(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Carried(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Carried(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Carried(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
