//! The link: the system's TCP as the driver's transport, with TLS or without.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use firmware::mqtt::drive::Connect;
use protocol::DeviceId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::Control;
use super::refusal::{self, Greeting};
use super::tls::{Tls, TlsFiles};

/// Where all devices connect to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Endpoint {
    /// What `HOST:PORT`, `mqtt://HOST:PORT` or `mqtts://HOST:PORT` stands for: its first address.
    pub async fn resolve(connect: &str, tls: Option<&TlsFiles>) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let (is_tls, host_port) = match connect.split_once("://") {
            None | Some(("mqtt", _)) => (false, connect.trim_start_matches("mqtt://")),
            Some(("mqtts", rest)) => (true, rest),
            Some(_) => return Err(wrong("it begins with neither mqtt:// nor mqtts://")),
        };
        let tls = match (is_tls, tls) {
            (false, None) => None,
            (false, Some(_)) => return Err(wrong("certificates are for mqtts://")),
            (true, None) => return Err(wrong("mqtts:// needs --ca FILE")),
            (true, Some(files)) => {
                let (host, _) = host_port.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
                Some(Tls::new(host.trim_matches(['[', ']']), files)?)
            }
        };
        let found = lookup_host(host_port).await?.next();
        let address = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address"))?;
        Ok(Self { address, tls })
    }
}

/// Opens a device's connections.
#[derive(Debug)]
pub struct TcpConnect {
    endpoint: Endpoint,
    device: DeviceId,
    control: Rc<Control>,
}

impl TcpConnect {
    /// Of this device, to this endpoint.
    pub fn new(endpoint: Endpoint, device: DeviceId, control: Rc<Control>) -> Self {
        Self { endpoint, device, control }
    }

    async fn open(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect(self.endpoint.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.endpoint.tls else { return Ok(Stream::Plain(stream)) };
        let connector = TlsConnector::from(tls.config(&self.device)?);
        let stream = connector.connect(tls.server_name(), stream).await;
        let stream = stream.inspect_err(|error| {
            self.control.refuse(Some(refusal::of_handshake(error)));
        })?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl Connect for TcpConnect {
    type Io = Tcp;
    type Error = ErrorKind;

    async fn connect(&mut self) -> Result<Tcp, ErrorKind> {
        let address = self.endpoint.address;
        let stream = self.open().await.map_err(|error| note(&self.control, address, &error))?;
        self.control.link_error.replace(None);
        self.control.connected.set(self.control.connected.get() + 1);
        let (greeting, control) = (Greeting::default(), self.control.clone());
        Ok(Tcp { stream, unflushed: false, greeting, address, control })
    }
}

fn note(control: &Control, address: SocketAddr, error: &io::Error) -> ErrorKind {
    control.link_error.replace(Some(format!("{address}: {error}")));
    ErrorKind::Other
}

/// One connection. Reads and writes are cancel safe: they keep nothing.
#[derive(Debug)]
pub struct Tcp {
    stream: Stream,
    /// TLS took bytes that the socket did not take yet.
    unflushed: bool,
    /// The answer to CONNECT.
    greeting: Greeting,
    address: SocketAddr,
    control: Rc<Control>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Tcp {
    /// Lets TLS write what it holds back; the one who reads drives it, since the driver writes only
    /// when it has something new.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.unflushed
            && let Stream::Tls(stream) = &mut self.stream
            && let Poll::Ready(flushed) = Pin::new(stream.as_mut()).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_flush(cx)?;
        let mut into = ReadBuf::new(into);
        let read = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, &mut into),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, &mut into),
        };
        read.map_ok(|()| into.filled().len())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => return Pin::new(stream).poll_write(cx, from),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, from),
        };
        self.unflushed = true;
        self.poll_flush(cx)?;
        written
    }

    fn failed(&self, error: &io::Error) -> ErrorKind {
        note(&self.control, self.address, error)
    }
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
        let read = poll_fn(|cx| self.poll_read(cx, into)).await;
        self.control.refuse(match &read {
            Ok(0) => self.greeting.end(None),
            Ok(len) => into.get(..*len).and_then(|came| self.greeting.take(came)),
            Err(error) => self.greeting.end(Some(error)),
        });
        read.map_err(|error| self.failed(&error))
    }
}

impl Write for Tcp {
    async fn write(&mut self, from: &[u8]) -> Result<usize, ErrorKind> {
        let written = poll_fn(|cx| self.poll_write(cx, from)).await;
        let len = written.map_err(|error| self.failed(&error))?;
        let sent = self.control.sent_bytes.get();
        self.control.sent_bytes.set(sent + u64::try_from(len).unwrap_or_default());
        Ok(len)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// How a device sees being answered so, and what is counted.
    async fn answered(answer: &[u8]) -> Vec<(String, u64)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let endpoint = Endpoint::resolve(&address, None).await.unwrap();
        let control = Rc::new(Control::default());
        let mut connect = TcpConnect::new(endpoint, "a".parse().unwrap(), control.clone());
        for _ in 0..2 {
            let mut device = connect.connect().await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            drop(stream);
            while device.read(&mut [0; 3]).await.is_ok_and(|len| len > 0) {}
        }
        let refusals = control.refusals.borrow();
        refusals.iter().map(|(why, count)| (why.clone(), *count)).collect()
    }

    #[tokio::test]
    async fn a_device_that_is_turned_away_is_counted_with_the_reason() {
        assert_eq!(answered(&[0x20, 3, 0, 0, 0]).await, []);
        let refused = answered(&[0x20, 3, 0, 0x87, 0]).await;
        let [(why, 2)] = refused.as_slice() else { panic!("{refused:?}") };
        assert!(why.contains("not authorized"), "{why}");
        let [(why, 2)] = &answered(&[]).await[..] else { panic!() };
        assert!(why.contains("without an answer"), "{why}");
    }
}
