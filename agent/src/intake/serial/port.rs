//! What a line is: a port of this machine, or one of a device server behind TCP.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_serial::{SerialPortBuilderExt as _, SerialStream};
use tokio_util::either::Either;

/// How long a device server may take to be connected to.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where a line is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A port of this machine, like `/dev/ttyUSB0`.
    Path(PathBuf),
    /// `HOST:PORT` of whatever passes a line's bytes on as they are: a device server's raw port, or QEMU.
    Socket(String),
}

/// An open one.
pub(crate) type Wire = Either<SerialStream, TcpStream>;

/// The text is neither an absolute path nor `tcp://HOST:PORT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a path like /dev/ttyUSB0, or tcp://HOST:PORT")]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        if let Some(address) = text.strip_prefix("tcp://") {
            let (host, port) = address.rsplit_once(':').ok_or(NoPlace)?;
            let is_port = port.parse().is_ok_and(|port: u16| port > 0);
            let is_host = !host.is_empty() && !host.contains(['/', ' ']);
            return (is_port && is_host).then(|| Self::Socket(address.to_owned())).ok_or(NoPlace);
        }
        let path = PathBuf::from(text);
        if path.is_absolute() { Ok(Self::Path(path)) } else { Err(NoPlace) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Socket(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl Place {
    /// Opens it, for nobody else to open.
    pub(crate) async fn open(&self, baud: u32) -> io::Result<Wire> {
        match self {
            Self::Path(path) => {
                let path = path.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
                // 8N1 without flow control, and exclusive, are its defaults.
                Ok(Either::Left(tokio_serial::new(path, baud).open_native_async()?))
            }
            Self::Socket(address) => {
                let connecting = timeout(CONNECT_MAX, TcpStream::connect(address));
                let stream = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
                stream.set_nodelay(true)?;
                Ok(Either::Right(stream))
            }
        }
    }

    /// What an error means for whoever looks after the line.
    pub(crate) fn explained(&self, error: &io::Error) -> String {
        let hint = match (self, error.kind()) {
            (Self::Path(_), io::ErrorKind::NotFound) => "; is it plugged in?",
            (Self::Path(_), io::ErrorKind::PermissionDenied) => {
                "; the agent's user has to be in the group that owns it (often dialout)"
            }
            (Self::Path(_), io::ErrorKind::ResourceBusy) => "; somebody else has it open",
            (_, io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
                return format!("{self}: gone; unplugged?");
            }
            _ => "",
        };
        format!("{self}: {error}{hint}")
    }
}
