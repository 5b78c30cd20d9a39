//! The way to the agent: TCP, or the serial line. One type for both, so that the main loop is in the
//! image once.

use core::cell::RefCell;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use firmware::mqtt::drive::Connect;
use firmware::mqtt::serial::{Line, Serial, SerialStream};
use static_cell::StaticCell;

use crate::monitor::SharedLine;
use crate::net::{Connection, Tcp};
use crate::time::Uptime;
use crate::uart::Uart;

/// Which way.
#[allow(missing_debug_implementations, reason = "the network's stack has none")]
pub enum Link {
    /// Over Ethernet.
    Tcp(Tcp),
    /// Over a UART.
    Serial(Serial<'static, Uart, Uptime>),
}

/// The line of this UART. Once.
pub fn line(uart: Uart) -> SharedLine {
    static LINE: StaticCell<RefCell<Line<Uart>>> = StaticCell::new();
    LINE.init_with(|| RefCell::new(Line::new(uart)))
}

impl Link {
    /// Over this line; the first stream under a number drawn at random.
    pub const fn serial(line: SharedLine, first: u16) -> Self {
        Self::Serial(Serial::new(line, Uptime, first))
    }
}

impl Connect for Link {
    type Io = Io;
    type Error = ErrorKind;

    async fn connect(&mut self) -> Result<Io, ErrorKind> {
        match self {
            Self::Tcp(tcp) => tcp.connect().await.map(Io::Tcp).map_err(|_| ErrorKind::Other),
            Self::Serial(serial) => serial.connect().await.map(Io::Serial),
        }
    }
}

/// A stream that is open.
#[allow(missing_debug_implementations, reason = "the network's stack has none")]
pub enum Io {
    /// Over Ethernet.
    Tcp(Connection),
    /// Over a UART.
    Serial(SerialStream<'static, Uart>),
}

impl ErrorType for Io {
    type Error = ErrorKind;
}

impl Read for Io {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Tcp(connection) => connection.read(into).await.map_err(|_| ErrorKind::Other),
            Self::Serial(stream) => stream.read(into).await,
        }
    }
}

impl Write for Io {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Tcp(connection) => connection.write(bytes).await.map_err(|_| ErrorKind::Other),
            Self::Serial(stream) => stream.write(bytes).await,
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        match self {
            Self::Tcp(connection) => connection.flush().await.map_err(|_| ErrorKind::Other),
            Self::Serial(stream) => stream.flush().await,
        }
    }
}
