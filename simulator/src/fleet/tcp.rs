//! The link: the system's TCP as the driver's transport.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use firmware::mqtt::drive::Connect;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpStream, lookup_host};

use super::Control;

/// The first address that a `host:port` stands for.
pub async fn resolve(address: &str) -> io::Result<SocketAddr> {
    let found = lookup_host(address).await?.next();
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address"))
}

/// Opens connections to one address.
#[derive(Debug)]
pub struct TcpConnect {
    address: SocketAddr,
    control: Rc<Control>,
}

impl TcpConnect {
    /// To this address.
    pub fn new(address: SocketAddr, control: Rc<Control>) -> Self {
        Self { address, control }
    }

    fn note(&self, error: &io::Error) -> ErrorKind {
        self.control.link_error.replace(Some(format!("{}: {error}", self.address)));
        ErrorKind::Other
    }
}

impl Connect for TcpConnect {
    type Io = Tcp;
    type Error = ErrorKind;

    async fn connect(&mut self) -> Result<Tcp, ErrorKind> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| self.note(&error))?;
        stream.set_nodelay(true).map_err(|error| self.note(&error))?;
        self.control.link_error.replace(None);
        self.control.connected.set(self.control.connected.get() + 1);
        Ok(Tcp { stream, control: self.control.clone() })
    }
}

/// One connection. Reads and writes are cancel safe: they keep nothing.
#[derive(Debug)]
pub struct Tcp {
    stream: TcpStream,
    control: Rc<Control>,
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.control.connected.set(self.control.connected.get().saturating_sub(1));
    }
}

impl ErrorType for Tcp {
    type Error = ErrorKind;
}

impl Read for Tcp {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|cx| {
            let mut into = ReadBuf::new(into);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut into);
            read.map_ok(|()| into.filled().len())
        })
        .await
        .map_err(|_| ErrorKind::Other)
    }
}

impl Write for Tcp {
    async fn write(&mut self, from: &[u8]) -> Result<usize, ErrorKind> {
        let written = poll_fn(|cx| Pin::new(&mut self.stream).poll_write(cx, from)).await;
        let len = written.map_err(|_| ErrorKind::Other)?;
        let sent = self.control.sent_bytes.get();
        self.control.sent_bytes.set(sent + u64::try_from(len).unwrap_or_default());
        Ok(len)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
