//! Whether a vehicle is within reach of the network: its link fails while it is not.

use std::rc::Rc;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use firmware::mqtt::drive::Connect;

use super::feed::Exchange;

/// A way to connect that leads nowhere while the vehicle is out of reach.
#[derive(Debug)]
pub struct WithinReach<C> {
    connect: C,
    exchange: Rc<Exchange>,
}

impl<C> WithinReach<C> {
    /// Over this one.
    pub const fn new(connect: C, exchange: Rc<Exchange>) -> Self {
        Self { connect, exchange }
    }
}

impl<C: Connect<Error = ErrorKind>> Connect for WithinReach<C>
where
    C::Io: Read + Write + ErrorType<Error = ErrorKind>,
{
    type Io = Reached<C::Io>;
    type Error = ErrorKind;

    async fn connect(&mut self) -> Result<Self::Io, ErrorKind> {
        if self.exchange.out_of_reach.get() {
            return Err(ErrorKind::TimedOut);
        }
        let io = self.connect.connect().await?;
        Ok(Reached { io, exchange: self.exchange.clone() })
    }
}

/// A connection that breaks when the vehicle leaves the network. The driver asks again after each
/// poll, in which alone that can happen.
#[derive(Debug)]
pub struct Reached<Io> {
    io: Io,
    exchange: Rc<Exchange>,
}

impl<Io: ErrorType<Error = ErrorKind>> ErrorType for Reached<Io> {
    type Error = ErrorKind;
}

impl<Io: Read<Error = ErrorKind>> Read for Reached<Io> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.exchange.out_of_reach.get() {
            return Err(ErrorKind::ConnectionReset);
        }
        self.io.read(into).await
    }
}

impl<Io: Write<Error = ErrorKind>> Write for Reached<Io> {
    async fn write(&mut self, from: &[u8]) -> Result<usize, ErrorKind> {
        if self.exchange.out_of_reach.get() {
            return Err(ErrorKind::ConnectionReset);
        }
        self.io.write(from).await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.io.flush().await
    }
}
